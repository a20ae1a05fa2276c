import { Writer } from "@entresol/wire";
import { type Aml, buffer, check } from "./aml.ts";

/** What a device uses, or, for the host bridge's windows, passes on. */
export type AcpiResource =
  /** `length` ports from `port`. */
  | { readonly type: "io"; readonly port: number; readonly length: number }
  /** An ISA interrupt: edge triggered, active high, exclusive. 0 to 15. */
  | { readonly type: "irq"; readonly irq: number }
  /** Global system interrupt; level triggered, active high when `level`, else edge. */
  | { readonly type: "interrupt"; readonly gsi: number; readonly level: boolean }
  /** One of these global system interrupts, shared by several sources: level triggered, active high. */
  | { readonly type: "shared interrupt"; readonly choices: readonly number[] }
  /** A fixed range below 4 GiB. */
  | { readonly type: "memory"; readonly base: number; readonly length: number }
  /** Bus numbers below a host bridge. */
  | { readonly type: "bus window"; readonly first: number; readonly last: number }
  /** Ports that a host bridge passes on. */
  | { readonly type: "port window"; readonly first: number; readonly last: number }
  /** Memory that a host bridge passes on, of any size and place. */
  | { readonly type: "memory window"; readonly base: number; readonly length: number };

/** 6.4.3.5, byte 4: minimum and maximum are fixed, positive decode, produced and not consumed. */
const fixedWindow = 0x0c;
/** 6.4.3.5.5, byte 5: the memory is writable and is not cached. */
const writableUncached = 0x01;
/** 6.4.3.5.5, byte 5 of a port window: all ports, not only those that ISA cards decode. */
const entireRange = 0x03;
const addressSpace = { memory: 0, port: 1, bus: 2 } as const;

/** 6.4: a buffer of resource descriptors, for _CRS. */
export function resourceTemplate(resources: readonly AcpiResource[]): Aml {
  const writer = new Writer();
  for (const resource of resources) describe(writer, resource);
  // End tag; checksum 0 means that there is none.
  return buffer(writer.u8(0x79).u8(0).finish());
}

function describe(writer: Writer, resource: AcpiResource): void {
  switch (resource.type) {
    case "io":
      check(resource.port + resource.length <= 0x10000 && resource.length < 256, "ports are 16-bit");
      // I/O Port Descriptor, decodes 16 bits, fixed.
      writer.u8(0x47).u8(1).u16(resource.port).u16(resource.port).u8(1).u8(resource.length);
      break;
    case "irq":
      check(resource.irq >= 0 && resource.irq < 16, "ISA interrupts are 0 to 15");
      writer.u8(0x22).u16(1 << resource.irq);
      break;
    case "interrupt":
      extendedInterrupt(writer, resource.level ? 0x01 : 0x03, [resource.gsi]);
      break;
    case "shared interrupt":
      extendedInterrupt(writer, 0x09, resource.choices);
      break;
    case "memory":
      check(resource.base + resource.length <= 2 ** 32, "fixed memory lies below 4 GiB");
      // 32-Bit Fixed Memory Range Descriptor, writable.
      writer.u8(0x86).u16(9).u8(1).u32(resource.base).u32(resource.length);
      break;
    case "bus window":
      wordWindow(writer, addressSpace.bus, 0, resource, 0xff);
      break;
    case "port window":
      wordWindow(writer, addressSpace.port, entireRange, resource, 0xffff);
      break;
    case "memory window":
      memoryWindow(writer, resource.base, resource.length);
      break;
    default:
      resource satisfies never;
  }
}

/** 6.4.3.6, consumer. Flags: bit 1 edge, bit 2 active low, bit 3 shared. */
function extendedInterrupt(writer: Writer, flags: number, interrupts: readonly number[]): void {
  check(interrupts.length > 0 && interrupts.length < 256, "one interrupt at least, 255 at most");
  writer
    .u8(0x89)
    .u16(2 + 4 * interrupts.length)
    .u8(flags)
    .u8(interrupts.length);
  for (const interrupt of interrupts) writer.u32(interrupt);
}

/** 6.4.3.5.3. */
function wordWindow(
  writer: Writer,
  space: number,
  flags: number,
  { first, last }: { readonly first: number; readonly last: number },
  maximum: number,
): void {
  check(first >= 0 && first <= last && last <= maximum, `a window of 0 to ${maximum}`);
  writer.u8(0x88).u16(13).u8(space).u8(fixedWindow).u8(flags);
  writer
    .u16(0)
    .u16(first)
    .u16(last)
    .u16(0)
    .u16((last - first + 1) & 0xffff);
}

/** 6.4.3.5.2 below 4 GiB, 6.4.3.5.1 above. */
function memoryWindow(writer: Writer, base: number, length: number): void {
  const last = base + length - 1;
  check(base >= 0 && length > 0 && Number.isSafeInteger(last), "a memory window");
  if (last < 2 ** 32) {
    writer.u8(0x87).u16(23).u8(addressSpace.memory).u8(fixedWindow).u8(writableUncached);
    writer.u32(0).u32(base).u32(last).u32(0).u32(length);
  } else {
    writer.u8(0x8a).u16(43).u8(addressSpace.memory).u8(fixedWindow).u8(writableUncached);
    writer.u64(0).u64(base).u64(last).u64(0).u64(length);
  }
}
