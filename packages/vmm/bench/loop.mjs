// The processor alone: a hot loop in 64-bit mode with a load and a store, as a guest without a kernel, on ours and under QEMU's TCG.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Assembler, al, dword, dx, eax, ebx, ecx, rdi, rsi, wrapMultiboot } from "@entresol/testguest";
import { Vm } from "../dist/index.js";
import { childCpuSeconds, qemuVersion } from "./peers/qemu.mjs";

const ITERATIONS = 40_000_000;
const ROUNDS = 3;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Counts down from `iterations` with eight instructions a round, then resets the machine. */
function guest(iterations) {
  const asm = new Assembler({ origin: 0x200000 });
  const { op } = asm;
  op.lea(rdi, dword("data"));
  op.mov(rsi, rdi);
  op.mov(ecx, iterations);
  op.xor(eax, eax);
  asm.align(16, 0x90);
  asm.label("loop");
  op.add(eax, ecx);
  op.mov(ebx, dword(rsi));
  op.xor(ebx, eax);
  op.shl(ebx, 3);
  op.mov(dword(rdi), ebx);
  op.and(eax, 0x7fffffff);
  op.dec(ecx);
  op.jnz("loop");
  op.mov(dx, 0xcf9);
  op.mov(al, 6);
  op.out(dx, al);
  op.hlt();
  asm.align(4096);
  asm.label("data");
  asm.reserve(64);
  const { bytes, end } = asm.assemble();
  return { image: bytes, loadAddress: asm.origin, entry: asm.origin, memoryEnd: end };
}

async function ours(iterations) {
  const { image, loadAddress, entry } = guest(iterations);
  const vm = await Vm.create({ memory: 16 * 2 ** 20, boot: { kind: "flat", image, loadAddress, entry } });
  const before = process.cpuUsage();
  const stop = await vm.run();
  const { user, system } = process.cpuUsage(before);
  const { instructions } = vm.statistics();
  await vm[Symbol.asyncDispose]();
  if (stop.kind !== "reset") throw new Error(`the loop ended with ${JSON.stringify(stop)}`);
  return { seconds: (user + system) / 1e6, instructions };
}

function underQemu(file) {
  const before = childCpuSeconds();
  const result = spawnSync(
    "qemu-system-x86_64",
    ["-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults", "-no-reboot", "-kernel", file],
    { timeout: 60_000 },
  );
  if (result.status !== 0) throw new Error(`QEMU: ${result.status} ${result.stderr}`);
  return childCpuSeconds() - before;
}

export async function bench() {
  const own = [];
  let instructions = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const run = await ours(ITERATIONS);
    own.push(run.seconds);
    instructions = run.instructions;
  }
  const rate = instructions / median(own) / 1e6;
  const row = {
    case: "hot loop, 8 instructions with a load and a store",
    ours: rate,
    unit: "M instructions/s",
  };
  if (qemuVersion() === undefined) return [{ ...row, peerName: "QEMU not installed" }];
  const folder = mkdtempSync(join(tmpdir(), "entresol-loop-"));
  try {
    const files = [ITERATIONS, 1].map((iterations) => {
      const file = join(folder, String(iterations));
      writeFileSync(file, wrapMultiboot({ ...guest(iterations), checks: [], groups: [] }));
      return file;
    });
    // What QEMU takes to start and to leave again is no part of the loop.
    const peer = Array.from({ length: ROUNDS }, () => underQemu(files[0]) - underQemu(files[1]));
    const peerRate = instructions / median(peer) / 1e6;
    return [{ ...row, peer: peerRate, peerName: "QEMU TCG", ratio: rate / peerRate }];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
