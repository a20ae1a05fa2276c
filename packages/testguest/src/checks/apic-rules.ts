/* The local APIC's registers, errors, priorities, states and destinations, as one processor can try them on itself. */
import { cr8, dword, eax, ebx, ecx, edx, qword, rax, rbx, rcx } from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC, apicRead, apicWrite, expectApic, LVT } from "../runtime/interrupt-controllers.ts";
import {
  catching,
  clearCount,
  counting,
  countOf,
  expectCount,
  letInterruptsIn,
  setAction,
  VECTOR,
} from "../runtime/interrupts.ts";
import { waitFor, waitMicroseconds } from "../runtime/time.ts";
import type { CheckGroup } from "./check.ts";
import { sendToSelf } from "./local-apic.ts";

const LOW = VECTOR.lowPriority;
const HIGH = VECTOR.highPriority;
const ENABLED = 0x100 | VECTOR.spurious;
/** ICR bits. */
const LOWEST_PRIORITY = 0x100;
const LOGICAL = 0x800;
const ALL = 0x80000;
const ALL_BUT_SELF = 0xc0000;
/** ESR bits. */
const SEND_ILLEGAL = 0x20;
const RECEIVE_ILLEGAL = 0x40;
/** IA32_APIC_BASE bits. */
const APIC_BASE = 0x1b;
const X2APIC_ENABLE = 0x400;
const APIC_ENABLE = 0x800;

/** Counts at zero, and handlers that end their interrupt. */
function startOver(guest: GuestProgram): void {
  for (const vector of [LOW, HIGH, VECTOR.apicError]) {
    setAction(guest, vector, "apic_end_of_interrupt");
    clearCount(guest, vector);
  }
}

/** The vector's handler leaves it in service. */
function keepInService(guest: GuestProgram, vector: number): void {
  setAction(guest, vector, undefined);
}

function sendTo(guest: GuestProgram, destination: number, command: number): void {
  guest.op.mov(edx, destination);
  guest.op.mov(eax, command);
  guest.op.call("send_ipi");
}

/** Sends itself a vector below 16; where that arrives after all, it is an interrupt and no exception. */
function sendIllegal(guest: GuestProgram, vector: number): void {
  setAction(guest, vector, "apic_end_of_interrupt");
  sendToSelf(guest, vector);
  letInterruptsIn(guest);
  setAction(guest, vector, "exception");
}

/** What of the errors has been latched is kept, and must be `wanted` under `mask` at the check's end. */
function expectErrors(guest: GuestProgram, wanted: number, mask: number): void {
  apicWrite(guest, APIC.errorStatus, 0);
  expectApic(guest, APIC.errorStatus, wanted, mask);
}

function clearErrors(guest: GuestProgram): void {
  apicWrite(guest, APIC.errorStatus, 0);
  apicWrite(guest, APIC.errorStatus, 0);
}

/** The bit of `vector` in one of the three 256-bit registers is kept; it must be `wanted`. */
function expectVectorBit(guest: GuestProgram, register: number, vector: number, wanted: 0 | 1): void {
  apicRead(guest, register + 0x10 * (vector >> 5));
  guest.op.shr(eax, vector & 31);
  guest.op.and(eax, 1);
  guest.expect(wanted);
}

/** IA32_APIC_BASE with bits set and cleared. */
function changeBase(guest: GuestProgram, set: number, clear: number): void {
  const { op } = guest;
  op.mov(ecx, APIC_BASE);
  op.rdmsr();
  op.or(eax, set);
  op.and(eax, ~clear);
  op.wrmsr();
}

export const APIC_RULES: CheckGroup = {
  title: "Local APIC: registers, errors, priorities and states",
  begin: startOver,
  checks: [
    {
      name: "apic-read-only-registers",
      rule: "Writes to version, processor priority, in-service, request and current-count registers change nothing",
      clause: "SDM 3A, 11.4.1 (table 11-1)",
      write: (guest) => {
        const { op } = guest;
        const registers = [
          APIC.version,
          APIC.processorPriority,
          APIC.inService,
          APIC.requests,
          APIC.currentCount,
        ];
        clearErrors(guest);
        for (const register of registers) {
          apicRead(guest, register);
          op.mov(ebx, eax);
          apicWrite(guest, register, 0xffffffff);
          apicRead(guest, register);
          op.xor(eax, ebx);
          guest.expect(0);
        }
        clearErrors(guest);
      },
    },
    {
      name: "apic-destination-format-bits",
      rule: "Of the destination format only bits 31:28 are kept, the rest reads 1; of the logical id bits 31:24",
      clause: "SDM 3A, 11.6.2.2 (figures 11-13, 11-14)",
      write: (guest) => {
        apicWrite(guest, APIC.destinationFormat, 0);
        expectApic(guest, APIC.destinationFormat, 0x0fffffff);
        apicWrite(guest, APIC.destinationFormat, 0xffffffff);
        expectApic(guest, APIC.destinationFormat, 0xffffffff);
        apicWrite(guest, APIC.logicalDestination, 0xa5ffffff);
        expectApic(guest, APIC.logicalDestination, 0xa5000000);
        apicWrite(guest, APIC.logicalDestination, 0);
      },
    },
    {
      name: "apic-divide-bits",
      rule: "The divide configuration keeps bits 3, 1 and 0",
      clause: "SDM 3A, 11.5.4 (figure 11-10)",
      write: (guest) => {
        apicWrite(guest, APIC.divide, 0xffffffff);
        expectApic(guest, APIC.divide, 0xb);
        apicWrite(guest, APIC.divide, 3);
        expectApic(guest, APIC.divide, 3);
      },
    },
    {
      name: "apic-processor-priority",
      rule: "The processor priority is the task priority, low nibble too, or the class in service, whichever class is higher",
      clause: "SDM 3A, 11.8.3.1 (processor priority register)",
      write: (guest) => {
        const { op } = guest;
        startOver(guest);
        keepInService(guest, HIGH);
        apicWrite(guest, APIC.taskPriority, 0x37);
        expectApic(guest, APIC.processorPriority, 0x37);
        sendToSelf(guest, HIGH);
        letInterruptsIn(guest);
        expectApic(guest, APIC.processorPriority, HIGH & 0xf0);
        for (const priority of [0x6b, 0x75]) {
          apicWrite(guest, APIC.taskPriority, priority);
          expectApic(guest, APIC.processorPriority, priority);
        }
        op.call("apic_end_of_interrupt");
        apicWrite(guest, APIC.taskPriority, 0);
        expectApic(guest, APIC.processorPriority, 0);
      },
    },
    {
      name: "apic-task-priority-class",
      rule: "Only classes above the task priority's are delivered: 0x40 holds back vector 0x45, 0x3F does not",
      clause: "SDM 3A, 11.8.3.1",
      write: (guest) => {
        startOver(guest);
        apicWrite(guest, APIC.taskPriority, 0x40);
        sendToSelf(guest, LOW);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 0);
        apicWrite(guest, APIC.taskPriority, 0x3f);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 1);
        apicWrite(guest, APIC.taskPriority, 0);
      },
    },
    {
      name: "cr8-clears-low-nibble",
      rule: "Writing the task priority keeps its low nibble; writing CR8 clears it; CR8 lets a waiting interrupt in",
      clause: "SDM 3A, 11.8.6",
      write: (guest) => {
        const { op } = guest;
        startOver(guest);
        apicWrite(guest, APIC.taskPriority, 0x5c);
        expectApic(guest, APIC.taskPriority, 0x5c);
        op.mov(rax, cr8);
        guest.expect(5);
        op.mov(eax, 4);
        op.mov(cr8, rax);
        expectApic(guest, APIC.taskPriority, 0x40);
        sendToSelf(guest, LOW);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 0);
        op.mov(eax, 3);
        op.mov(cr8, rax);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 1);
        op.xor(eax, eax);
        op.mov(cr8, rax);
      },
    },
    {
      name: "cr8-reserved-bits",
      rule: "A write to CR8 with any of bits 63:4 set raises #GP",
      clause: "SDM 3A, 11.8.6",
      write: (guest) => {
        const { op } = guest;
        catching(guest, VECTOR.generalProtection, () => {
          op.mov(ecx, 0x10);
          op.mov(cr8, rcx);
        });
        expectCount(guest, VECTOR.generalProtection, 1);
        op.mov(rax, cr8);
        guest.expect(0);
      },
    },
    {
      name: "apic-requests-and-service",
      rule: "A vector is in IRR until it is taken and in ISR until EOI; TMR says edge",
      clause: "SDM 3A, 11.8.4",
      write: (guest) => {
        startOver(guest);
        keepInService(guest, LOW);
        sendToSelf(guest, LOW);
        expectVectorBit(guest, APIC.requests, LOW, 1);
        expectVectorBit(guest, APIC.inService, LOW, 0);
        letInterruptsIn(guest);
        expectVectorBit(guest, APIC.requests, LOW, 0);
        expectVectorBit(guest, APIC.inService, LOW, 1);
        expectVectorBit(guest, APIC.triggerMode, LOW, 0);
        guest.op.call("apic_end_of_interrupt");
        expectVectorBit(guest, APIC.inService, LOW, 0);
      },
    },
    {
      name: "apic-equal-vectors-merge",
      rule: "A vector in service is kept once more however often it is sent, and taken again after EOI",
      clause: "SDM 3A, 11.8.4",
      write: (guest) => {
        startOver(guest);
        keepInService(guest, LOW);
        sendToSelf(guest, LOW);
        letInterruptsIn(guest);
        for (let i = 0; i < 3; i++) sendToSelf(guest, LOW);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 1);
        guest.op.call("apic_end_of_interrupt");
        letInterruptsIn(guest);
        expectCount(guest, LOW, 2);
        guest.op.call("apic_end_of_interrupt");
        letInterruptsIn(guest);
        expectCount(guest, LOW, 2);
      },
    },
    {
      name: "apic-eoi-ends-highest",
      rule: "A higher class interrupts one in service; an EOI ends the higher, the next one the lower",
      clause: "SDM 3A, 11.8.5",
      write: (guest) => {
        startOver(guest);
        keepInService(guest, LOW);
        keepInService(guest, HIGH);
        for (const vector of [LOW, HIGH]) {
          sendToSelf(guest, vector);
          letInterruptsIn(guest);
        }
        expectCount(guest, HIGH, 1);
        guest.op.call("apic_end_of_interrupt");
        expectVectorBit(guest, APIC.inService, HIGH, 0);
        expectVectorBit(guest, APIC.inService, LOW, 1);
        guest.op.call("apic_end_of_interrupt");
        expectVectorBit(guest, APIC.inService, LOW, 0);
      },
    },
    {
      name: "apic-eoi-without-service",
      rule: "An EOI with nothing in service does nothing: the next interrupt is as any other",
      clause: "SDM 3A, 11.8.5",
      write: (guest) => {
        startOver(guest);
        for (let i = 0; i < 3; i++) guest.op.call("apic_end_of_interrupt");
        keepInService(guest, LOW);
        sendToSelf(guest, LOW);
        letInterruptsIn(guest);
        expectVectorBit(guest, APIC.inService, LOW, 1);
        guest.op.call("apic_end_of_interrupt");
        expectVectorBit(guest, APIC.inService, LOW, 0);
      },
    },
    {
      name: "apic-error-is-latched",
      rule: "ESR shows errors only after a write to it, and the write after that clears them",
      clause: "SDM 3A, 11.5.3",
      write: (guest) => {
        clearErrors(guest);
        sendIllegal(guest, 5);
        expectApic(guest, APIC.errorStatus, 0, SEND_ILLEGAL | RECEIVE_ILLEGAL);
        expectErrors(guest, SEND_ILLEGAL, SEND_ILLEGAL);
        expectErrors(guest, 0, 0xff);
      },
    },
    {
      name: "apic-error-illegal-vectors",
      rule: "Sending any of vectors 0 to 15 is an error, ESR bit 5; 16 is none",
      clause: "SDM 3A, 11.5.2 and 11.5.3",
      write: (guest) => {
        for (const vector of [0, 15]) {
          clearErrors(guest);
          sendIllegal(guest, vector);
          expectErrors(guest, SEND_ILLEGAL, SEND_ILLEGAL);
        }
        clearErrors(guest);
        clearCount(guest, 16);
        setAction(guest, 16, "apic_end_of_interrupt");
        sendToSelf(guest, 16);
        letInterruptsIn(guest);
        setAction(guest, 16, "exception");
        expectErrors(guest, 0, 0xff);
        expectCount(guest, 16, 1);
      },
    },
    {
      name: "apic-error-interrupt",
      rule: "The first error interrupts through the error LVT; the next one does after a write to ESR",
      clause: "SDM 3A, 11.5.1 and 11.5.3",
      write: (guest) => {
        startOver(guest);
        clearErrors(guest);
        apicWrite(guest, APIC.error, VECTOR.apicError);
        sendIllegal(guest, 3);
        letInterruptsIn(guest);
        expectCount(guest, VECTOR.apicError, 1);
        apicWrite(guest, APIC.errorStatus, 0);
        sendIllegal(guest, 3);
        letInterruptsIn(guest);
        expectCount(guest, VECTOR.apicError, 2);
        apicWrite(guest, APIC.error, LVT.masked | VECTOR.apicError);
        clearErrors(guest);
        sendIllegal(guest, 3);
        letInterruptsIn(guest);
        expectCount(guest, VECTOR.apicError, 2);
        clearErrors(guest);
      },
    },
    {
      name: "apic-error-local-vector",
      rule: "A local interrupt whose vector is below 16 is not delivered and sets ESR bit 6",
      clause: "SDM 3A, 11.5.2 and 11.5.3 (receive illegal vector)",
      write: (guest) => {
        clearErrors(guest);
        setAction(guest, 7, "apic_end_of_interrupt");
        apicWrite(guest, APIC.timer, 7);
        apicWrite(guest, APIC.initialCount, 10);
        guest.op.sti();
        waitMicroseconds(guest, 50);
        guest.op.cli();
        setAction(guest, 7, "exception");
        apicWrite(guest, APIC.timer, LVT.masked | VECTOR.timer);
        expectErrors(guest, RECEIVE_ILLEGAL, RECEIVE_ILLEGAL);
        clearErrors(guest);
      },
    },
    {
      name: "apic-software-disable-masks",
      rule: "While it is software-disabled all local interrupts are masked, cannot be unmasked, and stay so afterwards",
      clause: "SDM 3A, 11.4.7.2",
      write: (guest) => {
        for (const register of [APIC.timer, APIC.lint1]) apicWrite(guest, register, VECTOR.timer);
        apicWrite(guest, APIC.spurious, VECTOR.spurious);
        for (const register of [APIC.timer, APIC.lint1]) {
          expectApic(guest, register, LVT.masked | VECTOR.timer, LVT.masked | 0xff);
          apicWrite(guest, register, VECTOR.timer);
          expectApic(guest, register, LVT.masked, LVT.masked);
        }
        apicWrite(guest, APIC.spurious, ENABLED);
        for (const register of [APIC.timer, APIC.lint1]) {
          expectApic(guest, register, LVT.masked, LVT.masked);
          apicWrite(guest, register, LVT.masked);
        }
      },
    },
    {
      name: "apic-software-disabled-fixed",
      rule: "Software-disabled it takes no fixed interrupt, but NMIs as ever",
      clause: "SDM 3A, 11.4.7.2",
      write: (guest) => {
        const { op } = guest;
        startOver(guest);
        clearCount(guest, VECTOR.nonMaskable);
        apicWrite(guest, APIC.spurious, VECTOR.spurious);
        op.mov(edx, dword("apic_id"));
        op.mov(eax, LOW);
        op.call("send_ipi");
        op.mov(edx, dword("apic_id"));
        op.mov(eax, LVT.nmi);
        op.call("send_ipi");
        op.nop();
        expectCount(guest, VECTOR.nonMaskable, 1);
        apicWrite(guest, APIC.spurious, ENABLED);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 0);
      },
    },
    {
      name: "apic-software-disable-keeps",
      rule: "What was requested before it was software-disabled is still requested after it",
      clause: "SDM 3A, 11.4.7.2",
      write: (guest) => {
        startOver(guest);
        sendToSelf(guest, LOW);
        apicWrite(guest, APIC.spurious, VECTOR.spurious);
        expectVectorBit(guest, APIC.requests, LOW, 1);
        apicWrite(guest, APIC.spurious, ENABLED);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 1);
      },
    },
    {
      name: "apic-base-disable-resets",
      rule: "Disabled by IA32_APIC_BASE it is gone from CPUID, and enabled again it is as after reset",
      clause: "SDM 3A, 11.4.3 and 11.4.7.1",
      write: (guest) => {
        const { op } = guest;
        apicWrite(guest, APIC.taskPriority, 0x30);
        apicWrite(guest, APIC.logicalDestination, 0x12000000);
        const cpuidBit = (): void => {
          op.mov(eax, 1);
          op.xor(ecx, ecx);
          op.cpuid();
          op.mov(eax, edx);
          op.shr(eax, 9);
          op.and(eax, 1);
        };
        changeBase(guest, 0, APIC_ENABLE);
        cpuidBit();
        guest.expect(0);
        changeBase(guest, APIC_ENABLE, 0);
        cpuidBit();
        guest.expect(1);
        expectApic(guest, APIC.spurious, 0xff);
        expectApic(guest, APIC.taskPriority, 0);
        expectApic(guest, APIC.logicalDestination, 0);
        expectApic(guest, APIC.destinationFormat, 0xffffffff);
        expectApic(guest, APIC.timer, LVT.masked);
        expectApic(guest, APIC.error, LVT.masked);
        op.call("apic_setup");
      },
    },
    {
      name: "apic-base-faults",
      rule: "IA32_APIC_BASE takes no reserved bits, and no x2APIC mode without the enable bit",
      clause: "SDM 3A, 11.4.4 and 11.12.5",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        for (const [set, clear] of [
          [1, 0],
          [0x200, 0],
          [X2APIC_ENABLE, APIC_ENABLE],
        ] as const) {
          catching(guest, VECTOR.generalProtection, () => changeBase(guest, set, clear));
          expectCount(guest, VECTOR.generalProtection, 1);
        }
        changeBase(guest, 0, APIC_ENABLE);
        // From "disabled" there is no direct way to x2APIC mode.
        catching(guest, VECTOR.generalProtection, () => changeBase(guest, X2APIC_ENABLE | APIC_ENABLE, 0));
        expectCount(guest, VECTOR.generalProtection, 1);
        changeBase(guest, APIC_ENABLE, 0);
        op.call("apic_setup");
      },
    },
  ],
};

export const APIC_DESTINATIONS: CheckGroup = {
  title: "Local APIC: destinations and NMIs",
  begin: startOver,
  routines: (guest) => {
    const { op } = guest;
    for (const name of ["nmi_armed", "nmi_seen", "nmi_inner"]) guest.variable(name);
    // The first NMI sends three more, returns from a breakpoint in between if nmi_inner is set, and counts what got in.
    guest.routineKeeping("nmi_sends_more", [rbx], () => {
      guest.unless(
        (over) => {
          op.cmp(qword("nmi_armed"), 0);
          op.je(over);
        },
        () => {
          op.mov(qword("nmi_armed"), 0);
          op.mov(ebx, 3);
          guest.repeat(
            () => {
              op.mov(edx, dword("apic_id"));
              op.mov(eax, LVT.nmi);
              op.call("send_ipi");
            },
            (again) => {
              op.dec(ebx);
              op.jnz(again);
            },
          );
          guest.unless(
            (over) => {
              op.cmp(qword("nmi_inner"), 0);
              op.je(over);
            },
            () => op.int3(),
          );
          for (let i = 0; i < 4; i++) op.nop();
          op.mov(rax, countOf(VECTOR.nonMaskable));
          op.mov(qword("nmi_seen"), rax);
        },
      );
    });
  },
  checks: [
    {
      name: "apic-physical-destinations",
      rule: "An interrupt to its own physical id arrives, one to an id that nobody has does not",
      clause: "SDM 3A, 11.6.2.1",
      write: (guest) => {
        const { op } = guest;
        startOver(guest);
        sendTo(guest, 0xee, LOW);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 0);
        op.mov(edx, dword("apic_id"));
        op.mov(eax, LOW);
        op.call("send_ipi");
        letInterruptsIn(guest);
        expectCount(guest, LOW, 1);
        clearErrors(guest);
      },
    },
    {
      name: "apic-physical-broadcast",
      rule: "Physical destination 0xFF is everybody, the sender too",
      clause: "SDM 3A, 11.6.2.1",
      write: (guest) => {
        startOver(guest);
        sendTo(guest, 0xff, LOW);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 1);
      },
    },
    {
      name: "apic-shorthands",
      rule: "The shorthand for all reaches the sender, the one for all but self does not",
      clause: "SDM 3A, 11.6.1",
      write: (guest) => {
        startOver(guest);
        sendTo(guest, 0, ALL_BUT_SELF | LOW);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 0);
        sendTo(guest, 0, ALL | LOW);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 1);
      },
    },
    {
      name: "apic-logical-flat",
      rule: "In the flat model a destination is a mask: any common bit is enough, 0xFF is everybody, 0 is nobody",
      clause: "SDM 3A, 11.6.2.2",
      write: (guest) => {
        startOver(guest);
        apicWrite(guest, APIC.destinationFormat, 0xffffffff);
        apicWrite(guest, APIC.logicalDestination, 0x24000000);
        for (const [destination, count] of [
          [0x04, 1],
          [0x20, 2],
          [0x7c, 3],
          [0xdb, 3],
          [0x00, 3],
          [0xff, 4],
        ] as const) {
          sendTo(guest, destination, LOGICAL | LOW);
          letInterruptsIn(guest);
          expectCount(guest, LOW, count);
        }
        apicWrite(guest, APIC.logicalDestination, 0);
      },
    },
    {
      name: "apic-logical-cluster",
      rule: "In the cluster model bits 7:4 are the cluster and 3:0 a mask of its members; 0xFF is everybody",
      clause: "SDM 3A, 11.6.2.2",
      write: (guest) => {
        startOver(guest);
        apicWrite(guest, APIC.destinationFormat, 0x0fffffff);
        apicWrite(guest, APIC.logicalDestination, 0x24000000);
        for (const [destination, count] of [
          [0x24, 1],
          [0x2c, 2],
          [0x2b, 2],
          [0x34, 2],
          [0x14, 2],
          [0x20, 2],
          [0xff, 3],
        ] as const) {
          sendTo(guest, destination, LOGICAL | LOW);
          letInterruptsIn(guest);
          expectCount(guest, LOW, count);
        }
        apicWrite(guest, APIC.logicalDestination, 0);
        apicWrite(guest, APIC.destinationFormat, 0xffffffff);
      },
    },
    {
      name: "apic-lowest-priority",
      rule: "A lowest-priority interrupt to a logical id arrives once",
      clause: "SDM 3A, 11.6.2.4",
      write: (guest) => {
        startOver(guest);
        apicWrite(guest, APIC.logicalDestination, 0x01000000);
        sendTo(guest, 1, LOGICAL | LOWEST_PRIORITY | LOW);
        letInterruptsIn(guest);
        expectCount(guest, LOW, 1);
        apicWrite(guest, APIC.logicalDestination, 0);
      },
    },
    {
      name: "apic-command-reads-back",
      rule: "The command register keeps what was sent, its delivery status is idle again, its reserved bits are 0",
      clause: "SDM 3A, 11.6.1 (figure 11-12)",
      write: (guest) => {
        startOver(guest);
        sendTo(guest, 0x55, LOGICAL | LOW);
        expectApic(guest, APIC.commandLow, LOGICAL | LOW, 0xfff33fff & ~0x4000);
        expectApic(guest, APIC.commandHigh, 0x55000000);
        clearErrors(guest);
      },
    },
    {
      name: "nmi-blocks-nmi",
      rule: "NMIs that come while one is handled wait until IRET, and are one then",
      clause: "SDM 3A, 6.7.1",
      write: (guest) => {
        const { op } = guest;
        op.mov(qword("nmi_inner"), 0);
        op.mov(qword("nmi_armed"), 1);
        clearCount(guest, VECTOR.nonMaskable);
        setAction(guest, VECTOR.nonMaskable, "nmi_sends_more");
        op.mov(edx, dword("apic_id"));
        op.mov(eax, LVT.nmi);
        op.call("send_ipi");
        waitMicroseconds(guest, 50);
        setAction(guest, VECTOR.nonMaskable, "exception");
        op.mov(rax, qword("nmi_seen"));
        guest.expect(1);
        expectCount(guest, VECTOR.nonMaskable, 2);
      },
    },
    {
      name: "nmi-inner-iret-unblocks",
      rule: "An IRET from another exception inside an NMI's handler lets the next NMI in",
      clause: "SDM 3A, 6.7.1",
      write: (guest) => {
        const { op } = guest;
        op.mov(qword("nmi_inner"), 1);
        op.mov(qword("nmi_armed"), 1);
        clearCount(guest, VECTOR.nonMaskable);
        setAction(guest, VECTOR.nonMaskable, "nmi_sends_more");
        counting(guest, VECTOR.breakpoint, () => {
          op.mov(edx, dword("apic_id"));
          op.mov(eax, LVT.nmi);
          op.call("send_ipi");
          waitMicroseconds(guest, 50);
        });
        setAction(guest, VECTOR.nonMaskable, "exception");
        op.mov(rax, qword("nmi_seen"));
        guest.expect(2);
        expectCount(guest, VECTOR.nonMaskable, 2);
      },
    },
    {
      name: "nmi-before-interrupt",
      rule: "An NMI and an interrupt that wait together are both taken",
      clause: "SDM 3A, 6.9",
      write: (guest) => {
        const { op } = guest;
        startOver(guest);
        clearCount(guest, VECTOR.nonMaskable);
        sendToSelf(guest, LOW);
        op.mov(edx, dword("apic_id"));
        op.mov(eax, LVT.nmi);
        op.call("send_ipi");
        waitFor(guest, "vector_count", LOW * 8, 1, 1000);
        expectCount(guest, VECTOR.nonMaskable, 1);
        expectCount(guest, LOW, 1);
      },
    },
  ],
};
