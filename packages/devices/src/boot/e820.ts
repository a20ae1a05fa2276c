import { pciLayout } from "../pci/layout.ts";
import {
  acpiWindowEnd,
  acpiWindowStart,
  deviceHoleStart,
  highMemoryStart,
  lowMemoryEnd,
} from "./memory-map.ts";

/** Types of memory ranges, ACPI 6.5 table 15.6. */
export const e820Type = { ram: 1, reserved: 2, acpi: 3, nvs: 4 } as const;
export type E820Type = (typeof e820Type)[keyof typeof e820Type];

/** A range of guest physical memory as the firmware describes it to the kernel. */
export interface E820Entry {
  readonly start: number;
  /** Bytes. */
  readonly length: number;
  readonly type: E820Type;
}

/**
 * The map of a PC with `memorySize` bytes of RAM from 0: RAM up to 0x9F000, a hole for what a PC keeps below 1 MiB with the
 * ACPI tables in it, RAM from 1 MiB up to the PCI window, and the configuration space of PCI. Sorted, without overlap. The RAM that lies in the hole is not used.
 * `kept` is a part of the hole, right below the ACPI tables, that the kernel leaves as it is (ACPI NVS).
 */
export function pcMemoryMap(
  memorySize: number,
  kept: { readonly gpa: number; readonly length: number } = { gpa: acpiWindowStart, length: 0 },
): E820Entry[] {
  const { ram, reserved, acpi, nvs } = e820Type;
  const { ecam } = pciLayout;
  const range = (start: number, end: number, type: E820Type): E820Entry => ({
    start,
    length: end - start,
    type,
  });
  return [
    range(0, lowMemoryEnd, ram),
    range(lowMemoryEnd, kept.gpa, reserved),
    ...(kept.length === 0 ? [] : [range(kept.gpa, kept.gpa + kept.length, nvs)]),
    range(acpiWindowStart, acpiWindowEnd, acpi),
    range(acpiWindowEnd, highMemoryStart, reserved),
    range(highMemoryStart, Math.min(memorySize, deviceHoleStart), ram),
    range(ecam.base, ecam.base + ecam.length, reserved),
  ];
}
