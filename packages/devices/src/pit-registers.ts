import type { Register } from "./register-table.ts";

/** Registers of the 8254 (Intel 82C54 data sheet) and of the chipset's port 0x61. */
export const pitRegisters = {
  counter: {
    name: "Counter 0 to 2",
    at: "0x40 to 0x42",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "least or most significant byte, by the control word",
    why: "Read operations: status if latched, else the latched count, else the running count",
  },
  control: {
    name: "Control word",
    at: "0x43 write",
    access: "wo",
    reset: 0,
    writable: 0xff,
    bits: "7:6 counter, 5:4 latch / low / high / both, 3:1 mode, 0 BCD",
    why: "Control word format: modes 6 and 7 are 2 and 3. 0x43 cannot be read and gives 0",
  },
  latch: {
    name: "Counter latch",
    at: "0x43 write, bits 5:4 = 0",
    access: "wo",
    reset: 0,
    writable: 0xc0,
    bits: "7:6 counter",
    why: "Counter latch command: a second one before the count is read changes nothing",
  },
  readBack: {
    name: "Read-back",
    at: "0x43 write, bits 7:6 = 3",
    access: "wo",
    reset: 0,
    writable: 0x3e,
    bits: "5 count not latched, 4 status not latched, 3:1 counters 2 to 0",
    why: "Read-back command: several counters at one moment; status comes before the count",
  },
  status: {
    name: "Status byte",
    at: "0x40 to 0x42 read after read-back",
    access: "ro",
    reset: 0x70,
    writable: 0,
    bits: "7 OUT, 6 null count, 5:0 control word as written",
    why: "Status byte: null count is set until the counting element holds what was written; after power-on: mode 0, no count yet",
  },
  portB: {
    name: "Port B",
    at: "0x61",
    access: "rw",
    reset: 0,
    writable: 0x0f,
    bits: "0 gate of counter 2, 1 speaker, 3:2 parity checks off; read only: 4 refresh, 5 OUT 2, 7:6 parity errors",
    why: "Chipset: Linux measures the TSC by gate and OUT of counter 2; bit 4 changes every 15 us",
  },
} as const satisfies Record<string, Register>;

export type PitMode = 0 | 1 | 2 | 3 | 4 | 5;

/** What the six modes share and where they differ (82C54, "Mode definitions" and "Gate pin operations summary"). */
export interface ModeRules {
  readonly name: string;
  /** OUT after the control word. */
  readonly idleOut: boolean;
  /** What a rising GATE does: reload and start, or nothing. */
  readonly risingGateStarts: boolean;
  /** What a low GATE does: hold the count, hold it and force OUT high, or nothing. */
  readonly lowGate: "holds" | "holds and sets OUT" | "ignored";
  /** When a new count is taken while one runs: at once, at the end of the period, or at the next trigger. */
  readonly takesCount: "at once" | "at the end of the period" | "at a trigger";
}

export const pitModes: readonly ModeRules[] = [
  {
    name: "interrupt on terminal count",
    idleOut: false,
    risingGateStarts: false,
    lowGate: "holds",
    takesCount: "at once",
  },
  {
    name: "hardware retriggerable one-shot",
    idleOut: true,
    risingGateStarts: true,
    lowGate: "ignored",
    takesCount: "at a trigger",
  },
  {
    name: "rate generator",
    idleOut: true,
    risingGateStarts: true,
    lowGate: "holds and sets OUT",
    takesCount: "at the end of the period",
  },
  {
    name: "square wave mode",
    idleOut: true,
    risingGateStarts: true,
    lowGate: "holds and sets OUT",
    takesCount: "at the end of the period",
  },
  {
    name: "software triggered strobe",
    idleOut: true,
    risingGateStarts: false,
    lowGate: "holds",
    takesCount: "at once",
  },
  {
    name: "hardware triggered strobe",
    idleOut: true,
    risingGateStarts: true,
    lowGate: "ignored",
    takesCount: "at a trigger",
  },
];
