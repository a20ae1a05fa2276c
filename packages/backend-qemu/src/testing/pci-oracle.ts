import type { QtestOperation } from "../qtest-operation.ts";
import { type DeviceOracle, type Operation, startOpponent } from "./lockstep.ts";
import { causes, differences, isHeader, isSlot } from "./pci-differences.ts";
import { type ComparedFunction, comparedFunctions, rootPort } from "./pci-functions.ts";
import {
  addressPort,
  allPlaces,
  comparedBits,
  dataPort,
  ecamAt,
  ecamBase,
  type Place,
  targetOf,
} from "./pci-places.ts";
import { PciSubject, slotEvents } from "./pci-subject.ts";
import type { SequenceRandom } from "./random.ts";

const write = (port: number, width: 1 | 2 | 4, value: number): Operation => ({
  kind: "port write",
  port,
  width,
  value,
});
const select = ({ address }: Place): Operation => write(addressPort, 4, address);

/** What may be written: not what would put QEMU's ports over others, nor a reset that QEMU's function has not. */
function guarded(place: Place, value: number, clearable: number): number {
  const { fn, region, offset } = place;
  if (offset === 0x04 && region.capability === undefined && fn.hasPorts) return (value & ~1) >>> 0;
  if (region.name === "Express" && offset === 0x08 && !fn.hasReset) return (value & ~0x8000) >>> 0;
  // The bus behind the root port has a number that is compared; the other bridge's is elsewhere.
  if (isHeader(0x18, true)(place)) return ((value & 0xff03_03ff) | (fn === rootPort ? 0 : 0x0010_1000)) >>> 0;
  // Power off takes the device out of QEMU's slot for good.
  if (isSlot(place)) return (value & ~(0x0c00 | ((slotEvents & ~clearable) << 16))) >>> 0;
  return value >>> 0;
}

/** `clearable`: the events of the root port's slot that may be cleared. */
function draw(random: SequenceRandom, place: Place, clearable: number): Operation[] {
  const width = random.chance(50) ? 4 : random.pick([1, 2] as const);
  const lane = width === 4 ? 0 : width === 2 ? 2 * random.below(2) : random.below(4);
  const count = isSlot(place) ? 1 : 1 + random.below(3);
  const enhanced = random.chance(25);
  const accesses = Array.from({ length: count }, (): Operation => {
    if (random.chance(55))
      return enhanced
        ? { kind: "memory read", at: ecamAt(place) + lane, width }
        : { kind: "port read", port: dataPort + lane, width };
    const drawn = random.below(10);
    const word = drawn < 2 ? 0xffff_ffff : drawn < 4 ? 0 : random.word();
    const value = guarded(place, word, clearable) >>> (8 * lane);
    const written = value % 2 ** (8 * width);
    return enhanced
      ? { kind: "memory write", at: ecamAt(place) + lane, width, value: written }
      : write(dataPort + lane, width, written);
  });
  return enhanced ? accesses : [select(place), ...accesses];
}

/** Accesses that reach nobody, and the address register itself. */
function drawElsewhere(random: SequenceRandom): Operation[] {
  const absent = random.pick([0x8000_f000, 0x8000_2100, 0x8005_0000, 0x80ff_f800, 0x0000_2000]);
  const reserved = random.chance(30) ? (random.word() & 0x7f00_0003) >>> 0 : 0;
  const at = absent + reserved + 4 * random.below(15);
  const accesses: Operation[] = [
    random.chance(50) ? write(dataPort, 4, random.word()) : { kind: "port read", port: dataPort, width: 4 },
    { kind: "port read", port: addressPort, width: 4 },
  ];
  return [write(addressPort, 4, at), ...accesses];
}

const place = (fn: ComparedFunction, at: number): Place =>
  allPlaces.find((each) => each.fn === fn && each.region.at + each.offset === at)!;

const slot = place(rootPort, 0x6c);

/** Bus 1 behind the root port, without a reset. */
const numberBuses: readonly Operation[] = [
  select(place(rootPort, 0x3c)),
  write(dataPort, 4, 0),
  select(place(rootPort, 0x18)),
  write(dataPort, 4, 0x0001_0100),
];

export const pciOracle: DeviceOracle<PciSubject> = {
  name: "pci",
  excluded:
    "what a function is able to do but cannot be told (Express capabilities, places of capabilities), registers of a kind of device, mask bits of MSI, " +
    "I/O decoding of functions that have ports (QEMU would map them over other devices), slot power, narrow accesses to 0xCF8",
  length: 400,
  start: () =>
    startOpponent(
      {
        arguments: [
          ...comparedFunctions.flatMap(({ argument, device }) => [
            "-device",
            `${argument},addr=${device.toString(16)}.0`,
          ]),
          // Hot-plug by the port's own registers and not by ACPI.
          "-global",
          "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
          "-object",
          "memory-backend-ram,id=shared,size=1M",
        ],
      },
      async (machine) => {
        let address = 0;
        // PCIEXBAR of the host bridge.
        await machine.portWrite(addressPort, 4, 0x8000_0060);
        await machine.portWrite(dataPort, 4, ecamBase + 1);
        return {
          compared: (operation: QtestOperation) => {
            if (operation.kind === "port write" && operation.port === addressPort) address = operation.value;
            return comparedBits(operation, address);
          },
        };
      },
    ),
  create: () => new PciSubject(),
  opening: [
    ...numberBuses,
    // The bus behind the root port first, while it can be reached.
    ...allPlaces
      .toSorted((a, b) => b.address - a.address)
      .filter(({ address }) => address >>> 16 <= 0x8001)
      .flatMap((each) => [
        select(each),
        write(dataPort, 4, each.fn === rootPort ? 0xffff_0000 : guarded(each, 0, 0)),
      ]),
    ...numberBuses,
    // Power on, which brings the link up, then what that has left in the status.
    select(slot),
    write(dataPort, 4, 0),
    write(dataPort + 2, 2, 0x0010),
    write(dataPort + 2, 2, 0x0100),
  ],
  // Without the address before it an access would reach what it must not.
  shrinks: false,
  drawer: (random, subject) => {
    const allowed = random.chance(10) ? random.pick(causes) : undefined;
    // The slot is one dword of a hundred, and the one with the most rules.
    const slotShare = allowed?.name === "pci-slot-events-not-set" ? 30 : 3;
    let waiting: Operation[] = [];
    return () => {
      while (waiting.length === 0) {
        if (random.chance(3)) {
          waiting = drawElsewhere(random);
          break;
        }
        const place = random.chance(slotShare) ? slot : random.pick(allPlaces);
        const { bridge } = subject;
        const clearable = allowed?.name === "pci-slot-events-not-set" ? slotEvents : bridge.events;
        const drawn = draw(random, place, clearable);
        const avoided = causes.filter((cause) => cause !== allowed);
        const lane = targetOf(drawn.at(-1)!, place.address)!.lane;
        if (
          !drawn.some((operation) => avoided.some((cause) => cause.happens(bridge, place, operation, lane)))
        )
          waiting = drawn;
      }
      return waiting.shift()!;
    };
  },
  differences,
};
