// Every check of the test guest alone, each as a guest of its own, on a machine that has all that the checks need: what `npm test`
// does with one check of each group. The seed chooses nothing; a case is a check with a number of processors, 2 or 4.
import { TestFunction } from "@entresol/devices";
import { buildTestGuest, listChecks } from "@entresol/testguest";
import { Vm } from "../dist/index.js";

const processors = [2, 4];
const names = listChecks().map(({ name }) => name);

export const description = "every check of the test guest as a guest of its own";
export const defaultCount = names.length * processors.length;

const testFunction = ({ pci, time }) => {
  pci.attach(new TestFunction({ timebase: time, integrated: true }), { device: 3 });
  return undefined;
};

async function outputOf(only, cpus) {
  const { image, loadAddress, entry } = buildTestGuest({ only });
  const vm = await Vm.create({
    memory: 16 * 2 ** 20,
    cpus,
    testDevice: true,
    devices: [testFunction],
    boot: { kind: "flat", image, loadAddress, entry },
  });
  let text = "";
  vm.serial[0].onOutput = (bytes) => {
    text += Buffer.from(bytes).toString("latin1");
  };
  await vm.run();
  await vm[Symbol.asyncDispose]();
  return text;
}

export async function* run({ count, position }) {
  for (let at = position; at < Math.min(count, defaultCount); at++) {
    const name = names[at % names.length];
    const cpus = processors[Math.floor(at / names.length)];
    const lines = (await outputOf(name, cpus)).match(/^(ok|FAIL|skip) .*?(?=\r?$)/gm) ?? [];
    const passed = lines.length === 1 && lines[0] === `ok ${name}`;
    yield {
      position: at + 1,
      mismatches: passed ? 0 : 1,
      messages: passed ? [] : [`${name} with ${cpus} processors: ${lines.join("; ") || "no result"}`],
    };
  }
}
