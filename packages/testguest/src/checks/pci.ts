/* PCI: configuration by ports and by memory, and a function that interrupts and copies when it is told to. */
import {
  al,
  ax,
  dword,
  dx,
  eax,
  ebx,
  ecx,
  edx,
  esi,
  memory,
  qword,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
} from "../assembler/index.ts";
import { signature } from "../runtime/acpi.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC, apicWrite, inByte, LVT, outByte, PIC } from "../runtime/interrupt-controllers.ts";
import {
  clearCount,
  countOf,
  expectCount,
  letInterruptsIn,
  setAction,
  VECTOR,
} from "../runtime/interrupts.ts";
import { waitMicroseconds } from "../runtime/time.ts";
import type { Check, CheckGroup } from "./check.ts";

const ADDRESS = 0xcf8;
const DATA = 0xcfc;
const ENABLE = 0x80000000;
const ABSENT = 0xffffffff;
/** Vendor and device of the function for tests (specs/pci.md). */
const TEST_FUNCTION = 0x00e21b36;
const NO_FUNCTION = "the machine has no PCI test function";
/** Header registers. */
const COMMAND = 0x04;
const BAR0 = 0x10;
const BAR2 = 0x18;
const BAR4 = 0x20;
const INTERRUPT_LINE = 0x3c;
const SAVED = [BAR0, BAR2, BAR2 + 4, BAR4, INTERRUPT_LINE];
/** Command bits. */
const MEMORY = 2;
const MASTER = 4;
const NO_INTX = 0x400;
/** Registers of the test function, in BAR 0. */
const TEST = {
  id: 0x00,
  scratch: 0x04,
  control: 0x08,
  vector: 0x0c,
  interval: 0x10,
  trigger: 0x14,
  raised: 0x18,
  acknowledged: 0x1c,
  excess: 0x20,
  acknowledge: 0x28,
  source: 0x40,
  target: 0x48,
  length: 0x50,
  copy: 0x54,
  outcome: 0x58,
  table: 0x800,
  pending: 0xc00,
} as const;
const TEST_ID = 0x54455354;
const MSIX_ENABLE = 0x80000000;
const MSIX_MASK_ALL = 0x40000000;
const MSI_ENABLE = 0x10000;
const FUNCTION_LEVEL_RESET = 0x8000;
const V = VECTOR.line;
/** Variable -> capability id. */
const CAPABILITIES = { pci_power: 0x01, pci_msi: 0x05, pci_express: 0x10, pci_msix: 0x11 } as const;
type Capability = keyof typeof CAPABILITIES;

/** Points the data port at a dword of the test function's configuration space. Uses RAX and RDX. */
function select(guest: GuestProgram, register: number, capability?: Capability): void {
  const { op } = guest;
  op.mov(eax, dword("pci_function"));
  if (capability !== undefined) op.add(eax, dword(capability));
  op.add(eax, register);
  op.mov(edx, ADDRESS);
  op.out(dx, eax);
  op.mov(edx, DATA);
}

function configRead(guest: GuestProgram, register: number, capability?: Capability): void {
  select(guest, register, capability);
  guest.op.in(eax, dx);
}

function configWrite(guest: GuestProgram, register: number, value: number, capability?: Capability): void {
  select(guest, register, capability);
  guest.op.mov(eax, value);
  guest.op.out(dx, eax);
}

/** The command register alone: a dword would clear bits of the status register. */
function command(guest: GuestProgram, value: number): void {
  select(guest, COMMAND);
  guest.op.mov(eax, value);
  guest.op.out(dx, ax);
}

function testRead(guest: GuestProgram, register: number): void {
  guest.op.mov(rdx, qword("pci_bar"));
  guest.op.mov(eax, dword(rdx, register));
}

function testWrite(guest: GuestProgram, register: number, value: number): void {
  guest.op.mov(rdx, qword("pci_bar"));
  guest.op.mov(dword(rdx, register), value);
}

function expectTest(guest: GuestProgram, register: number, wanted: number): void {
  testRead(guest, register);
  guest.expect(wanted);
}

/** What firmware had given it, back in its registers; no message, no interrupt. */
function restore(guest: GuestProgram): void {
  const { op } = guest;
  SAVED.forEach((register, index) => {
    select(guest, register);
    op.mov(eax, dword("pci_saved", index * 4));
    op.out(dx, eax);
  });
  configWrite(guest, 0, 0, "pci_msi");
  configWrite(guest, 0, 0, "pci_msix");
  command(guest, MEMORY);
  testWrite(guest, TEST.trigger, 0);
  testWrite(guest, TEST.acknowledge, 0);
}

/** Input 16 + PIRQ of the I/O APIC, which INTA of the function reaches, gets this entry. */
function routeIntx(guest: GuestProgram, entry: number): void {
  const { op } = guest;
  for (const half of [1, 0]) {
    op.mov(ecx, dword("pci_function"));
    op.shr(ecx, 11);
    op.and(ecx, 7);
    op.lea(ecx, memory({ base: rcx, index: rcx, displacement: 0x10 + 2 * 16 + half }));
    if (half === 1) {
      op.mov(eax, dword("apic_id"));
      op.shl(eax, 24);
    } else op.mov(eax, entry);
    op.call("ioapic_write");
  }
}

/** Raises `count` interrupts, 10 us apart, and waits for them with interrupts on. */
function trigger(guest: GuestProgram, count: number): void {
  testWrite(guest, TEST.interval, 10_000);
  testWrite(guest, TEST.trigger, count);
  guest.op.sti();
  waitMicroseconds(guest, 20 * count + 30);
  guest.op.cli();
}

/** The message that brings `vector` to this processor. */
function messageAddress(guest: GuestProgram): void {
  const { op } = guest;
  op.mov(ebx, dword("apic_id"));
  op.shl(ebx, 12);
  op.or(ebx, 0xfee00000);
}

function setMsi(guest: GuestProgram, control: number, data: number): void {
  const { op } = guest;
  messageAddress(guest);
  select(guest, 4, "pci_msi");
  op.mov(eax, ebx);
  op.out(dx, eax);
  configWrite(guest, 8, 0, "pci_msi");
  configWrite(guest, 0xc, data, "pci_msi");
  configWrite(guest, 0x10, 0, "pci_msi");
  configWrite(guest, 0, control, "pci_msi");
}

/** Entry `entry` of the MSI-X table: vector V here, masked or not. */
function setMsix(guest: GuestProgram, entry: number, masked: 0 | 1): void {
  const { op } = guest;
  messageAddress(guest);
  op.mov(rdx, qword("pci_bar"));
  op.mov(dword(rdx, TEST.table + 16 * entry), ebx);
  testWrite(guest, TEST.table + 16 * entry + 4, 0);
  testWrite(guest, TEST.table + 16 * entry + 8, V);
  testWrite(guest, TEST.table + 16 * entry + 12, masked);
  testWrite(guest, TEST.vector, entry);
}

function onFunction(name: string, rule: string, clause: string, write: (guest: GuestProgram) => void): Check {
  return {
    name,
    rule,
    clause,
    write: (guest) => {
      guest.skipUnless("pci_function", NO_FUNCTION);
      setAction(guest, V, "apic_end_of_interrupt");
      clearCount(guest, V);
      write(guest);
      restore(guest);
      routeIntx(guest, 0x10000 | V);
      letInterruptsIn(guest);
    },
  };
}

export const PCI: CheckGroup = {
  title: "PCI",
  routines: (guest) => {
    const { op } = guest;
    for (const name of ["pci_function", "pci_bar", "pci_ecam", "pci_different", ...Object.keys(CAPABILITIES)])
      guest.variable(name);
    guest.variable("pci_saved", SAVED.length * 4);
    guest.variable("pci_source", 64);
    guest.variable("pci_target", 64);
    guest.routine("pci_intx", () => {
      testWrite(guest, TEST.acknowledge, 0);
      op.call("apic_end_of_interrupt");
    });
    guest.routine("pci_intx_8259", () => {
      testWrite(guest, TEST.acknowledge, 0);
      outByte(guest, PIC.slave, 0x20);
      outByte(guest, PIC.master, 0x20);
    });
    // EAX = address for the port ADDRESS; EAX = the dword.
    guest.routine("pci_read", () => {
      op.mov(edx, ADDRESS);
      op.out(dx, eax);
      op.mov(edx, DATA);
      op.in(eax, dx);
    });
  },
  begin: (guest) => {
    const { asm, op } = guest;
    const none = asm.unique("none");
    const found = asm.unique("found");
    op.mov(eax, signature("MCFG"));
    op.call("acpi_find");
    guest.unless(
      (over) => {
        op.test(rax, rax);
        op.jz(over);
      },
      () => {
        op.mov(rax, qword(rax, 44));
        op.mov(qword("pci_ecam"), rax);
      },
    );
    op.mov(ebx, ENABLE);
    guest.repeat(
      () => {
        op.mov(eax, ebx);
        op.call("pci_read");
        op.cmp(eax, TEST_FUNCTION);
        op.je(found);
        op.add(ebx, 0x800);
        op.test(ebx, 0x10000);
      },
      (again) => op.jz(again),
    );
    op.jmp(none);
    asm.label(found);
    op.mov(dword("pci_function"), ebx);
    SAVED.forEach((register, index) => {
      configRead(guest, register);
      op.mov(dword("pci_saved", index * 4), eax);
    });
    op.mov(eax, dword("pci_saved"));
    op.and(eax, 0xfffffff0);
    op.mov(qword("pci_bar"), rax);
    // The list of capabilities: id in bits 7:0, the next one in 15:8.
    configRead(guest, 0x34);
    op.and(eax, 0xfc);
    op.mov(esi, eax);
    guest.repeat(
      () => {
        op.mov(eax, dword("pci_function"));
        op.add(eax, esi);
        op.call("pci_read");
        for (const [name, id] of Object.entries(CAPABILITIES)) {
          guest.unless(
            (over) => {
              op.mov(ecx, eax);
              op.and(ecx, 0xff);
              op.cmp(ecx, id);
              op.jne(over);
            },
            () => op.mov(dword(name), esi),
          );
        }
        op.shr(eax, 8);
        op.and(eax, 0xfc);
        op.mov(esi, eax);
      },
      (again) => op.jnz(again),
    );
    restore(guest);
    asm.label(none);
  },
  checks: [
    {
      name: "pci-address-port",
      rule: "The address port keeps a dword; without its enable bit, and where no function is, the data port reads all ones",
      clause: "PCI 3.0, 3.2.2.3.2 and 6.1",
      write: (guest) => {
        const { op } = guest;
        op.mov(edx, ADDRESS);
        op.mov(eax, ENABLE | 0x3c);
        op.out(dx, eax);
        op.xor(eax, eax);
        op.in(eax, dx);
        guest.expect((ENABLE | 0x3c) >>> 0);
        op.mov(eax, 0);
        op.call("pci_read");
        guest.expect(ABSENT);
        // Device 14 of bus 0.
        op.mov(eax, ENABLE | (14 << 11));
        op.call("pci_read");
        guest.expect(ABSENT);
      },
    },
    {
      name: "pci-ecam-agrees",
      rule: "Both ways to configuration space show the same header of every device of bus 0",
      clause: "PCIe 5.0, 7.2.1 and 7.2.2",
      write: (guest) => {
        const { op } = guest;
        guest.skipUnless("pci_ecam", "the ACPI tables name no configuration memory");
        op.mov(qword("pci_different"), 0);
        op.mov(rdi, qword("pci_ecam"));
        op.mov(ebx, ENABLE);
        guest.repeat(
          () => {
            op.mov(eax, ebx);
            op.call("pci_read");
            op.mov(ecx, ebx);
            op.and(ecx, 0xf800);
            // Port: device 15:11, register 7:2. Memory: device 19:15, register 11:2.
            op.shl(ecx, 4);
            op.mov(edx, ebx);
            op.and(edx, 0x3c);
            op.or(ecx, edx);
            guest.unless(
              (over) => {
                op.cmp(eax, dword({ base: rdi, index: rcx }));
                op.je(over);
              },
              () => op.inc(qword("pci_different")),
            );
            op.add(ebx, 4);
            guest.unless(
              (over) => {
                op.test(ebx, 0x40);
                op.jz(over);
              },
              () => op.add(ebx, 0x800 - 0x40),
            );
            op.test(ebx, 0x10000);
          },
          (again) => op.jz(again),
        );
        op.mov(rax, qword("pci_different"));
        guest.expect(0);
      },
    },
    onFunction(
      "pci-bar-sizes",
      "All ones written to a BAR read back as its size's mask and its type",
      "PCI 3.0, 6.2.5.1",
      (guest) => {
        command(guest, 0);
        for (const [register, wanted] of [
          [BAR0, 0xfffff000],
          [BAR2, 0xffffc00c],
          [BAR2 + 4, 0xffffffff],
          [BAR4, 0xffffff81],
          [0x14, 0],
        ] as const) {
          configWrite(guest, register, 0xffffffff);
          configRead(guest, register);
          guest.expect(wanted);
        }
      },
    ),
    onFunction(
      "pci-memory-space",
      "A memory BAR answers while the command register allows it",
      "PCI 3.0, 6.2.2 (bit 1)",
      (guest) => {
        expectTest(guest, TEST.id, TEST_ID);
        command(guest, 0);
        expectTest(guest, TEST.id, ABSENT);
        command(guest, MEMORY);
        expectTest(guest, TEST.id, TEST_ID);
      },
    ),
    onFunction(
      "pci-bar-moves",
      "A BAR that is given another address answers there, and not where it was",
      "PCI 3.0, 6.2.5.1",
      (guest) => {
        const { op } = guest;
        // The last page below ECAM.
        const elsewhere = 0xdffff000;
        configWrite(guest, BAR0, elsewhere);
        expectTest(guest, TEST.id, ABSENT);
        op.mov(edx, elsewhere);
        op.mov(eax, dword(rdx));
        guest.expect(TEST_ID);
      },
    ),
    onFunction(
      "pci-intx",
      "INTA is a level on its input of the I/O APIC until the function is acknowledged: each interrupt comes once",
      "PCI 3.0, 2.2.6",
      (guest) => {
        setAction(guest, V, "pci_intx");
        testWrite(guest, TEST.trigger, 0);
        routeIntx(guest, 0x8000 | V);
        readCounters(guest, () => trigger(guest, 3), { raised: 3, acknowledged: 3, excess: 0 });
        expectCount(guest, V, 3);
      },
    ),
    onFunction(
      "pci-intx-disable",
      "With interrupt disable INTA is not driven, but the status bit shows; enabled again, it interrupts",
      "PCI 3.0, 6.2.2 (bit 10) and 6.2.3 (bit 3)",
      (guest) => {
        const { op } = guest;
        const status = (wanted: number): void => {
          configRead(guest, COMMAND);
          op.shr(eax, 19);
          op.and(eax, 1);
          guest.expect(wanted);
        };
        setAction(guest, V, "pci_intx");
        routeIntx(guest, 0x8000 | V);
        command(guest, MEMORY | NO_INTX);
        status(0);
        trigger(guest, 1);
        status(1);
        expectCount(guest, V, 0);
        command(guest, MEMORY);
        letInterruptsIn(guest);
        expectCount(guest, V, 1);
        status(0);
      },
    ),
    onFunction(
      "pci-intx-8259",
      "INTA reaches the input of the 8259 pair that the interrupt line register names, as a level",
      "PCI 3.0, 6.2.4",
      (guest) => {
        const { op } = guest;
        op.call("pic_setup");
        for (const input of [10, 11]) {
          setAction(guest, VECTOR.pic + input, "pci_intx_8259");
          clearCount(guest, VECTOR.pic + input);
        }
        inByte(guest, 0x4d1);
        op.push(rax);
        outByte(guest, 0x4d1, 0x0c);
        outByte(guest, PIC.master + 1, 0xfb);
        outByte(guest, PIC.slave + 1, 0xf3);
        apicWrite(guest, APIC.lint0, LVT.external);
        trigger(guest, 3);
        apicWrite(guest, APIC.lint0, LVT.masked);
        op.call("pic_setup");
        op.pop(rax);
        op.mov(edx, 0x4d1);
        op.out(dx, al);
        configRead(guest, INTERRUPT_LINE);
        op.and(eax, 0xff);
        op.lea(rcx, memory("vector_count", VECTOR.pic * 8));
        op.mov(rax, qword({ base: rcx, index: rax, scale: 8 }));
        guest.expect(3);
        op.mov(rax, countOf(VECTOR.pic + 10));
        op.add(rax, countOf(VECTOR.pic + 11));
        guest.expect(3);
      },
    ),
    onFunction(
      "pci-msi",
      "With MSI on each interrupt is a message with the vector of its data, and INTA is silent",
      "PCI 3.0, 6.8.1.3 to 6.8.1.6",
      (guest) => {
        clearCount(guest, VECTOR.otherLine);
        setAction(guest, VECTOR.otherLine, "pci_intx");
        routeIntx(guest, 0x8000 | VECTOR.otherLine);
        command(guest, MEMORY | MASTER);
        setMsi(guest, MSI_ENABLE, V);
        trigger(guest, 3);
        expectCount(guest, V, 3);
        expectCount(guest, VECTOR.otherLine, 0);
      },
    ),
    onFunction(
      "pci-msi-vectors",
      "With eight vectors given, the low three bits of the data are the function's",
      "PCI 3.0, 6.8.1.3 and 6.8.1.6",
      (guest) => {
        command(guest, MEMORY | MASTER);
        setMsi(guest, MSI_ENABLE | (3 << 20), V & ~7);
        testWrite(guest, TEST.vector, V & 7);
        trigger(guest, 1);
        expectCount(guest, V, 1);
      },
    ),
    onFunction(
      "pci-msi-bus-master",
      "Without bus master no message is sent",
      "PCI 3.0, 6.2.2 (bit 2)",
      (guest) => {
        setMsi(guest, MSI_ENABLE, V);
        trigger(guest, 1);
        expectCount(guest, V, 0);
      },
    ),
    onFunction(
      "pci-msi-mask",
      "A masked vector is pending, and is sent once when its mask is lifted",
      "PCI 3.0, 6.8.1.7 and 6.8.1.8",
      (guest) => {
        command(guest, MEMORY | MASTER);
        setMsi(guest, MSI_ENABLE, V);
        configWrite(guest, 0x10, 1, "pci_msi");
        trigger(guest, 2);
        expectCount(guest, V, 0);
        configRead(guest, 0x14, "pci_msi");
        guest.expect(1);
        configWrite(guest, 0x10, 0, "pci_msi");
        letInterruptsIn(guest);
        expectCount(guest, V, 1);
        configRead(guest, 0x14, "pci_msi");
        guest.expect(0);
      },
    ),
    onFunction(
      "pci-msix",
      "With MSI-X on each interrupt is the message of its entry of the table",
      "PCI 3.0, 6.8.2",
      (guest) => {
        command(guest, MEMORY | MASTER);
        setMsix(guest, 9, 0);
        configWrite(guest, 0, MSIX_ENABLE, "pci_msix");
        trigger(guest, 3);
        expectCount(guest, V, 3);
      },
    ),
    onFunction(
      "pci-msix-mask",
      "A masked entry is pending in its bit, and is sent once when its mask is lifted",
      "PCI 3.0, 6.8.2.9",
      (guest) => {
        command(guest, MEMORY | MASTER);
        setMsix(guest, 9, 1);
        configWrite(guest, 0, MSIX_ENABLE, "pci_msix");
        trigger(guest, 2);
        expectCount(guest, V, 0);
        expectTest(guest, TEST.pending, 1 << 9);
        testWrite(guest, TEST.table + 16 * 9 + 12, 0);
        letInterruptsIn(guest);
        expectCount(guest, V, 1);
        expectTest(guest, TEST.pending, 0);
      },
    ),
    onFunction(
      "pci-msix-mask-all",
      "The function's mask holds back every entry, and what is pending is sent when it is lifted",
      "PCI 3.0, 6.8.2.3",
      (guest) => {
        command(guest, MEMORY | MASTER);
        setMsix(guest, 2, 0);
        configWrite(guest, 0, (MSIX_ENABLE | MSIX_MASK_ALL) >>> 0, "pci_msix");
        trigger(guest, 1);
        expectCount(guest, V, 0);
        expectTest(guest, TEST.pending, 4);
        configWrite(guest, 0, MSIX_ENABLE, "pci_msix");
        letInterruptsIn(guest);
        expectCount(guest, V, 1);
      },
    ),
    onFunction(
      "pci-function-level-reset",
      "A function-level reset clears command and BARs, and the function's own registers",
      "PCIe 5.0, 6.6.2",
      (guest) => {
        const { op } = guest;
        testWrite(guest, TEST.scratch, 0x1234567);
        expectTest(guest, TEST.scratch, 0x1234567);
        configRead(guest, 8, "pci_express");
        op.and(eax, 0xffff);
        op.or(eax, FUNCTION_LEVEL_RESET);
        op.mov(ebx, eax);
        select(guest, 8, "pci_express");
        op.mov(eax, ebx);
        op.out(dx, eax);
        waitMicroseconds(guest, 100);
        configRead(guest, COMMAND);
        op.and(eax, 0xffff);
        guest.expect(0);
        configRead(guest, BAR0);
        guest.expect(0);
        restore(guest);
        expectTest(guest, TEST.scratch, 0);
      },
    ),
    onFunction(
      "pci-d3hot",
      "In D3hot a function answers configuration alone, and back in D0 it is as after a reset",
      "PCI Power Management 1.2, 3.2.4 and 5.4.1",
      (guest) => {
        const { op } = guest;
        testWrite(guest, TEST.scratch, 0x1234567);
        configWrite(guest, 4, 3, "pci_power");
        expectTest(guest, TEST.id, ABSENT);
        configRead(guest, 0);
        guest.expect(TEST_FUNCTION);
        configWrite(guest, 4, 0, "pci_power");
        waitMicroseconds(guest, 100);
        configRead(guest, COMMAND);
        op.and(eax, 0xffff);
        guest.expect(0);
        restore(guest);
        expectTest(guest, TEST.scratch, 0);
      },
    ),
    onFunction(
      "pci-dma",
      "A bus master copies memory, and nothing without that bit",
      "PCI 3.0, 6.2.2 (bit 2)",
      (guest) => {
        const { op } = guest;
        op.mov(rax, 0x0123456789abcdefn);
        op.mov(qword("pci_source", 56), rax);
        op.mov(qword("pci_target", 56), 0);
        for (const [register, name] of [
          [TEST.source, "pci_source"],
          [TEST.target, "pci_target"],
        ] as const) {
          op.lea(rax, memory(name));
          op.mov(rdx, qword("pci_bar"));
          op.mov(dword(rdx, register), eax);
          testWrite(guest, register + 4, 0);
        }
        testWrite(guest, TEST.length, 64);
        for (const [bits, outcome, wanted] of [
          [MEMORY, 2, 0n],
          [MEMORY | MASTER, 1, 0x0123456789abcdefn],
        ] as const) {
          command(guest, bits);
          testWrite(guest, TEST.copy, 0);
          expectTest(guest, TEST.outcome, outcome);
          op.mov(rax, qword("pci_target", 56));
          guest.expect(wanted);
        }
      },
    ),
  ],
};

/** The function's counters may stand anywhere before `body`; after it they must have grown by so much. */
function readCounters(
  guest: GuestProgram,
  body: () => void,
  wanted: Readonly<Record<"raised" | "acknowledged" | "excess", number>>,
): void {
  const { op } = guest;
  const names = ["raised", "acknowledged", "excess"] as const;
  for (const name of names) {
    testRead(guest, TEST[name]);
    op.push(rax);
  }
  body();
  for (const name of names.toReversed()) {
    op.pop(rbx);
    testRead(guest, TEST[name]);
    op.sub(eax, ebx);
    guest.expect(wanted[name]);
  }
}
