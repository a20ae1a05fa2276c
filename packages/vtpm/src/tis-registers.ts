import { InterfaceId, type InterfaceRegister } from "./interface-registers.ts";

/** Bytes of the largest command and response. */
export const tisBufferLength = 4096;

/** Another window on the FIFO, for transfers of up to 64 bytes. */
export const extendedFifoAt = 0x80;
export const extendedFifoLength = 0x40;

/** Registers of the FIFO interface (PC Client Platform TPM Profile 1.05; TIS 1.3 before it). What lies between reads as all ones. */
export const tisRegisters = {
  access: {
    name: "ACCESS",
    at: 0x00,
    access: "rw",
    reset: 0x81,
    writable: 0,
    bits: "0 tpmEstablishment (0: a dynamic root of trust was measured), 1 requestUse, 2 pendingRequest, 3 Seize, 4 beenSeized, 5 activeLocality, 7 tpmRegValidSts",
    why: "writing 1 to one of requestUse, Seize, beenSeized (clears it) and activeLocality (gives the TPM up) acts; to several does nothing",
  },
  interruptEnable: {
    name: "INT_ENABLE",
    at: 0x08,
    access: "rw",
    reset: 0x08,
    writable: 0x8000_009f,
    bits: "0 dataAvail, 1 stsValid, 2 localityChange, 4:3 polarity (1: low level), 7 commandReady, 31 global",
    why: "of the page's locality, written while that is active; the polarity is kept and moves nothing: the machine's wiring decides",
  },
  interruptVector: {
    name: "INT_VECTOR",
    at: 0x0c,
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "3:0 interrupt",
    why: "wired; 0: none",
  },
  interruptStatus: {
    name: "INT_STATUS",
    at: 0x10,
    access: "rw",
    reset: 0,
    writable: 0,
    bits: "0 dataAvail, 1 stsValid, 2 localityChange, 7 commandReady",
    why: "of the page's locality; writing 1 clears a bit, while that is active",
  },
  capability: {
    name: "INTF_CAPABILITY",
    at: 0x14,
    access: "ro",
    reset: 0x3000_0697,
    writable: 0,
    bits: "0, 1, 2, 7 interrupts that there are, 4 low level, 8 static burst count, 10:9 transfers of up to 64 bytes, 30:28 version 3",
    why: "SeaBIOS and EDK2 take a TPM for one of family 2.0 by bits 30:28",
  },
  status: {
    name: "STS",
    at: 0x18,
    access: "rw",
    reset: 0x0400_0000,
    writable: 0,
    bits: "1 responseRetry, 2 selfTestDone, 3 Expect, 4 dataAvail, 5 tpmGo, 6 commandReady, 7 stsValid, 23:8 burstCount, 24 commandCancel, 25 resetEstablishmentBit, 27:26 family 1",
    why: "all ones unless the locality is active; of 6, 5 and 1 only one at a time; a byte's read sees a burst count of 0xff at most, so that the two bytes that EDK2 puts together agree",
  },
  fifo: {
    name: "DATA_FIFO",
    at: 0x24,
    access: "rw",
    reset: 0xffff_ffff,
    writable: 0,
    bits: "7:0 to 31:0 data, low byte first",
    why: "firmware moves a byte at a time, Linux up to four; 0x80 to 0xbf (XDATA_FIFO) are the same FIFO; all ones when there is nothing to read",
  },
  interfaceId: {
    name: "INTERFACE_ID",
    at: 0x30,
    access: "rw",
    reset: InterfaceId.fiveLocalities | InterfaceId.hasFifo,
    writable: InterfaceId.selectorLock,
    bits: "3:0 type, 7:4 version, 8 five localities, 13 has FIFO, 14 has CRB, 18:17 selector, 19 selector lock, 31:24 revision",
    why: "there is one interface, so the selector that SeaBIOS writes selects nothing; the lock stays set",
  },
  vendor: {
    name: "DID_VID",
    at: 0xf00,
    access: "ro",
    reset: 0x0001_1014,
    writable: 0,
    bits: "15:0 vendor, 31:16 device",
    why: "0 or all ones would be no TPM to firmware",
  },
  revision: {
    name: "RID",
    at: 0xf04,
    access: "ro",
    reset: 0x01,
    writable: 0,
    bits: "7:0 revision",
    why: "Linux prints it",
  },
} as const satisfies Record<string, InterfaceRegister>;

export const TisAccess = {
  notEstablished: 0x01,
  requestUse: 0x02,
  pendingRequest: 0x04,
  seize: 0x08,
  beenSeized: 0x10,
  active: 0x20,
  valid: 0x80,
} as const;

export const TisStatus = {
  responseRetry: 0x02,
  expect: 0x08,
  dataAvailable: 0x10,
  go: 0x20,
  commandReady: 0x40,
  valid: 0x80,
  burstShift: 8,
  cancel: 0x0100_0000,
  resetEstablishment: 0x0200_0000,
} as const;

export const TisInterrupt = {
  dataAvailable: 0x01,
  statusValid: 0x02,
  localityChange: 0x04,
  commandReady: 0x80,
  all: 0x87,
  global: 0x8000_0000,
} as const;
