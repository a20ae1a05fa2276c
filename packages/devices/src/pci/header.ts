import type { ConfigRegister } from "./config-space.ts";

/** Who a function is, from `PciFunctionOptions`. */
export interface PciIdentity {
  /** Vendor and device ID, 16 bits each. */
  readonly vendor: number;
  readonly device: number;
  /** Base class, subclass and programming interface: 24 bits. */
  readonly classCode: number;
  readonly revision?: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  /** 0: none; 1 to 4: INTA# to INTD#. */
  readonly interruptPin?: number;
}

/** Offsets in the header that several files need. */
export const headerOffsets = {
  command: 0x04,
  cacheLine: 0x0c,
  bars: 0x10,
  busNumbers: 0x18,
  ioWindow: 0x1c,
  memoryWindow: 0x20,
  prefetchableWindow: 0x24,
  prefetchableBaseHigh: 0x28,
  prefetchableLimitHigh: 0x2c,
  rom: 0x30,
  capabilities: 0x34,
  interrupt: 0x3c,
} as const;

/** Bits of the command register, and of the status register as the upper half of the same dword. */
export const commandBits = {
  io: 1 << 0,
  memory: 1 << 1,
  busMaster: 1 << 2,
  interruptDisable: 1 << 10,
  interruptStatus: 1 << 19,
  receivedMasterAbort: 1 << 29,
} as const;

/** Bit 7 of the header type, in its dword: more than one function. */
export const multiFunction = 1 << 23;

/** Bits of bridge control, in the dword of the interrupt registers. */
export const bridgeControlBits = { isaEnable: 1 << 18, secondaryReset: 1 << 22 } as const;

function common(identity: PciIdentity, headerType: number, hasCapabilities: boolean): ConfigRegister[] {
  return [
    {
      name: "Vendor ID",
      at: 0x00,
      bytes: 2,
      reset: identity.vendor,
      writable: 0,
      bits: "15:0",
      why: "PCI 3.0 6.2.1",
    },
    {
      name: "Device ID",
      at: 0x02,
      bytes: 2,
      reset: identity.device,
      writable: 0,
      bits: "15:0",
      why: "6.2.1",
    },
    {
      name: "Command",
      at: headerOffsets.command,
      bytes: 2,
      reset: 0,
      writable: 0x0547,
      effect: "command",
      bits: "0 I/O, 1 memory, 2 bus master, 6 parity, 8 SERR#, 10 INTx disable",
      why: "6.2.2; PCIe 7.5.1.1.3 hardwires special cycles, MWI, snooping and fast back-to-back to 0",
    },
    {
      name: "Status",
      at: 0x06,
      bytes: 2,
      reset: hasCapabilities ? 0x0010 : 0,
      writable: 0,
      clear: 0xf900,
      status: 0x0008,
      bits: "3 interrupt, 4 capability list, 8 data parity, 11 signaled and 12 received target abort, 13 received master abort, 14 SERR#, 15 parity",
      why: "6.2.3: writing 1 clears; bit 3 shows INTx before INTx disable",
    },
    {
      name: "Revision ID",
      at: 0x08,
      bytes: 1,
      reset: identity.revision ?? 0,
      writable: 0,
      bits: "7:0",
      why: "6.2.1",
    },
    {
      name: "Class code",
      at: 0x09,
      bytes: 3,
      reset: identity.classCode,
      writable: 0,
      bits: "23:16 class, 15:8 subclass, 7:0 interface",
      why: "6.2.1, appendix D",
    },
    {
      name: "Cache line size",
      at: headerOffsets.cacheLine,
      bytes: 1,
      reset: 0,
      writable: 0xff,
      bits: "7:0 dwords",
      why: "6.2.4; PCIe 7.5.1.1.7: kept without effect",
    },
    { name: "Latency timer", at: 0x0d, bytes: 1, reset: 0, writable: 0, bits: "–", why: "PCIe 7.5.1.1.8: 0" },
    {
      name: "Header type",
      at: 0x0e,
      bytes: 1,
      reset: headerType,
      writable: 0,
      status: 0x80,
      bits: "6:0 layout, 7 more functions than one",
      why: "6.2.1",
    },
    { name: "BIST", at: 0x0f, bytes: 1, reset: 0, writable: 0, bits: "–", why: "6.2.4: no self-test" },
  ];
}

function interrupt(pin: number): ConfigRegister[] {
  return [
    {
      name: "Interrupt line",
      at: headerOffsets.interrupt,
      bytes: 1,
      reset: 0,
      writable: 0xff,
      bits: "7:0 input of the 8259 pair",
      why: "6.2.4: firmware tells the system; no effect here",
    },
    {
      name: "Interrupt pin",
      at: 0x3d,
      bytes: 1,
      reset: pin,
      writable: 0,
      bits: "0 none, 1 INTA# to 4 INTD#",
      why: "6.2.4",
    },
  ];
}

const capabilityPointer = (first: number): ConfigRegister => ({
  name: "Capabilities pointer",
  at: headerOffsets.capabilities,
  bytes: 1,
  reset: first,
  writable: 0,
  bits: "7:0 offset of the first, 0 none",
  why: "6.7",
});

/** Header type 0 without its BARs. `firstCapability` is the offset of the first capability, 0 for none. */
export function endpointHeader(identity: PciIdentity, firstCapability: number): ConfigRegister[] {
  return [
    ...common(identity, 0x00, firstCapability !== 0),
    {
      name: "CardBus CIS pointer",
      at: 0x28,
      bytes: 4,
      reset: 0,
      writable: 0,
      bits: "–",
      why: "PCIe 7.5.1.2.2: 0",
    },
    {
      name: "Subsystem vendor ID",
      at: 0x2c,
      bytes: 2,
      reset: identity.subsystemVendor ?? identity.vendor,
      writable: 0,
      bits: "15:0",
      why: "6.2.4",
    },
    {
      name: "Subsystem ID",
      at: 0x2e,
      bytes: 2,
      reset: identity.subsystem ?? 0,
      writable: 0,
      bits: "15:0",
      why: "6.2.4",
    },
    capabilityPointer(firstCapability),
    ...interrupt(identity.interruptPin ?? 0),
    {
      name: "Min_Gnt, Max_Lat",
      at: 0x3e,
      bytes: 2,
      reset: 0,
      writable: 0,
      bits: "–",
      why: "PCIe 7.5.1.2.5: 0",
    },
  ];
}

/** Header type 1: bus numbers and the windows to what is behind. */
export function bridgeHeader(identity: PciIdentity, firstCapability: number): ConfigRegister[] {
  const window = (
    name: string,
    at: number,
    writable: number,
    reset: number,
    bits: string,
  ): ConfigRegister => ({
    name,
    at,
    bytes: writable > 0xff ? 2 : 1,
    reset,
    writable,
    effect: "windows",
    bits,
    why: "PCI-to-PCI Bridge 1.2 3.2.5; a limit below its base closes the window",
  });
  return [
    ...common(identity, 0x01, firstCapability !== 0),
    ...(["Primary", "Secondary", "Subordinate"] as const).map(
      (name, index): ConfigRegister => ({
        name: `${name} bus number`,
        at: headerOffsets.busNumbers + index,
        bytes: 1,
        reset: 0,
        writable: 0xff,
        effect: "bus numbers",
        bits: "7:0",
        why: "Bridge 1.2 3.2.5.2 to 3.2.5.4: secondary to subordinate are behind the bridge",
      }),
    ),
    {
      name: "Secondary latency timer",
      at: 0x1b,
      bytes: 1,
      reset: 0,
      writable: 0,
      bits: "–",
      why: "PCIe 7.5.1.3.4: 0",
    },
    window("I/O base", 0x1c, 0xf0, 0, "7:4 address 15:12, 3:0 16 bits"),
    window("I/O limit", 0x1d, 0xf0, 0, "7:4 address 15:12"),
    {
      name: "Secondary status",
      at: 0x1e,
      bytes: 2,
      reset: 0,
      writable: 0,
      clear: 0xf900,
      bits: "as Status, of the secondary side",
      why: "PCIe 7.5.1.3.7",
    },
    window("Memory base", 0x20, 0xfff0, 0, "15:4 address 31:20"),
    window("Memory limit", 0x22, 0xfff0, 0, "15:4 address 31:20"),
    window("Prefetchable base", 0x24, 0xfff0, 1, "15:4 address 31:20, 3:0 64 bits"),
    window("Prefetchable limit", 0x26, 0xfff0, 1, "15:4 address 31:20, 3:0 64 bits"),
    {
      name: "Prefetchable base, upper half",
      at: headerOffsets.prefetchableBaseHigh,
      bytes: 4,
      reset: 0,
      writable: 0xffff_ffff,
      effect: "windows",
      bits: "31:0 address 63:32",
      why: "Bridge 1.2 3.2.5.10",
    },
    {
      name: "Prefetchable limit, upper half",
      at: headerOffsets.prefetchableLimitHigh,
      bytes: 4,
      reset: 0,
      writable: 0xffff_ffff,
      effect: "windows",
      bits: "31:0 address 63:32",
      why: "Bridge 1.2 3.2.5.10",
    },
    {
      name: "I/O upper halves",
      at: 0x30,
      bytes: 4,
      reset: 0,
      writable: 0,
      bits: "–",
      why: "Bridge 1.2 3.2.5.11: I/O has 16 bits",
    },
    capabilityPointer(firstCapability),
    { name: "Expansion ROM", at: 0x38, bytes: 4, reset: 0, writable: 0, bits: "–", why: "none" },
    ...interrupt(identity.interruptPin ?? 0),
    {
      name: "Bridge control",
      at: 0x3e,
      bytes: 2,
      reset: 0,
      writable: 0x0047,
      effect: "bridge control",
      bits: "0 parity, 1 SERR#, 2 ISA, 6 secondary bus reset",
      why: "Bridge 1.2 3.2.5.18; no VGA, and what PCIe 7.5.1.3.13 hardwires to 0",
    },
  ];
}
