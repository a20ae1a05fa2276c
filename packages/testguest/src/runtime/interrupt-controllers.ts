/* Local APIC (SDM 3A, chapter 11), I/O APIC (82093AA data sheet) and the two 8259s, as far as the checks use them. */
import {
  al,
  byte,
  dword,
  dx,
  eax,
  ebx,
  ecx,
  edx,
  memory,
  qword,
  r8,
  r8d,
  rax,
  rbx,
  rdx,
  rsi,
} from "../assembler/index.ts";
import type { GuestProgram } from "./guest-program.ts";
import { VECTOR } from "./interrupts.ts";

/** xAPIC register offsets; in x2APIC mode register n is MSR 0x800 + n / 16. */
export const APIC = {
  id: 0x20,
  version: 0x30,
  taskPriority: 0x80,
  processorPriority: 0xa0,
  endOfInterrupt: 0xb0,
  logicalDestination: 0xd0,
  destinationFormat: 0xe0,
  spurious: 0xf0,
  inService: 0x100,
  triggerMode: 0x180,
  requests: 0x200,
  errorStatus: 0x280,
  commandLow: 0x300,
  commandHigh: 0x310,
  timer: 0x320,
  lint0: 0x350,
  lint1: 0x360,
  error: 0x370,
  initialCount: 0x380,
  currentCount: 0x390,
  divide: 0x3e0,
} as const;

export const LVT = {
  masked: 0x10000,
  periodic: 0x20000,
  deadline: 0x40000,
  external: 0x700,
  nmi: 0x400,
} as const;

export const PIC = { master: 0x20, slave: 0xa0 } as const;

/** Reads an xAPIC register to EAX. Uses RDX. */
export function apicRead(guest: GuestProgram, register: number): void {
  guest.op.mov(rdx, qword("apic_base"));
  guest.op.mov(eax, dword(rdx, register));
}

/** Writes a constant to an xAPIC register. Uses RDX. */
export function apicWrite(guest: GuestProgram, register: number, value: number): void {
  guest.op.mov(rdx, qword("apic_base"));
  guest.op.mov(dword(rdx, register), value);
}

/** Writes EAX to an xAPIC register. Uses RDX. */
export function apicWriteEax(guest: GuestProgram, register: number): void {
  guest.op.mov(rdx, qword("apic_base"));
  guest.op.mov(dword(rdx, register), eax);
}

/** Keeps an xAPIC register, whose bits under `mask` must be `wanted` at the check's end. Uses RAX and RDX. */
export function expectApic(guest: GuestProgram, register: number, wanted: number, mask = 0xffffffff): void {
  apicRead(guest, register);
  if (mask !== 0xffffffff) guest.op.and(eax, mask);
  guest.expect(wanted);
}

/** OUT of a constant byte. Uses RAX and RDX. */
export function outByte(guest: GuestProgram, port: number, value: number): void {
  guest.op.mov(al, value);
  if (port < 0x100) guest.op.out(port, al);
  else {
    guest.op.mov(edx, port);
    guest.op.out(dx, al);
  }
}

/** IN of a byte to EAX. Uses RDX. */
export function inByte(guest: GuestProgram, port: number): void {
  if (port < 0x100) guest.op.in(al, port);
  else {
    guest.op.mov(edx, port);
    guest.op.in(al, dx);
  }
  guest.op.movzx(eax, al);
}

/** WRMSR of a constant below 2^32. Uses RAX, RCX and RDX. */
export function writeMsr(guest: GuestProgram, msr: number, low: number): void {
  const { op } = guest;
  op.mov(ecx, msr);
  op.mov(eax, low);
  op.xor(edx, edx);
  op.wrmsr();
}

export function writeInterruptControllers(guest: GuestProgram): void {
  const { op } = guest;
  guest.variable("apic_base");
  guest.variable("apic_id");
  guest.variable("timer_per_ms");

  // Software-enables the local APIC of the processor that runs this, all local interrupts masked, priority 0.
  guest.routine("apic_setup", () => {
    op.mov(ecx, 0x1b);
    op.rdmsr();
    op.and(eax, ~0xfff);
    op.and(edx, 0xfffff);
    op.shl(rdx, 32);
    op.or(rax, rdx);
    op.mov(qword("apic_base"), rax);
    apicWrite(guest, APIC.spurious, 0x100 | VECTOR.spurious);
    apicWrite(guest, APIC.taskPriority, 0);
    for (const register of [APIC.timer, APIC.lint0, APIC.lint1, APIC.error])
      apicWrite(guest, register, LVT.masked);
    apicRead(guest, APIC.id);
    op.shr(eax, 24);
    op.mov(qword("apic_id"), rax);
  });

  guest.routine("apic_end_of_interrupt", () => apicWrite(guest, APIC.endOfInterrupt, 0));

  guest.routine("x2apic_end_of_interrupt", () => {
    op.mov(ecx, 0x80b);
    op.xor(eax, eax);
    op.xor(edx, edx);
    op.wrmsr();
  });

  // For a vector that processors in either mode may be sent.
  guest.routine("either_end_of_interrupt", () => {
    op.mov(ecx, 0x1b);
    op.rdmsr();
    op.test(eax, 0x400);
    op.jnz("x2apic_end_of_interrupt");
    op.jmp("apic_end_of_interrupt");
  });

  // EAX = ICR low; EDX = destination APIC id. Waits until the last command has left (delivery status, bit 12).
  guest.routineKeeping("send_ipi", [rbx], () => {
    op.mov(rbx, qword("apic_base"));
    op.shl(edx, 24);
    op.mov(dword(rbx, APIC.commandHigh), edx);
    op.mov(dword(rbx, APIC.commandLow), eax);
    op.mov(ecx, 100_000);
    const sent = guest.asm.unique("sent");
    guest.repeat(
      () => {
        op.test(dword(rbx, APIC.commandLow), 0x1000);
        op.jz(sent);
        op.pause();
      },
      (again) => {
        op.dec(ecx);
        op.jnz(again);
      },
    );
    guest.asm.label(sent);
  });

  // ECX = register; EAX = its value.
  guest.routine("ioapic_read", () => {
    op.mov(rdx, qword("ioapic_base"));
    op.mov(dword(rdx), ecx);
    op.mov(eax, dword(rdx, 0x10));
  });
  // ECX = register, EAX = value.
  guest.routine("ioapic_write", () => {
    op.mov(rdx, qword("ioapic_base"));
    op.mov(dword(rdx), ecx);
    op.mov(dword(rdx, 0x10), eax);
  });

  // ESI = ISA interrupt, EAX = vector (and mask bit): routes it to this processor, with the mode that the MADT gives it.
  guest.routineKeeping("ioapic_route", [rbx, r8], () => {
    op.mov(rbx, rax);
    op.lea(r8, memory("isa_mode"));
    op.or(ebx, dword({ base: r8, index: rsi, scale: 4 }));
    op.lea(r8, memory("isa_gsi"));
    op.movzx(r8d, byte({ base: r8, index: rsi }));
    op.lea(ecx, memory({ base: r8, index: r8, displacement: 0x11 }));
    op.mov(eax, dword("apic_id"));
    op.shl(eax, 24);
    op.call("ioapic_write");
    op.lea(ecx, memory({ base: r8, index: r8, displacement: 0x10 }));
    op.mov(eax, ebx);
    op.call("ioapic_write");
  });

  // Both 8259s: vectors 0x20 to 0x2F, cascade on 2, 8086 mode, everything masked (8259A data sheet, ICW1 to ICW4).
  guest.routine("pic_setup", () => {
    for (const [port, first, cascade] of [
      [PIC.master, VECTOR.pic, 4],
      [PIC.slave, VECTOR.pic + 8, 2],
    ] as const) {
      outByte(guest, port, 0x11);
      outByte(guest, port + 1, first);
      outByte(guest, port + 1, cascade);
      outByte(guest, port + 1, 0x01);
      outByte(guest, port + 1, 0xff);
    }
  });

  guest.routine("pic_end_of_interrupt", () => outByte(guest, PIC.master, 0x20));
}
