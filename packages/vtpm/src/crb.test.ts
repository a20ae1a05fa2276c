import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { DeviceStateError } from "@entresol/devices";
import { decodeCbor, encodeCbor } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { lookInterval } from "./command-run.ts";
import { CrbDevice } from "./crb.ts";
import { CrbInterrupt, crbBufferAt, crbBufferLength, crbRegisters, hashRegisters } from "./crb-registers.ts";
import { InlineExecutor } from "./inline-executor.ts";
import type { InterfaceOptions } from "./interface-core.ts";
import { interfaceRegisterLines, tpmBase, tpmLength } from "./interface-registers.ts";
import { MemoryStore } from "./state-store.ts";
import { bytes, getRandom, RegisterGuest, success } from "./testing/register-guest.ts";
import { TpmHost } from "./tpm-host.ts";

const at = {
  state: crbRegisters.localityState.at,
  control: crbRegisters.localityControl.at,
  granted: crbRegisters.localityStatus.at,
  id: crbRegisters.interfaceId.at,
  request: crbRegisters.request.at,
  status: crbRegisters.status.at,
  cancel: crbRegisters.cancel.at,
  start: crbRegisters.start.at,
  enable: crbRegisters.interruptEnable.at,
  interrupts: crbRegisters.interruptStatus.at,
  buffer: crbBufferAt,
} as const;

const newGuest = (options: Partial<InterfaceOptions> = {}): RegisterGuest<CrbDevice> =>
  new RegisterGuest((all) => new CrbDevice(all), options);

/** A guest whose locality has the TPM and is ready. */
function readyGuest(locality = 0, options: Partial<InterfaceOptions> = {}): RegisterGuest<CrbDevice> {
  const guest = newGuest(options);
  guest.write(locality, at.control, 1);
  guest.write(locality, at.request, 1);
  return guest;
}

/** And runs a command. */
function runningGuest(locality = 0, options: Partial<InterfaceOptions> = {}): RegisterGuest<CrbDevice> {
  const guest = readyGuest(locality, options);
  guest.writeBytes(locality, at.buffer, getRandom);
  guest.write(locality, at.start, 1);
  return guest;
}

describe("a command through the buffer", () => {
  it("runs as firmware and Linux give it: request, ready, write, start, poll, read, idle, relinquish", () => {
    const guest = newGuest();
    expect(guest.read(0, at.state, 1)).toBe(0x81);
    guest.write(0, at.control, 1);
    expect(guest.read(0, at.granted)).toBe(1);
    expect(guest.read(0, at.state)).toBe(0x83);
    expect(guest.read(0, at.status)).toBe(2);
    guest.write(0, at.request, 1);
    expect(guest.read(0, at.request)).toBe(0);
    expect(guest.read(0, at.status)).toBe(0);
    guest.writeBytes(0, at.buffer, getRandom);
    guest.write(0, at.start, 1);
    expect(guest.read(0, at.start)).toBe(1);
    expect(guest.executor.commands).toEqual([[0, getRandom]]);
    guest.executor.end(bytes(success));
    expect(guest.read(0, at.start)).toBe(0);
    expect(guest.readBytes(0, at.buffer, 10)).toBe(success);
    guest.write(0, at.request, 2);
    expect(guest.read(0, at.status)).toBe(2);
    guest.write(0, at.control, 2);
    expect(guest.read(0, at.state)).toBe(0x81);
  });

  it("may be given from idle, as SeaBIOS gives its first one, and idle it stays", () => {
    const guest = newGuest();
    guest.write(0, at.control, 1, 1);
    guest.writeBytes(0, at.buffer, getRandom);
    guest.write(0, at.start, 1);
    guest.executor.end(bytes(success));
    expect([guest.read(0, at.start), guest.read(0, at.status)]).toEqual([0, 2]);
  });

  it("waits while the machine's own software runs one: TPM_RC_RETRY, and nobody gets the other's response", () => {
    const guest = readyGuest();
    const own = "80010000000c0000017b0010";
    guest.executor.start(bytes(own), 0);
    guest.writeBytes(0, at.buffer, getRandom);
    guest.write(0, at.start, 1);
    expect(guest.read(0, at.start)).toBe(0);
    expect(guest.readBytes(0, at.buffer, 10)).toBe("80010000000a00000922");
    guest.executor.end(bytes(success));
    expect(guest.read(0, at.start)).toBe(0);
    expect(guest.executor.poll()).toEqual(bytes(success));
    guest.writeBytes(0, at.buffer, getRandom);
    guest.write(0, at.start, 1);
    guest.executor.end(bytes(success));
    expect(guest.read(0, at.start)).toBe(0);
    expect(guest.readBytes(0, at.buffer, 10)).toBe(success);
    expect(guest.executor.commands).toEqual([
      [0, own],
      [0, getRandom],
    ]);
  });

  it("is copied out at start: what is written behind it neither runs nor stays", () => {
    const guest = runningGuest();
    guest.writeBytes(0, at.buffer, "80010000000b00000144");
    guest.executor.end(bytes(success));
    expect(guest.executor.commands).toEqual([[0, getRandom]]);
    expect(guest.readBytes(0, at.buffer, 12)).toBe(`${success}0008`);
  });

  it.each([
    ["shorter than a header is a header", 3, 10],
    ["of nothing is a header", 0, 10],
    ["longer than the buffer is the buffer", 0xf81, crbBufferLength],
    ["of 4 GiB is the buffer", 0xffff_ffff, crbBufferLength],
    ["of the buffer is the buffer", crbBufferLength, crbBufferLength],
  ])("whose size is a lie is the TPM's to refuse: %s", (_, size, length) => {
    const guest = readyGuest();
    guest.writeBytes(0, at.buffer, `8001${size.toString(16).padStart(8, "0")}0000017b`);
    guest.write(0, at.start, 1);
    expect(guest.executor.commands[0]?.[1].length).toBe(2 * length);
  });

  it("cannot be started twice, and its buffer takes bytes, words and dwords of any alignment", () => {
    const guest = readyGuest();
    guest.write(0, at.buffer, 0x0c00_0000);
    guest.write(0, at.buffer + 1, 0x0000_0001);
    guest.write(0, at.buffer, 0x0180, 2);
    guest.write(0, at.buffer + 4, 0x0c00, 2);
    guest.write(0, at.buffer + 6, 0x7b01_0000);
    guest.write(0, at.buffer + 10, 0x0800, 2);
    guest.write(0, at.start, 1);
    guest.write(0, at.start, 1);
    expect(guest.executor.commands).toEqual([[0, getRandom]]);
    expect(guest.read(0, at.buffer + 3)).toBe(0x000c_0000);
    expect(guest.read(0, 0x7e)).toBe(0x0180_0000);
  });

  it("is started by bit 0 only, and by the locality that has the TPM", () => {
    const guest = readyGuest(1);
    guest.write(1, at.start, 0xffff_fffe);
    guest.write(0, at.start, 1);
    guest.write(1, at.start + 1, 1, 1);
    expect(guest.executor.commands).toEqual([]);
    guest.write(1, at.start, 1, 1);
    expect(guest.executor.commands[0]?.[0]).toBe(1);
  });
});

describe("CRB_CTRL_REQ", () => {
  it("goes idle when the command has ended, and reads so until then", () => {
    const guest = runningGuest();
    guest.write(0, at.request, 2);
    expect([guest.read(0, at.request), guest.read(0, at.status)]).toEqual([2, 0]);
    guest.executor.end(bytes(success));
    expect([guest.read(0, at.request), guest.read(0, at.status)]).toEqual([0, 2]);
    expect(guest.readBytes(0, at.buffer, 10)).toBe(success);
  });

  it("does nothing for cmdReady in the middle of a command, and for both bits at once", () => {
    const guest = runningGuest();
    guest.write(0, at.request, 1);
    expect(guest.read(0, at.start)).toBe(1);
    guest.executor.end(bytes(success));
    guest.write(0, at.request, 3);
    expect(guest.read(0, at.status)).toBe(0);
  });

  it("tells by tpmSts that the TPM behind has no power", () => {
    const guest = readyGuest();
    guest.executor.powered = false;
    expect(guest.read(0, at.status)).toBe(1);
  });
});

describe("CRB_CTRL_CANCEL", () => {
  it("is passed on while a command runs, and stays until it is cleared", () => {
    const guest = runningGuest();
    guest.write(0, at.cancel, 1);
    expect(guest.executor.log).toEqual(["cancel"]);
    expect(guest.read(0, at.cancel)).toBe(1);
    guest.executor.end(bytes("80010000000a00000909"));
    expect(guest.readBytes(0, at.buffer, 10)).toBe("80010000000a00000909");
    guest.write(0, at.cancel, 0);
    expect(guest.read(0, at.cancel)).toBe(0);
  });

  it("ends a command that is started meanwhile before it begins: TPM_RC_CANCELED", () => {
    const guest = readyGuest();
    guest.write(0, at.cancel, 1);
    guest.writeBytes(0, at.buffer, getRandom);
    guest.write(0, at.start, 1);
    expect(guest.executor.commands).toEqual([]);
    expect(guest.readBytes(0, at.buffer, 10)).toBe("80010000000a00000909");
  });
});

describe("localities", () => {
  it("have one TPM: a request waits until the other lets go, and is then granted", () => {
    const guest = readyGuest(0);
    guest.write(2, at.control, 1);
    guest.write(1, at.control, 1);
    expect([guest.read(1, at.granted), guest.read(2, at.granted)]).toEqual([0, 0]);
    guest.write(0, at.control, 2);
    expect(guest.read(2, at.granted)).toBe(1);
    expect(guest.read(4, at.state)).toBe(0x81 | 2 | (2 << 2));
    guest.write(2, at.control, 2);
    expect(guest.read(1, at.granted)).toBe(1);
  });

  it("seize the TPM from lower ones only, which read so until they ask again", () => {
    const guest = readyGuest(1);
    guest.write(0, at.control, 4);
    expect(guest.read(1, at.granted)).toBe(1);
    guest.write(3, at.control, 4);
    expect([guest.read(1, at.granted), guest.read(3, at.granted)]).toEqual([2, 1]);
    guest.write(1, at.control, 1);
    expect(guest.read(1, at.granted)).toBe(0);
  });

  it("lose the command that runs when the TPM is taken from them: nobody reads its response", () => {
    const guest = runningGuest(0);
    guest.write(3, at.control, 4);
    expect(guest.executor.log).toEqual(["cancel"]);
    expect([guest.read(0, at.granted), guest.read(3, at.granted)]).toEqual([1, 0]);
    guest.executor.end(bytes(success));
    expect([guest.read(0, at.granted), guest.read(3, at.granted)]).toEqual([2, 1]);
    expect(guest.readBytes(3, at.buffer, 12)).toBe("00".repeat(12));
    expect([guest.read(3, at.start), guest.read(3, at.status)]).toEqual([0, 2]);
  });

  it("do not read or write what another one says, nor what is left of it", () => {
    const guest = readyGuest(1);
    guest.writeBytes(1, at.buffer, getRandom);
    expect(guest.read(0, at.buffer)).toBe(0xffff_ffff);
    guest.write(0, at.buffer, 0x1234_5678);
    expect(guest.readBytes(1, at.buffer, 12)).toBe(getRandom);
    guest.write(1, at.control, 2);
    expect(guest.read(1, at.buffer)).toBe(0xffff_ffff);
    guest.write(1, at.control, 1);
    expect(guest.readBytes(1, at.buffer, 12)).toBe(getRandom);
    guest.write(1, at.control, 2);
    guest.write(0, at.control, 1);
    expect(guest.readBytes(0, at.buffer, 12)).toBe("00".repeat(12));
  });

  it("find the TPM as ready as they left it, unless another one had it meanwhile", () => {
    const guest = readyGuest(1);
    guest.write(1, at.control, 2);
    guest.write(1, at.control, 1);
    expect(guest.read(1, at.status)).toBe(0);
    guest.write(2, at.control, 4);
    expect(guest.read(2, at.status)).toBe(2);
  });

  it("reset tpmEstablished from 3 and 4 only", () => {
    const guest = readyGuest(0);
    guest.executor.established = true;
    expect(guest.read(0, at.state)).toBe(0x82);
    guest.write(2, at.control, 8);
    expect(guest.read(0, at.state)).toBe(0x82);
    guest.write(3, at.control, 8);
    expect(guest.read(0, at.state)).toBe(0x83);
  });

  it("do nothing when several things are asked at once", () => {
    const guest = newGuest();
    for (const bits of [3, 5, 6, 7]) guest.write(0, at.control, bits);
    expect(guest.read(0, at.state)).toBe(0x81);
  });

  it("are one where the machine has one: the other pages are an empty bus", () => {
    const guest = newGuest({ localities: 1 });
    expect(guest.read(0, at.id) & 0x100).toBe(0);
    expect(guest.read(1, at.state, 2)).toBe(0xffff);
    guest.write(1, at.control, 1);
    expect(guest.read(0, at.state)).toBe(0x81);
  });
});

describe("locality 4", () => {
  it("is not reached by a guest unless the machine says so", () => {
    const guest = newGuest();
    guest.write(4, hashRegisters.hashStart.at, 0);
    guest.write(4, at.control, 1);
    expect(guest.executor.log).toEqual([]);
    expect(guest.read(4, at.state)).toBe(0x81);
  });

  it("measures between HASH_START and HASH_END, and gives the TPM up", () => {
    const guest = newGuest({ hardwareLocality: true });
    guest.write(4, hashRegisters.hashData.at, 0x11);
    guest.write(4, hashRegisters.hashStart.at, 0, 1);
    expect(guest.read(0, at.state)).toBe(0x81 | 2 | (4 << 2));
    guest.write(4, hashRegisters.hashData.at, 0x4433_2211);
    guest.write(4, hashRegisters.hashData.at, 0x55, 1);
    guest.write(4, hashRegisters.hashEnd.at, 0, 1);
    guest.write(4, hashRegisters.hashEnd.at, 0, 1);
    expect(guest.executor.log).toEqual(["hash start", "hash data 11223344", "hash data 55", "hash end"]);
    expect(guest.read(0, at.state)).toBe(0x80);
  });

  it("resets PCR 17 and extends it with the digest of what was measured, when an engine is behind", () => {
    const host = new TpmHost({ store: new MemoryStore(), tpm: { now: () => 0 } });
    const executor = new InlineExecutor(host);
    const guest = newGuest({ executor, hardwareLocality: true });
    host.startup(0);
    guest.write(4, hashRegisters.hashStart.at, 0, 1);
    guest.write(4, hashRegisters.hashData.at, 0x6362_6100);
    guest.write(4, hashRegisters.hashEnd.at, 0, 1);
    guest.write(0, at.control, 1);
    guest.writeBytes(0, at.buffer, "8001000000140000017e00000001000b03000002");
    guest.write(0, at.start, 1);
    const sha256 = (...data: readonly Uint8Array[]): Buffer =>
      createHash("sha256").update(Buffer.concat(data)).digest();
    const pcr = sha256(new Uint8Array(32), sha256(bytes("00616263")));
    expect(guest.readBytes(0, at.buffer + 30, 32)).toBe(pcr.toString("hex"));
    expect(guest.read(0, at.state)).toBe(0x82);
  });

  it("does not throw out another locality for a measurement", () => {
    const guest = readyGuest(0, { hardwareLocality: true });
    guest.write(4, hashRegisters.hashStart.at, 0);
    expect(guest.executor.log).toEqual([]);
    expect(guest.read(0, at.granted)).toBe(1);
  });
});

describe("INTERFACE_ID and sizes", () => {
  it("keep the selector that there is whatever is written, and its lock until a reset", () => {
    const guest = newGuest();
    const id = guest.read(0, at.id);
    expect(id).toBe(0x0102_5911);
    guest.write(0, at.id, 0);
    guest.write(0, at.id, 0x2_0000);
    expect(guest.read(0, at.id)).toBe(id);
    guest.write(0, at.id, 0x8_0000);
    guest.write(0, at.id, 0);
    expect(guest.read(3, at.id)).toBe(id | 0x8_0000);
    guest.device.reset();
    expect(guest.read(0, at.id)).toBe(id);
  });

  it("are read before anybody has the TPM, and are not written: EDK2 does both", () => {
    const guest = newGuest();
    const sizes = [0x58, 0x5c, 0x60, 0x64, 0x68, 0x6c];
    const values = [0xf80, tpmBase + 0x80, 0, 0xf80, tpmBase + 0x80, 0];
    guest.write(0, at.control, 1);
    for (const offset of sizes) guest.write(0, offset, 0x1234);
    expect(sizes.map((offset) => guest.read(0, offset))).toEqual(values);
    expect(guest.read(2, 0x5c)).toBe(tpmBase + 0x2080);
    expect([guest.read(0, 0x34, 2), guest.read(0, 0x36, 2)]).toEqual([0x1014, 1]);
    expect(guest.executor.bufferSize).toBe(0xf80);
  });

  it("read as 0 where a FIFO has registers, for drivers look there", () => {
    const guest = newGuest();
    for (const [offset, width] of [
      [0x14, 4],
      [0x1b, 1],
      [0x18, 4],
      [0x24, 4],
      [0x38, 4],
      [0x7c, 4],
    ] as const)
      expect(guest.read(0, offset, width)).toBe(0);
  });
});

describe("interrupts", () => {
  const { global, start, commandReady, localityChange, establishmentClear } = CrbInterrupt;

  it("come when a command ends, though nobody looks, and go when they are taken note of", () => {
    const guest = readyGuest();
    guest.write(0, at.enable, global | start);
    guest.writeBytes(0, at.buffer, getRandom);
    guest.write(0, at.start, 1);
    guest.time.advance(3 * lookInterval);
    expect(guest.line.level).toBe(false);
    guest.executor.end(bytes(success));
    guest.time.advance(lookInterval);
    expect(guest.line.level).toBe(true);
    expect(guest.read(0, at.interrupts)).toBe(start);
    guest.write(0, at.interrupts, start);
    expect(guest.line.level).toBe(false);
    guest.time.advance(100 * lookInterval);
    expect(guest.line.history).toEqual([true, false]);
  });

  it("come for cmdReady, a new locality and tpmEstablished, each when it is enabled", () => {
    const guest = readyGuest();
    guest.write(0, at.request, 1);
    expect(guest.read(0, at.interrupts)).toBe(0);
    guest.write(0, at.enable, (global | commandReady | localityChange | establishmentClear) >>> 0);
    guest.write(0, at.request, 1);
    expect(guest.read(0, at.interrupts)).toBe(commandReady);
    guest.write(3, at.control, 4);
    expect(guest.read(3, at.interrupts)).toBe(commandReady | localityChange);
    guest.write(3, at.control, 8);
    expect(guest.read(3, at.interrupts)).toBe(commandReady | localityChange | establishmentClear);
    guest.write(3, at.enable + 3, 0, 1);
    expect(guest.line.level).toBe(false);
    expect(guest.read(3, at.enable)).toBe(commandReady | localityChange | establishmentClear);
  });
});

describe("a reset", () => {
  it("is _TPM_Init, and what was in the buffer is gone", () => {
    const guest = runningGuest(2);
    guest.write(2, at.enable, 0x8000_000f);
    guest.device.reset();
    expect(guest.executor.log).toEqual(["power on"]);
    expect([guest.read(0, at.state), guest.read(0, at.status), guest.read(0, at.start)]).toEqual([
      0x81, 2, 0,
    ]);
    guest.write(2, at.control, 1);
    expect([guest.read(2, at.buffer), guest.read(2, at.enable)]).toEqual([0, 0]);
    guest.time.advance(10 * lookInterval);
    expect(guest.line.level).toBe(false);
  });

  it("tells why a TPM did not come up, and goes on without", () => {
    const seen: unknown[] = [];
    const guest = newGuest({ onPowerFailure: (error) => seen.push(error) });
    const failure = new Error("disk is gone");
    guest.executor.power = () => {
      guest.executor.powered = false;
      throw failure;
    };
    guest.device.reset();
    expect(seen).toEqual([failure]);
    expect(guest.read(0, at.status)).toBe(3);
  });
});

describe("saved state", () => {
  const golden: unknown = JSON.parse(readFileSync(new URL("golden/crb.json", import.meta.url), "utf8"));
  /** A command runs for locality 2, which goes idle behind it; locality 1 waits, 0 was thrown out. */
  function busyGuest(): RegisterGuest<CrbDevice> {
    const guest = readyGuest(0);
    guest.write(2, at.control, 4);
    guest.write(1, at.control, 1);
    guest.write(2, at.enable, 0x8000_0001);
    guest.write(2, at.id, 0x8_0000);
    guest.write(2, at.request, 1);
    guest.writeBytes(2, at.buffer, getRandom);
    guest.write(2, at.start, 1);
    guest.write(2, at.request, 2);
    return guest;
  }
  const plain = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value, (_, field) => (field instanceof Uint8Array ? [...field] : field)));

  it("is the golden one, and goes on from it where it was", () => {
    const saved = busyGuest().device.save();
    expect(plain(saved)).toEqual(golden);
    for (const state of [golden, decodeCbor(encodeCbor(saved))]) {
      const guest = newGuest();
      guest.device.restore(state);
      expect(guest.read(2, at.granted)).toBe(1);
      expect(guest.read(0, at.granted)).toBe(2);
      // The command has ended while the state was made.
      expect([guest.read(2, at.start), guest.read(2, at.status)]).toEqual([0, 2]);
      expect(guest.line.level).toBe(true);
      expect(guest.readBytes(2, at.buffer, 10)).toBe(success);
      guest.write(2, at.control, 2);
      expect(guest.read(1, at.granted)).toBe(1);
    }
  });

  it("that does not fit is refused, and changes nothing", () => {
    const saved = plain(busyGuest().device.save()) as Record<string, unknown>;
    const tpm = saved["tpm"] as object;
    const arbiter = saved["arbiter"] as object;
    const refused: readonly (readonly [object, string])[] = [
      [{ ...saved, version: 2 }, "bad-version"],
      [{ ...saved, extra: 1 }, "bad-shape"],
      [{ ...saved, buffer: [256] }, "out-of-range"],
      [{ ...saved, executing: false }, "out-of-range"],
      [{ ...saved, executing: false, goIdle: false, tpm: { ...tpm, response: undefined } }, "bad-shape"],
      [{ ...saved, interruptEnable: 0x10 }, "out-of-range"],
      [{ ...saved, owner: 5 }, "out-of-range"],
      [{ ...saved, measuring: true }, "out-of-range"],
      [{ ...saved, arbiter: { ...arbiter, pending: 1 } }, "out-of-range"],
      [{ ...saved, arbiter: { ...arbiter, active: -1 } }, "out-of-range"],
      [{ ...saved, tpm: { ...tpm, version: 2 } }, "out-of-range"],
      [{ ...saved, tpm: { ...tpm, permanent: [9] } }, "out-of-range"],
    ];
    for (const [state, code] of refused) {
      const guest = readyGuest(1);
      const before = guest.device.save();
      let thrown: unknown;
      try {
        guest.device.restore(state);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(DeviceStateError);
      expect((thrown as DeviceStateError).code).toBe(code);
      expect(guest.device.save()).toEqual(before);
    }
  });

  it("is looked at without what commands and responses say", () => {
    const guest = busyGuest();
    expect(guest.device.inspect()).toEqual({
      idle: false,
      executing: true,
      locality: 2,
      powered: true,
      established: false,
      measuring: false,
      interruptEnable: 0x8000_0001,
      interruptStatus: 0,
    });
  });
});

describe("whatever a guest does", () => {
  it("is answered in its width, at every offset, and never throws", () => {
    const step = fc.record({
      write: fc.boolean(),
      offset: fc.oneof(
        fc.nat(tpmLength - 1),
        fc
          .tuple(fc.nat(4), fc.constantFrom(...Object.values(at)))
          .map(([locality, o]) => (locality << 12) + o),
      ),
      width: fc.constantFrom(1, 2, 4),
      value: fc.oneof(fc.constantFrom(1, 2, 4, 8), fc.nat()),
      end: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const guest = newGuest({ hardwareLocality: true });
        let inWidth = true;
        for (const { write, offset, width, value, end } of steps) {
          const size = width as 1 | 2 | 4;
          if (write) guest.device.mmioWrite(offset, size, value % 2 ** (8 * size));
          else inWidth &&= guest.device.mmioRead(offset, size) < 2 ** (8 * size);
          if (end && guest.executor.running) guest.executor.end(bytes(success));
        }
        expect(inWidth).toBe(true);
        const saved = guest.device.save();
        const copy = newGuest({ hardwareLocality: true });
        copy.device.restore(saved);
        expect(copy.device.save()).toEqual(saved);
      }),
    );
  });
});

describe("specs/tpm-interfaces.md", () => {
  it("has a row for every register of the CRB and of locality 4", () => {
    const spec = readFileSync(new URL("../../../specs/tpm-interfaces.md", import.meta.url), "utf8");
    for (const row of [...interfaceRegisterLines(crbRegisters), ...interfaceRegisterLines(hashRegisters)])
      expect(spec).toContain(row);
  });
});
