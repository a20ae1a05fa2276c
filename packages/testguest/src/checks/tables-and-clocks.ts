/* ACPI tables, the PM timer and the real-time clock. */
import {
  al,
  bl,
  byte,
  dword,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  memory,
  qword,
  rax,
  rbx,
  rcx,
  rdi,
  rsi,
} from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { outByte } from "../runtime/interrupt-controllers.ts";
import { PM_TIMER_HERTZ } from "../runtime/time.ts";
import type { Check, CheckGroup } from "./check.ts";

/** The table in `variable` exists and all its bytes add up to zero. */
function tableChecksum(name: string, variable: string, title: string, clause: string): Check {
  return {
    name,
    rule: `${title} is there and its bytes add up to zero`,
    clause,
    write: (guest) => {
      const { op } = guest;
      op.mov(rsi, qword(variable));
      op.xor(eax, eax);
      op.test(rsi, rsi);
      op.sete(al);
      guest.equal(0);
      op.mov(ecx, dword(rsi, 4));
      op.call("checksum");
      guest.equal(0);
    },
  };
}

function notZero(name: string, variable: string, rule: string, clause: string): Check {
  return {
    name,
    rule,
    clause,
    write: (guest) => {
      guest.op.mov(rax, qword(variable));
      guest.between(1, 0xffffffff);
    },
  };
}

export const ACPI_TABLES: CheckGroup = {
  title: "ACPI tables",
  begin: (guest) => {
    guest.say("  RSDP at ");
    guest.sayHex(qword("rsdp"));
    guest.say(", processors ");
    guest.sayDecimal(qword("processor_count"));
    guest.say(", I/O APIC at ");
    guest.sayHex(qword("ioapic_base"));
    guest.say(", PM timer port ");
    guest.sayHex(qword("pm_timer_port"));
    guest.say("\n");
  },
  checks: [
    notZero(
      "acpi-rsdp",
      "rsdp",
      "An RSDP is where the boot information says or where firmware puts it",
      "ACPI, 5.2.5.1",
    ),
    {
      name: "acpi-rsdp-checksum",
      rule: "The first 20 bytes of the RSDP add up to zero, and with revision 2 all of it",
      clause: "ACPI, 5.2.5.3",
      write: (guest) => {
        const { op } = guest;
        op.mov(rsi, qword("rsdp"));
        op.mov(ecx, 20);
        op.call("checksum");
        guest.equal(0);
        guest.unless(
          (over) => {
            op.cmp(byte(rsi, 15), 2);
            op.jb(over);
          },
          () => {
            op.mov(ecx, dword(rsi, 20));
            op.call("checksum");
            guest.equal(0);
          },
        );
      },
    },
    tableChecksum(
      "acpi-root-table",
      "root_table",
      "The XSDT (the RSDT with an RSDP of revision 0)",
      "ACPI, 5.2.7 and 5.2.8",
    ),
    tableChecksum("acpi-fadt", "fadt", "The FADT", "ACPI, 5.2.9"),
    tableChecksum("acpi-madt", "madt", "The MADT", "ACPI, 5.2.12"),
    tableChecksum("acpi-dsdt", "dsdt", "The DSDT that the FADT names", "ACPI, 5.2.11.1"),
    {
      name: "acpi-madt-processors",
      rule: "The MADT lists 1 to 64 enabled processors",
      clause: "ACPI, 5.2.12.2",
      write: (guest) => {
        guest.op.mov(rax, qword("processor_count"));
        guest.between(1, 64);
      },
    },
    notZero(
      "acpi-madt-ioapic",
      "ioapic_base",
      "The MADT lists the I/O APIC of global interrupt 0",
      "ACPI, 5.2.12.3",
    ),
    notZero("acpi-s5-package", "s5_found", "The DSDT has a package \\_S5 for power off", "ACPI, 7.4.2"),
  ],
};

/** Reads CMOS register `index` to EAX. */
function readCmos(guest: GuestProgram, index: number): void {
  const { op } = guest;
  op.mov(al, index);
  op.out(0x70, al);
  op.in(al, 0x71);
  op.movzx(eax, al);
}

/** RTC fields: CMOS register and allowed values, in binary. Hours may carry the PM bit in 12-hour mode. */
const RTC_FIELDS: readonly (readonly [string, number, number, number])[] = [
  ["seconds", 0, 0, 59],
  ["minutes", 2, 0, 59],
  ["hours", 4, 0, 23],
  ["day", 7, 1, 31],
  ["month", 8, 1, 12],
  ["year", 9, 0, 99],
];

export const CLOCKS: CheckGroup = {
  title: "Clocks",
  routines: (guest) => {
    const { asm, op } = guest;
    for (const [name] of RTC_FIELDS) guest.variable(`rtc_${name}`);
    // Waits out an update, then reads all fields to the rtc_ variables in binary (MC146818, update cycle).
    guest.routineKeeping("rtc_read", [rbx, rsi], () => {
      op.mov(esi, 1_000_000);
      const stable = asm.unique("stable");
      guest.repeat(
        () => {
          readCmos(guest, 0x0a);
          op.test(al, 0x80);
          op.jz(stable);
          op.pause();
        },
        (again) => {
          op.dec(esi);
          op.jnz(again);
        },
      );
      asm.label(stable);
      readCmos(guest, 0x0b);
      op.mov(ebx, eax);
      for (const [name, index] of RTC_FIELDS) {
        readCmos(guest, index);
        guest.unless(
          (over) => {
            // Register B bit 2: binary instead of BCD.
            op.test(bl, 4);
            op.jnz(over);
          },
          () => {
            op.mov(ecx, eax);
            op.shr(ecx, 4);
            op.imul(ecx, ecx, 10);
            op.and(eax, 15);
            op.add(eax, ecx);
          },
        );
        op.mov(qword(`rtc_${name}`), rax);
      }
    });
    // RAX = value below 100: two digits.
    guest.routineKeeping("print_two", [rbx], () => {
      op.mov(rbx, rax);
      guest.unless(
        (over) => {
          op.cmp(eax, 10);
          op.jae(over);
        },
        () => guest.say("0"),
      );
      op.mov(rax, rbx);
      op.call("print_decimal");
    });
  },
  begin: (guest) => {
    guest.op.call("rtc_read");
    guest.say("  real-time clock ");
    const fields = ["year", "month", "day", "hours", "minutes", "seconds"];
    for (const [index, separator] of ["20", "-", "-", " ", ":", ":"].entries()) {
      guest.say(separator);
      guest.op.mov(rax, qword(`rtc_${fields[index]}`));
      guest.op.call("print_two");
    }
    guest.say("\n");
  },
  checks: [
    {
      name: "pm-timer-advances",
      rule: "The PM timer changes within a millisecond of TSC time",
      clause: "ACPI, 4.8.2.1",
      write: (guest) => {
        const { op } = guest;
        op.call("pm_read");
        op.mov(ebx, eax);
        op.mov(eax, 1000);
        op.call("wait_microseconds");
        op.call("pm_read");
        op.sub(eax, ebx);
        op.and(eax, 0xffffff);
        guest.between(1, 0xffffff);
      },
    },
    {
      name: "pm-timer-keeps-pace-with-tsc",
      rule: "Over 5 ms of TSC time the PM timer counts 17898 ticks, 2 % more or less",
      clause: "ACPI, 4.8.2.1",
      write: (guest) => {
        const { asm, op } = guest;
        const ticks = PM_TIMER_HERTZ / 200;
        const low = Math.floor(ticks * 0.98);
        const high = Math.ceil(ticks * 1.02);
        const measured = asm.unique("measured");
        // A host that takes the processor away between two reads spoils a measurement, so there are up to ten.
        op.mov(esi, 10);
        guest.repeat(
          () => {
            op.call("pm_read");
            op.mov(ebx, eax);
            op.call("set_mark");
            op.mov(eax, 5_000);
            op.call("wait_microseconds");
            op.call("pm_read");
            op.sub(eax, ebx);
            op.and(eax, 0xffffff);
            op.mov(ebx, eax);
            op.call("since_mark");
            // Ticks per 5 ms, whatever the wait really took.
            op.mov(rdi, rax);
            op.imul(rax, rbx, 5_000);
            op.xor(edx, edx);
            op.div(rdi);
            op.lea(rcx, memory(rax, -low));
            op.cmp(rcx, high - low);
            op.jbe(measured);
          },
          (again) => {
            op.dec(esi);
            op.jnz(again);
          },
        );
        asm.label(measured);
        guest.between(low, high);
      },
    },
    {
      name: "rtc-fields",
      rule: "Seconds, minutes, hours, day, month and year are in their ranges",
      clause: "MC146818, table 2",
      write: (guest) => {
        const { op } = guest;
        for (const [name, , low, high] of RTC_FIELDS) {
          op.mov(rax, qword(`rtc_${name}`));
          guest.between(low, high);
        }
      },
    },
    {
      name: "rtc-battery",
      rule: "Register D bit 7 says that the time is valid",
      clause: "MC146818, register D",
      write: (guest) => {
        readCmos(guest, 0x0d);
        guest.op.and(eax, 0x80);
        guest.equal(0x80);
      },
    },
    {
      name: "cmos-memory",
      rule: "A byte written to CMOS memory (0x5A) reads back",
      clause: "MC146818, general purpose RAM",
      write: (guest) => {
        const { op } = guest;
        readCmos(guest, 0x5a);
        op.mov(ebx, eax);
        outByte(guest, 0x70, 0x5a);
        outByte(guest, 0x71, 0xa7);
        readCmos(guest, 0x5a);
        op.mov(edi, eax);
        outByte(guest, 0x70, 0x5a);
        op.mov(eax, ebx);
        op.out(0x71, al);
        op.mov(eax, edi);
        guest.equal(0xa7);
      },
    },
  ],
};
