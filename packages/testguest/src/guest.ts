/* A whole guest: start-up, groups of checks, the last line and power off, assembled to a flat image. */
import { AssemblerError, cr0, cr4, eax, memory, qword, rax, rcx, rdi, rsi, rsp } from "./assembler/index.ts";
import type { CheckGroup } from "./checks/check.ts";
import { writeAcpi } from "./runtime/acpi.ts";
import { writeConsole } from "./runtime/console.ts";
import { writeFeatures } from "./runtime/features.ts";
import { GuestProgram } from "./runtime/guest-program.ts";
import { writeInterruptControllers } from "./runtime/interrupt-controllers.ts";
import { writeInterruptLines } from "./runtime/interrupt-lines.ts";
import { setAction, VECTOR, writeDescriptorTables, writeInterruptEntry } from "./runtime/interrupts.ts";
import { writePaging } from "./runtime/paging.ts";
import { writePowerOff } from "./runtime/power-off.ts";
import { writeTime } from "./runtime/time.ts";
import { writeUserMode } from "./runtime/user-mode.ts";

/** Where the image goes unless told otherwise: 2 MiB, clear of all that boot code puts into the first megabyte. */
export const DEFAULT_LOAD_ADDRESS = 0x200000;

export interface GuestOptions {
  /** Printed first. */
  readonly title: string;
  readonly groups: readonly CheckGroup[];
  /** Physical address of the image: a multiple of 4096, from 1 MiB to 1 GiB. Default 2 MiB. */
  readonly loadAddress?: number;
}

export interface Guest {
  /** The flat image, to be copied to `loadAddress`. Equal options give equal bytes. */
  readonly image: Uint8Array;
  readonly loadAddress: number;
  /**
   * Physical and virtual address of the first instruction. It wants 64-bit mode with the first 4 GiB mapped to themselves
   * and writable, interrupts off, and in RSI the physical address of the RSDP, or of a Linux zero page (of which it reads
   * acpi_rsdp_addr at 0x70), or 0: then it looks where firmware leaves the RSDP.
   */
  readonly entry: number;
  /** First address that the guest does not use: `loadAddress` to here, and the page at 0x70000, must be RAM. */
  readonly memoryEnd: number;
  /** The names that the guest prints, in order: one line "ok NAME", "FAIL NAME got=.. want=.." or "skip NAME (why)" each. */
  readonly checks: readonly string[];
}

function writeMain(guest: GuestProgram): void {
  const { asm, op } = guest;
  asm.label("entry");
  op.cli();
  op.cld();
  // The variables behind the image are not part of it: clear them, the stack included, before there is one.
  op.lea(rdi, memory("variables"));
  op.lea(rcx, memory("variables_end"));
  op.sub(rcx, rdi);
  op.xor(eax, eax);
  op.rep();
  op.stosb();
  op.lea(rsp, memory("stack_top"));
  op.mov(qword("boot_information"), rsi);

  // SSE on, no emulation, no lazy switching, writes protected: CR0.EM and TS off, MP and WP on; CR4.OSFXSR, OSXMMEXCPT.
  op.mov(rax, cr0);
  op.and(rax, ~0xc);
  op.or(rax, 0x10002);
  op.mov(cr0, rax);
  op.mov(rax, cr4);
  op.or(rax, 0x600);
  op.mov(cr4, rax);
  op.call("read_features");
  op.call("paging_setup");
  op.call("gdt_load");
  op.call("tss_load");
  op.call("idt_setup");
  op.call("uart_setup");
  op.call("pic_setup");
  op.call("apic_setup");
  setAction(guest, VECTOR.software, "exception");
  op.mov(rsi, qword("boot_information"));
  op.call("acpi_discover");
  op.call("tsc_calibrate");
  op.call("lines_detect");
}

function writeGroups(guest: GuestProgram, { title, groups }: GuestOptions): void {
  const { op } = guest;
  guest.say(`\n${title}\n${"=".repeat(title.length)}\n`);
  guest.say("No kernel, no firmware: this is a bare program that tries the machine it runs on.\n");
  for (const group of groups) {
    guest.say(`\n${group.title}\n`);
    group.begin?.(guest);
    for (const check of group.checks) guest.check(check.name, () => check.write(guest));
    group.end?.(guest);
  }
  op.jmp("finish");
}

function writeFinish(guest: GuestProgram): void {
  const { asm, op } = guest;
  asm.label("finish");
  op.cli();
  guest.say("\n");
  guest.sayDecimal(qword("passed_count"));
  guest.say(" checks passed, ");
  guest.sayDecimal(qword("failed_count"));
  guest.say(" failed, ");
  guest.sayDecimal(qword("skipped_count"));
  guest.say(" skipped.\n");
  guest.say("DONE ");
  guest.sayDecimal(qword("passed_count"));
  guest.say(" ");
  guest.sayDecimal(qword("failed_count"));
  guest.say("\nPowering off.\n");
  op.call("acpi_power_off");
  guest.say("The machine did not power off; halting.\n");
  asm.label("halted");
  op.cli();
  op.hlt();
  op.jmp("halted");
}

/**
 * Assembles a guest that runs the checks of `groups` in order. Throws AssemblerError: `bad-layout` for a load address that
 * cannot be, or what the groups' own code earns.
 */
export function buildGuest(options: GuestOptions): Guest {
  const { groups, loadAddress = DEFAULT_LOAD_ADDRESS } = options;
  if (
    !Number.isInteger(loadAddress) ||
    loadAddress % 4096 !== 0 ||
    loadAddress < 1 << 20 ||
    loadAddress > 1 << 30
  ) {
    throw new AssemblerError(
      "bad-layout",
      `loadAddress must be a multiple of 4096 from 1 MiB to 1 GiB, not ${loadAddress}`,
    );
  }
  const guest = new GuestProgram(loadAddress);
  guest.variable("boot_information");
  guest.variable("stack", 16384, 16);
  guest.variable("stack_top", 0, 16);
  writeMain(guest);
  writeGroups(guest, options);
  writeFinish(guest);
  writeFeatures(guest);
  writeDescriptorTables(guest);
  writeInterruptEntry(guest);
  writePaging(guest);
  writeUserMode(guest);
  writeConsole(guest);
  guest.writeReports();
  writeAcpi(guest);
  writePowerOff(guest);
  writeTime(guest);
  writeInterruptControllers(guest);
  writeInterruptLines(guest);
  for (const group of groups) group.routines?.(guest);
  guest.finish();
  const program = guest.asm.assemble();
  return {
    image: program.bytes,
    loadAddress,
    entry: program.labels.get("entry") ?? loadAddress,
    memoryEnd: program.end,
    checks: groups.flatMap((group) => group.checks.map((check) => check.name)),
  };
}
