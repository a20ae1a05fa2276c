/*
 * The local APIC's register file as one table. The code dispatches by it, `inspect` prints it, specs/local-apic.md is tested
 * against it. Clauses: Intel SDM volume 3A, chapter "Advanced Programmable Interrupt Controller" (APIC).
 */

/** "r" read only, "w" write only, "rw" both, "-" does not exist in this mode. */
export type RegisterAccess = "r" | "w" | "rw" | "-";

export interface ApicRegister {
  /** MMIO offset >> 4, and x2APIC MSR number - 0x800. */
  readonly index: number;
  readonly title: string;
  readonly xapic: RegisterAccess;
  readonly x2apic: RegisterAccess;
  /** Bits that software sets. */
  readonly writable: number;
  /** Bits that hardware sets; software may write anything there (read-modify-write must not fault) and changes nothing. */
  readonly status: number;
  readonly reset: number;
  readonly note: string;
}

const lvtMasked = 0x0001_0000;
const deliveryStatus = 0x1000;

/** By name, in the order of their index. Bits in neither `writable` nor `status`: ignored by xAPIC, #GP in x2APIC. */
export const apicRegisters = {
  id: {
    index: 0x02,
    title: "ID",
    xapic: "rw",
    x2apic: "r",
    writable: 0xff00_0000,
    status: 0,
    reset: 0,
    note: "xAPIC: id in 31:24, after reset that of CPUID; x2APIC: 32 bits, always that of CPUID",
  },
  version: {
    index: 0x03,
    title: "version",
    xapic: "r",
    x2apic: "r",
    writable: 0,
    status: 0,
    reset: 0x0105_0014,
    note: "version 0x14, 6 LVT entries (5 = last), bit 24: EOI broadcast can be suppressed",
  },
  taskPriority: {
    index: 0x08,
    title: "TPR",
    xapic: "rw",
    x2apic: "rw",
    writable: 0xff,
    status: 0,
    reset: 0,
    note: "CR8 is bits 7:4; a write through CR8 clears 3:0",
  },
  arbitrationPriority: {
    index: 0x09,
    title: "APR",
    xapic: "r",
    x2apic: "-",
    writable: 0,
    status: 0,
    reset: 0,
    note: "computed",
  },
  processorPriority: {
    index: 0x0a,
    title: "PPR",
    xapic: "r",
    x2apic: "r",
    writable: 0,
    status: 0,
    reset: 0,
    note: "TPR when TPR[7:4] >= ISRV[7:4], else ISRV & 0xF0",
  },
  endOfInterrupt: {
    index: 0x0b,
    title: "EOI",
    xapic: "w",
    x2apic: "w",
    writable: 0,
    status: 0,
    reset: 0,
    note: "xAPIC: any value; x2APIC: only 0",
  },
  logicalDestination: {
    index: 0x0d,
    title: "LDR",
    xapic: "rw",
    x2apic: "r",
    writable: 0xff00_0000,
    status: 0,
    reset: 0,
    note: "x2APIC: ((id >> 4) << 16) + (1 << (id & 15))",
  },
  destinationFormat: {
    index: 0x0e,
    title: "DFR",
    xapic: "rw",
    x2apic: "-",
    writable: 0xf000_0000,
    status: 0,
    reset: 0xffff_ffff,
    note: "31:28 all ones is the flat model, anything else means cluster; 27:0 read as ones",
  },
  spuriousVector: {
    index: 0x0f,
    title: "SVR",
    xapic: "rw",
    x2apic: "rw",
    writable: 0x0000_13ff,
    status: 0,
    reset: 0xff,
    note: "bit 8 software enable, bit 9 focus check (kept, without effect), bit 12 suppress EOI broadcast",
  },
  inService: {
    index: 0x10,
    title: "ISR",
    xapic: "r",
    x2apic: "r",
    writable: 0,
    status: 0,
    reset: 0,
    note: "8 registers, 0x10 to 0x17",
  },
  triggerMode: {
    index: 0x18,
    title: "TMR",
    xapic: "r",
    x2apic: "r",
    writable: 0,
    status: 0,
    reset: 0,
    note: "8 registers, 0x18 to 0x1F",
  },
  interruptRequest: {
    index: 0x20,
    title: "IRR",
    xapic: "r",
    x2apic: "r",
    writable: 0,
    status: 0,
    reset: 0,
    note: "8 registers, 0x20 to 0x27",
  },
  errorStatus: {
    index: 0x28,
    title: "ESR",
    xapic: "rw",
    x2apic: "rw",
    writable: 0,
    status: 0,
    reset: 0,
    note: "a write latches the errors since the last write; x2APIC: only 0",
  },
  commandLow: {
    index: 0x30,
    title: "ICR low",
    xapic: "rw",
    x2apic: "rw",
    writable: 0x000c_cfff,
    status: deliveryStatus,
    reset: 0,
    note: "a write sends; x2APIC: 64 bits, destination in the upper half",
  },
  commandHigh: {
    index: 0x31,
    title: "ICR high",
    xapic: "rw",
    x2apic: "-",
    writable: 0xff00_0000,
    status: 0,
    reset: 0,
    note: "destination in 31:24",
  },
  timer: {
    index: 0x32,
    title: "LVT timer",
    xapic: "rw",
    x2apic: "rw",
    writable: 0x0007_00ff,
    status: deliveryStatus,
    reset: lvtMasked,
    note: "18:17: 0 one-shot, 1 periodic, 2 TSC deadline",
  },
  thermal: {
    index: 0x33,
    title: "LVT thermal",
    xapic: "rw",
    x2apic: "rw",
    writable: 0x0001_07ff,
    status: deliveryStatus,
    reset: lvtMasked,
    note: "kept; nothing here overheats",
  },
  performance: {
    index: 0x34,
    title: "LVT performance",
    xapic: "rw",
    x2apic: "rw",
    writable: 0x0001_07ff,
    status: deliveryStatus,
    reset: lvtMasked,
    note: "kept; there are no performance counters",
  },
  lint0: {
    index: 0x35,
    title: "LVT LINT0",
    xapic: "rw",
    x2apic: "rw",
    writable: 0x0001_a7ff,
    status: deliveryStatus | 0x4000,
    reset: lvtMasked,
    note: "the 8259 pair's output; bit 14 remote IRR of a level-triggered fixed interrupt",
  },
  lint1: {
    index: 0x36,
    title: "LVT LINT1",
    xapic: "rw",
    x2apic: "rw",
    writable: 0x0001_a7ff,
    status: deliveryStatus | 0x4000,
    reset: lvtMasked,
    note: "the platform's NMI; always edge-triggered",
  },
  error: {
    index: 0x37,
    title: "LVT error",
    xapic: "rw",
    x2apic: "rw",
    writable: 0x0001_00ff,
    status: deliveryStatus,
    reset: lvtMasked,
    note: "fires on the first error after ESR was written",
  },
  initialCount: {
    index: 0x38,
    title: "TMICT",
    xapic: "rw",
    x2apic: "rw",
    writable: 0xffff_ffff,
    status: 0,
    reset: 0,
    note: "starts the timer; in TSC-deadline mode it reads 0 and ignores writes",
  },
  currentCount: {
    index: 0x39,
    title: "TMCCT",
    xapic: "r",
    x2apic: "r",
    writable: 0,
    status: 0,
    reset: 0,
    note: "computed from guest time; the input clock is 1 GHz",
  },
  divide: {
    index: 0x3e,
    title: "DCR",
    xapic: "rw",
    x2apic: "rw",
    writable: 0xb,
    status: 0,
    reset: 0,
    note: "bits 3, 1, 0: 2 4 8 16 32 64 128 1",
  },
  selfIpi: {
    index: 0x3f,
    title: "SELF IPI",
    xapic: "-",
    x2apic: "w",
    writable: 0xff,
    status: 0,
    reset: 0,
    note: "a fixed, edge-triggered interrupt to itself",
  },
} as const satisfies Record<string, ApicRegister>;

export type ApicRegisterName = keyof typeof apicRegisters;

/** How many registers the offsets 0x000 to 0x3FF hold. */
export const apicRegisterCount = 0x40;

/** The first of the eight words of ISR, TMR and IRR stands for all. */
export const apicVectorBanks: readonly ApicRegisterName[] = ["inService", "triggerMode", "interruptRequest"];

/** LVT entries, which software disable masks. */
export const apicLvtEntries: readonly ApicRegisterName[] = [
  "timer",
  "thermal",
  "performance",
  "lint0",
  "lint1",
  "error",
];

/** Bits of `apicAccess` rows. */
export const accessRead = 1;
export const accessWrite = 2;

/** The table in the shape that dispatch wants: flat arrays by index. */
export interface ApicAccessTable {
  readonly xapic: Uint8Array;
  readonly x2apic: Uint8Array;
  readonly writable: Uint32Array;
  /** `writable` and `status` together: what an x2APIC write may hold. */
  readonly legal: Uint32Array;
  readonly reset: Uint32Array;
}

export const apicAccess: ApicAccessTable = buildAccessTable();

function buildAccessTable(): ApicAccessTable {
  const table = {
    xapic: new Uint8Array(apicRegisterCount),
    x2apic: new Uint8Array(apicRegisterCount),
    writable: new Uint32Array(apicRegisterCount),
    legal: new Uint32Array(apicRegisterCount),
    reset: new Uint32Array(apicRegisterCount),
  };
  const bits: Record<RegisterAccess, number> = {
    "-": 0,
    r: accessRead,
    w: accessWrite,
    rw: accessRead | accessWrite,
  };
  for (const [name, register] of Object.entries<ApicRegister>(apicRegisters)) {
    const count = apicVectorBanks.some((bank) => bank === name) ? 8 : 1;
    for (let index = register.index; index < register.index + count; index++) {
      table.xapic[index] = bits[register.xapic];
      table.x2apic[index] = bits[register.x2apic];
      table.writable[index] = register.writable;
      table.legal[index] = register.writable | register.status;
      table.reset[index] = register.reset;
    }
  }
  return table;
}
