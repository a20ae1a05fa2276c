// The README's program: a VM in your own process. node examples/dist/embed.js
import { buildTestGuest } from "@entresol/testguest";
import { Vm } from "@entresol/vmm";

const { image, loadAddress, entry } = buildTestGuest();
await using vm = await Vm.create({
  memory: 16 * 2 ** 20,
  cpus: 2,
  boot: { kind: "flat", image, loadAddress, entry },
});
vm.serial[0]!.onOutput = (bytes) => process.stdout.write(bytes);
const stop = await vm.run();
console.log(stop); // { kind: 'power-off' }
