import { AssemblerError } from "./assembler/index.ts";
import { APIC_DESTINATIONS, APIC_RULES } from "./checks/apic-rules.ts";
import { APIC_TIMER_RULES } from "./checks/apic-timer-rules.ts";
import type { Check, CheckGroup } from "./checks/check.ts";
import { EXCEPTIONS } from "./checks/exceptions.ts";
import { HPET_TIMERS } from "./checks/hpet.ts";
import { IOAPIC } from "./checks/ioapic.ts";
import { IOAPIC_LINES } from "./checks/ioapic-lines.ts";
import { PIT_MODES, RTC_INTERRUPTS } from "./checks/legacy-clocks.ts";
import { LOCAL_APIC } from "./checks/local-apic.ts";
import { PCI } from "./checks/pci.ts";
import { PIC_LINES } from "./checks/pic-lines.ts";
import { PROCESSOR } from "./checks/processor.ts";
import { PROCESSORS } from "./checks/processors.ts";
import { LEGACY_TIMER, SERIAL } from "./checks/serial-and-legacy.ts";
import { ACPI_TABLES, CLOCKS } from "./checks/tables-and-clocks.ts";
import { UART_INTERRUPTS } from "./checks/uart-interrupts.ts";
import { X2APIC } from "./checks/x2apic.ts";
import { buildGuest, type Guest } from "./guest.ts";

/** All groups in the order in which the guest runs them; later ones rely on what earlier ones proved. */
export const CHECK_GROUPS: readonly CheckGroup[] = [
  PROCESSOR,
  EXCEPTIONS,
  ACPI_TABLES,
  CLOCKS,
  SERIAL,
  UART_INTERRUPTS,
  LEGACY_TIMER,
  PIC_LINES,
  IOAPIC,
  IOAPIC_LINES,
  PIT_MODES,
  RTC_INTERRUPTS,
  HPET_TIMERS,
  PCI,
  LOCAL_APIC,
  APIC_RULES,
  APIC_DESTINATIONS,
  APIC_TIMER_RULES,
  PROCESSORS,
  X2APIC,
];

export interface TestGuestOptions {
  /** Physical address of the image: a multiple of 4096, from 1 MiB to 1 GiB. Default 2 MiB. */
  readonly loadAddress?: number;
  /** The name of the one check to make a guest of; all of them when absent. */
  readonly only?: string;
}

/** A check as its catalogue lists it: its name, the rule that it proves, document and clause, and the group it belongs to. */
export interface ListedCheck extends Pick<Check, "name" | "rule" | "clause"> {
  readonly group: string;
}

/** Every check of the built-in test guest, in the order in which the whole guest runs them. */
export function listChecks(): readonly ListedCheck[] {
  return CHECK_GROUPS.flatMap(({ title, checks }) =>
    checks.map(({ name, rule, clause }) => ({ name, rule, clause, group: title })),
  );
}

/** The group of `name` with nothing but this check; its set-up and tear-down stay. */
function groupOf(name: string): CheckGroup {
  for (const group of CHECK_GROUPS) {
    const checks = group.checks.filter((check) => check.name === name);
    if (checks.length > 0) return { ...group, checks };
  }
  throw new AssemblerError("no-such-check", `the test guest has no check ${JSON.stringify(name)}`);
}

/**
 * Assembles the built-in test guest, or a guest of one of its checks. Throws AssemblerError: `bad-layout` for a load address
 * that cannot be, `no-such-check` for a name that no check has.
 */
export function buildTestGuest(options: TestGuestOptions = {}): Guest {
  const { only, ...layout } = options;
  const groups = only === undefined ? CHECK_GROUPS : [groupOf(only)];
  return buildGuest({ title: "Entresol test guest", groups, ...layout });
}
