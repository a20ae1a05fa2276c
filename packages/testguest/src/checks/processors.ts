/* The other processors: INIT, SIPI, 16-bit start code, and interrupts between processors. */
import {
  addressOf,
  al,
  ax,
  byte,
  cr0,
  cr3,
  cr4,
  cs,
  distance,
  ds,
  dword,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  es,
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
  rsp,
  ss,
} from "../assembler/index.ts";
import { MAXIMUM_PROCESSORS } from "../runtime/acpi.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC } from "../runtime/interrupt-controllers.ts";
import { clearCount, countOf, SELECTOR, setAction, VECTOR } from "../runtime/interrupts.ts";
import { waitMicroseconds } from "../runtime/time.ts";
import type { CheckGroup } from "./check.ts";

/** Where the start code is copied: the SIPI vector is its page number, so below 1 MiB. */
export const TRAMPOLINE = 0x70000;

const STACK_SIZE = 4096;
const INIT = 0x4500;
const STARTUP = 0x4600 | (TRAMPOLINE >> 12);
const ALL_BUT_SELF = 0xc0000;
const ADDITIONS = 1000;
const ONE_PROCESSOR = "the MADT lists one processor";

/** Real mode at TRAMPOLINE:0 -> protected mode -> long mode -> `processor_main` (SDM 3A, 9.4.4 and 10.9). */
function writeTrampoline(guest: GuestProgram): void {
  const { asm, op } = guest;
  asm.align(16, 0xcc);
  asm.label("trampoline_image");
  asm.phase(TRAMPOLINE);
  asm.label("trampoline");
  asm.use(16);
  op.cli();
  op.mov(ax, cs);
  op.mov(ds, ax);
  // Data segment = code segment, so addresses here are offsets from the trampoline.
  // Prefix 66: without it LGDT takes only 24 bits of the base.
  asm.db(0x66);
  op.lgdt(memory({ displacement: distance("trampoline", "trampoline_gdt_pointer") }));
  op.mov(eax, cr0);
  op.or(eax, 1);
  op.mov(cr0, eax);
  op.jmpfd(far(SELECTOR.code32, addressOf("trampoline_32")));
  asm.use(32);
  asm.label("trampoline_32");
  op.mov(eax, SELECTOR.data);
  for (const segment of [ds, es, ss]) op.mov(segment, eax);
  // What the first processor runs with: the same CR4, CR3, EFER and CR0.
  op.mov(eax, dword("trampoline_cr4"));
  op.mov(cr4, eax);
  op.mov(eax, dword("trampoline_cr3"));
  op.mov(cr3, eax);
  op.mov(ecx, 0xc0000080);
  op.mov(eax, dword("trampoline_efer"));
  op.xor(edx, edx);
  op.wrmsr();
  op.mov(eax, dword("trampoline_cr0"));
  op.mov(cr0, eax);
  op.jmpf(far(SELECTOR.code64, addressOf("trampoline_64")));
  asm.use(64);
  asm.label("trampoline_64");
  op.mov(rax, addressOf("processor_main"));
  op.jmp(rax);
  asm.align(8);
  for (const name of ["cr0", "cr3", "cr4", "efer"]) {
    asm.label(`trampoline_${name}`);
    asm.dq(0);
  }
  asm.label("trampoline_gdt_pointer");
  asm.dw({ type: "label", label: "gdt_end", addend: -1, minus: "gdt" });
  asm.dd(addressOf("gdt"));
  asm.phase(undefined);
  asm.label("trampoline_image_end");
}

/** Address, in the image, of a trampoline variable before it is copied. */
function inTrampoline(name: string) {
  return qword({ base: rbx, displacement: distance("trampoline", `trampoline_${name}`) });
}

export const PROCESSORS: CheckGroup = {
  title: "Other processors",
  routines: (guest) => {
    const { asm, op } = guest;
    for (const name of [
      "has_others",
      "processors_awake",
      "processor_sum",
      "processors_added",
      "processor_tickets",
    ])
      guest.variable(name);
    guest.variable("processor_stacks", MAXIMUM_PROCESSORS * STACK_SIZE, 16);
    guest.variable("processor_seen", 256);
    writeTrampoline(guest);

    // Every other processor: its own stack, our tables, its local APIC on, counted, then asleep between interrupts.
    asm.align(16, 0xcc);
    asm.label("processor_main");
    op.mov(eax, 1);
    op.lock();
    op.xadd(qword("processor_tickets"), rax);
    op.mov(ecx, eax);
    op.imul(eax, eax, STACK_SIZE);
    op.lea(rsp, memory("processor_stacks", STACK_SIZE));
    op.add(rsp, rax);
    op.call("gdt_load");
    op.lidt(memory("idt_pointer"));
    op.mov(rdx, qword("apic_base"));
    op.mov(dword(rdx, APIC.spurious), 0x100 | VECTOR.spurious);
    op.mov(dword(rdx, APIC.taskPriority), 0);
    op.mov(eax, dword(rdx, APIC.id));
    op.shr(eax, 24);
    op.lea(rcx, memory("processor_seen"));
    op.lock();
    op.inc(byte({ base: rcx, index: rax }));
    op.lock();
    op.inc(qword("processors_awake"));
    const sleep = asm.unique("sleep");
    asm.label(sleep);
    op.sti();
    op.hlt();
    op.jmp(sleep);

    // Adds 1 a thousand times to a sum that all processors share.
    guest.routine("processor_add", () => {
      op.mov(ecx, ADDITIONS);
      guest.repeat(
        () => {
          op.lock();
          op.inc(qword("processor_sum"));
        },
        (again) => {
          op.dec(ecx);
          op.jnz(again);
        },
      );
      op.lock();
      op.inc(qword("processors_added"));
      op.call("apic_end_of_interrupt");
    });

    // Answers with an interrupt to the first processor.
    guest.routine("processor_reply", () => {
      op.mov(edx, dword("apic_id"));
      op.mov(eax, 0x4000 | VECTOR.processorReply);
      op.call("send_ipi");
      op.call("apic_end_of_interrupt");
    });

    guest.routineKeeping("start_processors", [rbx, rsi, rdi], () => {
      // The copy's variables first, then the copy.
      op.lea(rbx, memory("trampoline_image"));
      op.mov(rax, cr0);
      op.mov(inTrampoline("cr0"), rax);
      op.mov(rax, cr3);
      op.mov(inTrampoline("cr3"), rax);
      op.mov(rax, cr4);
      op.mov(inTrampoline("cr4"), rax);
      op.mov(ecx, 0xc0000080);
      op.rdmsr();
      // LMA is the processor's to set.
      op.and(eax, ~0x400);
      op.mov(eax, eax);
      op.mov(inTrampoline("efer"), rax);
      op.mov(rsi, rbx);
      op.mov(edi, TRAMPOLINE);
      op.mov(ecx, distance("trampoline_image", "trampoline_image_end"));
      op.rep();
      op.movsb();

      const forOthers = (write: () => void) => {
        op.xor(ebx, ebx);
        const next = asm.unique("next");
        const skip = asm.unique("skip");
        const end = asm.unique("end");
        asm.label(next);
        op.cmp(rbx, qword("processor_count"));
        op.jae(end);
        op.lea(rcx, memory("processor_ids"));
        op.movzx(edx, byte({ base: rcx, index: rbx }));
        op.cmp(edx, dword("apic_id"));
        op.je(skip);
        write();
        asm.label(skip);
        op.inc(rbx);
        op.jmp(next);
        asm.label(end);
      };
      forOthers(() => {
        op.mov(eax, INIT);
        op.call("send_ipi");
      });
      waitMicroseconds(guest, 10_000);
      // The second SIPI finds most processors running already and does nothing to them (MPS, B.4).
      for (const pause of [200, 200]) {
        forOthers(() => {
          op.mov(eax, STARTUP);
          op.call("send_ipi");
        });
        waitMicroseconds(guest, pause);
      }
    });
  },
  begin: (guest) => {
    const { op } = guest;
    for (const vector of [VECTOR.processorPing, VECTOR.processorReply]) {
      setAction(guest, vector, "apic_end_of_interrupt");
    }
    setAction(guest, VECTOR.processorAdd, "processor_add");
    op.xor(eax, eax);
    op.cmp(qword("processor_count"), 1);
    op.seta(al);
    op.mov(qword("has_others"), rax);
    op.call("start_processors");
    op.lea(rdi, memory("processors_awake"));
    op.mov(rsi, qword("processor_count"));
    op.dec(rsi);
    op.mov(eax, 500_000);
    op.call("wait_count");
    guest.say("  started ");
    guest.sayDecimal(qword("processors_awake"));
    guest.say(" of ");
    op.mov(rax, qword("processor_count"));
    op.dec(rax);
    op.call("print_decimal");
    guest.say(" besides this one\n");
  },
  checks: [
    {
      name: "processors-start",
      rule: "INIT and SIPI start every processor of the MADT once",
      clause: "SDM 3A, 9.4.4.1; MPS, B.4",
      write: (guest) => {
        const { op } = guest;
        op.mov(rax, qword("processors_awake"));
        op.mov(rbx, qword("processor_count"));
        op.dec(rbx);
        guest.equal(rbx);
      },
    },
    {
      name: "processors-have-their-ids",
      rule: "Each started processor has one of the MADT's APIC ids, no two the same, and none the first processor's",
      clause: "ACPI, 5.2.12.2",
      write: (guest) => {
        const { asm, op } = guest;
        guest.skipUnless("has_others", ONE_PROCESSOR);
        // Ids in the MADT that were seen exactly once.
        op.xor(eax, eax);
        op.xor(ebx, ebx);
        op.lea(rsi, memory("processor_ids"));
        op.lea(rdi, memory("processor_seen"));
        const next = asm.unique("next");
        const end = asm.unique("end");
        asm.label(next);
        op.cmp(rbx, qword("processor_count"));
        op.jae(end);
        op.movzx(ecx, byte({ base: rsi, index: rbx }));
        op.inc(rbx);
        op.cmp(byte({ base: rdi, index: rcx }), 1);
        op.jne(next);
        op.cmp(ecx, dword("apic_id"));
        op.je(next);
        op.inc(rax);
        op.jmp(next);
        asm.label(end);
        op.mov(rbx, qword("processor_count"));
        op.dec(rbx);
        guest.equal(rbx);
      },
    },
    {
      name: "interrupt-to-each-processor",
      rule: "An interrupt sent to each id in turn reaches one processor each",
      clause: "SDM 3A, 11.6.1",
      write: (guest) => {
        const { asm, op } = guest;
        guest.skipUnless("has_others", ONE_PROCESSOR);
        clearCount(guest, VECTOR.processorPing);
        op.xor(ebx, ebx);
        op.xor(esi, esi);
        const next = asm.unique("next");
        const end = asm.unique("end");
        asm.label(next);
        op.cmp(rbx, qword("processor_count"));
        op.jae(end);
        op.lea(rcx, memory("processor_ids"));
        op.movzx(edx, byte({ base: rcx, index: rbx }));
        op.inc(rbx);
        op.cmp(edx, dword("apic_id"));
        op.je(next);
        op.mov(eax, 0x4000 | VECTOR.processorPing);
        op.call("send_ipi");
        op.inc(rsi);
        op.lea(rdi, memory("vector_count", VECTOR.processorPing * 8));
        op.mov(eax, 500_000);
        op.call("wait_count");
        op.cmp(rax, rsi);
        op.je(next);
        asm.label(end);
        op.mov(rax, countOf(VECTOR.processorPing));
        op.mov(rbx, qword("processor_count"));
        op.dec(rbx);
        guest.equal(rbx);
      },
    },
    {
      name: "interrupt-to-all-but-self",
      rule: "The shorthand for all but self reaches every other processor, and not this one",
      clause: "SDM 3A, 11.6.1",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_others", ONE_PROCESSOR);
        op.mov(qword("processor_sum"), 0);
        op.mov(qword("processors_added"), 0);
        clearCount(guest, VECTOR.processorAdd);
        op.xor(edx, edx);
        op.mov(eax, ALL_BUT_SELF | 0x4000 | VECTOR.processorAdd);
        op.call("send_ipi");
        op.lea(rdi, memory("processors_added"));
        op.mov(rsi, qword("processor_count"));
        op.dec(rsi);
        op.mov(eax, 1_000_000);
        op.call("wait_count");
        op.sti();
        waitMicroseconds(guest, 1000);
        op.cli();
        op.mov(rax, countOf(VECTOR.processorAdd));
        op.mov(rbx, qword("processor_count"));
        op.dec(rbx);
        guest.equal(rbx);
      },
    },
    {
      name: "locked-sum-of-all-processors",
      rule: "A thousand locked increments by each of them add up without a loss",
      clause: "SDM 3A, 9.1.2.2",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_others", ONE_PROCESSOR);
        op.mov(rax, qword("processor_count"));
        op.dec(rax);
        op.imul(rbx, rax, ADDITIONS);
        op.mov(rax, qword("processor_sum"));
        guest.equal(rbx);
      },
    },
    {
      name: "processors-reply",
      rule: "Each of them answers an interrupt with one to the first processor",
      clause: "SDM 3A, 11.6.1",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_others", ONE_PROCESSOR);
        setAction(guest, VECTOR.processorPing, "processor_reply");
        clearCount(guest, VECTOR.processorReply);
        op.xor(ebx, ebx);
        // One at a time: equal vectors that arrive together would count once.
        const { asm } = guest;
        op.xor(esi, esi);
        const next = asm.unique("next");
        const end = asm.unique("end");
        asm.label(next);
        op.cmp(rbx, qword("processor_count"));
        op.jae(end);
        op.lea(rcx, memory("processor_ids"));
        op.movzx(edx, byte({ base: rcx, index: rbx }));
        op.inc(rbx);
        op.cmp(edx, dword("apic_id"));
        op.je(next);
        op.mov(eax, 0x4000 | VECTOR.processorPing);
        op.call("send_ipi");
        op.inc(rsi);
        op.lea(rdi, memory("vector_count", VECTOR.processorReply * 8));
        op.mov(eax, 500_000);
        op.sti();
        op.call("wait_count");
        op.cli();
        op.cmp(rax, rsi);
        op.je(next);
        asm.label(end);
        op.mov(rax, countOf(VECTOR.processorReply));
        op.mov(rbx, qword("processor_count"));
        op.dec(rbx);
        guest.equal(rbx);
      },
    },
  ],
};
