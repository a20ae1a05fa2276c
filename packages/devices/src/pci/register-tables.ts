import { PciBar } from "./bar.ts";
import { powerCapability, subsystemCapability, vendorCapability } from "./capabilities.ts";
import { type ConfigRegister, configLines } from "./config-space.ts";
import { endpointExpress, rootPortExpress } from "./express.ts";
import { bridgeHeader, endpointHeader } from "./header.ts";
import { pirqRouters } from "./isa-bridge.ts";
import { MsiCapability, MsixCapability } from "./messages.ts";
import { testFunctionIdentity } from "./test-function.ts";

const heading = [
  "| offset | bytes | register | reset | writable | cleared by 1 | bits | clause and reason |",
  "|---|---|---|---|---|---|---|---|",
];

const device = { mmioRead: () => 0, mmioWrite() {} };
const bars = [
  new PciBar({ index: 0, kind: "memory32", size: 0x1000 }, device),
  new PciBar({ index: 2, kind: "memory64", size: 0x4000, prefetchable: true }, device),
  new PciBar({ index: 4, kind: "io", size: 0x80 }, device),
  new PciBar({ index: 6, kind: "rom", size: 0x800 }, device),
];

/** Every table of configuration registers by its title, for `specs/pci.md`; capabilities count from their own start. */
export const configTables: readonly {
  readonly title: string;
  readonly registers: readonly ConfigRegister[];
}[] = [
  {
    title: "Header type 0, of the test function",
    registers: endpointHeader({ ...testFunctionIdentity, interruptPin: 1 }, 0x40),
  },
  {
    title: "BARs, of the test function, and an expansion ROM",
    registers: bars.flatMap((bar) => bar.registers()),
  },
  {
    title: "Header type 1, of a root port",
    registers: bridgeHeader({ vendor: 0x1b36, device: 0x000c, classCode: 0x060400, interruptPin: 1 }, 0x40),
  },
  {
    title: "PCI Express capability (10) of a root port",
    registers: rootPortExpress({ number: 1, attentionButton: true, powerController: true }).registers(0),
  },
  { title: "PCI Express capability (10) of an endpoint", registers: endpointExpress(false).registers(0) },
  {
    title: "PCI Express capability (10) of an integrated endpoint",
    registers: endpointExpress(true).registers(0),
  },
  { title: "Power management capability (01)", registers: powerCapability(true).registers(0) },
  { title: "MSI capability (05) with 32 vectors", registers: new MsiCapability(32).registers(0) },
  {
    title: "MSI-X capability (11) with 16 vectors",
    registers: new MsixCapability({ vectors: 16, bar: 0, table: 0x800, pending: 0xc00 }).registers(0),
  },
  { title: "Subsystem capability (0D)", registers: subsystemCapability(0x1b36, 0).registers(0) },
  {
    title: "Vendor-specific capability (09), one byte",
    registers: vendorCapability(Uint8Array.of(0)).registers(0),
  },
  { title: "PIRQ routers of the ISA bridge", registers: pirqRouters },
];

/** The tables as Markdown, each under its title. */
export function configTablesMarkdown(): string {
  return configTables
    .map(({ title, registers }) => [`### ${title}`, "", ...heading, ...configLines(registers)].join("\n"))
    .join("\n\n");
}
