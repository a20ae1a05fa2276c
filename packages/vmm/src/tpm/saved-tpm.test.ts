import { readFileSync } from "node:fs";
import { Chipset, DeviceStateError } from "@entresol/devices";
import { decodeCbor, encodeCbor } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { acpiTpm, MachineTpm } from "./machine-tpm.ts";

const golden = readFileSync(new URL("golden/machine-tpm-1.cbor", import.meta.url));
const config = { interface: "crb" } as const;

function chipset(): Chipset {
  return new Chipset({
    clock: { now: () => 7_000_000 },
    processors: 1,
    tscFrequency: 1e9,
    physicalAddressBits: 40,
    tscOffset: () => ({ low: 0, high: 0 }),
    rtcStart: 0,
    serialOutputs: [() => {}],
    tpm: acpiTpm(config),
    powerOff() {},
    reset() {},
    signals: { init() {}, startup() {}, nmi() {}, ready() {} },
  });
}

/** Sends a command by the registers of locality 0, which it requests. */
function command({ bus }: Chipset, text: string): string {
  const base = 0xfed40000;
  const bytes = Buffer.from(text, "hex");
  bus.mmioWrite(base + 0x08, 4, 1);
  bus.mmioWrite(base + 0x40, 4, 1);
  for (const [i, byte] of bytes.entries()) bus.mmioWrite(base + 0x80 + i, 1, byte);
  bus.mmioWrite(base + 0x4c, 4, 1);
  const response = Buffer.from(Array.from({ length: 100 }, (_, i) => bus.mmioRead(base + 0x80 + i, 1)));
  return response.subarray(0, response.readUInt32BE(2)).toString("hex");
}
const readPcr16 = "8001000000140000017e00000001000b03000001";
const getRandom = "80010000000c0000017b0020";

describe("the saved state of a machine's TPM", () => {
  it("is that of the golden file, which every later build must read", async () => {
    const machine = chipset();
    const tpm = await MachineTpm.attach(config, machine, 5n);
    tpm.restore(decodeCbor(golden));
    expect(encodeCbor(tpm.save())).toEqual(new Uint8Array(golden));
    // It was extended by 32 bytes of 1.
    expect(command(machine, readPcr16)).toContain(
      "5c85955f709283ecce2b74f1b1552918819f390911816e7bb466805a38ab87f3",
    );
  });

  it("brings randomness and time along: two that were restored go on alike", async () => {
    const answers = [];
    for (let i = 0; i < 2; i++) {
      const machine = chipset();
      const tpm = await MachineTpm.attach(config, machine, BigInt(i));
      tpm.restore(decodeCbor(golden));
      answers.push([
        command(machine, getRandom),
        command(machine, "80010000000a00000181"),
        encodeCbor(tpm.save()),
      ]);
    }
    expect(answers[0]).toEqual(answers[1]);
  });

  it("that is none, whatever is replaced in it, is refused with DeviceStateError by its machine", async () => {
    const machine = chipset();
    await MachineTpm.attach(config, machine, 1n);
    const state = machine.save();
    const saved = decodeCbor(golden) as Record<string, unknown>;
    const value = fc.oneof(
      fc.constantFrom(null, -1, 2 ** 60, "x", true, []),
      fc.uint8Array({ maxLength: 100 }),
      fc.dictionary(fc.string(), fc.nat()),
    );
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(saved)), value, (field, other) => {
        try {
          machine.restore({ ...state, tpm: { ...saved, [field]: other } });
          // A time and a state of the generator can be any.
          expect(["clock", "random"]).toContain(field);
        } catch (error) {
          expect(error).toBeInstanceOf(DeviceStateError);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("a key of 3072 bits", () => {
  const base = 0xfed40000;
  const [start, cancel, buffer] = [base + 0x4c, base + 0x48, base + 0x80];
  // CreatePrimary in the NULL hierarchy, of a storage key.
  const createPrimary =
    "8002000000430000013140000007000000094000000900000000000004000000000" +
    "01a0001000b0003007200000006008000430010" +
    "0c0000000000000000000000000000";

  /** The response code of a command that has ended. */
  const responseCode = ({ bus }: Chipset): number =>
    Buffer.from(Array.from({ length: 4 }, (_, i) => bus.mmioRead(buffer + 6 + i, 1))).readUInt32BE();

  function begin(machine: Chipset): void {
    const { bus } = machine;
    bus.mmioWrite(base + 0x08, 4, 1);
    bus.mmioWrite(base + 0x40, 4, 1);
    for (const [i, byte] of Buffer.from(createPrimary, "hex").entries()) bus.mmioWrite(buffer + i, 1, byte);
    bus.mmioWrite(start, 4, 1);
  }

  it("is there at once in virtual time, in which nothing depends on another thread", async () => {
    const machine = chipset();
    (await MachineTpm.attach(config, machine, 5n)).restore(decodeCbor(golden));
    begin(machine);
    expect(machine.bus.mmioRead(start, 4)).toBe(0);
    expect(responseCode(machine)).toBe(0);
  });

  it("is searched for beside the guest in real time, which may cancel it: TPM_RC_CANCELED", async () => {
    const machine = chipset();
    (await MachineTpm.attach(config, machine, 5n, () => true)).restore(decodeCbor(golden));
    begin(machine);
    expect(machine.bus.mmioRead(start, 4)).toBe(1);
    machine.bus.mmioWrite(cancel, 4, 1);
    while (machine.bus.mmioRead(start, 4) === 1) await new Promise((resolve) => setImmediate(resolve));
    expect(responseCode(machine)).toBe(0x909);
  });
});
