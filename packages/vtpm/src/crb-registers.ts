import { InterfaceId, type InterfaceRegister, tpmBase } from "./interface-registers.ts";

/** Where a page's view of the buffer begins; it goes to the end of the page. */
export const crbBufferAt = 0x80;
/** Bytes of the largest command and response. */
export const crbBufferLength = 0xf80;

/** Registers of the command response buffer interface (PTP 1.05). What lies between reads as 0: drivers probe for a FIFO there. */
export const crbRegisters = {
  localityState: {
    name: "LOC_STATE",
    at: 0x00,
    access: "ro",
    reset: 0x81,
    writable: 0,
    bits: "0 tpmEstablished (0: a dynamic root of trust was measured), 1 locAssigned, 4:2 activeLocality, 7 tpmRegValidSts",
    why: "the same in all pages; EDK2 reads one byte and waits for bit 7",
  },
  localityControl: {
    name: "LOC_CTRL",
    at: 0x08,
    access: "wo",
    reset: 0,
    writable: 0,
    bits: "0 requestAccess, 1 relinquish, 2 seize, 3 resetEstablishmentBit",
    why: "one of bits 2:0 at a time; bit 3 from localities 3 and 4; SeaBIOS writes one byte",
  },
  localityStatus: {
    name: "LOC_STS",
    at: 0x0c,
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "0 granted, 1 beenSeized",
    why: "of the page's locality; a new request takes note of bit 1",
  },
  interfaceId: {
    name: "INTERFACE_ID",
    at: 0x30,
    access: "rw",
    reset:
      InterfaceId.typeCrb |
      InterfaceId.versionCrb |
      InterfaceId.fiveLocalities |
      InterfaceId.transfer64 |
      InterfaceId.hasCrb |
      InterfaceId.selectCrb,
    writable: InterfaceId.selectorLock,
    bits: "3:0 type, 7:4 version, 8 five localities, 9 idle bypass, 12:11 transfer size, 13 has FIFO, 14 has CRB, 18:17 selector, 19 selector lock, 31:24 revision",
    why: "there is one interface, so the selector that SeaBIOS writes selects nothing; the lock stays set",
  },
  interfaceVendor: {
    name: "INTERFACE_ID 63:32",
    at: 0x34,
    access: "ro",
    reset: 0x0001_1014,
    writable: 0,
    bits: "15:0 vendor, 31:16 device",
    why: "EDK2 reads the halves",
  },
  request: {
    name: "CRB_CTRL_REQ",
    at: 0x40,
    access: "rw",
    reset: 0,
    writable: 0,
    bits: "0 cmdReady, 1 goIdle",
    why: "reads as 0 once done; goIdle in the middle of a command is done when that ends, and reads as 1 until then",
  },
  status: {
    name: "CRB_CTRL_STS",
    at: 0x44,
    access: "ro",
    reset: 0x2,
    writable: 0,
    bits: "0 tpmSts (fatal), 1 tpmIdle",
    why: "bit 0 while the TPM behind has no power: what is answered then is no TPM's answer",
  },
  cancel: {
    name: "CRB_CTRL_CANCEL",
    at: 0x48,
    access: "rw",
    reset: 0,
    writable: 0x1,
    bits: "0 cancel",
    why: "stays until software clears it; a command that is started meanwhile is canceled unread",
  },
  start: {
    name: "CRB_CTRL_START",
    at: 0x4c,
    access: "rw",
    reset: 0,
    writable: 0,
    bits: "0 start",
    why: "reads as 1 until the response is in the buffer",
  },
  interruptEnable: {
    name: "CRB_INT_ENABLE",
    at: 0x50,
    access: "rw",
    reset: 0,
    writable: 0x8000_000f,
    bits: "0 start, 1 cmdReady, 2 establishmentClear, 3 localityChange, 31 global",
    why: "of the whole interface, reached from the active locality",
  },
  interruptStatus: {
    name: "CRB_INT_STS",
    at: 0x54,
    access: "rw",
    reset: 0,
    writable: 0,
    bits: "0 start, 1 cmdReady, 2 establishmentClear, 3 localityChange",
    why: "writing 1 clears a bit",
  },
  commandSize: {
    name: "CRB_CTRL_CMD_SIZE",
    at: 0x58,
    access: "ro",
    reset: crbBufferLength,
    writable: 0,
    bits: "31:0 bytes",
    why: "EDK2 writes it before every command",
  },
  commandAddressLow: {
    name: "CRB_CTRL_CMD_LADDR",
    at: 0x5c,
    access: "ro",
    reset: tpmBase + crbBufferAt,
    writable: 0,
    bits: "31:0 guest physical address of the page's own view",
    why: "read before any locality is asked for, so it reads the same at all times",
  },
  commandAddressHigh: {
    name: "CRB_CTRL_CMD_HADDR",
    at: 0x60,
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "63:32",
    why: "all of the buffer is below 4 GiB",
  },
  responseSize: {
    name: "CRB_CTRL_RSP_SIZE",
    at: 0x64,
    access: "ro",
    reset: crbBufferLength,
    writable: 0,
    bits: "31:0 bytes",
    why: "one buffer for command and response",
  },
  responseAddressLow: {
    name: "CRB_CTRL_RSP_ADDR 31:0",
    at: 0x68,
    access: "ro",
    reset: tpmBase + crbBufferAt,
    writable: 0,
    bits: "31:0 guest physical address",
    why: "one buffer for both: Linux allows it, EDK2 expects it",
  },
  responseAddressHigh: {
    name: "CRB_CTRL_RSP_ADDR 63:32",
    at: 0x6c,
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "63:32",
    why: "all of the buffer is below 4 GiB",
  },
} as const satisfies Record<string, InterfaceRegister>;

export const CrbLocality = { request: 0x1, relinquish: 0x2, seize: 0x4, resetEstablishment: 0x8 } as const;
export const CrbLocalityState = {
  notEstablished: 0x01,
  assigned: 0x02,
  activeShift: 2,
  valid: 0x80,
} as const;
export const CrbLocalityStatus = { granted: 0x1, beenSeized: 0x2 } as const;
export const CrbRequest = { commandReady: 0x1, goIdle: 0x2 } as const;
export const CrbStatus = { fatal: 0x1, idle: 0x2 } as const;
export const CrbInterrupt = {
  start: 0x1,
  commandReady: 0x2,
  establishmentClear: 0x4,
  localityChange: 0x8,
  all: 0xf,
  global: 0x8000_0000,
} as const;

/** Bytes at locality 4, where this interface has nothing else (PTP 1.05). */
export const hashRegisters = {
  hashEnd: {
    name: "HASH_END",
    at: 0x20,
    access: "wo",
    reset: 0,
    writable: 0,
    bits: "any write",
    why: "extends what was measured",
  },
  hashData: {
    name: "HASH_DATA",
    at: 0x24,
    access: "wo",
    reset: 0,
    writable: 0,
    bits: "7:0 to 31:0 data, low byte first",
    why: "between start and end only, else FIFO or nothing",
  },
  hashStart: {
    name: "HASH_START",
    at: 0x28,
    access: "wo",
    reset: 0,
    writable: 0,
    bits: "any write",
    why: "takes locality 4 unless another one is active",
  },
} as const satisfies Record<string, InterfaceRegister>;
