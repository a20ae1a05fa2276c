import { causeIn, type Difference, type Mismatch, type Operation } from "./lockstep.ts";
import { rootPort } from "./pci-functions.ts";
import { addressPort, type Place, targetOf } from "./pci-places.ts";
import { type PciSubject, slotEvents } from "./pci-subject.ts";

/** A difference in some bits of a dword, wherever `of` has it. */
function bitsThatDiffer(
  difference: Omit<Difference<PciSubject>, "goesOn" | "explains">,
  bits: number,
  of: (place: Place) => boolean,
): Difference<PciSubject> {
  return {
    ...difference,
    goesOn: true,
    explains: ({ operation, ours, theirs, noteBefore }: Mismatch<PciSubject>) => {
      const target = targetOf(operation, noteBefore ?? 0);
      if (target?.place === undefined || !of(target.place)) return [];
      const here = bits >>> (8 * target.lane);
      return ((ours.value ^ theirs.value) & ~here) === 0 ? ["value"] : [];
    },
  };
}

export const isHeader =
  (offset: number, bridge?: boolean) =>
  (place: Place): boolean =>
    place.offset === offset &&
    place.region.capability === undefined &&
    (bridge === undefined || bridge === (place.region.name === "bridge header"));
const isCapability =
  (name: string, offset: number) =>
  (place: Place): boolean =>
    place.region.name === name && place.offset === offset;

const registerDifferences: readonly Difference<PciSubject>[] = [
  {
    name: "pci-config-address-reserved",
    what: "Reserved bits of CONFIG_ADDRESS read 0 in ours; QEMU keeps them",
    clause: "PCI 3.0 3.2.2.3.2: bits 30:24 are reserved, read only and 0, bits 1:0 are 0",
    right: "ours",
    goesOn: true,
    explains: ({ operation, ours, theirs }) =>
      operation.kind === "port read" &&
      operation.port === addressPort &&
      ((ours.value ^ theirs.value) & 0x80ff_fffc) === 0
        ? ["value"]
        : [],
  },
  bitsThatDiffer(
    {
      name: "pci-parity-response",
      what: "The parity error response bit of the command register can be set in ours; QEMU's stays 0",
      clause: "PCI 3.0 6.2.2, bit 6: read and write, unless the function cannot report parity errors at all",
      right: "both",
    },
    1 << 6,
    isHeader(0x04),
  ),
  bitsThatDiffer(
    {
      name: "pci-secondary-latency-timer",
      what: "The secondary latency timer of a bridge reads 0 in ours; it keeps what is written in QEMU's conventional bridge",
      clause: "PCIe 5.0 7.5.1.3.4: 0; PCI-to-PCI Bridge 1.2 3.2.5.5: read and write",
      right: "both",
    },
    0xff << 24,
    isHeader(0x18, true),
  ),
  bitsThatDiffer(
    {
      name: "pci-bridge-control",
      what: "VGA, master abort mode, fast back-to-back and discard timers can be set in QEMU's conventional bridge, not in ours",
      clause: "PCIe 5.0 7.5.1.3.13: these are 0 or of no meaning in Express; VGA is optional",
      right: "both",
    },
    0xffb8 << 16,
    isHeader(0x3c, true),
  ),
  bitsThatDiffer(
    {
      name: "pci-msi-more-vectors-than-asked-for",
      what: "A number of MSI vectors beyond those asked for is kept in ours, and counts as all; QEMU's register shows the limit",
      clause: "PCI 3.0 6.8.1.3: system software must not write more than was asked for",
      right: "both",
    },
    7 << 20,
    isCapability("MSI", 0x00),
  ),
  bitsThatDiffer(
    {
      name: "pci-power-states",
      what: "A write of D1 or D2 is discarded in ours, which have neither; QEMU keeps it",
      clause: "PCI Power Management 1.2 3.2.4: a write of an unsupported state is discarded",
      right: "ours",
    },
    3,
    isCapability("power management", 0x04),
  ),
  bitsThatDiffer(
    {
      name: "pci-device-control",
      what: "Error reports, payload and read request sizes of device control can be set in ours; in QEMU only the error reports of its root port",
      clause: "PCIe 5.0 7.5.3.4: read and write, with relaxed ordering and no snoop set after reset",
      right: "ours",
    },
    0x7fff,
    isCapability("Express", 0x08),
  ),
  bitsThatDiffer(
    {
      name: "pci-slot-event-enables",
      what: "Enables for power fault, retention latch and link change can be set in ours; QEMU's stay 0",
      clause:
        "PCIe 5.0 7.5.3.10: those of a feature that the slot has not may be 0; link change is reported where the port says so",
      right: "both",
    },
    0x1006,
    isCapability("Express", 0x18),
  ),
  bitsThatDiffer(
    {
      name: "pci-slot-interrupt-status",
      what: "The interrupt status of a root port is set in ours while a slot event interrupts, such as a completed command; QEMU's stays clear",
      clause: "PCIe 5.0 6.7.3.4 and 7.5.1.1.4, interrupt status",
      right: "ours",
    },
    (1 << 19) | (1 << 6),
    (place) => place.fn === rootPort && isHeader(0x04)(place),
  ),
  bitsThatDiffer(
    {
      name: "pci-root-control-pme",
      what: "The PME interrupt enable of root control can be set in ours; QEMU's stays 0",
      clause: "PCIe 5.0 7.5.3.12, bit 3: read and write",
      right: "ours",
    },
    1 << 3,
    isCapability("Express", 0x1c),
  ),
];

export const isSlot = ({ fn, region, offset }: Place): boolean =>
  fn === rootPort && region.name === "Express" && offset === 0x18;

type Bridge = PciSubject["bridge"];

/** Where the root ports part: the slot, and the bus behind. */
export const causes: readonly {
  readonly name: string;
  readonly what: string;
  readonly clause: string;
  readonly right: "ours" | "QEMU" | "both";
  /** The bridge is as it is before the access. */
  happens(bridge: Bridge, place: Place, operation: Operation, lane: number): boolean;
}[] = [
  {
    name: "pci-slot-events-not-set",
    what: "A write that clears events of a slot clears them in ours; QEMU clears none when one of them is not set, so as not to lose it",
    clause: "PCIe 5.0 7.5.3.11: RW1C, bit by bit",
    right: "ours",
    happens: ({ events }, place, operation, lane) => {
      if (!isSlot(place) || (operation.kind !== "port write" && operation.kind !== "memory write"))
        return false;
      const status = (operation.value * 2 ** (8 * lane)) / 0x1_0000;
      return (status & slotEvents & ~events) !== 0;
    },
  },
  {
    name: "pci-empty-bus-range",
    what: "A bridge whose subordinate bus number is below the secondary one leads nowhere in ours; QEMU's leads to the secondary bus",
    clause:
      "PCI-to-PCI Bridge 1.2 3.1.2.1.2: a type 1 configuration cycle is taken when the bus lies from secondary to subordinate",
    right: "ours",
    happens: ({ secondary, subordinate }, { fn }) => fn.behindRootPort === true && subordinate < secondary,
  },
  {
    name: "pci-access-during-bus-reset",
    what: "While the secondary bus is held in reset nothing answers behind ours; behind QEMU's the functions do",
    clause: "PCIe 5.0 7.5.1.3.13, secondary bus reset: a hot reset on the link, which is down meanwhile",
    right: "ours",
    happens: ({ resets }, { fn }) => fn.behindRootPort === true && resets,
  },
];

export const differences: readonly Difference<PciSubject>[] = [
  ...registerDifferences,
  ...causes.map(
    ({ happens, ...difference }): Difference<PciSubject> => ({
      ...difference,
      goesOn: false,
      explains: (mismatch) => {
        const subject = mismatch.start();
        let address = 0;
        return causeIn(mismatch, (operation) => {
          if (operation.kind === "port write" && operation.port === addressPort) address = operation.value;
          const { bridge } = subject;
          subject.perform(operation);
          const target = targetOf(operation, address);
          return target?.place !== undefined && happens(bridge, target.place, operation, target.lane);
        })
          ? ["value"]
          : [];
      },
    }),
  ),
];
