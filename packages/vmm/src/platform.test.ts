import { PciFunction } from "@entresol/devices";
import { Assembler, al, dx, eax } from "@entresol/testguest";
import { describe, expect, it } from "vitest";
import { type Platform, Vm, type VmConfig } from "./index.ts";

const probe = () => new PciFunction({ name: "probe", vendor: 0x1b36, device: 0x7e57, classCode: 0xff0000 });
const identity = [0x36, 0x1b, 0x57, 0x7e];
/** CONFIG_ADDRESS of register 0 of device 4 on bus 0, and of what is in the slot of the first root port: bus 1 by firmware. */
const device4 = 0x8000_2000;
const firstSlot = 0x8001_0000;

/** A guest that reads vendor and device until a function answers, and writes them to COM1, low byte first. */
function readsIdentity(configAddress: number): VmConfig {
  const asm = new Assembler({ origin: 0x100000 });
  const { op } = asm;
  asm.label("again");
  op.mov(dx, 0xcf8);
  op.mov(eax, configAddress);
  op.out(dx, eax);
  op.mov(dx, 0xcfc);
  op.in(eax, dx);
  op.cmp(eax, -1);
  op.jz("again");
  op.mov(dx, 0x3f8);
  for (let i = 0; i < 4; i++) {
    op.out(dx, al);
    op.shr(eax, 8);
  }
  op.mov(dx, 0x604);
  op.mov(eax, 0x3400);
  op.out(dx, eax);
  op.hlt();
  return {
    memory: 2 ** 21,
    boot: { kind: "flat", image: asm.assemble().bytes, loadAddress: asm.origin, entry: asm.origin },
  };
}

async function start(config: VmConfig) {
  const vm = await Vm.create(config);
  const output: number[] = [];
  vm.serial[0]!.onOutput = (bytes) => output.push(...bytes);
  return { vm, output };
}

describe("PCI functions of the embedder's", () => {
  it("are there when the guest starts, and belong to the hierarchy in saved state and inspection", async () => {
    const devices = [
      ({ pci }: Platform): undefined => {
        pci.attach(probe(), { device: 4 });
      },
    ];
    const { vm, output } = await start({ ...readsIdentity(device4), devices });
    expect(await vm.run()).toEqual({ kind: "power-off" });
    expect(output).toEqual(identity);
    expect(JSON.stringify(vm.inspect())).toContain("probe");
    await vm[Symbol.asyncDispose]();
  });

  it("can be plugged into a running guest, and pulled out", async () => {
    let platform: Platform | undefined;
    const devices = [
      (given: Platform): undefined => {
        platform = given;
        given.pci.attach(probe(), { device: 5 });
      },
    ];
    const { vm, output } = await start({ ...readsIdentity(firstSlot), devices });
    expect(await vm.run({ until: 1_000_000 })).toEqual({ kind: "paused" });
    platform!.pci.hotAdd(0, probe());
    platform!.pci.hotRemove(0);
    expect(await vm.run({ until: 2_000_000 })).toEqual({ kind: "paused" });
    expect(output).toEqual([]);
    platform!.pci.hotAdd(0, probe());
    expect(await vm.run()).toEqual({ kind: "power-off" });
    expect(output).toEqual(identity);
    await vm[Symbol.asyncDispose]();
  });

  it("are all that a factory may make instead of a device", async () => {
    await expect(Vm.create({ ...readsIdentity(device4), devices: [() => undefined] })).rejects.toMatchObject({
      code: "bad-config",
    });
  });
});
