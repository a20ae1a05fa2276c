import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { softwareHypervisor } from "@entresol/backend-software";
import { type Hypervisor, ScriptedHypervisor } from "@entresol/hypervisor";
import { Assembler, al, buildTestGuest, dword, dx, eax, ebx, ecx, edx, rbx, rcx } from "@entresol/testguest";
import { afterAll, describe, expect, it } from "vitest";
import { Vm, type VmConfig } from "./index.ts";

const MEMORY = 16 * 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "entresol-vm-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const test = buildTestGuest();
const testGuest: VmConfig = { memory: MEMORY, boot: { kind: "flat", ...pick(test) } };
function pick({ image, loadAddress, entry }: typeof test) {
  return { image, loadAddress, entry };
}

/** A guest of a few instructions at 1 MiB. */
function program(write: (asm: Assembler) => void): VmConfig {
  const asm = new Assembler({ origin: 0x100000 });
  write(asm);
  return {
    memory: MEMORY,
    boot: { kind: "flat", image: asm.assemble().bytes, loadAddress: asm.origin, entry: asm.origin },
  };
}

function record(vm: Vm): { text: string } {
  const log = { text: "" };
  vm.serial[0]!.onOutput = (bytes) => {
    log.text += Buffer.from(bytes).toString("latin1");
  };
  return log;
}

async function finish(config: VmConfig) {
  await using vm = await Vm.create(config);
  const log = record(vm);
  const stop = await vm.run();
  return {
    stop,
    text: log.text,
    ram: vm.ramDigest(),
    devices: vm.deviceDigest(),
    statistics: vm.statistics(),
  };
}

describe("Vm", () => {
  it.each([1, 2, 4])(
    "runs the test guest with %i processors to its power-off, every check passed",
    async (cpus) => {
      const { stop, text, statistics } = await finish({ ...testGuest, cpus });
      expect(stop).toEqual({ kind: "power-off" });
      expect(text.match(/^FAIL.*/gm) ?? []).toEqual([]);
      expect(text).toMatch(/^DONE \d+ passed, 0 failed|^DONE \d+ 0/m);
      expect(statistics.exits["port out"]).toBeGreaterThan(1000);
      expect(statistics.devices.find(({ name }) => name === "com1")!.writes).toBeGreaterThan(1000);
    },
  );

  it("makes the same run of the same input", async () => {
    const first = await finish({ ...testGuest, cpus: 2 });
    const second = await finish({ ...testGuest, cpus: 2 });
    expect(second).toEqual(first);
  });

  it.each([1, 2])(
    "goes on from snapshot after snapshot as if nothing had happened, %i processors",
    async (cpus) => {
      const undisturbed = await finish({ ...testGuest, cpus });
      const path = join(folder, "middle");
      let vm = await Vm.create({ ...testGuest, cpus });
      let text = "";
      let snapshots = 0;
      for (;;) {
        const before = text.length;
        const current = vm;
        vm.serial[0]!.onOutput = (bytes) => {
          text += Buffer.from(bytes).toString("latin1");
          if (text.length > before + 100) current.pause();
        };
        const stop = await vm.run();
        if (stop.kind !== "paused") {
          expect(stop).toEqual({ kind: "power-off" });
          break;
        }
        vm.snapshot(path, { number: ++snapshots });
        await vm[Symbol.asyncDispose]();
        const resumed = await Vm.resume(path, { memory: MEMORY, cpus });
        expect(resumed.extra).toEqual({ number: snapshots });
        vm = resumed.vm;
      }
      expect(snapshots).toBeGreaterThan(2);
      expect(text).toBe(undisturbed.text);
      expect(vm.ramDigest()).toBe(undisturbed.ram);
      expect(vm.deviceDigest()).toBe(undisturbed.devices);
      expect(vm.statistics().instructions).toBe(undisturbed.statistics.instructions);
      await vm[Symbol.asyncDispose]();
    },
  );

  it("refuses a snapshot of another shape", async () => {
    const path = join(folder, "shape");
    await using vm = await Vm.create(testGuest);
    vm.snapshot(path);
    await expect(Vm.resume(path, { cpus: 2 })).rejects.toMatchObject({ code: "snapshot-mismatch" });
    await expect(Vm.resume(path, { memory: 2 * MEMORY })).rejects.toMatchObject({
      code: "snapshot-mismatch",
    });
  });

  it("says where a guest triple-faulted", async () => {
    const { stop } = await finish(
      program(({ op }) => {
        op.ud2();
      }),
    );
    expect(stop).toEqual({ kind: "crashed", vcpu: 0, detail: "triple fault on processor 0 at RIP 0x100000" });
  });

  it("notices that a guest can never run again", async () => {
    const { stop } = await finish(
      program(({ op }) => {
        op.cli();
        op.hlt();
      }),
    );
    expect(stop.kind).toBe("halted");
  });

  it("hands output on at the same guest times, however slow the host is", async () => {
    const run = async (slow: boolean) => {
      await using vm = await Vm.create({ ...testGuest, cpus: 2 });
      const pieces: [number, number][] = [];
      vm.serial[0]!.onOutput = (bytes) => {
        pieces.push([vm.now, bytes.length]);
        for (const end = performance.now() + (slow ? 3 : 0); performance.now() < end; );
      };
      if (slow) vm.holdBack = () => new Promise((resolve) => setTimeout(resolve, 2));
      await vm.run();
      return { pieces, ram: vm.ramDigest(), devices: vm.deviceDigest() };
    };
    const quick = await run(false);
    expect(quick.pieces.length).toBeGreaterThan(10);
    expect(await run(true)).toEqual(quick);
  });

  it("lets a processor act on input before idle time is skipped", async () => {
    // Waits for COM1's interrupt with nothing else armed but a timer in an hour, then powers off.
    await using vm = await Vm.create(
      program(({ op }) => {
        op.mov(ebx, 0xfee00000);
        op.mov(dword(rbx, 0xf0), 0x1ff);
        op.mov(dword(rbx, 0x3e0), 0xa);
        op.mov(dword(rbx, 0x320), 0x40);
        op.mov(dword(rbx, 0x380), 0xffffffff);
        op.mov(ecx, 0xfec00000);
        op.mov(dword(rcx), 0x18);
        op.mov(dword(rcx, 0x10), 0x41);
        for (const [port, value] of [
          [0x3fc, 0x0b],
          [0x3fa, 0x01],
          [0x3f9, 0x01],
        ] as const) {
          op.mov(dx, port);
          op.mov(al, value);
          op.out(dx, al);
        }
        op.sti();
        op.hlt();
      }),
    );
    let told = 0;
    vm.onIdle = (next) => {
      if (told > 0) return;
      told = next;
      vm.serial[0]!.send(Buffer.from("x"));
    };
    // There is no interrupt table: the first interrupt is the third fault, and the time of it is what counts.
    expect((await vm.run()).kind).toBe("crashed");
    expect(told).toBeGreaterThan(1e9);
    expect(vm.now).toBeLessThan(1e9);
  });

  it("leaves nothing behind on a promise when it has waited, since it may wait for ever so often", async () => {
    const wakes = new Set<unknown>();
    let waits = 0;
    const hypervisor: Hypervisor = {
      ...softwareHypervisor,
      createPartition: async (config) => {
        const partition = await softwareHypervisor.createPartition(config);
        const idle = partition.idle.bind(partition);
        partition.idle = (until, wake) => {
          const wait = idle(until, wake);
          if (wait !== undefined) {
            waits++;
            wakes.add(wake);
          }
          return wait;
        };
        return partition;
      },
    };
    const waiting = program((asm) => {
      // A periodic timer of 1 ms, masked: each of its alarms ends a wait, and none wakes the processor.
      const { op } = asm;
      op.mov(ebx, 0xfee00000);
      op.mov(dword(rbx, 0xf0), 0x1ff);
      op.mov(dword(rbx, 0x3e0), 0xb);
      op.mov(dword(rbx, 0x320), 0x30040);
      op.mov(dword(rbx, 0x380), 1_000_000);
      op.sti();
      op.hlt();
    });
    await using vm = await Vm.create({ ...waiting, hypervisor, time: "real" });
    setTimeout(() => vm.pause(), 60);
    expect((await vm.run()).kind).toBe("paused");
    expect(waits).toBeGreaterThan(5);
    expect(wakes.size).toBe(waits);
  });

  it("tells a reset from a power-off, and can start again", async () => {
    await using vm = await Vm.create(
      program(({ op }) => {
        op.mov(dx, 0x3f8);
        op.mov(al, 0x2e);
        op.out(dx, al);
        op.mov(dx, 0xcf9);
        op.mov(al, 6);
        op.out(dx, al);
        op.hlt();
      }),
    );
    const log = record(vm);
    expect(await vm.run()).toEqual({ kind: "reset" });
    vm.restart();
    expect(await vm.run()).toEqual({ kind: "reset" });
    expect(log.text).toBe("..");
  });

  it("brings a TSC deadline forward when the guest moves its TSC past it", async () => {
    await using vm = await Vm.create(
      program((asm) => {
        const { op } = asm;
        const wrmsr = (msr: number, value: number): void => {
          op.mov(ecx, msr);
          op.xor(edx, edx);
          op.mov(eax, value);
          op.wrmsr();
        };
        op.mov(rbx, 0xfee00320); // LVT timer: TSC-deadline mode
        op.mov(dword({ base: rbx }), 0x40031);
        wrmsr(0x6e0, 0x70000000); // in 1.9 s
        wrmsr(0x10, 0x70000001);
        op.mov(ecx, 1000);
        asm.label("wait");
        op.dec(ecx);
        op.jnz("wait");
        // A deadline that has fired reads 0.
        op.mov(ecx, 0x6e0);
        op.rdmsr();
        op.or(eax, edx);
        op.sete(al);
        op.add(al, 0x30);
        op.mov(dx, 0x3f8);
        op.out(dx, al);
        op.mov(dx, 0xcf9);
        op.mov(al, 6);
        op.out(dx, al);
        op.hlt();
      }),
    );
    const log = record(vm);
    expect(await vm.run()).toEqual({ kind: "reset" });
    expect(log.text).toBe("1");
    expect(vm.now).toBeLessThan(1e6);
  });

  it("can be paused while the guest spins, and goes on", async () => {
    await using vm = await Vm.create(
      program((asm) => {
        asm.label("spin");
        asm.op.inc(eax);
        asm.op.jmp("spin");
      }),
    );
    setTimeout(() => vm.pause(), 20);
    expect((await vm.run()).kind).toBe("paused");
    const before = vm.statistics().instructions!;
    setTimeout(() => vm.pause(), 20);
    expect((await vm.run()).kind).toBe("paused");
    expect(vm.statistics().instructions!).toBeGreaterThan(before);
  });

  it("refuses to run twice at once", async () => {
    await using vm = await Vm.create(
      program((asm) => {
        asm.label("spin");
        asm.op.jmp("spin");
      }),
    );
    const running = vm.run();
    await expect(vm.run()).rejects.toMatchObject({ code: "already-running" });
    expect(() => vm.restart()).toThrow(expect.objectContaining({ code: "already-running" }));
    vm.pause();
    await running;
  });

  it("runs over any hypervisor: what the scripted guest writes to COM1 comes out", async () => {
    const hypervisor = new ScriptedHypervisor([
      [
        { do: "portOut", port: 0x3f8, width: 1, value: 0x4f },
        { do: "portOut", port: 0x3f8, width: 1, value: 0x4b },
        { do: "portOut", port: 0x604, width: 2, value: 0x3400 },
      ],
    ]);
    await using vm = await Vm.create({ hypervisor, memory: MEMORY, boot: { kind: "none" } });
    const log = record(vm);
    expect(await vm.run()).toEqual({ kind: "power-off" });
    expect(log.text).toBe("OK");
  });
});
