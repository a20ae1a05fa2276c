/* The local APIC of the first processor: identity, interrupts to itself, priorities and its timer. */
import {
  cr8,
  dword,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  memory,
  qword,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
} from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC, apicRead, apicWrite, apicWriteEax, LVT, writeMsr } from "../runtime/interrupt-controllers.ts";
import {
  clearCount,
  countOf,
  equalCount,
  letInterruptsIn,
  setAction,
  VECTOR,
} from "../runtime/interrupts.ts";
import { waitFor, waitMicroseconds } from "../runtime/time.ts";
import type { CheckGroup } from "./check.ts";

const TO_SELF = 0x40000;
export const TSC_DEADLINE = 0x6e0;

export function sendToSelf(guest: GuestProgram, vector: number): void {
  apicWrite(guest, APIC.commandLow, TO_SELF | vector);
}

/** Timer ticks in `microseconds` to EAX, from the rate measured before. */
export function timerTicks(guest: GuestProgram, microseconds: number): void {
  const { op } = guest;
  op.mov(eax, microseconds);
  op.mul(qword("timer_per_ms"));
  op.mov(ecx, 1000);
  op.div(rcx);
}

export function stopTimer(guest: GuestProgram): void {
  apicWrite(guest, APIC.timer, LVT.masked | VECTOR.timer);
  apicWrite(guest, APIC.initialCount, 0);
}

/** `timer_per_ms`: the timer's counts in a millisecond at divide by 16, which it stays at, stopped and masked. */
export function measureTimer(guest: GuestProgram): void {
  const { op } = guest;
  // The timer's own rate, from 5 ms of free running: divide by 16, masked.
  apicWrite(guest, APIC.divide, 3);
  stopTimer(guest);
  op.call("set_mark");
  apicWrite(guest, APIC.initialCount, 0xffffffff);
  waitMicroseconds(guest, 5_000);
  apicRead(guest, APIC.currentCount);
  op.mov(ebx, 0xffffffff);
  op.sub(ebx, eax);
  op.call("since_mark");
  op.mov(rdi, rax);
  op.imul(rax, rbx, 1000);
  op.xor(edx, edx);
  op.div(rdi);
  op.mov(qword("timer_per_ms"), rax);
  stopTimer(guest);
}

export const LOCAL_APIC: CheckGroup = {
  title: "Local APIC",
  routines: (guest) => {
    guest.variable("timer_works");
  },
  begin: (guest) => {
    for (const vector of [VECTOR.timer, VECTOR.lowPriority, VECTOR.highPriority]) {
      setAction(guest, vector, "apic_end_of_interrupt");
    }
    measureTimer(guest);
    // HLT is the one wait without a limit: only for a timer that has interrupted once.
    clearCount(guest, VECTOR.timer);
    apicWrite(guest, APIC.timer, VECTOR.timer);
    apicWrite(guest, APIC.initialCount, 100);
    waitFor(guest, "vector_count", VECTOR.timer * 8, 1, 100_000);
    guest.op.mov(qword("timer_works"), rax);
    stopTimer(guest);
    guest.say("  id ");
    guest.sayDecimal(qword("apic_id"));
    guest.say(" at ");
    guest.sayHex(qword("apic_base"));
    guest.say(", timer ");
    guest.sayDecimal(qword("timer_per_ms"));
    guest.say(" counts per ms with divider 16\n");
  },
  checks: [
    {
      name: "apic-id",
      rule: "The id register agrees with the initial APIC id of CPUID",
      clause: "SDM 3A, 11.4.6",
      write: (guest) => {
        const { op } = guest;
        op.mov(eax, 1);
        op.xor(ecx, ecx);
        op.cpuid();
        op.shr(ebx, 24);
        op.mov(rax, qword("apic_id"));
        guest.equal(rbx);
      },
    },
    {
      name: "apic-version",
      rule: "The version register shows an integrated APIC (0x10 to 0x15) with at least four local interrupts",
      clause: "SDM 3A, 11.4.8",
      write: (guest) => {
        const { op } = guest;
        apicRead(guest, APIC.version);
        op.mov(ebx, eax);
        op.and(eax, 0xff);
        guest.between(0x10, 0x15);
        op.mov(eax, ebx);
        op.shr(eax, 16);
        op.and(eax, 0xff);
        guest.between(3, 6);
      },
    },
    {
      name: "apic-self-interrupt",
      rule: "An interrupt to itself arrives once, when interrupts are on",
      clause: "SDM 3A, 11.6.1",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.lowPriority);
        sendToSelf(guest, VECTOR.lowPriority);
        op.nop();
        equalCount(guest, VECTOR.lowPriority, 0);
        letInterruptsIn(guest);
        equalCount(guest, VECTOR.lowPriority, 1);
        letInterruptsIn(guest);
        equalCount(guest, VECTOR.lowPriority, 1);
      },
    },
    {
      name: "sti-shadow",
      rule: "STI lets no interrupt in before the instruction that follows it: STI, CLI keeps a pending one out",
      clause: "SDM 2B, STI",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.lowPriority);
        sendToSelf(guest, VECTOR.lowPriority);
        op.sti();
        op.cli();
        op.mov(rbx, countOf(VECTOR.lowPriority));
        letInterruptsIn(guest);
        op.mov(rax, rbx);
        guest.equal(0);
        equalCount(guest, VECTOR.lowPriority, 1);
      },
    },
    {
      name: "apic-logical-destination",
      rule: "In the flat model an interrupt to logical destination 1 arrives at the local APIC whose LDR has that bit",
      clause: "SDM 3A, 11.6.2.2",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.lowPriority);
        apicWrite(guest, APIC.destinationFormat, 0xffffffff);
        apicWrite(guest, APIC.logicalDestination, 0x01000000);
        for (const destination of [1, 2]) {
          op.mov(edx, destination);
          op.mov(eax, 0x800 | VECTOR.lowPriority);
          op.call("send_ipi");
          letInterruptsIn(guest);
        }
        // Logical id 2 belongs to nobody.
        equalCount(guest, VECTOR.lowPriority, 1);
      },
    },
    {
      name: "apic-higher-first",
      rule: "Of two pending vectors the higher is delivered first, and the other while its handler has not ended it waits",
      clause: "SDM 3A, 11.8.3",
      write: (guest) => {
        const { op } = guest;
        // No EOI for the high one: its class stays in service and holds back the low one.
        setAction(guest, VECTOR.highPriority, undefined);
        clearCount(guest, VECTOR.lowPriority);
        clearCount(guest, VECTOR.highPriority);
        sendToSelf(guest, VECTOR.lowPriority);
        sendToSelf(guest, VECTOR.highPriority);
        letInterruptsIn(guest);
        op.mov(rax, countOf(VECTOR.highPriority));
        op.shl(rax, 8);
        op.or(rax, countOf(VECTOR.lowPriority));
        op.mov(rbx, rax);
        op.call("apic_end_of_interrupt");
        letInterruptsIn(guest);
        setAction(guest, VECTOR.highPriority, "apic_end_of_interrupt");
        op.mov(rax, rbx);
        guest.equal(0x100);
        equalCount(guest, VECTOR.lowPriority, 1);
      },
    },
    {
      name: "apic-task-priority",
      rule: "Task priority 0x50 holds back vector 0x45 (it stays requested) and lets 0x65 through; priority 0 releases it",
      clause: "SDM 3A, 11.8.3.1",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.lowPriority);
        clearCount(guest, VECTOR.highPriority);
        apicWrite(guest, APIC.taskPriority, 0x50);
        sendToSelf(guest, VECTOR.lowPriority);
        sendToSelf(guest, VECTOR.highPriority);
        letInterruptsIn(guest);
        op.mov(rax, countOf(VECTOR.highPriority));
        op.shl(rax, 8);
        op.or(rax, countOf(VECTOR.lowPriority));
        op.mov(rdi, rax);
        apicRead(guest, APIC.requests + 0x10 * (VECTOR.lowPriority >> 5));
        op.mov(ebx, eax);
        apicWrite(guest, APIC.taskPriority, 0);
        letInterruptsIn(guest);
        op.mov(rax, rdi);
        guest.equal(0x100);
        op.mov(eax, ebx);
        guest.equal(1 << (VECTOR.lowPriority & 31));
        equalCount(guest, VECTOR.lowPriority, 1);
      },
    },
    {
      name: "cr8-is-task-priority",
      rule: "CR8 = 5 shows as task priority 0x50, and priority 0x70 shows as CR8 = 7",
      clause: "SDM 3A, 11.8.6",
      write: (guest) => {
        const { op } = guest;
        op.mov(eax, 5);
        op.mov(cr8, rax);
        apicRead(guest, APIC.taskPriority);
        op.mov(ebx, eax);
        apicWrite(guest, APIC.taskPriority, 0x70);
        op.mov(rdi, cr8);
        op.xor(eax, eax);
        op.mov(cr8, rax);
        op.mov(eax, ebx);
        guest.equal(0x50);
        op.mov(rax, rdi);
        guest.equal(7);
      },
    },
    {
      name: "apic-nmi",
      rule: "An NMI to itself arrives at vector 2 although interrupts are off",
      clause: "SDM 3A, 11.6.1 and 6.7",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.nonMaskable);
        op.mov(edx, dword("apic_id"));
        op.mov(eax, LVT.nmi);
        op.call("send_ipi");
        op.lea(rdi, memory("vector_count", VECTOR.nonMaskable * 8));
        op.mov(esi, 1);
        op.mov(eax, 100_000);
        op.call("wait_count");
        guest.equal(1);
      },
    },
    {
      name: "apic-timer-one-shot",
      rule: "A one-shot of 2 ms interrupts once, not before its time, and leaves the count at zero",
      clause: "SDM 3A, 11.5.4",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.timer);
        apicWrite(guest, APIC.timer, VECTOR.timer);
        timerTicks(guest, 2000);
        op.mov(ebx, eax);
        op.call("set_mark");
        op.mov(eax, ebx);
        apicWriteEax(guest, APIC.initialCount);
        waitFor(guest, "vector_count", VECTOR.timer * 8, 1, 500_000);
        op.call("since_mark");
        op.mov(rdi, rax);
        op.sti();
        waitMicroseconds(guest, 5000);
        op.cli();
        apicRead(guest, APIC.currentCount);
        op.mov(ebx, eax);
        stopTimer(guest);
        equalCount(guest, VECTOR.timer, 1);
        op.mov(rax, rdi);
        guest.between(1_900, 500_000);
        op.mov(eax, ebx);
        guest.equal(0);
      },
    },
    {
      name: "apic-timer-masked",
      rule: "A masked timer counts down and does not interrupt",
      clause: "SDM 3A, 11.5.1 (mask)",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.timer);
        apicWrite(guest, APIC.timer, LVT.masked | VECTOR.timer);
        timerTicks(guest, 1000);
        apicWriteEax(guest, APIC.initialCount);
        op.sti();
        waitMicroseconds(guest, 3000);
        op.cli();
        stopTimer(guest);
        equalCount(guest, VECTOR.timer, 0);
      },
    },
    {
      name: "apic-timer-periodic",
      rule: "A period of 1 ms interrupts ten times in ten periods",
      clause: "SDM 3A, 11.5.4",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.timer);
        apicWrite(guest, APIC.timer, LVT.periodic | VECTOR.timer);
        timerTicks(guest, 1000);
        op.mov(ebx, eax);
        op.call("set_mark");
        op.mov(eax, ebx);
        apicWriteEax(guest, APIC.initialCount);
        waitFor(guest, "vector_count", VECTOR.timer * 8, 10, 500_000);
        op.mov(rbx, rax);
        op.call("since_mark");
        op.mov(rdi, rax);
        stopTimer(guest);
        // One more may have come while the timer was stopped.
        letInterruptsIn(guest);
        op.mov(rax, rbx);
        guest.between(10, 11);
        op.mov(rax, rdi);
        guest.between(9_500, 500_000);
      },
    },
    {
      name: "halt-wakes-on-timer",
      rule: "STI; HLT sleeps until the timer interrupts, and goes on behind the HLT",
      clause: "SDM 2A, HLT; 2B, STI",
      write: (guest) => {
        const { op } = guest;
        // HLT is the one wait without a limit.
        guest.skipUnless("timer_works", "the one-shot timer did not interrupt");
        clearCount(guest, VECTOR.timer);
        apicWrite(guest, APIC.timer, VECTOR.timer);
        timerTicks(guest, 2000);
        op.mov(ebx, eax);
        op.call("set_mark");
        op.mov(eax, ebx);
        apicWriteEax(guest, APIC.initialCount);
        op.sti();
        op.hlt();
        op.cli();
        op.call("since_mark");
        op.mov(rdi, rax);
        stopTimer(guest);
        equalCount(guest, VECTOR.timer, 1);
        op.mov(rax, rdi);
        guest.between(1_900, 500_000);
      },
    },
    {
      name: "tsc-deadline-timer",
      rule: "IA32_TSC_DEADLINE interrupts when the TSC gets there, not before, and reads 0 then",
      clause: "SDM 3A, 11.5.4.1",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_deadline", "CPUID.1:ECX[24] has no TSC deadline");
        clearCount(guest, VECTOR.timer);
        apicWrite(guest, APIC.timer, LVT.deadline | VECTOR.timer);
        op.mfence();
        op.call("set_mark");
        op.mov(eax, 2000);
        op.call("tsc_after");
        op.mov(rbx, rax);
        op.mov(rdx, rax);
        op.shr(rdx, 32);
        op.mov(ecx, TSC_DEADLINE);
        op.wrmsr();
        waitFor(guest, "vector_count", VECTOR.timer * 8, 1, 500_000);
        op.call("tsc_read");
        op.sub(rax, rbx);
        op.sar(rax, 63);
        op.mov(rdi, rax);
        op.mov(ecx, TSC_DEADLINE);
        op.rdmsr();
        op.or(eax, edx);
        op.mov(ebx, eax);
        stopTimer(guest);
        equalCount(guest, VECTOR.timer, 1);
        op.mov(rax, rdi);
        guest.equal(0);
        op.mov(eax, ebx);
        guest.equal(0);
      },
    },
    {
      name: "tsc-deadline-past",
      rule: "A deadline that is over interrupts at once, and writing 0 disarms one that is not",
      clause: "SDM 3A, 11.5.4.1",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_deadline", "CPUID.1:ECX[24] has no TSC deadline");
        clearCount(guest, VECTOR.timer);
        apicWrite(guest, APIC.timer, LVT.deadline | VECTOR.timer);
        op.mfence();
        writeMsr(guest, TSC_DEADLINE, 1);
        waitFor(guest, "vector_count", VECTOR.timer * 8, 1, 100_000);
        op.mov(edi, eax);
        op.mov(eax, 2000);
        op.call("tsc_after");
        op.mov(rdx, rax);
        op.shr(rdx, 32);
        op.mov(ecx, TSC_DEADLINE);
        op.wrmsr();
        writeMsr(guest, TSC_DEADLINE, 0);
        op.sti();
        waitMicroseconds(guest, 5000);
        op.cli();
        stopTimer(guest);
        op.mov(eax, edi);
        guest.equal(1);
        equalCount(guest, VECTOR.timer, 1);
      },
    },
  ],
};
