import { EntresolError } from "@entresol/wire";
import type { AcpiPci } from "./pci-namespace.ts";
import type { AcpiResource } from "./resources.ts";
import type { AcpiTpm } from "./tpm.ts";

/*
 * The machine that the ACPI tables describe, as plain data.
 */

/** A device of the namespace, under \_SB. */
export interface AcpiDevice {
  /** Up to four characters, unique. */
  readonly name: string;
  /** "PNP0B00" or another id such as "ACPI0007". */
  readonly hid: string;
  /** Tells devices of the same `hid` apart. */
  readonly uid?: number;
  readonly resources?: readonly AcpiResource[];
}

/** Fixed hardware of ACPI 4.8, and what writing to it means. */
export interface AcpiPower {
  readonly pm1Event: number;
  readonly pm1Control: number;
  readonly pmTimer: number;
  readonly gpe0: number;
  /** Bytes of both halves of the GPE0 block. */
  readonly gpe0Length: number;
  /** SLP_TYP that turns the machine off, 0 to 7. */
  readonly sleepTypeOff: number;
  readonly resetPort: number;
  readonly resetValue: number;
  /** Interrupt of the SCI: level triggered, active high. */
  readonly sci: number;
}

/** Where this chipset has them. */
export const pcPower: AcpiPower = {
  pm1Event: 0x600,
  pm1Control: 0x604,
  pmTimer: 0x608,
  gpe0: 0x620,
  gpe0Length: 4,
  sleepTypeOff: 5,
  resetPort: 0xcf9,
  resetValue: 0x06,
  sci: 9,
};

/** An HPET: what the table repeats of its capabilities register. */
export interface AcpiHpet {
  readonly base: number;
  readonly length: number;
  /** Low half of the general capabilities and ID register. */
  readonly capabilities: number;
  /** Fewest counter ticks between two interrupts of a periodic timer that loses none. */
  readonly minimumTick: number;
}

export interface AcpiMachine {
  /** 1 to 1024; processor n has APIC id n. */
  readonly processors: number;
  /** In the order of their numbers: the first becomes ttyS0. */
  readonly serialPorts: readonly { readonly port: number; readonly irq: number }[];
  /** Anything else; the PC's timer, clock and interrupt controllers are always there. */
  readonly devices?: readonly AcpiDevice[];
  readonly power?: AcpiPower;
  readonly pci?: AcpiPci;
  readonly hpet?: AcpiHpet;
  readonly tpm?: AcpiTpm;
}

export interface AcpiTable {
  /** "RSD PTR " or the four letters. */
  readonly signature: string;
  /** Guest physical address. */
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** Thrown for a machine that the tables cannot describe. */
export class AcpiError extends EntresolError<"bad-machine" | "too-large"> {
  override readonly name = "AcpiError";
}
