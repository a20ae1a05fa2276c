import { Pic } from "@entresol/devices";
import { QtestError } from "../qtest-error.ts";
import {
  causeIn,
  type DeviceOracle,
  type Operation,
  type Outcome,
  type Subject,
  silenceTimers,
  startOpponent,
} from "./lockstep.ts";
import type { SequenceRandom } from "./random.ts";

const ports = { master: 0x20, slave: 0xa0, elcr: 0x4d0 } as const;
const chips = ["master", "slave"] as const;
type Chip = (typeof chips)[number];
const cascade = 2;

type PicState = ReturnType<Pic["save"]>;
type ChipState = PicState["master"];

class PicSubject implements Subject {
  #level = false;
  readonly #pic = new Pic({
    name: "pic",
    output: {
      set: (level) => {
        this.#level = level;
      },
    },
  });

  get state(): PicState {
    return this.#pic.save();
  }

  set state(state: PicState) {
    this.#pic.restore(state);
  }

  perform(operation: Operation): Outcome {
    let value = 0;
    if (operation.kind === "port read") value = this.#pic.portRead(operation.port, operation.width);
    else if (operation.kind === "port write")
      this.#pic.portWrite(operation.port, operation.width, operation.value);
    else if (operation.kind === "input")
      this.#pic.line(operation.line + (operation.path === "slave" ? 8 : 0)).set(operation.level);
    return { value, levels: this.#level ? 1 : 0, messages: "" };
  }
}

const write = (port: number, value: number): Operation => ({
  kind: "port write",
  port,
  width: 1,
  value,
});
const read = (port: number): Operation => ({ kind: "port read", port, width: 1 });
const initialize = (chip: Chip, icw4: number): Operation[] => [
  write(ports[chip], 0x11),
  write(ports[chip] + 1, chip === "master" ? 0x20 : 0x28),
  write(ports[chip] + 1, chip === "master" ? 1 << cascade : cascade),
  write(ports[chip] + 1, icw4),
];

/** IRR of a chip. */
const requests = (chip: ChipState): number => chip.inputs & (chip.edges | chip.elcr);

/** One operation that was done, with the states around it. */
interface Step {
  readonly before: PicState;
  readonly operation: Operation;
  readonly value: number;
  readonly after: PicState;
}

/** Is it a write to the register of `chip` at A0 = 0 that `which` is true for? */
function writesCommand(operation: Operation, chip: Chip, which: (value: number) => boolean): boolean {
  return operation.kind === "port write" && operation.port === ports[chip] && which(operation.value & 0xff);
}

const isIcw1 = (value: number): boolean => (value & 0x10) !== 0;

/** Inputs of `chip` that a poll has acknowledged. */
function acknowledged({ before, operation, value }: Step, chip: Chip): number {
  const polled = operation.kind === "port read" && (operation.port & ~1) === ports[chip] && before[chip].poll;
  return polled && (value & 0x80) !== 0 ? 1 << (value & 7) : 0;
}

/** Inputs with an edge request that ended without an acknowledge or an initialization. */
function withdrawn(step: Step, chip: Chip): number {
  const [before, after] = [step.before[chip], step.after[chip]];
  if (writesCommand(step.operation, chip, isIcw1)) return 0;
  return requests(before) & ~requests(after) & ~before.elcr & ~acknowledged(step, chip);
}

const causes: readonly {
  readonly name: string;
  readonly what: string;
  readonly clause: string;
  readonly right: "ours" | "QEMU" | "both";
  /** What makes it likely. */
  readonly preparation?: readonly Operation[];
  happens(step: Step): boolean;
}[] = [
  {
    name: "pic-edge-withdrawn",
    what: "An edge request of ours ends when its input falls before the acknowledge, the slave's INT included; QEMU keeps it",
    clause:
      "8259A, Interrupt Request Register and Edge and Level Triggered Modes: the input must stay high until the acknowledge, else IR7 by default",
    right: "ours",
    happens: (step) => chips.some((chip) => withdrawn(step, chip) !== 0),
  },
  {
    name: "pic-elcr-while-active",
    what: "A change of ELCR is felt by an input that is high at once in ours; QEMU looks at ELCR only when an input changes",
    clause:
      "Chipset, ELCR: 1 = the input is level sensitive, which is how the request is formed from then on",
    right: "ours",
    happens: ({ before, after }) =>
      chips.some((chip) => ((before[chip].elcr ^ after[chip].elcr) & before[chip].inputs) !== 0),
  },
  {
    name: "pic-special-mask-at-once",
    what: "INT of ours follows a change of special mask mode at once, QEMU's at the next change of another kind",
    clause:
      "8259A, Special Mask Mode: the mode enables and inhibits levels while it is on; INT has no clock to wait for",
    right: "ours",
    happens: ({ before, operation, after }) =>
      chips.some(
        (chip) =>
          before[chip].specialMask !== after[chip].specialMask &&
          (before[chip].inService & before[chip].mask) !== 0 &&
          !writesCommand(operation, chip, isIcw1),
      ),
  },
  {
    name: "pic-special-mask-eoi",
    what: "In special mask mode a non-specific EOI of ours passes over in-service bits that are masked; QEMU ends the highest one",
    clause:
      "8259A, End of Interrupt: an IS bit that is masked by an IMR bit is not cleared by a non-specific EOI in special mask mode",
    right: "ours",
    happens: ({ before, operation }) =>
      chips.some(
        (chip) =>
          before[chip].specialMask &&
          (before[chip].inService & before[chip].mask) !== 0 &&
          writesCommand(operation, chip, (value) => (value & 0x18) === 0 && (value & 0x60) === 0x20),
      ),
  },
  {
    name: "pic-nested-cascade",
    what: "In special fully nested mode the slave in service lets only the slave through in ours, in QEMU also inputs of lower priority",
    clause:
      "8259A, Special Fully Nested Mode: further requests from the slave of higher priority are recognized, all else as in normal nested mode",
    right: "ours",
    preparation: initialize("master", 0x11),
    happens: ({ after: { master } }) =>
      (master.icw4 & 0x10) !== 0 && (master.inService & (1 << cascade)) !== 0,
  },
  {
    name: "pic-cascade-at-initialization",
    what: "After ICW1 to the master the slave's INT must rise anew in ours; in QEMU the next change in the slave is a new edge",
    clause: "8259A, ICW1: the edge sense circuit is reset, an input must make a low-to-high transition",
    right: "ours",
    happens: ({ before, operation }) =>
      writesCommand(operation, "master", isIcw1) && (before.master.inputs & (1 << cascade)) !== 0,
  },
  {
    name: "pic-slave-requests-again",
    what: "The slave's INT falls at its acknowledge in ours, so that what it still requests is a new edge for the master; in QEMU it stays high",
    clause: "8259A, Interrupt Sequence: INT goes low at the acknowledge, and high again for the next request",
    right: "ours",
    preparation: initialize("slave", 0x03),
    happens: (step) => acknowledged(step, "slave") !== 0 && (step.after.master.inputs & (1 << cascade)) !== 0,
  },
];

const input = (path: Chip, line: number, level: boolean): Operation => ({
  kind: "input",
  path,
  line,
  level,
});

const inputs = chips.flatMap((chip) =>
  Array.from({ length: 8 }, (_, line) => ({ chip, line })).filter(
    (each) => each.chip === "slave" || each.line !== cascade,
  ),
);

/** A word for A0 = 0. */
function command(random: SequenceRandom): number {
  const drawn = random.below(100);
  if (drawn < 3) return 0x10 | (random.byte() & 0x0f);
  if (drawn < 45) return 0x08 | (random.byte() & 0x67);
  // Half of the end-of-interrupt words are the plain one.
  return random.chance(50) ? 0x20 : random.byte() & 0xe7;
}

function draw(random: SequenceRandom, state: PicState, wild: boolean): Operation {
  const drawn = random.below(100);
  const chip = random.pick(chips);
  const step = state[chip].step;
  if (drawn < 35) {
    const { chip: path, line } = random.pick(inputs);
    return input(path, line, ((state[path].inputs >> line) & 1) === 0);
  }
  if (drawn < 60) return read(ports[chip] + random.below(2));
  if (drawn < 62) return { kind: "port read", port: ports[chip], width: 2 };
  if (drawn < 64) return read(ports.elcr + random.below(2));
  if (drawn < (wild ? 66 : 65)) return write(ports.elcr + random.below(2), random.byte());
  if (drawn < 85) return write(ports[chip], command(random));
  // An initialization that has begun is mostly ended.
  if (step !== "ready" || random.chance(40)) return write(ports[chip] + 1, random.byte() & random.byte());
  return write(ports[chip] + 1, random.chance(50) ? 0 : random.byte());
}

export const picOracle: DeviceOracle<PicSubject> = {
  name: "pic",
  excluded:
    "the processor's acknowledge, which qtest cannot make: requests are acknowledged by poll commands; inputs are driven " +
    "directly and change at every step, as a wire does",
  length: 100,
  start: () =>
    startOpponent({}, async (machine) => {
      await silenceTimers(machine);
      const [master, slave] = await machine.devicesOfType("isa-i8259");
      if (master === undefined || slave === undefined)
        throw new QtestError("protocol", "the machine has no 8259 pair");
      await machine.intercept("outputs", master);
      return { lines: 1, pathOf: (name) => (name === "master" ? master : slave) };
    }),
  create: () => new PicSubject(),
  opening: [
    ...inputs.map(({ chip, line }) => input(chip, line, false)),
    write(ports.elcr, 0),
    write(ports.elcr + 1, 0),
    ...initialize("slave", 0x01),
    ...initialize("master", 0x01),
    write(ports.slave + 1, 0),
    write(ports.master + 1, 0),
  ],
  drawer: (random, subject) => {
    // Most sequences keep away from what is known to differ, so that they compare all else to their end; the others keep away from all but one.
    const allowed = random.chance(10) ? random.pick(causes) : undefined;
    const prepared = [...(allowed?.preparation ?? [])];
    return () => {
      const first = prepared.shift();
      if (first !== undefined) return first;
      for (let attempt = 0; ; attempt++) {
        const before = subject.state;
        const operation = draw(random, before, allowed !== undefined);
        if (attempt === 20) return operation;
        const { value } = subject.perform(operation);
        const step: Step = { before, operation, value, after: subject.state };
        subject.state = before;
        if (!causes.some((cause) => cause !== allowed && cause.happens(step))) return operation;
      }
    };
  },
  differences: causes.map(({ happens, preparation: _, ...difference }) => ({
    ...difference,
    goesOn: false,
    explains: (mismatch) => {
      const subject = mismatch.start();
      return causeIn(mismatch, (operation) => {
        const before = subject.state;
        const { value } = subject.perform(operation);
        return happens({ before, operation, value, after: subject.state });
      })
        ? ["value", "levels"]
        : [];
    },
  })),
};
