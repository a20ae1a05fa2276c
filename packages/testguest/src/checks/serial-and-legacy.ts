/* The 16550 by polling, the two 8259s and the 8254 as an old operating system would drive them. */
import { al, dx, eax, ebx, ecx, edi, edx, esi, memory, rax, rcx } from "../assembler/index.ts";
import { COM1, UART } from "../runtime/console.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC, apicWrite, LVT, outByte, PIC } from "../runtime/interrupt-controllers.ts";
import { clearCount, countOf, setAction, VECTOR } from "../runtime/interrupts.ts";
import { waitFor, waitMicroseconds } from "../runtime/time.ts";
import type { CheckGroup } from "./check.ts";

/** 8254 input clock (8254 data sheet; 14.31818 MHz / 12 on PCs). */
export const PIT_HERTZ = 1_193_182;
export const PIT = { channel0: 0x40, channel2: 0x42, control: 0x43, gate: 0x61 } as const;

/** Channel 0 in mode 2 with a period of a millisecond. Uses RAX. */
export function startPit(guest: GuestProgram): void {
  const reload = Math.round(PIT_HERTZ / 1000);
  outByte(guest, PIT.control, 0x34);
  outByte(guest, PIT.channel0, reload & 0xff);
  outByte(guest, PIT.channel0, reload >> 8);
}

/** The count of channel 0 to EAX. Uses RCX. */
function latchPit(guest: GuestProgram): void {
  const { op } = guest;
  outByte(guest, PIT.control, 0x00);
  op.in(al, PIT.channel0);
  op.movzx(ecx, al);
  op.in(al, PIT.channel0);
  op.movzx(eax, al);
  op.shl(eax, 8);
  op.or(eax, ecx);
}

/** Channel 0 in mode 0 without a count: its output stays low. */
export function stopPit(guest: GuestProgram): void {
  outByte(guest, PIT.control, 0x30);
}

function uartOut(guest: GuestProgram, register: number, value: number): void {
  outByte(guest, COM1 + register, value);
}

function uartIn(guest: GuestProgram, register: number): void {
  guest.op.mov(edx, COM1 + register);
  guest.op.in(al, dx);
  guest.op.movzx(eax, al);
}

export const SERIAL: CheckGroup = {
  title: "Serial port COM1",
  checks: [
    {
      name: "uart-scratch",
      rule: "The scratch register keeps what is written",
      clause: "PC16550D, 8.9",
      write: (guest) => {
        uartOut(guest, UART.scratch, 0x5a);
        uartIn(guest, UART.scratch);
        guest.equal(0x5a);
        uartOut(guest, UART.scratch, 0xa5);
        uartIn(guest, UART.scratch);
        guest.equal(0xa5);
      },
    },
    {
      name: "uart-transmitter-empties",
      rule: "After output THRE and TEMT come back",
      clause: "PC16550D, 8.3 (LSR bits 5 and 6)",
      write: (guest) => {
        waitMicroseconds(guest, 5000);
        uartIn(guest, UART.lineStatus);
        guest.op.and(eax, 0x60);
        guest.equal(0x60);
      },
    },
    {
      name: "uart-fifo-identification",
      rule: "With FIFOs on and nothing pending the identification register reads 0xC1",
      clause: "PC16550D, 8.5",
      write: (guest) => {
        uartIn(guest, UART.fifoControl);
        guest.equal(0xc1);
      },
    },
    {
      name: "uart-loopback",
      rule: "In loopback a byte sent is received and does not go out, and modem control shows in modem status",
      clause: "PC16550D, 8.7 (MCR bit 4)",
      write: (guest) => {
        const { op } = guest;
        // Loop, DTR and OUT2: modem status must show DSR and DCD.
        uartOut(guest, UART.modemControl, 0x19);
        uartOut(guest, UART.data, 0x42);
        waitMicroseconds(guest, 2000);
        uartIn(guest, UART.lineStatus);
        op.mov(ebx, eax);
        uartIn(guest, UART.data);
        op.mov(ecx, eax);
        op.push(rcx);
        uartIn(guest, 6);
        op.mov(esi, eax);
        uartOut(guest, UART.modemControl, 0x0b);
        op.pop(rax);
        guest.equal(0x42);
        op.mov(eax, ebx);
        op.and(eax, 1);
        guest.equal(1);
        op.mov(eax, esi);
        op.and(eax, 0xf0);
        guest.equal(0xa0);
      },
    },
  ],
};

export const LEGACY_TIMER: CheckGroup = {
  title: "8259 interrupt controllers and 8254 timer",
  begin: (guest) => {
    const { op } = guest;
    op.call("pic_setup");
    for (let irq = 0; irq < 16; irq++) setAction(guest, VECTOR.pic + irq, "pic_end_of_interrupt");
    // Virtual wire: LINT0 takes what the 8259 pair delivers (MPS, 3.6.2.2).
    apicWrite(guest, APIC.lint0, LVT.external);
  },
  end: (guest) => {
    stopPit(guest);
    outByte(guest, PIC.master + 1, 0xff);
    apicWrite(guest, APIC.lint0, LVT.masked);
  },
  checks: [
    {
      name: "pic-mask-reads-back",
      rule: "Both 8259s give back the interrupt mask that was written",
      clause: "8259A, OCW1",
      write: (guest) => {
        const { op } = guest;
        for (const port of [PIC.master + 1, PIC.slave + 1]) {
          outByte(guest, port, 0xb5);
          op.in(al, port);
          op.movzx(eax, al);
          op.mov(ebx, eax);
          outByte(guest, port, 0xff);
          op.mov(eax, ebx);
          guest.equal(0xb5);
        }
      },
    },
    {
      name: "pit-counts-down",
      rule: "Channel 0 counts down between two latches, below its reload value",
      clause: "8254, counter latch command",
      write: (guest) => {
        const { op } = guest;
        outByte(guest, PIT.control, 0x34);
        outByte(guest, PIT.channel0, 0xff);
        outByte(guest, PIT.channel0, 0xff);
        waitMicroseconds(guest, 100);
        latchPit(guest);
        op.mov(ebx, eax);
        waitMicroseconds(guest, 1000);
        latchPit(guest);
        op.sub(ebx, eax);
        op.mov(eax, ebx);
        op.and(eax, 0xffff);
        // 1193 ticks in a millisecond; a busy host may stretch the wait between the latches.
        guest.between(1100, 40_000);
      },
    },
    {
      name: "pit-agrees-with-pm-timer",
      rule: "The PM timer counts three times as fast as channel 0, 2 % more or less: one crystal drives both",
      clause: "8254, mode 2; ACPI, 4.8.2.1",
      write: (guest) => {
        const { asm, op } = guest;
        const measured = asm.unique("measured");
        outByte(guest, PIT.control, 0x34);
        outByte(guest, PIT.channel0, 0xff);
        outByte(guest, PIT.channel0, 0xff);
        waitMicroseconds(guest, 100);
        // Ten tries, as a busy host may take the processor away between the two clocks.
        op.mov(esi, 10);
        guest.repeat(
          () => {
            latchPit(guest);
            op.mov(ebx, eax);
            op.call("pm_read");
            op.mov(edi, eax);
            waitMicroseconds(guest, 5000);
            latchPit(guest);
            op.sub(ebx, eax);
            // From a small count to a large one the counter went through its reload value, 65535.
            guest.unless(
              (over) => op.jae(over),
              () => op.add(ebx, 0xffff),
            );
            op.call("pm_read");
            op.sub(eax, edi);
            op.and(eax, 0xffffff);
            op.imul(eax, eax, 1000);
            op.xor(edx, edx);
            op.div(ebx);
            op.lea(ecx, memory(rax, -2940));
            op.cmp(ecx, 120);
            op.jbe(measured);
          },
          (again) => {
            op.dec(esi);
            op.jnz(again);
          },
        );
        asm.label(measured);
        // Per mille of the 8254's rate.
        guest.between(2940, 3060);
      },
    },
    {
      name: "pit-channel-2-output",
      rule: "Channel 2 in mode 0 raises its output, port 0x61 bit 5, after its count and not before",
      clause: "8254, mode 0",
      write: (guest) => {
        const { op } = guest;
        // Gate on, speaker off.
        op.in(al, PIT.gate);
        op.and(al, 0xfc);
        op.or(al, 1);
        op.out(PIT.gate, al);
        outByte(guest, PIT.control, 0xb0);
        outByte(guest, PIT.channel2, 0x00);
        outByte(guest, PIT.channel2, 0x40);
        op.in(al, PIT.gate);
        op.movzx(eax, al);
        op.and(eax, 0x20);
        guest.equal(0);
        // 16384 counts are 13.7 ms.
        waitMicroseconds(guest, 14_500);
        op.in(al, PIT.gate);
        op.movzx(eax, al);
        op.and(eax, 0x20);
        guest.equal(0x20);
      },
    },
    {
      name: "pit-ticks-through-8259",
      rule: "Ten periods of a millisecond give ten interrupts on vector 0x20, and not sooner than nine milliseconds",
      clause: "8259A, interrupt sequence; 8254, mode 2",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.pic);
        op.call("set_mark");
        startPit(guest);
        outByte(guest, PIC.master + 1, 0xfe);
        waitFor(guest, "vector_count", VECTOR.pic * 8, 10, 500_000);
        op.mov(ebx, eax);
        outByte(guest, PIC.master + 1, 0xff);
        op.mov(eax, ebx);
        guest.between(10, 11);
        op.call("since_mark");
        guest.between(8_900, 500_000);
      },
    },
    {
      name: "pic-mask-holds-back",
      rule: "A masked line interrupts only when its mask is lifted",
      clause: "8259A, interrupt mask register",
      write: (guest) => {
        const { op } = guest;
        clearCount(guest, VECTOR.pic);
        startPit(guest);
        op.sti();
        waitMicroseconds(guest, 3000);
        op.cli();
        op.mov(rax, countOf(VECTOR.pic));
        guest.equal(0);
        outByte(guest, PIC.master + 1, 0xfe);
        waitFor(guest, "vector_count", VECTOR.pic * 8, 1, 100_000);
        op.mov(ebx, eax);
        outByte(guest, PIC.master + 1, 0xff);
        op.mov(eax, ebx);
        guest.between(1, 2);
      },
    },
  ],
};
