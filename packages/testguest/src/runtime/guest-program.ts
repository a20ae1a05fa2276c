import {
  Assembler,
  type Instructions,
  type Memory,
  memory,
  type Operand,
  qword,
  type Register,
  r8,
  r9,
  rax,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../assembler/index.ts";

/** A value that a check compares with: a constant, a register or a variable in memory. */
export type Wanted = number | bigint | Register | Memory;

/** How many values a check can keep for its end. */
const MAXIMUM_EXPECTATIONS = 40;

interface CheckInProgress {
  readonly failed: string;
  readonly skipped: string;
  skips: boolean;
  /** What the values kept in `expected_values` have to be, lowest and highest. */
  readonly expectations: (readonly [number | bigint, number | bigint])[];
}

/**
 * A bare-metal program in the making: the assembler, plus strings, variables and the three endings of a check.
 *
 * Calling convention of all routines: arguments as each says, results in RAX; everything but RAX, RCX and RDX is kept.
 */
export class GuestProgram {
  readonly asm: Assembler;
  readonly op: Instructions;
  readonly #strings = new Map<string, string>();
  readonly #variables: { readonly name: string; readonly length: number; readonly alignment: number }[] = [];
  #check: CheckInProgress | undefined;

  constructor(origin: number) {
    this.asm = new Assembler({ origin });
    this.op = this.asm.op;
  }

  /** Label of `text`, stored once however often it is used. */
  string(text: string): string {
    let label = this.#strings.get(text);
    if (label === undefined) {
      label = `string.${this.#strings.size}`;
      this.#strings.set(text, label);
    }
    return label;
  }

  /** Reserves zeroed memory under the label `name`. */
  variable(name: string, length = 8, alignment = 8): void {
    this.#variables.push({ name, length, alignment });
  }

  /** A subroutine; `body` must not fall through, `ret` is added. */
  routine(name: string, body: () => void): void {
    this.asm.align(16, 0xcc);
    this.asm.label(name);
    body();
    this.op.ret();
  }

  /** A routine that keeps `registers`. */
  routineKeeping(name: string, registers: readonly Register[], body: () => void): void {
    this.routine(name, () => {
      for (const register of registers) this.op.push(register);
      body();
      for (const register of registers.toReversed()) this.op.pop(register);
    });
  }

  /** Repeats `body` while `condition` (a conditional jump taken with the loop's label) holds after it. */
  repeat(body: () => void, condition: (again: string) => void): void {
    const again = this.asm.unique("again");
    this.asm.label(again);
    body();
    condition(again);
  }

  /** Runs `body` unless the jump that `skip` writes is taken. */
  unless(skip: (over: string) => void, body: () => void): void {
    const over = this.asm.unique("over");
    skip(over);
    body();
    this.asm.label(over);
  }

  /** Prints text. Uses no registers: RSI is kept. */
  say(text: string): void {
    this.op.push(rsi);
    this.op.lea(rsi, memory(this.string(text)));
    this.op.call("print");
    this.op.pop(rsi);
  }

  /** Prints the value as a decimal number. */
  sayDecimal(value: Operand): void {
    this.load(rax, value);
    this.op.call("print_decimal");
  }

  /** Prints the value as 0x and hexadecimal digits. */
  sayHex(value: Operand): void {
    this.load(rax, value);
    this.op.call("print_hex");
  }

  load(register: Register, value: Operand): void {
    if (value !== register) this.op.mov(register, value);
  }

  /**
   * A check: `body` leaves by `equal`, `between` or `skipUnless`, or falls through, which passes if all that it expected
   * came. Prints exactly one line.
   */
  check(name: string, body: () => void): void {
    const { asm, op } = this;
    const failed = asm.unique(`${name}.failed`);
    const skipped = asm.unique(`${name}.skipped`);
    const end = asm.unique(`${name}.end`);
    this.#check = { failed, skipped, skips: false, expectations: [] };
    body();
    this.#check.expectations.forEach(([low, high], index) => {
      op.mov(rax, qword("expected_values", index * 8));
      if (low === high) this.equal(low);
      else this.between(low, high);
    });
    op.lea(rdi, memory(this.string(name)));
    op.call("report_passed");
    op.jmp(end);
    if (this.#check.skips) {
      // R9 holds the reason.
      asm.label(skipped);
      op.lea(rdi, memory(this.string(name)));
      op.call("report_skipped");
      op.jmp(end);
    }
    asm.label(failed);
    op.lea(rdi, memory(this.string(name)));
    op.call("report_failed");
    asm.label(end);
    this.#check = undefined;
  }

  /** The check fails unless RAX is `wanted`. Uses RCX and RDX. */
  equal(wanted: Wanted): void {
    this.load(rdx, wanted);
    this.op.mov(rcx, rdx);
    this.op.cmp(rax, rdx);
    this.op.jne(this.#current().failed);
  }

  /** The check fails unless RAX is the address of the label. */
  equalAddress(label: string): void {
    this.op.lea(rdx, memory(label));
    this.equal(rdx);
  }

  /** The check fails unless RAX (unsigned) lies from `low` to `high`. Uses RCX and RDX; `high` must not be in RDX. */
  between(low: Wanted, high: Wanted): void {
    this.load(rdx, low);
    this.load(rcx, high);
    this.op.cmp(rax, rdx);
    this.op.jb(this.#current().failed);
    this.op.cmp(rax, rcx);
    this.op.ja(this.#current().failed);
  }

  /**
   * Keeps RAX; the check fails at its end, when it has undone what it changed, unless the value lies from `low` to `high`
   * (unsigned). Changes no register.
   */
  expect(low: number | bigint, high: number | bigint = low): void {
    const { expectations } = this.#current();
    if (expectations.length === MAXIMUM_EXPECTATIONS) throw new TypeError("a check expects too many values");
    this.op.mov(qword("expected_values", expectations.length * 8), rax);
    expectations.push([low, high]);
  }

  /** The check is skipped, with its reason in the output, if the variable is zero: the machine says it has no such thing. */
  skipUnless(variable: string, reason: string): void {
    const check = this.#current();
    check.skips = true;
    this.op.lea(r9, memory(this.string(reason)));
    this.op.cmp(qword(variable), 0);
    this.op.je(check.skipped);
  }

  #current(): CheckInProgress {
    if (this.#check === undefined)
      throw new TypeError("equal, between, expect and skipUnless belong inside a check");
    return this.#check;
  }

  /** The three report routines behind `check`: RDI = name; RAX = got, RDX..RCX = wanted; R9 = reason of a skip. */
  writeReports(): void {
    const { op } = this;
    this.variable("passed_count");
    this.variable("expected_values", MAXIMUM_EXPECTATIONS * 8);
    this.variable("failed_count");
    this.variable("skipped_count");
    this.routineKeeping("report_passed", [rsi], () => {
      op.inc(qword("passed_count"));
      this.say("ok ");
      op.mov(rsi, rdi);
      op.call("print");
      this.say("\n");
    });
    this.routineKeeping("report_skipped", [rsi], () => {
      op.inc(qword("skipped_count"));
      this.say("skip ");
      op.mov(rsi, rdi);
      op.call("print");
      this.say(" (");
      op.mov(rsi, r9);
      op.call("print");
      this.say(")\n");
    });
    this.routineKeeping("report_failed", [rsi, r8, r9], () => {
      op.mov(r8, rdx);
      op.mov(r9, rcx);
      op.push(rax);
      op.inc(qword("failed_count"));
      this.say("FAIL ");
      op.mov(rsi, rdi);
      op.call("print");
      this.say(" got=");
      op.pop(rax);
      op.call("print_hex");
      this.say(" want=");
      this.sayHex(r8);
      this.unless(
        (over) => {
          op.cmp(r8, r9);
          op.je(over);
        },
        () => {
          this.say("..");
          this.sayHex(r9);
        },
      );
      this.say("\n");
    });
  }

  /** Puts the collected strings into the image and the variables behind it; nothing can be added afterwards. */
  finish(): void {
    const { asm } = this;
    asm.align(16, 0xcc);
    for (const [text, label] of this.#strings) {
      asm.label(label);
      asm.text(text);
    }
    asm.align(4096);
    asm.uninitialized();
    asm.label("variables");
    for (const { name, length, alignment } of this.#variables) {
      asm.align(alignment);
      asm.label(name);
      asm.reserve(length);
    }
    asm.align(8);
    asm.label("variables_end");
  }
}
