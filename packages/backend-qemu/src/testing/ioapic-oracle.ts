import { Ioapic } from "@entresol/devices";
import type { QtestAnswers } from "../qtest-channel.ts";
import { QtestError } from "../qtest-error.ts";
import { QtestMachine } from "../qtest-machine.ts";
import type { AccessWidth, QtestOperation } from "../qtest-operation.ts";
import {
  causeIn,
  type DeviceOracle,
  type Operation,
  type Opponent,
  type OwnOutcome,
  type Subject,
  silenceTimers,
} from "./lockstep.ts";
import type { SequenceRandom } from "./random.ts";

const base = 0xfec0_0000;
const offsets = { select: 0x00, window: 0x10, endOfInterrupt: 0x40 } as const;
const pins = 24;
/** Input 0 of QEMU's chip is wired to pin 2, as the timer is on a PC. */
const firstPin = 1;
const redirection = 0x10;

const masked = 1 << 16;
const levelTriggered = 1 << 15;
const activeLow = 1 << 13;
const modeOf = (entry: number): number => (entry >>> 8) & 7;
const extInt = 7;

type IoapicState = ReturnType<Ioapic["save"]>;

/** A message as it is compared: QEMU takes the vector of an ExtINT from the 8259 pair before it sends. */
function messageText(
  mode: number,
  destination: number,
  logical: boolean,
  vector: number,
  level: boolean,
): string {
  const what = mode === extInt ? "external" : `vector ${vector}`;
  return `[mode ${mode} ${what} to ${logical ? "logical" : "physical"} ${destination}${level ? " level" : ""}]`;
}

class IoapicSubject implements Subject {
  #messages = "";
  readonly #ioapic = new Ioapic({
    deliver: (destination, logical, mode, vector, level) => {
      this.#messages += messageText(mode, destination, logical, vector, level);
      return true;
    },
  });

  get state(): IoapicState {
    return this.#ioapic.save();
  }

  set state(state: IoapicState) {
    this.#ioapic.restore(state);
  }

  perform(operation: Operation): OwnOutcome {
    this.#messages = "";
    let value = 0;
    if (operation.kind === "memory read") value = this.#ioapic.mmioRead(operation.at - base, operation.width);
    else if (operation.kind === "memory write")
      this.#ioapic.mmioWrite(operation.at - base, operation.width, operation.value);
    else if (operation.kind === "input") this.#ioapic.pins[operation.line]!.set(operation.level);
    return { value, levels: 0, messages: this.#messages };
  }
}

/** Time for QEMU to write what it traced, in ms. */
const patience = 60_000;

/**
 * QEMU's messages, by its trace: every access and every change of an input begins with a line of its own, and the messages that it
 * causes follow.
 */
class MessageTrace {
  #texts: string[] = [];
  #wanted = 0;
  #done: ((texts: readonly string[]) => void) | undefined;

  line(line: string): void {
    if (/(?:^|:)ioapic_(?:mem_read|mem_write|set_irq) /.test(line)) {
      this.#texts.push("");
      // The messages of the last operation come before the next operation's line: one more is awaited.
      if (this.#texts.length > this.#wanted) {
        this.#done?.(this.#texts.slice(0, this.#wanted));
        this.#done = undefined;
      }
      return;
    }
    const sent =
      /apic_deliver_irq dest (\d+) dest_mode (\d+) delivery_mode (\d+) vector (\d+) trigger_mode (\d+)/.exec(
        line,
      );
    if (sent === null || this.#texts.length === 0) return;
    const [destination, logical, mode, vector, level] = sent.slice(1).map(Number);
    this.#texts[this.#texts.length - 1] += messageText(
      mode!,
      destination!,
      logical === 1,
      vector!,
      level === 1,
    );
  }

  /** The messages of each of the next `count` operations; one more has to follow them. */
  follow(count: number): Promise<readonly string[]> {
    this.#texts = [];
    this.#wanted = count;
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(
        () =>
          reject(new QtestError("protocol", "QEMU's trace lacks operations: was it built without a log?")),
        patience,
      );
      deadline.unref();
      this.#done = (texts) => {
        clearTimeout(deadline);
        resolve(texts);
      };
    });
  }
}

const isAccess = (operation: Operation): operation is QtestOperation => operation.kind !== "step";

/** Reads IOREGSEL: changes nothing. */
const lastOperation: QtestOperation = { kind: "memory read", at: base, width: 4 };

async function start(): Promise<Opponent> {
  const trace = new MessageTrace();
  const machine = await QtestMachine.start({
    trace: ["ioapic_*", "apic_deliver_irq"],
    onLine: (line) => trace.line(line),
  });
  await silenceTimers(machine);
  return {
    machine,
    perform: async (operations) => {
      const messages = trace.follow(operations.length);
      // Should QEMU end meanwhile, that is what is reported.
      messages.catch(() => {});
      const answers: QtestAnswers = await machine.perform([...operations.filter(isAccess), lastOperation]);
      const texts = await messages;
      return operations.map((_, index) => ({
        value: answers.values[index]!,
        levels: 0,
        messages: texts[index]!,
      }));
    },
  };
}

/** One operation that was done, with the states around it. */
interface Step {
  readonly before: IoapicState;
  readonly operation: Operation;
  readonly after: IoapicState;
}

/** The value that an operation writes at `offset`, if it is such a write. */
const writtenAt = (operation: Operation, offset: number): number | undefined =>
  operation.kind === "memory write" && operation.at === base + offset ? operation.value : undefined;

/** Does the step write a redirection entry, and reserved bits of it? */
function writesReserved({ before: { select }, operation }: Step): boolean {
  const value = writtenAt(operation, offsets.window);
  if (value === undefined || select < redirection || select >= redirection + 2 * pins) return false;
  return (value & ((select & 1) !== 0 ? 0x00ff_ffff : 0xfffe_0000)) !== 0;
}

const isHigh = (state: IoapicState, pin: number): boolean => ((state.levels >>> pin) & 1) !== 0;

const causes: readonly {
  readonly name: string;
  readonly what: string;
  readonly clause: string;
  readonly right: "ours" | "QEMU" | "both";
  happens(step: Step): boolean;
}[] = [
  {
    name: "ioapic-polarity",
    what: "A pin of ours whose entry says active low is active while low; QEMU keeps the bit and ignores it",
    clause: "82093AA 3.2.4, interrupt input pin polarity",
    right: "ours",
    happens: ({ after }) => after.entries.some((entry) => (entry & activeLow) !== 0),
  },
  {
    name: "ioapic-trigger-change-while-high",
    what: "When the trigger mode of a pin that is high changes, ours goes by the level; QEMU goes by a request that it noted, or did not note, in the other mode",
    clause:
      "82093AA 3.2.4, trigger mode: a level-sensitive pin requests while it is active, an edge is what the pin does",
    right: "ours",
    happens: (step) =>
      step.after.entries.some(
        (entry, pin) =>
          ((entry ^ step.before.entries[pin]!) & levelTriggered) !== 0 && isHigh(step.before, pin),
      ),
  },
  {
    name: "ioapic-level-delivery-mode",
    what: "Ours sends SMI, NMI, INIT, ExtINT and the reserved modes only at an edge, QEMU also for a level",
    clause: "82093AA 3.2.4, delivery mode: these must be programmed edge triggered",
    right: "ours",
    happens: ({ after }) =>
      after.entries.some((entry) => (entry & levelTriggered) !== 0 && modeOf(entry) > 1),
  },
  {
    name: "ioapic-reserved-bits",
    what: "Reserved bits of a redirection entry read 0 in ours; QEMU keeps them, and knows no extended destination id",
    clause:
      "82093AA 3.2.4: bits 55:17 are reserved; 55:49 are the extended destination id where the platform says so",
    right: "ours",
    happens: writesReserved,
  },
  {
    name: "ioapic-narrow-access",
    what: "Narrow accesses of IOWIN and EOI count as dwords in ours and give the low part; QEMU ignores them and gives 0",
    clause: "82093AA 3.0: registers are accessed as dwords; narrower accesses are undefined",
    right: "both",
    happens: ({ operation }) =>
      (operation.kind === "memory read" || operation.kind === "memory write") &&
      operation.width !== 4 &&
      operation.at !== base + offsets.select,
  },
  {
    name: "ioapic-aliases",
    what: "Our registers are at their offsets in the page of 4 KiB alone, QEMU's again every 256 bytes",
    clause: "82093AA 3.1: IOREGSEL at xxxx_x000, IOWIN at xxxx_x010; the rest of the page is not described",
    right: "both",
    happens: ({ operation }) =>
      (operation.kind === "memory read" || operation.kind === "memory write") && operation.at >= base + 0x100,
  },
];

const write = (offset: number, value: number, width: AccessWidth = 4): Operation => ({
  kind: "memory write",
  at: base + offset,
  width,
  value,
});
const read = (offset: number, width: AccessWidth = 4): Operation => ({
  kind: "memory read",
  at: base + offset,
  width,
});
const input = (line: number, level: boolean): Operation => ({
  kind: "input",
  path: "ioapic",
  line,
  level,
});

const allPins = Array.from({ length: pins }, (_, pin) => pin);
/** A physical destination that QEMU's processor, of id 0, does not have: it goes on sleeping. */
const nobody = 0x10;

/** What software writes, and now and then all that it may write. */
function entryValue(random: SequenceRandom): number {
  const value = random.word();
  // A few vectors, so that one EOI finds several pins.
  const vector = random.chance(80) ? 0x30 + random.below(6) : value & 0xff;
  const mode = random.chance(75) ? random.below(2) : random.below(8);
  const trigger = random.chance(60) ? levelTriggered : 0;
  const mask = random.chance(25) ? masked : 0;
  return (
    vector | (mode << 8) | (value & 0x4000) | (value & 0x1000) | ((value >>> 20) & 0x800) | trigger | mask
  );
}

function draw(random: SequenceRandom, state: IoapicState): Operation {
  const drawn = random.below(200);
  if (drawn < 70) {
    const pin = firstPin + random.below(pins - firstPin);
    return input(pin, !isHigh(state, pin));
  }
  if (drawn < 100)
    return write(offsets.select, random.chance(85) ? redirection + random.below(2 * pins) : random.byte());
  if (drawn < 120) return read(offsets.window);
  if (drawn < 125) return read(offsets.select, random.pick([1, 2, 4] as const));
  if (drawn < 155)
    return write(offsets.endOfInterrupt, random.chance(90) ? 0x30 + random.below(6) : random.byte());
  if (drawn < 157) return write(offsets.select, random.byte(), random.pick([1, 2, 4] as const));
  if (drawn < 159) return read(random.below(0x100) & ~3);
  if (drawn < 161) return write(random.pick([0x04, 0x08, 0x20, 0x30, 0x44, 0x80]), random.word());
  if (drawn < 162) {
    const alias = 0x100 * random.below(16) + random.pick(Object.values(offsets));
    return random.chance(50) ? read(alias) : write(alias, random.word());
  }
  if (drawn < 163)
    return random.chance(50) ? read(offsets.window, 2) : write(offsets.window, random.byte(), 1);
  if ((state.select & 1) !== 0 && state.select >= redirection) {
    const spare = random.chance(5) ? random.word() & 0x00ff_ffff : 0;
    return write(offsets.window, (1 + random.below(254)) * 2 ** 24 + spare);
  }
  const spare = random.chance(5) ? random.word() & 0xfffe_0000 : 0;
  const polarity = random.chance(5) ? activeLow : 0;
  return write(offsets.window, (entryValue(random) | spare | polarity) >>> 0);
}

export const ioapicOracle: DeviceOracle<IoapicSubject> = {
  name: "ioapic",
  excluded:
    "pin 0, whose input QEMU wires to pin 2; that nobody takes a message, which QEMU's IOAPIC does not learn; the end of a " +
    "storm that QEMU delays after 10,000 repetitions; EOI bits 31:8",
  length: 400,
  start,
  create: () => new IoapicSubject(),
  opening: [
    ...allPins.flatMap((pin) => [
      write(offsets.select, redirection + 2 * pin),
      // QEMU forgets a request that it noted only when a level-triggered pin falls.
      write(offsets.window, masked | levelTriggered),
      ...(pin < firstPin ? [] : [input(pin, false)]),
      write(offsets.window, masked),
      write(offsets.select, redirection + 2 * pin + 1),
      write(offsets.window, nobody << 24),
    ]),
    write(offsets.select, 0),
    write(offsets.window, 0),
  ],
  drawer: (random, subject) => {
    // Most sequences keep away from what is known to differ, so that they compare all else to their end; the others from all
    // but one.
    const allowed = random.chance(10) ? random.pick(causes) : undefined;
    return () => {
      for (let attempt = 0; ; attempt++) {
        const before = subject.state;
        const operation = draw(random, before);
        if (attempt === 20) return operation;
        subject.perform(operation);
        const step: Step = { before, operation, after: subject.state };
        subject.state = before;
        if (!causes.some((cause) => cause !== allowed && cause.happens(step))) return operation;
      }
    };
  },
  differences: causes.map(({ happens, ...difference }) => ({
    ...difference,
    goesOn: false,
    explains: (mismatch) => {
      const subject = mismatch.start();
      return causeIn(mismatch, (operation) => {
        const before = subject.state;
        subject.perform(operation);
        return happens({ before, operation, after: subject.state });
      })
        ? ["value", "messages"]
        : [];
    },
  })),
};
