import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import {
  ACTIVITY,
  ACTIVITY_HALTED,
  ACTIVITY_SHUTDOWN,
  CPL,
  MODE,
  MODE_SIZE,
  TR_SELECTOR,
} from "../assembly/layout.ts";
import {
  BareMachine,
  CODE32,
  code,
  DATA,
  descriptor,
  FREE,
  GDT,
  gate,
  HANDLERS,
  IDT,
  IDT32,
  KERNEL_DATA,
  PAGE_TABLE,
  PML4,
  type Register,
  STACK,
  STACK0,
  TASK,
  TSS,
  USER_CODE,
} from "./testing/bare-machine.ts";

/*
 * Programs of system instructions with hostile operands, tables and interrupts: whatever they do to themselves, the module
 * must neither trap nor run past its limit, and its derived state must stay consistent.
 */

const TASKS = 0xa000;

/** Opcodes; `/` asks for a ModRM byte (and what it needs) behind them, `+n` for n more bytes. */
const OPCODES = [
  "fa",
  "fb",
  "f4",
  "0f 06",
  "0f 08",
  "0f 09",
  "9c",
  "9d",
  "0f 01 f8",
  "0f 33",
  "cc",
  "f1",
  "cd+1",
  "ce",
  "cf",
  "48 cf",
  "66 cf",
  "0f 0b",
  "0f 05",
  "0f 07",
  "48 0f 07",
  "0f 34",
  "0f 35",
  "0f 32",
  "0f 30",
  "0f 31",
  "0f 01 f9",
  "0f a2",
  "0f c7/",
  "0f 20/",
  "0f 21/",
  "0f 22/",
  "0f 23/",
  "44 0f 22/",
  "44 0f 20/",
  "0f 00/",
  "0f 01/",
  "0f 02/",
  "0f 03/",
  "8c/",
  "8e/",
  "0f a0",
  "0f a1",
  "0f a8",
  "0f a9",
  "06",
  "07",
  "16",
  "17",
  "1e",
  "1f",
  "c4/",
  "c5/",
  "0f b2/",
  "0f b4/",
  "0f b5/",
  "ff/",
  "48 ff/",
  "ea+6",
  "9a+6",
  "cb",
  "48 cb",
  "ca+2",
  "e4+1",
  "e6+1",
  "ec",
  "ed",
  "ee",
  "ef",
  "6c",
  "6f",
  "f3 6d",
  "f3 a4",
  "f3 ab",
  "60",
  "61",
  "63/",
  "62/",
  "27",
  "2f",
  "37",
  "3f",
  "d4+1",
  "d5+1",
  "c8+3",
  "d7",
  "0f 01 c1",
  "0f 01 d9",
  "0f 01 ca",
  "0f 01 cb",
  "f3 0f ae/",
  "f3 48 0f ae/",
  "66 9d",
  "50",
  "58",
  "90",
  "eb+1",
  "e8+4",
  "0f ae/",
  "89/",
  "8b/",
  "0f c7/",
  "f0 0f b1/",
  "c3",
  "c9",
  // Far transfers to the tasks of a scenario that has some.
  ...["ea", "9a"].flatMap((far) => ["60", "68", "70"].map((task) => `${far} 00 00 00 00 ${task} 00`)),
].map((text) => {
  const [bytes = "", more] = text.split("+");
  return { bytes: code(bytes.replace("/", "")), modrm: text.includes("/"), more: Number(more ?? 0) };
});

/** Values that system code is sensitive to. */
const value = fc.oneof(
  fc.constantFrom(
    0n,
    1n,
    3n,
    0x10n,
    0x2bn,
    0x23n,
    0x1bn,
    0x08n,
    0x33n,
    0x40n,
    0x60n,
    0x63n,
    0x80050033n,
    0x80000011n,
    0x33n,
    0x6a0n,
    0x310620n,
    0x20n,
  ),
  fc.constantFrom(
    0xd01n,
    0x501n,
    0x500n,
    0x100n,
    0x901n,
    0x3f7fd7n,
    0x302n,
    0x4002n,
    0x10302n,
    0x1000n,
    0x2000n,
    0x30d0ffffn,
    0x27ffn,
  ),
  fc.constantFrom(
    0x10n,
    0x174n,
    0x175n,
    0x176n,
    0xc0000080n,
    0xc0000081n,
    0xc0000082n,
    0xc0000083n,
    0xc0000084n,
    0xc0000100n,
    0xc0000101n,
    0xc0000102n,
  ),
  fc.constantFrom(
    ...[DATA, GDT, IDT, TSS, USER_CODE, HANDLERS, PAGE_TABLE, 0x30000, 0xc000, 0x3ffff8, 0x400000].map(
      BigInt,
    ),
  ),
  fc.constantFrom(
    0x7fff_ffff_ffffn,
    0x8000_0000_0000n,
    0xffff_8000_0000_0000n,
    0xffff_ffff_ffff_fffcn,
    0xffff_ffffn,
    0xfffen,
    0x1_0000_0000n,
  ),
  fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
  fc.bigInt({ min: 0n, max: 0xfffn }).map((n) => BigInt(DATA) + n),
);
const byte = fc.nat(255);
const instruction = fc
  .record({
    opcode: fc.constantFrom(...OPCODES),
    modrm: fc.oneof(
      byte,
      fc.nat(255).map((b) => b | 0xc0),
      fc.nat(7).map((reg) => (reg << 3) | 4),
    ),
    tail: fc.array(byte, { minLength: 6, maxLength: 6 }),
  })
  .map(({ opcode, modrm, tail }) => {
    if (!opcode.modrm) return [...opcode.bytes, ...tail.slice(0, opcode.more)];
    // An absolute address at DATA for [disp32] by SIB.
    if ((modrm & 0xc7) === 4) return [...opcode.bytes, modrm, 0x25, tail[0] ?? 0, tail[1]! & 3, 5, 0];
    return [
      ...opcode.bytes,
      modrm,
      ...tail.slice(0, (modrm & 0xc0) === 0xc0 ? 0 : (modrm & 0xc0) === 0x40 ? 1 : 0),
    ];
  });
const REGISTERS: readonly Register[] = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r11"];

const scenario = fc.record({
  mode: fc.constantFrom(
    "long0",
    "long3",
    "compatibility0",
    "compatibility3",
    "protected0",
    "protected3",
    "real",
  ),
  registers: fc.array(fc.option(value, { nil: undefined }), {
    minLength: REGISTERS.length,
    maxLength: REGISTERS.length,
  }),
  control: fc.record(
    {
      flags: fc.constantFrom(2n, 0x102n, 0x202n, 0x3202n, 0x4002n, 0x40302n, 0x10002n),
      cr4: fc.constantFrom(0x620n, 0x628n, 0x310e2cn, 0x20n),
      dr7: fc.constantFrom(0x400n, 0x2400n, 0xd07d_0fffn),
      star: value,
      lstar: value,
      sfmask: value,
      dr0: value,
      dr1: value,
    },
    { requiredKeys: [] },
  ),
  program: fc.array(instruction, { minLength: 4, maxLength: 24 }),
  /** Words written into the tables and the data page. */
  noise: fc.array(
    fc.tuple(
      fc.constantFrom(GDT, IDT, TSS, DATA, 0x8000, 0, 0x1000, 0x3000, PAGE_TABLE),
      fc.nat(0x3f),
      value,
    ),
    { maxLength: 8 },
  ),
  handlers: fc.array(fc.tuple(fc.nat(20), instruction), { maxLength: 6 }),
  /** Three tasks: descriptor types, fields of their TSSs that are not as they should be, vectors with a task gate. */
  tasks: fc.option(
    fc.record({
      types: fc.array(fc.constantFrom(0x89, 0x89, 0x89, 0x81, 0x8b, 0x09), { minLength: 3, maxLength: 3 }),
      fields: fc.array(fc.tuple(fc.nat(2), fc.nat(25), value), { maxLength: 16 }),
      gates: fc.array(fc.oneof(fc.nat(19), byte), { maxLength: 10 }),
    }),
    { nil: undefined },
  ),
  events: fc.array(
    fc.tuple(fc.integer({ min: 1, max: 40 }), fc.constantFrom("interrupt", "nmi", "waiting", "none"), byte),
    { maxLength: 12 },
  ),
});

let m: BareMachine;
beforeAll(async () => {
  m = await BareMachine.create();
});

type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

function enter(s: Scenario): void {
  m.rebuild();
  if (s.mode === "real") m.real();
  else {
    const level = s.mode.endsWith("3") ? 3 : 0;
    if (s.mode.startsWith("long")) m.long(level);
    else if (s.mode.startsWith("compatibility")) m.compatibility(level);
    else m.protected32(level);
  }
  const registers: Partial<Record<Register, bigint>> = {};
  s.registers.forEach((v, i) => {
    if (v !== undefined) registers[REGISTERS[i]!] = v;
  });
  const control = { ...s.control };
  if (s.mode === "real" || s.mode.startsWith("protected")) delete control.cr4;
  m.set({ ...registers, ...control });
}

/** A task that would go on in the program: EIP, EFLAGS, eight registers, six segments. */
function enterTasks({ types, fields, gates }: NonNullable<Scenario["tasks"]>, start: number): void {
  const segments = [KERNEL_DATA, CODE32, KERNEL_DATA, KERNEL_DATA, 0, 0];
  const good = [0, STACK0, KERNEL_DATA, 0, 0, 0, 0, PML4, start, 0x202, 0, 1, 2, 3, STACK, 5, DATA, DATA];
  const at = (task: number): number => TASKS + 0x100 * task;
  types.forEach((type, task) => {
    [...good, ...segments, 0, 0].forEach((word, i) => {
      m.store(at(task) + 4 * i, [word & 255, (word >> 8) & 255, (word >> 16) & 255, 0]);
    });
    m.setDescriptor(FREE + 8 * task, descriptor(type, at(task), 0x67));
  });
  for (const [task, index, word] of fields)
    m.store(
      at(task) + 4 * index,
      [0n, 8n, 16n, 24n].map((shift) => Number((word >> shift) & 255n)),
    );
  for (const vector of gates) m.write(IDT32 + 8 * vector, gate(FREE + 8 * (vector % 3), 0n, 0xe5)[0]);
}

/** Plays the program; whenever it halts, in a handler as a rule, it is set on its next instruction, in whatever state it is. */
function play(s: Scenario): void {
  enter(s);
  const start = Number(m.rip());
  m.store(start, s.program.flat());
  const offsets: number[] = [];
  s.program.reduce((at, bytes) => {
    offsets.push(at);
    return at + bytes.length;
  }, 0);
  if (s.tasks) enterTasks(s.tasks, start);
  for (const [table, index, word] of s.noise) m.write(table + 8 * index, word);
  for (const [vector, bytes] of s.handlers) m.store(HANDLERS + 16 * vector, [...bytes, 0x48, 0xcf]);
  const { processor } = m;
  const events = [...s.events];
  for (const offset of offsets) {
    const [length, kind, vector] = events.pop() ?? ([300, "none", 0] as const);
    const end = processor.now() + length;
    let rounds = 0;
    while (processor.now() < end && processor.activity(0) === 0) {
      processor.run(end);
      // Each round ends by time or because something asked for it.
      expect(++rounds).toBeLessThan(10_000);
    }
    expect(processor.now() - end).toBeLessThan(100_000);
    if (kind === "interrupt" && processor.canInterrupt()) processor.interrupt(vector);
    if (kind === "nmi") processor.pendNmi(0);
    processor.setInterruptWaiting(kind === "waiting");
    if (processor.activity(0) === ACTIVITY_SHUTDOWN) return;
    if (processor.activity(0) === ACTIVITY_HALTED) {
      processor.wake(0);
      m.set({ rip: m.segmentBase("cs") + BigInt(start + offset) });
    }
  }
}

function checkState(): void {
  const mode = m.word(MODE) & MODE_SIZE;
  const long = (m.control("efer") & 0x400n) !== 0n;
  expect(m.word(CPL)).toBeLessThan(4);
  // Right after MOV CR0 the selector is still real mode's.
  const protectedCode = (m.control("cr0") & 1n) !== 0n && (m.attributes("cs") & 8) !== 0;
  if (protectedCode) expect(m.selector("cs") & 3).toBe(m.word(CPL));
  expect(mode === 0).toBe(long && (m.attributes("cs") & 0x2000) !== 0);
  expect(long).toBe((m.control("cr0") & 0x80000000n) !== 0n && (m.control("efer") & 0x100n) !== 0n);
  if (m.word(ACTIVITY) === ACTIVITY_SHUTDOWN)
    expect(m.processor.run(m.processor.now() + 10)).toBe("shutdown");
}
const RUNS = Number(process.env["ENTRESOL_HOSTILE_RUNS"] ?? 800);

describe("hostile system code", () => {
  test("never traps the module, and CPL, MODE and activity stay consistent", { timeout: 600_000 }, () => {
    fc.assert(
      fc.property(scenario, (s) => {
        play(s);
        checkState();
      }),
      { numRuns: RUNS },
    );
  });

  test("tasks with random fields, types and gates: the same", { timeout: 600_000 }, () => {
    let switched = 0;
    fc.assert(
      fc.property(
        scenario.filter((s) => s.tasks !== undefined),
        fc.constantFrom("protected0", "protected3"),
        (s, mode) => {
          play({ ...s, mode } as Scenario);
          if ((m.word(TR_SELECTOR) & 0xffff) !== TASK) switched++;
          checkState();
        },
      ),
      { numRuns: RUNS },
    );
    expect(switched).toBeGreaterThan(RUNS / 8);
  });
});
