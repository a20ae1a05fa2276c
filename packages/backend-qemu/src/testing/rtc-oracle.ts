import { ManualTime, Rtc } from "@entresol/devices";
import {
  causeIn,
  type DeviceOracle,
  type Difference,
  type Operation,
  type OwnOutcome,
  type Subject,
  startOpponent,
} from "./lockstep.ts";
import type { SequenceRandom } from "./random.ts";
import { SteppedTime, steppedTimeArguments, tickLength } from "./stepped-time.ts";

const indexPort = 0x70;
const dataPort = 0x71;
const second = 1e9;
/** UIP precedes an update by this much. */
const updateWarning = 244_000;

const cmos = { weekday: 0x06, a: 0x0a, b: 0x0b, c: 0x0c, d: 0x0d, century: 0x32 } as const;
const alarms = [0x01, 0x03, 0x05] as const;
/** Bytes without a function of their own; firmware's habits have left something in each of QEMU's. */
const plainBytes = [0x0e, 0x0f, 0x20, 0x36, 0x38, 0x50, 0x7e, 0x7f] as const;

/** Time and calendar, with the values that a day has. */
const fields = [
  { at: 0x00, first: 0, last: 59 },
  { at: 0x02, first: 0, last: 59 },
  { at: 0x04, first: 1, last: 11 },
  { at: cmos.weekday, first: 1, last: 7 },
  { at: 0x07, first: 1, last: 31 },
  { at: 0x08, first: 1, last: 12 },
  { at: 0x09, first: 0, last: 99 },
  { at: cmos.century, first: 20, last: 21 },
] as const;

const B = { set: 0x80, periodic: 0x40, binary: 0x04, hours24: 0x02 } as const;

type RtcState = ReturnType<Rtc["save"]>;

class RtcSubject implements Subject {
  readonly #time = new ManualTime();
  readonly #rtc = new Rtc({ name: "rtc", timebase: this.#time, line: { set() {} }, startTime: 0 });

  get state(): RtcState {
    return this.#rtc.save();
  }

  get now(): number {
    return this.#time.now();
  }

  perform(operation: Operation): OwnOutcome {
    let value = 0;
    const note = this.state.index & 0x7f;
    if (operation.kind === "step") this.#time.advance(operation.ns);
    else if (operation.kind === "port write") this.#rtc.portWrite(operation.port, 1, operation.value);
    else if (operation.kind === "port read") value = this.#rtc.portRead(operation.port, 1);
    return { value, levels: 0, messages: "", note };
  }
}

const registerA = ({ ram }: RtcState): number => ram[cmos.a]!;
const registerB = ({ ram }: RtcState): number => ram[cmos.b]!;
const chainRuns = (state: RtcState): boolean => (registerA(state) & 0x70) <= 0x20;
const isSet = (state: RtcState): boolean => (registerB(state) & B.set) !== 0;
const updates = (state: RtcState): boolean => chainRuns(state) && !isSet(state);

interface Cause {
  readonly name: string;
  readonly what: string;
  readonly clause: string;
  readonly right: "ours" | "QEMU" | "both";
  /** Of a write or read of the data port, before it. */
  happens(state: RtcState, at: number, written: number | undefined): boolean;
}

const causes: readonly Cause[] = [
  {
    name: "rtc-write-while-running",
    what: "A time byte written while the clock runs leaves the divider chain of ours alone; QEMU's second begins anew where the last setting left it",
    clause:
      "MC146818A, Time, Calendar and Alarm Locations: to be written with SET; only divider reset and release start the chain anew",
    right: "ours",
    happens: (state, at, written) =>
      written !== undefined && updates(state) && fields.some((field) => field.at === at),
  },
  {
    name: "rtc-update-flag-while-set",
    what: "With SET there are no update cycles and thus no update flag in ours; QEMU sets the flag every second",
    clause: "MC146818A, Register B, SET: any update cycle in progress is aborted, and none follows",
    right: "ours",
    happens: (state, at, written) =>
      at === cmos.c && written === undefined && chainRuns(state) && isSet(state),
  },
  {
    name: "rtc-divider-release-while-set",
    what: "The divider chain of ours starts half a second before an update when it is released, also with SET; QEMU's only without SET",
    clause:
      "MC146818A, Register A, DV: the first update cycle begins one-half second after the divider reset is removed",
    right: "ours",
    happens: (state, at, written) =>
      at === cmos.a && written !== undefined && !chainRuns(state) && (written & 0x70) <= 0x20 && isSet(state),
  },
];

/** What an operation does with the data port: the register, and the byte if it writes. */
function access(
  state: RtcState,
  operation: Operation,
): { at: number; written: number | undefined } | undefined {
  if (operation.kind !== "port read" && operation.kind !== "port write") return undefined;
  if (operation.port !== dataPort) return undefined;
  const written = operation.kind === "port write" ? operation.value : undefined;
  return { at: state.index & 0x7f, written };
}

const differences: readonly Difference<RtcSubject>[] = [
  {
    name: "rtc-day-of-week",
    what: "The day of week of ours counts on from what was written; QEMU's is that of the date",
    clause: "MC146818A, Time, Calendar and Alarm Locations: day of week 1 to 7, a counter of its own",
    right: "ours",
    goesOn: true,
    explains: ({ ours }) => (ours.note === cmos.weekday ? ["value"] : []),
  },
  {
    name: "rtc-periodic-flag",
    what: "The periodic flag of ours is set whether PIE is or not; QEMU's only with PIE",
    clause: "MC146818A, Register C, PF: set by a particular edge of the divider chain, independently of PIE",
    right: "ours",
    goesOn: true,
    explains: ({ ours, theirs }) =>
      ours.note === cmos.c && (ours.value & 0x40) !== 0 && (ours.value & ~0x40) === theirs.value
        ? ["value"]
        : [],
  },
  ...causes.map((cause): Difference<RtcSubject> => {
    const { happens, ...difference } = cause;
    return {
      ...difference,
      goesOn: false,
      explains: (mismatch) => {
        const subject = mismatch.start();
        return causeIn(mismatch, (operation) => {
          const { state } = subject;
          const accessed = access(state, operation);
          subject.perform(operation);
          return accessed !== undefined && happens(state, accessed.at, accessed.written);
        })
          ? ["value"]
          : [];
      },
    };
  }),
];

const write = (port: number, value: number): Operation => ({ kind: "port write", port, width: 1, value });
const readPort = (port: number): Operation => ({ kind: "port read", port, width: 1 });
const set = (at: number, value: number): Operation[] => [write(indexPort, at), write(dataPort, value)];
const get = (at: number): Operation[] => [write(indexPort, at), readPort(dataPort)];

/** A byte of time as register B's format has it; hours before noon, which are the same in both. */
function timeByte(random: SequenceRandom, { first, last }: (typeof fields)[number], format: number): number {
  const value = first + random.below(last - first + 1);
  return (format & B.binary) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
}

/** Time until the clock is away from the edges of a second, or within the warning before an update. */
function waitingTime(random: SequenceRandom, subject: RtcSubject, atLeast: number): number {
  const { phase } = subject.state;
  const soonest = subject.now + atLeast;
  const begun = Math.floor((soonest - phase) / second) * second + phase;
  const within = random.chance(20)
    ? second - updateWarning + 2000 + random.below(updateWarning - 4000)
    : 1_000_000 + random.below(second - 2_000_000);
  let at = begun + within;
  if (at < soonest) at += second;
  const seconds = random.chance(30) ? random.below(100_000) : random.below(3);
  return Math.round((at - subject.now + seconds * second) / tickLength) * tickLength;
}

function draw(random: SequenceRandom, subject: RtcSubject, held: boolean): Operation[] {
  const { state } = subject;
  const drawn = random.below(100);
  const nmi = random.chance(20) ? 0x80 : 0;
  if (drawn < 8) return [{ kind: "step", ns: waitingTime(random, subject, 10_000_000) }];
  if (drawn < 40) return get(random.pick(fields).at | nmi);
  if (drawn < 45) return get(random.pick([...alarms, cmos.b, cmos.d]) | nmi);
  if (drawn < 52) return get(cmos.a);
  // A cleared flag lets QEMU's time run to the next update, if the clock runs: both wait until that is over.
  if (drawn < 57) {
    const wait = updates(state)
      ? [{ kind: "step" as const, ns: waitingTime(random, subject, 1.1 * second) }]
      : [];
    return [...get(cmos.c), ...wait];
  }
  if (drawn < 59) return [readPort(indexPort)];
  if (drawn < 63) return get(random.pick(plainBytes) | nmi);
  if (drawn < 67) return set(random.pick(plainBytes), random.byte());
  if (drawn < 82) {
    const field = random.pick(fields);
    return set(field.at | nmi, timeByte(random, field, registerB(state)));
  }
  if (drawn < 85) return set(random.pick(alarms), held ? random.byte() : 0xc0 | random.byte());
  if (drawn < 92) {
    const formats = B.binary | B.hours24;
    const drawnSet = random.chance(40) ? random.byte() & B.set : 0;
    // Bytes that stand still would mean another time in another format, among them years far beyond 2262.
    const kept = updates(state) && drawnSet === 0 && random.chance(50) ? 0 : formats;
    const value = random.byte() & ~(kept | B.periodic | B.set);
    return set(cmos.b, value | drawnSet | (registerB(state) & kept));
  }
  if (drawn < 97) {
    const rate = random.chance(80) ? 0 : random.below(16);
    const divider = held ? random.pick([0x60, 0x70]) : random.pick([0x00, 0x10, 0x20, 0x20, 0x60, 0x70]);
    return set(cmos.a, divider | rate | nmi);
  }
  return set(random.pick([cmos.c, cmos.d]), random.byte());
}

export const rtcOracle: DeviceOracle<RtcSubject> = {
  name: "rtc",
  excluded:
    "periodic interrupts and alarms that do not match every second, which keep QEMU's virtual clock from standing still; dividers " +
    "3 to 5, which no PC has; bytes that are no time of any day; years before 1970 and after 2262, whose nanoseconds QEMU cannot count; the alias of the century at 0x37; the interrupt line, which is " +
    "compared as IRQF in register C",
  length: 120,
  start: () =>
    startOpponent({ arguments: steppedTimeArguments }, async (machine) => ({
      time: await SteppedTime.start(machine),
    })),
  create: () => new RtcSubject(),
  opening: [
    // Without the divider chain no timer of QEMU's runs.
    ...set(cmos.a, 0x60),
    // The sequence before may have ended with an update to come, which has moved time by up to a second.
    { kind: "step", ns: 1.2 * second },
    ...set(cmos.b, B.set | B.hours24),
    ...plainBytes.flatMap((at) => set(at, 0)),
    ...alarms.flatMap((at) => set(at, 0xff)),
    ...fields.flatMap(({ at }) =>
      set(at, at === cmos.century ? 0x20 : at === cmos.weekday ? 7 : at > 6 && at < 9 ? 1 : 0),
    ),
    ...set(cmos.b, B.hours24),
    ...get(cmos.c),
    ...set(cmos.a, 0x20),
    { kind: "step", ns: 1.7 * second },
  ],
  // QEMU's time has to be waited for after a flag was cleared, and not to stop at the edge of a second.
  shrinks: false,
  drawer: (random, subject) => {
    const allowed = random.chance(15) ? random.pick(causes) : undefined;
    const held = random.chance(20);
    let flagsRead = false;
    let waiting: Operation[] = held ? set(cmos.a, 0x60) : [];
    /** The data port is behind the index that the same draw writes. */
    const acceptable = (operations: readonly Operation[]): boolean => {
      let { state } = subject;
      return operations.every((operation) => {
        if (operation.kind === "port write" && operation.port === indexPort)
          state = { ...state, index: operation.value };
        const accessed = access(state, operation);
        return (
          accessed === undefined ||
          !causes.some((cause) => cause !== allowed && cause.happens(state, accessed.at, accessed.written))
        );
      });
    };
    return () => {
      // After the flags were read, QEMU's time runs on to the next update by itself: both wait until that is over.
      if (waiting.length === 0 && flagsRead && chainRuns(subject.state)) {
        flagsRead = false;
        return { kind: "step", ns: waitingTime(random, subject, 1.1 * second) };
      }
      while (waiting.length === 0) {
        const drawn = draw(random, subject, held);
        if (acceptable(drawn)) waiting = drawn;
      }
      const operation = waiting.shift()!;
      const accessed = access(subject.state, operation);
      if (accessed?.at === cmos.c && accessed.written === undefined) flagsRead = true;
      return operation;
    };
  },
  differences,
};
