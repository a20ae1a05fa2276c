import type { CheckTable } from "../check.ts";

const PFP = "TCG PFP 1.06";

/** What is checked of a log of measurements. */
export const logChecks = {
  "log.form": {
    title: "The event log is whole and follows its format",
    spec: `${PFP}, 10.2 and 10.4.5`,
  },
  "log.replay": {
    title: "The events of the log lead to the register values that are signed",
    spec: `${PFP}, 3.3.4; ACPI 6.5, 5.2.34 CCEL`,
  },
} as const satisfies CheckTable;

export type LogCheckId = keyof typeof logChecks;
