/* The high precision event timer, where the ACPI tables name one below 4 GiB. */
import {
  cl,
  dword,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  memory,
  qword,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
} from "../assembler/index.ts";
import { signature } from "../runtime/acpi.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { clearCount, expectCount, letInterruptsIn, setAction, VECTOR } from "../runtime/interrupts.ts";
import { waitFor, waitMicroseconds } from "../runtime/time.ts";
import type { CheckGroup } from "./check.ts";
import { route } from "./ioapic.ts";

const HPET = {
  capabilities: 0x00,
  period: 0x04,
  configuration: 0x10,
  status: 0x20,
  counter: 0xf0,
  timer: 0x100,
  routes: 0x104,
  comparator: 0x108,
  message: 0x110,
} as const;

const ENABLE = 1;
const LEGACY = 2;
/** Timer configuration. */
const LEVEL = 0x02;
const INTERRUPT = 0x04;
const PERIODIC = 0x08;
const SET_VALUE = 0x40;
const ONLY_32_BITS = 0x100;
const BY_MESSAGE = 0x4000;
const V = VECTOR.line;
const MASKED = 0x10000;
const NONE = "the ACPI tables name no HPET";

function read(guest: GuestProgram, register: number): void {
  guest.op.mov(rdx, qword("hpet_base"));
  guest.op.mov(eax, dword(rdx, register));
}

function write(guest: GuestProgram, register: number, value: number): void {
  guest.op.mov(rdx, qword("hpet_base"));
  guest.op.mov(dword(rdx, register), value);
}

function writeEax(guest: GuestProgram, register: number): void {
  guest.op.mov(rdx, qword("hpet_base"));
  guest.op.mov(dword(rdx, register), eax);
}

/** HPET ticks in `microseconds` to RAX. */
function ticks(guest: GuestProgram, microseconds: number): void {
  const { op } = guest;
  read(guest, HPET.period);
  op.mov(ecx, eax);
  op.mov(rax, microseconds * 1_000_000_000);
  op.xor(edx, edx);
  op.div(rcx);
}

/** Counter halted at 0, timer 0 off, nothing pending. */
function stop(guest: GuestProgram): void {
  write(guest, HPET.configuration, 0);
  write(guest, HPET.timer, 0);
  write(guest, HPET.status, 0xffffffff);
  write(guest, HPET.counter, 0);
  write(guest, HPET.counter + 4, 0);
}

/** Timer 0 with `bits` and the route that was chosen, its comparator at `microseconds`. */
function arm(guest: GuestProgram, bits: number, microseconds: number): void {
  const { op } = guest;
  op.mov(eax, dword("hpet_pin"));
  op.shl(eax, 9);
  op.or(eax, bits);
  writeEax(guest, HPET.timer);
  ticks(guest, microseconds);
  op.mov(ebx, eax);
  writeEax(guest, HPET.comparator);
  if ((bits & PERIODIC) !== 0) {
    op.mov(eax, ebx);
    writeEax(guest, HPET.comparator);
  } else write(guest, HPET.comparator + 4, 0);
}

/** The redirection entry of the chosen input, for this processor. */
function routeTimer(guest: GuestProgram, entry: number): void {
  const { op } = guest;
  op.mov(ecx, dword("hpet_pin"));
  op.lea(ecx, memory({ base: rcx, index: rcx, displacement: 0x11 }));
  op.mov(eax, dword("apic_id"));
  op.shl(eax, 24);
  op.call("ioapic_write");
  op.mov(ecx, dword("hpet_pin"));
  op.lea(ecx, memory({ base: rcx, index: rcx, displacement: 0x10 }));
  op.mov(eax, entry);
  op.call("ioapic_write");
}

function startOver(guest: GuestProgram): void {
  guest.skipUnless("hpet_base", NONE);
  stop(guest);
  clearCount(guest, V);
  setAction(guest, V, "apic_end_of_interrupt");
}

function finish(guest: GuestProgram): void {
  stop(guest);
  routeTimer(guest, MASKED | V);
  letInterruptsIn(guest);
}

export const HPET_TIMERS: CheckGroup = {
  title: "High precision event timer",
  routines: (guest) => {
    const { op } = guest;
    for (const name of ["hpet_base", "hpet_pin", "hpet_messages"]) guest.variable(name);
    // A level's handler: the status bit is what ends it.
    guest.routine("hpet_level", () => {
      write(guest, HPET.status, 1);
      op.call("apic_end_of_interrupt");
    });
  },
  begin: (guest) => {
    const { asm, op } = guest;
    const none = asm.unique("none");
    op.mov(eax, signature("HPET"));
    op.call("acpi_find");
    op.test(rax, rax);
    op.jz(none);
    op.mov(rax, qword(rax, 44));
    op.mov(rcx, rax);
    op.shr(rcx, 32);
    op.jnz(none);
    op.mov(qword("hpet_base"), rax);
    // The lowest input that timer 0 can have.
    read(guest, HPET.routes);
    op.xor(ecx, ecx);
    const found = asm.unique("found");
    guest.repeat(
      () => {
        op.mov(edx, eax);
        op.shr(edx, cl);
        op.test(edx, 1);
        op.jnz(found);
        op.inc(ecx);
        op.cmp(ecx, 32);
      },
      (again) => op.jb(again),
    );
    asm.label(found);
    op.mov(qword("hpet_pin"), rcx);
    read(guest, HPET.timer);
    op.shr(eax, 15);
    op.and(eax, 1);
    op.mov(qword("hpet_messages"), rax);
    asm.label(none);
  },
  end: (guest) => {
    guest.unless(
      (over) => {
        guest.op.cmp(qword("hpet_base"), 0);
        guest.op.je(over);
      },
      () => stop(guest),
    );
  },
  checks: [
    {
      name: "hpet-counts",
      rule: "The main counter counts at the period that it tells, 2 % more or less, and stands still while it is disabled",
      clause: "HPET 1.0a, 2.3.4, 2.3.5 and 2.3.7",
      write: (guest) => {
        const { op } = guest;
        startOver(guest);
        waitMicroseconds(guest, 50);
        read(guest, HPET.counter);
        guest.expect(0);
        read(guest, HPET.period);
        guest.expect(1, 100_000_000);
        write(guest, HPET.configuration, ENABLE);
        op.call("set_mark");
        waitMicroseconds(guest, 2000);
        op.call("since_mark");
        op.mov(rbx, rax);
        read(guest, HPET.counter);
        op.mov(edi, eax);
        read(guest, HPET.period);
        op.mul(rdi);
        op.mov(rcx, 1_000_000);
        op.div(rcx);
        // Per mille of the TSC's microseconds.
        op.xor(edx, edx);
        op.div(rbx);
        guest.expect(980, 1020);
        stop(guest);
      },
    },
    {
      name: "hpet-counter-is-written-halted",
      rule: "The counter takes a value while it is halted, and goes on from there",
      clause: "HPET 1.0a, 2.3.7",
      write: (guest) => {
        startOver(guest);
        write(guest, HPET.counter, 0x12340000);
        write(guest, HPET.counter + 4, 0x77);
        read(guest, HPET.counter + 4);
        guest.expect(0x77);
        write(guest, HPET.configuration, ENABLE);
        read(guest, HPET.counter);
        guest.expect(0x12340000, 0x1234ffff);
        stop(guest);
      },
    },
    {
      name: "hpet-one-shot",
      rule: "A timer interrupts once, when the counter reaches its comparator",
      clause: "HPET 1.0a, 2.3.9.2.1",
      write: (guest) => {
        startOver(guest);
        routeTimer(guest, V);
        arm(guest, INTERRUPT, 500);
        guest.op.call("set_mark");
        write(guest, HPET.configuration, ENABLE);
        waitFor(guest, "vector_count", V * 8, 1, 100_000);
        guest.op.call("since_mark");
        guest.expect(490, 100_000);
        guest.op.sti();
        waitMicroseconds(guest, 1000);
        guest.op.cli();
        expectCount(guest, V, 1);
        finish(guest);
      },
    },
    {
      name: "hpet-periodic",
      rule: "A periodic timer interrupts once in a period",
      clause: "HPET 1.0a, 2.3.9.2.2",
      write: (guest) => {
        startOver(guest);
        routeTimer(guest, V);
        arm(guest, INTERRUPT | PERIODIC | SET_VALUE | ONLY_32_BITS, 500);
        guest.op.call("set_mark");
        write(guest, HPET.configuration, ENABLE);
        waitFor(guest, "vector_count", V * 8, 5, 100_000);
        guest.op.call("since_mark");
        guest.expect(2450, 100_000);
        finish(guest);
      },
    },
    {
      name: "hpet-level",
      rule: "A level-triggered timer shows in the status register, and interrupts until 1 is written there",
      clause: "HPET 1.0a, 2.3.6 and 2.3.8",
      write: (guest) => {
        const { op } = guest;
        startOver(guest);
        setAction(guest, V, "hpet_level");
        routeTimer(guest, 0x8000 | V);
        arm(guest, INTERRUPT | LEVEL, 100);
        write(guest, HPET.configuration, ENABLE);
        waitMicroseconds(guest, 300);
        read(guest, HPET.status);
        op.and(eax, 1);
        guest.expect(1);
        op.sti();
        waitMicroseconds(guest, 20);
        op.cli();
        expectCount(guest, V, 1);
        read(guest, HPET.status);
        op.and(eax, 1);
        guest.expect(0);
        finish(guest);
      },
    },
    {
      name: "hpet-32-bits",
      rule: "In 32-bit mode the upper half of the comparator is 0",
      clause: "HPET 1.0a, 2.3.8 (Tn_32MODE_CNF)",
      write: (guest) => {
        startOver(guest);
        write(guest, HPET.timer, ONLY_32_BITS);
        write(guest, HPET.comparator, 0x89abcdef);
        read(guest, HPET.comparator);
        guest.expect(0x89abcdef);
        read(guest, HPET.comparator + 4);
        guest.expect(0);
        stop(guest);
      },
    },
    {
      name: "hpet-legacy-replacement",
      rule: "In legacy replacement timer 0 is interrupt 0, and the 8254 is cut off from it",
      clause: "HPET 1.0a, 2.3.5 (LEG_RT_CNF)",
      write: (guest) => {
        startOver(guest);
        route(guest, 0, V);
        arm(guest, INTERRUPT, 500);
        write(guest, HPET.configuration, ENABLE | LEGACY);
        waitFor(guest, "vector_count", V * 8, 1, 100_000);
        guest.expect(1);
        write(guest, HPET.configuration, 0);
        route(guest, 0, MASKED | V);
        finish(guest);
      },
    },
    {
      name: "hpet-message",
      rule: "With FSB delivery a match is a message to the local APIC",
      clause: "HPET 1.0a, 2.3.10",
      write: (guest) => {
        const { op } = guest;
        startOver(guest);
        guest.skipUnless("hpet_messages", "the timer sends no messages");
        op.mov(eax, dword("apic_id"));
        op.shl(eax, 12);
        op.or(eax, 0xfee00000);
        writeEax(guest, HPET.message + 4);
        write(guest, HPET.message, V);
        arm(guest, INTERRUPT | BY_MESSAGE, 100);
        write(guest, HPET.configuration, ENABLE);
        waitFor(guest, "vector_count", V * 8, 1, 100_000);
        guest.expect(1);
        finish(guest);
      },
    },
  ],
};
