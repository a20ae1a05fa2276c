import { type Aml, concat, device, eisaId, integer, name, packageOf, scope, string } from "./aml.ts";
import { type AcpiDevice, AcpiError, type AcpiHpet, type AcpiMachine, type AcpiPower } from "./machine.ts";
import { interruptModel, pciDevices } from "./pci-namespace.ts";
import { type AcpiResource, resourceTemplate } from "./resources.ts";
import { tpmDevice } from "./tpm.ts";

/** Devices that every PC has; Linux takes the RTC from here and keeps the ports of the others from other drivers. */
const pcDevices: readonly AcpiDevice[] = [
  {
    name: "PIC",
    hid: "PNP0000",
    resources: [
      { type: "io", port: 0x20, length: 2 },
      { type: "io", port: 0xa0, length: 2 },
      { type: "irq", irq: 2 },
    ],
  },
  {
    name: "TIMR",
    hid: "PNP0100",
    resources: [
      { type: "io", port: 0x40, length: 4 },
      { type: "irq", irq: 0 },
    ],
  },
  {
    name: "RTC",
    hid: "PNP0B00",
    resources: [
      { type: "io", port: 0x70, length: 2 },
      { type: "irq", irq: 8 },
    ],
  },
  { name: "SPKR", hid: "PNP0800", resources: [{ type: "io", port: 0x61, length: 1 }] },
];

/** The DSDT's content: how to turn off, and \_SB with processors and devices. */
export function namespace(machine: AcpiMachine, power: AcpiPower): Aml {
  const processors: AcpiDevice[] = Array.from({ length: machine.processors }, (_, id) => ({
    name: `C${id.toString(16).toUpperCase().padStart(3, "0")}`,
    hid: "ACPI0007",
    uid: id,
  }));
  const serialPorts = machine.serialPorts.map(
    ({ port, irq }, index): AcpiDevice => ({
      name: `COM${index + 1}`,
      hid: "PNP0501",
      uid: index + 1,
      resources: [
        { type: "io", port, length: 8 },
        { type: "irq", irq },
      ],
    }),
  );
  const devices = [
    ...processors,
    ...pcDevices,
    ...serialPorts,
    motherboard(machine, power),
    ...(machine.hpet === undefined ? [] : [timer(machine.hpet)]),
    ...(machine.devices ?? []),
  ];
  const names = new Set<string>(machine.tpm === undefined ? [] : ["TPM"]);
  for (const { name: label } of devices) {
    if (names.has(label)) throw new AcpiError("bad-machine", `two devices are named ${label}`);
    names.add(label);
  }
  const off = integer(power.sleepTypeOff);
  try {
    // No \_S1 to \_S4: the operating system offers no sleep but that which needs no platform.
    const state = name("\\_S5", packageOf(off, off, integer(0), integer(0)));
    const { pci, tpm } = machine;
    const terms = [
      ...devices.map(deviceTerm),
      ...(tpm === undefined ? [] : [tpmDevice(tpm)]),
      ...(pci === undefined ? [] : pciDevices(pci)),
    ];
    return concat(state, ...(pci === undefined ? [] : interruptModel()), scope("\\_SB", ...terms));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new AcpiError("bad-machine", error.message, { cause: error });
  }
}

/** What no driver claims, lest others take it; PFS 4.1.3 asks for the configuration space in particular. */
function motherboard({ pci }: AcpiMachine, { pm1Event, gpe0, gpe0Length }: AcpiPower): AcpiDevice {
  const resources: AcpiResource[] = [
    { type: "io", port: 0x4d0, length: 2 },
    { type: "io", port: pm1Event, length: gpe0 + gpe0Length - pm1Event },
  ];
  if (pci !== undefined) {
    resources.push({ type: "memory", base: pci.ecamBase, length: (pci.lastBus + 1) * 2 ** 20 });
  }
  return { name: "MBRD", hid: "PNP0C02", uid: 0, resources };
}

function timer({ base, length }: AcpiHpet): AcpiDevice {
  return { name: "HPET", hid: "PNP0103", uid: 0, resources: [{ type: "memory", base, length }] };
}

function deviceTerm({ name: path, hid, uid, resources }: AcpiDevice): Aml {
  const terms = [name("_HID", /^[A-Z]{3}[0-9A-F]{4}$/.test(hid) ? eisaId(hid) : string(hid))];
  if (uid !== undefined) terms.push(name("_UID", integer(uid)));
  if (resources !== undefined) terms.push(name("_CRS", resourceTemplate(resources)));
  return device(path, ...terms);
}
