/*
 * Finding the ACPI tables and what they say about power, clocks, processors and interrupts (ACPI 6.5, 5.2). Physical
 * addresses are used as they are: the guest maps the first 4 GiB to themselves.
 */
import {
  al,
  byte,
  dword,
  eax,
  ebx,
  ecx,
  edx,
  esi,
  memory,
  qword,
  r8,
  r8d,
  r9,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  word,
} from "../assembler/index.ts";
import type { GuestProgram } from "./guest-program.ts";

/** The most processors that the guest counts and starts. */
export const MAXIMUM_PROCESSORS = 64;

export function signature(text: string): number {
  return [...text].reduceRight((value, character) => value * 256 + character.charCodeAt(0), 0);
}

/** Offsets in the FADT (ACPI 6.5, table 5.9). */
export const FADT = {
  smiCommand: 48,
  acpiEnable: 52,
  pm1aControl: 64,
  pmTimer: 76,
  dsdt: 40,
  xDsdt: 140,
} as const;

/** Variables that the ACPI routines fill, all zero when the table or field is missing. */
export const ACPI_VARIABLES = [
  "rsdp",
  "root_table",
  "root_entry_size",
  "fadt",
  "madt",
  "dsdt",
  "s5_found",
  "s5_type",
  "pm1a_control",
  "pm_timer_port",
  "ioapic_base",
  "processor_count",
] as const;

/** acpi_discover (RSI = RSDP, zero page or 0). */
export function writeAcpi(guest: GuestProgram): void {
  const { asm, op } = guest;
  for (const name of ACPI_VARIABLES) guest.variable(name);
  guest.variable("processor_ids", MAXIMUM_PROCESSORS);
  // ISA interrupt -> global system interrupt, and the polarity and trigger bits of its redirection entry.
  guest.variable("isa_gsi", 16);
  guest.variable("isa_mode", 16 * 4);

  // RSI = address, RCX = length in bytes; AL = sum of the bytes modulo 256, zero-extended.
  guest.routineKeeping("checksum", [rsi], () => {
    op.xor(eax, eax);
    guest.unless(
      (over) => op.jrcxz(over),
      () =>
        guest.repeat(
          () => {
            op.add(al, byte(rsi));
            op.inc(rsi);
          },
          (again) => {
            op.dec(rcx);
            op.jnz(again);
          },
        ),
    );
    op.movzx(eax, al);
  });

  // RSI = first address, RCX = end: looks for "RSD PTR " on 16-byte boundaries; RAX = address or 0.
  guest.routineKeeping("rsdp_scan", [rsi, r8], () => {
    const found = asm.unique("found");
    const end = asm.unique("end");
    op.mov(r8, 0x2052545020445352n);
    guest.repeat(
      () => {
        op.mov(rax, rsi);
        op.cmp(qword(rsi), r8);
        op.je(found);
        op.add(rsi, 16);
      },
      (again) => {
        op.cmp(rsi, rcx);
        op.jb(again);
      },
    );
    op.xor(eax, eax);
    op.jmp(end);
    asm.label(found);
    op.mov(qword("rsdp"), rax);
    asm.label(end);
  });

  // EAX = signature; RAX = address of the first such table or 0.
  guest.routineKeeping("acpi_find", [rsi, rbx, r8, r9], () => {
    const end = asm.unique("end");
    op.mov(r8, rax);
    op.xor(eax, eax);
    op.mov(rsi, qword("root_table"));
    op.test(rsi, rsi);
    op.jz(end);
    op.mov(ebx, dword(rsi, 4));
    op.add(rbx, rsi);
    op.add(rsi, 36);
    op.mov(r9, qword("root_entry_size"));
    const next = asm.unique("next");
    const done = asm.unique("done");
    asm.label(next);
    op.lea(rcx, memory({ base: rsi, index: r9 }));
    op.xor(eax, eax);
    op.cmp(rcx, rbx);
    op.ja(done);
    op.mov(eax, dword(rsi));
    guest.unless(
      (over) => {
        op.cmp(r9, 8);
        op.jne(over);
      },
      () => op.mov(rax, qword(rsi)),
    );
    op.mov(rsi, rcx);
    op.mov(ecx, dword(rax));
    op.cmp(rcx, r8);
    op.jne(next);
    asm.label(done);
    asm.label(end);
  });

  guest.routineKeeping("acpi_discover", [rsi, rbx, rdi, r8], () => {
    writeRsdpSearch(guest);
    const none = asm.unique("none");
    op.mov(rbx, qword("rsdp"));
    op.test(rbx, rbx);
    op.jz(none);
    // Revision 2 and up has the XSDT; revision 0 only the RSDT with 32-bit entries.
    op.mov(eax, dword(rbx, 16));
    op.mov(qword("root_table"), rax);
    op.mov(qword("root_entry_size"), 4);
    guest.unless(
      (over) => {
        op.cmp(byte(rbx, 15), 2);
        op.jb(over);
      },
      () => {
        op.mov(rax, qword(rbx, 24));
        op.mov(qword("root_table"), rax);
        op.mov(qword("root_entry_size"), 8);
      },
    );
    for (const [table, name] of [
      ["FACP", "fadt"],
      ["APIC", "madt"],
    ] as const) {
      op.mov(eax, signature(table));
      op.call("acpi_find");
      op.mov(qword(name), rax);
    }
    writeFadt(guest);
    writeMadt(guest);
    asm.label(none);
  });
}

function writeRsdpSearch(guest: GuestProgram): void {
  const { asm, op } = guest;
  const found = asm.unique("found");
  const scan = asm.unique("scan");
  // The boot information is an RSDP itself ...
  op.test(rsi, rsi);
  op.jz(scan);
  op.lea(rcx, memory(rsi, 16));
  op.call("rsdp_scan");
  op.test(rax, rax);
  op.jnz(found);
  // ... or a Linux zero page: acpi_rsdp_addr at 0x70 (Linux boot protocol 2.14).
  op.mov(rsi, qword(rsi, 0x70));
  op.lea(rax, memory(rsi, -1));
  op.mov(ecx, 0xffff0000);
  op.cmp(rax, rcx);
  op.jae(scan);
  op.lea(rcx, memory(rsi, 16));
  op.call("rsdp_scan");
  op.test(rax, rax);
  op.jnz(found);
  // ACPI 6.5, 5.2.5.1: else in the first KiB of the EBDA or between 0xE0000 and 0xFFFFF.
  asm.label(scan);
  op.movzx(esi, word(0x40e));
  op.shl(esi, 4);
  guest.unless(
    (over) => {
      op.cmp(esi, 0x80000);
      op.jb(over);
    },
    () => {
      op.lea(rcx, memory(rsi, 1024));
      op.call("rsdp_scan");
      op.test(rax, rax);
      op.jnz(found);
    },
  );
  op.mov(esi, 0xe0000);
  op.mov(ecx, 0x100000);
  op.call("rsdp_scan");
  asm.label(found);
}

function writeFadt(guest: GuestProgram): void {
  const { asm, op } = guest;
  const end = asm.unique("end");
  op.mov(rbx, qword("fadt"));
  op.test(rbx, rbx);
  op.jz(end);
  op.mov(eax, dword(rbx, FADT.pm1aControl));
  op.mov(qword("pm1a_control"), rax);
  op.mov(eax, dword(rbx, FADT.pmTimer));
  op.mov(qword("pm_timer_port"), rax);
  op.mov(eax, dword(rbx, FADT.dsdt));
  guest.unless(
    (over) => {
      op.cmp(dword(rbx, 4), FADT.xDsdt + 8);
      op.jb(over);
      op.cmp(qword(rbx, FADT.xDsdt), 0);
      op.je(over);
    },
    () => op.mov(rax, qword(rbx, FADT.xDsdt)),
  );
  op.mov(qword("dsdt"), rax);
  op.test(rax, rax);
  op.jz(end);

  // \_S5: "_S5_", PackageOp 0x12, PkgLength of 1 to 4 bytes, the number of elements, then SLP_TYPa as Zero, One or a byte
  // constant (ACPI 6.5, 7.4.2 and 20.2). Scanning for the name is what small systems without an AML interpreter do.
  op.mov(rsi, rax);
  op.mov(ecx, dword(rsi, 4));
  op.lea(rdi, memory({ base: rsi, index: rcx, displacement: -8 }));
  op.add(rsi, 36);
  const next = asm.unique("next");
  const found = asm.unique("found");
  asm.label(next);
  op.cmp(rsi, rdi);
  op.jae(end);
  op.inc(rsi);
  op.cmp(dword(rsi), signature("_S5_"));
  op.jne(next);
  op.cmp(byte(rsi, 4), 0x12);
  op.jne(next);
  op.movzx(eax, byte(rsi, 5));
  op.shr(eax, 6);
  op.lea(rsi, memory({ base: rsi, index: rax, displacement: 7 }));
  op.movzx(eax, byte(rsi));
  op.cmp(al, 1);
  op.jbe(found);
  op.movzx(eax, byte(rsi, 1));
  asm.label(found);
  op.mov(qword("s5_type"), rax);
  op.mov(qword("s5_found"), 1);
  asm.label(end);
}

function writeMadt(guest: GuestProgram): void {
  const { asm, op } = guest;
  const end = asm.unique("end");
  for (let irq = 0; irq < 16; irq++) op.mov(byte("isa_gsi", irq), irq);
  op.mov(rbx, qword("madt"));
  op.test(rbx, rbx);
  op.jz(end);
  op.mov(edx, dword(rbx, 4));
  op.add(rdx, rbx);
  op.add(rbx, 44);
  const next = asm.unique("next");
  const advance = asm.unique("advance");
  asm.label(next);
  op.lea(rcx, memory(rbx, 2));
  op.cmp(rcx, rdx);
  op.ja(end);
  op.movzx(eax, byte(rbx));
  // Type 0, local APIC: flags bit 0 = enabled.
  guest.unless(
    (over) => {
      op.test(eax, eax);
      op.jnz(over);
    },
    () => {
      op.test(dword(rbx, 4), 1);
      op.jz(advance);
      op.mov(rcx, qword("processor_count"));
      op.cmp(rcx, MAXIMUM_PROCESSORS);
      op.jae(advance);
      op.mov(al, byte(rbx, 3));
      op.lea(rdi, memory("processor_ids"));
      op.mov(byte({ base: rdi, index: rcx }), al);
      op.inc(qword("processor_count"));
      op.jmp(advance);
    },
  );
  // Type 1, I/O APIC: the one whose inputs start at global interrupt 0.
  guest.unless(
    (over) => {
      op.cmp(eax, 1);
      op.jne(over);
    },
    () => {
      op.cmp(dword(rbx, 8), 0);
      op.jne(advance);
      op.mov(eax, dword(rbx, 4));
      op.mov(qword("ioapic_base"), rax);
      op.jmp(advance);
    },
  );
  // Type 2, interrupt source override: flags bits 1:0 polarity, 3:2 trigger; 3 = active low, 3 = level.
  op.cmp(eax, 2);
  op.jne(advance);
  op.movzx(ecx, byte(rbx, 3));
  op.and(ecx, 15);
  op.mov(eax, dword(rbx, 4));
  op.lea(rdi, memory("isa_gsi"));
  op.mov(byte({ base: rdi, index: rcx }), al);
  op.movzx(eax, word(rbx, 8));
  op.xor(r8, r8);
  guest.unless(
    (over) => {
      op.mov(edx, eax);
      op.and(edx, 3);
      op.cmp(edx, 3);
      op.jne(over);
    },
    () => op.or(r8, 1 << 13),
  );
  guest.unless(
    (over) => {
      op.and(eax, 12);
      op.cmp(eax, 12);
      op.jne(over);
    },
    () => op.or(r8, 1 << 15),
  );
  op.lea(rdi, memory("isa_mode"));
  op.mov(dword({ base: rdi, index: rcx, scale: 4 }), r8d);
  op.mov(rdx, qword("madt"));
  op.mov(eax, dword(rdx, 4));
  op.add(rdx, rax);
  asm.label(advance);
  op.movzx(eax, byte(rbx, 1));
  op.add(rbx, rax);
  op.test(eax, eax);
  op.jnz(next);
  asm.label(end);
}
