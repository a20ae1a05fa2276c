/* The 8254's modes on the channel whose gate and output port 0x61 shows, and the real-time clock's interrupts. */
import { al, eax, ebx, ecx, qword, rax, rbx } from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC, apicWrite, apicWriteEax, inByte, outByte } from "../runtime/interrupt-controllers.ts";
import { clearCount, countOf, expectCount, setAction, VECTOR } from "../runtime/interrupts.ts";
import { waitMicroseconds } from "../runtime/time.ts";
import type { CheckGroup } from "./check.ts";
import { cmosOut, route } from "./ioapic.ts";
import { measureTimer, stopTimer, timerTicks } from "./local-apic.ts";
import { PIT, stopPit } from "./serial-and-legacy.ts";

const MASKED = 0x10000;
const OUTPUT = 0x20;
const REFRESH = 0x10;
/** Register B of the real-time clock. */
const UPDATE_ENDED = 0x10;
const ALARM = 0x20;

function gate(guest: GuestProgram, on: 0 | 1): void {
  const { op } = guest;
  op.in(al, PIT.gate);
  op.and(al, 0xfc);
  if (on === 1) op.or(al, 1);
  op.out(PIT.gate, al);
}

/** Channel 2, low byte before high byte. */
function program(guest: GuestProgram, mode: number, count: number, bcd: 0 | 1 = 0): void {
  outByte(guest, PIT.control, 0xb0 | (mode << 1) | bcd);
  outByte(guest, PIT.channel2, count & 0xff);
  outByte(guest, PIT.channel2, count >> 8);
}

function expectOutput(guest: GuestProgram, high: boolean): void {
  inByte(guest, PIT.gate);
  guest.op.and(eax, OUTPUT);
  guest.expect(high ? OUTPUT : 0);
}

/** Both bytes of channel 2 to EAX: what is latched, or the count as it runs. Uses RCX. */
function readCount(guest: GuestProgram): void {
  const { op } = guest;
  op.in(al, PIT.channel2);
  op.movzx(ecx, al);
  op.in(al, PIT.channel2);
  op.movzx(eax, al);
  op.shl(eax, 8);
  op.or(eax, ecx);
}

function latch(guest: GuestProgram): void {
  outByte(guest, PIT.control, 0x80);
}

/** Sleeps until `vector` has been counted, at most `limit` microseconds of guest time, which the local APIC's timer ends. */
function sleepUntil(guest: GuestProgram, vector: number, limit: number): void {
  const { asm, op } = guest;
  const end = asm.unique("end");
  setAction(guest, VECTOR.timer, "apic_end_of_interrupt");
  clearCount(guest, VECTOR.timer);
  apicWrite(guest, APIC.timer, VECTOR.timer);
  timerTicks(guest, limit);
  apicWriteEax(guest, APIC.initialCount);
  guest.repeat(
    () => {
      op.cmp(countOf(VECTOR.timer), 0);
      op.jne(end);
      op.sti();
      op.hlt();
      op.cli();
      op.cmp(countOf(vector), 0);
    },
    (again) => op.je(again),
  );
  asm.label(end);
  stopTimer(guest);
}

export const PIT_MODES: CheckGroup = {
  title: "8254 timer: modes",
  begin: (guest) => setAction(guest, VECTOR.pitByIoapic, "apic_end_of_interrupt"),
  end: (guest) => {
    gate(guest, 0);
    stopPit(guest);
    route(guest, 0, MASKED | VECTOR.spurious);
  },
  checks: [
    {
      name: "pit-mode-0",
      rule: "Mode 0: the output falls with the control word, rises at zero, and stays up while the count goes on",
      clause: "8254, mode 0",
      write: (guest) => {
        gate(guest, 1);
        program(guest, 0, 500);
        expectOutput(guest, false);
        waitMicroseconds(guest, 600);
        expectOutput(guest, true);
        latch(guest);
        readCount(guest);
        guest.expect(0xf000, 0xffff);
      },
    },
    {
      name: "pit-mode-0-gate",
      rule: "Mode 0: while the gate is low the count stands, and goes on when it rises",
      clause: "8254, mode 0",
      write: (guest) => {
        const { op } = guest;
        gate(guest, 1);
        program(guest, 0, 60_000);
        waitMicroseconds(guest, 50);
        gate(guest, 0);
        latch(guest);
        readCount(guest);
        op.mov(ebx, eax);
        waitMicroseconds(guest, 500);
        latch(guest);
        readCount(guest);
        op.xor(eax, ebx);
        guest.expect(0);
        gate(guest, 1);
        waitMicroseconds(guest, 500);
        latch(guest);
        readCount(guest);
        op.sub(ebx, eax);
        op.mov(eax, ebx);
        guest.expect(550, 20_000);
      },
    },
    {
      name: "pit-mode-1",
      rule: "Mode 1: the output is high until the gate rises, low for the count then, and a new rise starts over",
      clause: "8254, mode 1",
      write: (guest) => {
        gate(guest, 0);
        program(guest, 1, 3000);
        waitMicroseconds(guest, 3000);
        expectOutput(guest, true);
        gate(guest, 1);
        waitMicroseconds(guest, 1500);
        expectOutput(guest, false);
        gate(guest, 0);
        gate(guest, 1);
        // 3000 counts are 2.5 ms.
        waitMicroseconds(guest, 1500);
        expectOutput(guest, false);
        waitMicroseconds(guest, 1500);
        expectOutput(guest, true);
      },
    },
    {
      name: "pit-mode-2-gate",
      rule: "Mode 2: a low gate stops the count and lifts the output, its rise loads the count anew",
      clause: "8254, mode 2",
      write: (guest) => {
        gate(guest, 1);
        program(guest, 2, 50_000);
        waitMicroseconds(guest, 5000);
        gate(guest, 0);
        expectOutput(guest, true);
        gate(guest, 1);
        waitMicroseconds(guest, 20);
        latch(guest);
        readCount(guest);
        guest.expect(49_000, 50_000);
      },
    },
    {
      name: "pit-mode-3",
      rule: "Mode 3: the output is high for the first half of the count and low for the second; the count falls by two",
      clause: "8254, mode 3",
      write: (guest) => {
        const { op } = guest;
        gate(guest, 1);
        // A period of 10 ms.
        program(guest, 3, 11_932);
        waitMicroseconds(guest, 2500);
        expectOutput(guest, true);
        latch(guest);
        readCount(guest);
        op.and(eax, 1);
        guest.expect(0);
        waitMicroseconds(guest, 5000);
        expectOutput(guest, false);
        waitMicroseconds(guest, 5000);
        expectOutput(guest, true);
      },
    },
    {
      name: "pit-mode-4",
      rule: "Mode 4: the output is high but for one cycle at zero, and the count goes on from there without a reload",
      clause: "8254, mode 4",
      write: (guest) => {
        gate(guest, 1);
        program(guest, 4, 500);
        waitMicroseconds(guest, 200);
        expectOutput(guest, true);
        waitMicroseconds(guest, 400);
        expectOutput(guest, true);
        latch(guest);
        readCount(guest);
        guest.expect(0xf000, 0xffff);
      },
    },
    {
      name: "pit-mode-5",
      rule: "Mode 5: the count starts when the gate rises, and again at every rise",
      clause: "8254, mode 5",
      write: (guest) => {
        gate(guest, 0);
        program(guest, 5, 20_000);
        gate(guest, 1);
        waitMicroseconds(guest, 5000);
        latch(guest);
        readCount(guest);
        guest.expect(10_000, 14_500);
        gate(guest, 0);
        gate(guest, 1);
        waitMicroseconds(guest, 20);
        latch(guest);
        readCount(guest);
        guest.expect(19_000, 20_000);
        expectOutput(guest, true);
      },
    },
    {
      name: "pit-bcd",
      rule: "In BCD the count falls decimally: 1000 less some 120 cycles is 0x08xx",
      clause: "8254, control word format (BCD)",
      write: (guest) => {
        const { op } = guest;
        gate(guest, 1);
        program(guest, 0, 0x1000, 1);
        waitMicroseconds(guest, 100);
        latch(guest);
        readCount(guest);
        op.mov(ebx, eax);
        op.and(eax, 0xf);
        guest.expect(0, 9);
        op.mov(eax, ebx);
        op.shr(eax, 4);
        guest.expect(0x50, 0x88);
        op.mov(eax, ebx);
        op.shr(eax, 4);
        op.and(eax, 0xf);
        guest.expect(0, 9);
      },
    },
    {
      name: "pit-latch-holds",
      rule: "A latched count stays until it is read; another latch command before that is ignored",
      clause: "8254, counter latch command",
      write: (guest) => {
        const { op } = guest;
        gate(guest, 1);
        program(guest, 2, 60_000);
        waitMicroseconds(guest, 20);
        latch(guest);
        waitMicroseconds(guest, 500);
        latch(guest);
        readCount(guest);
        op.mov(ebx, eax);
        latch(guest);
        readCount(guest);
        op.sub(ebx, eax);
        op.mov(eax, ebx);
        guest.expect(550, 20_000);
      },
    },
    {
      name: "pit-read-back",
      rule: "The read-back command gives status, with mode and access, before the count",
      clause: "8254, read-back command",
      write: (guest) => {
        const { op } = guest;
        gate(guest, 1);
        program(guest, 2, 50_000);
        waitMicroseconds(guest, 20);
        outByte(guest, PIT.control, 0xc8);
        inByte(guest, PIT.channel2);
        op.and(eax, 0x7f);
        guest.expect(0x34);
        readCount(guest);
        guest.expect(49_000, 50_000);
      },
    },
    {
      name: "pit-null-count",
      rule: "The status says that a count has been written and not yet loaded",
      clause: "8254, read-back command (null count)",
      write: (guest) => {
        const { op } = guest;
        const nullCount = (wanted: number): void => {
          outByte(guest, PIT.control, 0xe8);
          inByte(guest, PIT.channel2);
          op.and(eax, 0x40);
          guest.expect(wanted);
        };
        gate(guest, 0);
        program(guest, 1, 1000);
        waitMicroseconds(guest, 20);
        nullCount(0x40);
        gate(guest, 1);
        waitMicroseconds(guest, 20);
        nullCount(0);
      },
    },
    {
      name: "pit-one-byte-access",
      rule: "With access to one byte, the other byte of the count is 0",
      clause: "8254, control word format (RW)",
      write: (guest) => {
        gate(guest, 0);
        for (const [access, value, low, high] of [
          [0x90, 0x80, 0x80, 0x80],
          [0xa0, 0x80, 0x80, 0x80],
        ] as const) {
          outByte(guest, PIT.control, access);
          outByte(guest, PIT.channel2, value);
          waitMicroseconds(guest, 20);
          inByte(guest, PIT.channel2);
          guest.expect(low, high);
          inByte(guest, PIT.channel2);
          guest.expect(low, high);
        }
      },
    },
    {
      name: "pit-mode-0-interrupt",
      rule: "Channel 0 in mode 0 interrupts once for every count written",
      clause: "8254, mode 0",
      write: (guest) => {
        stopPit(guest);
        route(guest, 0, VECTOR.pitByIoapic);
        clearCount(guest, VECTOR.pitByIoapic);
        for (const times of [1, 2]) {
          outByte(guest, PIT.control, 0x30);
          outByte(guest, PIT.channel0, 0x00);
          outByte(guest, PIT.channel0, 0x02);
          guest.op.sti();
          waitMicroseconds(guest, 1500);
          guest.op.cli();
          expectCount(guest, VECTOR.pitByIoapic, times);
        }
        stopPit(guest);
        route(guest, 0, MASKED | VECTOR.spurious);
      },
    },
    {
      name: "port-61-refresh",
      rule: "Port 0x61 bit 4 follows the memory refresh, up and down in some 15 us each",
      clause: "chipset, NMI status and control register",
      write: (guest) => {
        const { op } = guest;
        op.xor(ebx, ebx);
        for (let i = 0; i < 12; i++) {
          inByte(guest, PIT.gate);
          op.and(eax, REFRESH);
          op.shr(eax, 4);
          op.add(ebx, eax);
          waitMicroseconds(guest, 11);
        }
        op.mov(rax, rbx);
        guest.expect(1, 11);
      },
    },
  ],
};

export const RTC_INTERRUPTS: CheckGroup = {
  title: "Real-time clock: interrupts",
  routines: (guest) => {
    const { op } = guest;
    guest.variable("rtc_flags");
    guest.routine("rtc_keep_flags", () => {
      outByte(guest, 0x70, 0x0c);
      op.in(al, 0x71);
      op.movzx(eax, al);
      op.mov(qword("rtc_flags"), rax);
      op.call("apic_end_of_interrupt");
    });
  },
  begin: (guest) => {
    measureTimer(guest);
    setAction(guest, VECTOR.rtc, "rtc_keep_flags");
    route(guest, 8, VECTOR.rtc);
  },
  end: (guest) => {
    route(guest, 8, MASKED | VECTOR.spurious);
    setAction(guest, VECTOR.rtc, "apic_end_of_interrupt");
  },
  checks: [
    ...(
      [
        ["rtc-update-interrupt", UPDATE_ENDED, "The update-ended interrupt comes once a second"],
        ["rtc-alarm-interrupt", ALARM, "An alarm of three don't-cares comes every second"],
      ] as const
    ).map(([name, enable, rule]) => ({
      name,
      rule: `${rule}, and register C, which says why, is clear when it has been read`,
      clause: "MC146818, interrupts and register C",
      write: (guest: GuestProgram) => {
        const { op } = guest;
        for (const register of [1, 3, 5]) cmosOut(guest, register, 0xc0);
        cmosOut(guest, 0x0a, 0x26);
        outByte(guest, 0x70, 0x0b);
        op.in(al, 0x71);
        op.movzx(ebx, al);
        op.and(ebx, 0x8f);
        outByte(guest, 0x70, 0x0c);
        op.in(al, 0x71);
        outByte(guest, 0x70, 0x0b);
        op.mov(eax, ebx);
        op.or(eax, enable);
        op.out(0x71, al);
        // The first one brings us to the second's begin, the next is a second later.
        clearCount(guest, VECTOR.rtc);
        sleepUntil(guest, VECTOR.rtc, 2_100_000);
        op.call("set_mark");
        clearCount(guest, VECTOR.rtc);
        sleepUntil(guest, VECTOR.rtc, 2_100_000);
        op.call("since_mark");
        guest.expect(990_000, 1_010_000);
        op.mov(rax, qword("rtc_flags"));
        op.and(eax, 0x80 | enable);
        guest.expect(0x80 | enable);
        outByte(guest, 0x70, 0x0b);
        op.mov(eax, ebx);
        op.out(0x71, al);
        outByte(guest, 0x70, 0x0c);
        op.in(al, 0x71);
        inRegister(guest, 0x0c);
        guest.expect(0);
        expectCount(guest, VECTOR.rtc, 1);
      },
    })),
    {
      name: "rtc-set-stops",
      rule: "While SET is 1 the clock keeps what is written to it, and no update is in progress",
      clause: "MC146818, register B (SET) and register A (UIP)",
      write: (guest) => {
        const { op } = guest;
        inRegister(guest, 0x0b);
        op.mov(ebx, eax);
        op.and(ebx, 0x0f);
        inRegister(guest, 0);
        op.push(rax);
        outByte(guest, 0x70, 0x0b);
        op.mov(eax, ebx);
        op.or(eax, 0x80);
        op.out(0x71, al);
        cmosOut(guest, 0, 0x30);
        inRegister(guest, 0);
        guest.expect(0x30);
        inRegister(guest, 0x0a);
        op.and(eax, 0x80);
        guest.expect(0);
        outByte(guest, 0x70, 0);
        op.pop(rax);
        op.out(0x71, al);
        outByte(guest, 0x70, 0x0b);
        op.mov(eax, ebx);
        op.out(0x71, al);
      },
    },
  ],
};

function inRegister(guest: GuestProgram, register: number): void {
  outByte(guest, 0x70, register);
  inByte(guest, 0x71);
}
