/* The local APIC through MSRs (SDM 3A, 11.12). */
import { cl, dword, eax, ebx, ecx, edx, qword, rax, rbx, rdi, rdx } from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC, expectApic, writeMsr } from "../runtime/interrupt-controllers.ts";
import {
  catching,
  clearCount,
  countOf,
  equalCount,
  letInterruptsIn,
  setAction,
  VECTOR,
} from "../runtime/interrupts.ts";
import type { CheckGroup } from "./check.ts";

const APIC_BASE = 0x1b;
/** IA32_APIC_BASE bits. */
const X2APIC_ENABLE = 0x400;
const APIC_ENABLE = 0x800;

const LOGICAL = 0x800;

/** Accesses that raise #GP, by xAPIC offset: reads where no value is given. */
const FAULTS: readonly (readonly [register: number, value?: number])[] = [
  [APIC.id, 0],
  [APIC.version, 0],
  [APIC.processorPriority, 0],
  [APIC.logicalDestination, 0],
  [APIC.destinationFormat],
  [APIC.destinationFormat, 0],
  [APIC.inService, 0],
  [APIC.currentCount, 0],
  [APIC.endOfInterrupt],
  [APIC.endOfInterrupt, 2],
  [APIC.errorStatus, 1],
  [APIC.taskPriority, 0x100],
  [APIC.spurious, 0x10000],
  [APIC.timer, 0x1000_0000],
  [APIC.divide, 0x10],
  [0x3f0],
  [0x3f0, 0x100],
  [0x090],
  [0x000],
  [0x3d0, 0],
];

/** The 64-bit command register. */
function sendX2apic(guest: GuestProgram, destination: number, command: number): void {
  const { op } = guest;
  op.mov(ecx, 0x830);
  op.mov(edx, destination);
  op.mov(eax, command);
  op.wrmsr();
}

/** RDMSR of x2APIC register (by its xAPIC offset) to RAX, as 64 bits. */
function x2apicRead(guest: GuestProgram, register: number): void {
  const { op } = guest;
  op.mov(ecx, 0x800 + (register >> 4));
  op.rdmsr();
  op.shl(rdx, 32);
  op.or(rax, rdx);
}

/** Whether the vector has been requested of this processor is kept, and must be `wanted`; then it is let in. */
function expectRequest(guest: GuestProgram, wanted: 0 | 1): void {
  const { op } = guest;
  x2apicRead(guest, APIC.requests + 0x10 * (VECTOR.lowPriority >> 5));
  op.shr(eax, VECTOR.lowPriority & 31);
  op.and(eax, 1);
  guest.expect(wanted);
  letInterruptsIn(guest);
}

/** Sets and clears bits of IA32_APIC_BASE. */
function changeBase(guest: GuestProgram, set: number, clear: number): void {
  const { op } = guest;
  op.mov(ecx, APIC_BASE);
  op.rdmsr();
  op.or(eax, set);
  op.and(eax, ~clear);
  op.wrmsr();
}

/** Runs `body` on a machine that has x2APIC mode. */
function whereThereIs(guest: GuestProgram, body: () => void): void {
  guest.unless((over) => {
    guest.op.cmp(qword("has_x2apic"), 0);
    guest.op.je(over);
  }, body);
}

/** After all others, since it leaves xAPIC mode and comes back to it. */
export const X2APIC: CheckGroup = {
  title: "x2APIC",
  begin: (guest) => {
    whereThereIs(guest, () => {
      changeBase(guest, X2APIC_ENABLE, 0);
      for (const vector of [VECTOR.lowPriority, VECTOR.highPriority]) {
        setAction(guest, vector, "either_end_of_interrupt");
      }
    });
  },
  end: (guest) => {
    // The only way back leads through "disabled" (SDM 3A, 11.12.5).
    whereThereIs(guest, () => {
      changeBase(guest, 0, X2APIC_ENABLE | APIC_ENABLE);
      changeBase(guest, APIC_ENABLE, 0);
      guest.op.call("apic_setup");
    });
  },
  checks: [
    {
      name: "x2apic-id",
      rule: "In x2APIC mode MSR 0x802 has the same id, and the logical id follows from it",
      clause: "SDM 3A, 11.12.10.2",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        x2apicRead(guest, APIC.id);
        guest.equal(qword("apic_id"));
        x2apicRead(guest, APIC.logicalDestination);
        op.mov(rdi, rax);
        op.mov(ecx, dword("apic_id"));
        op.mov(ebx, ecx);
        op.and(ecx, 15);
        op.mov(eax, 1);
        op.shl(eax, cl);
        op.shr(ebx, 4);
        op.shl(ebx, 16);
        op.or(ebx, eax);
        op.mov(rax, rdi);
        guest.equal(rbx);
      },
    },
    {
      name: "x2apic-self-interrupt",
      rule: "MSR 0x83F sends a vector to itself, and the EOI register takes only zero",
      clause: "SDM 3A, 11.12.11 and 11.12.1.3",
      write: (guest) => {
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        clearCount(guest, VECTOR.lowPriority);
        writeMsr(guest, 0x83f, VECTOR.lowPriority);
        letInterruptsIn(guest);
        equalCount(guest, VECTOR.lowPriority, 1);
        catching(guest, VECTOR.generalProtection, () => writeMsr(guest, 0x80b, 1));
        equalCount(guest, VECTOR.generalProtection, 1);
      },
    },
    {
      name: "x2apic-command",
      rule: "The interrupt command register is one 64-bit MSR; its upper half has no MSR of its own",
      clause: "SDM 3A, 11.12.9",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        clearCount(guest, VECTOR.lowPriority);
        op.mov(ecx, 0x830);
        op.mov(edx, dword("apic_id"));
        op.mov(eax, VECTOR.lowPriority);
        op.wrmsr();
        letInterruptsIn(guest);
        equalCount(guest, VECTOR.lowPriority, 1);
        catching(guest, VECTOR.generalProtection, () => {
          op.mov(ecx, 0x831);
          op.rdmsr();
        });
        equalCount(guest, VECTOR.generalProtection, 1);
      },
    },
    {
      name: "x2apic-faults",
      rule: "Reserved bits, registers that do not exist or have no such direction, and the broadcast's old format raise #GP",
      clause: "SDM 3A, 11.12.1.2 and 11.12.1.3",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        for (const [register, value] of FAULTS) {
          catching(guest, VECTOR.generalProtection, () => {
            if (value === undefined) {
              op.mov(ecx, 0x800 + (register >> 4));
              op.rdmsr();
            } else writeMsr(guest, 0x800 + (register >> 4), value);
          });
          guest.op.mov(rax, countOf(VECTOR.generalProtection));
          guest.expect(1);
        }
      },
    },
    {
      name: "x2apic-broadcast",
      rule: "Destination 0xFFFFFFFF is everybody, the sender too",
      clause: "SDM 3A, 11.12.9",
      write: (guest) => {
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        sendX2apic(guest, 0xffffffff, VECTOR.lowPriority);
        expectRequest(guest, 1);
      },
    },
    {
      name: "x2apic-logical",
      rule: "A logical destination is a cluster in its upper half and a mask of members in its lower one",
      clause: "SDM 3A, 11.12.10.2",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        for (const [flip, count] of [
          [0, 1],
          // Another cluster; none of the members; all members of ours.
          [0x10000, 0],
          [1, 0],
        ] as const) {
          x2apicRead(guest, APIC.logicalDestination);
          if (flip === 1) op.and(eax, 0xffff0000);
          else if (flip !== 0) op.xor(eax, flip);
          op.mov(edx, eax);
          op.mov(eax, LOGICAL | VECTOR.lowPriority);
          op.mov(ecx, 0x830);
          op.wrmsr();
          expectRequest(guest, count);
        }
        x2apicRead(guest, APIC.logicalDestination);
        op.or(eax, 0xffff);
        op.mov(edx, eax);
        op.mov(eax, LOGICAL | VECTOR.lowPriority);
        op.mov(ecx, 0x830);
        op.wrmsr();
        expectRequest(guest, 1);
      },
    },
    {
      name: "x2apic-self-illegal-vector",
      rule: "A self interrupt with a vector below 16 is an error, ESR bit 5",
      clause: "SDM 3A, 11.5.3 and 11.12.11",
      write: (guest) => {
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        for (let i = 0; i < 2; i++) writeMsr(guest, 0x828, 0);
        writeMsr(guest, 0x83f, 9);
        writeMsr(guest, 0x828, 0);
        x2apicRead(guest, APIC.errorStatus);
        guest.op.and(eax, 0x20);
        guest.expect(0x20);
        for (let i = 0; i < 2; i++) writeMsr(guest, 0x828, 0);
      },
    },
    {
      name: "x2apic-page-is-gone",
      rule: "In x2APIC mode the xAPIC's page shows no APIC",
      clause: "SDM 3A, 11.12.2",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        x2apicRead(guest, APIC.version);
        op.mov(ebx, eax);
        op.mov(rdx, qword("apic_base"));
        op.mov(eax, dword(rdx, APIC.version));
        op.xor(eax, ebx);
        guest.expect(1, 0xffffffff);
      },
    },
    {
      name: "x2apic-off-and-xapic",
      rule: "From x2APIC mode the way leads to disabled, and from there to xAPIC mode with registers as after reset",
      clause: "SDM 3A, 11.12.5",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        writeMsr(guest, 0x808, 0x40);
        changeBase(guest, 0, X2APIC_ENABLE | APIC_ENABLE);
        // Disabled: no MSR of the APIC is there.
        catching(guest, VECTOR.generalProtection, () => {
          op.mov(ecx, 0x803);
          op.rdmsr();
        });
        op.mov(rax, countOf(VECTOR.generalProtection));
        guest.expect(1);
        changeBase(guest, APIC_ENABLE, 0);
        expectApic(guest, APIC.taskPriority, 0);
        expectApic(guest, APIC.spurious, 0xff);
        op.call("apic_setup");
        changeBase(guest, X2APIC_ENABLE, 0);
      },
    },
    {
      name: "x2apic-no-way-back",
      rule: "From x2APIC mode a direct change to xAPIC mode raises #GP",
      clause: "SDM 3A, 11.12.5",
      write: (guest) => {
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        catching(guest, VECTOR.generalProtection, () => changeBase(guest, 0, X2APIC_ENABLE));
        equalCount(guest, VECTOR.generalProtection, 1);
      },
    },
  ],
};
