import { type Hypervisor, ScriptedHypervisor, type Stop } from "@entresol/hypervisor";
import { expect, it } from "vitest";
import { Vm } from "./index.ts";

it("a backend that catches its host lying ends the VM with the rule's name", async () => {
  const violation: Stop = {
    kind: "host-violation",
    rule: "page-moved",
    detail: "page 0x1000 changed its frame",
  };
  const scripted = new ScriptedHypervisor([[{ do: "work", ns: 1 }]]);
  let runs = 0;
  const hypervisor: Hypervisor = {
    name: scripted.name,
    abilities: scripted.abilities,
    createPartition: async (config) => {
      const partition = await scripted.createPartition(config);
      const run = (): Stop => {
        runs++;
        return violation;
      };
      Object.assign(partition.vcpus[0]!, { run });
      return partition;
    },
  };
  await using vm = await Vm.create({ hypervisor, memory: 16 * 2 ** 20, boot: { kind: "none" } });
  expect(await vm.run()).toEqual(violation);
  expect(runs).toBe(1);
});
