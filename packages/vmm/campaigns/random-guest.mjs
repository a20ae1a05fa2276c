// A whole machine whose guest is random bytes in 64-bit ring 0, with an interrupt table that leads into them. Whatever it does,
// the machine must come to a named stop or still run; nothing may throw, hang or trap.
import { Assembler, addressOf, memory } from "@entresol/testguest";
import { Vm } from "../dist/index.js";

export const description = "random bytes as a guest's kernel, instructions counted";
export const defaultCount = 10_000_000;

/** Guest time per guest, ns: most crash long before. */
const GUEST_TIME = 200_000;
const RANDOM_BYTES = 16 * 1024;
const ORIGIN = 0x100000;

/** SplitMix64, cut to 32 bits. */
function generator(seed) {
  let state = BigInt.asUintN(64, BigInt(seed) * 0x9e3779b97f4a7c15n);
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return Number((z ^ (z >> 31n)) & 0xffffffffn);
  };
}

function guest(random) {
  const asm = new Assembler({ origin: ORIGIN });
  const { op } = asm;
  op.lidt(memory("idtr"));
  op.sti();
  op.jmp("random");
  asm.label("idtr");
  asm.dw(0xfff);
  asm.dq(addressOf("idt"));
  asm.align(16);
  asm.label("idt");
  const start = ORIGIN + 0x2000;
  for (let vector = 0; vector < 256; vector++) {
    const target = start + (random() % RANDOM_BYTES);
    asm.dw(target & 0xffff, 0x10);
    asm.db(0, 0x8e);
    asm.dw(target >>> 16);
    asm.dq(0);
  }
  asm.org(start);
  asm.label("random");
  const bytes = new Uint8Array(RANDOM_BYTES);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random();
  asm.bytes(bytes);
  return { image: asm.assemble().bytes, loadAddress: ORIGIN, entry: ORIGIN };
}

export async function* run({ seed, count, position }) {
  let done = position;
  while (done < count) {
    const random = generator(BigInt(seed) * 1_000_003n + BigInt(done));
    const messages = [];
    let executed = 1;
    let vm;
    try {
      const boot = { kind: "flat", ...guest(random) };
      vm = await Vm.create({ memory: 4 * 2 ** 20, cpus: 1 + (random() & 1), boot });
      const stop = await vm.run({ until: GUEST_TIME });
      if (stop.kind === "host-violation") messages.push(`at ${done}: ${stop.rule}`);
      executed += vm.statistics().instructions;
      vm.inspect();
    } catch (error) {
      messages.push(`at ${done}: ${error instanceof Error ? error.stack : String(error)}`);
    } finally {
      await vm?.[Symbol.asyncDispose]();
    }
    done += executed;
    yield { position: Math.min(done, count), mismatches: messages.length, messages };
  }
}
