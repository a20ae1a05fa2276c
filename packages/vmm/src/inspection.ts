import { createHash } from "node:crypto";
import { asGpa, type GuestMemory } from "@entresol/hypervisor";
import { exitKinds } from "@entresol/paravisor";
import type { Hardware } from "./hardware.ts";

/** Figures of a run, for people and for `--json`. */
export interface VmStatistics {
  /** Guest instructions, all vCPUs. Undefined where the backend cannot count. */
  readonly instructions: number | undefined;
  /** Guest time in ns. */
  readonly guestTime: number;
  /** Exits by kind. */
  readonly exits: Record<string, number>;
  /** Accesses by device. */
  readonly devices: {
    readonly name: string;
    readonly kind: string;
    readonly reads: number;
    readonly writes: number;
  }[];
  /** Interrupts accepted by local APICs, by vector; those above 0 only. */
  readonly interrupts: Record<string, number>;
  /** Counters of the backend. */
  readonly backend: Record<string, number>;
}

export function statisticsOf(hardware: Hardware): VmStatistics {
  const { partition, chipset, dispatchers } = hardware;
  const exits: Record<string, number> = {};
  exitKinds.forEach((kind, i) => {
    exits[kind] = dispatchers.reduce((sum, { counts }) => sum + counts[i]!, 0);
  });
  const interrupts: Record<string, number> = {};
  for (let vector = 0; vector < 256; vector++) {
    const count = chipset.apics.reduce((sum, apic) => sum + apic.accepted[vector]!, 0);
    if (count > 0) interrupts[`0x${vector.toString(16).padStart(2, "0")}`] = count;
  }
  return {
    instructions: partition.instructions,
    guestTime: partition.clock.now(),
    exits,
    devices: [...chipset.bus.statistics(), ...localApicAccesses(hardware)],
    interrupts,
    backend: partition.inspect(),
  };
}

/** Local APICs are not on the bus, since each vCPU has its own: all of them as one row, when they were used. */
function localApicAccesses({ dispatchers }: Hardware): VmStatistics["devices"] {
  const reads = dispatchers.reduce((sum, { apicReads }) => sum + apicReads, 0);
  const writes = dispatchers.reduce((sum, { apicWrites }) => sum + apicWrites, 0);
  return reads + writes > 0 ? [{ name: "local apic", kind: "mmio", reads, writes }] : [];
}

/** Registers and counters of every processor and device, for people. Not while a slice is under way. */
export function inspect({ partition, chipset, dispatchers }: Hardware): Record<string, unknown> {
  return {
    processors: partition.vcpus.map((vcpu) => ({
      activity: vcpu.activity,
      rip: `0x${vcpu.registers.get("rip").toString(16)}`,
      rflags: `0x${vcpu.registers.get("rflags").toString(16)}`,
      cr3: `0x${vcpu.registers.get("cr3").toString(16)}`,
      refusedMsrs: [...dispatchers[vcpu.index]!.msrs.refusals].map(
        ([msr, count]) => `0x${msr.toString(16)}: ${count}`,
      ),
    })),
    ...chipset.inspect(),
  };
}

/** SHA-256 of guest RAM, lower-case hexadecimal. */
export function ramDigest(memory: GuestMemory): string {
  const digest = createHash("sha256");
  const chunk = new Uint8Array(2 ** 20);
  for (let at = 0; at < memory.size; at += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, memory.size - at));
    memory.read(asGpa(at), part);
    digest.update(part);
  }
  return digest.digest("hex");
}
