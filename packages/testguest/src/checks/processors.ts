/* The other processors: INIT, SIPI, 16-bit start code, and interrupts between processors. */
import {
  addressOf,
  al,
  ax,
  byte,
  cl,
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
import { APIC, apicRead, apicWrite, LVT } from "../runtime/interrupt-controllers.ts";
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

/** The hits of every processor at zero. */
function clearHits(guest: GuestProgram): void {
  const { op } = guest;
  setAction(guest, VECTOR.processorHit, "processor_hit");
  clearCount(guest, VECTOR.processorHit);
  op.lea(rdi, memory("processor_hits"));
  op.xor(eax, eax);
  op.mov(ecx, 256);
  op.rep();
  op.stosb();
}

/** Sends the vector that each processor counts for itself, and gives them all time for it. */
function sendHit(guest: GuestProgram, destination: number, command: number): void {
  const { op } = guest;
  op.mov(edx, destination);
  op.mov(eax, command | 0x4000 | VECTOR.processorHit);
  op.call("send_ipi");
  op.sti();
  waitMicroseconds(guest, 300);
  op.cli();
}

/** How often each processor was hit is kept as one number, a byte each, of which those meant must have `times`. */
function expectHits(guest: GuestProgram, who: "none" | "first" | "firstTwo" | "each", times: number): void {
  const { op } = guest;
  for (const processor of [0, 1]) {
    op.movzx(eax, byte("processor_hits", processor));
    guest.expect(who === "none" || (who === "first" && processor === 1) ? 0 : times);
  }
  // All in all: one for each processor, or what the first two make.
  op.mov(rax, countOf(VECTOR.processorHit));
  if (who === "each") {
    op.sub(rax, qword("processor_count"));
    guest.expect(0);
  } else guest.expect(who === "none" ? 0 : who === "first" ? times : 2 * times);
}

/** Every processor, this one too, takes a logical id from its physical one: 1 << id, or four to a cluster. */
function setLogicalIds(guest: GuestProgram, model: "flat" | "cluster"): void {
  const { op } = guest;
  setAction(guest, VECTOR.processorHit, "processor_logical");
  op.mov(qword("processor_model"), model === "flat" ? 0 : 1);
  sendHit(guest, 0, 0x80000);
}

/** All others add to the sum; waits until they have. */
function addByAll(guest: GuestProgram): void {
  const { op } = guest;
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
      "processor_model",
    ])
      guest.variable(name);
    guest.variable("processor_hits", 256);
    guest.variable("processor_stacks", 2 * MAXIMUM_PROCESSORS * STACK_SIZE, 16);
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

    // Counts for the processor that it runs on.
    guest.routine("processor_hit", () => {
      apicRead(guest, APIC.id);
      op.shr(eax, 24);
      op.lea(rcx, memory("processor_hits"));
      op.lock();
      op.inc(byte({ base: rcx, index: rax }));
      op.call("apic_end_of_interrupt");
    });

    // Gives the processor that it runs on its logical id.
    guest.routineKeeping("processor_logical", [rbx], () => {
      const flat = asm.unique("flat");
      const set = asm.unique("set");
      apicRead(guest, APIC.id);
      op.shr(eax, 24);
      op.mov(ecx, eax);
      op.mov(ebx, 1);
      op.cmp(qword("processor_model"), 0);
      op.je(flat);
      op.and(ecx, 3);
      op.shl(ebx, cl);
      op.shr(eax, 2);
      op.shl(eax, 4);
      op.or(eax, ebx);
      op.mov(ebx, eax);
      apicWrite(guest, APIC.destinationFormat, 0x0fffffff);
      op.jmp(set);
      asm.label(flat);
      op.and(ecx, 7);
      op.shl(ebx, cl);
      apicWrite(guest, APIC.destinationFormat, 0xffffffff);
      asm.label(set);
      op.shl(ebx, 24);
      op.mov(rdx, qword("apic_base"));
      op.mov(dword(rdx, APIC.logicalDestination), ebx);
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
        addByAll(guest);
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
        addByAll(guest);
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
    ...(
      [
        [
          "processors-physical-broadcast",
          0xff,
          0,
          "Physical destination 0xFF reaches every processor once, the sender too",
        ],
        ["processors-all", 0, 0x80000, "The shorthand for all reaches every processor once, the sender too"],
      ] as const
    ).map(([name, destination, command, rule]) => ({
      name,
      rule,
      clause: "SDM 3A, 11.6.1 and 11.6.2.1",
      write: (guest: GuestProgram) => {
        guest.skipUnless("has_others", ONE_PROCESSOR);
        clearHits(guest);
        sendHit(guest, destination, command);
        expectHits(guest, "each", 1);
      },
    })),
    {
      name: "processors-logical-flat",
      rule: "In the flat model each processor takes what has its bit: two of them, all of them, none",
      clause: "SDM 3A, 11.6.2.2",
      write: (guest) => {
        guest.skipUnless("has_others", ONE_PROCESSOR);
        setLogicalIds(guest, "flat");
        for (const [destination, who] of [
          [0x01, "first"],
          [0x03, "firstTwo"],
          [0xff, "each"],
          [0x80, "none"],
        ] as const) {
          clearHits(guest);
          sendHit(guest, destination, 0x800);
          expectHits(guest, who, 1);
        }
      },
    },
    {
      name: "processors-logical-cluster",
      rule: "In the cluster model a processor takes what has its cluster and its bit",
      clause: "SDM 3A, 11.6.2.2",
      write: (guest) => {
        guest.skipUnless("has_others", ONE_PROCESSOR);
        setLogicalIds(guest, "cluster");
        for (const [destination, who] of [
          [0x01, "first"],
          [0x03, "firstTwo"],
          [0x51, "none"],
        ] as const) {
          clearHits(guest);
          sendHit(guest, destination, 0x800);
          expectHits(guest, who, 1);
        }
        setLogicalIds(guest, "flat");
      },
    },
    {
      name: "processors-lowest-priority",
      rule: "A lowest-priority interrupt to two processors reaches one: that whose priority is lower",
      clause: "SDM 3A, 11.6.2.4",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_others", ONE_PROCESSOR);
        setLogicalIds(guest, "flat");
        apicWrite(guest, APIC.taskPriority, 0x30);
        clearHits(guest);
        sendHit(guest, 0x03, 0x900);
        op.mov(rax, countOf(VECTOR.processorHit));
        guest.expect(1);
        op.movzx(eax, byte("processor_hits", 1));
        guest.expect(1);
        apicWrite(guest, APIC.taskPriority, 0);
      },
    },
    {
      name: "processors-nmi",
      rule: "An NMI to all but self reaches every other processor",
      clause: "SDM 3A, 11.6.1",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_others", ONE_PROCESSOR);
        clearCount(guest, VECTOR.nonMaskable);
        op.xor(edx, edx);
        op.mov(eax, ALL_BUT_SELF | 0x4000 | LVT.nmi);
        op.call("send_ipi");
        op.lea(rdi, memory("vector_count", VECTOR.nonMaskable * 8));
        op.mov(rsi, qword("processor_count"));
        op.dec(rsi);
        op.mov(eax, 100_000);
        op.call("wait_count");
        op.mov(rax, countOf(VECTOR.nonMaskable));
        op.sub(rax, qword("processor_count"));
        op.inc(rax);
        guest.expect(0);
      },
    },
    {
      name: "processors-init-restart",
      rule: "INIT stops the others: they take no interrupt; SIPI starts them again",
      clause: "SDM 3A, 9.4.2 and 11.6.1; MPS, B.4",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("has_others", ONE_PROCESSOR);
        op.xor(edx, edx);
        op.mov(eax, ALL_BUT_SELF | INIT);
        op.call("send_ipi");
        waitMicroseconds(guest, 1000);
        clearHits(guest);
        sendHit(guest, 0, ALL_BUT_SELF);
        op.mov(rax, countOf(VECTOR.processorHit));
        guest.expect(0);
        op.mov(qword("processors_awake"), 0);
        op.call("start_processors");
        op.lea(rdi, memory("processors_awake"));
        op.mov(rsi, qword("processor_count"));
        op.dec(rsi);
        op.mov(eax, 500_000);
        op.call("wait_count");
        op.sub(rax, rsi);
        guest.expect(0);
        clearHits(guest);
        sendHit(guest, 0, 0x80000);
        expectHits(guest, "each", 1);
      },
    },
  ],
};
