// A multiboot kernel that tries something and tells how it went: node examples/dist/test-kernel.js [file]
import { readFileSync } from "node:fs";
import { Assembler, addressOf, buildTestGuest, dx, eax, memory, wrapMultiboot } from "@entresol/testguest";
import { Vm } from "@entresol/vmm";

/** A kernel that adds two numbers, and ends with how far the sum is off. */
export function addingKernel(): Uint8Array {
  const asm = new Assembler({ origin: 0x100000, bits: 32 });
  const { op } = asm;
  const magic = 0x1badb002;
  const flags = 1 << 16; // the header says where the file goes
  asm.dd(magic, flags, -(magic + flags) >>> 0, asm.origin, asm.origin, 0, 0, addressOf("start"));
  asm.label("start");
  op.mov(eax, 19);
  op.add(eax, memory("number"));
  op.sub(eax, 42);
  op.mov(dx, 0xf4); // the test device's exit port
  op.out(dx, eax);
  asm.label("number");
  asm.dd(23);
  return asm.assemble().bytes;
}

/** Runs `kernel` and gives what it wrote to COM1 and how it ended: the result that it wrote, or another reason. */
export async function runKernel(kernel: Uint8Array): Promise<{ output: string; end: number | string }> {
  await using vm = await Vm.create({
    memory: 64 * 2 ** 20,
    cpus: 2,
    boot: { kind: "multiboot", kernel, commandLine: "kernel" },
    testDevice: true,
  });
  let output = "";
  vm.serial[0]!.onOutput = (bytes) => {
    output += Buffer.from(bytes).toString("latin1");
  };
  const stop = await vm.run();
  return { output, end: stop.kind === "test-exit" ? stop.value : stop.kind };
}

if (process.argv[1]?.endsWith("test-kernel.js")) {
  console.log("the adding kernel ends with", (await runKernel(addingKernel())).end);
  const file = process.argv[2];
  const { output, end } = await runKernel(file ? readFileSync(file) : wrapMultiboot(buildTestGuest()));
  console.log(`${output}\nends with ${end}`);
}
