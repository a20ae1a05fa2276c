import {
  asGpa,
  type ExitHandler,
  type Partition,
  type PartitionConfig,
  type Vcpu,
} from "@entresol/hypervisor";
import { describe, expect, it } from "vitest";
import { softwareHypervisor } from "./index.ts";
import { quietExits } from "./testing/quiet-exits.ts";

/* What a power-on reset of the partition and INIT of a vCPU put back, and what they leave (AMD64 volume 2, 14.1). */

const config: PartitionConfig = { memory: 2 ** 20, vcpus: 2, time: "virtual", seed: 42n };
const handler: ExitHandler = { ...quietExits, writeMsr: () => true };
const bytes = (text: string): number[] => text.split(/\s+/).map((digits) => Number.parseInt(digits, 16));

/** Sets vCPU `vcpu` to run `code` in real mode at 0x1000, with SSE on, up to its HLT. */
function run({ memory }: Partition, vcpu: Vcpu, code: readonly number[]): void {
  memory.write(asGpa(0x1000), Uint8Array.from(code));
  vcpu.registers.setSegment("cs", { selector: 0, base: 0n, limit: 0xffff, attributes: 0x9b });
  vcpu.registers.set("cr4", 0x600n);
  vcpu.registers.set("rip", 0x1000n);
  expect(vcpu.run(handler, Number.MAX_SAFE_INTEGER)).toEqual({ kind: "halted" });
}
// mov ecx,0xc0000103; mov eax,0x77; xor edx,edx; wrmsr (TSC_AUX); mov ecx,0x10; mov edx,0x55; wrmsr (TSC); movd xmm0,eax; hlt
const LEAVE_TRACES = bytes(
  "66 b9 03 01 00 c0 66 b8 77 00 00 00 66 31 d2 0f 30 66 b9 10 00 00 00 66 ba 55 00 00 00 0f 30 66 0f 6e c0 f4",
);
// mov ecx,0xc0000103; rdmsr; mov ebx,eax; movd eax,xmm0; hlt: TSC_AUX in EBX, XMM0 in EAX
const LOOK = bytes("66 b9 03 01 00 c0 0f 32 66 89 c3 66 0f 7e c0 f4");

const offsetOf = (vcpu: Vcpu): number[] => {
  const out = { low: 0, high: 0 };
  vcpu.tscOffset(out);
  return [out.low, out.high];
};

/** A partition whose vCPU 0 has left traces in MSRs, TSC and SSE registers, and whose other vCPU was started. */
async function used() {
  const partition = await softwareHypervisor.createPartition(config);
  const vcpu: Vcpu = partition.vcpus[0]!;
  run(partition, vcpu, LEAVE_TRACES);
  partition.vcpus[1]!.startup(0x10);
  return { partition, vcpu };
}

describe("a reset of the partition", () => {
  it("is power-on for every vCPU: nothing of what the guest left is there", async () => {
    const { partition, vcpu } = await used();
    expect(offsetOf(vcpu)[1]).toBe(0x55);
    partition.reset();
    expect(partition.vcpus.map(({ activity }) => activity)).toEqual(["running", "wait-for-sipi"]);
    expect(vcpu.registers.get("rip")).toBe(0xfff0n);
    expect(vcpu.registers.segment("cs")).toMatchObject({ selector: 0xf000, base: 0xffff0000n });
    expect(vcpu.registers.get("cr0")).toBe(0x60000010n);
    expect(vcpu.registers.get("cr4")).toBe(0n);
    expect(offsetOf(vcpu)).toEqual([0, 0]);
    run(partition, vcpu, LOOK);
    expect([vcpu.registers.get("rbx"), vcpu.registers.get("rax")]).toEqual([0n, 0n]);
  });

  it("leaves RAM and guest time", async () => {
    const { partition } = await used();
    const now = partition.clock.now();
    partition.memory.write(asGpa(0x5000), Uint8Array.of(1, 2, 3));
    partition.reset();
    const kept = new Uint8Array(3);
    partition.memory.read(asGpa(0x5000), kept);
    expect([...kept]).toEqual([1, 2, 3]);
    expect(now).toBeGreaterThan(0);
    expect(partition.clock.now()).toBe(now);
  });
});

describe("INIT of a vCPU", () => {
  it("leaves its MSRs, TSC and SSE registers, and CR0.CD and NW", async () => {
    const { partition, vcpu } = await used();
    vcpu.registers.set("cr0", 0x60000010n);
    const offset = offsetOf(vcpu);
    vcpu.init();
    expect(vcpu.registers.get("rip")).toBe(0xfff0n);
    expect(vcpu.registers.get("cr0")).toBe(0x60000010n);
    expect(vcpu.registers.get("cr4")).toBe(0n);
    expect(offsetOf(vcpu)).toEqual(offset);
    expect(partition.vcpus[1]!.activity).toBe("running");
    run(partition, vcpu, LOOK);
    expect([vcpu.registers.get("rbx"), vcpu.registers.get("rax")]).toEqual([0x77n, 0x77n]);
  });
});
