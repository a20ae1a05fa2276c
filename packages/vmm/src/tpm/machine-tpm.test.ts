import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Assembler, ax, dword, dx, eax, ebx, ecx, rbx } from "@entresol/testguest";
import { FileNvStore } from "@entresol/tpm";
import { afterAll, describe, expect, it } from "vitest";
import { type ResumeConfig, Vm, type VmConfig } from "../index.ts";

const folder = mkdtempSync(join(tmpdir(), "entresol-tpm-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let folders = 0;
const newFolder = (): string => join(folder, `state ${folders++}`);

/** A port that the guest tells us through, a dword at a time. */
const SINK = 0x500;
const getRandom = "80010000000c0000017b0020";
const readClock = "80010000000a00000181";

/** By the registers of a command response buffer: requests the TPM, runs `command`, and hands on `dwords` of the response. */
function runCommand({ op }: Assembler, command: string, dwords: number): void {
  const bytes = Buffer.alloc(Math.ceil(command.length / 8) * 4);
  bytes.write(command, "hex");
  op.mov(ebx, 0xfed40000);
  op.mov(dword(rbx, 0x08), 1);
  op.mov(dword(rbx, 0x40), 1);
  for (let at = 0; at < bytes.length; at += 4) op.mov(dword(rbx, 0x80 + at), bytes.readUInt32LE(at));
  op.mov(dword(rbx, 0x4c), 1);
  op.mov(dx, SINK);
  for (let at = 0; at < 4 * dwords; at += 4) {
    op.mov(eax, dword(rbx, 0x80 + at));
    op.out(dx, eax);
  }
}

interface Told {
  hex: string;
}

/** A guest of a few instructions with a TPM, and what it tells. */
function guest(
  write: (asm: Assembler) => void,
  tpm: NonNullable<VmConfig["tpm"]> = { interface: "crb" },
): { config: VmConfig; resumable: ResumeConfig; told: Told } {
  const told: Told = { hex: "" };
  const asm = new Assembler({ origin: 0x100000 });
  write(asm);
  asm.op.mov(dx, 0x604);
  asm.op.mov(eax, 0x3400);
  asm.op.out(dx, ax);
  const devices: VmConfig["devices"] = [
    ({ bus }) => {
      const device = {
        name: "sink",
        portRead: () => 0,
        portWrite: (_port: number, _width: number, value: number) => {
          const bytes = Buffer.alloc(4);
          bytes.writeUInt32LE(value);
          told.hex += bytes.toString("hex");
        },
        reset() {},
        save: () => ({}),
        restore() {},
        inspect: () => ({}),
      };
      bus.registerPorts("sink", SINK, 4, device);
      return device;
    },
  ];
  return {
    told,
    resumable: { devices },
    config: {
      memory: 2 ** 24,
      devices,
      tpm,
      boot: { kind: "flat", image: asm.assemble().bytes, loadAddress: asm.origin, entry: asm.origin },
    },
  };
}

const randomGuest = (tpm?: NonNullable<VmConfig["tpm"]>) =>
  guest((asm) => {
    runCommand(asm, getRandom, 11);
    runCommand(asm, readClock, 9);
  }, tpm);

/** Tells the interface identifier register. */
const identifying = (tpm: NonNullable<VmConfig["tpm"]>) =>
  guest(({ op }) => {
    op.mov(ebx, 0xfed40000);
    op.mov(eax, dword(rbx, 0x30));
    op.mov(dx, SINK);
    op.out(dx, eax);
  }, tpm);

async function finish({ config, told }: ReturnType<typeof guest>) {
  told.hex = "";
  await using vm = await Vm.create(config);
  const stop = await vm.run();
  return { stop: stop.kind, told: told.hex, ram: vm.ramDigest(), devices: vm.deviceDigest() };
}

describe("a machine's TPM", () => {
  it("is started when the guest comes, and answers by its registers", async () => {
    const { stop, told } = await finish(randomGuest());
    expect(stop).toBe("power-off");
    expect(told).toMatch(/^80010000002c000000000020[0-9a-f]{64}8001000000230{8}/);
  });

  it("gives the same run for the same input, and other randomness for another seed", async () => {
    const first = await finish(randomGuest());
    expect(await finish(randomGuest())).toEqual(first);
    const { config, told } = randomGuest();
    const other = await finish({ ...randomGuest(), config: { ...config, seed: 2n }, told });
    expect(other.told.slice(0, 24)).toBe(first.told.slice(0, 24));
    expect(other.told.slice(24, 88)).not.toBe(first.told.slice(24, 88));
  });

  it("leaves the event log where the ACPI tables say that it is", async () => {
    const { told } = await finish(
      guest(({ op }) => {
        op.mov(ebx, 0xd0000);
        op.mov(dx, SINK);
        for (let at = 32; at < 48; at += 4) {
          op.mov(eax, dword(rbx, at));
          op.out(dx, eax);
        }
      }),
    );
    expect(Buffer.from(told, "hex").toString()).toBe("Spec ID Event03\0");
  });

  it("is not there unless it is asked for", async () => {
    const { config, told } = identifying({ interface: "crb" });
    const { tpm: _, ...without } = config;
    await finish({ config: without, told, resumable: {} });
    expect(told.hex).toBe("ffffffff");
  });

  it("has the interface that was asked for", async () => {
    const idOf = async (kind: "crb" | "tis") => {
      const { told } = await finish(identifying({ interface: kind }));
      return Number.parseInt(told.slice(0, 2), 16) & 0xf;
    };
    expect(await idOf("crb")).toBe(1);
    expect(await idOf("tis")).toBe(0);
  });

  it("starts anew with the machine: the same boot is measured alike", async () => {
    const made = randomGuest();
    await using vm = await Vm.create(made.config);
    await vm.run();
    const first = made.told.hex;
    made.told.hex = "";
    vm.restart();
    expect((await vm.run()).kind).toBe("power-off");
    expect(made.told.hex.slice(0, 24)).toBe(first.slice(0, 24));
    // It is the same TPM, and it remembers that it was reset: its randomness goes on.
    expect(made.told.hex.slice(24, 88)).not.toBe(first.slice(24, 88));
  });
});

describe("a request by the physical presence interface", () => {
  /** SetPCRBanks, SHA-256 alone, by the mailbox that the TPM's _DSM uses; then how many banks there are. */
  const asking = guest((asm) => {
    runCommand(asm, "8001000000160000017a000000050000000000000001", 16);
    asm.op.mov(ebx, 0xfed45000);
    asm.op.mov(dword(rbx, 4), 23);
    asm.op.mov(dword(rbx, 8), 0b10);
    asm.op.mov(dword(rbx, 0), 7);
  });
  /** TPMS_PCR_SELECTION by hash: which PCRs it has. */
  const banks = (response: string) =>
    [...response.slice(2 * (10 + 1 + 4 + 4)).matchAll(/(000[4bcd])03(ffffff|000000)/g)].map(
      ([, hash, pcrs]) => `${hash} ${pcrs}`,
    );

  it("is done when the machine starts next, before anything is measured, and once", async () => {
    await using vm = await Vm.create(asking.config);
    const told: string[] = [];
    for (let run = 0; run < 2; run++) {
      asking.told.hex = "";
      await vm.run();
      told.push(asking.told.hex);
      vm.restart();
    }
    expect(banks(told[0]!)).toEqual(["0004 ffffff", "000b ffffff", "000c ffffff", "000d ffffff"]);
    expect(banks(told[1]!)).toContain("000b ffffff");
    expect(banks(told[1]!).filter((bank) => bank.endsWith("ffffff"))).toHaveLength(1);
  });
});

describe("a snapshot of a machine with a TPM", () => {
  /** Waits between two commands, for longer than Clock's unit. */
  const pausing = (tpm?: NonNullable<VmConfig["tpm"]>) =>
    guest((asm) => {
      runCommand(asm, getRandom, 11);
      asm.op.mov(ecx, 5_000_000);
      asm.label("again");
      asm.op.dec(ecx);
      asm.op.jnz("again");
      runCommand(asm, readClock, 9);
      runCommand(asm, getRandom, 11);
    }, tpm);
  const path = join(folder, "machine.snapshot");

  async function snapshotInTheMiddle(made: ReturnType<typeof guest>): Promise<void> {
    await using vm = await Vm.create(made.config);
    expect((await vm.run({ until: 5_000_000 })).kind).toBe("paused");
    vm.snapshot(path);
  }

  it("has it along: the run goes on as if nothing had happened", async () => {
    const whole = await finish(pausing());
    const made = pausing();
    await snapshotInTheMiddle(made);
    const { vm } = await Vm.resume(path, made.resumable);
    await using _ = vm;
    await vm.run();
    expect({
      stop: "power-off",
      told: made.told.hex,
      ram: vm.ramDigest(),
      devices: vm.deviceDigest(),
    }).toEqual(whole);
  });

  it("is refused where another interface, or none, is asked for", async () => {
    const made = pausing();
    await snapshotInTheMiddle(made);
    for (const kind of ["tis", "none"] as const)
      await expect(Vm.resume(path, { ...made.resumable, tpm: { interface: kind } })).rejects.toMatchObject({
        code: "snapshot-mismatch",
      });
    const { vm } = await Vm.resume(path, { ...made.resumable, tpm: { interface: "crb" } });
    await vm[Symbol.asyncDispose]();
  });

  it("goes on in its state folder, and not where that has gone on since", async () => {
    const state = newFolder();
    const made = pausing({ interface: "crb", state });
    await snapshotInTheMiddle(made);
    // Its end shut the TPM down, which the folder knows.
    await expect(Vm.resume(path, { ...made.resumable, tpm: { state } })).rejects.toMatchObject({
      code: "bad-snapshot",
      message: expect.stringContaining("state folder"),
    });
    const { vm } = await Vm.resume(path, { ...made.resumable, tpm: { state: newFolder() } });
    await using _ = vm;
    expect((await vm.run()).kind).toBe("power-off");
  });
});

describe("a state folder", () => {
  it("is made, and holds another TPM than the seed's", async () => {
    const state = newFolder();
    const first = await finish(randomGuest({ interface: "crb", state }));
    const other = await finish(randomGuest({ interface: "crb", state: newFolder() }));
    expect(first.told.slice(24, 88)).not.toBe(other.told.slice(24, 88));
    const files = FileNvStore.open(state);
    expect(files.load()).toBeInstanceOf(Uint8Array);
    files.close();
  });

  it("is one machine's at a time", async () => {
    const state = newFolder();
    const { config } = randomGuest({ interface: "crb", state });
    const vm = await Vm.create(config);
    await expect(Vm.create(config)).rejects.toMatchObject({ code: "bad-config" });
    await vm[Symbol.asyncDispose]();
    const next = await Vm.create(config);
    await next[Symbol.asyncDispose]();
  });

  it("that cannot be one is told by the name of the field", async () => {
    const { config } = randomGuest({ interface: "crb", state: "/proc/entresol" });
    await expect(Vm.create(config)).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringContaining("tpm.state"),
    });
  });
});
