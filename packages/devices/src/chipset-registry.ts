import type { Chipset } from "./chipset.ts";

/** A kind of device of the machine: what the README says of it, and what must be found on the bus and in saved state. */
export interface RegisteredDevice {
  readonly title: string;
  readonly what: string;
  /** Names of its devices, as `Chipset.save` has them. */
  readonly devices: RegExp;
  /** Names of its ranges on the bus; absent for a device that is not on it. */
  readonly ranges?: RegExp;
  /** Where it is found, for a device that is not on the bus. */
  readonly place?: string;
  /** Interrupts that it can raise by a line. */
  readonly interrupts: string;
  /** File in `specs/`. */
  readonly spec: string;
}

/** Every device that a machine has from the start. */
export const deviceRegistry: readonly RegisteredDevice[] = [
  {
    title: "local APIC",
    what: "xAPIC and x2APIC, timer with TSC deadline; one per processor",
    devices: /^local-apic \d+$/,
    place: "0xfee00000",
    interrupts: "",
    spec: "local-apic.md",
  },
  {
    title: "IOAPIC",
    what: "version 0x20 with 24 inputs",
    devices: /^ioapic$/,
    ranges: /^ioapic$/,
    interrupts: "",
    spec: "ioapic.md",
  },
  {
    title: "8259A pair",
    what: "with edge/level control",
    devices: /^pic$/,
    ranges: /^pic /,
    interrupts: "",
    spec: "pic.md",
  },
  {
    title: "8254",
    what: "three counters, speaker gate",
    devices: /^pit$/,
    ranges: /^(pit|port 61)$/,
    interrupts: "0",
    spec: "pit.md",
  },
  {
    title: "RTC",
    what: "MC146818 with alarm, two banks of NVRAM",
    devices: /^rtc$/,
    ranges: /^rtc$/,
    interrupts: "8",
    spec: "rtc.md",
  },
  {
    title: "HPET",
    what: "64-bit counter of 100 MHz, legacy replacement, message interrupts",
    devices: /^hpet$/,
    ranges: /^hpet$/,
    interrupts: "0, 8, 20-23",
    spec: "hpet.md",
  },
  {
    title: "power management",
    what: "ACPI PM1, PM timer, GPE0; every way to reset a PC",
    devices: /^power$/,
    ranges: /^(acpi |system control|keyboard )/,
    interrupts: "9",
    spec: "power.md",
  },
  {
    title: "PCI Express",
    what: "host bridge, ISA bridge with PIRQ router, root ports with hot-plug slots; mechanism #1 and ECAM",
    devices: /^pci$/,
    ranges: /^pci /,
    interrupts: "16-23, MSI",
    spec: "pci.md",
  },
  {
    title: "16550A",
    what: "COM1 to COM4",
    devices: /^com[1-4]$/,
    ranges: /^com[1-4]$/,
    interrupts: "4, 3, 4, 3",
    spec: "uart16550.md",
  },
  {
    title: "debug port",
    what: "debug console, POST code",
    devices: /^debug$/,
    ranges: /^(debug console|post code)$/,
    interrupts: "",
    spec: "debug-port.md",
  },
];

/** The registry as a Markdown table, places as they are on the bus of `chipset`; README.md must hold each line as it is. */
export function deviceLines(chipset: Chipset): string[] {
  const ranges = chipset.bus.statistics();
  const rows = deviceRegistry.map(({ title, what, ranges: names, place, interrupts, spec }) => {
    const places = ranges
      .filter(({ name }) => names?.test(name))
      .map(({ first, last }) => rangeText(first, last));
    return `| ${title} | ${what} | ${place ?? places.join(", ")} | ${interrupts} | [${spec}](specs/${spec}) |`;
  });
  return ["| device | what | ports, memory | interrupts | rules |", "|---|---|---|---|---|", ...rows];
}

/** Ports have up to four digits, memory has more: the first one of a range of memory says enough. */
function rangeText(first: number, last: number): string {
  const text = (address: number) => address.toString(16);
  if (first > 0xffff || first === last) return `0x${text(first)}`;
  return `0x${text(first)}-${text(last)}`;
}
