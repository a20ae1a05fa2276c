/* Faults and traps through the IDT, paging rights, and the way to user mode and back. */
import { cr0, ds, dword, eax, ecx, edx, memory, qword, rax, rbx, rsp } from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { catching, counting, equalCount, SELECTOR, VECTOR } from "../runtime/interrupts.ts";
import { type SandboxPage, sandboxAddress, sandboxEntry } from "../runtime/paging.ts";
import { enterUser, USER_CODE } from "../runtime/user-mode.ts";
import type { Check, CheckGroup } from "./check.ts";

/** A page fault by `access` to a sandbox page, whose error code must be `error` and CR2 the address. */
function pageFault(
  name: string,
  rule: string,
  page: SandboxPage,
  error: number,
  access: (guest: GuestProgram) => void,
): Check {
  return {
    name,
    rule,
    clause: "SDM 3A, 4.7 and 6.15 (#PF)",
    write: (guest) => {
      const { op } = guest;
      if ((error & 0x10) !== 0) guest.skipUnless("no_execute_bit", "CPUID has no NX");
      catching(guest, VECTOR.pageFault, () => {
        op.mov(rbx, sandboxAddress(page));
        access(guest);
      });
      equalCount(guest, VECTOR.pageFault);
      op.mov(rax, qword("last_error"));
      guest.equal(error);
      op.mov(rax, qword("last_cr2"));
      guest.equal(sandboxAddress(page));
    },
  };
}

export const EXCEPTIONS: CheckGroup = {
  title: "Exceptions, paging, user mode",
  checks: [
    {
      name: "exception-invalid-opcode",
      rule: "UD2 raises #UD, whose return address is the instruction itself",
      clause: "SDM 3A, 6.15 (#UD)",
      write: (guest) => {
        const { asm, op } = guest;
        const here = asm.unique("ud");
        catching(guest, VECTOR.invalidOpcode, () => {
          asm.label(here);
          op.ud2();
        });
        equalCount(guest, VECTOR.invalidOpcode);
        op.mov(rax, qword("last_rip"));
        guest.equalAddress(here);
      },
    },
    {
      name: "exception-divide-error",
      rule: "Division by zero, and a quotient that does not fit, raise #DE",
      clause: "SDM 3A, 6.15 (#DE)",
      write: (guest) => {
        const { op } = guest;
        catching(guest, VECTOR.divideError, () => {
          op.xor(ecx, ecx);
          op.div(ecx);
        });
        equalCount(guest, VECTOR.divideError);
        catching(guest, VECTOR.divideError, () => {
          op.mov(edx, 1);
          op.xor(eax, eax);
          op.mov(ecx, 1);
          op.div(ecx);
        });
        equalCount(guest, VECTOR.divideError);
      },
    },
    {
      name: "exception-breakpoint",
      rule: "INT3 raises #BP, a trap: the return address is the next instruction",
      clause: "SDM 3A, 6.15 (#BP)",
      write: (guest) => {
        const { asm, op } = guest;
        const next = asm.unique("next");
        counting(guest, VECTOR.breakpoint, () => {
          op.int3();
          asm.label(next);
        });
        equalCount(guest, VECTOR.breakpoint);
        op.mov(rax, qword("last_rip"));
        guest.equalAddress(next);
      },
    },
    {
      name: "exception-single-step",
      rule: "RFLAGS.TF raises #DB after the next instruction",
      clause: "SDM 3B, 18.3.1.4",
      write: (guest) => {
        const { asm, op } = guest;
        const after = asm.unique("after");
        counting(guest, VECTOR.debug, () => {
          op.pushfq();
          op.or(qword(rsp), 0x100);
          op.popfq();
          op.inc(rbx);
          asm.label(after);
        });
        equalCount(guest, VECTOR.debug);
        op.mov(rax, qword("last_rip"));
        guest.equalAddress(after);
      },
    },
    {
      name: "exception-non-canonical",
      rule: "A load from a non-canonical address raises #GP with error code 0",
      clause: "SDM 3A, 6.15 (#GP); 1, 3.3.7.1",
      write: (guest) => {
        const { op } = guest;
        catching(guest, VECTOR.generalProtection, () => {
          op.mov(rbx, 0x8000_0000_0000_0000n);
          op.mov(rax, qword(rbx));
        });
        equalCount(guest, VECTOR.generalProtection);
        op.mov(rax, qword("last_error"));
        guest.equal(0);
      },
    },
    {
      name: "exception-selector",
      rule: "A selector beyond the GDT's limit raises #GP with the selector as error code",
      clause: "SDM 3A, 6.13 and 6.15 (#GP)",
      write: (guest) => {
        const { op } = guest;
        catching(guest, VECTOR.generalProtection, () => {
          op.mov(eax, 0x1238);
          op.mov(ds, eax);
        });
        equalCount(guest, VECTOR.generalProtection);
        op.mov(rax, qword("last_error"));
        guest.equal(0x1238);
      },
    },
    {
      name: "software-interrupt",
      rule: "INT n goes through gate n and returns behind the instruction",
      clause: "SDM 3A, 6.3.3",
      write: (guest) => {
        counting(guest, VECTOR.software, () => {
          guest.op.int(VECTOR.software);
          guest.op.int(VECTOR.software);
        });
        equalCount(guest, VECTOR.software, 2);
      },
    },
    pageFault(
      "page-fault-not-present",
      "A load from an absent page raises #PF with error code 0 and the address in CR2",
      "absent",
      0,
      ({ op }) => op.mov(rax, qword(rbx)),
    ),
    pageFault(
      "page-fault-write-absent",
      "A store to an absent page raises #PF with error code W",
      "absent",
      2,
      ({ op }) => op.mov(qword(rbx), rax),
    ),
    pageFault(
      "page-fault-read-only",
      "With CR0.WP a supervisor's store to a read-only page raises #PF with error code P and W",
      "readOnly",
      3,
      ({ op }) => {
        op.mov(rax, cr0);
        op.or(rax, 0x10000);
        op.mov(cr0, rax);
        op.mov(qword(rbx), rax);
      },
    ),
    pageFault(
      "page-fault-no-execute",
      "An instruction fetch from a no-execute page raises #PF with error code P and I/D",
      "noExecute",
      0x11,
      ({ op }) => op.jmp(rbx),
    ),
    {
      name: "page-accessed-dirty",
      rule: "A load sets the page's accessed bit, a store its dirty bit",
      clause: "SDM 3A, 4.8",
      write: (guest) => {
        const { op } = guest;
        op.mov(rbx, sandboxAddress("fresh"));
        op.mov(rax, qword(rbx));
        op.mov(rax, sandboxEntry("fresh"));
        op.and(eax, 0x60);
        guest.equal(0x20);
        op.mov(qword(rbx, 8), rax);
        op.mov(rax, sandboxEntry("fresh"));
        op.and(eax, 0x60);
        guest.equal(0x60);
      },
    },
    {
      name: "invlpg",
      rule: "After its entry changes and INVLPG, a page shows the new frame",
      clause: "SDM 3A, 4.10.4.1",
      write: (guest) => {
        const { op } = guest;
        op.mov(rbx, sandboxAddress("moving"));
        op.mov(eax, dword(rbx));
        guest.equal(0xaaaa);
        op.lea(rax, memory("sandbox_frame_b"));
        op.or(rax, 3);
        op.mov(sandboxEntry("moving"), rax);
        op.invlpg(memory(rbx));
        op.mov(eax, dword(rbx));
        guest.equal(0xbbbb);
      },
    },
    {
      name: "user-syscall",
      rule: "IRETQ enters user mode; SYSCALL leaves it with the next address in RCX and RFLAGS in R11, SYSRET goes back",
      clause: "SDM 2B, SYSCALL and SYSRET",
      write: (guest) => {
        const { op } = guest;
        op.call("syscall_setup");
        op.mov(qword("syscall_count"), 0);
        catching(guest, VECTOR.leaveUser, () => enterUser(guest, USER_CODE.syscall));
        op.mov(rax, qword("syscall_count"));
        guest.equal(1);
        op.mov(rax, qword("syscall_rip"));
        guest.equal(sandboxAddress("userCode") + 2n);
        op.mov(rax, qword("syscall_flags"));
        guest.equal(2);
        equalCount(guest, VECTOR.leaveUser);
        // INT pushed the code selector with privilege level 3.
        op.mov(rax, qword("last_cs"));
        guest.equal(SELECTOR.userCode | 3);
      },
    },
    {
      name: "user-cannot-read-supervisor",
      rule: "A user-mode load from a supervisor page raises #PF with error code P and U",
      clause: "SDM 3A, 4.6.1",
      write: (guest) => {
        const { op } = guest;
        catching(guest, VECTOR.pageFault, () => {
          op.mov(rbx, sandboxAddress("readOnly"));
          enterUser(guest, USER_CODE.load);
        });
        equalCount(guest, VECTOR.pageFault);
        op.mov(rax, qword("last_error"));
        guest.equal(5);
      },
    },
  ],
};
