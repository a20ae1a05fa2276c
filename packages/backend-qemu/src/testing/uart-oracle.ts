import { ManualTime, Uart16550 } from "@entresol/devices";
import type { AccessWidth } from "../qtest-operation.ts";
import {
  type DeviceOracle,
  type Difference,
  type Mismatch,
  type Operation,
  type OwnOutcome,
  type Subject,
  startOpponent,
} from "./lockstep.ts";

import type { SequenceRandom } from "./random.ts";
import { SteppedTime, steppedTimeArguments } from "./stepped-time.ts";

const base = 0x3f8;
const interrupt = 4;
const registers = 8;

class UartSubject implements Subject {
  #level = false;
  readonly #time = new ManualTime();
  readonly #uart = new Uart16550({
    name: "com1",
    base,
    timebase: this.#time,
    line: {
      set: (level) => {
        this.#level = level;
      },
    },
    output: () => {},
  });

  perform(operation: Operation): OwnOutcome {
    let value = 0;
    if (operation.kind === "step") this.#time.advance(operation.ns);
    else if (operation.kind === "port read") value = this.#uart.portRead(operation.port, operation.width);
    else if (operation.kind === "port write")
      this.#uart.portWrite(operation.port, operation.width, operation.value);
    const { mcr, msr, iir } = this.#uart.inspect();
    // MCR in bits 7:0, MSR in 15:8, IIR in 23:16.
    const note = Number(mcr) | (Number(msr) << 8) | (Number(iir) << 16);
    return { value, levels: this.#level ? 1 << interrupt : 0, messages: "", note };
  }
}

const write = (offset: number, value: number): Operation => ({
  kind: "port write",
  port: base + offset,
  width: 1,
  value,
});
const read = (offset: number): Operation => ({ kind: "port read", port: base + offset, width: 1 });

const dlab = 0x80;

/** Does MSR hold changes? */
const changed = (note: number): boolean => (note & 0x0f00) !== 0;

/** The bytes of a read that differ, with the registers that they come from. */
function differingBytes({ operation, ours, theirs }: Mismatch<UartSubject>): readonly {
  readonly register: number;
  readonly ours: number;
  readonly theirs: number;
}[] {
  if (operation.kind !== "port read") return [];
  return Array.from({ length: operation.width }, (_, index) => ({
    register: operation.port - base + index,
    ours: (ours.value >>> (8 * index)) & 0xff,
    theirs: (theirs.value >>> (8 * index)) & 0xff,
  })).filter((byte) => byte.ours !== byte.theirs);
}

/** Clears without enabling: bits 1 or 2 of FCR, not bit 0. */
function isIgnoredFifoCommand(operation: Operation): boolean {
  if (operation.kind !== "port write") return false;
  const index = base + 2 - operation.port;
  if (index < 0 || index >= operation.width) return false;
  const byte = (operation.value >>> (8 * index)) & 0xff;
  return (byte & 1) === 0 && (byte & 6) !== 0;
}

const differences: readonly Difference<UartSubject>[] = [
  {
    name: "uart-out2-gate",
    what: "Our interrupt line passes the gate that OUT2 opens and that loop mode closes; QEMU's does not",
    clause: "PC16550D 8.8, OUT2; IBM PC serial adapter, where OUT2 enables the driver of the interrupt line",
    right: "ours",
    goesOn: true,
    explains: ({ ours }) => (ours.levels === 0 && (ours.note! & 0x18) !== 0x08 ? ["levels"] : []),
  },
  {
    name: "uart-loop-modem-changes",
    what: "In loop mode our MSR records changes of the lines that MCR drives, and they interrupt; QEMU's changes stay clear",
    clause:
      "PC16550D 8.8: the modem control interrupts are operational in loop mode, their sources are MCR bits 3:0",
    right: "ours",
    goesOn: true,
    explains: (mismatch) => {
      const { ours, theirs, noteBefore = 0 } = mismatch;
      const bytes = differingBytes(mismatch).every((byte) =>
        byte.register === 6
          ? byte.ours >> 4 === byte.theirs >> 4 && (byte.theirs & 0x0f) === 0
          : byte.register === 2 &&
            changed(noteBefore) &&
            (byte.ours & 0x0f) === 0 &&
            (byte.theirs & 0x0f) === 1,
      );
      const raised = ours.levels > theirs.levels && changed(ours.note!) && ((ours.note! >> 16) & 0x0f) === 0;
      return [...(bytes ? (["value"] as const) : []), ...(raised ? (["levels"] as const) : [])];
    },
  },
  {
    name: "uart-fifo-command-without-enable",
    what: "FCR bits 1 and 2 without bit 0 change nothing in ours while the FIFOs are off; QEMU clears receiver and transmitter",
    clause:
      "PC16550D 8.5, bit 0: must be 1 when other FCR bits are written to or they will not be programmed",
    right: "ours",
    goesOn: false,
    explains: ({ operations, index }) =>
      operations.slice(0, index + 1).some(isIgnoredFifoCommand) ? ["value", "levels"] : [],
  },
];

const timeoutDifferences: readonly Difference<UartSubject>[] = [
  ...differences,
  {
    name: "uart-timeout-above-trigger",
    what: "When the FIFO holds as much as its trigger and the time-out has passed as well, ours reports data, QEMU the time-out",
    clause: "PC16550D 8.6, table: both have the second priority, and which of them shows is not said",
    right: "both",
    goesOn: true,
    explains: (mismatch) => {
      const all = differingBytes(mismatch).every(
        ({ register, ours, theirs }) => register === 2 && (ours & 0x0f) === 0x04 && (theirs & 0x0f) === 0x0c,
      );
      return all ? ["value"] : [];
    },
  },
];

/** From any state to the one after power-on, with MCR's OUT2 set; bits 15:0 of the divisor. */
const opening = (divisor: number): readonly Operation[] => [
  write(3, dlab),
  write(0, divisor & 0xff),
  write(1, divisor >> 8),
  write(3, 0),
  write(1, 0),
  write(4, 0),
  write(2, 0x07),
  write(2, 0),
  read(0),
  read(5),
  read(6),
  write(4, 0x10),
  // The register that is read while no byte is there.
  write(0, 0),
  read(0),
  read(5),
  write(4, 0x08),
  read(6),
  read(2),
  write(7, 0),
];

/** Data moves the most; the others are equally likely. */
const drawnRegisters = [0, 0, 0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7] as const;

/** A source of accesses. The divisor, where it may change, stays above 32767. */
function accesses(random: SequenceRandom, divisorChanges: boolean): () => Operation {
  // Loop mode is where a UART without a partner receives; half of all sequences stay there.
  const loops = random.chance(50);
  const clearsWithoutEnable = random.chance(5);
  let lineControl = 0;
  const byteFor = (offset: number): number => {
    const byte = random.byte();
    switch (offset) {
      case 1:
        return (lineControl & dlab) !== 0 ? byte | 0x80 : byte;
      case 2:
        return (byte & 1) === 0 && !clearsWithoutEnable ? byte & ~6 : byte;
      case 3:
        lineControl = divisorChanges && random.chance(20) ? byte : byte & ~dlab;
        return lineControl;
      case 4:
        return loops && random.chance(90) ? byte | 0x10 : byte | (random.chance(80) ? 0x08 : 0);
      default:
        return byte;
    }
  };
  return () => {
    const offset = random.pick(drawnRegisters);
    const drawn = random.below(20);
    let width: AccessWidth = drawn === 0 ? 4 : drawn === 1 ? 2 : 1;
    while (offset + width > registers) width = 1;
    if (random.chance(50)) return { kind: "port read", port: base + offset, width };
    let value = 0;
    for (let index = 0; index < width; index++) value += byteFor(offset + index) * 2 ** (8 * index);
    return { kind: "port write", port: base + offset, width, value };
  };
}

/** The UART as long as no time passes. */
export const uartOracle: DeviceOracle<UartSubject> = {
  name: "uart",
  excluded:
    "the pace of the line: QEMU sends and receives at once; received bytes come by loop mode; with divisors above 32767 no time-out " +
    "happens within a sequence",
  length: 100,
  start: () =>
    startOpponent({ arguments: ["-serial", "null"] }, async (machine) => {
      await machine.intercept("inputs", "ioapic");
      return { lines: 1 << interrupt };
    }),
  create: () => new UartSubject(),
  opening: opening(0xff00),
  drawer: (random) => accesses(random, true),
  differences,
};

/** More than four characters of twelve bits, at the divisor of `slowest`. */
const slowest = 12;
const pause = 8_000_000;

/** The UART when all that waits for a time-out has waited long enough. */
export const uartTimeoutOracle: DeviceOracle<UartSubject> = {
  name: "uart-timeout",
  excluded:
    "the moment of the receive time-out, to which QEMU's virtual clock jumps by itself: between two accesses lie 8 ms, more than four " +
    "characters at 9600 baud",
  length: 100,
  start: () =>
    startOpponent({ arguments: ["-serial", "null", ...steppedTimeArguments] }, async (machine) => {
      await machine.intercept("inputs", "ioapic");
      return { lines: 1 << interrupt, time: await SteppedTime.start(machine) };
    }),
  create: () => new UartSubject(),
  opening: [...opening(slowest), { kind: "step", ns: pause }],
  shrinks: false,
  drawer: (random) => {
    const draw = accesses(random, false);
    let pauses = true;
    return () => {
      pauses = !pauses;
      return pauses ? { kind: "step", ns: pause } : draw();
    };
  },
  differences: timeoutDifferences,
};
