import type { Register } from "./register-table.ts";

/** Bytes of the register block; timer n is at 0x100 + 0x20 n, so that 24 timers fit (IA-PC HPET 1.0a, 2.3.1). */
export const hpetLength = 0x400;
export const hpetTimersAtMost = 24;

/** Registers of the IA-PC HPET specification 1.0a, a row per dword. */
export const hpetRegisters = {
  capabilities: {
    name: "GCAP_ID",
    at: "0x000",
    access: "ro",
    reset: 0x8086_a201,
    writable: 0,
    bits: "7:0 revision 1, 12:8 last timer, 13 64-bit counter, 15 legacy replacement, 31:16 vendor",
    why: "2.3.4: here of three timers; the ACPI table repeats these bits",
  },
  period: {
    name: "COUNTER_CLK_PERIOD",
    at: "0x004",
    access: "ro",
    reset: 10_000_000,
    writable: 0,
    bits: "31:0 femtoseconds per tick",
    why: "2.3.4: 10 ns, since guest time is whole nanoseconds: no rounding, no drift; at most 100 ns are allowed",
  },
  configuration: {
    name: "GEN_CONF",
    at: "0x010",
    access: "rw",
    reset: 0,
    writable: 0x3,
    bits: "0 ENABLE_CNF, 1 LEG_RT_CNF",
    why: "2.3.5: counter halted and no interrupt without bit 0; bit 1 puts timers 0 and 1 in the place of PIT and RTC",
  },
  status: {
    name: "GINTR_STA",
    at: "0x020",
    access: "rw",
    reset: 0,
    writable: 0,
    bits: "n timer n matched, level-triggered timers only",
    why: "2.3.6: writing 1 clears a bit; set whether the timer's interrupt is enabled or not",
  },
  counterLow: {
    name: "MAIN_CNT 31:0",
    at: "0x0F0",
    access: "rw",
    reset: 0,
    writable: 0xffff_ffff,
    bits: "31:0 count",
    why: "2.3.7: written only while the counter is halted, else the write is lost",
  },
  counterHigh: {
    name: "MAIN_CNT 63:32",
    at: "0x0F4",
    access: "rw",
    reset: 0,
    writable: 0xffff_ffff,
    bits: "63:32 count",
    why: "2.3.7: both halves of one 64-bit access are of the same moment",
  },
  timerConfiguration: {
    name: "Tn_CONF 31:0",
    at: "0x100 + 0x20 n",
    access: "rw",
    reset: 0x8030,
    writable: 0x7f4e,
    bits: "1 level, 2 interrupt enable, 3 periodic, 4 can be periodic, 5 has 64 bits, 6 VAL_SET, 8 32-bit mode, 13:9 route, 14 FSB, 15 can FSB",
    why: "2.3.8: every timer can do everything; a route that it has not is not taken and reads as before",
  },
  timerRoutes: {
    name: "Tn_INT_ROUTE_CAP",
    at: "0x104 + 0x20 n",
    access: "ro",
    reset: 0x00f0_0000,
    writable: 0,
    bits: "n route to IOAPIC input n",
    why: "2.3.8: the machine's wiring; these four are shared with PCI, as in Intel's chipsets",
  },
  comparatorLow: {
    name: "Tn_COMP 31:0",
    at: "0x108 + 0x20 n",
    access: "rw",
    reset: 0xffff_ffff,
    writable: 0xffff_ffff,
    bits: "31:0 comparator; in periodic mode a write is the period, with VAL_SET the comparator too",
    why: "2.3.9: reads give the value that the counter is compared with next",
  },
  comparatorHigh: {
    name: "Tn_COMP 63:32",
    at: "0x10C + 0x20 n",
    access: "rw",
    reset: 0xffff_ffff,
    writable: 0xffff_ffff,
    bits: "63:32 comparator",
    why: "2.3.9: in 32-bit mode it reads as 0 and writes are lost",
  },
  messageData: {
    name: "Tn_FSB_INT_VAL",
    at: "0x110 + 0x20 n",
    access: "rw",
    reset: 0,
    writable: 0xffff_ffff,
    bits: "31:0 data",
    why: "2.3.10: what is written when the timer matches with FSB delivery",
  },
  messageAddress: {
    name: "Tn_FSB_INT_ADDR",
    at: "0x114 + 0x20 n",
    access: "rw",
    reset: 0,
    writable: 0xffff_ffff,
    bits: "31:0 address",
    why: "2.3.10: where it is written",
  },
} as const satisfies Record<string, Register>;

export const HpetConfiguration = { enable: 0x1, legacyReplacement: 0x2 } as const;

export const HpetTimerBit = {
  level: 0x0002,
  interruptEnable: 0x0004,
  periodic: 0x0008,
  valueSet: 0x0040,
  mode32: 0x0100,
  route: 0x3e00,
  message: 0x4000,
} as const;
