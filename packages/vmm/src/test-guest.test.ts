import { TestFunction } from "@entresol/devices";
import { buildTestGuest, CHECK_GROUPS } from "@entresol/testguest";
import { describe, expect, test } from "vitest";
import { Vm, type VmConfig } from "./index.ts";

/** What a machine for every check of the test guest has: lines that the guest can move, and a function that interrupts when told to. */
const fullMachine: Pick<VmConfig, "memory" | "testDevice" | "devices"> = {
  memory: 16 * 2 ** 20,
  testDevice: true,
  devices: [
    ({ pci, time }) => {
      pci.attach(new TestFunction({ timebase: time, integrated: true }), { device: 3 });
      return undefined;
    },
  ],
};

/** The result lines that a guest prints, and how it ended. */
async function results(only: string | undefined, cpus: number) {
  const { image, loadAddress, entry, checks } = buildTestGuest(only === undefined ? {} : { only });
  await using vm = await Vm.create({
    ...fullMachine,
    cpus,
    boot: { kind: "flat", image, loadAddress, entry },
  });
  let text = "";
  vm.serial[0]!.onOutput = (bytes) => {
    text += Buffer.from(bytes).toString("latin1");
  };
  const stop = await vm.run();
  return { stop, checks, lines: text.match(/^(ok|FAIL|skip) .*?(?=\r?$)/gm) ?? [] };
}

describe("the test guest on a machine that has all that its checks need", () => {
  test.each([2, 4])("passes every check with %i processors, and skips none", async (cpus) => {
    const { stop, checks, lines } = await results(undefined, cpus);
    expect(lines).toEqual(checks.map((name) => `ok ${name}`));
    expect(stop).toEqual({ kind: "power-off" });
  });

  test("skips with one processor only what is about others", async () => {
    const { checks, lines } = await results(undefined, 1);
    expect(
      lines.filter((line) => !line.startsWith("ok ") && !line.endsWith("(the MADT lists one processor)")),
    ).toEqual([]);
    expect(lines).toHaveLength(checks.length);
  });

  test.each(CHECK_GROUPS.map(({ title, checks }) => [title, checks.at(-1)!.name] as const))(
    "%s: %s passes alone",
    async (_title, name) => {
      expect((await results(name, 2)).lines).toEqual([`ok ${name}`]);
    },
  );
});
