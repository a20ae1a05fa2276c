import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Device } from "@entresol/devices";
import { Assembler, al, buildTestGuest, dx, eax, ebx, memory, rbx } from "@entresol/testguest";
import { decodeCbor, encodeCbor } from "@entresol/wire";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { type DeviceFactory, SerialPort, Vm, type VmConfig, VmError } from "./index.ts";

/* What an embedder does wrong gets a VmError with a code; what a file holds that is not ours gets `bad-snapshot`. */

const MEMORY = 16 * 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "entresol-misuse-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function program(write: (asm: Assembler) => void): VmConfig {
  const asm = new Assembler({ origin: 0x100000 });
  write(asm);
  return {
    memory: MEMORY,
    boot: { kind: "flat", image: asm.assemble().bytes, loadAddress: asm.origin, entry: asm.origin },
  };
}
const spin = program((asm) => {
  asm.label("spin");
  asm.op.inc(eax);
  asm.op.jmp("spin");
});
const reader = program((asm) => {
  asm.op.mov(ebx, 0xd0000000);
  asm.label("spin");
  asm.op.mov(eax, memory(rbx));
  asm.op.jmp("spin");
});

/** A device at 0xD0000000 that answers reads with `read`. */
const device =
  (read: () => number): DeviceFactory =>
  ({ bus }) => {
    const mmio = { mmioRead: read, mmioWrite() {} };
    bus.registerMmio("own", 0xd0000000, 0x1000, mmio);
    const own: Device = { name: "own", reset() {}, save: () => null, restore() {}, inspect: () => ({}) };
    return own;
  };

const code = (expected: string) => expect.objectContaining({ code: expected });

describe("life of a VM", () => {
  it("ends once: disposing again does no harm, and nothing else can be done", async () => {
    const vm = await Vm.create(spin);
    await vm[Symbol.asyncDispose]();
    await vm[Symbol.asyncDispose]();
    await expect(vm.run()).rejects.toMatchObject({ code: "disposed" });
    expect(() => vm.restart()).toThrow(code("disposed"));
    expect(() => vm.snapshot(join(folder, "never"))).toThrow(code("disposed"));
    expect(readdirSync(folder)).not.toContain("never");
  });

  it("ends in the middle of a run, which comes back as paused before the disposal is over", async () => {
    const vm = await Vm.create(spin);
    const order: string[] = [];
    const run = vm.run().then(({ kind }) => order.push(kind));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await vm[Symbol.asyncDispose]();
    order.push("disposed");
    await run;
    expect(order).toEqual(["paused", "disposed"]);
  });

  it("ends also while it waits for an interrupt that never comes", async () => {
    const vm = await Vm.create(
      program(({ op }) => {
        op.sti();
        op.hlt();
      }),
    );
    const run = vm.run();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await vm[Symbol.asyncDispose]();
    expect((await run).kind).toBe("paused");
  });

  it.each([Number.NaN, "5" as unknown as number, null as unknown as number])(
    "does not run until %s",
    async (until) => {
      await using vm = await Vm.create(spin);
      await expect(vm.run({ until })).rejects.toMatchObject({ code: "bad-config" });
      expect((await vm.run({ until: -1 })).kind).toBe("paused");
    },
  );

  it("pauses at the same instruction each time when it is told the guest time", async () => {
    await using vm = await Vm.create(spin);
    vm.pauseAt(1_234_567);
    expect((await vm.run()).kind).toBe("paused");
    const first = [vm.now, vm.statistics().instructions];
    await using other = await Vm.create(spin);
    other.pauseAt(1_234_567);
    expect((await other.run()).kind).toBe("paused");
    expect([other.now, other.statistics().instructions]).toEqual(first);
    expect(vm.now).toBeGreaterThanOrEqual(1_234_567);
    // It holds once.
    setTimeout(() => vm.pause(), 20);
    expect((await vm.run()).kind).toBe("paused");
    expect(vm.now).toBeGreaterThan(first[0]!);
  });
});

describe("callbacks and devices of the embedder's", () => {
  it("hand their exception to whoever runs the VM; after a device's the VM is of no further use", async () => {
    await using vm = await Vm.create({
      ...reader,
      devices: [
        device(() => {
          throw new RangeError("no such register");
        }),
      ],
    });
    await expect(vm.run()).rejects.toThrow("no such register");
    await expect(vm.run()).rejects.toMatchObject({ code: "failed" });
    expect(() => vm.snapshot(join(folder, "failed"))).toThrow(code("failed"));
    expect(vm.inspect()["own"]).toEqual({});
    expect(vm.statistics().exits["mmio read"]).toBe(1);
  });

  it("may throw on output, and the guest goes on when it is run again", async () => {
    await using vm = await Vm.create(
      program((asm) => {
        asm.op.mov(dx, 0x3f8);
        asm.op.mov(al, 0x2e);
        asm.label("spin");
        asm.op.out(dx, al);
        asm.op.jmp("spin");
      }),
    );
    vm.serial[0]!.onOutput = () => {
      throw new Error("the disk is full");
    };
    await expect(vm.run()).rejects.toThrow("the disk is full");
    let bytes = 0;
    vm.serial[0]!.onOutput = (part) => {
      bytes += part.length;
      vm.pause();
    };
    expect((await vm.run()).kind).toBe("paused");
    expect(bytes).toBeGreaterThan(0);
  });

  it("get no snapshot and no inspection in the middle of an instruction, and may pause from there", async () => {
    const seen: unknown[] = [];
    let vm: Vm | undefined;
    const attempt = (what: () => unknown): void => {
      try {
        what();
        seen.push("done");
      } catch (error) {
        seen.push(error instanceof VmError ? error.code : error);
      }
    };
    await using made = await Vm.create({
      ...reader,
      devices: [
        device(() => {
          attempt(() => vm!.snapshot(join(folder, "inside")));
          attempt(() => vm!.inspect());
          vm!.pause();
          return 0;
        }),
      ],
    });
    vm = made;
    expect((await vm.run()).kind).toBe("paused");
    expect(seen.slice(0, 2)).toEqual(["already-running", "already-running"]);
    expect(readdirSync(folder)).not.toContain("inside");
  });

  it("may take a snapshot whenever output comes: the machine is at rest", async () => {
    await using vm = await Vm.create(
      program((asm) => {
        asm.op.mov(dx, 0x3f8);
        asm.op.mov(al, 0x2e);
        asm.label("spin");
        asm.op.out(dx, al);
        asm.op.jmp("spin");
      }),
    );
    const path = join(folder, "output");
    vm.serial[0]!.onOutput = () => {
      vm.snapshot(path);
      vm.pause();
    };
    expect((await vm.run()).kind).toBe("paused");
    const { vm: resumed } = await Vm.resume(path);
    expect(resumed.ramDigest()).toBe(vm.ramDigest());
    expect(resumed.deviceDigest()).toBe(vm.deviceDigest());
    await resumed[Symbol.asyncDispose]();
  });

  it("are refused when a factory gives none", async () => {
    const none = (() => undefined) as unknown as DeviceFactory;
    await expect(Vm.create({ ...spin, devices: [none] })).rejects.toMatchObject({ code: "bad-config" });
  });

  it("of one name refuse the machine", async () => {
    const twice = device(() => 0);
    await expect(Vm.create({ ...spin, devices: [twice, twice] })).rejects.toThrow(/own/);
  });
});

describe("SerialPort", () => {
  it("hands nothing on from inside an instruction, keeps all of it, and asks to be emptied", () => {
    let asked = 0;
    const port = new SerialPort(
      () => 0,
      () => asked++,
    );
    const got: number[] = [];
    port.onOutput = (bytes) => void got.push(bytes.length);
    for (let i = 0; i < 100_000; i++) port.put(i & 0xff);
    expect(got).toEqual([]);
    expect(asked).toBeGreaterThan(0);
    expect(port.isFull).toBe(true);
    port.flush();
    port.flush();
    expect(got).toEqual([100_000]);
    expect(port.isFull).toBe(false);
  });
});

describe("a snapshot whose digest is right and whose content is not", () => {
  const path = join(folder, "good");
  interface Header {
    memory: unknown;
    cpus: unknown;
    serialPorts: unknown;
    partition: unknown;
    chipset: Record<string, unknown>;
    msrs: unknown;
    [field: string]: unknown;
  }

  async function good(): Promise<Header> {
    const { image, loadAddress, entry } = buildTestGuest();
    await using vm = await Vm.create({
      memory: MEMORY,
      cpus: 2,
      boot: { kind: "flat", image, loadAddress, entry },
    });
    await vm.run({ until: 3_000_000 });
    vm.snapshot(path, "extra");
    const bytes = readFileSync(path);
    return decodeCbor(bytes.subarray(24, 24 + bytes.readUInt32LE(12))) as Header;
  }

  /** A file with a right digest over whatever it is given. */
  function forge(
    name: string,
    header: Uint8Array,
    pages: readonly number[] = [],
    count = BigInt(pages.length),
  ): string {
    const prefix = Buffer.alloc(24);
    prefix.write("ENTRSNAP", "latin1");
    prefix.writeUInt32LE(1, 8);
    prefix.writeUInt32LE(header.length, 12);
    prefix.writeBigUInt64LE(count, 16);
    const numbers = Buffer.alloc(4 * pages.length);
    pages.forEach((page, i) => void numbers.writeUInt32LE(page, 4 * i));
    const content = Buffer.concat([prefix, header, numbers, Buffer.alloc(4096 * pages.length, 0xcc)]);
    const file = join(folder, name);
    writeFileSync(file, Buffer.concat([content, createHash("sha256").update(content).digest()]));
    return file;
  }

  const refused = (file: string) => expect(Vm.resume(file)).rejects.toMatchObject({ code: "bad-snapshot" });

  it("is refused when a field is of another type, missing or out of range", async () => {
    const header = await good();
    const wrong: [string, unknown[]][] = [
      ["version", [2, "1", null]],
      ["memory", [0, -4096, 4097, Number.NaN, Number.POSITIVE_INFINITY, "16M", null, 2 ** 60]],
      ["cpus", [0, 17, 1, 1.5, "2", null, [2]]],
      ["serialPorts", [0, 5, 1, "2", null]],
      ["partition", [null, "x", 5, new Uint8Array(0), new Uint8Array(100), encodeCbor({ version: 1 })]],
      ["chipset", [null, 5, [], {}, "x"]],
      [
        "msrs",
        [
          null,
          {},
          [],
          [[], 5],
          [[], [5]],
          [[[1]], []],
          [[], [["1", "2"]]],
          [[], [[0x2ff, 5]]],
          [[], [[0x2ff, "-1"]]],
        ],
      ],
    ];
    for (const [field, values] of wrong) {
      const { [field]: _gone, ...rest } = header;
      await refused(forge("missing", encodeCbor(rest)));
      for (const value of values) await refused(forge("wrong", encodeCbor({ ...header, [field]: value })));
    }
    for (const whole of [null, 5, "x", [], new Uint8Array(5), Number.NaN])
      await refused(forge("whole", encodeCbor(whole)));
    for (const device of Object.keys(header.chipset)) {
      const { [device]: _gone, ...rest } = header.chipset;
      await refused(forge("device", encodeCbor({ ...header, chipset: rest })));
    }
  });

  it("is refused when its pages lie outside RAM or its lengths are beyond all reason", async () => {
    const header = encodeCbor(await good());
    await refused(forge("far", header, [MEMORY / 4096]));
    await refused(forge("huge", header, [0xffffffff]));
    for (const count of [1n, 2n ** 32n, 2n ** 52n, 2n ** 64n - 1n])
      await refused(forge("count", header, [], count));
    // Pages in any order and twice are odd, and harmless.
    const { vm } = await Vm.resume(forge("order", header, [5, 3, 3, 4]));
    await vm[Symbol.asyncDispose]();
  });

  it("is refused when its header is no CBOR, nests without end, or holds what CBOR can and a snapshot cannot", async () => {
    const deep = (byte: number, depth: number) => forge("deep", new Uint8Array(depth).fill(byte));
    await refused(deep(0x81, 1_000_000)); // arrays in arrays
    await refused(deep(0xa1, 1_000_000)); // maps as keys of maps
    await refused(deep(0xd8, 1_000_000)); // tags of tags
    for (const text of [
      "ff",
      "9bffffffffffffffff",
      "bbffffffffffffffff",
      "5bffffffffffffffff",
      "9a7fffffff",
      "ba7fffffff",
      "c1fb7ff8000000000000",
      "c249010000000000000000",
      "f7",
      "a1695f5f70726f746f5f5ff6",
      "d9010281",
      "d81c81d81d00",
      "d86946",
      "",
    ])
      await refused(forge("odd", Buffer.from(text, "hex")));
  });

  it("throws VmError alone, whatever any field is replaced by", async () => {
    const header = await good();
    const paths: string[][] = [];
    const walk = (value: unknown, path: string[]): void => {
      if (path.length > 0) paths.push(path);
      if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value))
        for (const [key, item] of Object.entries(value)) walk(item, [...path, key]);
    };
    walk(header, []);
    const junk = fc.oneof(fc.jsonValue(), fc.uint8Array(), fc.double(), fc.maxSafeInteger());
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), junk, async (path, value) => {
        const copy = structuredClone(header) as unknown as Record<string, unknown>;
        const parent = path.slice(0, -1).reduce((at, key) => at[key] as Record<string, unknown>, copy);
        parent[path.at(-1)!] = value;
        try {
          const { vm } = await Vm.resume(forge("field", encodeCbor(copy)));
          await vm.run({ until: vm.now + 100_000 });
          vm.inspect();
          await vm[Symbol.asyncDispose]();
        } catch (error) {
          expect(error).toBeInstanceOf(VmError);
        }
      }),
      { numRuns: 150 },
    );
  }, 60_000);

  it("throws VmError alone, whatever the processor's saved state is", async () => {
    const header = await good();
    const saved = decodeCbor(header.partition as Uint8Array) as { processor: Uint8Array };
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(saved.processor.length - 1), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 200,
        }),
        async (changes) => {
          const processor = Uint8Array.from(saved.processor);
          for (const [at, value] of changes) processor[at] = value;
          const file = forge(
            "processor",
            encodeCbor({ ...header, partition: encodeCbor({ ...saved, processor }) }),
          );
          let vm: Vm;
          try {
            ({ vm } = await Vm.resume(file));
          } catch (error) {
            expect(error).toBeInstanceOf(VmError);
            return;
          }
          setTimeout(() => vm.pause(), 20);
          const stop = await vm.run();
          expect(stop.kind).toMatch(/paused|crashed|halted|reset|power-off/);
          vm.inspect();
          await vm[Symbol.asyncDispose]();
        },
      ),
      { numRuns: 60 },
    );
  }, 60_000);

  it("is told from no file, a folder and a pipe", async () => {
    await expect(Vm.resume(join(folder, "nothing"))).rejects.toMatchObject({ code: "ENOENT" });
    mkdirSync(join(folder, "folder"));
    await refused(join(folder, "folder"));
    await refused("/dev/zero");
  });
});

describe("writing a snapshot", () => {
  it("takes the place of no device and no folder, and leaves nothing behind when it fails", async () => {
    await using vm = await Vm.create(spin);
    const target = join(folder, "target");
    mkdirSync(target);
    const before = readdirSync(folder);
    expect(() => vm.snapshot(target)).toThrow(code("bad-snapshot"));
    expect(() => vm.snapshot("/dev/null")).toThrow(code("bad-snapshot"));
    expect(() => vm.snapshot(join(folder, "no", "such", "folder"))).toThrow(code("ENOENT"));
    expect(readdirSync(folder)).toEqual(before);
  });
});
