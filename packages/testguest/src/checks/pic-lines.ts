/* The 8259 pair as its data sheet has it: priorities, the forms of EOI, rotation, masks, poll, automatic EOI, levels. */
import { al, byte, dx, eax, edx } from "../assembler/index.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { APIC, apicWrite, inByte, LVT, outByte, PIC } from "../runtime/interrupt-controllers.ts";
import { lowerAt, NO_LINES, setLine } from "../runtime/interrupt-lines.ts";
import { clearCount, expectCount, letInterruptsIn, setAction, VECTOR } from "../runtime/interrupts.ts";
import { waitMicroseconds } from "../runtime/time.ts";
import type { Check, CheckGroup } from "./check.ts";

const EDGE_LEVEL = 0x4d0;
/** Inputs that the checks move, by falling priority: two of the master, two of the slave, which stand between them. */
const SLAVE_HIGH = 10;
const SLAVE_LOW = 15;
const HIGH = 5;
const LOW = 7;
const INPUTS = [HIGH, LOW, SLAVE_HIGH, SLAVE_LOW];

const OCW2 = { eoi: 0x20, specific: 0x60, rotate: 0xa0, rotateSpecific: 0xe0, setPriority: 0xc0 } as const;
const OCW3 = { requests: 0x0a, inService: 0x0b, poll: 0x0c, specialMask: 0x68, noSpecialMask: 0x48 } as const;

const vectorOf = (input: number) => VECTOR.pic + input;

function master(guest: GuestProgram, command: number): void {
  outByte(guest, PIC.master, command);
}

function slave(guest: GuestProgram, command: number): void {
  outByte(guest, PIC.slave, command);
}

/** Nothing masked but what no check moves. */
function unmask(guest: GuestProgram): void {
  outByte(guest, PIC.master + 1, 0xff & ~((1 << HIGH) | (1 << LOW) | 4));
  outByte(guest, PIC.slave + 1, 0xff & ~((1 << (SLAVE_HIGH - 8)) | (1 << (SLAVE_LOW - 8))));
}

/** A register of the chip at `port` that OCW3 chooses is kept, and must be `wanted` under `mask`. */
function expectRegister(
  guest: GuestProgram,
  port: number,
  which: number,
  mask: number,
  wanted: number,
): void {
  outByte(guest, port, which);
  inByte(guest, port);
  guest.op.and(eax, mask);
  guest.expect(wanted);
}

/** The pair is programmed anew, its vectors counted and left in service, the inputs low. */
function startOver(guest: GuestProgram): void {
  for (const input of INPUTS) {
    setLine(guest, input, 0);
    setAction(guest, vectorOf(input), undefined);
    clearCount(guest, vectorOf(input));
  }
  for (const port of [EDGE_LEVEL, EDGE_LEVEL + 1]) outByte(guest, port, 0);
  guest.op.call("pic_setup");
  unmask(guest);
}

function expectInput(guest: GuestProgram, input: number, count: number): void {
  expectCount(guest, vectorOf(input), count);
}

function onLines(name: string, rule: string, clause: string, write: (guest: GuestProgram) => void): Check {
  return {
    name,
    rule,
    clause,
    write: (guest) => {
      guest.skipUnless("has_lines", NO_LINES);
      startOver(guest);
      write(guest);
      startOver(guest);
      outByte(guest, PIC.master + 1, 0xff);
    },
  };
}

/** ICW1 to ICW4 of the master, then the masks. */
function initialize(guest: GuestProgram, icw4: number): void {
  outByte(guest, PIC.master, 0x11);
  outByte(guest, PIC.master + 1, VECTOR.pic);
  outByte(guest, PIC.master + 1, 4);
  outByte(guest, PIC.master + 1, icw4);
  unmask(guest);
}

export const PIC_LINES: CheckGroup = {
  title: "8259 interrupt controllers: inputs",
  routines: (guest) => guest.variable("edge_level", 2),
  begin: (guest) => {
    for (const chip of [0, 1]) {
      inByte(guest, EDGE_LEVEL + chip);
      guest.op.mov(byte("edge_level", chip), al);
    }
    apicWrite(guest, APIC.lint0, LVT.external);
  },
  end: (guest) => {
    guest.op.call("pic_setup");
    apicWrite(guest, APIC.lint0, LVT.masked);
    for (const chip of [0, 1]) {
      guest.op.mov(edx, EDGE_LEVEL + chip);
      guest.op.mov(al, byte("edge_level", chip));
      guest.op.out(dx, al);
    }
  },
  checks: [
    onLines(
      "pic-request-and-service",
      "A high input shows in IRR, and once taken in ISR until its EOI",
      "8259A, OCW3 (IRR, ISR)",
      (guest) => {
        setLine(guest, HIGH, 1);
        expectRegister(guest, PIC.master, OCW3.requests, 1 << HIGH, 1 << HIGH);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 1);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 1 << HIGH);
        master(guest, OCW2.eoi);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 0);
      },
    ),
    onLines(
      "pic-edge",
      "An edge-triggered input interrupts once for every rise",
      "8259A, edge and level triggered modes",
      (guest) => {
        for (const count of [1, 2]) {
          setLine(guest, HIGH, 1);
          for (let i = 0; i < 2; i++) {
            letInterruptsIn(guest);
            expectInput(guest, HIGH, count);
            master(guest, OCW2.eoi);
          }
          setLine(guest, HIGH, 0);
        }
      },
    ),
    onLines(
      "pic-edge-withdrawn",
      "An edge request whose input falls before it is taken is gone",
      "8259A, edge and level triggered modes",
      (guest) => {
        setLine(guest, HIGH, 1);
        setLine(guest, HIGH, 0);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 0);
      },
    ),
    onLines(
      "pic-fully-nested",
      "An input in service holds back lower ones and itself, not higher ones; the slave's stand at input 2",
      "8259A, fully nested mode",
      (guest) => {
        for (const input of INPUTS) setLine(guest, input, 1);
        letInterruptsIn(guest);
        for (const [input, count] of [
          [SLAVE_HIGH, 1],
          [SLAVE_LOW, 0],
          [HIGH, 0],
          [LOW, 0],
        ] as const)
          expectInput(guest, input, count);
        slave(guest, OCW2.eoi);
        master(guest, OCW2.eoi);
        letInterruptsIn(guest);
        expectInput(guest, SLAVE_LOW, 1);
        expectInput(guest, HIGH, 0);
        slave(guest, OCW2.eoi);
        master(guest, OCW2.eoi);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 1);
        expectInput(guest, LOW, 0);
        master(guest, OCW2.eoi);
        letInterruptsIn(guest);
        expectInput(guest, LOW, 1);
        master(guest, OCW2.eoi);
      },
    ),
    onLines(
      "pic-higher-interrupts-lower",
      "A higher input interrupts a lower one in service; a non-specific EOI ends the higher",
      "8259A, fully nested mode; OCW2",
      (guest) => {
        setLine(guest, LOW, 1);
        letInterruptsIn(guest);
        setLine(guest, HIGH, 1);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 1);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, (1 << HIGH) | (1 << LOW));
        master(guest, OCW2.eoi);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 1 << LOW);
        master(guest, OCW2.eoi);
      },
    ),
    onLines(
      "pic-specific-eoi",
      "A specific EOI ends the input that it names, whatever else is in service",
      "8259A, OCW2",
      (guest) => {
        for (const input of [LOW, HIGH]) {
          setLine(guest, input, 1);
          letInterruptsIn(guest);
        }
        master(guest, OCW2.specific | LOW);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 1 << HIGH);
        master(guest, OCW2.specific | HIGH);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 0);
      },
    ),
    onLines(
      "pic-rotate-on-eoi",
      "A rotating EOI makes the input that it ends the lowest",
      "8259A, automatic rotation",
      (guest) => {
        setLine(guest, HIGH, 1);
        letInterruptsIn(guest);
        master(guest, OCW2.rotate);
        setLine(guest, HIGH, 0);
        setLine(guest, HIGH, 1);
        setLine(guest, LOW, 1);
        letInterruptsIn(guest);
        expectInput(guest, LOW, 1);
        expectInput(guest, HIGH, 1);
        master(guest, OCW2.eoi);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 2);
        master(guest, OCW2.eoi);
        master(guest, OCW2.setPriority | 7);
      },
    ),
    onLines(
      "pic-rotate-on-specific-eoi",
      "A rotating specific EOI ends the input that it names and makes it the lowest",
      "8259A, specific rotation",
      (guest) => {
        setLine(guest, HIGH, 1);
        letInterruptsIn(guest);
        master(guest, OCW2.rotateSpecific | HIGH);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 0);
        setLine(guest, HIGH, 0);
        setLine(guest, HIGH, 1);
        setLine(guest, LOW, 1);
        letInterruptsIn(guest);
        expectInput(guest, LOW, 1);
        expectInput(guest, HIGH, 1);
        master(guest, OCW2.eoi);
        letInterruptsIn(guest);
        master(guest, OCW2.eoi);
        master(guest, OCW2.setPriority | 7);
      },
    ),
    onLines(
      "pic-set-priority",
      "Set priority makes the input that it names the lowest: the next one is the highest then",
      "8259A, specific rotation",
      (guest) => {
        master(guest, OCW2.setPriority | 6);
        setLine(guest, HIGH, 1);
        setLine(guest, LOW, 1);
        letInterruptsIn(guest);
        expectInput(guest, LOW, 1);
        expectInput(guest, HIGH, 0);
        master(guest, OCW2.eoi);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 1);
        master(guest, OCW2.eoi);
        master(guest, OCW2.setPriority | 7);
      },
    ),
    onLines(
      "pic-automatic-eoi",
      "With automatic EOI nothing stays in service",
      "8259A, automatic end of interrupt mode",
      (guest) => {
        initialize(guest, 3);
        setLine(guest, HIGH, 1);
        letInterruptsIn(guest);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 0);
        setLine(guest, LOW, 1);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 1);
        expectInput(guest, LOW, 1);
      },
    ),
    onLines(
      "pic-special-mask",
      "In special mask mode an input that is in service and masked holds back nobody",
      "8259A, special mask mode",
      (guest) => {
        setLine(guest, HIGH, 1);
        letInterruptsIn(guest);
        setLine(guest, LOW, 1);
        outByte(guest, PIC.master + 1, 0xff & ~(1 << LOW));
        letInterruptsIn(guest);
        expectInput(guest, LOW, 0);
        master(guest, OCW3.specialMask);
        letInterruptsIn(guest);
        expectInput(guest, LOW, 1);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, (1 << HIGH) | (1 << LOW));
        master(guest, OCW2.specific | LOW);
        master(guest, OCW2.specific | HIGH);
        master(guest, OCW3.noSpecialMask);
      },
    ),
    onLines(
      "pic-poll",
      "A poll reads bit 7 and the highest request, which is in service then; without a request bit 7 is 0",
      "8259A, poll command",
      (guest) => {
        const poll = (wanted: number, mask: number): void => {
          master(guest, OCW3.poll);
          inByte(guest, PIC.master);
          guest.op.and(eax, mask);
          guest.expect(wanted);
        };
        poll(0, 0x80);
        setLine(guest, HIGH, 1);
        setLine(guest, LOW, 1);
        poll(0x80 | HIGH, 0x87);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 1 << HIGH);
        poll(0, 0x80);
        master(guest, OCW2.eoi);
        poll(0x80 | LOW, 0x87);
        master(guest, OCW2.eoi);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 0);
      },
    ),
    onLines(
      "pic-cascade",
      "A slave's input is in service in both chips, and needs an EOI of both",
      "8259A, cascade mode",
      (guest) => {
        setLine(guest, SLAVE_LOW, 1);
        letInterruptsIn(guest);
        expectInput(guest, SLAVE_LOW, 1);
        expectRegister(guest, PIC.slave, OCW3.inService, 0xff, 1 << (SLAVE_LOW - 8));
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 4);
        setLine(guest, HIGH, 1);
        slave(guest, OCW2.eoi);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 0);
        master(guest, OCW2.eoi);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 1);
        master(guest, OCW2.eoi);
      },
    ),
    onLines(
      "pic-masked-request",
      "A masked input's request waits for its mask to be lifted",
      "8259A, OCW1",
      (guest) => {
        outByte(guest, PIC.master + 1, 0xff);
        setLine(guest, HIGH, 1);
        expectRegister(guest, PIC.master, OCW3.requests, 1 << HIGH, 1 << HIGH);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 0);
        unmask(guest);
        letInterruptsIn(guest);
        expectInput(guest, HIGH, 1);
        master(guest, OCW2.eoi);
      },
    ),
    onLines(
      "pic-initialization-clears",
      "ICW1 clears masks and what is in service",
      "8259A, initialization command words",
      (guest) => {
        setLine(guest, HIGH, 1);
        letInterruptsIn(guest);
        outByte(guest, PIC.master, 0x11);
        outByte(guest, PIC.master + 1, VECTOR.pic);
        outByte(guest, PIC.master + 1, 4);
        outByte(guest, PIC.master + 1, 1);
        inByte(guest, PIC.master + 1);
        guest.expect(0);
        outByte(guest, PIC.master + 1, 0xff);
        expectRegister(guest, PIC.master, OCW3.inService, 0xff, 0);
      },
    ),
    onLines(
      "pic-level",
      "An input that ELCR makes level-triggered interrupts again after EOI until it falls",
      "8259A, edge and level triggered modes; chipset, ELCR",
      (guest) => {
        setAction(guest, vectorOf(HIGH), "level_interrupt_pic");
        lowerAt(guest, HIGH, 4);
        outByte(guest, EDGE_LEVEL, 1 << HIGH);
        setLine(guest, HIGH, 1);
        guest.op.sti();
        waitMicroseconds(guest, 50);
        guest.op.cli();
        expectInput(guest, HIGH, 4);
      },
    ),
    onLines(
      "pic-edge-level-bits",
      "ELCR has no bits for inputs 0, 1, 2, 8 and 13",
      "chipset, ELCR",
      (guest) => {
        for (const [port, bits] of [
          [EDGE_LEVEL, 0xf8],
          [EDGE_LEVEL + 1, 0xde],
        ] as const) {
          outByte(guest, port, 0xff);
          inByte(guest, port);
          guest.expect(bits);
          outByte(guest, port, 0);
          inByte(guest, port);
          guest.expect(0);
        }
      },
    ),
  ],
};
