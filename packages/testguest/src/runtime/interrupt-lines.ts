/* Interrupt lines that the guest itself moves: the test device's ports 0x2000 + n, where the machine has that device. */
import { al, dword, dx, eax, edx, qword, rax } from "../assembler/index.ts";
import type { GuestProgram } from "./guest-program.ts";
import { outByte } from "./interrupt-controllers.ts";

/** The test device's latch, which reads back what was written: nothing else on a PC does there. */
const LATCH = 0xe0;
const LINES = 0x2000;
export const NO_LINES = "the machine has no test device";

/** Variable `has_lines`, and `lower_line`: one interrupt of a level, which it ends at the last one of `level_left`. */
export function writeInterruptLines(guest: GuestProgram): void {
  const { op } = guest;
  for (const name of ["has_lines", "level_left", "level_port"]) guest.variable(name);

  guest.routine("lines_detect", () => {
    op.mov(qword("has_lines"), 1);
    for (const value of [0x5a17c0de, 0x25e83f21]) {
      op.mov(eax, value);
      op.out(LATCH, eax);
      op.xor(eax, eax);
      op.in(eax, LATCH);
      guest.unless(
        (over) => {
          op.cmp(eax, value);
          op.je(over);
        },
        () => op.mov(qword("has_lines"), 0),
      );
    }
  });

  guest.routine("level_interrupt", () => {
    guest.unless(
      (over) => {
        op.dec(qword("level_left"));
        op.jnz(over);
      },
      () => {
        op.mov(edx, dword("level_port"));
        op.xor(eax, eax);
        op.out(dx, al);
      },
    );
  });

  guest.routine("level_interrupt_apic", () => {
    op.call("level_interrupt");
    op.call("apic_end_of_interrupt");
  });

  guest.routine("level_interrupt_pic", () => {
    op.call("level_interrupt");
    op.call("pic_end_of_interrupt");
  });
}

/** Drives line `line`. Uses RAX and RDX. */
export function setLine(guest: GuestProgram, line: number, level: 0 | 1): void {
  outByte(guest, LINES + line, level);
}

/** A level's handler (`level_interrupt`) lowers line `line` at interrupt number `times`. Uses RAX. */
export function lowerAt(guest: GuestProgram, line: number, times: number): void {
  const { op } = guest;
  op.mov(eax, LINES + line);
  op.mov(qword("level_port"), rax);
  op.mov(qword("level_left"), times);
}
