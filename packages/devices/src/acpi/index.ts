export type { AcpiResource } from "./aml.ts";
export {
  type AcpiDevice,
  AcpiError,
  type AcpiMachine,
  type AcpiPower,
  type AcpiTable,
  type AcpiTables,
  buildAcpiTables,
  pcPower,
} from "./tables.ts";
