import type { Register } from "./register-table.ts";

/** The debug console of Bochs and QEMU, and the PC's diagnostic port. */
export const debugPortRegisters = {
  console: {
    name: "Debug console",
    at: "0xE9",
    access: "rw",
    reset: 0xe9,
    writable: 0,
    bits: "7:0 character; reads give 0xE9",
    why: "Bochs: a guest reads its own port number to see that there is a console",
  },
  post: {
    name: "POST code",
    at: "0x80",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "7:0 code",
    why: "PC: the page register of no DMA channel, shown by POST cards; Linux writes it to wait",
  },
} as const satisfies Record<string, Register>;
