import { type Aml, device, eisaId, integer, method, name, nameString, packageOf, returns } from "./aml.ts";
import {
  and,
  argument,
  byteField,
  dwordField,
  equal,
  local,
  notEqual,
  operationRegion,
  or,
  otherwise,
  serializedMethod,
  store,
  uuid,
  when,
} from "./aml-code.ts";
import { type AcpiResource, resourceTemplate } from "./resources.ts";

/*
 * What the DSDT says about PCI: the host bridge with its windows, how INTx pins reach the interrupt controllers in either mode,
 * and what the operating system may do itself. PCI Firmware Specification 3.3 (PFS) and ACPI 6.5.
 */

/** A PCI hierarchy as the tables see it. Bus 0 is the host bridge's. */
export interface AcpiPci {
  /** Where the enhanced configuration space of bus 0 begins; 1 MiB per bus. */
  readonly ecamBase: number;
  readonly lastBus: number;
  readonly portWindow: { readonly first: number; readonly last: number };
  /** What devices may be placed in, below and above 4 GiB. */
  readonly memoryWindows: readonly { readonly base: number; readonly length: number }[];
  readonly rootPorts: readonly {
    readonly device: number;
    readonly function: number;
    readonly slot: number;
  }[];
  /** The interrupt router: where it is, and the offset of each PIRQ's register in its configuration space, PIRQA first. */
  readonly router: {
    readonly device: number;
    readonly function: number;
    readonly registers: readonly number[];
  };
  /** ISA interrupts to which a PIRQ may be led. */
  readonly isaChoices: readonly number[];
  /** Which PIRQ, 0 to 7, INTx pin 0 to 3 of a device on bus 0 pulls. */
  readonly pirq: (device: number, pin: number) => number;
  /** Global system interrupt of PIRQA; the others follow. */
  readonly firstInterrupt: number;
}

const letters = "ABCDEFGH";
const devicesOnBus = 32;
const pinsOfDevice = 4;

/** 5.8.1: what the operating system told through \_PIC; 0 for the 8259 pair. */
const modeName = "\\PICM";

/** Terms for the root: \_PIC, which the operating system calls with the interrupt model that it has chosen (5.8.1). */
export function interruptModel(): Aml[] {
  return [name(modeName, integer(0)), method("\\_PIC", 1, store(argument(0), nameString(modeName)))];
}

/** Terms for \_SB. */
export function pciDevices(pci: AcpiPci): Aml[] {
  const count = pci.router.registers.length;
  const links = Array.from({ length: count }, (_, n) => isaLink(n, pci.isaChoices));
  const inputs = Array.from({ length: count }, (_, n) => fixedLink(n, pci.firstInterrupt + n));
  return [hostBridge(pci), ...links, ...inputs];
}

function hostBridge(pci: AcpiPci): Aml {
  const windows: AcpiResource[] = [
    { type: "bus window", first: 0, last: pci.lastBus },
    // Configuration mechanism #1 is the bridge's own.
    { type: "io", port: 0xcf8, length: 8 },
    { type: "port window", ...pci.portWindow },
    ...pci.memoryWindows.map((range) => ({ type: "memory window", ...range }) as const),
  ];
  return device(
    "PCI0",
    name("_HID", eisaId("PNP0A08")),
    name("_CID", eisaId("PNP0A03")),
    name("_UID", integer(0)),
    name("_SEG", integer(0)),
    name("_BBN", integer(0)),
    name("_CRS", resourceTemplate(windows)),
    name("PRTA", routing(pci, "GSI")),
    name("PRTP", routing(pci, "LNK")),
    method("_PRT", 0, when(nameString(modeName), returns(nameString("PRTA"))), returns(nameString("PRTP"))),
    handOver(),
    router(pci),
    ...pci.rootPorts.map(rootPort),
  );
}

/** 6.2.13: every pin of every device of bus 0, function 0xFFFF for all. What lies behind a bridge swizzles to the bridge's pins. */
function routing(pci: AcpiPci, links: "GSI" | "LNK"): Aml {
  const rows: Aml[] = [];
  for (let at = 0; at < devicesOnBus; at++) {
    for (let pin = 0; pin < pinsOfDevice; pin++) {
      const link = nameString(`${links}${letters[pci.pirq(at, pin)]}`);
      rows.push(packageOf(integer(at * 0x1_0000 + 0xffff), integer(pin), link, integer(0)));
    }
  }
  return packageOf(...rows);
}

/** Bits of the control field, PFS table 4-6. */
export const oscControl = {
  nativeHotPlug: 1 << 0,
  powerManagementEvents: 1 << 2,
  capabilityStructure: 1 << 4,
} as const;
const granted = oscControl.nativeHotPlug | oscControl.powerManagementEvents | oscControl.capabilityStructure;

/** PFS 4.5.1: who controls what. Slots and their events are the operating system's; nothing here uses them behind its back. */
function handOver(): Aml {
  const failures = { unknownUuid: 0x04, unknownRevision: 0x08, masked: 0x10 };
  const status = nameString("STAT");
  const control = nameString("CTRL");
  return serializedMethod(
    "_OSC",
    4,
    dwordField(argument(3), 0, "STAT"),
    when(
      equal(argument(0), uuid("33db4d5b-1ff7-401c-9657-7441c03dd766")),
      dwordField(argument(3), 8, "CTRL"),
      and(control, integer(granted), local(0)),
      when(notEqual(argument(1), integer(1)), or(status, integer(failures.unknownRevision), status)),
      when(notEqual(control, local(0)), or(status, integer(failures.masked), status)),
      store(local(0), control),
    ),
    otherwise(or(status, integer(failures.unknownUuid), status)),
    returns(argument(3)),
  );
}

const registerName = (pirq: number): string => `PRQ${letters[pirq]}`;

/** The router's registers as a field, so that the link devices can read and write them. */
function router({ router: { device: at, function: fn, registers } }: AcpiPci): Aml {
  const first = Math.min(...registers);
  const last = Math.max(...registers);
  const parts = [];
  for (let offset = first; offset <= last; offset++) {
    const pirq = registers.indexOf(offset);
    parts.push(pirq < 0 ? { bits: 8 } : { name: registerName(pirq), bits: 8 });
  }
  return device(
    "ISA",
    name("_ADR", address(at, fn)),
    operationRegion("PIRQ", "pciConfiguration", first, last + 1 - first),
    byteField("PIRQ", parts),
  );
}

/** Native hot plug does all; the number on the slot is for people. */
function rootPort({ device: at, function: fn, slot }: AcpiPci["rootPorts"][number], index: number): Aml {
  return device(
    `RP${index.toString(16).toUpperCase().padStart(2, "0")}`,
    name("_ADR", address(at, fn)),
    device("SLOT", name("_ADR", integer(0)), name("_SUN", integer(slot))),
  );
}

/** 6.1.1: device in the high word, function in the low one. */
function address(at: number, fn: number): Aml {
  return integer(at * 0x1_0000 + fn);
}

/** Bit 7 of a router register: the PIRQ is led to no ISA interrupt. */
const notRouted = 0x80;
/** Where the interrupt number stands in a template of one extended interrupt descriptor. */
const interruptOffset = 5;

/** 6.2.13: a PIRQ that the router leads to one of several inputs of the 8259 pair. */
function isaLink(pirq: number, choices: readonly number[]): Aml {
  const register = nameString(`\\_SB.PCI0.ISA.${registerName(pirq)}`);
  const present = 0x01;
  const enabled = 0x02;
  const functioning = 0x08;
  return device(
    `LNK${letters[pirq]}`,
    name("_HID", eisaId("PNP0C0F")),
    name("_UID", integer(1 + pirq)),
    method(
      "_STA",
      0,
      when(and(register, integer(notRouted)), returns(integer(present | functioning))),
      returns(integer(present | enabled | functioning)),
    ),
    method("_DIS", 0, store(integer(notRouted), register)),
    name("_PRS", resourceTemplate([{ type: "shared interrupt", choices }])),
    serializedMethod(
      "_CRS",
      0,
      name("TMPL", resourceTemplate([{ type: "shared interrupt", choices: [0] }])),
      dwordField(nameString("TMPL"), interruptOffset, "NUMB"),
      and(register, integer(0x0f), nameString("NUMB")),
      returns(nameString("TMPL")),
    ),
    serializedMethod(
      "_SRS",
      1,
      dwordField(argument(0), interruptOffset, "NUMB"),
      store(nameString("NUMB"), register),
    ),
  );
}

/** The same PIRQ at its pin of the IOAPIC, wired for good. A link and not a bare interrupt number, to say that it is active high. */
function fixedLink(pirq: number, interrupt: number): Aml {
  const resources = resourceTemplate([{ type: "shared interrupt", choices: [interrupt] }]);
  return device(
    `GSI${letters[pirq]}`,
    name("_HID", eisaId("PNP0C0F")),
    name("_UID", integer(0x10 + pirq)),
    name("_PRS", resources),
    name("_CRS", resources),
    method("_SRS", 1),
  );
}
