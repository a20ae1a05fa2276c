/* The local APIC through MSRs (SDM 3A, 11.12). */
import { cl, dword, eax, ebx, ecx, edx, qword, rax, rbx, rdi, rdx } from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC, writeMsr } from "../runtime/interrupt-controllers.ts";
import {
  catching,
  clearCount,
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

/** RDMSR of x2APIC register (by its xAPIC offset) to RAX, as 64 bits. */
function x2apicRead(guest: GuestProgram, register: number): void {
  const { op } = guest;
  op.mov(ecx, 0x800 + (register >> 4));
  op.rdmsr();
  op.shl(rdx, 32);
  op.or(rax, rdx);
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

/** After all others, since it leaves xAPIC mode and comes back to it. */
export const X2APIC: CheckGroup = {
  title: "x2APIC",
  end: (guest) => {
    // The only way back leads through "disabled" (SDM 3A, 11.12.5).
    guest.unless(
      (over) => {
        guest.op.cmp(qword("has_x2apic"), 0);
        guest.op.je(over);
      },
      () => {
        changeBase(guest, 0, X2APIC_ENABLE | APIC_ENABLE);
        changeBase(guest, APIC_ENABLE, 0);
        guest.op.call("apic_setup");
      },
    );
  },
  checks: [
    {
      name: "x2apic-id",
      rule: "In x2APIC mode MSR 0x802 has the same id, and the logical id follows from it",
      clause: "SDM 3A, 11.12.10.2",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_x2apic", "CPUID.1:ECX[21] has no x2APIC");
        changeBase(guest, X2APIC_ENABLE, 0);
        for (const vector of [VECTOR.lowPriority, VECTOR.highPriority]) {
          setAction(guest, vector, "x2apic_end_of_interrupt");
        }
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
