import type { GuestProgram } from "../runtime/guest-program.ts";

/** One rule that the guest proves about the machine it runs on. The table of these drives image and documentation. */
export interface Check {
  /** Printed after "ok" or "FAIL"; unique. */
  readonly name: string;
  /** What holds on a right machine, as a sentence without its final stop. */
  readonly rule: string;
  /** Document and clause. */
  readonly clause: string;
  /** Emits the code between `guest.check` and its endings. */
  readonly write: (guest: GuestProgram) => void;
}

/** Checks that belong together and share their set-up. */
export interface CheckGroup {
  readonly title: string;
  /** Emitted before the first and after the last check: set-up, lines for the reader, tear-down. */
  readonly begin?: (guest: GuestProgram) => void;
  readonly end?: (guest: GuestProgram) => void;
  /** Routines and data that the checks call; emitted outside the main line. */
  readonly routines?: (guest: GuestProgram) => void;
  readonly checks: readonly Check[];
}

/** Short names of the documents that clauses cite. */
export const DOCUMENTS = {
  SDM: "Intel 64 and IA-32 Architectures Software Developer's Manual, editions of 2023 (volume and clause)",
  APM: "AMD64 Architecture Programmer's Manual",
  ACPI: "Advanced Configuration and Power Interface Specification 6.5",
  MPS: "Intel MultiProcessor Specification 1.4",
  PC16550D: "National Semiconductor PC16550D data sheet",
  "8259A": "Intel 8259A data sheet",
  "8254": "Intel 8254 data sheet",
  "82093AA": "Intel 82093AA I/O APIC data sheet",
  HPET: "IA-PC HPET (High Precision Event Timers) Specification 1.0a",
  PCI: "PCI Local Bus Specification 3.0",
  PCIe: "PCI Express Base Specification 5.0",
  MC146818: "Motorola MC146818 data sheet",
} as const;
