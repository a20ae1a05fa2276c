import type { CheckGroup } from "./checks/check.ts";
import { EXCEPTIONS } from "./checks/exceptions.ts";
import { IOAPIC } from "./checks/ioapic.ts";
import { LOCAL_APIC } from "./checks/local-apic.ts";
import { PROCESSOR } from "./checks/processor.ts";
import { PROCESSORS } from "./checks/processors.ts";
import { LEGACY_TIMER, SERIAL } from "./checks/serial-and-legacy.ts";
import { ACPI_TABLES, CLOCKS } from "./checks/tables-and-clocks.ts";
import { X2APIC } from "./checks/x2apic.ts";
import { buildGuest, type Guest } from "./guest.ts";

/** All groups in the order in which the guest runs them; later ones rely on what earlier ones proved. */
export const CHECK_GROUPS: readonly CheckGroup[] = [
  PROCESSOR,
  EXCEPTIONS,
  ACPI_TABLES,
  CLOCKS,
  SERIAL,
  LEGACY_TIMER,
  IOAPIC,
  LOCAL_APIC,
  PROCESSORS,
  X2APIC,
];

export interface TestGuestOptions {
  /** Physical address of the image: a multiple of 4096, from 1 MiB to 1 GiB. Default 2 MiB. */
  readonly loadAddress?: number;
}

/** Assembles the built-in test guest. Throws AssemblerError `bad-layout` for a load address that cannot be. */
export function buildTestGuest(options: TestGuestOptions = {}): Guest {
  return buildGuest({ title: "Entresol test guest", groups: CHECK_GROUPS, ...options });
}
