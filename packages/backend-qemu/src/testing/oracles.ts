import { ioapicOracle } from "./ioapic-oracle.ts";
import type { DeviceOracle } from "./lockstep.ts";
import { pciOracle } from "./pci-oracle.ts";
import { picOracle } from "./pic-oracle.ts";
import { pitOracle } from "./pit-oracle.ts";
import { rtcOracle } from "./rtc-oracle.ts";
import { uartOracle, uartTimeoutOracle } from "./uart-oracle.ts";

/** Every device that is compared with QEMU's. */
export const oracles: readonly DeviceOracle[] = [
  uartOracle,
  uartTimeoutOracle,
  ioapicOracle,
  picOracle,
  pitOracle,
  pciOracle,
  rtcOracle,
];

/** The known differences of a device as the rows of a Markdown table; specs/qemu-oracle.md holds each as it is. */
export function differenceLines({ differences }: DeviceOracle): string[] {
  const cell = (text: string): string => text.replace(/\|/g, "\\|");
  return differences.map(
    ({ name, what, clause, right }) => `| ${name} | ${cell(what)} | ${cell(clause)} | ${right} |`,
  );
}
