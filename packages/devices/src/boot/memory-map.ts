import { pciLayout } from "../pci/layout.ts";

/*
 * Guest physical addresses that the loader, the memory map and the ACPI tables agree on. What the loader puts below 1 MiB
 * lies in RAM that the kernel takes as its own once it has read it.
 */

/** Page tables: one PML4, one PDPT, one page directory per GiB. */
export const pml4At = 0x1000;
export const pdptAt = 0x2000;
export const gdtAt = 0x5000;
export const pageDirectoriesAt = 0x8000;
/** `struct boot_params`, one page. */
export const zeroPageAt = 0x10000;
export const commandLineAt = 0x20000;

/** End of the RAM below the PC's hole. */
export const lowMemoryEnd = 0x9f000;
/** The event log of a TPM, where a PC has the ROMs of its cards: what was measured before the kernel ran. 64 KiB is the least there may be. */
export const eventLogArea = { gpa: 0xd0000, length: 0x10000 } as const;
/** The ACPI tables: where kernels that are not told about the RSDP scan for it. */
export const acpiWindowStart = 0xe0000;
export const acpiWindowEnd = 0xf0000;
/** Start of the RAM above the PC's hole. */
export const highMemoryStart = 0x100000;
/** Start of the PCI window, the first address that is never RAM. */
export const deviceHoleStart = pciLayout.memory32.base;
