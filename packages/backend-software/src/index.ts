import type { Abilities, Hypervisor, PartitionConfig } from "@entresol/hypervisor";
import { MAXIMUM_MEMORY, MAXIMUM_VCPUS, SoftwarePartition } from "./partition.ts";

const abilities: Abilities = {
  maximumVcpus: MAXIMUM_VCPUS,
  maximumMemory: MAXIMUM_MEMORY,
  deterministic: true,
  cpuidExits: true,
  saveRestore: true,
};

/** The embedded default: a hypervisor that needs no hardware, no privilege and no native code. */
export const softwareHypervisor: Hypervisor = {
  name: "software",
  abilities,
  createPartition: (config: PartitionConfig) => SoftwarePartition.create(config),
};
export { MAXIMUM_MEMORY, MAXIMUM_VCPUS, SoftwarePartition };
