import { asGpa, type ExitHandler, type PartitionConfig } from "@entresol/hypervisor";
import { decodeCbor, encodeCbor } from "@entresol/wire";
import { describe, expect, it } from "vitest";
import { softwareHypervisor } from "./index.ts";
import { quietExits } from "./testing/quiet-exits.ts";

const config: PartitionConfig = { memory: 2 ** 20, vcpus: 2, time: "virtual", seed: 42n };

/** Answers nothing, has no interrupts but those in `ready`. */
function handler(overrides: Partial<ExitHandler> = {}): ExitHandler & { ready: number[] } {
  const base = {
    ready: [] as number[],
    ...quietExits,
    interruptReady: () => base.ready.length > 0,
    acknowledgeInterrupt: () => base.ready.shift()!,
  };
  return Object.assign(base, overrides);
}

/** A partition whose vCPU 0 is about to run `code` in real mode at 0x1000, stack below it. */
async function realMode(code: number[], overrides: Partial<PartitionConfig> = {}) {
  const partition = await softwareHypervisor.createPartition({ ...config, ...overrides });
  const vcpu = partition.vcpus[0]!;
  partition.memory.write(asGpa(0x1000), Uint8Array.from(code));
  vcpu.registers.setSegment("cs", { selector: 0, base: 0n, limit: 0xffff, attributes: 0x9b });
  vcpu.registers.setSegment("ss", { selector: 0, base: 0n, limit: 0xffff, attributes: 0x93 });
  vcpu.registers.set("rsp", 0x1000n);
  vcpu.registers.set("rip", 0x1000n);
  return { partition, vcpu };
}

const HLT = 0xf4;
const STI = 0xfb;

describe("software partition", () => {
  it.each([
    [{ memory: 0 }],
    [{ memory: 4097 }],
    [{ memory: 2 ** 33 }],
    [{ memory: Number.NaN }],
    [{ vcpus: 0 }],
    [{ vcpus: 17 }],
    [{ vcpus: 1.5 }],
  ])("refuses %j", async (wrong) => {
    await expect(softwareHypervisor.createPartition({ ...config, ...wrong })).rejects.toMatchObject({
      code: "bad-config",
    });
  });

  it("starts vCPU 0 at the reset vector and leaves the others waiting for SIPI", async () => {
    const { vcpus } = await softwareHypervisor.createPartition(config);
    expect(vcpus.map(({ activity }) => activity)).toEqual(["running", "wait-for-sipi"]);
    expect(vcpus[0]!.registers.segment("cs")).toMatchObject({ selector: 0xf000, base: 0xffff0000n });
    expect(vcpus[0]!.registers.get("rip")).toBe(0xfff0n);
    expect(vcpus[0]!.registers.get("rflags")).toBe(2n);
  });

  it("starts a waiting vCPU by SIPI at its vector, once", async () => {
    const { vcpus } = await softwareHypervisor.createPartition(config);
    vcpus[1]!.startup(0x12);
    expect(vcpus[1]!.activity).toBe("running");
    expect(vcpus[1]!.registers.segment("cs")).toMatchObject({ selector: 0x1200, base: 0x12000n });
    vcpus[1]!.startup(0x34);
    expect(vcpus[1]!.registers.segment("cs").selector).toBe(0x1200);
    vcpus[1]!.init();
    expect(vcpus[1]!.activity).toBe("wait-for-sipi");
  });

  it("runs until guest time is up, counting an instruction as a nanosecond", async () => {
    const { partition, vcpu } = await realMode([0xeb, 0xfe]); // jmp $
    expect(vcpu.run(handler(), 10_000)).toEqual({ kind: "deadline" });
    expect(partition.clock.now()).toBeGreaterThanOrEqual(10_000);
    expect(partition.clock.now()).toBeLessThan(10_100);
    expect(partition.instructions).toBe(partition.clock.now());
  });

  it("passes ports with their width, and masks what comes back", async () => {
    const seen: string[] = [];
    const { vcpu } = await realMode([0xe5, 0x10, 0xe6, 0x20, 0x66, 0xe7, 0x30, HLT]); // in ax,10h; out 20h,al; out 30h,eax; hlt
    const exits = handler({
      portIn: (port, width) => {
        seen.push(`in ${port} ${width}`);
        return 0x12345678;
      },
      portOut: (port, width, value) => seen.push(`out ${port} ${width} ${value.toString(16)}`),
    });
    vcpu.registers.set("rax", 0xaaaabbbbn);
    expect(vcpu.run(exits, 1e6)).toEqual({ kind: "halted" });
    expect(seen).toEqual(["in 16 2", "out 32 1 78", "out 48 4 aaaa5678"]);
  });

  it("splits nothing and loses nothing of an MMIO access", async () => {
    const seen: string[] = [];
    const { vcpu } = await realMode([0x66, 0x8b, 0x07, 0x88, 0x47, 0x04, HLT]); // mov eax,[bx]; mov [bx+4],al; hlt
    vcpu.registers.setSegment("ds", { selector: 0, base: 0xfec00000n, limit: 0xffff, attributes: 0x93 });
    const exits = handler({
      mmioRead: (at, width) => {
        seen.push(`read ${at.toString(16)} ${width}`);
        return 0x89abcdef;
      },
      mmioWrite: (at, width, value) => seen.push(`write ${at.toString(16)} ${width} ${value.toString(16)}`),
    });
    vcpu.run(exits, 1e6);
    expect(seen).toEqual(["read fec00000 4", "write fec00004 1 ef"]);
    expect(vcpu.registers.get("rax")).toBe(0x89abcdefn);
  });

  it("takes an interrupt only with IF set, after the instruction behind STI, and wakes from HLT by it", async () => {
    // IVT vector 0x20 -> 0:0x2000: inc cx; iret.  Program: nop; sti; inc dx; hlt; inc bx; cli; hlt
    const { partition, vcpu } = await realMode([0x90, STI, 0x42, HLT, 0x43, 0xfa, HLT]);
    partition.memory.write(asGpa(0x20 * 4), Uint8Array.of(0x00, 0x20, 0, 0));
    partition.memory.write(asGpa(0x2000), Uint8Array.of(0x41, 0xcf));
    const exits = handler();
    exits.ready = [0x20];
    expect(vcpu.canRun(exits)).toBe(true);
    expect(vcpu.run(exits, 1e6)).toEqual({ kind: "halted" });
    expect([vcpu.registers.get("rcx"), vcpu.registers.get("rdx") & 0xffn, vcpu.registers.get("rbx")]).toEqual(
      [1n, 0x12n, 0n],
    );
    expect(vcpu.activity).toBe("halted");
    expect(vcpu.canRun(exits)).toBe(false);
    exits.ready = [0x20];
    expect(vcpu.canRun(exits)).toBe(true);
    expect(vcpu.run(exits, 1e6)).toEqual({ kind: "halted" });
    expect([vcpu.registers.get("rcx"), vcpu.registers.get("rbx")]).toEqual([2n, 1n]);
    exits.ready = [0x20];
    expect(vcpu.canRun(exits)).toBe(false); // CLI
  });

  it("takes an interrupt that an exit makes ready before the next block", async () => {
    // sti; nop; out 0x10,al; inc dx; jmp $-1
    const { partition, vcpu } = await realMode([STI, 0x90, 0xe6, 0x10, 0xeb, 0xfe]);
    partition.memory.write(asGpa(0x20 * 4), Uint8Array.of(0x00, 0x20, 0, 0));
    partition.memory.write(asGpa(0x2000), Uint8Array.of(HLT));
    const exits = handler({
      portOut: () => {
        exits.ready = [0x20];
      },
    });
    expect(vcpu.run(exits, 1e6)).toEqual({ kind: "halted" });
    expect(partition.clock.now()).toBeLessThan(20);
  });

  it("stops for a kick, also for one from inside an exit", async () => {
    const { vcpu } = await realMode([0xe6, 0x10, 0xeb, 0xfc]); // out 10h,al; jmp
    vcpu.kick();
    expect(vcpu.run(handler(), 1e6)).toEqual({ kind: "kicked" });
    expect(vcpu.run(handler({ portOut: () => vcpu.kick() }), 1e6)).toEqual({ kind: "kicked" });
  });

  it("delivers an NMI to a halted vCPU with IF clear", async () => {
    const { partition, vcpu } = await realMode([HLT, 0x43, HLT]);
    partition.memory.write(asGpa(2 * 4), Uint8Array.of(0x00, 0x20, 0, 0));
    partition.memory.write(asGpa(0x2000), Uint8Array.of(0x41, 0xcf));
    const exits = handler();
    expect(vcpu.run(exits, 1e6)).toEqual({ kind: "halted" });
    expect(vcpu.canRun(exits)).toBe(false);
    vcpu.pendNmi();
    expect(vcpu.canRun(exits)).toBe(true);
    expect(vcpu.run(exits, 1e6)).toEqual({ kind: "halted" });
    expect([vcpu.registers.get("rcx"), vcpu.registers.get("rbx")]).toEqual([1n, 1n]);
  });

  it("sees code that the host writes while the guest is stopped", async () => {
    const { partition, vcpu } = await realMode([0x43, 0xeb, 0xfd]); // inc bx; jmp
    vcpu.run(handler(), 1000);
    partition.memory.write(asGpa(0x1000), Uint8Array.of(HLT));
    expect(vcpu.run(handler(), 1e6)).toEqual({ kind: "halted" });
  });

  it("gives RDRAND from the seed: the same seed, the same run", async () => {
    const draw = async (seed: bigint) => {
      const { vcpu } = await realMode([0x66, 0x0f, 0xc7, 0xf0, HLT], { seed }); // rdrand eax; hlt
      vcpu.run(handler(), 1e6);
      return vcpu.registers.get("rax");
    };
    expect(await draw(1n)).toBe(await draw(1n));
    expect(await draw(1n)).not.toBe(await draw(2n));
  });

  it("jumps over idle time, or waits for it", async () => {
    const virtual = await softwareHypervisor.createPartition(config);
    expect(virtual.idle(5e9, new Promise(() => {}))).toBeUndefined();
    expect(virtual.clock.now()).toBe(5e9);
    const real = await softwareHypervisor.createPartition({ ...config, time: "real" });
    const before = performance.now();
    await real.idle(real.clock.now() + 20e6, new Promise(() => {}));
    expect(performance.now() - before).toBeGreaterThan(15);
    expect(real.clock.now()).toBeGreaterThan(15e6);
    await real.idle(real.clock.now() + 60e9, Promise.resolve());
  });

  it("saves and restores vCPUs, time and randomness", async () => {
    const program = [0x66, 0x0f, 0xc7, 0xf0, 0x43, 0xeb, 0xf9]; // rdrand eax; inc bx; jmp
    const { partition, vcpu } = await realMode(program);
    vcpu.run(handler(), 5000);
    const state = partition.save();
    vcpu.run(handler(), 9000);
    const other = await softwareHypervisor.createPartition(config);
    other.memory.write(asGpa(0x1000), Uint8Array.from(program));
    other.restore(state);
    other.vcpus[0]!.run(handler(), 9000);
    for (const name of ["rax", "rbx", "rip", "rflags"] as const) {
      expect(other.vcpus[0]!.registers.get(name)).toBe(vcpu.registers.get(name));
    }
    expect(other.clock.now()).toBe(partition.clock.now());
    expect(other.vcpus[1]!.activity).toBe("wait-for-sipi");
  });

  it("refuses a state that is none", async () => {
    const partition = await softwareHypervisor.createPartition(config);
    for (const bytes of [new Uint8Array(0), Uint8Array.of(0xa0), partition.save().subarray(0, 100)]) {
      expect(() => partition.restore(bytes)).toThrow();
    }
  });

  it("refuses a state whose guest time cannot be: before the start, or beyond what is exact", async () => {
    const partition = await softwareHypervisor.createPartition(config);
    const state = decodeCbor(partition.save()) as { processor: Uint8Array };
    // Count and idle time, 64 bits each, at 16 and 24.
    for (const [count, skew] of [
      [-1n, 0n],
      [0n, -5n],
      [2n ** 62n, 0n],
      [0n, 2n ** 53n],
      [2n ** 63n - 1n, 2n ** 63n - 1n],
      [-4n, 4n],
    ] as const) {
      const processor = Uint8Array.from(state.processor);
      const view = new DataView(processor.buffer);
      view.setBigInt64(16, count, true);
      view.setBigInt64(24, skew, true);
      expect(() => partition.restore(encodeCbor({ ...state, processor }))).toThrow(
        expect.objectContaining({ code: "bad-state" }),
      );
    }
    partition.restore(encodeCbor(state));
    expect(partition.clock.now()).toBe(0);
  });

  it("says that it is the host that has no room for the guest's RAM", async () => {
    const engine = Reflect.get(globalThis, "WebAssembly") as { Memory: unknown };
    const { Memory } = engine;
    try {
      // As an engine does when the operating system refuses.
      engine.Memory = class {
        constructor() {
          throw new RangeError("WebAssembly.Memory(): could not allocate memory");
        }
      };
      await expect(softwareHypervisor.createPartition(config)).rejects.toMatchObject({
        code: "unavailable",
        message: expect.stringContaining("1 MiB") as string,
      });
    } finally {
      engine.Memory = Memory;
    }
  });

  it("refuses RAM accesses that leave RAM", async () => {
    const { memory } = await softwareHypervisor.createPartition(config);
    expect(() => memory.read(asGpa(2 ** 20 - 1), new Uint8Array(2))).toThrow(
      expect.objectContaining({ code: "bad-address" }),
    );
    expect(() => memory.write(asGpa(-1), new Uint8Array(1))).toThrow(
      expect.objectContaining({ code: "bad-address" }),
    );
    expect(() => memory.fill(asGpa(0), 2 ** 20 + 1, 0)).toThrow(
      expect.objectContaining({ code: "bad-address" }),
    );
  });
});
