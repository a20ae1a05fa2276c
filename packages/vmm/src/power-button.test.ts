import { Assembler, al, ax, dx } from "@entresol/testguest";
import { describe, expect, it } from "vitest";
import { Vm, type VmConfig } from "./index.ts";

const pm1Status = 0x600;
const pm1Enable = 0x602;
const pm1Control = 0x604;

/** A guest that waits for a bit of the upper byte of PM1_STS and turns itself off when it is set. */
function waitsFor(bit: number): VmConfig {
  const asm = new Assembler({ origin: 0x100000 });
  const { op } = asm;
  op.mov(dx, pm1Enable);
  op.mov(ax, bit << 8);
  op.out(dx, ax);
  op.mov(dx, pm1Status + 1);
  asm.label("again");
  op.in(al, dx);
  op.test(al, bit);
  op.jz("again");
  op.mov(dx, pm1Control);
  op.mov(ax, 0x3400);
  op.out(dx, ax);
  op.hlt();
  return {
    memory: 2 ** 21,
    boot: { kind: "flat", image: asm.assemble().bytes, loadAddress: asm.origin, entry: asm.origin },
  };
}

describe("Buttons of the machine", () => {
  it.each([
    ["power", 1],
    ["sleep", 2],
  ] as const)("reach the guest as events of PM1: %s", async (button, bit) => {
    await using vm = await Vm.create(waitsFor(bit));
    expect(await vm.run({ until: 1_000_000 })).toEqual({ kind: "paused" });
    if (button === "power") vm.pressPowerButton();
    else vm.pressSleepButton();
    expect(await vm.run({ until: 2_000_000 })).toEqual({ kind: "power-off" });
  });

  it("cannot be pressed on a VM that was disposed of", async () => {
    const vm = await Vm.create(waitsFor(1));
    await vm[Symbol.asyncDispose]();
    expect(() => vm.pressPowerButton()).toThrowError(expect.objectContaining({ code: "disposed" }));
  });
});
