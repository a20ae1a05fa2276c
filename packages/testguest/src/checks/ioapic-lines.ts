/* What the I/O APIC makes of its inputs: edges, levels, remote IRR, masks, polarity, delivery modes. */
import { al, dword, eax, ebx, ecx, qword, rax, rdx } from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC, apicRead, apicWrite, expectApic, outByte, PIC } from "../runtime/interrupt-controllers.ts";
import { lowerAt, NO_LINES, setLine } from "../runtime/interrupt-lines.ts";
import { clearCount, expectCount, letInterruptsIn, setAction, VECTOR } from "../runtime/interrupts.ts";
import { waitMicroseconds } from "../runtime/time.ts";
import type { Check, CheckGroup } from "./check.ts";

/** Two inputs that no device of a PC drives: the second parallel port's and the second IDE channel's. */
const PIN = 5;
const OTHER_PIN = 15;
const V = VECTOR.line;
const OTHER = VECTOR.otherLine;

/** Bits of a redirection entry's low half. */
const ENTRY = {
  lowestPriority: 0x100,
  nmi: 0x400,
  external: 0x700,
  logical: 0x800,
  activeLow: 0x2000,
  remote: 0x4000,
  level: 0x8000,
  masked: 0x10000,
} as const;

/** Register 0x40 of the I/O APIC's page: EOI, from version 0x20 on. */
const EOI_REGISTER = 0x40;
const SUPPRESS_BROADCAST = 0x1000;

function writeRegister(guest: GuestProgram, register: number, value: number): void {
  const { op } = guest;
  op.mov(ecx, register);
  op.mov(eax, value);
  op.call("ioapic_write");
}

function readRegister(guest: GuestProgram, register: number): void {
  guest.op.mov(ecx, register);
  guest.op.call("ioapic_read");
}

/** Routes `pin` to this processor, by its physical id. */
function routePin(guest: GuestProgram, pin: number, low: number): void {
  const { op } = guest;
  op.mov(ecx, 0x11 + 2 * pin);
  op.mov(eax, dword("apic_id"));
  op.shl(eax, 24);
  op.call("ioapic_write");
  writeRegister(guest, 0x10 + 2 * pin, low);
}

function maskPin(guest: GuestProgram, pin: number): void {
  writeRegister(guest, 0x10 + 2 * pin, ENTRY.masked | V);
}

/** The entry's bits under `mask` are kept, and must be `wanted`. */
function expectEntry(guest: GuestProgram, pin: number, mask: number, wanted: number): void {
  readRegister(guest, 0x10 + 2 * pin);
  guest.op.and(eax, mask);
  guest.expect(wanted);
}

function startOver(guest: GuestProgram): void {
  for (const vector of [V, OTHER]) {
    setAction(guest, vector, "apic_end_of_interrupt");
    clearCount(guest, vector);
  }
}

/** A rising edge or level, interrupts let in, and what has been counted by then. */
function raise(guest: GuestProgram, line: number, level: 0 | 1, count: number, vector: number = V): void {
  setLine(guest, line, level);
  letInterruptsIn(guest);
  expectCount(guest, vector, count);
}

/** A check that needs lines it can move; afterwards both are low, and their entries masked. */
function onLines(name: string, rule: string, clause: string, write: (guest: GuestProgram) => void): Check {
  return {
    name,
    rule,
    clause,
    write: (guest) => {
      guest.skipUnless("has_lines", NO_LINES);
      startOver(guest);
      write(guest);
      for (const pin of [PIN, OTHER_PIN]) {
        setLine(guest, pin, 0);
        maskPin(guest, pin);
      }
      // What an entry still held in service is over with it.
      guest.op.call("apic_end_of_interrupt");
      letInterruptsIn(guest);
    },
  };
}

export const IOAPIC_LINES: CheckGroup = {
  title: "I/O APIC: inputs",
  routines: (guest) => guest.variable("has_suppression"),
  begin: (guest) => {
    const { op } = guest;
    apicRead(guest, APIC.version);
    op.shr(eax, 24);
    op.and(eax, 1);
    op.mov(qword("has_suppression"), rax);
    // As firmware leaves them, whatever was done before.
    for (const pin of [PIN, OTHER_PIN]) maskPin(guest, pin);
  },
  checks: [
    {
      name: "ioapic-id-bits",
      rule: "Of the id register bits 27:24 are kept, and the version register takes no writes",
      clause: "82093AA, 3.2.1 and 3.2.2",
      write: (guest) => {
        const { op } = guest;
        readRegister(guest, 0);
        op.mov(ebx, eax);
        writeRegister(guest, 0, 0x0a000000);
        readRegister(guest, 0);
        guest.expect(0x0a000000);
        op.mov(ecx, 0);
        op.mov(eax, ebx);
        op.call("ioapic_write");
        readRegister(guest, 1);
        op.mov(ebx, eax);
        writeRegister(guest, 1, 0xffffffff);
        readRegister(guest, 1);
        op.xor(eax, ebx);
        guest.expect(0);
      },
    },
    onLines(
      "ioapic-edge",
      "An edge-triggered input interrupts once for every rise, however long it stays up",
      "82093AA, 3.2.4 (bit 15)",
      (guest) => {
        routePin(guest, PIN, V);
        raise(guest, PIN, 1, 1);
        raise(guest, PIN, 1, 1);
        raise(guest, PIN, 0, 1);
        raise(guest, PIN, 1, 2);
      },
    ),
    onLines(
      "ioapic-edge-masked",
      "An edge that comes while the entry is masked is lost",
      "82093AA, 3.2.4 (bit 16)",
      (guest) => {
        routePin(guest, PIN, ENTRY.masked | V);
        setLine(guest, PIN, 1);
        writeRegister(guest, 0x10 + 2 * PIN, V);
        letInterruptsIn(guest);
        expectCount(guest, V, 0);
        raise(guest, PIN, 0, 0);
        raise(guest, PIN, 1, 1);
      },
    ),
    onLines(
      "ioapic-level",
      "A level that is still up after EOI interrupts again, until it falls",
      "82093AA, 3.2.4 (bits 14 and 15)",
      (guest) => {
        setAction(guest, V, "level_interrupt_apic");
        lowerAt(guest, PIN, 5);
        routePin(guest, PIN, ENTRY.level | V);
        setLine(guest, PIN, 1);
        guest.op.sti();
        waitMicroseconds(guest, 50);
        guest.op.cli();
        expectCount(guest, V, 5);
      },
    ),
    onLines(
      "ioapic-level-masked",
      "A masked level interrupts when it is unmasked, if it is still up then",
      "82093AA, 3.2.4 (bit 16)",
      (guest) => {
        setAction(guest, V, "level_interrupt_apic");
        lowerAt(guest, PIN, 1);
        routePin(guest, PIN, ENTRY.masked | ENTRY.level | V);
        raise(guest, PIN, 1, 0);
        raise(guest, PIN, 0, 0);
        writeRegister(guest, 0x10 + 2 * PIN, ENTRY.level | V);
        letInterruptsIn(guest);
        expectCount(guest, V, 0);
        writeRegister(guest, 0x10 + 2 * PIN, ENTRY.masked | ENTRY.level | V);
        raise(guest, PIN, 1, 0);
        writeRegister(guest, 0x10 + 2 * PIN, ENTRY.level | V);
        letInterruptsIn(guest);
        expectCount(guest, V, 1);
      },
    ),
    onLines(
      "ioapic-remote-irr",
      "Remote IRR is 1 from a level's acceptance until the EOI of its vector, and the local APIC's TMR says level",
      "82093AA, 3.2.4 (bit 14)",
      (guest) => {
        setAction(guest, V, undefined);
        routePin(guest, PIN, ENTRY.level | V);
        expectEntry(guest, PIN, ENTRY.remote, 0);
        setLine(guest, PIN, 1);
        expectEntry(guest, PIN, ENTRY.remote, ENTRY.remote);
        letInterruptsIn(guest);
        expectCount(guest, V, 1);
        setLine(guest, PIN, 0);
        expectEntry(guest, PIN, ENTRY.remote, ENTRY.remote);
        expectApic(guest, APIC.triggerMode + 0x10 * (V >> 5), 1 << (V & 31), 1 << (V & 31));
        guest.op.call("apic_end_of_interrupt");
        expectEntry(guest, PIN, ENTRY.remote, 0);
      },
    ),
    onLines(
      "ioapic-remote-irr-edge",
      "An edge-triggered entry has no remote IRR, and TMR says edge",
      "82093AA, 3.2.4 (bit 14)",
      (guest) => {
        setAction(guest, V, undefined);
        routePin(guest, PIN, V);
        raise(guest, PIN, 1, 1);
        expectEntry(guest, PIN, ENTRY.remote, 0);
        expectApic(guest, APIC.triggerMode + 0x10 * (V >> 5), 0, 1 << (V & 31));
        guest.op.call("apic_end_of_interrupt");
      },
    ),
    onLines(
      "ioapic-remote-irr-mode-change",
      "An entry that is switched to edge loses remote IRR, also while it is masked",
      "82093AA, 3.2.4 (bit 14), as systems without an EOI register use it",
      (guest) => {
        setAction(guest, V, undefined);
        routePin(guest, PIN, ENTRY.level | V);
        raise(guest, PIN, 1, 1);
        setLine(guest, PIN, 0);
        writeRegister(guest, 0x10 + 2 * PIN, ENTRY.masked | V);
        writeRegister(guest, 0x10 + 2 * PIN, ENTRY.masked | ENTRY.level | V);
        expectEntry(guest, PIN, ENTRY.remote, 0);
        guest.op.call("apic_end_of_interrupt");
      },
    ),
    onLines(
      "ioapic-eoi-register",
      "With EOI broadcasts suppressed remote IRR stays until the vector is written to the EOI register",
      "SDM 3A, 11.8.5; I/O APIC version 0x20, EOI register",
      (guest) => {
        const { op } = guest;
        guest.skipUnless("has_suppression", "the local APIC cannot suppress EOI broadcasts");
        apicWrite(guest, APIC.spurious, 0x100 | SUPPRESS_BROADCAST | VECTOR.spurious);
        routePin(guest, PIN, ENTRY.level | V);
        raise(guest, PIN, 1, 1);
        setLine(guest, PIN, 0);
        expectEntry(guest, PIN, ENTRY.remote, ENTRY.remote);
        for (const [vector, remote] of [
          [OTHER, ENTRY.remote],
          [V, 0],
        ] as const) {
          op.mov(rdx, qword("ioapic_base"));
          op.mov(dword(rdx, EOI_REGISTER), vector);
          expectEntry(guest, PIN, ENTRY.remote, remote);
        }
        apicWrite(guest, APIC.spurious, 0x100 | VECTOR.spurious);
      },
    ),
    onLines(
      "ioapic-active-low",
      "With polarity low the falling edge interrupts, and a low level does until it rises",
      "82093AA, 3.2.4 (bit 13)",
      (guest) => {
        setLine(guest, PIN, 1);
        routePin(guest, PIN, ENTRY.activeLow | V);
        clearCount(guest, V);
        raise(guest, PIN, 0, 1);
        raise(guest, PIN, 1, 1);
        routePin(guest, PIN, ENTRY.activeLow | ENTRY.level | V);
        setAction(guest, V, undefined);
        raise(guest, PIN, 0, 2);
        setLine(guest, PIN, 1);
        guest.op.call("apic_end_of_interrupt");
        letInterruptsIn(guest);
        expectCount(guest, V, 2);
        maskPin(guest, PIN);
      },
    ),
    onLines(
      "ioapic-logical-destination",
      "With bit 11 the destination is a logical one",
      "82093AA, 3.2.4 (bits 11 and 63:56)",
      (guest) => {
        apicWrite(guest, APIC.destinationFormat, 0xffffffff);
        apicWrite(guest, APIC.logicalDestination, 0x10000000);
        writeRegister(guest, 0x11 + 2 * PIN, 0xef000000);
        writeRegister(guest, 0x10 + 2 * PIN, ENTRY.logical | V);
        raise(guest, PIN, 1, 0);
        setLine(guest, PIN, 0);
        writeRegister(guest, 0x11 + 2 * PIN, 0x30000000);
        raise(guest, PIN, 1, 1);
        setLine(guest, PIN, 0);
        writeRegister(guest, 0x10 + 2 * PIN, ENTRY.logical | ENTRY.lowestPriority | V);
        raise(guest, PIN, 1, 2);
        apicWrite(guest, APIC.logicalDestination, 0);
      },
    ),
    onLines(
      "ioapic-nmi",
      "In NMI mode an edge is an NMI, whatever vector the entry has",
      "82093AA, 3.2.4 (bits 10:8)",
      (guest) => {
        clearCount(guest, VECTOR.nonMaskable);
        routePin(guest, PIN, ENTRY.nmi | V);
        setLine(guest, PIN, 1);
        guest.op.nop();
        expectCount(guest, VECTOR.nonMaskable, 1);
        letInterruptsIn(guest);
        expectCount(guest, V, 0);
      },
    ),
    onLines(
      "ioapic-two-inputs",
      "Of two inputs that rise together the higher vector is taken first, and none is lost",
      "SDM 3A, 11.8.4; 82093AA, 3.2.4",
      (guest) => {
        routePin(guest, PIN, V);
        routePin(guest, OTHER_PIN, VECTOR.highPriority);
        setAction(guest, VECTOR.highPriority, undefined);
        clearCount(guest, VECTOR.highPriority);
        setLine(guest, PIN, 1);
        setLine(guest, OTHER_PIN, 1);
        letInterruptsIn(guest);
        expectCount(guest, VECTOR.highPriority, 1);
        expectCount(guest, V, 0);
        guest.op.call("apic_end_of_interrupt");
        letInterruptsIn(guest);
        expectCount(guest, V, 1);
      },
    ),
    onLines(
      "ioapic-shared-vector",
      "Two level inputs with one vector are both ended by its EOI, and the one still up interrupts again",
      "82093AA, 3.2.4 (bit 14)",
      (guest) => {
        setAction(guest, V, undefined);
        for (const pin of [PIN, OTHER_PIN]) {
          routePin(guest, pin, ENTRY.level | V);
          setLine(guest, pin, 1);
        }
        letInterruptsIn(guest);
        setLine(guest, PIN, 0);
        guest.op.call("apic_end_of_interrupt");
        expectEntry(guest, PIN, ENTRY.remote, 0);
        expectEntry(guest, OTHER_PIN, ENTRY.remote, ENTRY.remote);
        letInterruptsIn(guest);
        expectCount(guest, V, 2);
        setLine(guest, OTHER_PIN, 0);
        guest.op.call("apic_end_of_interrupt");
        expectEntry(guest, OTHER_PIN, ENTRY.remote, 0);
      },
    ),
    onLines(
      "ioapic-8259-is-apart",
      "An input that the 8259 pair has masked reaches the I/O APIC all the same, and the other way round",
      "MPS, 3.6.2.3",
      (guest) => {
        const { op } = guest;
        op.call("pic_setup");
        routePin(guest, PIN, V);
        raise(guest, PIN, 1, 1);
        maskPin(guest, PIN);
        outByte(guest, PIC.master, 0x0a);
        op.in(al, PIC.master);
        op.and(eax, 1 << PIN);
        guest.expect(1 << PIN);
      },
    ),
  ],
};
