/* The I/O APIC, and device interrupts that go through it: timer, serial port, real-time clock. */
import { al, byte, dx, eax, ebx, ecx, edx, esi, memory, qword, rax, rbx, rsi } from "../assembler/index.ts";
import { COM1, UART } from "../runtime/console.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { outByte } from "../runtime/interrupt-controllers.ts";
import { clearCount, countOf, setAction, VECTOR } from "../runtime/interrupts.ts";
import { waitFor, waitMicroseconds } from "../runtime/time.ts";
import type { CheckGroup } from "./check.ts";
import { startPit, stopPit } from "./serial-and-legacy.ts";

const MASKED = 0x10000;
const SERIAL_TEXT = "  This line was sent by the serial port's own interrupt, sixteen bytes at a time.\r\n";

/** Routes ISA interrupt `irq` to `vector` (with MASKED to hold it back). */
export function route(guest: GuestProgram, irq: number, vector: number): void {
  guest.op.mov(esi, irq);
  guest.op.mov(eax, vector);
  guest.op.call("ioapic_route");
}

export function cmosOut(guest: GuestProgram, index: number, value: number): void {
  outByte(guest, 0x70, index);
  outByte(guest, 0x71, value);
}

export const IOAPIC: CheckGroup = {
  title: "I/O APIC and device interrupts",
  begin: (guest) => {
    setAction(guest, VECTOR.pitByIoapic, "apic_end_of_interrupt");
    setAction(guest, VECTOR.serial, "serial_interrupt");
    setAction(guest, VECTOR.rtc, "rtc_interrupt");
  },
  end: (guest) => {
    stopPit(guest);
    for (const irq of [0, 4, 8]) route(guest, irq, MASKED | VECTOR.spurious);
  },
  routines: (guest) => {
    const { asm, op } = guest;
    guest.variable("serial_next");
    guest.variable("serial_done");
    asm.label("serial_text");
    asm.text(SERIAL_TEXT);

    // Transmitter empty: fill the FIFO; at the end of the text turn the interrupt off.
    guest.routineKeeping("serial_interrupt", [rbx, rsi], () => {
      const end = asm.unique("end");
      op.mov(edx, COM1 + UART.fifoControl);
      op.in(al, dx);
      op.and(al, 0x0f);
      op.cmp(al, 0x02);
      op.jne(end);
      op.mov(rsi, qword("serial_next"));
      op.mov(ebx, 16);
      const empty = asm.unique("empty");
      op.mov(edx, COM1);
      guest.repeat(
        () => {
          op.mov(al, byte(rsi));
          op.test(al, al);
          op.jz(empty);
          op.out(dx, al);
          op.inc(rsi);
        },
        (again) => {
          op.dec(ebx);
          op.jnz(again);
        },
      );
      op.mov(qword("serial_next"), rsi);
      op.jmp(end);
      asm.label(empty);
      op.mov(qword("serial_next"), rsi);
      op.mov(qword("serial_done"), 1);
      outByte(guest, COM1 + UART.interruptEnable, 0);
      asm.label(end);
      op.call("apic_end_of_interrupt");
    });

    // Register C says why and, being read, lets the next one come.
    guest.routine("rtc_interrupt", () => {
      outByte(guest, 0x70, 0x0c);
      op.in(al, 0x71);
      op.call("apic_end_of_interrupt");
    });
  },
  checks: [
    {
      name: "ioapic-pins",
      rule: "The version register tells at least 24 redirection entries",
      clause: "82093AA, 3.2.2",
      write: (guest) => {
        const { op } = guest;
        op.mov(ecx, 1);
        op.call("ioapic_read");
        op.shr(eax, 16);
        op.and(eax, 0xff);
        guest.between(23, 239);
      },
    },
    {
      name: "ioapic-entry-reads-back",
      rule: "A redirection entry keeps vector, mode, polarity, trigger, mask and destination, and not its read-only bits",
      clause: "82093AA, 3.2.4",
      write: (guest) => {
        const { op } = guest;
        // Entry 20: no device of a plain machine is on it.
        op.mov(ecx, 0x10 + 2 * 20);
        op.mov(eax, 0x1f9a5);
        op.call("ioapic_write");
        op.mov(ecx, 0x10 + 2 * 20);
        op.call("ioapic_read");
        op.mov(ebx, eax);
        op.mov(ecx, 0x10 + 2 * 20);
        op.mov(eax, MASKED);
        op.call("ioapic_write");
        op.mov(ecx, 0x11 + 2 * 20);
        op.mov(eax, 0x05000000);
        op.call("ioapic_write");
        op.mov(ecx, 0x11 + 2 * 20);
        op.call("ioapic_read");
        guest.equal(0x05000000);
        op.mov(eax, ebx);
        guest.equal(0x1a9a5);
      },
    },
    {
      name: "pit-ticks-through-ioapic",
      rule: "Ten periods of a millisecond give ten interrupts on the pin that the MADT names for IRQ 0",
      clause: "82093AA, 3.2.4; ACPI, 5.2.12.5",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.pitByIoapic);
        op.call("set_mark");
        startPit(guest);
        route(guest, 0, VECTOR.pitByIoapic);
        waitFor(guest, "vector_count", VECTOR.pitByIoapic * 8, 10, 500_000);
        guest.between(10, 11);
        op.call("since_mark");
        guest.between(8_900, 500_000);
      },
    },
    {
      name: "ioapic-mask",
      rule: "A masked entry delivers nothing",
      clause: "82093AA, 3.2.4 (bit 16)",
      write: (guest) => {
        const { op } = guest;
        route(guest, 0, MASKED | VECTOR.pitByIoapic);
        // A tick that came just before the mask may still be waiting in the local APIC: let it in, then count.
        op.sti();
        op.nop();
        clearCount(guest, VECTOR.pitByIoapic);
        waitMicroseconds(guest, 5000);
        op.cli();
        op.mov(rax, countOf(VECTOR.pitByIoapic));
        guest.equal(0);
      },
    },
    {
      name: "uart-transmit-interrupt",
      rule: "With IER bit 1 the 16550 asks on IRQ 4 for every FIFO of text until all is sent",
      clause: "PC16550D, 8.5 and 8.6",
      write: (guest) => {
        const { op } = guest;
        op.lea(rax, memory("serial_text"));
        op.mov(qword("serial_next"), rax);
        op.mov(qword("serial_done"), 0);
        clearCount(guest, VECTOR.serial);
        route(guest, 4, VECTOR.serial);
        outByte(guest, COM1 + UART.interruptEnable, 2);
        waitFor(guest, "serial_done", 0, 1, 1_000_000);
        outByte(guest, COM1 + UART.interruptEnable, 0);
        op.mov(rax, qword("serial_done"));
        guest.equal(1);
        op.mov(rax, countOf(VECTOR.serial));
        const fifos = Math.ceil(SERIAL_TEXT.length / 16);
        guest.between(fifos, fifos + 3);
      },
    },
    {
      name: "rtc-periodic-interrupt",
      rule: "At rate 6 the real-time clock interrupts 1024 times a second on IRQ 8",
      clause: "MC146818, periodic interrupt",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.rtc);
        route(guest, 8, VECTOR.rtc);
        cmosOut(guest, 0x0a, 0x26);
        outByte(guest, 0x70, 0x0c);
        op.in(al, 0x71);
        outByte(guest, 0x70, 0x0b);
        op.in(al, 0x71);
        op.mov(ebx, eax);
        op.call("set_mark");
        outByte(guest, 0x70, 0x0b);
        op.mov(eax, ebx);
        op.or(eax, 0x40);
        op.out(0x71, al);
        waitFor(guest, "vector_count", VECTOR.rtc * 8, 8, 500_000);
        op.push(rax);
        outByte(guest, 0x70, 0x0b);
        op.mov(eax, ebx);
        op.out(0x71, al);
        op.pop(rax);
        guest.between(8, 9);
        op.call("since_mark");
        // Seven whole periods at least: 6.8 ms.
        guest.between(6_700, 500_000);
      },
    },
  ],
};
