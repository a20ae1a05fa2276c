/* Output on COM1 by polling, and numbers as text (16550 data sheet, line status register bit 5). */
import {
  al,
  byte,
  cl,
  dl,
  dx,
  eax,
  ebx,
  ecx,
  edx,
  esi,
  memory,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../assembler/index.ts";
import type { GuestProgram } from "./guest-program.ts";

export const COM1 = 0x3f8;

/** Registers of the 16550 as offsets from its base. */
export const UART = {
  data: 0,
  interruptEnable: 1,
  fifoControl: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  scratch: 7,
};

/**
 * uart_setup: 115200 8N1, FIFOs on, DTR RTS OUT2. print: text at RSI, "\n" becomes CR LF. print_decimal, print_hex: RAX.
 */
export function writeConsole(guest: GuestProgram): void {
  const { asm, op } = guest;

  guest.routine("uart_setup", () => {
    const values: readonly (readonly [number, number])[] = [
      [UART.interruptEnable, 0x00],
      // DLAB, then divisor 1.
      [UART.lineControl, 0x80],
      [UART.data, 0x01],
      [UART.interruptEnable, 0x00],
      [UART.lineControl, 0x03],
      [UART.fifoControl, 0x07],
      [UART.modemControl, 0x0b],
    ];
    for (const [register, value] of values) {
      op.mov(edx, COM1 + register);
      op.mov(al, value);
      op.out(dx, al);
    }
  });

  // AL = character. A port that never gets ready loses the character instead of hanging the guest.
  guest.routineKeeping("print_character", [rbx], () => {
    op.mov(ecx, 100_000);
    op.mov(rbx, rax);
    op.mov(edx, COM1 + UART.lineStatus);
    const ready = asm.unique("ready");
    guest.repeat(
      () => {
        op.in(al, dx);
        op.test(al, 0x20);
        op.jnz(ready);
        op.pause();
      },
      (again) => {
        op.dec(ecx);
        op.jnz(again);
      },
    );
    asm.label(ready);
    op.mov(rax, rbx);
    op.mov(edx, COM1);
    op.out(dx, al);
  });

  guest.routineKeeping("print", [rsi, rax, rcx, rdx], () => {
    const end = asm.unique("end");
    guest.repeat(
      () => {
        op.movzx(eax, byte(rsi));
        op.inc(rsi);
        op.test(al, al);
        op.jz(end);
        guest.unless(
          (over) => {
            op.cmp(al, 0x0a);
            op.jne(over);
          },
          () => {
            op.mov(al, 0x0d);
            op.call("print_character");
            op.mov(al, 0x0a);
          },
        );
        op.call("print_character");
      },
      (again) => op.jmp(again),
    );
    asm.label(end);
  });

  // Both number routines write their digits backwards, ending at number_text + 31.
  guest.variable("number_text", 32);
  const digits = (name: string, base: number, prefix: string) =>
    guest.routineKeeping(name, [rsi, rbx, rdi], () => {
      op.lea(rsi, memory("number_text", 31));
      op.mov(byte(rsi), 0);
      op.mov(ecx, base);
      guest.repeat(
        () => {
          op.xor(edx, edx);
          op.div(rcx);
          op.add(dl, 0x30);
          guest.unless(
            (over) => {
              op.cmp(dl, 0x39);
              op.jbe(over);
            },
            () => op.add(dl, 0x27),
          );
          op.dec(rsi);
          op.mov(byte(rsi), dl);
        },
        (again) => {
          op.test(rax, rax);
          op.jnz(again);
        },
      );
      if (prefix !== "") guest.say(prefix);
      op.call("print");
    });
  digits("print_decimal", 10, "");
  digits("print_hex", 16, "0x");

  // EAX = four characters of an identification, printed as they are; anything unprintable as a dot.
  guest.routineKeeping("print_four", [rbx, rsi], () => {
    op.mov(rbx, rax);
    op.mov(esi, 4);
    guest.repeat(
      () => {
        op.mov(eax, ebx);
        guest.unless(
          (over) => {
            op.mov(cl, al);
            op.sub(cl, 0x20);
            op.cmp(cl, 0x5e);
            op.jbe(over);
          },
          () => op.mov(al, 0x2e),
        );
        op.call("print_character");
        op.shr(rbx, 8);
      },
      (again) => {
        op.dec(esi);
        op.jnz(again);
      },
    );
  });
}
