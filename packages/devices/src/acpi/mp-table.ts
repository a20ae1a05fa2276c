import { Writer } from "@entresol/wire";
import { acpiWindowEnd } from "../boot/memory-map.ts";
import type { AcpiMachine, AcpiTable } from "./machine.ts";
import { pcPower } from "./machine.ts";

/*
 * The table of the MultiProcessor Specification 1.4 (chapter 4), for operating systems that know no ACPI or are told to do without:
 * processors, buses, the IOAPIC and what is wired to it.
 */

const localApicAddress = 0xfee00000;
const ioApicAddress = 0xfec00000;
const ioApicVersion = 0x20;
const localApicVersion = 0x14;
/** 4.3.2: PCI's bus ids are its bus numbers; this one is ISA's. */
const isaBus = 0xff;
const pciBus = 0;
/** 4.3.4, flags: polarity in bits 1:0, trigger in bits 3:2; 0 is what the bus says. */
const asBus = 0;
const activeHighLevel = 0b1101;
const interruptType = { vectored: 0, nmi: 1, external: 3 } as const;
/** Where an operating system looks: the first 16 bytes of the BIOS area. */
const pointerAt = acpiWindowEnd;
const tableAt = pointerAt + 16;
/** An id above is broadcast or has no entry. */
const lastApicId = 254;
const timerPin = 2;

/** The pointer and the table, ready to be written into RAM. */
export function buildMpTable({ processors, pci, power = pcPower }: AcpiMachine): readonly AcpiTable[] {
  const entries = new Writer();
  let count = 0;
  const entry = (): Writer => {
    count++;
    return entries;
  };
  const bus = (id: number, name: string) => entry().u8(1).u8(id).ascii(name, 6);
  /** 4.3.4. */
  const input = (type: number, flags: number, source: number, irq: number, pin: number) =>
    entry().u8(3).u8(type).u16(flags).u8(source).u8(irq).u8(0).u8(pin);

  // 4.3.1: enabled, and the first one boots. Signature and features are asked of the processor by all who care.
  for (let id = 0; id < Math.min(processors, lastApicId + 1); id++)
    entry()
      .u8(0)
      .u8(id)
      .u8(localApicVersion)
      .u8(id === 0 ? 3 : 1)
      .zeros(16);
  if (pci !== undefined) bus(pciBus, "PCI");
  bus(isaBus, "ISA");
  // 4.3.3.
  entry().u8(2).u8(0).u8(ioApicVersion).u8(1).u32(ioApicAddress);
  for (let irq = 0; irq < 16; irq++) {
    if (irq === timerPin) continue;
    const flags = irq === power.sci ? activeHighLevel : asBus;
    input(interruptType.vectored, flags, isaBus, irq, irq === 0 ? timerPin : irq);
  }
  // The 8259 pair's output, beside the processors' LINT0.
  input(interruptType.external, asBus, isaBus, 0, 0);
  for (let device = 0; pci !== undefined && device < 32; device++) {
    for (let pin = 0; pin < 4; pin++) {
      const gsi = pci.firstInterrupt + pci.pirq(device, pin);
      input(interruptType.vectored, activeHighLevel, pciBus, (device << 2) | pin, gsi);
    }
  }
  // 4.3.5: the 8259 pair at LINT0 and NMI at LINT1, of all processors.
  entry().u8(4).u8(interruptType.external).u16(asBus).u8(isaBus).u8(0).u8(0xff).u8(0);
  entry().u8(4).u8(interruptType.nmi).u16(asBus).u8(isaBus).u8(0).u8(0xff).u8(1);
  return [
    { signature: "_MP_", gpa: pointerAt, bytes: pointer() },
    { signature: "PCMP", gpa: tableAt, bytes: configuration(entries.finish(), count) },
  ];
}

/** 4.1: feature byte 2 is 0, for the 8259 pair reaches the first processor through its local APIC (virtual wire). */
function pointer(): Uint8Array {
  const bytes = new Writer(16).ascii("_MP_").u32(tableAt).u8(1).u8(4).u8(0).zeros(5).finish();
  bytes[10] = checksum(bytes);
  return bytes;
}

/** 4.2. */
function configuration(entries: Uint8Array, count: number): Uint8Array {
  const headerLength = 44;
  const bytes = new Writer(headerLength + entries.length)
    .ascii("PCMP")
    .u16(headerLength + entries.length)
    .u8(4)
    .u8(0)
    .ascii("ENTRESOL")
    .ascii("ENTRESOL", 12)
    .u32(0)
    .u16(0)
    .u16(count)
    .u32(localApicAddress)
    .zeros(4)
    .bytes(entries)
    .finish();
  bytes[7] = checksum(bytes);
  return bytes;
}

/** The byte that, put where a zero was, makes the sum of all bytes zero modulo 256. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
