/*
 * GDT, TSS, IDT and one common interrupt entry (SDM 3A, chapters 3, 6 and 8). Every vector is counted in
 * vector_count[]; what else happens is the vector's action, a routine address in vector_action[].
 */
import {
  al,
  ax,
  byte,
  cr2,
  ds,
  dword,
  eax,
  ecx,
  es,
  far,
  fs,
  gs,
  memory,
  qword,
  r8,
  rax,
  rbp,
  rcx,
  rdi,
  rdx,
  rsp,
  ss,
  word,
} from "../assembler/index.ts";
import type { GuestProgram } from "./guest-program.ts";

/** Selectors of our GDT. SYSRET takes CS and SS from one base, so the user segments stand as it needs: data, then code. */
export const SELECTOR = {
  code64: 0x08,
  data: 0x10,
  code32: 0x18,
  userData: 0x28,
  userCode: 0x30,
  tss: 0x38,
} as const;

/** The vectors that the guest uses. */
export const VECTOR = {
  divideError: 0,
  debug: 1,
  nonMaskable: 2,
  breakpoint: 3,
  invalidOpcode: 6,
  generalProtection: 13,
  pageFault: 14,
  pic: 0x20,
  pitByIoapic: 0x30,
  serial: 0x31,
  rtc: 0x32,
  timer: 0x40,
  lowPriority: 0x45,
  highPriority: 0x65,
  processorPing: 0x50,
  processorAdd: 0x51,
  processorReply: 0x52,
  processorHit: 0x53,
  line: 0x55,
  otherLine: 0x58,
  software: 0x60,
  leaveUser: 0x61,
  apicError: 0x70,
  spurious: 0xff,
} as const;

/** Exceptions that push an error code. */
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21, 29, 30]);

/** What an action finds at RDI: the common entry's frame. */
export const FRAME = { vector: 0, error: 8, rip: 16, cs: 24, rflags: 32, rsp: 40, ss: 48 } as const;

/** Values of `recover_rip` other than an address. */
const RESUME = 1;

/** gdt_load: our GDT, segment registers and task register, on any processor (`tss_busy` processors skip LTR). */
export function writeDescriptorTables(guest: GuestProgram): void {
  const { asm, op } = guest;
  asm.align(16);
  asm.label("gdt");
  asm.dq(0, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00cf9b000000ffffn, 0);
  asm.dq(0x00cff3000000ffffn, 0x00affb000000ffffn);
  asm.label("gdt_tss");
  // 64-bit TSS of 104 bytes; its base is filled in when it is loaded.
  asm.dq(0x0000890000000067n, 0);
  asm.label("gdt_end");
  asm.align(8);
  asm.dw(0, 0, 0);
  asm.label("gdt_pointer");
  asm.dw({ type: "label", label: "gdt_end", addend: -1, minus: "gdt" });
  asm.dq({ type: "label", label: "gdt", addend: 0, minus: undefined });
  asm.align(8);
  asm.dw(0, 0, 0);
  asm.label("idt_pointer");
  asm.dw(256 * 16 - 1);
  asm.dq({ type: "label", label: "idt", addend: 0, minus: undefined });

  guest.variable("idt", 256 * 16, 16);
  guest.variable("tss", 104, 16);
  guest.variable("interrupt_stack", 4096, 16);
  guest.variable("interrupt_stack_top", 0, 16);

  guest.routine("gdt_load", () => {
    op.lgdt(memory("gdt_pointer"));
    op.mov(eax, SELECTOR.data);
    for (const segment of [ds, es, ss]) op.mov(segment, eax);
    op.xor(eax, eax);
    for (const segment of [fs, gs]) op.mov(segment, eax);
    // A far return reloads CS: below the return address goes ours, with the same RIP.
    op.pop(rax);
    op.push(SELECTOR.code64);
    op.push(rax);
    op.retfq();
  });

  // RSP0 is where an interrupt from user mode lands.
  guest.routine("tss_load", () => {
    op.lea(rax, memory("interrupt_stack_top"));
    op.mov(qword("tss", 4), rax);
    op.mov(word("tss", 102), 104);
    op.lea(rax, memory("tss"));
    op.mov(word("gdt_tss", 2), ax);
    op.shr(rax, 16);
    op.mov(byte("gdt_tss", 4), al);
    op.shr(rax, 8);
    op.mov(byte("gdt_tss", 7), al);
    op.mov(eax, SELECTOR.tss);
    op.ltr(ax);
  });
}

/** idt_setup fills the IDT; the stubs and the common entry stand behind it. */
export function writeInterruptEntry(guest: GuestProgram): void {
  const { asm, op } = guest;
  guest.variable("vector_count", 256 * 8);
  guest.variable("vector_action", 256 * 8);
  for (const name of ["last_error", "last_rip", "last_cr2", "last_cs", "recover_rip"]) guest.variable(name);

  guest.routineKeeping("idt_setup", [rdi, r8], () => {
    op.lea(rdi, memory("idt"));
    op.lea(r8, memory("interrupt_stubs"));
    op.mov(ecx, 256);
    guest.repeat(
      () => {
        op.mov(rax, r8);
        op.mov(word(rdi), ax);
        op.mov(word(rdi, 2), SELECTOR.code64);
        // Present interrupt gate, DPL 0, no IST.
        op.mov(word(rdi, 4), 0x8e00);
        op.shr(rax, 16);
        op.mov(word(rdi, 6), ax);
        op.shr(rax, 16);
        op.mov(dword(rdi, 8), eax);
        op.mov(dword(rdi, 12), 0);
        op.add(rdi, 16);
        op.add(r8, 16);
      },
      (again) => {
        op.dec(ecx);
        op.jnz(again);
      },
    );
    // User mode may use this one: DPL 3.
    op.mov(byte("idt", VECTOR.leaveUser * 16 + 5), 0xee);
    op.lea(rax, memory("exception"));
    op.lea(rdi, memory("vector_action"));
    op.mov(ecx, 32);
    op.rep();
    op.stosq();
    op.lidt(memory("idt_pointer"));
  });

  asm.align(16, 0xcc);
  asm.label("interrupt_stubs");
  for (let vector = 0; vector < 256; vector++) {
    if (!WITH_ERROR_CODE.has(vector)) op.push(0);
    op.push(vector);
    op.jmp("interrupt_entry");
    asm.align(16, 0xcc);
  }

  asm.label("interrupt_entry");
  const saved = [rax, rcx, rdx, rdi, rbp];
  for (const register of saved) op.push(register);
  op.cld();
  op.lea(rdi, memory({ base: rsp, displacement: saved.length * 8 }));
  op.mov(eax, dword(rdi, FRAME.vector));
  op.lea(rcx, memory("vector_count"));
  op.lock();
  op.inc(qword({ base: rcx, index: rax, scale: 8 }));
  op.lea(rcx, memory("vector_action"));
  op.mov(rax, qword({ base: rcx, index: rax, scale: 8 }));
  guest.unless(
    (over) => {
      op.test(rax, rax);
      op.jz(over);
    },
    () => {
      // The interrupted stack may be misaligned by 8; only SSE code would care, and there is none in actions.
      op.call(rax);
    },
  );
  for (const register of saved.toReversed()) op.pop(register);
  op.add(rsp, 16);
  op.iretq();

  // An exception goes on at recover_rip, or where it was for RESUME; one that no check expects ends the run.
  guest.routine("exception", () => {
    const unexpected = asm.unique("unexpected");
    const end = asm.unique("end");
    op.mov(rax, qword(rdi, FRAME.error));
    op.mov(qword("last_error"), rax);
    op.mov(rax, qword(rdi, FRAME.rip));
    op.mov(qword("last_rip"), rax);
    op.mov(rax, qword(rdi, FRAME.cs));
    op.mov(qword("last_cs"), rax);
    op.mov(rax, cr2);
    op.mov(qword("last_cr2"), rax);
    // Single stepping ends with the first step, and an NMI just returns.
    op.and(dword(rdi, FRAME.rflags), ~0x100);
    op.cmp(dword(rdi, FRAME.vector), VECTOR.nonMaskable);
    op.je(end);
    op.mov(rax, qword("recover_rip"));
    op.test(rax, rax);
    op.jz(unexpected);
    op.cmp(rax, RESUME);
    op.je(end);
    op.mov(qword(rdi, FRAME.rip), rax);
    // A fault in user mode recovers in the kernel, on the kernel's stack.
    op.mov(qword(rdi, FRAME.cs), SELECTOR.code64);
    op.mov(qword(rdi, FRAME.ss), SELECTOR.data);
    op.mov(rax, qword("recover_rsp"));
    op.mov(qword(rdi, FRAME.rsp), rax);
    op.jmp(end);
    asm.label(unexpected);
    guest.say("\nFAIL unexpected-exception got=");
    guest.sayHex(qword(rdi, FRAME.vector));
    guest.say(" want=0x0\n  at ");
    guest.sayHex(qword(rdi, FRAME.rip));
    guest.say(", error code ");
    guest.sayHex(qword(rdi, FRAME.error));
    guest.say(", CR2 ");
    guest.sayHex(qword("last_cr2"));
    guest.say("\n");
    op.inc(qword("failed_count"));
    op.jmp("finish");
    asm.label(end);
  });
  guest.variable("recover_rsp");
}

/** Makes `routine` the action of `vector`; undefined for none. Uses RAX. */
export function setAction(guest: GuestProgram, vector: number, routine: string | undefined): void {
  if (routine === undefined) guest.op.xor(eax, eax);
  else guest.op.lea(rax, memory(routine));
  guest.op.mov(qword("vector_action", vector * 8), rax);
}

/** Sets the count of `vector` to zero. */
export function clearCount(guest: GuestProgram, vector: number): void {
  guest.op.mov(qword("vector_count", vector * 8), 0);
}

export function countOf(vector: number) {
  return qword("vector_count", vector * 8);
}

/** The check fails unless `vector` was counted `times` times. Uses RAX, RCX and RDX. */
export function equalCount(guest: GuestProgram, vector: number, times = 1): void {
  guest.op.mov(rax, countOf(vector));
  guest.equal(times);
}

/** Keeps the count of `vector`, which must be `times` at the check's end. Uses RAX. */
export function expectCount(guest: GuestProgram, vector: number, times: number, atMost = times): void {
  guest.op.mov(rax, countOf(vector));
  guest.expect(times, atMost);
}

/** Interrupts on for a moment, so that what is pending and allowed gets in. */
export function letInterruptsIn(guest: GuestProgram): void {
  const { op } = guest;
  op.sti();
  op.nop();
  op.nop();
  op.cli();
}

/** Runs `body`, in which exceptions are expected and end it; count and details are in the variables then. Uses RAX. */
export function catching(guest: GuestProgram, vector: number, body: () => void): void {
  const { asm, op } = guest;
  const recovered = asm.unique("recovered");
  clearCount(guest, vector);
  op.mov(qword("recover_rsp"), rsp);
  op.lea(rax, memory(recovered));
  op.mov(qword("recover_rip"), rax);
  body();
  asm.label(recovered);
  op.mov(qword("recover_rip"), 0);
}

/** Runs `body`, in which traps are counted and return. */
export function counting(guest: GuestProgram, vector: number, body: () => void): void {
  clearCount(guest, vector);
  guest.op.mov(qword("recover_rip"), RESUME);
  body();
  guest.op.mov(qword("recover_rip"), 0);
}

/** A far pointer to 32-bit code, for the start of other processors. */
export function toCode32(offset: Parameters<typeof far>[1]) {
  return far(SELECTOR.code32, offset);
}
