// Millions of guest instructions per second of CPU time on small loops that stress one thing each. The loop on registers
// alone is what the dispatch costs; there is no peer that does the same work.
import { layout, Processor } from "../dist/src/index.js";

const CODE = 0x100000;
const bytes = (text) =>
  text
    .replaceAll(/;.*$/gm, " ")
    .trim()
    .split(/\s+/)
    .map((byte) => Number.parseInt(byte, 16));

const LOOPS = {
  registers: {
    code: bytes(`48 01 c8 ; add rax, rcx
      48 31 c2 ; xor rdx, rax
      48 83 c1 01 ; add rcx, 1
      48 89 d3 ; mov rbx, rdx
      eb f1 ; jmp`),
  },
  "load and store": {
    code: bytes(`48 8b 06 ; mov rax, [rsi]
      48 01 c8 ; add rax, rcx
      48 89 06 ; mov [rsi], rax
      48 83 c1 01 ; add rcx, 1
      48 39 d1 ; cmp rcx, rdx
      75 ee ; jne
      eb ec`),
  },
  "byte copy": {
    code: bytes(`8a 04 0e ; mov al, [rsi + rcx]
      88 04 0f ; mov [rdi + rcx], al
      48 ff c1 ; inc rcx
      48 81 f9 00 10 00 00 ; cmp rcx, 4096
      72 ee ; jb
      31 c9 ; xor ecx, ecx
      eb ea`),
  },
  calls: {
    code: bytes(`53 ; push rbx
      e8 07 00 00 00 ; call
      5b ; pop rbx
      85 c0 ; test eax, eax
      74 f5 ; jz
      eb f3
      55 ; push rbp
      48 89 e5 ; mov rbp, rsp
      8b 45 10 ; mov eax, [rbp + 16]
      83 e0 07 ; and eax, 7
      c9 c3 ; leave; ret`),
  },
  SSE2: {
    code: bytes(`f3 0f 6f 06 ; movdqu xmm0, [rsi]
      66 0f ef c1 ; pxor xmm0, xmm1
      66 0f fe c2 ; paddd xmm0, xmm2
      f3 0f 7f 07 ; movdqu [rdi], xmm0
      f2 0f 10 1e ; movsd xmm3, [rsi]
      f2 0f 58 db ; addsd xmm3, xmm3
      f2 0f 11 1f ; movsd [rdi], xmm3
      48 83 c1 01 ; add rcx, 1
      eb de`),
  },
  "hash (shifts, unpredictable branch)": {
    code: bytes(`48 89 c2 48 c1 e2 0d 48 31 d0 ; rax ^= rax << 13
      48 89 c2 48 c1 ea 07 48 31 d0 ; rax ^= rax >> 7
      48 89 c2 48 c1 e2 11 48 31 d0 ; rax ^= rax << 17
      a8 01 74 04 48 83 c1 01 ; if (rax & 1) rcx++
      eb d8`),
  },
};

const host = {
  portIn: () => 0,
  portOut: () => {},
  mmioRead: () => 0,
  mmioWrite: () => {},
  cpuid: () => {},
  readMsr: () => false,
  writeMsr: () => false,
  readTaskPriority: () => 0,
  writeTaskPriority: () => {},
  hypercall: () => false,
  random: () => 0n,
};

/** 64-bit mode, identity map of 1 GiB in large pages, flat segments. */
function enterLongMode(processor) {
  const { view } = processor;
  const ram = new DataView(view.buffer, layout.RAM);
  ram.setBigUint64(0x1000, 0x2007n, true);
  ram.setBigUint64(0x2000, 0x3007n, true);
  for (let i = 0; i < 512; i++) ram.setBigUint64(0x3000 + 8 * i, (BigInt(i) * 0x200000n) | 0x87n, true);
  for (const [at, value] of [
    [layout.CR0, 0x80050033n],
    [layout.CR3, 0x1000n],
    [layout.CR4, 0x620n],
    [layout.EFER, 0xd01n],
    [layout.RIP, BigInt(CODE)],
    [layout.GPR + 8 * 2, -1n],
    [layout.GPR + 8 * 4, 0x80000n],
    [layout.GPR + 8 * 6, 0x300000n],
    [layout.GPR + 8 * 7, 0x400000n],
    [layout.GPR, 0x123456789n],
  ])
    view.setBigUint64(at, BigInt.asUintN(64, value), true);
  for (let i = 1; i <= 6; i++) {
    view.setUint16(layout.SEGMENT_ATTRIBUTES + 2 * i, i === 2 ? 0xa09b : 0xc093, true);
    view.setBigUint64(layout.SEGMENT_BASE + 8 * i, 0n, true);
    view.setUint32(layout.SEGMENT_LIMIT + 4 * i, 0xffffffff, true);
  }
  processor.applyRegisters();
}

async function measure(code) {
  const processor = await Processor.create({ ramSize: 16 << 20, vcpus: 1, host });
  enterLongMode(processor);
  processor.ram.set(code, CODE);
  const seconds = (from) => process.cpuUsage(from).user / 1e6;
  const warm = process.cpuUsage();
  while (seconds(warm) < 0.4) processor.run(processor.now() + 1e6);
  const start = process.cpuUsage();
  const before = processor.instructions;
  while (seconds(start) < 0.8) processor.run(processor.now() + 1e6);
  return (processor.instructions - before) / seconds(start) / 1e6;
}

/** One row per loop; the machine's other work is left out by counting CPU time. */
export async function bench() {
  const rows = [];
  for (const [name, { code }] of Object.entries(LOOPS))
    rows.push({ case: `instructions: ${name}`, ours: await measure(code), unit: "MIPS" });
  return rows;
}
