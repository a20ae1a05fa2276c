export {
  type AcpiDevice,
  AcpiError,
  type AcpiHpet,
  type AcpiMachine,
  type AcpiPower,
  type AcpiTable,
  pcPower,
} from "./machine.ts";
export type { AcpiPci } from "./pci-namespace.ts";
export type { AcpiResource } from "./resources.ts";
export { type AcpiTables, buildAcpiTables } from "./tables.ts";
export type { AcpiTpm } from "./tpm.ts";
