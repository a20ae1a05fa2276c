import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildAcpiTables } from "../acpi/index.ts";
import { BootError } from "./boot-error.ts";
import { e820Type } from "./e820.ts";
import { type LinuxBoot, type LoadedLinux, loadLinux } from "./linux.ts";
import { field } from "./setup-header.ts";
import { bzImage, elfFile, setupSize } from "./test-kernels.ts";

const MiB = 2 ** 20;
const acpi = buildAcpiTables({ processors: 1, serialPorts: [] });
const boot: LinuxBoot = {
  kernel: bzImage(),
  initrd: new Uint8Array(5000).fill(7),
  commandLine: "console=ttyS0",
  memorySize: 128 * MiB,
  acpi,
};

function load(change: Partial<LinuxBoot> = {}): LoadedLinux {
  return loadLinux({ ...boot, ...change });
}

function refusal(change: Partial<LinuxBoot>): string {
  try {
    load(change);
    return "accepted";
  } catch (error) {
    return error instanceof BootError ? error.code : `not a BootError: ${String(error)}`;
  }
}

function region(loaded: LoadedLinux, gpa: number): Uint8Array {
  const found = loaded.image.find((candidate) => candidate.gpa === gpa);
  expect(found, `a region at ${gpa.toString(16)}`).toBeDefined();
  return found!.bytes;
}

function zeroPage(loaded: LoadedLinux): Uint8Array {
  return region(loaded, Number(loaded.registers.general.rsi));
}

/** What every image must be: regions apart, inside of RAM, and none but the firmware's tables where the map has no RAM. */
function checkImage({ image, e820 }: LoadedLinux): void {
  const sorted = [...image].sort((a, b) => a.gpa - b.gpa);
  let end = 0;
  for (const { gpa, bytes } of sorted) {
    expect(gpa).toBeGreaterThanOrEqual(end);
    end = gpa + bytes.length;
    const range = e820.find(({ start, length }) => gpa >= start && end <= start + length);
    // ACPI's tables can be reclaimed; the multiprocessor table stays reserved.
    const { ram, reserved, acpi: reclaimed } = e820Type;
    expect(range?.type).toBe(gpa < 0xe0000 || gpa >= 0x100000 ? ram : gpa < 0xf0000 ? reclaimed : reserved);
  }
}

describe("a bzImage", () => {
  it("is loaded at its preferred address and entered 0x200 bytes into it", () => {
    const loaded = load();
    expect(region(loaded, 16 * MiB)).toEqual(bzImage().subarray(setupSize));
    expect(loaded.registers.general.rip).toBe(BigInt(16 * MiB + 0x200));
    checkImage(loaded);
  });

  it("finds its setup header, initrd, command line, memory map and RSDP in the zero page", () => {
    const loaded = load();
    const page = zeroPage(loaded);
    expect(page).toHaveLength(4096);
    // From 0x1F1 to the end that the jump at 0x200 tells: 0x202 + 0x6A.
    const copied = page.slice(0x1f1, 0x26c);
    const original = bzImage().slice(0x1f1, 0x26c);
    for (const { offset, width } of [
      field.typeOfLoader,
      field.ramdiskImage,
      field.ramdiskSize,
      field.commandLinePointer,
    ]) {
      copied.fill(0, offset - 0x1f1, offset - 0x1f1 + width);
      original.fill(0, offset - 0x1f1, offset - 0x1f1 + width);
    }
    expect(copied).toEqual(original);
    expect(page.slice(0x26c, 0x2d0).every((byte) => byte === 0)).toBe(true);
    expect(field.typeOfLoader.read(page)).toBe(0xff);
    expect(field.rsdpAddress.read(page)).toBe(0xe0000);
    expect(region(loaded, field.ramdiskImage.read(page))).toBe(boot.initrd);
    expect(field.ramdiskSize.read(page)).toBe(5000);
    const line = region(loaded, field.commandLinePointer.read(page));
    expect(Buffer.from(line).toString()).toBe("console=ttyS0\0");
    expect(field.e820Count.read(page)).toBe(loaded.e820.length);
    const view = new DataView(page.buffer, page.byteOffset);
    const table = loaded.e820.map((_, i) => ({
      start: Number(view.getBigUint64(0x2d0 + 20 * i, true)),
      length: Number(view.getBigUint64(0x2d8 + 20 * i, true)),
      type: view.getUint32(0x2e0 + 20 * i, true),
    }));
    expect(table).toEqual(loaded.e820);
  });

  it("gets its initrd as high as RAM and initrd_addr_max allow, on a page", () => {
    const address = (change: Partial<LinuxBoot>) => field.ramdiskImage.read(zeroPage(load(change)));
    expect(address({})).toBe(128 * MiB - 8192);
    const limited = bzImage({ initrdAddressMaximum: 64 * MiB - 1 });
    expect(address({ kernel: limited })).toBe(64 * MiB - 8192);
    expect(address({ memorySize: 128 * MiB + 100 })).toBe(128 * MiB - 4096 * 2);
  });

  it("runs without initrd and without ACPI tables", () => {
    for (const initrd of [undefined, new Uint8Array(0)]) {
      const page = zeroPage(load({ initrd, acpi: undefined }));
      expect([
        field.ramdiskImage.read(page),
        field.ramdiskSize.read(page),
        field.rsdpAddress.read(page),
      ]).toEqual([0, 0, 0]);
    }
  });

  it("with setup_sects 0 has four", () => {
    const file = new Uint8Array(bzImage().length + 512);
    file.set(bzImage({ setupSectors: 0 }).subarray(0, setupSize));
    file.fill(0xdd, setupSize + 512);
    expect(region(load({ kernel: file }), 16 * MiB)[0]).toBe(0xdd);
  });

  it("is refused by code for what is wrong", () => {
    expect(refusal({ kernel: new Uint8Array(0) })).toBe("not-a-kernel");
    expect(refusal({ kernel: new Uint8Array(100_000) })).toBe("not-a-kernel");
    expect(refusal({ kernel: bzImage({ header: 0 }) })).toBe("not-a-kernel");
    expect(refusal({ kernel: bzImage({ version: 0x20b }) })).toBe("unsupported-kernel");
    expect(refusal({ kernel: bzImage({ loadFlags: 0 }) })).toBe("unsupported-kernel");
    expect(refusal({ kernel: bzImage({ xloadFlags: 0x2a }) })).toBe("unsupported-kernel");
    expect(refusal({ kernel: bzImage({ preferredAddress: 0x10000 }) })).toBe("unsupported-kernel");
    expect(refusal({ kernel: bzImage({ preferredAddress: 2 ** 60 }) })).toBe("kernel-too-large");
    expect(refusal({ kernel: bzImage({ initSize: 112 * MiB }) })).toBe("initrd-too-large");
    expect(refusal({ kernel: bzImage({ initSize: 112 * MiB + 1 }) })).toBe("kernel-too-large");
    expect(refusal({ kernel: bzImage({ initSize: 0 }) })).toBe("accepted");
    expect(refusal({ kernel: bzImage({ codeParagraphs: 0x124 }) })).toBe("truncated-kernel");
  });

  it("cut anywhere is truncated, or no kernel before its magic", () => {
    const whole = bzImage();
    for (let length = 0; length < whole.length; length++) {
      const code = refusal({ kernel: whole.subarray(0, length) });
      if (code !== (length < 0x206 ? "not-a-kernel" : "truncated-kernel")) {
        expect.fail(`${length} bytes: ${code}`);
      }
    }
  });

  it("that says where it was cut says it in the message", () => {
    expect(() => load({ kernel: bzImage().subarray(0, 3000) })).toThrow(/0x1a30 bytes, the file has 0xbb8/);
  });
});

describe("the rest of the machine", () => {
  it("must be large enough for the initrd beside the kernel", () => {
    const room = 128 * MiB - 48 * MiB;
    expect(refusal({ initrd: new Uint8Array(room) })).toBe("accepted");
    expect(refusal({ initrd: new Uint8Array(room + 1) })).toBe("initrd-too-large");
    expect(refusal({ initrd: new Uint8Array(200 * MiB) })).toBe("initrd-too-large");
  });

  it("must be large enough for the kernel", () => {
    expect(refusal({ memorySize: 47 * MiB })).toBe("kernel-too-large");
    expect(refusal({ memorySize: 0x101000 - 1 })).toBe("memory-too-small");
    expect(refusal({ memorySize: 0 })).toBe("memory-too-small");
    expect(refusal({ memorySize: Number.NaN })).toBe("memory-too-small");
    expect(refusal({ memorySize: 1e300 })).toBe("memory-too-small");
  });

  it("passes a command line up to the kernel's own limit, counted in bytes", () => {
    expect(refusal({ commandLine: "x".repeat(2047) })).toBe("accepted");
    expect(refusal({ commandLine: "x".repeat(2048) })).toBe("command-line-too-long");
    expect(refusal({ commandLine: "é".repeat(1024) })).toBe("command-line-too-long");
    const kernel = bzImage({ commandLineSize: 2 ** 31 });
    expect(refusal({ kernel, commandLine: "x".repeat(0x9f000 - 0x20000 - 1) })).toBe("accepted");
    expect(refusal({ kernel, commandLine: "x".repeat(0x9f000 - 0x20000) })).toBe("command-line-too-long");
  });
});

describe("an ELF vmlinux", () => {
  const code = new Uint8Array(1000).fill(0x90);
  const kernel = elfFile(0x1000c43n, [
    { physical: 0x2000000, virtual: 0xffffffff82000000n, bytes: code.subarray(0, 10), memorySize: MiB },
    { physical: 0x1000000, virtual: 0xffffffff81000000n, bytes: code, memorySize: 0x4000 },
  ]);

  it("is loaded segment by segment and entered where it says", () => {
    const loaded = load({ kernel });
    expect(region(loaded, 0x1000000)).toEqual(code);
    expect(region(loaded, 0x2000000)).toHaveLength(10);
    expect(loaded.registers.general.rip).toBe(0x1000c43n);
    checkImage(loaded);
  });

  it("gets a setup header, since it has none", () => {
    const page = zeroPage(load({ kernel }));
    expect([field.header.read(page), field.bootFlag.read(page), field.version.read(page)]).toEqual([
      0x53726448, 0xaa55, 0x20f,
    ]);
    expect(field.loadFlags.read(page)).toBe(1);
  });

  it("is refused by code for what is wrong", () => {
    const segment = { physical: 0x1000000, bytes: code };
    const elf = (...segments: Parameters<typeof elfFile>[1]) =>
      refusal({ kernel: elfFile(0x1000000n, segments) });
    expect(elf({ ...segment, physical: 0xff000, memorySize: 0x2000000 })).toBe("unsupported-kernel");
    expect(elf(segment, { physical: 0x1000100, bytes: code })).toBe("unsupported-kernel");
    expect(elf({ ...segment, memorySize: 112 * MiB + 1 })).toBe("kernel-too-large");
    expect(elf({ ...segment, memorySize: 112 * MiB })).toBe("initrd-too-large");
    expect(refusal({ kernel, commandLine: "x".repeat(2048) })).toBe("command-line-too-long");
  });
});

it("hostile bytes give a BootError or an image that fits", () => {
  const bases = [bzImage(), elfFile(0x1000000n, [{ physical: 0x1000000, bytes: new Uint8Array(600) }])];
  const offsets = Object.values(field).map(({ offset }) => offset);
  const patch = fc.tuple(
    fc.oneof(fc.constantFrom(...offsets, 0x201, 24, 32, 54, 56, 64, 72, 88, 96, 104), fc.nat(0x300)),
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...bases),
      fc.array(patch, { maxLength: 5 }),
      fc.nat(8000),
      fc.oneof(fc.constant(128 * MiB), fc.integer({ min: 0, max: 2 ** 32 })),
      (base, patches, length, memorySize) => {
        const kernel = base.slice();
        for (const [at, bytes] of patches) {
          if (at < kernel.length) kernel.set(bytes.subarray(0, kernel.length - at), at);
        }
        try {
          checkImage(load({ kernel: kernel.subarray(0, length), memorySize }));
        } catch (error) {
          expect(error).toBeInstanceOf(BootError);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

it("any bytes at all give a BootError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (kernel) => {
      expect(refusal({ kernel })).toMatch(/^(not-a-kernel|truncated-kernel|unsupported-kernel)$/);
    }),
  );
});
