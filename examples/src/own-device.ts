// A device of your own: it doubles what is written to it. The guest that uses it is assembled here.
// node examples/dist/own-device.js
import type { Device, MmioDevice } from "@entresol/devices";
import { Assembler, al, ax, dword, dx, eax, rbx } from "@entresol/testguest";
import { type DeviceFactory, Vm } from "@entresol/vmm";

const BASE = 0xd0000000;

/** One 32-bit register: write n, read 2n. */
const doubler: DeviceFactory = ({ bus }) => {
  let value = 0;
  const device: Device & MmioDevice = {
    name: "doubler",
    mmioRead: () => value,
    mmioWrite: (_offset, _width, written) => {
      value = (written * 2) >>> 0;
    },
    reset: () => {
      value = 0;
    },
    save: () => ({ value }),
    restore: (state) => {
      value = (state as { value: number }).value;
    },
    inspect: () => ({ value }),
  };
  bus.registerMmio(device.name, BASE, 4, device);
  return device;
};

/** Runs a guest that writes `n`, 0 to 4, to the device and prints what it reads back. Gives the serial output. */
export async function double(n: number): Promise<string> {
  const asm = new Assembler({ origin: 0x100000 });
  const { op } = asm;
  op.mov(rbx, BASE);
  op.mov(dword({ base: rbx }), n);
  op.mov(eax, dword({ base: rbx }));
  op.add(al, 0x30);
  op.mov(dx, 0x3f8); // COM1
  op.out(dx, al);
  op.mov(dx, 0x604); // PM1a control: sleep type 5, sleep enable
  op.mov(ax, 0x3400);
  op.out(dx, ax);
  op.hlt();
  await using vm = await Vm.create({
    memory: 4 * 2 ** 20,
    boot: { kind: "flat", image: asm.assemble().bytes, loadAddress: asm.origin, entry: asm.origin },
    devices: [doubler],
  });
  let output = "";
  vm.serial[0]!.onOutput = (bytes) => {
    output += Buffer.from(bytes).toString("latin1");
  };
  await vm.run();
  return output;
}

if (process.argv[1]?.endsWith("own-device.js")) console.log(`the guest read ${await double(4)}`);
