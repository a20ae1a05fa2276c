/* What the processor says about itself, and a handful of instructions that everything else relies on. */
import {
  addressOf,
  al,
  byte,
  dword,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  far,
  memory,
  qword,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  xmm0,
  xmm1,
  xmmword,
} from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { SELECTOR } from "../runtime/interrupts.ts";
import type { CheckGroup } from "./check.ts";

/** Prints the twelve characters of CPUID leaf `leaf`: EBX, EDX, ECX for leaf 0; EBX, ECX, EDX for hypervisor leaves. */
function sayVendor(guest: GuestProgram, leaf: number): void {
  const { op } = guest;
  op.mov(eax, leaf);
  op.xor(ecx, ecx);
  op.cpuid();
  const order = leaf === 0 ? ([rbx, rdx, rcx] as const) : ([rbx, rcx, rdx] as const);
  // Pushed last first, so that they come off in reading order.
  for (const register of order.toReversed()) op.push(register);
  for (let i = 0; i < 3; i++) {
    op.pop(rax);
    op.call("print_four");
  }
}

export const PROCESSOR: CheckGroup = {
  title: "Processor",
  routines: (guest) => {
    const { asm } = guest;
    guest.variable("cell");
    guest.variable("scratch", 4096, 16);
    guest.variable("code_buffer", 64, 64);
    asm.align(16);
    asm.label("lanes");
    asm.dd(1, 2, 3, 4, 10, 20, 30, 40);
  },
  begin: (guest) => {
    guest.say("  vendor ");
    sayVendor(guest, 0);
    guest.unless(
      (over) => {
        guest.op.cmp(qword("has_hypervisor"), 0);
        guest.op.je(over);
      },
      () => {
        guest.say(", hypervisor ");
        sayVendor(guest, 0x40000000);
      },
    );
    guest.say(", TSC ");
    guest.op.mov(rax, qword("tsc_khz"));
    guest.op.xor(edx, edx);
    guest.op.mov(ecx, 1000);
    guest.op.div(rcx);
    guest.op.call("print_decimal");
    guest.say(" MHz\n");
  },
  checks: [
    {
      name: "cpuid-vendor",
      rule: "CPUID leaf 0 names a vendor in twelve printable characters",
      clause: "SDM 2A, CPUID",
      write: (guest) => {
        const { op } = guest;
        op.xor(eax, eax);
        op.cpuid();
        op.mov(dword("scratch"), ebx);
        op.mov(dword("scratch", 4), edx);
        op.mov(dword("scratch", 8), ecx);
        op.lea(rsi, memory("scratch"));
        op.mov(ecx, 12);
        op.xor(ebx, ebx);
        guest.repeat(
          () => {
            op.lodsb();
            op.sub(al, 0x20);
            op.cmp(al, 0x5f);
            op.adc(ebx, 0);
          },
          (again) => {
            op.dec(ecx);
            op.jnz(again);
          },
        );
        op.mov(eax, ebx);
        guest.equal(12);
      },
    },
    {
      name: "cpuid-hypervisor",
      rule: "CPUID.1:ECX[31] says that a hypervisor is present, and leaf 0x40000000 is its highest leaf or above",
      clause: "APM 3, appendix E (CPUID Fn0000_0001 and Fn4000_00xx)",
      write: (guest) => {
        const { op } = guest;
        op.mov(rax, qword("has_hypervisor"));
        guest.equal(1);
        op.mov(eax, 0x40000000);
        op.cpuid();
        guest.between(0x40000000, 0x4fffffff);
      },
    },
    {
      name: "cpuid-long-mode",
      rule: "CPUID.80000001:EDX[29] is set, as the processor is in long mode",
      clause: "SDM 2A, CPUID",
      write: (guest) => {
        const { op } = guest;
        op.mov(eax, 0x80000001);
        op.cpuid();
        op.mov(eax, edx);
        op.shr(eax, 29);
        op.and(eax, 1);
        guest.equal(1);
      },
    },
    {
      name: "efer-long-mode-active",
      rule: "EFER.LME and EFER.LMA are both set in 64-bit code",
      clause: "SDM 3A, 10.8.5",
      write: (guest) => {
        const { op } = guest;
        op.mov(ecx, 0xc0000080);
        op.rdmsr();
        op.and(eax, 0x500);
        guest.equal(0x500);
      },
    },
    {
      name: "tsc-never-decreases",
      rule: "A thousand RDTSC in a row never give a smaller value",
      clause: "SDM 3B, 18.17",
      write: (guest) => {
        const { op } = guest;
        op.xor(edi, edi);
        op.mov(esi, 1000);
        op.call("tsc_read");
        op.mov(rbx, rax);
        guest.repeat(
          () => {
            op.call("tsc_read");
            op.cmp(rax, rbx);
            op.adc(edi, 0);
            op.mov(rbx, rax);
          },
          (again) => {
            op.dec(esi);
            op.jnz(again);
          },
        );
        op.mov(eax, edi);
        guest.equal(0);
      },
    },
    {
      name: "multiply-divide",
      rule: "A 64 x 64-bit product divided by one factor gives the other and no remainder",
      clause: "SDM 2A, DIV; 2B, MUL",
      write: (guest) => {
        const { op } = guest;
        op.mov(rbx, 0xfedcba9876543211n);
        op.mov(rax, 0x123456789abcdef1n);
        op.mul(rbx);
        op.div(rbx);
        op.mov(rbx, rax);
        op.mov(rax, rdx);
        guest.equal(0);
        op.mov(rax, rbx);
        guest.equal(0x123456789abcdef1n);
      },
    },
    {
      name: "locked-exchange",
      rule: "LOCK XADD returns the old value, LOCK CMPXCHG exchanges only when equal, LOCK BTS tells the old bit",
      clause: "SDM 3A, 9.1.2",
      write: (guest) => {
        const { op } = guest;
        op.mov(qword("cell"), 40);
        op.mov(eax, 2);
        op.lock();
        op.xadd(qword("cell"), rax);
        guest.equal(40);
        op.mov(eax, 41);
        op.mov(ebx, 99);
        op.lock();
        op.cmpxchg(qword("cell"), rbx);
        guest.equal(42);
        op.lock();
        op.cmpxchg(qword("cell"), rbx);
        op.mov(rax, qword("cell"));
        guest.equal(99);
        op.lock();
        op.bts(qword("cell"), 2);
        op.setb(al);
        op.movzx(eax, al);
        op.add(rax, qword("cell"));
        guest.equal(103);
      },
    },
    {
      name: "string-copy",
      rule: "REP STOSB and REP MOVSB fill and copy 1000 bytes, and REPE CMPSB finds them equal",
      clause: "SDM 2B, REP",
      write: (guest) => {
        const { op } = guest;
        op.cld();
        op.lea(rdi, memory("scratch"));
        op.mov(al, 0x5a);
        op.mov(ecx, 1000);
        op.rep();
        op.stosb();
        op.lea(rsi, memory("scratch"));
        op.lea(rdi, memory("scratch", 2048));
        op.mov(ecx, 1000);
        op.rep();
        op.movsb();
        op.lea(rsi, memory("scratch"));
        op.lea(rdi, memory("scratch", 2048));
        op.mov(ecx, 1000);
        op.repe();
        op.cmpsb();
        op.mov(eax, ecx);
        guest.equal(0);
        op.movzx(eax, byte("scratch", 2048 + 999));
        guest.equal(0x5a);
      },
    },
    {
      name: "sse2-lanes",
      rule: "PADDD adds four 32-bit lanes, PSHUFD moves them",
      clause: "SDM 2B, PADDD and PSHUFD",
      write: (guest) => {
        const { op } = guest;
        op.movdqa(xmm0, xmmword("lanes"));
        op.movdqa(xmm1, xmmword("lanes", 16));
        op.paddd(xmm0, xmm1);
        op.pshufd(xmm0, xmm0, 0x1b);
        op.movq(rax, xmm0);
        guest.equal((33n << 32n) | 44n);
      },
    },
    {
      name: "compatibility-mode",
      rule: "A 32-bit code segment in long mode runs 32-bit code: byte 0x40 is INC EAX there, not a REX prefix",
      clause: "SDM 3A, 2.2 (IA-32e mode)",
      write: (guest) => {
        const { asm, op } = guest;
        const narrow = asm.unique("narrow");
        const wide = asm.unique("wide");
        op.push(SELECTOR.code32);
        op.lea(rax, memory(narrow));
        op.push(rax);
        op.retfq();
        asm.use(32);
        asm.label(narrow);
        op.mov(eax, 0xffffffff);
        op.inc(eax);
        op.inc(eax);
        op.jmpf(far(SELECTOR.code64, addressOf(wide)));
        asm.use(64);
        asm.label(wide);
        op.mov(eax, eax);
        guest.equal(1);
      },
    },
    {
      name: "x87-round-trip",
      rule: "An integer loaded by FILD comes back from FISTP, also below zero",
      clause: "SDM 2A, FILD and FIST",
      write: (guest) => {
        const { op } = guest;
        op.fninit();
        op.mov(dword("cell"), -123_456_789);
        op.fild(dword("cell"));
        op.fistp(qword("cell"));
        op.mov(rax, qword("cell"));
        op.neg(rax);
        guest.equal(123_456_789);
      },
    },
    {
      name: "sse2-double",
      rule: "The square root of 1522756.0 is 1234.0",
      clause: "SDM 2B, SQRTSD",
      write: (guest) => {
        const { op } = guest;
        op.mov(eax, 1_522_756);
        op.cvtsi2sd(xmm0, eax);
        op.sqrtsd(xmm1, xmm0);
        op.cvttsd2si(eax, xmm1);
        guest.equal(1234);
      },
    },
    {
      name: "fxsave-restores",
      rule: "FXRSTOR brings back the XMM registers that FXSAVE stored",
      clause: "SDM 2A, FXSAVE and FXRSTOR",
      write: (guest) => {
        const { op } = guest;
        op.movdqa(xmm1, xmmword("lanes"));
        op.fxsave(memory("scratch"));
        op.pxor(xmm1, xmm1);
        op.fxrstor(memory("scratch"));
        op.movq(rax, xmm1);
        guest.equal((2n << 32n) | 1n);
      },
    },
    {
      name: "swapgs",
      rule: "SWAPGS exchanges the GS base with IA32_KERNEL_GS_BASE",
      clause: "SDM 2B, SWAPGS",
      write: (guest) => {
        const { op } = guest;
        const bases = (write: () => void) => {
          for (const [msr, value] of [
            [0xc0000101, 0x11111000],
            [0xc0000102, 0x22222000],
          ] as const) {
            op.mov(ecx, msr);
            op.mov(eax, value);
            op.xor(edx, edx);
            op.wrmsr();
          }
          write();
        };
        bases(() => op.swapgs());
        op.mov(ecx, 0xc0000101);
        op.rdmsr();
        op.mov(ebx, eax);
        op.mov(ecx, 0xc0000102);
        op.rdmsr();
        guest.equal(0x11111000);
        op.mov(eax, ebx);
        guest.equal(0x22222000);
      },
    },
    {
      name: "code-changes-itself",
      rule: "Code that was written over runs in its new form after the next jump to it",
      clause: "SDM 3A, 9.1.3",
      write: (guest) => {
        const { op } = guest;
        // MOV EAX, imm32 and RET, run three times with the immediate rewritten in between.
        op.mov(byte("code_buffer"), 0xb8);
        op.mov(byte("code_buffer", 5), 0xc3);
        op.xor(ebx, ebx);
        op.lea(rdi, memory("code_buffer"));
        for (const value of [100, 20, 3]) {
          op.mov(dword("code_buffer", 1), value);
          op.call(rdi);
          op.add(ebx, eax);
        }
        op.mov(eax, ebx);
        guest.equal(123);
      },
    },
  ],
};
