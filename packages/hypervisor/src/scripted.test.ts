import { describe, expect, it } from "vitest";
import {
  asGpa,
  type ExitHandler,
  type PartitionConfig,
  ScriptedHypervisor,
  type ScriptStep,
} from "./index.ts";

const config: PartitionConfig = { memory: 8192, vcpus: 1, time: "virtual", seed: 1n };

class RecordingHandler implements ExitHandler {
  readonly seen: string[] = [];
  ready: number[] = [];
  portIn(port: number, width: number): number {
    this.seen.push(`in ${port.toString(16)} ${width}`);
    return 0x5a;
  }
  portOut(port: number, width: number, value: number): void {
    this.seen.push(`out ${port.toString(16)} ${width} ${value}`);
  }
  mmioRead(at: number): number {
    return at & 0xff;
  }
  mmioWrite(at: number, _width: number, value: number): void {
    this.seen.push(`write ${at.toString(16)} ${value}`);
  }
  cpuid(leaf: number, subleaf: number, out: { eax: number; ebx: number; ecx: number; edx: number }): void {
    out.eax = leaf;
    out.ebx = subleaf;
  }
  readMsr(msr: number, out: { low: number; high: number }): boolean {
    out.low = msr;
    return msr !== 0xbad;
  }
  writeMsr(): boolean {
    return true;
  }
  readTaskPriority(): number {
    return 3;
  }
  writeTaskPriority(priority: number): void {
    this.seen.push(`tpr ${priority}`);
  }
  hypercall(): boolean {
    return false;
  }
  interruptReady(): boolean {
    return this.ready.length > 0;
  }
  acknowledgeInterrupt(): number {
    return this.ready.shift()!;
  }
}

async function start(script: ScriptStep[]) {
  const partition = await new ScriptedHypervisor([script]).createPartition(config);
  return { partition, vcpu: partition.vcpus[0]!, handler: new RecordingHandler() };
}

describe("scripted hypervisor", () => {
  it("performs every kind of exit and keeps the answers", async () => {
    const { vcpu, handler } = await start([
      { do: "portOut", port: 0x3f8, width: 1, value: 65 },
      { do: "portIn", port: 0x3fd, width: 1, expect: 0x5a },
      { do: "portIn", port: 0x3fd, width: 1, expect: 0x60 },
      { do: "mmioWrite", at: 0xfec00000, width: 4, value: 1 },
      { do: "mmioRead", at: 0xfec00010, width: 4 },
      { do: "cpuid", leaf: 7, subleaf: 1 },
      { do: "readMsr", msr: 0xbad },
      { do: "readMsr", msr: 0x1b },
      { do: "writeTaskPriority", priority: 9 },
      { do: "readTaskPriority" },
      { do: "shutdown", reason: "done" },
    ]);
    expect(vcpu.run(handler, 1e9)).toEqual({ kind: "shutdown", reason: "done" });
    expect(handler.seen).toEqual(["out 3f8 1 65", "in 3fd 1", "in 3fd 1", "write fec00000 1", "tpr 9"]);
    expect(vcpu.trace).toEqual([
      { step: "portIn", answer: 0x5a },
      { step: "portIn", answer: 0x5a, differs: true },
      { step: "mmioRead", answer: 0x10 },
      { step: "cpuid", answer: [7, 1, 0, 0] },
      { step: "readMsr", answer: false },
      { step: "readMsr", answer: [0x1b, 0] },
      { step: "readTaskPriority", answer: 3 },
    ]);
    expect(vcpu.activity).toBe("shutdown");
  });

  it("pulls an interrupt only while interrupts are enabled, and wakes from HLT by it", async () => {
    const { vcpu, handler } = await start([
      { do: "work", ns: 10 },
      { do: "enableInterrupts", on: true },
      { do: "halt" },
      { do: "work", ns: 5 },
    ]);
    handler.ready = [0x31];
    expect(vcpu.run(handler, 5)).toEqual({ kind: "deadline" });
    expect(vcpu.trace).toEqual([]);
    expect(vcpu.run(handler, 1000)).toEqual({ kind: "halted" });
    expect(vcpu.trace).toEqual([{ step: "interrupt", answer: 0x31 }]);
    expect(vcpu.canRun(handler)).toBe(false);
    handler.ready = [0x32];
    expect(vcpu.canRun(handler)).toBe(true);
    expect(vcpu.run(handler, 1000)).toEqual({ kind: "shutdown", reason: "end of script" });
  });

  it("stops for a kick, and latches one NMI", async () => {
    const { vcpu, handler } = await start([{ do: "halt" }]);
    vcpu.kick();
    expect(vcpu.run(handler, 100)).toEqual({ kind: "kicked" });
    expect(vcpu.run(handler, 100)).toEqual({ kind: "halted" });
    vcpu.pendNmi();
    vcpu.pendNmi();
    expect(vcpu.run(handler, 100)).toEqual({ kind: "shutdown", reason: "end of script" });
    expect(vcpu.trace).toEqual([{ step: "nmi" }]);
  });

  it("moves time only by work and idling", async () => {
    const { partition, vcpu, handler } = await start([{ do: "work", ns: 100 }, { do: "halt" }]);
    vcpu.run(handler, 1e9);
    expect(partition.clock.now()).toBe(102);
    expect(partition.idle(5000, new Promise(() => {}))).toBeUndefined();
    expect(partition.clock.now()).toBe(5000);
  });

  it("refuses RAM accesses that leave RAM", async () => {
    const { partition } = await start([]);
    for (const [at, length] of [
      [8192, 1],
      [8190, 4],
      [-1, 1],
      [0.5, 1],
      [Number.NaN, 1],
    ] as const) {
      expect(() => partition.memory.read(asGpa(at), new Uint8Array(length))).toThrow(
        expect.objectContaining({ code: "bad-address" }),
      );
      expect(() => partition.memory.write(asGpa(at), new Uint8Array(length))).toThrow(
        expect.objectContaining({ code: "bad-address" }),
      );
      expect(() => partition.memory.fill(asGpa(at), length, 0)).toThrow(
        expect.objectContaining({ code: "bad-address" }),
      );
    }
    partition.memory.write(asGpa(8190), Uint8Array.of(1, 2));
    const back = new Uint8Array(2);
    partition.memory.read(asGpa(8190), back);
    expect([...back]).toEqual([1, 2]);
  });
});
