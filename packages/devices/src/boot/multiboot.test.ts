import { Writer } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildAcpiTables } from "../acpi/index.ts";
import { BootError } from "./boot-error.ts";
import { type LoadedMultiboot, loadMultiboot, type MultibootBoot } from "./multiboot.ts";
import { headerFlag } from "./multiboot-header.ts";
import { informationField, informationFlag } from "./multiboot-information.ts";
import { elfFile } from "./test-kernels.ts";

const MiB = 2 ** 20;
const magic = 0x1badb002;
const acpi = buildAcpiTables({ processors: 1, serialPorts: [] });

interface Header {
  flags?: number;
  checksum?: number;
  /** header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr */
  addresses?: readonly number[];
}

function header({ flags = 0, checksum = -(magic + flags), addresses = [] }: Header = {}): Uint8Array {
  const writer = new Writer()
    .u32(magic)
    .u32(flags)
    .u32(checksum >>> 0);
  for (const address of addresses) writer.u32(address);
  return writer.finish();
}

interface Part {
  type?: number;
  physical: number;
  virtual?: number;
  bytes: Uint8Array;
  memorySize?: number;
  fileSize?: number;
  offset?: number;
}

interface Section {
  type: number;
  address?: number;
  bytes: Uint8Array;
}

/** An ELF-32 executable: ELF header, program headers, the segments' bytes, the sections' bytes, section headers. */
function elf32(entry: number, parts: readonly Part[], sections: readonly Section[] = []): Uint8Array {
  const sectionBytes = sections.reduce((sum, { bytes }) => sum + bytes.length, 0);
  let offset = 52 + 32 * parts.length;
  const body = offset + parts.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const writer = new Writer().u32(0x464c457f).u8(1).u8(1).u8(1).zeros(9);
  writer
    .u16(2)
    .u16(3)
    .u32(1)
    .u32(entry)
    .u32(52)
    .u32(sections.length === 0 ? 0 : body + sectionBytes)
    .u32(0);
  writer
    .u16(52)
    .u16(32)
    .u16(parts.length)
    .u16(40)
    .u16(sections.length)
    .u16(Math.max(0, sections.length - 1));
  for (const part of parts) {
    writer
      .u32(part.type ?? 1)
      .u32(part.offset ?? offset)
      .u32(part.virtual ?? part.physical)
      .u32(part.physical);
    writer
      .u32(part.fileSize ?? part.bytes.length)
      .u32(part.memorySize ?? part.bytes.length)
      .u32(7)
      .u32(4096);
    offset += part.bytes.length;
  }
  for (const { bytes } of [...parts, ...sections]) writer.bytes(bytes);
  let at = body;
  for (const { type, address = 0, bytes } of sections) {
    writer.u32(0).u32(type).u32(0).u32(address).u32(at).u32(bytes.length).zeros(16);
    at += bytes.length;
  }
  return writer.finish();
}

/** 64 bytes that begin with the header. */
const code = (fields?: Header): Uint8Array => {
  const bytes = new Uint8Array(64).fill(0x90);
  bytes.set(header(fields));
  return bytes;
};
const kernel = elf32(0x400010, [{ physical: 0x400000, bytes: code(), memorySize: 0x3000 }]);
const boot: MultibootBoot = { kernel, commandLine: "kernel.elf a b", memorySize: 64 * MiB, acpi };

const load = (change: Partial<MultibootBoot> = {}): LoadedMultiboot => loadMultiboot({ ...boot, ...change });

function refusal(change: Partial<MultibootBoot>): string {
  try {
    load(change);
    return "accepted";
  } catch (error) {
    return error instanceof BootError ? error.code : `not a BootError: ${String(error)}`;
  }
}

/** What an address holds after loading: RAM is zero but for the image. */
function reader({ image }: LoadedMultiboot): { word(at: number): number; text(at: number): string } {
  const byte = (at: number): number => {
    const region = image.find(({ gpa, bytes }) => at >= gpa && at < gpa + bytes.length);
    return region === undefined ? 0 : region.bytes[at - region.gpa]!;
  };
  return {
    word: (at) => [3, 2, 1, 0].reduce((value, i) => value * 256 + byte(at + i), 0),
    text: (at) => {
      let text = "";
      for (let i = at; byte(i) !== 0; i++) text += String.fromCharCode(byte(i));
      return text;
    },
  };
}

function information(
  loaded: LoadedMultiboot,
): Record<keyof typeof informationField, number> & { at: number } {
  const at = Number(loaded.registers.general.rbx);
  const { word } = reader(loaded);
  const fields = Object.entries(informationField).map(([name, offset]) => [name, word(at + offset)]);
  return { ...Object.fromEntries(fields), at };
}

/** What every image must be: regions apart, inside of RAM, and none but the firmware's tables where the map has no RAM. */
function checkImage({ image, e820, registers }: LoadedMultiboot): void {
  let end = 0;
  for (const { gpa, bytes } of image.toSorted((a, b) => a.gpa - b.gpa)) {
    expect(gpa).toBeGreaterThanOrEqual(end);
    end = gpa + bytes.length;
    const range = e820.find(({ start, length }) => gpa >= start && end <= start + length);
    expect(range?.type === 1).toBe(gpa < 0x9f000 || gpa >= MiB);
  }
  const entry = Number(registers.general.rip);
  expect(e820.some(({ start, length, type }) => type === 1 && entry >= start && entry < start + length)).toBe(
    true,
  );
}

describe("the header", () => {
  const at = (offset: number, fields?: Header): Uint8Array => {
    const bytes = new Uint8Array(9000);
    bytes.set(header(fields), offset);
    return bytes;
  };
  const addresses = (offset: number): Header => ({
    flags: headerFlag.addresses,
    addresses: [0x100000 + offset, 0x100000, 0, 0, 0x100000],
  });

  it("is found on any multiple of four that leaves it within the first 8192 bytes", () => {
    for (const offset of [0, 4, 8160, 8180]) {
      expect(refusal({ kernel: at(offset, addresses(offset)) })).toBe("accepted");
    }
    for (const offset of [2, 4098, 8184]) {
      expect(refusal({ kernel: at(offset, addresses(offset)) })).toBe("not-a-kernel");
    }
  });

  it("counts with a right checksum only, and the first such one counts", () => {
    const file = at(64, addresses(64));
    file.set(header({ checksum: 1 }), 16);
    expect(load({ kernel: file }).image[0]).toMatchObject({ gpa: 0x100000, bytes: { length: 9000 } });
    expect(refusal({ kernel: at(0, { checksum: 0 }) })).toBe("not-a-kernel");
  });

  it("is refused for a demand that is not met, whatever it asks for besides", () => {
    const withFlags = (flags: number): string =>
      refusal({ kernel: elf32(0x400000, [{ physical: 0x400000, bytes: code({ flags }) }]) });
    expect(withFlags(headerFlag.pageAlignedModules | headerFlag.memoryInformation)).toBe("accepted");
    expect(withFlags(headerFlag.videoMode)).toBe("unsupported-kernel");
    expect(withFlags(1 << 15)).toBe("unsupported-kernel");
    // Bits from 16 on are offers, not demands.
    expect(withFlags(1 << 17)).toBe("accepted");
  });

  it("with its addresses cut off is refused", () => {
    const file = header(addresses(0));
    expect(refusal({ kernel: file })).toBe("accepted");
    expect(refusal({ kernel: file.subarray(0, 31) })).toBe("truncated-kernel");
  });
});

describe("a file with addresses in its header", () => {
  const place = (fields: readonly number[], length = 200, offset = 16): Partial<MultibootBoot> => {
    const file = Uint8Array.from({ length }, (_, i) => i);
    file.set(header({ flags: headerFlag.addresses, addresses: fields }), offset);
    return { kernel: file };
  };

  it("is loaded from where load_addr is to load_end_addr, with zeroes up to bss_end_addr", () => {
    const loaded = load(place([0x200010, 0x200008, 0x200040, 0x202000, 0x200020]));
    expect(loaded.image[0]!.gpa).toBe(0x200008);
    expect(loaded.image[0]!.bytes).toHaveLength(0x38);
    expect(loaded.image[0]!.bytes[0]).toBe(8);
    expect(loaded.registers.general.rip).toBe(0x200020n);
    checkImage(loaded);
  });

  it("is loaded to its end when load_end_addr is 0", () => {
    expect(load(place([0x200010, 0x200000, 0, 0, 0x200000])).image[0]!.bytes).toHaveLength(200);
  });

  it("has its format disregarded", () => {
    const file = elf32(0x400010, [
      {
        physical: 0x400000,
        bytes: code({ flags: headerFlag.addresses, addresses: [0x300054, 0x300000, 0, 0, 0x300054] }),
      },
    ]);
    expect(load({ kernel: file }).registers.general.rip).toBe(0x300054n);
  });

  it("is refused by code for what is wrong", () => {
    const refused = (...fields: number[]): string => refusal(place(fields));
    expect(refused(0x200010, 0x200014, 0, 0, 0x200014)).toBe("unsupported-kernel"); // load above header
    expect(refused(0x200020, 0x200000, 0, 0, 0x200000)).toBe("unsupported-kernel"); // before the file's start
    expect(refused(0x200010, 0x200000, 0x200000, 0, 0x200000)).toBe("unsupported-kernel"); // nothing
    expect(refused(0x200010, 0x200000, 0x2000c9, 0, 0x200000)).toBe("truncated-kernel"); // a byte too many
    expect(refused(0x200010, 0x200000, 0, 0x2000c7, 0x200000)).toBe("unsupported-kernel"); // BSS within the image
    expect(refused(0x200010, 0x200000, 0, 0, 0x2000c8)).toBe("unsupported-kernel"); // entry behind it
    expect(refused(0x200010, 0x200000, 0, 0xfffffff0, 0x200000)).toBe("kernel-too-large");
  });
});

describe("an ELF file", () => {
  it("is loaded by its segments' physical addresses", () => {
    const loaded = load({
      kernel: elf32(0x400010, [
        { physical: 0x400000, bytes: code() },
        { type: 4, physical: 0x400000, bytes: new Uint8Array(3) },
        { physical: 0x500000, bytes: Uint8Array.of(1, 2), memorySize: 0x100000 },
        { physical: 0x8000, bytes: Uint8Array.of(3) },
        { physical: 0x400000, bytes: new Uint8Array(0) },
      ]),
    });
    expect(loaded.image.slice(0, 3).map(({ gpa, bytes }) => [gpa, bytes.length])).toEqual([
      [0x400000, 64],
      [0x500000, 2],
      [0x8000, 1],
    ]);
    checkImage(loaded);
  });

  it("is entered at its entry, be it a virtual or a physical address", () => {
    const part = { physical: 0x400000, virtual: 0xc0400000, bytes: code() };
    expect(load({ kernel: elf32(0xc0400010, [part]) }).registers.general.rip).toBe(0x400010n);
    expect(load({ kernel: elf32(0x400010, [part]) }).registers.general.rip).toBe(0x400010n);
    expect(refusal({ kernel: elf32(0x400040, [part]) })).toBe("unsupported-kernel");
  });

  it("may be of 64 bits", () => {
    const file = elfFile(0x400010n, [{ physical: 0x400000, bytes: code() }]);
    const loaded = load({ kernel: file });
    expect(loaded.registers.general.rip).toBe(0x400010n);
    expect(loaded.registers.control.efer).toBe(0n);
  });

  it("is refused by code for what is wrong", () => {
    const part = { physical: 0x400000, bytes: code() };
    const elf = (...parts: Part[]): string => refusal({ kernel: elf32(0x400000, parts) });
    const patched = (at: number, value: number): string => {
      const file = kernel.slice();
      file[at] = value;
      return refusal({ kernel: file });
    };
    expect(patched(5, 2)).toBe("unsupported-kernel"); // big-endian
    expect(patched(4, 3)).toBe("unsupported-kernel"); // no class
    expect(patched(16, 1)).toBe("unsupported-kernel"); // an object file
    expect(patched(18, 62)).toBe("unsupported-kernel"); // another machine
    expect(patched(42, 31)).toBe("unsupported-kernel"); // program headers too small
    expect(patched(44, 200)).toBe("truncated-kernel"); // more of them than there are
    expect(elf(part, { physical: 0x400020, bytes: code() })).toBe("unsupported-kernel"); // overlap
    expect(elf({ ...part, memorySize: 63 })).toBe("unsupported-kernel"); // less memory than bytes
    expect(elf({ ...part, fileSize: 200, memorySize: 200 })).toBe("truncated-kernel");
    expect(elf({ ...part, type: 4 })).toBe("unsupported-kernel"); // nothing to load
    expect(elf(part, { physical: 0x9efff, bytes: code() })).toBe("unsupported-kernel"); // the hole
    expect(elf(part, { physical: 0xfffff, bytes: code() })).toBe("unsupported-kernel");
    expect(elf({ ...part, memorySize: 60 * MiB + 1 })).toBe("kernel-too-large");
    expect(elf({ ...part, memorySize: 60 * MiB })).toBe("accepted");
    expect(refusal({ kernel: code() })).toBe("unsupported-kernel"); // a header alone says not where to
    expect(refusal({ memorySize: MiB })).toBe("memory-too-small");
  });
});

describe("the kernel is entered", () => {
  it("in 32-bit protected mode, flat, with interrupts off, EAX the magic and EBX the information", () => {
    const { general, control, segments, gdtr } = load().registers;
    expect(general.rax).toBe(0x2badb002n);
    expect(general.rbx).toBe(0x10000n);
    expect(general.rflags).toBe(2n);
    expect(control).toEqual({ cr0: 0x11n, cr3: 0n, cr4: 0n, efer: 0n });
    // Present, DPL 0, accessed; execute and read, or read and write; 32 bits, 4 KiB units.
    expect(segments.cs).toEqual({ selector: 8, base: 0n, limit: 0xffffffff, attributes: 0xc09b });
    for (const name of ["ds", "es", "fs", "gs", "ss"] as const)
      expect(segments[name]).toEqual({ selector: 16, base: 0n, limit: 0xffffffff, attributes: 0xc093 });
    const { word } = reader(load());
    const base = Number(gdtr.base);
    expect(gdtr.limit).toBe(23);
    expect([8, 12, 16, 20].map((at) => word(base + at))).toEqual([0xffff, 0xcf9b00, 0xffff, 0xcf9300]);
  });
});

describe("the information", () => {
  it("tells RAM, command line, memory map and the loader's name", () => {
    const loaded = load();
    const info = information(loaded);
    const { word, text } = reader(loaded);
    const { memory, commandLine, modules, memoryMap, loaderName } = informationFlag;
    expect(info.flags).toBe(memory | commandLine | modules | memoryMap | loaderName);
    expect([info.memoryLower, info.memoryUpper]).toEqual([636, 63 * 1024]);
    expect(text(info.commandLine)).toBe("kernel.elf a b");
    expect(text(info.loaderName)).toBe("Entresol");
    expect(info.moduleCount).toBe(0);
    const map: number[][] = [];
    for (let at = info.memoryMap; at < info.memoryMap + info.memoryMapLength; at += word(at) + 4) {
      const [low, high, length, lengthHigh, type] = [4, 8, 12, 16, 20].map((field) => word(at + field));
      expect([high, lengthHigh]).toEqual([0, 0]);
      map.push([low!, length!, type!]);
    }
    expect(map).toEqual(loaded.e820.map(({ start, length, type }) => [start, length, type]));
  });

  it("keeps clear of the kernel, above it when there is no other place", () => {
    const at = (...parts: Part[]): number => {
      const loaded = load({ kernel: elf32(0x400000, [{ physical: 0x400000, bytes: code() }, ...parts]) });
      checkImage(loaded);
      return information(loaded).at;
    };
    expect(at()).toBe(0x10000);
    expect(at({ physical: 0x9000, bytes: code(), memorySize: 0x7001 })).toBe(0x11000);
    expect(at({ physical: 0x20000, bytes: code() })).toBe(0x10000);
    expect(at({ physical: 0, bytes: code(), memorySize: 0x9f000 })).toBe(0x401000);
    expect(
      at({ physical: 0x1000, bytes: code(), memorySize: 0x10001 }, { physical: 0x12001, bytes: code() }),
    ).toBe(0x13000);
  });

  it("has the modules above the kernel, each on its own page, with its command line", () => {
    const modules = [
      { bytes: Uint8Array.of(1, 2, 3), commandLine: "one" },
      { bytes: new Uint8Array(0), commandLine: "nothing" },
      { bytes: new Uint8Array(4097).fill(5), commandLine: "two words" },
    ];
    const loaded = load({ modules });
    checkImage(loaded);
    const info = information(loaded);
    const { word, text } = reader(loaded);
    expect(info.moduleCount).toBe(3);
    const list = [0, 1, 2].map((i) => {
      const at = info.modules + i * 16;
      return [word(at), word(at + 4), text(word(at + 8)), word(at + 12)];
    });
    expect(list).toEqual([
      [0x403000, 0x403003, "one", 0],
      [0x404000, 0x404000, "nothing", 0],
      [0x404000, 0x405001, "two words", 0],
    ]);
    expect([word(0x403000), word(0x405000)]).toEqual([0x030201, 5]);
    const rest = 64 * MiB - 0x403000;
    expect(refusal({ modules: [{ bytes: new Uint8Array(rest), commandLine: "" }] })).toBe("accepted");
    expect(refusal({ modules: [{ bytes: new Uint8Array(rest + 1), commandLine: "" }] })).toBe(
      "initrd-too-large",
    );
  });

  it("finds a place for any command line that RAM has room for", () => {
    const long = "x".repeat(MiB);
    const loaded = load({ commandLine: long });
    checkImage(loaded);
    expect(reader(loaded).text(information(loaded).commandLine)).toBe(long);
    expect(refusal({ commandLine: "x".repeat(61 * MiB) })).toBe("command-line-too-long");
  });

  it("has an ELF file's section headers, and its symbols where they tell", () => {
    const symbols = new Uint8Array(32).fill(0x11);
    const names = new Uint8Array(9).fill(0x22);
    const sections = [
      { type: 0, bytes: new Uint8Array(0) },
      { type: 1, address: 0x400000, bytes: new Uint8Array(0) },
      { type: 2, bytes: symbols },
      { type: 3, bytes: names },
    ];
    const loaded = load({ kernel: elf32(0x400010, [{ physical: 0x400000, bytes: code() }], sections) });
    checkImage(loaded);
    const { at, flags } = information(loaded);
    const { word } = reader(loaded);
    expect(flags & informationFlag.elfSections).toBe(informationFlag.elfSections);
    const [count, size, address, namesIndex] = [0, 4, 8, 12].map((offset) =>
      word(at + informationField.elfSections + offset),
    );
    expect([count, size, address, namesIndex]).toEqual([4, 40, 0x401000, 3]);
    // sh_addr of each: what a segment brought stays, the rest has come to pages of its own.
    expect([0, 1, 2, 3].map((i) => word(address! + i * 40 + 12))).toEqual([0, 0x400000, 0x402000, 0x403000]);
    expect([word(0x402000), word(0x403000)]).toEqual([0x11111111, 0x22222222]);
  });

  it("goes without section headers that do not fit, in the file or in RAM", () => {
    const part = { physical: 0x400000, bytes: code() };
    const sections = [{ type: 3, bytes: new Uint8Array(9) }];
    const file = elf32(0x400010, [part], sections);
    expect(information(load({ kernel: file.subarray(0, -1) })).flags & informationFlag.elfSections).toBe(0);
    const full = elf32(0x400010, [{ ...part, memorySize: 60 * MiB - 4096 }], sections);
    const loaded = load({ kernel: full });
    checkImage(loaded);
    expect(information(loaded).flags & informationFlag.elfSections).toBe(0);
  });

  it("needs no ACPI tables, and leaves those that there are where firmware does", () => {
    expect(load().image.find(({ gpa }) => gpa === acpi.rsdp)).toBeDefined();
    const { acpi: _, ...without } = boot;
    expect(loadMultiboot(without).image.every(({ gpa }) => gpa < 0xe0000 || gpa >= MiB)).toBe(true);
  });

  it("agrees with the BIOS data areas about the RAM below 1 MiB, unless the kernel is there", () => {
    const { word } = reader(load());
    expect([word(0x40e) & 0xffff, word(0x413) & 0xffff]).toEqual([0x9f00, 636]);
    expect(word(0x9f000) & 0xff).toBe(4);
    const there = load({
      kernel: elf32(0x400000, [
        { physical: 0x400000, bytes: code() },
        { physical: 0x400, bytes: code() },
      ]),
    });
    checkImage(there);
    expect(reader(there).word(0x40e)).toBe(0x90909090);
  });
});

it("hostile bytes give a BootError or an image that fits", () => {
  const addressed = new Uint8Array(600);
  addressed.set(
    header({ flags: headerFlag.addresses, addresses: [0x200000, 0x200000, 0x200100, 0x201000, 0x200020] }),
  );
  const sections = [
    { type: 2, bytes: new Uint8Array(64) },
    { type: 3, bytes: new Uint8Array(9) },
  ];
  const bases = [
    elf32(
      0x400010,
      [
        { physical: 0x400000, bytes: code() },
        { physical: 0x9000, bytes: code() },
      ],
      sections,
    ),
    elfFile(0x400000n, [{ physical: 0x400000, bytes: code() }]),
    addressed,
  ];
  const interesting = fc.constantFrom(0, 1, 0xff, 0x1000, 0x9f000, 0x100000, 0x7fffffff, 0xffffffff);
  const patch = fc.tuple(fc.nat(360), fc.oneof(interesting, fc.nat(0xffffffff)), fc.constantFrom(1, 2, 4));
  let accepted = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...bases),
      fc.array(patch, { maxLength: 4 }),
      fc.oneof(fc.constant(1000), fc.nat(700)),
      fc.oneof(fc.constant(64 * MiB), fc.integer({ min: 0, max: 2 ** 32 })),
      (base, patches, length, memorySize) => {
        const file = base.slice();
        for (const [at, value, width] of patches) {
          for (let i = 0; i < width && at + i < file.length; i++) file[at + i] = value >>> (8 * i);
        }
        try {
          checkImage(load({ kernel: file.subarray(0, length), memorySize }));
          accepted++;
        } catch (error) {
          expect(error).toBeInstanceOf(BootError);
        }
      },
    ),
    { numRuns: 3000 },
  );
  expect(accepted).toBeGreaterThan(300);
});

it("any bytes at all behind a header give a BootError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      const file = new Uint8Array(12 + bytes.length);
      file.set(header());
      file.set(bytes, 12);
      expect(refusal({ kernel: file })).toBe("unsupported-kernel");
      expect(refusal({ kernel: bytes })).toBe("not-a-kernel");
    }),
  );
});
