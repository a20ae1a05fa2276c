import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Assembler,
  al,
  ax,
  bl,
  buildTestGuest,
  byte,
  dx,
  eax,
  ebx,
  ecx,
  edx,
  esi,
  memory,
  wrapMultiboot,
} from "@entresol/testguest";
import { afterAll, describe, expect, it } from "vitest";
import { Vm, type VmConfig, type VmStop } from "./index.ts";
import { exitWithEax, multibootKernel, say, sayTextAt, sayTextAtEsi } from "./testing/multiboot-kernel.ts";

const MEMORY = 16 * 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "entresol-multiboot-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function config(write: (asm: Assembler) => void, change: Partial<VmConfig> = {}): VmConfig {
  return {
    memory: MEMORY,
    boot: { kind: "multiboot", kernel: multibootKernel(write), commandLine: "kernel x=1" },
    testDevice: true,
    ...change,
  };
}

async function finish(vm: Vm): Promise<{ stop: VmStop; text: string }> {
  let text = "";
  vm.serial[0]!.onOutput = (bytes) => {
    text += Buffer.from(bytes).toString("latin1");
  };
  const stop = await vm.run();
  return { stop, text };
}

async function run(options: VmConfig): Promise<{ stop: VmStop; text: string }> {
  await using vm = await Vm.create(options);
  return await finish(vm);
}

/** Reads port `port`, one byte, and ends with it as the result. */
function exitWithByteOf(asm: Assembler, port: number): void {
  const { op } = asm;
  op.xor(eax, eax);
  op.mov(dx, port);
  op.in(al, dx);
  exitWithEax(asm);
}

describe("a multiboot kernel", () => {
  it("is told its command line, its modules and the loader's name", async () => {
    const kernel = multibootKernel((asm) => {
      sayTextAt(asm, 16);
      sayTextAt(asm, 64);
      asm.op.mov(ecx, memory({ base: ebx, displacement: 24 }));
      for (const field of [8, 0]) {
        asm.op.mov(esi, memory({ base: ecx, displacement: field }));
        sayTextAtEsi(asm);
      }
      asm.op.mov(eax, memory({ base: ebx, displacement: 20 }));
      exitWithEax(asm);
    });
    const modules = [{ bytes: Buffer.from("content\0"), commandLine: "file name" }];
    const { stop, text } = await run({
      memory: MEMORY,
      boot: { kind: "multiboot", kernel, commandLine: "kernel x=1", modules },
      testDevice: true,
    });
    expect(text.split("\0")).toEqual(["kernel x=1", "Entresol", "file name", "content", ""]);
    expect(stop).toEqual({ kind: "test-exit", value: 1 });
  });

  it("may be the built-in test guest: it passes as it does when it is loaded flat", async () => {
    const guest = buildTestGuest();
    const { image, loadAddress, entry } = guest;
    const results = (text: string) => text.match(/^(ok|FAIL|skip) .*/gm);
    const shape = { memory: MEMORY, cpus: 2 };
    const kernel = wrapMultiboot(guest);
    const wrapped = await run({ ...shape, boot: { kind: "multiboot", kernel, commandLine: "guest" } });
    const flat = await run({ ...shape, boot: { kind: "flat", image, loadAddress, entry } });
    expect(wrapped.stop).toEqual({ kind: "power-off" });
    expect(results(wrapped.text)).toEqual(results(flat.text));
    expect(results(wrapped.text)).toHaveLength(guest.checks.length);
    expect(wrapped.text).not.toMatch(/^FAIL/m);
  });

  it("runs without the test device, and finds nothing at its ports", async () => {
    const { stop, text } = await run(
      config(
        (asm) => {
          exitWithByteOf(asm, 0xe0);
          asm.op.add(al, 1);
          asm.op.mov(bl, al);
          say(asm, "still here ");
          asm.op.cmp(bl, 0);
          asm.op.jnz("wrong");
          say(asm, "0xff");
          asm.label("wrong");
          asm.op.cli();
          asm.op.hlt();
        },
        { testDevice: false },
      ),
    );
    expect(text).toBe("still here 0xff");
    expect(stop.kind).toBe("halted");
  });
});

describe("a VM with the test device", () => {
  it("ends with the result that its kernel wrote, at once", async () => {
    const kernel = config((asm) => {
      say(asm, "before");
      asm.op.mov(eax, 0x8000_0001);
      exitWithEax(asm);
      say(asm, "after");
      asm.op.mov(eax, 5);
      exitWithEax(asm);
    });
    await using vm = await Vm.create(kernel);
    expect(await finish(vm)).toEqual({ stop: { kind: "test-exit", value: 0x8000_0001 }, text: "before" });
    // It stays ended, until it is started anew.
    expect(await finish(vm)).toEqual({ stop: { kind: "test-exit", value: 0x8000_0001 }, text: "" });
    vm.restart();
    expect(await finish(vm)).toEqual({ stop: { kind: "test-exit", value: 0x8000_0001 }, text: "before" });
  });

  it.each([
    ["bytes of RAM", 3, 4, MEMORY >>> 24],
    ["processors", 5, 1, 3],
  ])("tells its %s by fw_cfg", async (_name, selector, bytes, value) => {
    const kernel = config(
      (asm) => {
        const { op } = asm;
        op.mov(dx, 0x510);
        op.mov(ax, selector);
        op.out(dx, ax);
        op.mov(dx, 0x511);
        for (let i = 0; i < bytes - 1; i++) op.in(al, dx);
        exitWithByteOf(asm, 0x511);
      },
      { cpus: 3 },
    );
    expect((await run(kernel)).stop).toEqual({ kind: "test-exit", value });
  });

  it("moves interrupt lines that the guest takes through the 8259 pair", async () => {
    const { stop } = await run(
      config((asm) => {
        const { op } = asm;
        // ICW1 to ICW4 of the master, then the line, then OCW3: read the request register.
        for (const [port, value] of [
          [0x20, 0x11],
          [0x21, 0x20],
          [0x21, 0x04],
          [0x21, 0x01],
          [0x2005, 1],
          [0x20, 0x0a],
        ] as const) {
          op.mov(dx, port);
          op.mov(al, value);
          op.out(dx, al);
        }
        exitWithByteOf(asm, 0x20);
      }),
    );
    expect(stop).toEqual({ kind: "test-exit", value: 1 << 5 });
  });

  it.each(["vmcall", "vmmcall"] as const)("answers KVM's hypercall for interrupts by %s", async (call) => {
    const kernel = (asm: Assembler): void => {
      const { op } = asm;
      for (const [register, value] of [
        [eax, 10],
        [ebx, 0b1001],
        [ecx, 0],
        [edx, 0],
        [esi, 0x47],
      ] as const)
        op.mov(register, value);
      op[call]();
      // The interrupt request register's bits 95:64, bit 7, beside the answer.
      op.mov(ecx, memory(0xfee00220));
      op.add(eax, ecx);
      exitWithEax(asm);
    };
    expect((await run(config(kernel))).stop).toEqual({ kind: "test-exit", value: 0x80 + 1 });
    expect((await run(config(kernel, { testDevice: false }))).stop.kind).toBe("crashed");
  });

  it("has the latch where other machines have the debug console", async () => {
    const kernel = (asm: Assembler): void => {
      asm.op.mov(dx, 0xe9);
      asm.op.mov(al, 0x3c);
      asm.op.out(dx, al);
      exitWithByteOf(asm, 0xe1);
    };
    expect((await run(config(kernel))).stop).toEqual({ kind: "test-exit", value: 0x3c });
  });

  it("goes on from a snapshot with its test device, and not without", async () => {
    const kernel = config((asm) => {
      const { op } = asm;
      op.mov(eax, 0x1234);
      op.mov(dx, 0xe0);
      op.out(dx, eax);
      op.mov(ecx, 100_000);
      asm.label("wait");
      op.dec(ecx);
      op.jnz("wait");
      op.mov(byte(0xff00_0000), 7);
      exitWithByteOf(asm, 0xe1);
    });
    const path = join(folder, "snapshot");
    await using vm = await Vm.create(kernel);
    expect(await vm.run({ until: 50_000 })).toEqual({ kind: "paused" });
    vm.snapshot(path);
    const end = await vm.run();
    expect(end).toEqual({ kind: "test-exit", value: 0x12 });
    const { vm: resumed } = await Vm.resume(path, { testDevice: true });
    await using _ = resumed;
    expect(await resumed.run()).toEqual(end);
    expect([resumed.ramDigest(), resumed.deviceDigest()]).toEqual([vm.ramDigest(), vm.deviceDigest()]);
    await expect(Vm.resume(path)).rejects.toMatchObject({
      code: "bad-snapshot",
      message: expect.stringContaining("which this machine has not") as string,
    });
  });
});

it.each([
  [true, 1],
  [false, 0],
])("x2APIC mode is there, and told by CPUID, as the config says: %s", async (x2apic, value) => {
  const kernel = config(
    ({ op }) => {
      op.mov(eax, 1);
      op.cpuid();
      op.shr(ecx, 21);
      op.mov(eax, ecx);
      op.and(eax, 1);
      op.mov(dx, 0xf4);
      op.out(dx, eax);
    },
    { x2apic },
  );
  expect((await run(kernel)).stop).toEqual({ kind: "test-exit", value });
  const enable = config(
    ({ op }) => {
      op.mov(ecx, 0x1b);
      op.rdmsr();
      op.or(eax, 1 << 10);
      op.wrmsr(); // #GP, and no IDT: a triple fault
      op.mov(eax, 7);
      op.mov(dx, 0xf4);
      op.out(dx, eax);
    },
    { x2apic },
  );
  expect((await run(enable)).stop.kind).toBe(x2apic ? "test-exit" : "crashed");
});

it("an image that cannot be loaded is refused before anything runs, and the partition is given back", async () => {
  const boot = { kind: "multiboot", kernel: new Uint8Array(100), commandLine: "" } as const;
  await expect(Vm.create({ memory: MEMORY, boot })).rejects.toMatchObject({ code: "not-a-kernel" });
  await expect(
    Vm.create({ memory: MEMORY, boot: { ...boot, modules: [{ bytes: "x" }] } } as unknown as VmConfig),
  ).rejects.toMatchObject({
    code: "bad-config",
    message: expect.stringContaining("boot.modules.0") as string,
  });
});
