/* The test guest as a file that other machines can load: multiboot 1, a 32-bit stub in front, then the guest as it is. */
import {
  Assembler,
  addressOf,
  cr0,
  cr3,
  cr4,
  dword,
  eax,
  ecx,
  edi,
  edx,
  esi,
  far,
  memory,
  rax,
} from "./assembler/index.ts";
import type { Guest } from "./guest.ts";

const MAGIC = 0x1badb002;
/** The header carries load addresses, so any flat file will do. */
const ADDRESS_FIELDS = 0x10000;
/** Six page-table pages in conventional memory below the guest's start code. */
const TABLES = 0x60000;

/**
 * Wraps a guest for loaders that speak multiboot 1 (`qemu-system-x86_64 -kernel`). The stub builds an identity map of 4 GiB,
 * enters 64-bit mode and jumps to the guest with RSI = 0. The guest's load address must be 4096 above a free page.
 */
export function wrapMultiboot(guest: Guest): Uint8Array {
  const base = guest.loadAddress - 4096;
  const asm = new Assembler({ origin: base, bits: 32 });
  const { op } = asm;
  asm.dd(MAGIC, ADDRESS_FIELDS, -(MAGIC + ADDRESS_FIELDS) >>> 0);
  asm.dd(base, base, guest.loadAddress + guest.image.length, guest.memoryEnd, addressOf("start"));

  asm.label("start");
  op.cli();
  op.cld();
  op.mov(edi, TABLES);
  op.mov(ecx, (6 * 4096) / 4);
  op.xor(eax, eax);
  op.rep();
  op.stosd();
  op.mov(dword(TABLES), (TABLES + 0x1000) | 3);
  for (let i = 0; i < 4; i++) op.mov(dword(TABLES + 0x1000 + i * 8), (TABLES + 0x2000 + i * 0x1000) | 3);
  op.mov(edi, TABLES + 0x2000);
  op.mov(eax, 0x83);
  asm.label("fill");
  op.mov(dword(edi), eax);
  op.add(edi, 8);
  op.add(eax, 0x200000);
  op.jnc("fill");
  op.mov(eax, 0x20);
  op.mov(cr4, eax);
  op.mov(eax, TABLES);
  op.mov(cr3, eax);
  op.mov(ecx, 0xc0000080);
  op.xor(edx, edx);
  op.mov(eax, 0x100);
  op.wrmsr();
  op.mov(eax, 0x80000033);
  op.mov(cr0, eax);
  op.lgdt(memory("descriptors_pointer"));
  op.jmpf(far(8, addressOf("long_mode")));
  asm.use(64);
  asm.label("long_mode");
  op.xor(esi, esi);
  op.mov(rax, guest.entry);
  op.jmp(rax);
  asm.align(8);
  asm.label("descriptors");
  asm.dq(0, 0x00af9b000000ffffn);
  asm.label("descriptors_pointer");
  asm.dw(15);
  asm.dd(addressOf("descriptors"));
  asm.org(guest.loadAddress);
  asm.bytes(guest.image);
  return asm.assemble().bytes;
}
