import { Assembler, addressOf, al, dx, eax, ebx, esi, memory } from "@entresol/testguest";

/** A multiboot kernel of a few instructions at 1 MiB, in 32-bit code; EBX holds the address of the information. */
export function multibootKernel(write: (asm: Assembler) => void): Uint8Array {
  const asm = new Assembler({ origin: 0x100000, bits: 32 });
  const magic = 0x1badb002;
  /** The header has addresses. */
  const flags = 1 << 16;
  asm.dd(magic, flags, -(magic + flags) >>> 0);
  asm.dd(asm.origin, asm.origin, 0, 0, addressOf("start"));
  asm.label("start");
  write(asm);
  return asm.assemble().bytes;
}

/** Writes `text` to COM1. */
export function say({ op }: Assembler, text: string): void {
  op.mov(dx, 0x3f8);
  for (const byte of Buffer.from(text)) {
    op.mov(al, byte);
    op.out(dx, al);
  }
}

/** Ends with the result in EAX. */
export function exitWithEax({ op }: Assembler): void {
  op.mov(dx, 0xf4);
  op.out(dx, eax);
}

/** Writes the text to COM1 that the information points to from `field`. */
export function sayTextAt(asm: Assembler, field: number): void {
  const { op } = asm;
  op.mov(esi, memory({ base: ebx, displacement: field }));
  sayTextAtEsi(asm);
}

/** Writes the text at ESI to COM1, up to its NUL. */
export function sayTextAtEsi(asm: Assembler): void {
  const { op } = asm;
  const name = asm.unique("text");
  op.mov(dx, 0x3f8);
  asm.label(name);
  op.lodsb();
  op.out(dx, al);
  op.test(al, al);
  op.jnz(name);
}
