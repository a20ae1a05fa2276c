/** Where the PCI hierarchy lies in the machine's address spaces. Addresses in bytes; `length` in bytes or ports. */
export const pciLayout = {
  /** Configuration mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2). */
  addressPort: 0xcf8,
  dataPort: 0xcfc,
  /** Byte accesses here belong to the chipset's reset control register. */
  resetControlPort: 0xcf9,
  /** Enhanced configuration access: 4 KiB per function, 256 buses. */
  ecam: { base: 0xe000_0000, length: 0x1000_0000 },
  /** For BARs below 4 GiB. */
  memory32: { base: 0xc000_0000, length: 0x2000_0000 },
  /** For 64-bit prefetchable BARs; only where the processor can address it whole. */
  memory64: { base: 2 ** 38, length: 2 ** 38 },
  ports: { base: 0xc000, length: 0x3f00 },
} as const;

/** Fixed places on bus 0. */
export const pciDevices = { host: 0x00, rootPorts: 0x1c, isaBridge: 0x1f } as const;

/** A range of an address space. */
export interface AddressWindow {
  readonly base: number;
  readonly length: number;
}

/** The window above 4 GiB for a processor with `physicalAddressBits`, undefined when it cannot address one. */
export function highWindow(physicalAddressBits: number): AddressWindow | undefined {
  const { base, length } = pciLayout.memory64;
  if (base + length <= 2 ** physicalAddressBits) return { base, length };
  const room = 2 ** physicalAddressBits - base;
  return room > 0 ? { base, length: room } : undefined;
}

/** PIRQ 0 (A) to 7 (H) that pin 1 (INTA) to 4 (INTD) of a device on bus 0 is wired to. */
export const pirqOf = (device: number, pin: number): number => (device + pin - 1) & 7;

/** The pin of a bridge that pin `pin` (1 to 4) of `device` behind it appears at (PCI-to-PCI Bridge 1.2, 9.1). */
export const swizzle = (pin: number, device: number): number => ((pin - 1 + device) & 3) + 1;

/** Two hexadecimal digits and the function, as `lspci` writes it. */
export const placeText = (device: number, fn: number): string =>
  `${device.toString(16).padStart(2, "0")}.${fn}`;
