/* The way to CPL 3 and back: a page of user code in the sandbox, SYSCALL, and an interrupt gate that user code may take. */
import { addressOf, eax, ecx, edx, qword, r11, rax, rbx, rcx } from "../assembler/index.ts";
import type { GuestProgram } from "./guest-program.ts";
import { SELECTOR, setAction, VECTOR } from "./interrupts.ts";
import { sandboxAddress } from "./paging.ts";

/** The pieces of code in the user page, by offset: `syscall` and then INT leaveUser; a load from RBX. */
export const USER_CODE = { syscall: 0, load: 16 } as const;

/** IRETQ to `offset` of the user code page, at CPL 3, interrupts off. Uses RAX; put it inside `catching`. */
export function enterUser(guest: GuestProgram, offset: number): void {
  const { op } = guest;
  op.push(SELECTOR.userData | 3);
  op.mov(rax, sandboxAddress("userStack") + 0x1000n);
  op.push(rax);
  op.push(0x002);
  op.push(SELECTOR.userCode | 3);
  op.mov(rax, sandboxAddress("userCode") + BigInt(offset));
  op.push(rax);
  op.iretq();
}

/** syscall_setup: EFER.SCE, STAR, LSTAR, SFMASK and the gate out of user mode. */
export function writeUserMode(guest: GuestProgram): void {
  const { asm, op } = guest;
  for (const name of ["syscall_rip", "syscall_flags", "syscall_count"]) guest.variable(name);

  guest.routine("syscall_setup", () => {
    setAction(guest, VECTOR.leaveUser, "exception");
    op.mov(ecx, 0xc0000080);
    op.rdmsr();
    op.or(eax, 1);
    op.wrmsr();
    // STAR: SYSRET takes SS = base + 8 and CS = base + 16, SYSCALL CS = base and SS = base + 8 (SDM 3A, 5.8.8).
    op.mov(ecx, 0xc0000081);
    op.xor(eax, eax);
    op.mov(edx, ((SELECTOR.userData - 8) << 16) | SELECTOR.code64);
    op.wrmsr();
    op.mov(ecx, 0xc0000082);
    op.mov(eax, addressOf("syscall_entry"));
    op.xor(edx, edx);
    op.wrmsr();
    op.mov(ecx, 0xc0000084);
    op.mov(eax, 0x700);
    op.wrmsr();
  });

  // SYSCALL lands here, on the user's stack: counts, keeps what RCX and R11 bring, and returns.
  asm.align(16, 0xcc);
  asm.label("syscall_entry");
  op.mov(qword("syscall_rip"), rcx);
  op.mov(qword("syscall_flags"), r11);
  op.inc(qword("syscall_count"));
  op.sysretq();

  // The page that the sandbox shows to user mode.
  asm.align(4096, 0xcc);
  asm.label("user_code");
  op.syscall();
  op.int(VECTOR.leaveUser);
  op.ud2();
  asm.align(USER_CODE.load, 0xcc);
  op.mov(rax, qword(rbx));
  op.ud2();
  asm.align(4096, 0xcc);
}
