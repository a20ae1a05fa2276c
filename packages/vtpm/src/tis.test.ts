import { readFileSync } from "node:fs";
import { DeviceStateError } from "@entresol/devices";
import { decodeCbor, encodeCbor } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { lookInterval } from "./command-run.ts";
import { hashRegisters } from "./crb-registers.ts";
import { interfaceRegisterLines, tpmLength } from "./interface-registers.ts";
import { bytes, getRandom, RegisterGuest, success } from "./testing/register-guest.ts";
import { TisDevice, type TisOptions } from "./tis.ts";
import { TisInterrupt, tisRegisters } from "./tis-registers.ts";

const at = {
  access: tisRegisters.access.at,
  enable: tisRegisters.interruptEnable.at,
  vector: tisRegisters.interruptVector.at,
  interrupts: tisRegisters.interruptStatus.at,
  status: tisRegisters.status.at,
  fifo: tisRegisters.fifo.at,
  id: tisRegisters.interfaceId.at,
} as const;
const extendedFifo = 0x80;
const commandReady = 0x40;
const go = 0x20;
const retry = 0x02;

const newGuest = (options: Partial<TisOptions> = {}): RegisterGuest<TisDevice> =>
  new RegisterGuest((all) => new TisDevice({ ...all, ...options }), options);

function readyGuest(locality = 0, options: Partial<TisOptions> = {}): RegisterGuest<TisDevice> {
  const guest = newGuest(options);
  guest.write(locality, at.access, 0x02, 1);
  guest.write(locality, at.status, commandReady, 1);
  return guest;
}

/** Whose command runs. */
function runningGuest(locality = 0, options: Partial<TisOptions> = {}): RegisterGuest<TisDevice> {
  const guest = readyGuest(locality, options);
  guest.writeBytes(locality, at.fifo, getRandom, 0);
  guest.write(locality, at.status, go, 1);
  return guest;
}

/** Bits 7:0 of STS, and the burst count. */
const statusOf = (guest: RegisterGuest<TisDevice>, locality = 0): [number, number] => {
  const status = guest.read(locality, at.status);
  return [status & 0xff, (status >>> 8) & 0xffff];
};

describe("a command through the FIFO", () => {
  it("runs as firmware and Linux give it: request, ready, bytes, go, bytes, ready, relinquish", () => {
    const guest = newGuest();
    expect(guest.read(0, at.access, 1)).toBe(0x81);
    guest.write(0, at.access, 0x02, 1);
    expect(guest.read(0, at.access, 1)).toBe(0xa1);
    expect(statusOf(guest)).toEqual([0, 4096]);
    guest.write(0, at.status, commandReady, 1);
    expect(statusOf(guest)).toEqual([0x40, 4096]);
    guest.writeBytes(0, at.fifo, getRandom.slice(0, 22), 0);
    expect(statusOf(guest)).toEqual([0x88, 4085]);
    guest.writeBytes(0, at.fifo, getRandom.slice(22), 0);
    expect(statusOf(guest)).toEqual([0x80, 4084]);
    guest.write(0, at.status, go, 1);
    expect(statusOf(guest)).toEqual([0x80, 4084]);
    expect(guest.executor.commands).toEqual([[0, getRandom]]);
    guest.executor.end(bytes(success));
    expect(statusOf(guest)).toEqual([0x90, 10]);
    expect(guest.readBytes(0, at.fifo, 4, 0)).toBe(success.slice(0, 8));
    expect(statusOf(guest)).toEqual([0x90, 6]);
    expect(guest.readBytes(0, at.fifo, 6, 0)).toBe(success.slice(8));
    expect(statusOf(guest)[0]).toBe(0x80);
    expect(guest.read(0, at.fifo)).toBe(0xffff_ffff);
    guest.write(0, at.status, commandReady, 1);
    expect(statusOf(guest)).toEqual([0x40, 4096]);
    guest.write(0, at.access, 0x20, 1);
    expect(guest.read(0, at.access, 1)).toBe(0x81);
  });

  it("goes through either window, with any width, low byte first; what lies beyond a window is not the FIFO", () => {
    const guest = readyGuest();
    guest.write(0, at.fifo, 0x0000_0180);
    guest.write(0, extendedFifo + 0x3c, 0x0c00, 2);
    guest.write(0, at.fifo + 2, 0x7b01_0000);
    guest.write(0, at.fifo, 0x7b01, 2);
    guest.write(0, extendedFifo, 0x0800, 2);
    guest.write(0, at.status, go);
    expect(guest.executor.commands).toEqual([[0, getRandom]]);
    guest.executor.end(bytes(success));
    expect(guest.read(0, extendedFifo)).toBe(0x0000_0180);
    expect(guest.read(0, at.fifo + 2)).toBe(0xffff_0a00);
  });

  it("has no more bytes than its header says, and none before commandReady", () => {
    const guest = newGuest();
    guest.write(0, at.access, 0x02, 1);
    guest.write(0, at.fifo, 0x80, 1);
    guest.write(0, at.status, commandReady, 1);
    guest.writeBytes(0, at.fifo, `${getRandom}ffff`, 0);
    guest.write(0, at.status, go, 1);
    guest.writeBytes(0, at.fifo, "80", 0);
    expect(guest.executor.commands).toEqual([[0, getRandom]]);
  });

  it("does not go while bytes are missing", () => {
    const guest = readyGuest();
    guest.write(0, at.status, go, 1);
    guest.writeBytes(0, at.fifo, getRandom.slice(0, 10), 0);
    guest.write(0, at.status, go, 1);
    expect(guest.executor.commands).toEqual([]);
    expect(statusOf(guest)[0]).toBe(0x88);
  });

  it.each([
    ["longer than the FIFO is as much as fits", "00001001", 4096],
    ["of 4 GiB is as much as fits", "ffffffff", 4096],
    ["shorter than a header ends when its size is known", "00000003", 6],
  ])("whose size is a lie is the TPM's to refuse: %s", (_, size, length) => {
    const guest = readyGuest();
    guest.writeBytes(0, at.fifo, `8001${size}${"00".repeat(4100)}`, 0);
    expect(statusOf(guest)).toEqual([0x80, 4096 - length]);
    guest.write(0, at.status, go, 1);
    expect(guest.executor.commands[0]?.[1].length).toBe(2 * length);
  });

  it("is read again after responseRetry", () => {
    const guest = runningGuest();
    guest.write(0, at.status, retry, 1);
    guest.executor.end(bytes(success));
    guest.readBytes(0, at.fifo, 10, 0);
    guest.write(0, at.status, retry, 1);
    expect(statusOf(guest)).toEqual([0x90, 10]);
    expect(guest.readBytes(0, at.fifo, 10, 0)).toBe(success);
  });

  it("has a burst count whose two bytes agree when they are read one by one", () => {
    const guest = readyGuest();
    expect([guest.read(0, at.status + 1, 1), guest.read(0, at.status + 2, 1)]).toEqual([0xff, 0]);
    guest.writeBytes(0, at.fifo, getRandom, 0);
    guest.write(0, at.status, go, 1);
    guest.executor.end(bytes(`8001${"00000104"}${"00".repeat(0x104 - 6)}`));
    expect([guest.read(0, at.status + 1, 1), guest.read(0, at.status + 2, 1)]).toEqual([0x04, 1]);
  });
});

describe("STS", () => {
  it("aborts with commandReady what was half given, and what was half read", () => {
    const guest = readyGuest();
    guest.writeBytes(0, at.fifo, getRandom.slice(0, 14), 0);
    guest.write(0, at.status, commandReady, 1);
    expect(statusOf(guest)).toEqual([0x40, 4096]);
    guest.writeBytes(0, at.fifo, getRandom, 0);
    guest.write(0, at.status, go, 1);
    expect(guest.executor.commands).toEqual([[0, getRandom]]);
    guest.executor.end(bytes(success));
    guest.read(0, at.fifo, 1);
    guest.write(0, at.status, commandReady, 1);
    expect(guest.read(0, at.fifo, 1)).toBe(0xff);
  });

  it("aborts with commandReady what runs: it is canceled, its response is nobody's, and then the TPM is ready", () => {
    const guest = runningGuest();
    guest.write(0, at.status, commandReady, 1);
    expect(guest.executor.log).toEqual(["cancel"]);
    expect(statusOf(guest)[0]).toBe(0x80);
    guest.executor.end(bytes(success));
    expect(statusOf(guest)).toEqual([0x40, 4096]);
    expect(guest.read(0, at.fifo, 1)).toBe(0xff);
  });

  it("cancels what runs with commandCancel: it ends early, and its response is read", () => {
    const guest = readyGuest();
    guest.write(0, at.status, 0x0100_0000);
    expect(guest.executor.log).toEqual([]);
    guest.writeBytes(0, at.fifo, getRandom, 0);
    guest.write(0, at.status, go, 1);
    guest.write(0, at.status + 3, 0x01, 1);
    expect(guest.executor.log).toEqual(["cancel"]);
    guest.executor.end(bytes("80010000000a00000909"));
    expect(guest.readBytes(0, at.fifo, 10, 0)).toBe("80010000000a00000909");
  });

  it("does nothing when several of commandReady, tpmGo and responseRetry are written at once", () => {
    const guest = readyGuest();
    guest.writeBytes(0, at.fifo, getRandom, 0);
    for (const bits of [0x60, 0x42, 0x22, 0x62]) guest.write(0, at.status, bits, 1);
    expect(guest.executor.commands).toEqual([]);
    expect(statusOf(guest)[0]).toBe(0x80);
  });

  it("is all ones, and takes nothing, unless the locality is active", () => {
    const guest = runningGuest(1);
    guest.executor.end(bytes(success));
    expect(guest.read(0, at.status)).toBe(0xffff_ffff);
    expect(guest.read(0, at.fifo, 1)).toBe(0xff);
    guest.write(0, at.status, commandReady, 1);
    expect(guest.readBytes(1, at.fifo, 10, 0)).toBe(success);
  });

  it("resets tpmEstablishment from localities 3 and 4 only", () => {
    const guest = readyGuest(2);
    guest.executor.established = true;
    expect(guest.read(0, at.access, 1)).toBe(0x80);
    guest.write(2, at.status, 0x0200_0000);
    expect(guest.executor.established).toBe(true);
    guest.write(3, at.access, 0x08, 1);
    guest.write(3, at.status, 0x0200_0000);
    expect(guest.read(0, at.access, 1)).toBe(0x81);
  });
});

describe("ACCESS", () => {
  it("shows who waits, to him and to the others, and gives the TPM to the highest", () => {
    const guest = readyGuest(0);
    guest.write(1, at.access, 0x02, 1);
    guest.write(2, at.access, 0x02, 1);
    expect([0, 1, 2, 3].map((locality) => guest.read(locality, at.access, 1))).toEqual([
      0xa5, 0x87, 0x87, 0x85,
    ]);
    guest.write(1, at.access, 0x20, 1);
    expect(guest.read(1, at.access, 1)).toBe(0x85);
    guest.write(1, at.access, 0x02, 1);
    guest.write(0, at.access, 0x20, 1);
    expect([0, 1, 2].map((locality) => guest.read(locality, at.access, 1))).toEqual([0x85, 0x83, 0xa5]);
  });

  it("takes the TPM from a lower locality by Seize, which reads beenSeized until it writes it", () => {
    const guest = runningGuest(1);
    guest.write(0, at.access, 0x08, 1);
    guest.write(1, at.access, 0x08, 1);
    expect(guest.executor.log).toEqual([]);
    guest.write(2, at.access, 0x08, 1);
    guest.write(3, at.access, 0x08, 1);
    expect(guest.executor.log).toEqual(["cancel"]);
    expect(guest.read(1, at.access, 1)).toBe(0xa1);
    guest.executor.end(bytes(success));
    expect([1, 2, 3].map((locality) => guest.read(locality, at.access, 1))).toEqual([0x91, 0x81, 0xa1]);
    expect(statusOf(guest, 3)).toEqual([0, 4096]);
    guest.write(1, at.access, 0x10, 1);
    expect(guest.read(1, at.access, 1)).toBe(0x81);
  });

  it("does nothing when several bits are written at once", () => {
    const guest = newGuest();
    for (const bits of [0x0a, 0x22, 0x2a, 0x12]) guest.write(0, at.access, bits, 1);
    expect(guest.read(0, at.access, 1)).toBe(0x81);
  });

  it("leaves who gives the TPM up and takes it again as ready as he was, and nobody else", () => {
    const guest = readyGuest(0);
    guest.write(0, at.access, 0x20, 1);
    guest.write(0, at.access, 0x02, 1);
    expect(statusOf(guest)[0]).toBe(0x40);
    guest.write(0, at.access, 0x20, 1);
    guest.write(1, at.access, 0x02, 1);
    expect(statusOf(guest, 1)[0]).toBe(0);
  });

  it("forgets a command half given and a response half read when the TPM is given up", () => {
    const guest = runningGuest(0);
    guest.executor.end(bytes(success));
    expect(guest.read(0, at.fifo, 1)).toBe(0x80);
    guest.write(0, at.access, 0x20, 1);
    guest.write(0, at.access, 0x02, 1);
    expect(statusOf(guest)).toEqual([0, 4096]);
    expect(guest.read(0, at.fifo, 1)).toBe(0xff);
  });
});

describe("locality 4", () => {
  it("is not reached by a guest unless the machine says so", () => {
    const guest = newGuest();
    guest.write(4, at.access, 0x02, 1);
    guest.write(4, hashRegisters.hashStart.at, 0, 1);
    expect(guest.read(4, at.access, 1)).toBe(0x81);
    expect(guest.executor.log).toEqual([]);
  });

  it("measures between HASH_START and HASH_END by the address of the FIFO", () => {
    const guest = newGuest({ hardwareLocality: true });
    guest.write(4, hashRegisters.hashStart.at, 0, 1);
    expect(guest.read(4, at.access, 1)).toBe(0xa1);
    guest.write(4, at.fifo, 0x4433_2211);
    guest.write(4, hashRegisters.hashEnd.at, 0, 1);
    expect(guest.executor.log).toEqual(["hash start", "hash data 11223344", "hash end"]);
    expect(guest.read(4, at.access, 1)).toBe(0x80);
  });

  it("begins anew when a command runs there, whose response is nobody's", () => {
    const guest = runningGuest(4, { hardwareLocality: true });
    guest.write(4, hashRegisters.hashStart.at, 0, 1);
    expect(guest.executor.log).toEqual(["cancel", "hash start"]);
    guest.executor.end(bytes(success));
    expect(statusOf(guest, 4)[0]).toBe(0x40);
  });
});

describe("registers that tell what there is", () => {
  it("are those of a FIFO of family 2.0 with five localities", () => {
    const guest = newGuest({ vector: 5 });
    expect(guest.read(0, 0x14)).toBe(0x3000_0697);
    expect(guest.read(0, at.id)).toBe(0x0100_2100);
    expect(guest.read(0, 0xf00)).toBe(0x0001_1014);
    expect([guest.read(0, 0xf00, 2), guest.read(0, 0xf02, 2), guest.read(0, 0xf04, 1)]).toEqual([
      0x1014, 1, 1,
    ]);
    expect(guest.read(0, at.vector, 1)).toBe(5);
    expect(guest.read(0, 0x40)).toBe(0xffff_ffff);
    expect(() => newGuest({ vector: 16 })).toThrow(RangeError);
  });

  it("keep the selector's lock until a reset", () => {
    const guest = newGuest();
    guest.write(0, at.id, 0x8_0000);
    guest.write(0, at.id, 0x2_0000);
    expect(guest.read(3, at.id)).toBe(0x0108_2100);
    guest.device.reset();
    expect(guest.read(3, at.id)).toBe(0x0100_2100);
  });
});

describe("interrupts", () => {
  const { global, dataAvailable, statusValid, localityChange } = TisInterrupt;

  it("come for a response, its last byte and commandReady, each when it is enabled", () => {
    const guest = readyGuest();
    const enabled = (global | dataAvailable | statusValid | TisInterrupt.commandReady) >>> 0;
    guest.write(0, at.enable, enabled);
    expect(guest.read(0, at.enable)).toBe(enabled);
    guest.writeBytes(0, at.fifo, getRandom, 0);
    guest.write(0, at.status, go, 1);
    expect(guest.line.level).toBe(false);
    guest.executor.end(bytes(success));
    guest.time.advance(lookInterval);
    expect(guest.read(0, at.interrupts)).toBe(dataAvailable | statusValid);
    guest.write(0, at.interrupts, 0xff);
    expect(guest.line.level).toBe(false);
    guest.readBytes(0, at.fifo, 10, 0);
    expect(guest.read(0, at.interrupts)).toBe(statusValid);
    guest.write(0, at.status, commandReady, 1);
    expect(guest.read(0, at.interrupts)).toBe(statusValid | TisInterrupt.commandReady);
    guest.write(0, at.interrupts, 0x82, 1);
    expect(guest.line.history).toEqual([true, false, true, false]);
  });

  it("of a new locality come to the one that gets the TPM, which alone writes its registers", () => {
    const guest = readyGuest(1);
    guest.write(1, at.enable, (global | localityChange) >>> 0);
    guest.write(1, at.access, 0x20, 1);
    guest.write(1, at.enable, 0);
    guest.write(1, at.access, 0x02, 1);
    expect(guest.read(1, at.interrupts)).toBe(localityChange);
    expect(guest.line.level).toBe(true);
    guest.write(1, at.enable + 3, 0, 1);
    expect(guest.line.level).toBe(false);
  });
});

describe("saved state", () => {
  const golden: unknown = JSON.parse(readFileSync(new URL("golden/tis.json", import.meta.url), "utf8"));
  const plain = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value, (_, field) => (field instanceof Uint8Array ? [...field] : field)));
  /** Locality 1 took the TPM from 0, which waits again, and has read a part of its response. */
  function readingGuest(): RegisterGuest<TisDevice> {
    const guest = readyGuest(0);
    guest.write(1, at.access, 0x08, 1);
    guest.write(0, at.access, 0x02, 1);
    guest.write(0, at.id, 0x8_0000);
    guest.write(1, at.enable, 0x8000_000a);
    guest.write(1, at.status, commandReady, 1);
    guest.writeBytes(1, at.fifo, getRandom, 0);
    guest.write(1, at.status, go, 1);
    guest.executor.end(bytes(success));
    guest.readBytes(1, at.fifo, 4, 0);
    return guest;
  }

  it("is the golden one, and goes on from it where it was", () => {
    const saved = readingGuest().device.save();
    expect(plain(saved)).toEqual(golden);
    for (const state of [golden, decodeCbor(encodeCbor(saved))]) {
      const guest = newGuest();
      guest.device.restore(state);
      expect([0, 1].map((locality) => guest.read(locality, at.access, 1))).toEqual([0x93, 0xa5]);
      expect(guest.line.level).toBe(true);
      expect(guest.readBytes(1, at.fifo, 6, 0)).toBe(success.slice(8));
    }
  });

  it("of a command half given and of one that runs is gone on from", () => {
    const half = readyGuest(1);
    half.writeBytes(1, at.fifo, getRandom.slice(0, 16), 0);
    const guest = newGuest();
    guest.device.restore(half.device.save());
    guest.writeBytes(1, at.fifo, getRandom.slice(16), 0);
    guest.write(1, at.status, go, 1);
    expect(guest.executor.commands).toEqual([[1, getRandom]]);
    guest.write(1, at.status, commandReady, 1);
    const aborting = newGuest();
    aborting.device.restore(guest.device.save());
    expect(statusOf(aborting, 1)).toEqual([0x40, 4096]);
  });

  it("that does not fit is refused, and changes nothing", () => {
    const saved = plain(readingGuest().device.save()) as Record<string, unknown>;
    const tpm = saved["tpm"] as object;
    const refused: readonly (readonly [object, string])[] = [
      [{ ...saved, version: 2 }, "bad-version"],
      [{ ...saved, extra: 1 }, "bad-shape"],
      [{ ...saved, phase: "waiting" }, "out-of-range"],
      [{ ...saved, phase: "ready" }, "out-of-range"],
      [{ ...saved, phase: "executing", response: [], readCount: 0 }, "out-of-range"],
      [{ ...saved, command: [1] }, "out-of-range"],
      [{ ...saved, readCount: 11 }, "out-of-range"],
      [{ ...saved, interruptEnable: [0x20, 8, 8, 8, 8] }, "out-of-range"],
      [{ ...saved, interruptStatus: [0, 0] }, "bad-shape"],
      [{ ...saved, abandoned: true }, "out-of-range"],
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
    expect(readingGuest().device.inspect()).toEqual({
      phase: "complete",
      locality: 1,
      received: 0,
      unread: 6,
      powered: true,
      established: false,
      measuring: false,
      interruptEnable: [8, 0x8000_000a, 8, 8, 8],
      interruptStatus: [0, 2, 0, 0, 0],
    });
  });
});

describe("whatever a guest does", () => {
  it("is answered in its width, at every offset, and never throws", () => {
    const registers = Object.values(at);
    const step = fc.record({
      write: fc.boolean(),
      offset: fc.oneof(
        fc.nat(tpmLength - 1),
        fc.tuple(fc.nat(4), fc.constantFrom(...registers)).map(([locality, o]) => (locality << 12) + o),
      ),
      width: fc.constantFrom(1, 2, 4),
      value: fc.oneof(fc.constantFrom(0x02, 0x08, 0x20, 0x40), fc.nat()),
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
  it("has a row for every register of the FIFO", () => {
    const spec = readFileSync(new URL("../../../specs/tpm-interfaces.md", import.meta.url), "utf8");
    for (const row of interfaceRegisterLines(tisRegisters)) expect(spec).toContain(row);
  });
});
