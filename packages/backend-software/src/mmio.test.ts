import { asGpa, type ExitHandler, type PartitionConfig, type Vcpu } from "@entresol/hypervisor";
import { describe, expect, it } from "vitest";
import { softwareHypervisor } from "./index.ts";
import { quietExits } from "./testing/quiet-exits.ts";

/*
 * How accesses outside RAM reach the handler (order, width, address), and the corners of a vCPU's run: called from inside an
 * exit, and the TSC's offset.
 */

const config: PartitionConfig = { memory: 2 ** 20, vcpus: 2, time: "virtual", seed: 42n };
const DEVICE = 0xfec00000;
const HLT = 0xf4;

/** Records MMIO; a read gives bytes that tell their address: byte 0x10 at offset 0, 0x11 at offset 1. */
function recorder(overrides: Partial<ExitHandler> = {}) {
  const log: string[] = [];
  const handler: ExitHandler = {
    ...quietExits,
    mmioRead: (at, width) => {
      log.push(`read ${at.toString(16)} ${width}`);
      let value = 0;
      for (let i = width - 1; i >= 0; i--) value = value * 256 + ((at + i + 0x10) & 0xff);
      return value;
    },
    mmioWrite: (at, width, value) => log.push(`write ${at.toString(16)} ${width} ${value.toString(16)}`),
    ...overrides,
  };
  return { log, handler };
}

/** A partition whose vCPU 0 runs `code` in real mode at 0x1000 with DS at `base`; SSE is on. */
async function realMode(code: readonly number[], base = DEVICE) {
  const partition = await softwareHypervisor.createPartition(config);
  const vcpu: Vcpu = partition.vcpus[0]!;
  partition.memory.write(asGpa(0x1000), Uint8Array.from(code));
  vcpu.registers.setSegment("cs", { selector: 0, base: 0n, limit: 0xffff, attributes: 0x9b });
  vcpu.registers.setSegment("ss", { selector: 0, base: 0n, limit: 0xffff, attributes: 0x93 });
  vcpu.registers.setSegment("ds", { selector: 0, base: BigInt(base), limit: 0xffff, attributes: 0x93 });
  vcpu.registers.set("cr0", 0x10n);
  vcpu.registers.set("cr4", 0x600n);
  vcpu.registers.set("rsp", 0x1000n);
  vcpu.registers.set("rip", 0x1000n);
  return { partition, vcpu };
}

const bytes = (text: string): number[] => text.split(" ").map((digits) => Number.parseInt(digits, 16));

describe("MMIO", () => {
  it("of 8 bytes comes as two accesses of 4, the low part first", async () => {
    // movq xmm0,[bx]; movq [bx+8],xmm0; hlt
    const { vcpu } = await realMode(bytes("f3 0f 7e 07 66 0f d6 47 08 f4"));
    const { log, handler } = recorder();
    expect(vcpu.run(handler, 1e6)).toEqual({ kind: "halted" });
    expect(log).toEqual([
      "read fec00000 4",
      "read fec00004 4",
      "write fec00008 4 13121110",
      "write fec0000c 4 17161514",
    ]);
  });

  it("of 16 bytes comes as four accesses of 4, in order", async () => {
    // movups xmm0,[bx]; movups [bx+16],xmm0; hlt
    const { vcpu } = await realMode(bytes("0f 10 07 0f 11 47 10 f4"));
    const { log, handler } = recorder();
    vcpu.run(handler, 1e6);
    expect(log.slice(0, 4)).toEqual([0, 4, 8, 12].map((i) => `read ${(DEVICE + i).toString(16)} 4`));
    expect(log.slice(4)).toEqual([
      "write fec00010 4 13121110",
      "write fec00014 4 17161514",
      "write fec00018 4 1b1a1918",
      "write fec0001c 4 1f1e1d1c",
    ]);
  });

  it("that is not aligned comes whole while it stays in its page", async () => {
    // mov eax,[bx+3]; mov [bx+0xffb],ax (ends a byte before the page does); movq xmm0,[bx+0xff7]; hlt
    const { vcpu } = await realMode(bytes("66 8b 47 03 89 87 fb 0f f3 0f 7e 87 f7 0f f4"));
    const { log, handler } = recorder();
    vcpu.run(handler, 1e6);
    expect(vcpu.registers.get("rax")).toBe(0x16151413n);
    expect(log).toEqual(["read fec00003 4", "write fec00ffb 2 1413", "read fec00ff7 4", "read fec00ffb 4"]);
  });

  it("that crosses a page comes byte by byte, the low one first", async () => {
    // mov eax,[bx+0xffe]; mov [bx+0xfff],ax; hlt
    const { vcpu } = await realMode(bytes("66 8b 87 fe 0f 89 87 ff 0f f4"));
    const { log, handler } = recorder();
    vcpu.run(handler, 1e6);
    expect(vcpu.registers.get("rax")).toBe(0x11100f0en);
    expect(log).toEqual([
      ...[0xffe, 0xfff, 0x1000, 0x1001].map((at) => `read ${(DEVICE + at).toString(16)} 1`),
      "write fec00fff 1 e",
      "write fec01000 1 f",
    ]);
  });

  it("of 16 bytes that crosses a page is parted in two of 8 first", async () => {
    // movups [bx+0xffc],xmm0; movups [bx+0xff8],xmm0; hlt
    const { vcpu } = await realMode(bytes("0f 11 87 fc 0f 0f 11 87 f8 0f f4"));
    const { log, handler } = recorder();
    vcpu.run(handler, 1e6);
    const crossing = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => `write ${(DEVICE + 0xffc + i).toString(16)} 1 0`);
    expect(log.slice(0, 10)).toEqual([...crossing, "write fec01004 4 0", "write fec01008 4 0"]);
    expect(log.slice(10)).toEqual(
      [0xff8, 0xffc, 0x1000, 0x1004].map((at) => `write ${(DEVICE + at).toString(16)} 4 0`),
    );
  });

  it("that begins in RAM's last page reads and writes RAM there, and the rest outside", async () => {
    // mov eax,[bx+0xfffe]; mov [bx+0xffff],ax; hlt. DS begins 64 KiB below the end of RAM.
    const { partition, vcpu } = await realMode(
      bytes("66 67 8b 83 fe ff 00 00 67 89 83 ff ff 00 00 f4"),
      0xf0000,
    );
    vcpu.registers.setSegment("ds", { selector: 0, base: 0xf0000n, limit: 0xffffffff, attributes: 0x8093 });
    partition.memory.write(asGpa(0xffffe), Uint8Array.of(0xaa, 0xbb));
    const { log, handler } = recorder();
    expect(vcpu.run(handler, 1e6)).toEqual({ kind: "halted" });
    expect(vcpu.registers.get("rax")).toBe(0x1110bbaan);
    const last = new Uint8Array(1);
    partition.memory.read(asGpa(0xfffff), last);
    expect(last[0]).toBe(0xaa);
    expect(log).toEqual(["read 100000 1", "read 100001 1", "write 100000 1 bb"]);
  });

  it("that is read, changed and written is one read and one write of the operand's width", async () => {
    // inc word [bx]; xchg [bx+4],eax; lock add byte [bx+8],1; hlt
    const { vcpu } = await realMode(bytes("ff 07 66 87 47 04 f0 80 47 08 01 f4"));
    vcpu.registers.set("rax", 0xdeadbeefn);
    const { log, handler } = recorder();
    vcpu.run(handler, 1e6);
    expect(log).toEqual([
      "read fec00000 2",
      "write fec00000 2 1111",
      "read fec00004 4",
      "write fec00004 4 deadbeef",
      "read fec00008 1",
      "write fec00008 1 19",
    ]);
    expect(vcpu.registers.get("rax")).toBe(0x17161514n);
  });

  it("has the physical address, above 4 GiB too: 4 MiB pages with address bits 32 to 39", async () => {
    // 16-bit protected mode with paging: mov eax,[0x400123]; hlt
    const { partition, vcpu } = await realMode(bytes("67 66 a1 23 01 40 00 f4"), 0);
    vcpu.registers.setSegment("ds", { selector: 8, base: 0n, limit: 0xffffffff, attributes: 0x8093 });
    const directory = new Uint8Array(8);
    const view = new DataView(directory.buffer);
    view.setUint32(0, 0x87, true);
    view.setUint32(4, 0x0c000087 | (0xa5 << 13), true);
    partition.memory.write(asGpa(0x2000), directory);
    vcpu.registers.set("cr3", 0x2000n);
    vcpu.registers.set("cr4", 0x10n);
    vcpu.registers.set("cr0", 0x80000011n);
    const { log, handler } = recorder();
    expect(vcpu.run(handler, 1e6)).toEqual({ kind: "halted" });
    expect(log).toEqual(["read a50c000123 4"]);
  });

  it("answers with more bits than asked for are cut to the width", async () => {
    // mov al,[bx]; mov cx,[bx]; movzx edx,byte [bx]; hlt
    const { vcpu } = await realMode(bytes("8a 07 8b 0f 66 0f b6 17 f4"));
    for (const name of ["rax", "rcx", "rdx"] as const) vcpu.registers.set(name, 0x11111111n);
    const { handler } = recorder({ mmioRead: () => 0xfedcba98 });
    vcpu.run(handler, 1e6);
    expect([vcpu.registers.get("rax"), vcpu.registers.get("rcx"), vcpu.registers.get("rdx")]).toEqual([
      0x11111198n,
      0x1111ba98n,
      0x98n,
    ]);
  });
});

describe("run, called from inside an exit", () => {
  it("throws, whichever vCPU it is called on, and the exit that catches it goes on", async () => {
    // out 0x10,al; inc bx; hlt
    const { partition, vcpu } = await realMode([0xe6, 0x10, 0x43, HLT]);
    partition.vcpus[1]!.startup(1);
    const thrown: unknown[] = [];
    const { handler } = recorder({
      portOut: () => {
        for (const each of partition.vcpus) {
          try {
            each.run(handler, 1e6);
          } catch (error) {
            thrown.push(error);
          }
        }
      },
    });
    expect(vcpu.run(handler, 1e6)).toEqual({ kind: "halted" });
    expect(thrown.map((error) => error instanceof Error)).toEqual([true, true]);
    expect(vcpu.registers.get("rbx")).toBe(1n);
    expect(partition.vcpus[1]!.activity).toBe("running");
  });

  it("ends the outer run with its exception when nobody catches it", async () => {
    const { vcpu } = await realMode([0xe6, 0x10, HLT]);
    const { handler } = recorder({ portOut: () => void vcpu.run(handler, 1e6) });
    expect(() => vcpu.run(handler, 1e6)).toThrow("while one runs");
  });
});

describe("tscOffset", () => {
  const offsetOf = (vcpu: Vcpu): bigint => {
    const out = { low: 0, high: 0 };
    vcpu.tscOffset(out);
    return BigInt(out.low) | (BigInt(out.high) << 32n);
  };
  /** mov ecx,0x10; wrmsr; rdtsc; hlt: EDX:EAX to the TSC, and what it counts right behind. */
  const WRITE_TSC = bytes("66 b9 10 00 00 00 0f 30 0f 31 f4");

  it.each([
    ["a value ahead of guest time", 0x0123_4567_89ab_cdefn],
    ["0, which is behind it", 0n],
    ["the largest", 0xffff_ffff_ffff_ffffn],
  ])("is what WRMSR added to guest time, modulo 2^64: %s", async (_name, value) => {
    const { partition, vcpu } = await realMode(WRITE_TSC);
    expect(offsetOf(vcpu)).toBe(0n);
    void partition.idle(5_000_000, Promise.resolve());
    vcpu.registers.set("rax", value & 0xffffffffn);
    vcpu.registers.set("rdx", value >> 32n);
    const told: [number, number, number][] = [];
    const { handler } = recorder({
      writeMsr: (msr, low, high) => {
        told.push([msr, low, high]);
        return false; // the TSC is the processor's: nobody can refuse it
      },
    });
    expect(vcpu.run(handler, 1e9)).toEqual({ kind: "halted" });
    const offset = offsetOf(vcpu);
    const at = BigInt.asUintN(64, value - offset); // the guest time of the write
    expect(at).toBeGreaterThanOrEqual(5_000_000n);
    expect(at).toBeLessThanOrEqual(5_000_010n);
    const read = vcpu.registers.get("rax") | (vcpu.registers.get("rdx") << 32n);
    expect(BigInt.asUintN(64, read - value)).toBeLessThan(10n);
    expect(told).toEqual([[0x10, Number(value & 0xffffffffn), Number(value >> 32n)]]);
    expect(offsetOf(partition.vcpus[1]!)).toBe(0n);
  });

  it("outlives INIT, a save and a restore", async () => {
    const { partition, vcpu } = await realMode(WRITE_TSC);
    vcpu.registers.set("rax", 0x1234n);
    vcpu.registers.set("rdx", 0x55n);
    vcpu.run(recorder().handler, 1e6);
    const offset = offsetOf(vcpu);
    expect(offset >> 32n).toBe(0x55n);
    const other = await softwareHypervisor.createPartition(config);
    other.restore(partition.save());
    expect(offsetOf(other.vcpus[0]!)).toBe(offset);
    vcpu.init();
    expect(offsetOf(vcpu)).toBe(offset);
  });
});
