import { ManualTime, Pit } from "@entresol/devices";
import {
  causeIn,
  type DeviceOracle,
  type Difference,
  type Mismatch,
  type Operation,
  type OwnOutcome,
  type Subject,
  startOpponent,
} from "./lockstep.ts";
import type { SequenceRandom } from "./random.ts";
import { SteppedTime, steppedTimeArguments, tickLength } from "./stepped-time.ts";

const counters = 0x40;
const control = 0x43;
const portB = 0x61;
const hertz = 1_193_182;
/** Of port 0x61, what is compared: QEMU's refresh bit changes with every reading. */
const comparedPortB = 0xef;
const parityEnables = 0x0c;

type PitState = ReturnType<Pit["save"]>;
type CounterState = PitState["counters"][number];

const modeOf = ({ control }: CounterState): number => {
  const mode = (control >> 1) & 7;
  return mode > 5 ? mode - 4 : mode;
};

class PitSubject implements Subject {
  readonly #time = new ManualTime();
  readonly #pit = new Pit({ name: "pit", timebase: this.#time, line: { set() {} } });

  get state(): PitState {
    return this.#pit.save();
  }

  set state(state: PitState) {
    this.#pit.restore(state);
  }

  get now(): number {
    return this.#time.now();
  }

  perform(operation: Operation): OwnOutcome {
    let value = 0;
    if (operation.kind === "step") this.#time.advance(operation.ns);
    else if (operation.kind === "port write") this.#pit.portWrite(operation.port, 1, operation.value);
    else if (operation.kind === "port read") {
      value = this.#pit.portRead(operation.port, 1);
      if (operation.port === portB) value &= comparedPortB;
    }
    return { value, levels: 0, messages: "", note: note(this.state) };
  }
}

/** Counters with a latched status in bits 2:0, those whose OUT is not a level in bits 6:4. */
function note({ counters: all }: PitState): number {
  let bits = 0;
  all.forEach((counter, index) => {
    if (counter.latchedStatus >= 0) bits |= 1 << index;
    if (![0, 3].includes(modeOf(counter))) bits |= 0x10 << index;
  });
  return bits;
}

/** One operation that was done, with the states around it. */
interface Step {
  readonly before: PitState;
  readonly operation: Operation;
  readonly after: PitState;
}

/** Is count or OUT of counter `index` looked at? */
function observes(operation: Operation, index: number): boolean {
  if (operation.kind === "port read")
    return operation.port === counters + index || (operation.port === portB && index === 2);
  if (operation.kind !== "port write" || operation.port !== control) return false;
  const { value } = operation;
  if (value >> 6 === 3) return (value & (2 << index)) !== 0;
  return value >> 6 === index && (value & 0x30) === 0;
}

const isControlWord = (operation: Operation, index: number): boolean =>
  operation.kind === "port write" &&
  operation.port === control &&
  operation.value >> 6 === index &&
  (operation.value & 0x30) !== 0;

const writesCount = (operation: Operation, index: number): boolean =>
  operation.kind === "port write" && operation.port === counters + index;

interface Cause {
  readonly name: string;
  readonly what: string;
  readonly clause: string;
  readonly right: "ours" | "QEMU" | "both";
  happens(counter: CounterState, step: Step, index: number): boolean;
}

const causes: readonly Cause[] = [
  {
    name: "pit-bcd",
    what: "Counters of ours count in BCD when told to; QEMU keeps the bit and counts in binary",
    clause: "82C54, Control Word Format: BCD = 1, four decades",
    right: "ours",
    happens: (counter, { operation }, index) => (counter.control & 1) !== 0 && observes(operation, index),
  },
  {
    name: "pit-waits-for-its-count",
    what: "A counter of ours stands still between control word and count, and in modes 1 and 5 until the trigger; QEMU's goes on, or starts at once",
    clause:
      "82C54, Mode Definitions: the count is loaded after it was written, in modes 1 and 5 after the trigger",
    right: "ours",
    happens: (counter, { operation }, index) => counter.period === 0 && observes(operation, index),
  },
  {
    name: "pit-control-word-unlatches",
    what: "A control word frees the latches of its counter in ours; QEMU keeps them, and reads them in the new format",
    clause: "82C54, Counter Latch Command: latched until it is read, or until the counter is reprogrammed",
    right: "ours",
    happens: (counter, { operation }, index) =>
      (counter.latchedCount >= 0 || counter.latchedStatus >= 0) && isControlWord(operation, index),
  },
  {
    name: "pit-new-count-waits",
    what: "A count written to a running counter is taken at the end of the period in modes 2 and 3, at the trigger in 1 and 5, by ours; by QEMU at once",
    clause:
      "82C54, Mode 1, 2, 3 and 5: writing a new count while counting does not affect the current sequence",
    right: "ours",
    happens: (counter, { operation }, index) =>
      [1, 2, 3, 5].includes(modeOf(counter)) && counter.period > 0 && writesCount(operation, index),
  },
  {
    name: "pit-gate-stops",
    what: "A low gate stops ours in modes 0, 2, 3 and 4; QEMU counts on",
    clause: "82C54, Gate Pin Operations Summary",
    right: "ours",
    happens: (_, { after }, index) => {
      const counter = after.counters[index]!;
      return !counter.gate && counter.period > 0 && [0, 2, 3, 4].includes(modeOf(counter));
    },
  },
  {
    name: "pit-modes-6-and-7",
    what: "Modes 6 and 7 are 2 and 3 in ours; QEMU counts as in mode 2 and drives OUT as in mode 0",
    clause: "82C54, Control Word Format: M2 is don't care in modes 2 and 3",
    right: "ours",
    happens: (counter, { operation }, index) =>
      ((counter.control >> 1) & 7) > 5 && observes(operation, index),
  },
  {
    name: "pit-odd-square-wave",
    what: "With an odd count in mode 3 ours counts from one less in steps of two, and spends the extra clock of the high half at 0; QEMU wraps an odd number around",
    clause: "82C54, Mode 3: odd counts",
    right: "ours",
    happens: (counter, { operation }, index) =>
      modeOf(counter) === 3 && counter.period % 2 === 1 && observes(operation, index),
  },
];

/** Does the cause hold for any counter? */
const happensIn = (cause: Cause, step: Step): boolean =>
  step.before.counters.some((counter, index) => cause.happens(counter, step, index));

/** A status byte or port 0x61 that differs: the counter and the bits, OUT in bit 7 as in the status. */
function statusDifference({ operation, ours, theirs, noteBefore = 0 }: Mismatch<PitSubject>): {
  readonly bits: number;
  readonly pulses: boolean;
} {
  const none = { bits: 0, pulses: false };
  if (operation.kind !== "port read") return none;
  const bits = ours.value ^ theirs.value;
  if (operation.port === portB)
    return {
      bits: ((bits & 0x20) << 2) | (bits & ~(0x20 | parityEnables)),
      pulses: (noteBefore & 0x40) !== 0,
    };
  const index = operation.port - counters;
  if (((noteBefore >> index) & 1) === 0) return none;
  return { bits, pulses: ((noteBefore >> (4 + index)) & 1) !== 0 };
}

const differences: readonly Difference<PitSubject>[] = [
  {
    name: "pit-out-in-pulse-modes",
    what: "OUT in modes 1, 2, 4 and 5 is low during the pulse in ours, as on the chip; QEMU's is the inverse in modes 1, 2, 4 and 5",
    clause: "82C54, Mode 1, 2, 4 and 5: OUT is initially high, and low for the one-shot or for one clock",
    right: "ours",
    goesOn: true,
    explains: (mismatch) => {
      const { bits, pulses } = statusDifference(mismatch);
      return pulses && (bits & 0x80) !== 0 && (bits & ~0xc0) === 0 ? ["value"] : [];
    },
  },
  {
    name: "pit-null-count",
    what: "The null count flag of ours is set until the counting element has the new count; QEMU's is never set",
    clause: "82C54, Read-Back Command, null count",
    right: "ours",
    goesOn: true,
    explains: (mismatch) => (statusDifference(mismatch).bits === 0x40 ? ["value"] : []),
  },
  {
    name: "pit-parity-enables",
    what: "Bits 3 and 2 of port 0x61 are kept in ours; QEMU drops them",
    clause: "Chipset, NMI status and control register: IOCHK and SERR enables can be read back",
    right: "ours",
    goesOn: true,
    explains: ({ operation, ours, theirs }) =>
      operation.kind === "port read" &&
      operation.port === portB &&
      ((ours.value ^ theirs.value) & ~parityEnables) === 0
        ? ["value"]
        : [],
  },
  ...causes.map((cause): Difference<PitSubject> => {
    const { happens: _, ...difference } = cause;
    return {
      ...difference,
      goesOn: false,
      explains: (mismatch) => {
        const subject = mismatch.start();
        return causeIn(mismatch, (operation) => {
          const before = subject.state;
          subject.perform(operation);
          return happensIn(cause, { before, operation, after: subject.state });
        })
          ? ["value"]
          : [];
      },
    };
  }),
];

const write = (port: number, value: number): Operation => ({ kind: "port write", port, width: 1, value });
const read = (port: number): Operation => ({ kind: "port read", port, width: 1 });

/** A control word and the count behind it. */
function program(index: number, word: number, count: number): Operation[] {
  const access = (word >> 4) & 3;
  const bytes = access === 1 ? [count & 0xff] : access === 2 ? [count >> 8] : [count & 0xff, count >> 8];
  return [write(control, (index << 6) | word), ...bytes.map((byte) => write(counters + index, byte))];
}

/** Time to wait: some cycles, or some periods of a counter. */
function waitingTime(random: SequenceRandom, state: PitState): number {
  const { period } = random.pick(state.counters);
  const cycles = random.chance(50) ? random.below(60) : random.below(2 * period + 10);
  return (Math.round(((cycles + random.below(100) / 100) * 1e9) / hertz / tickLength) + 20) * tickLength;
}

/** Would every counter then be well between two clocks? QEMU's time is not ours to the nanosecond. */
function isBetweenClocks(state: PitState, at: number): boolean {
  return state.counters.every(({ counting, origin }) => {
    const phase = (((at - origin) * hertz) / 1e9) % 1;
    return !counting || (phase > 0.2 && phase < 0.8);
  });
}

function draw(random: SequenceRandom, subject: PitSubject): Operation[] {
  const drawn = random.below(100);
  const index = random.below(3);
  if (drawn < 10) return [{ kind: "step", ns: waitingTime(random, subject.state) }];
  if (drawn < 50) return [read(counters + index)];
  if (drawn < 60) return [write(control, index << 6)];
  if (drawn < 74) return [write(control, 0xc0 | (random.byte() & 0x3e))];
  if (drawn < 78) return [read(portB)];
  if (drawn < 83) return [write(portB, random.byte() & 0x0f)];
  if (drawn < 84) return [read(control)];
  if (drawn < 87) return [write(counters + index, random.byte())];
  const bcd = random.chance(10) ? 1 : 0;
  const word = ((1 + random.below(3)) << 4) | (random.below(8) << 1) | bcd;
  // A count below 2 is not allowed in all modes.
  const count = random.chance(40) ? 2 + random.below(200) : 2 + random.below(0xfffe);
  // Its low byte alone must be neither 0, which is 256 or 65536 clocks, nor 1.
  const programmed = program(index, word, (count & 0xff) < 2 ? count + 2 : count);
  return random.chance(95) ? programmed : programmed.slice(0, 1);
}

export const pitOracle: DeviceOracle<PitSubject> = {
  name: "pit",
  excluded:
    "the interrupt line, which is OUT of counter 0 and is compared in the status byte (QEMU's would keep its virtual clock from " +
    "standing still); the refresh bit of port 0x61; counts of 1; what happens within the nanoseconds of a clock edge",
  length: 80,
  start: () =>
    startOpponent({ arguments: steppedTimeArguments }, async (machine) => ({
      time: await SteppedTime.start(machine),
      compared: (operation) =>
        operation.kind === "port read" && operation.port === portB ? comparedPortB : 0xff,
    })),
  create: () => new PitSubject(),
  opening: [
    write(portB, 0),
    write(portB, 1),
    ...[0, 1, 2].flatMap((index) => [
      // QEMU frees a latch only when it is read: status, low byte, high byte.
      ...[read(counters + index), read(counters + index), read(counters + index)],
      ...program(index, 0x30, 0x8000),
    ]),
    { kind: "step", ns: 41 * tickLength },
  ],
  drawer: (random, subject) => {
    const allowed = random.chance(15) ? random.pick(causes) : undefined;
    let waiting: Operation[] = [];
    const acceptable = (operations: readonly Operation[]): boolean => {
      const start = subject.state;
      let before = start;
      const seen = operations.every((operation) => {
        if (operation.kind === "step" && !isBetweenClocks(start, subject.now + operation.ns)) return false;
        // Time cannot be taken back, and no cause is about what a reading changes: both are left out.
        if (operation.kind === "port write") subject.perform(operation);
        const after = operation.kind === "port write" ? subject.state : before;
        const step = { before, operation, after };
        before = after;
        return !causes.some((cause) => cause !== allowed && happensIn(cause, step));
      });
      if (before !== start) subject.state = start;
      return seen;
    };
    return () => {
      while (waiting.length === 0) {
        const drawn = draw(random, subject);
        if (acceptable(drawn)) waiting = drawn;
      }
      return waiting.shift()!;
    };
  },
  differences,
};
