/* The local APIC's timer: dividers, its three modes, and what happens between them. */
import { eax, ebx, ecx, edx, qword, rax, rbx, rcx, rdi, rdx } from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import {
  APIC,
  apicRead,
  apicWrite,
  apicWriteEax,
  expectApic,
  LVT,
  writeMsr,
} from "../runtime/interrupt-controllers.ts";
import {
  clearCount,
  countOf,
  expectCount,
  letInterruptsIn,
  setAction,
  VECTOR,
} from "../runtime/interrupts.ts";
import { waitFor, waitMicroseconds } from "../runtime/time.ts";
import type { CheckGroup } from "./check.ts";
import { measureTimer, stopTimer, TSC_DEADLINE, timerTicks } from "./local-apic.ts";

const TIMER = VECTOR.timer;
const NO_DEADLINE = "CPUID.1:ECX[24] has no TSC deadline";

/** Starts a count of `microseconds` in the mode that `lvt` says, from a stopped timer. */
function start(guest: GuestProgram, lvt: number, microseconds: number): void {
  clearCount(guest, TIMER);
  apicWrite(guest, APIC.timer, lvt | TIMER);
  timerTicks(guest, microseconds);
  apicWriteEax(guest, APIC.initialCount);
}

/** Waits with interrupts on. */
function idle(guest: GuestProgram, microseconds: number): void {
  guest.op.sti();
  waitMicroseconds(guest, microseconds);
  guest.op.cli();
}

/** The deadline `microseconds` from now. */
function setDeadline(guest: GuestProgram, microseconds: number): void {
  const { op } = guest;
  op.mov(eax, microseconds);
  op.call("tsc_after");
  op.mov(rdx, rax);
  op.shr(rdx, 32);
  op.mov(ecx, TSC_DEADLINE);
  op.wrmsr();
}

function readDeadline(guest: GuestProgram): void {
  const { op } = guest;
  op.mov(ecx, TSC_DEADLINE);
  op.rdmsr();
  op.shl(rdx, 32);
  op.or(rax, rdx);
}

function useDeadlines(guest: GuestProgram): void {
  clearCount(guest, TIMER);
  apicWrite(guest, APIC.timer, LVT.deadline | TIMER);
  guest.op.mfence();
}

export const APIC_TIMER_RULES: CheckGroup = {
  title: "Local APIC: timer",
  begin: (guest) => {
    setAction(guest, TIMER, "apic_end_of_interrupt");
    measureTimer(guest);
  },
  end: stopTimer,
  checks: [
    {
      name: "apic-timer-dividers",
      rule: "The eight dividers, 1 to 128, divide the timer's clock as they say, 2 % more or less",
      clause: "SDM 3A, 11.5.4 (figure 11-10)",
      write: (guest) => {
        const { op } = guest;
        stopTimer(guest);
        for (const [code, divider] of [
          [0b1011, 1],
          [0b0000, 2],
          [0b0001, 4],
          [0b0010, 8],
          [0b0011, 16],
          [0b1000, 32],
          [0b1001, 64],
          [0b1010, 128],
        ] as const) {
          apicWrite(guest, APIC.divide, code);
          op.call("set_mark");
          apicWrite(guest, APIC.initialCount, 0xffffffff);
          waitMicroseconds(guest, 500);
          apicRead(guest, APIC.currentCount);
          op.mov(ebx, 0xffffffff);
          op.sub(ebx, eax);
          op.call("since_mark");
          op.mov(rdi, rax);
          // Counts per ms at divide by 16, in per cent of those measured before: some hundred counts at least.
          op.imul(rax, rbx, 6250 * divider);
          op.xor(edx, edx);
          op.div(rdi);
          op.xor(edx, edx);
          op.mov(rcx, qword("timer_per_ms"));
          op.div(rcx);
          guest.expect(96, 104);
        }
        apicWrite(guest, APIC.divide, 3);
        stopTimer(guest);
      },
    },
    {
      name: "apic-timer-initial-count",
      rule: "The initial count reads back, the current count starts from it, a new one starts over, and 0 stops the timer",
      clause: "SDM 3A, 11.5.4",
      write: (guest) => {
        stopTimer(guest);
        clearCount(guest, TIMER);
        apicWrite(guest, APIC.timer, TIMER);
        for (const count of [0x40000000, 0x50000000]) {
          apicWrite(guest, APIC.initialCount, count);
          apicRead(guest, APIC.currentCount);
          guest.expect(count - 0x1000000, count);
          expectApic(guest, APIC.initialCount, count);
        }
        apicWrite(guest, APIC.initialCount, 0);
        expectApic(guest, APIC.currentCount, 0);
        idle(guest, 100);
        expectCount(guest, TIMER, 0);
        stopTimer(guest);
      },
    },
    {
      name: "apic-timer-masked-expiry",
      rule: "An expiry while the timer is masked is lost: unmasked, nothing comes",
      clause: "SDM 3A, 11.5.1 (mask)",
      write: (guest) => {
        start(guest, LVT.masked, 100);
        idle(guest, 300);
        expectApic(guest, APIC.currentCount, 0);
        apicWrite(guest, APIC.timer, TIMER);
        letInterruptsIn(guest);
        expectCount(guest, TIMER, 0);
        stopTimer(guest);
      },
    },
    {
      name: "apic-timer-unmasked-before-expiry",
      rule: "A timer that is unmasked while it counts interrupts at its end",
      clause: "SDM 3A, 11.5.1 (mask)",
      write: (guest) => {
        start(guest, LVT.masked, 2000);
        apicWrite(guest, APIC.timer, TIMER);
        idle(guest, 4000);
        expectCount(guest, TIMER, 1);
        stopTimer(guest);
      },
    },
    {
      name: "apic-timer-periodic-reload",
      rule: "In periodic mode the count starts again from the initial count, masked or not",
      clause: "SDM 3A, 11.5.4",
      write: (guest) => {
        start(guest, LVT.masked | LVT.periodic, 200);
        idle(guest, 1500);
        apicRead(guest, APIC.currentCount);
        guest.expect(1, 0xffffffff);
        expectCount(guest, TIMER, 0);
        apicWrite(guest, APIC.timer, LVT.periodic | TIMER);
        waitFor(guest, "vector_count", TIMER * 8, 2, 100_000);
        guest.expect(2, 3);
        stopTimer(guest);
        letInterruptsIn(guest);
      },
    },
    {
      name: "apic-timer-periodic-to-one-shot",
      rule: "A periodic timer that becomes one-shot finishes its count, interrupts once more and stops",
      clause: "SDM 3A, 11.5.4",
      write: (guest) => {
        start(guest, LVT.periodic, 2000);
        waitFor(guest, "vector_count", TIMER * 8, 1, 100_000);
        apicWrite(guest, APIC.timer, TIMER);
        idle(guest, 6000);
        expectCount(guest, TIMER, 2);
        expectApic(guest, APIC.currentCount, 0);
        stopTimer(guest);
      },
    },
    {
      name: "apic-timer-one-shot-to-periodic",
      rule: "A one-shot that becomes periodic while it counts goes on from there, and repeats",
      clause: "SDM 3A, 11.5.4",
      write: (guest) => {
        start(guest, 0, 1000);
        apicWrite(guest, APIC.timer, LVT.periodic | TIMER);
        waitFor(guest, "vector_count", TIMER * 8, 3, 100_000);
        guest.expect(3, 4);
        stopTimer(guest);
        letInterruptsIn(guest);
      },
    },
    {
      name: "apic-timer-expired-stays",
      rule: "A one-shot that is over does not start again when it becomes periodic",
      clause: "SDM 3A, 11.5.4",
      write: (guest) => {
        start(guest, 0, 100);
        idle(guest, 400);
        apicWrite(guest, APIC.timer, LVT.periodic | TIMER);
        idle(guest, 400);
        expectCount(guest, TIMER, 1);
        stopTimer(guest);
      },
    },
    {
      name: "tsc-deadline-ignores-count",
      rule: "In deadline mode the initial count takes no writes, and both counts read 0",
      clause: "SDM 3A, 11.5.4.1",
      write: (guest) => {
        guest.skipUnless("has_deadline", NO_DEADLINE);
        stopTimer(guest);
        useDeadlines(guest);
        apicWrite(guest, APIC.initialCount, 100);
        expectApic(guest, APIC.initialCount, 0);
        expectApic(guest, APIC.currentCount, 0);
        idle(guest, 200);
        expectCount(guest, TIMER, 0);
        stopTimer(guest);
      },
    },
    {
      name: "tsc-deadline-other-modes",
      rule: "In the other modes the deadline MSR reads 0 and takes no writes",
      clause: "SDM 3A, 11.5.4.1",
      write: (guest) => {
        guest.skipUnless("has_deadline", NO_DEADLINE);
        stopTimer(guest);
        clearCount(guest, TIMER);
        apicWrite(guest, APIC.timer, TIMER);
        setDeadline(guest, 50);
        readDeadline(guest);
        guest.expect(0);
        idle(guest, 200);
        expectCount(guest, TIMER, 0);
        stopTimer(guest);
      },
    },
    {
      name: "tsc-deadline-rewritten",
      rule: "A new deadline takes the place of the old one, later or earlier: one interrupt",
      clause: "SDM 3A, 11.5.4.1",
      write: (guest) => {
        guest.skipUnless("has_deadline", NO_DEADLINE);
        useDeadlines(guest);
        setDeadline(guest, 500);
        setDeadline(guest, 5000);
        idle(guest, 1500);
        expectCount(guest, TIMER, 0);
        setDeadline(guest, 500);
        idle(guest, 6000);
        expectCount(guest, TIMER, 1);
        stopTimer(guest);
      },
    },
    {
      name: "tsc-deadline-mode-change",
      rule: "Leaving deadline mode disarms the deadline, and entering it stops the count",
      clause: "SDM 3A, 11.5.4.1",
      write: (guest) => {
        guest.skipUnless("has_deadline", NO_DEADLINE);
        useDeadlines(guest);
        setDeadline(guest, 1000);
        apicWrite(guest, APIC.timer, TIMER);
        apicWrite(guest, APIC.timer, LVT.deadline | TIMER);
        readDeadline(guest);
        guest.expect(0);
        apicWrite(guest, APIC.timer, TIMER);
        timerTicks(guest, 1000);
        apicWriteEax(guest, APIC.initialCount);
        apicWrite(guest, APIC.timer, LVT.deadline | TIMER);
        idle(guest, 3000);
        expectCount(guest, TIMER, 0);
        stopTimer(guest);
      },
    },
    {
      name: "tsc-deadline-masked",
      rule: "A deadline that passes while the timer is masked is over: unmasked, nothing comes",
      clause: "SDM 3A, 11.5.4.1",
      write: (guest) => {
        guest.skipUnless("has_deadline", NO_DEADLINE);
        clearCount(guest, TIMER);
        apicWrite(guest, APIC.timer, LVT.masked | LVT.deadline | TIMER);
        guest.op.mfence();
        setDeadline(guest, 100);
        idle(guest, 400);
        readDeadline(guest);
        guest.expect(0);
        apicWrite(guest, APIC.timer, LVT.deadline | TIMER);
        idle(guest, 100);
        expectCount(guest, TIMER, 0);
        stopTimer(guest);
      },
    },
    {
      name: "tsc-write-moves-deadline",
      rule: "The deadline is on the TSC's scale: a TSC written past it fires it",
      clause: "SDM 3A, 11.5.4.1; 3B, 18.17.3",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_deadline", NO_DEADLINE);
        useDeadlines(guest);
        setDeadline(guest, 1_000_000);
        // 2 s further, and back again when it is over.
        op.mov(rax, qword("tsc_khz"));
        op.imul(rbx, rax, 2000);
        for (const way of ["forth", "back"] as const) {
          op.rdtsc();
          op.shl(rdx, 32);
          op.or(rax, rdx);
          if (way === "forth") op.add(rax, rbx);
          else op.sub(rax, rbx);
          op.mov(rdx, rax);
          op.shr(rdx, 32);
          op.mov(ecx, 0x10);
          op.wrmsr();
          if (way === "forth") letInterruptsIn(guest);
        }
        op.mov(rax, countOf(TIMER));
        guest.expect(1);
        stopTimer(guest);
        writeMsr(guest, TSC_DEADLINE, 0);
      },
    },
  ],
};
