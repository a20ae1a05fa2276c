/* Clocks: the ACPI PM timer as the reference, the TSC calibrated with it, and waiting with a limit. */
import {
  dword,
  dx,
  eax,
  ebx,
  ecx,
  edx,
  memory,
  qword,
  r8,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../assembler/index.ts";
import type { GuestProgram } from "./guest-program.ts";

/** ACPI 6.5, 4.8.2.1: 3.579545 MHz. */
export const PM_TIMER_HERTZ = 3_579_545;

/**
 * pm_read: EAX, 24 bits. tsc_read: RAX. tsc_calibrate. since_mark: RAX = microseconds since `mark`.
 * wait_count: RDI = address of a counter, RSI = wanted count, RAX = limit in microseconds; RAX = the count at the end.
 * wait_microseconds: RAX.
 */
export function writeTime(guest: GuestProgram): void {
  const { asm, op } = guest;
  // kHz; a machine without a usable PM timer is taken for 1 GHz.
  guest.variable("tsc_khz");
  guest.variable("mark");

  // PAUSE tells whoever emulates or shares the processor that this one only waits; the idle turns behind it keep a machine on
  // which PAUSE is an exit from leaving for every look at the clock.
  guest.routineKeeping("relax", [rcx], () => {
    op.pause();
    op.mov(ecx, 256);
    guest.repeat(
      () => op.dec(ecx),
      (again) => op.jnz(again),
    );
  });

  guest.routine("pm_read", () => {
    op.mov(edx, dword("pm_timer_port"));
    op.in(eax, dx);
    // Bits 31:24 exist only where the FADT says so, so nobody here relies on them.
    op.and(eax, 0xffffff);
  });

  guest.routine("tsc_read", () => {
    op.rdtsc();
    op.shl(rdx, 32);
    op.or(rax, rdx);
  });

  guest.routineKeeping("tsc_calibrate", [rbx, rsi, r8], () => {
    const end = asm.unique("end");
    op.mov(qword("tsc_khz"), 1_000_000);
    op.cmp(qword("pm_timer_port"), 0);
    op.je(end);
    op.call("pm_read");
    op.mov(ebx, eax);
    op.call("tsc_read");
    op.mov(rsi, rax);
    // 5 ms by the PM timer; the TSC cannot run so slowly that a million reads are not enough.
    op.mov(r8, 1_000_000);
    const measured = asm.unique("measured");
    guest.repeat(
      () => {
        op.call("relax");
        op.call("pm_read");
        op.sub(eax, ebx);
        op.and(eax, 0xffffff);
        op.cmp(eax, Math.ceil(PM_TIMER_HERTZ / 200));
        op.jae(measured);
      },
      (again) => {
        op.dec(r8);
        op.jnz(again);
      },
    );
    op.jmp(end);
    asm.label(measured);
    op.mov(ebx, eax);
    op.call("tsc_read");
    op.sub(rax, rsi);
    op.mov(rcx, PM_TIMER_HERTZ);
    op.mul(rcx);
    op.imul(rbx, rbx, 1000);
    op.div(rbx);
    op.mov(qword("tsc_khz"), rax);
    asm.label(end);
  });

  guest.routine("set_mark", () => {
    op.call("tsc_read");
    op.mov(qword("mark"), rax);
  });

  guest.routine("since_mark", () => {
    op.call("tsc_read");
    op.sub(rax, qword("mark"));
    op.mov(rcx, 1000);
    op.mul(rcx);
    op.div(qword("tsc_khz"));
  });

  // RAX = microseconds; RAX = that many TSC ticks from now.
  guest.routine("tsc_after", () => {
    op.mul(qword("tsc_khz"));
    op.mov(rcx, 1000);
    op.div(rcx);
    op.mov(rcx, rax);
    op.rdtsc();
    op.shl(rdx, 32);
    op.or(rax, rdx);
    op.add(rax, rcx);
  });

  guest.routineKeeping("wait_count", [rbx], () => {
    const done = asm.unique("done");
    op.call("tsc_after");
    op.mov(rbx, rax);
    guest.repeat(
      () => {
        op.cmp(qword(rdi), rsi);
        op.jae(done);
        op.call("relax");
        op.call("tsc_read");
        op.cmp(rax, rbx);
      },
      (again) => op.jb(again),
    );
    asm.label(done);
    op.mov(rax, qword(rdi));
  });

  guest.routineKeeping("wait_microseconds", [rbx], () => {
    op.call("tsc_after");
    op.mov(rbx, rax);
    guest.repeat(
      () => {
        op.call("relax");
        op.call("tsc_read");
        op.cmp(rax, rbx);
      },
      (again) => op.jb(again),
    );
  });
}

/** Waits, interrupts on, until the counter reaches `count`, at most `limit` microseconds. RAX = the counter. */
export function waitFor(
  guest: GuestProgram,
  counter: Parameters<typeof memory>[0],
  offset: number,
  count: number,
  limit: number,
): void {
  const { op } = guest;
  op.lea(rdi, memory(counter, offset));
  op.mov(rsi, count);
  op.mov(eax, limit);
  op.sti();
  op.call("wait_count");
  op.cli();
}

export function waitMicroseconds(guest: GuestProgram, microseconds: number): void {
  guest.op.mov(eax, microseconds);
  guest.op.call("wait_microseconds");
}
