import type { ConfigRegister } from "./config-space.ts";

/** A structure in the capability list (PCI 3.0 6.7). `registers` are those behind ID and next pointer. */
export interface Capability {
  readonly name: string;
  /** Capability ID, 8 bits. */
  readonly id: number;
  /** Bytes with ID and next pointer. */
  readonly length: number;
  /** Registers, with the capability at offset `at`. */
  registers(at: number): ConfigRegister[];
}

/** Where the list starts: behind the header. */
export const firstCapabilityAt = 0x40;

/** The capabilities in their places, and the offset of each. Throws RangeError when they do not fit into 256 bytes. */
export function chain(capabilities: readonly Capability[]): {
  readonly registers: readonly ConfigRegister[];
  readonly offsets: ReadonlyMap<Capability, number>;
} {
  const offsets = new Map<Capability, number>();
  let at = firstCapabilityAt;
  for (const capability of capabilities) {
    offsets.set(capability, at);
    at += (capability.length + 3) & ~3;
    if (at > 256) throw new RangeError(`capability ${capability.name} does not fit below offset 0x100`);
  }
  const registers = capabilities.flatMap((capability, index) => {
    const here = offsets.get(capability)!;
    const following = capabilities[index + 1];
    return [
      ...links(capability, here, following === undefined ? 0 : offsets.get(following)!),
      ...capability.registers(here),
    ];
  });
  return { registers, offsets };
}

function links({ name, id }: Capability, at: number, next: number): ConfigRegister[] {
  return [
    { name: `${name} ID`, at, bytes: 1, reset: id, writable: 0, bits: "7:0", why: "PCI 3.0 6.7" },
    {
      name: `${name} next`,
      at: at + 1,
      bytes: 1,
      reset: next,
      writable: 0,
      bits: "7:0 offset, 0 last",
      why: "6.7",
    },
  ];
}

/** Where the power state is, from the capability's start. */
export const powerControlAt = 4;
export const powerStateMask = 3;

/**
 * Power management (PCI Power Management 1.2): D0 and D3hot. `softReset`: going back to D0 resets the function, as endpoints do;
 * a bridge keeps its state.
 */
export function powerCapability(softReset: boolean): Capability {
  return {
    name: "PM",
    id: 0x01,
    length: 8,
    registers: (at) => [
      {
        name: "PM capabilities",
        at: at + 2,
        bytes: 2,
        reset: 0x0003,
        writable: 0,
        bits: "2:0 version 3, 9 D1, 10 D2, 15:11 PME#",
        why: "3.2.3: neither D1 nor D2 nor PME#",
      },
      {
        name: "PM control and status",
        at: at + powerControlAt,
        bytes: 2,
        reset: softReset ? 0 : 0x0008,
        writable: 0,
        status: powerStateMask,
        effect: "power",
        bits: "1:0 power state, 3 no soft reset",
        why: "3.2.4: a write of a state that is not supported is discarded",
      },
      {
        name: "PM bridge extensions, data",
        at: at + 6,
        bytes: 2,
        reset: 0,
        writable: 0,
        bits: "–",
        why: "3.2.5: 0 in PCIe",
      },
    ],
  };
}

/** Vendor-specific data (PCI 3.0 appendix H, ID 09): read only. */
export function vendorCapability(data: Uint8Array): Capability {
  const bytes = Uint8Array.from(data);
  return {
    name: "Vendor",
    id: 0x09,
    length: 3 + bytes.length,
    registers: (at) => [
      {
        name: "Vendor length",
        at: at + 2,
        bytes: 1,
        reset: 3 + bytes.length,
        writable: 0,
        bits: "7:0 bytes",
        why: "PCI 3.0 appendix H",
      },
      ...[...bytes].map(
        (value, index): ConfigRegister => ({
          name: `Vendor data ${index}`,
          at: at + 3 + index,
          bytes: 1,
          reset: value,
          writable: 0,
          bits: "7:0",
          why: "the function's own",
        }),
      ),
    ],
  };
}

/** Subsystem of a bridge, whose header has no place for it (Bridge 1.2, 3.2.5.13). */
export function subsystemCapability(vendor: number, id: number): Capability {
  return {
    name: "Subsystem",
    id: 0x0d,
    length: 8,
    registers: (at) => [
      {
        name: "Subsystem reserved",
        at: at + 2,
        bytes: 2,
        reset: 0,
        writable: 0,
        bits: "–",
        why: "Bridge 1.2 3.2.5.13",
      },
      {
        name: "Subsystem vendor",
        at: at + 4,
        bytes: 2,
        reset: vendor,
        writable: 0,
        bits: "15:0",
        why: "3.2.5.13",
      },
      { name: "Subsystem", at: at + 6, bytes: 2, reset: id, writable: 0, bits: "15:0", why: "3.2.5.13" },
    ],
  };
}
