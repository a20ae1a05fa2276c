import type { Register } from "./register-table.ts";

/** Registers of the MC146818A (Motorola data sheet) in the PC's CMOS RAM. */
export const rtcRegisters = {
  index: {
    name: "Index",
    at: "port 0x70 write",
    access: "wo",
    reset: 0,
    writable: 0xff,
    bits: "6:0 register, 7 NMI masked",
    why: "Chipset: the mask bit is kept for whoever delivers NMIs; reading the port gives 0xFF",
  },
  time: {
    name: "Seconds, minutes, hours",
    at: "0x00, 0x02, 0x04",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "BCD or binary; hours bit 7 PM in 12-hour mode",
    why: "Time, calendar and alarm locations: guest time from the machine's start time on",
  },
  alarm: {
    name: "Alarm seconds, minutes, hours",
    at: "0x01, 0x03, 0x05",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "as time; 0xC0 to 0xFF match everything",
    why: "Time, calendar and alarm locations: compared at each update",
  },
  calendar: {
    name: "Day of week, day, month, year, century",
    at: "0x06, 0x07, 0x08, 0x09, 0x32",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "BCD or binary; day of week 1 to 7 from Sunday",
    why: "As time; the century is where the FADT says. The day of week counts on from what was written",
  },
  a: {
    name: "A",
    at: "0x0A",
    access: "rw",
    reset: 0x26,
    writable: 0x7f,
    bits: "7 UIP, 6:4 divider, 3:0 rate",
    why: "Register A: UIP is set in the last 244 us before an update; divider 2 runs, 6 and 7 hold the chain in reset",
  },
  b: {
    name: "B",
    at: "0x0B",
    access: "rw",
    reset: 0x02,
    writable: 0xff,
    bits: "7 SET, 6 PIE, 5 AIE, 4 UIE, 3 SQWE, 2 binary, 1 24 hours, 0 DSE",
    why: "Register B: SET stops updates and clears UIE; daylight saving is kept but not applied, as in Intel's chipsets",
  },
  c: {
    name: "C",
    at: "0x0C",
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "7 IRQF, 6 PF, 5 AF, 4 UF",
    why: "Register C: flags are set whether enabled or not; reading clears them and the interrupt",
  },
  d: {
    name: "D",
    at: "0x0D",
    access: "ro",
    reset: 0x80,
    writable: 0,
    bits: "7 valid RAM and time",
    why: "Register D: the battery is good",
  },
  ram: {
    name: "RAM",
    at: "0x0E to 0x7F but 0x32",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "any",
    why: "Survives a reset of the platform, like time and alarm",
  },
  extendedIndex: {
    name: "Extended index",
    at: "port 0x72",
    access: "rw",
    reset: 0,
    writable: 0x7f,
    bits: "6:0 byte of the extended bank",
    why: "Chipset: Intel's since 1996 have a second bank, which firmware uses",
  },
  extendedRam: {
    name: "Extended RAM",
    at: "port 0x73, 0x00 to 0x7F",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "any",
    why: "Chipset: survives a reset of the platform too",
  },
} as const satisfies Record<string, Register>;

/** Where each field is in the CMOS RAM. */
export const Cmos = {
  seconds: 0x00,
  secondsAlarm: 0x01,
  minutes: 0x02,
  minutesAlarm: 0x03,
  hours: 0x04,
  hoursAlarm: 0x05,
  weekday: 0x06,
  day: 0x07,
  month: 0x08,
  year: 0x09,
  a: 0x0a,
  b: 0x0b,
  c: 0x0c,
  d: 0x0d,
  century: 0x32,
} as const;

export const RegisterB = {
  set: 0x80,
  periodic: 0x40,
  alarm: 0x20,
  update: 0x10,
  squareWave: 0x08,
  binary: 0x04,
  hours24: 0x02,
} as const;

/** Flags of register C have the places of their enables in register B. */
export const flagsMask = RegisterB.periodic | RegisterB.alarm | RegisterB.update;

/** Cycles of the 32.768 kHz crystal per periodic interrupt, by register A bits 3:0; 0 = none (data sheet, table 5). */
export const periodicCycles = [
  0, 128, 256, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384,
] as const;
