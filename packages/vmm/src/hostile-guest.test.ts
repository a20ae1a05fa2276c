import {
  Assembler,
  al,
  ax,
  dword,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  type Instructions,
  memory,
  r8,
  r8d,
  rax,
  rbx,
  rcx,
  rdi,
  rsi,
  rsp,
} from "@entresol/testguest";
import { describe, expect, it } from "vitest";
import { GuestAgent, Vm, type VmStop } from "./index.ts";

/*
 * Guests that mean harm. Whatever they do, the host goes on: `pause` ends the run at once, the event loop keeps turning, nothing
 * throws, and nothing of the host's grows.
 */

const MEMORY = 16 * 2 ** 20;
const ORIGIN = 0x100000;
const HANDLER = 0x108000;
const INTERRUPT_TABLE = 0x109000;
const STACK = 0x120000;
const APIC = 0xfee00000;
/** How long each guest may rage, in ms. */
const RAGE = 100;
/** How long the host may be kept waiting, in ms: a few are usual, the rest is for a machine that has much else to do. */
const PATIENCE = 1000;

type Write = (op: Instructions, asm: Assembler) => void;

/** A guest with an interrupt table whose every gate ends the interrupt and returns. RBX is at the local APIC. */
function hostile(write: Write): { image: Uint8Array; loadAddress: number; entry: number } {
  const asm = new Assembler({ origin: ORIGIN });
  const { op } = asm;
  op.mov(rsp, STACK);
  op.mov(ebx, APIC);
  op.lidt(memory("table_pointer"));
  write(op, asm);
  asm.label("for_ever");
  op.jmp("for_ever");
  asm.align(16);
  asm.label("table_pointer");
  asm.dw(256 * 16 - 1);
  asm.dq(INTERRUPT_TABLE);
  asm.org(HANDLER);
  op.push(rbx);
  op.mov(ebx, APIC);
  op.mov(dword(rbx, 0xb0), 0);
  op.pop(rbx);
  op.iretq();
  asm.org(INTERRUPT_TABLE);
  for (let vector = 0; vector < 256; vector++) {
    asm.dq((BigInt(HANDLER >>> 16) << 48n) | (0x8e00n << 32n) | (0x10n << 16n) | BigInt(HANDLER & 0xffff), 0);
  }
  return { image: asm.assemble().bytes, loadAddress: ORIGIN, entry: ORIGIN };
}

interface Outcome {
  readonly stop: VmStop;
  /** From `pause` to the end of the run, ms. */
  readonly reaction: number;
  /** The longest time that the event loop stood still, ms. */
  readonly stall: number;
  readonly growth: number;
  readonly guestTime: number;
}

async function rage(write: Write, cpus = 1, prepare: (vm: Vm) => void = () => {}): Promise<Outcome> {
  await using vm = await Vm.create({ memory: MEMORY, cpus, boot: { kind: "flat", ...hostile(write) } });
  prepare(vm);
  // Compiling and tiering up belong to nobody.
  vm.pauseAt(1_000_000);
  await vm.run();
  const before = process.memoryUsage();
  let paused = Number.POSITIVE_INFINITY;
  let stall = 0;
  let last = performance.now();
  const watch = setInterval(() => {
    stall = Math.max(stall, performance.now() - last);
    last = performance.now();
  }, 5);
  const timer = setTimeout(() => {
    paused = performance.now();
    vm.pause();
  }, RAGE);
  const stop = await vm.run();
  const reaction = Math.max(0, performance.now() - paused);
  clearTimeout(timer);
  clearInterval(watch);
  const after = process.memoryUsage();
  const growth = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  vm.inspect();
  vm.deviceDigest();
  return { stop, reaction, stall, growth, guestTime: vm.now };
}

/** Sends an interprocessor command from the processor that RBX's APIC belongs to. */
function command(op: Instructions, low: number, destination = 0): void {
  op.mov(dword(rbx, 0x310), destination << 24);
  op.mov(dword(rbx, 0x300), low);
}

/** Puts real-mode code where a SIPI with vector 0x40 starts. */
function atStartup(op: Instructions, ...bytes: number[]): void {
  bytes.forEach((byte, i) => {
    op.mov(edi, 0x40000 + i);
    op.mov(al, byte);
    op.stosb();
  });
}

function again(asm: Assembler, body: () => void): void {
  const label = asm.unique("again");
  asm.label(label);
  body();
  asm.op.jmp(label);
}

const timer = (op: Instructions, mode: number, count: number): void => {
  op.mov(dword(rbx, 0xf0), 0x1ff);
  op.mov(dword(rbx, 0x3e0), 0xb);
  op.mov(dword(rbx, 0x320), mode | 0x40);
  op.mov(dword(rbx, 0x380), count);
};
const TSC_DEADLINE = 0x40000;
const PERIODIC = 0x20000;
const out = (op: Instructions, port: number, value: number): void => {
  op.mov(edx, port);
  op.mov(al, value);
  op.out(dx, al);
};
const programTimer = (op: Instructions, control: number, count: number): void => {
  out(op, 0x43, control);
  out(op, 0x40, count & 0xff);
  out(op, 0x40, count >> 8);
};

const guests: [string, number, Write][] = [
  ["prints for ever", 1, (op, asm) => again(asm, () => out(op, 0x3f8, 0x41))],
  [
    "prints 2^64 bytes in one instruction",
    1,
    (op, asm) =>
      again(asm, () => {
        op.mov(edx, 0x3f8);
        op.mov(rcx, -1);
        op.xor(rsi, rsi);
        op.rep();
        op.outsb();
      }),
  ],
  [
    "prints on the control channel without a line end",
    1,
    (op, asm) => again(asm, () => out(op, 0x2f8, 0x41)),
  ],
  [
    "reads a port 2^64 times in one instruction, into memory that is none",
    1,
    (op) => {
      op.mov(edx, 0x3f8);
      op.mov(rcx, -1);
      op.mov(edi, 0xf0000000);
      op.rep();
      op.insb();
    },
  ],
  [
    "fills the address space of devices in one instruction",
    2,
    (op, asm) =>
      again(asm, () => {
        op.mov(edi, MEMORY);
        op.mov(ecx, (0x100000000 - MEMORY) / 4);
        op.mov(eax, 0xffffffff);
        op.rep();
        op.stosd();
      }),
  ],
  [
    "has a timer that fires every nanosecond",
    1,
    (op, asm) => {
      timer(op, PERIODIC, 1);
      op.sti();
      again(asm, () => op.hlt());
    },
  ],
  [
    "has a timer that fires every nanosecond, spinning with interrupts off",
    2,
    (op) => timer(op, PERIODIC, 1),
  ],
  [
    "arms a deadline that has passed for ever",
    1,
    (op, asm) => {
      timer(op, TSC_DEADLINE, 0);
      op.sti();
      again(asm, () => {
        op.mov(ecx, 0x6e0);
        op.mov(eax, 1);
        op.xor(edx, edx);
        op.wrmsr();
      });
    },
  ],
  [
    "sleeps until the end of time",
    1,
    (op, asm) => {
      timer(op, TSC_DEADLINE, 0);
      op.sti();
      again(asm, () => {
        op.mov(ecx, 0x6e0);
        op.mov(eax, 0xffffffff);
        op.mov(edx, 0x1fffff);
        op.wrmsr();
        op.hlt();
      });
    },
  ],
  [
    "moves its TSC to the end and sleeps",
    1,
    (op, asm) => {
      timer(op, TSC_DEADLINE, 0);
      op.sti();
      again(asm, () => {
        op.mov(ecx, 0x10);
        op.mov(eax, 0xfffffff0);
        op.mov(edx, 0xffffffff);
        op.wrmsr();
        op.mov(ecx, 0x6e0);
        op.mov(eax, 0xffffffff);
        op.mov(edx, 0xffffffff);
        op.wrmsr();
        op.hlt();
      });
    },
  ],
  [
    "waits for an interrupt that never comes",
    2,
    (op) => {
      op.sti();
      op.hlt();
    },
  ],
  [
    "interrupts itself for ever",
    1,
    (op, asm) => {
      op.mov(dword(rbx, 0xf0), 0x1ff);
      op.sti();
      again(asm, () => command(op, 0x44040));
    },
  ],
  ["sends itself NMIs for ever", 1, (op, asm) => again(asm, () => command(op, 0x400))],
  [
    "interrupts everybody for ever",
    16,
    (op, asm) => {
      op.mov(dword(rbx, 0xf0), 0x1ff);
      op.sti();
      again(asm, () => command(op, 0x84050));
    },
  ],
  [
    "starts and stops the others for ever",
    16,
    (op, asm) => {
      atStartup(op, 0xeb, 0xfe);
      again(asm, () => {
        command(op, 0xc4500);
        command(op, 0xc4640);
      });
    },
  ],
  ["sends INIT to itself", 2, (op) => command(op, 0x4500)],
  ["sends INIT to everybody for ever", 4, (op, asm) => again(asm, () => command(op, 0x4500, 0xff))],
  [
    "halts the first processor while another spins",
    2,
    (op) => {
      atStartup(op, 0xeb, 0xfe);
      command(op, 0xc4640);
      op.cli();
      op.hlt();
    },
  ],
  [
    "spins with PAUSE on sixteen processors",
    16,
    (op, asm) => {
      atStartup(op, 0xf3, 0x90, 0xeb, 0xfc);
      command(op, 0xc4640);
      again(asm, () => op.pause());
    },
  ],
  [
    "puts the APIC's page over its own code",
    1,
    (op, asm) =>
      again(asm, () => {
        op.mov(ecx, 0x1b);
        op.mov(eax, ORIGIN | 0x900);
        op.xor(edx, edx);
        op.wrmsr();
      }),
  ],
  [
    "moves the APIC's page through all of memory",
    1,
    (op, asm) => {
      op.xor(r8, r8);
      again(asm, () => {
        op.mov(ecx, 0x1b);
        op.mov(eax, r8d);
        op.or(eax, 0x900);
        op.xor(edx, edx);
        op.wrmsr();
        op.mov(eax, dword(r8, 0x30));
        op.mov(dword(r8, 0x80), eax);
        op.add(r8d, 0x1000);
        // Past the page tables and this code itself, which it would destroy.
        op.cmp(r8d, 0x200000);
        op.mov(eax, 0x200000);
        op.cmovb(r8d, eax);
      });
    },
  ],
  [
    "puts the APIC's page over the IOAPIC",
    1,
    (op, asm) => {
      op.mov(ecx, 0x1b);
      op.mov(eax, 0xfec00900);
      op.xor(edx, edx);
      op.wrmsr();
      op.mov(rbx, rax);
      op.xor(rbx, 0x900);
      again(asm, () => {
        op.mov(eax, dword(rbx, 0x10));
        op.mov(dword(rbx), eax);
      });
    },
  ],
  [
    "has the interval timer ring as fast as it can",
    1,
    (op, asm) => {
      op.sti();
      again(asm, () => {
        for (const mode of [0x30, 0x34, 0x36, 0x38, 0x3a]) programTimer(op, mode, 1);
      });
    },
  ],
  [
    "has every device interrupt at once",
    1,
    (op, asm) => {
      op.mov(dword(rbx, 0xf0), 0x1ff);
      op.mov(r8d, 0xfec00000);
      for (let pin = 0; pin < 24; pin++) {
        op.mov(dword(r8), 0x10 + 2 * pin);
        // Level triggered, active low: high all the time.
        op.mov(dword(r8, 0x10), 0xa030 + pin);
      }
      out(op, 0x70, 0x0a);
      out(op, 0x71, 0x21);
      out(op, 0x70, 0x0b);
      out(op, 0x71, 0x72);
      out(op, 0x3fc, 0x08);
      out(op, 0x3f9, 0x0f);
      programTimer(op, 0x34, 2);
      op.sti();
      again(asm, () => op.hlt());
    },
  ],
];

describe("hostile guest", () => {
  it.each(guests)("%s, %i processors", async (_name, cpus, write) => {
    const { stop, reaction, stall, growth } = await rage(write, cpus, (vm) => {
      const agent = new GuestAgent((bytes) => vm.serial[1]!.send(bytes));
      vm.serial[1]!.onOutput = (bytes) => agent.receive(bytes);
    });
    expect(["paused", "crashed", "halted"]).toContain(stop.kind);
    expect(reaction).toBeLessThan(PATIENCE);
    expect(stall).toBeLessThan(PATIENCE);
    expect(growth).toBeLessThan(48 * 2 ** 20);
  });

  it("cannot keep a host from pausing it that does not take its output", async () => {
    const { stop, reaction } = await rage(
      (op, asm) => again(asm, () => out(op, 0x3f8, 0x41)),
      1,
      (vm) => {
        // Only when somebody is there to pause it.
        vm.holdBack = () => (vm.now > 2_000_000 ? new Promise(() => {}) : undefined);
      },
    );
    expect(stop.kind).toBe("paused");
    expect(reaction).toBeLessThan(PATIENCE);
  });

  it("hears of its end when guest time is used up", async () => {
    const { stop } = await rage((op, asm) => {
      timer(op, TSC_DEADLINE, 0);
      op.sti();
      again(asm, () => {
        op.mov(ecx, 0x6e0);
        op.mov(eax, 0xfffffff0);
        op.mov(edx, 0x1fffff);
        op.wrmsr();
        op.hlt();
      });
    });
    expect(stop).toEqual({
      kind: "halted",
      detail: "guest time has come to its end, 104 days after power-on",
    });
  });

  it("says which processor it was whose third fault ended the machine", async () => {
    const { stop } = await rage((op) => {
      // lidt [cs:0x100], which holds a limit of 0; int3
      atStartup(op, 0x2e, 0x0f, 0x01, 0x1e, 0x00, 0x01, 0xcc);
      command(op, 0xc4640);
    }, 3);
    expect(stop).toMatchObject({ kind: "crashed", vcpu: 1 });
  });

  it("is not given up while a timer can reach it by NMI", async () => {
    const { stop, guestTime } = await rage((op, asm) => {
      op.mov(r8d, 0xfec00000);
      op.mov(dword(r8), 0x14);
      op.mov(dword(r8, 0x10), 0x400);
      programTimer(op, 0x34, 60_000);
      op.cli();
      for (let i = 0; i < 3; i++) op.hlt();
      op.mov(dword(r8, 0x10), 0x10000);
      again(asm, () => op.hlt());
    });
    expect(stop.kind).toBe("halted");
    // Three periods of 60000 cycles at 1.193182 MHz.
    expect(guestTime / 1e6).toBeCloseTo(150.86, 0);
  });

  it("comes to an end when every processor has halted for good", async () => {
    const { stop } = await rage((op) => {
      atStartup(op, 0xfa, 0xf4);
      command(op, 0xc4640);
      op.cli();
      op.hlt();
    }, 4);
    expect(stop.kind).toBe("halted");
  });

  it.each([1, 2, 4])(
    "writes every port, %i bytes wide, and lives on or ends in order",
    async (width) => {
      const accumulator = { 1: al, 2: ax, 4: eax }[width]!;
      for (const value of [0, 0xff, 0x5a]) {
        for (const first of [0, 0x93, 0xcfa]) {
          const { stop, reaction } = await rage((op, asm) => {
            op.sti();
            op.mov(edx, first);
            again(asm, () => {
              op.mov(eax, value);
              op.out(dx, accumulator);
              op.in(accumulator, dx);
              op.inc(edx);
            });
          });
          expect(["paused", "crashed", "halted", "power-off", "reset"]).toContain(stop.kind);
          expect(reaction).toBeLessThan(PATIENCE);
        }
      }
    },
    60_000,
  );

  it("writes every page outside RAM at odd addresses", async () => {
    const { stop } = await rage((op, asm) => {
      again(asm, () => {
        op.mov(edi, MEMORY + 0xffd);
        const pages = asm.unique("pages");
        asm.label(pages);
        op.mov(rax, 0x1122334455667788n);
        for (const register of [rax, eax, ax, al]) op.mov(memory(rdi), register);
        op.mov(rax, memory(rdi));
        op.add(edi, 0x1000);
        op.jnc(pages);
      });
    }, 2);
    expect(["paused", "crashed"]).toContain(stop.kind);
  });
});
