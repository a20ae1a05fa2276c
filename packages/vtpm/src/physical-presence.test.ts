import { readFileSync } from "node:fs";
import { DeviceStateError } from "@entresol/devices";
import { decodeCbor, encodeCbor } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InlineExecutor } from "./inline-executor.ts";
import { interfaceRegisterLines } from "./interface-registers.ts";
import {
  PhysicalPresence,
  presenceBase,
  presenceLength,
  presenceOperations,
  presenceRegisters,
} from "./physical-presence.ts";
import { MemoryStore } from "./state-store.ts";
import { bytes } from "./testing/register-guest.ts";
import { TpmHost } from "./tpm-host.ts";

/** A method of the _DSM: writes what it is given, then the function; reads the three results. */
function call(presence: PhysicalPresence, code: number, operation?: number, argument?: number): number[] {
  const { operation: op, argument: arg, function: fn } = presenceRegisters;
  if (operation !== undefined) presence.mmioWrite(op.at, 4, operation);
  if (argument !== undefined) presence.mmioWrite(arg.at, 4, argument);
  presence.mmioWrite(fn.at, 4, code);
  return [0x0c, 0x10, 0x14].map((at) => presence.mmioRead(at, 4));
}

function startedTpm(): InlineExecutor {
  const executor = new InlineExecutor(new TpmHost({ store: new MemoryStore(), tpm: { now: () => 0 } }));
  executor.power(true);
  expect(run(executor, "80010000000c000001440000")).toBe("80010000000a00000000");
  return executor;
}

function run(executor: InlineExecutor, command: string): string {
  executor.start(bytes(command), 0);
  return Buffer.from(executor.finish() ?? []).toString("hex");
}

const password = "00000009400000090000000000";
/** TPM2_NV_DefineSpace of an ordinary index of 8 bytes by the owner, and TPM2_NV_ReadPublic of it. */
const defineIndex = `80020000002d0000012a40000001${password}0000000e01000000000b000200020000 0008`.replace(
  " ",
  "",
);
const readIndex = "80010000000e0000016901000000";
const readBanks = "8001000000160000017a000000050000000000000008";

describe("the mailbox of the TPM's _DSM", () => {
  it("takes an operation, says that it waits, and that a restart does it", () => {
    const presence = new PhysicalPresence();
    expect(call(presence, 3)).toEqual([0, 0, 0]);
    expect(call(presence, 2, 5)[0]).toBe(0);
    expect(call(presence, 3)).toEqual([0, 5, 0]);
    expect(call(presence, 4)[0]).toBe(2);
    expect(call(presence, 7, 23, 6)[0]).toBe(0);
    expect(call(presence, 3)).toEqual([0, 23, 6]);
    expect(call(presence, 2, 0)[0]).toBe(0);
    expect(call(presence, 3)).toEqual([0, 0, 0]);
  });

  it("takes no operation that there is not, and no bank that there is not, nor none", () => {
    const presence = new PhysicalPresence();
    call(presence, 2, 5);
    expect(call(presence, 2, 2)[0]).toBe(1);
    expect(call(presence, 7, 0xffff_ffff)[0]).toBe(1);
    expect(call(presence, 7, 23, 0)[0]).toBe(2);
    expect(call(presence, 7, 23, 0x12)[0]).toBe(2);
    expect(call(presence, 2, 23, 6)[0]).toBe(2);
    expect(call(presence, 3)).toEqual([0, 5, 0]);
  });

  it("says which operations there are: allowed, and nobody at a console is asked", () => {
    const presence = new PhysicalPresence();
    const allowed = Array.from({ length: 130 }, (_, code) => code).filter(
      (code) => call(presence, 8, code)[0] === 4,
    );
    expect(allowed).toEqual(presenceOperations.map(({ code }) => code));
    expect(call(presence, 8, 2)[0]).toBe(0);
    expect(call(presence, 6)[0]).toBe(1);
  });

  it("lies behind the TPM's pages", () => {
    expect(presenceBase).toBe(0xfed4_5000);
    expect(Math.max(...Object.values(presenceRegisters).map(({ at }) => at))).toBeLessThan(presenceLength);
  });
});

describe("what waits is done at the next start", () => {
  it("clears the TPM: the owner's index is gone, and the guest is told TPM_RC_SUCCESS", () => {
    const executor = startedTpm();
    expect(run(executor, defineIndex).slice(12, 20)).toBe("00000000");
    expect(run(executor, readIndex).slice(12, 20)).toBe("00000000");
    const presence = new PhysicalPresence();
    call(presence, 2, 5);
    presence.reset();
    expect(presence.perform(executor)).toBe(false);
    expect(run(executor, readIndex).slice(12, 20)).not.toBe("00000000");
    expect(call(presence, 5)).toEqual([0, 5, 0]);
    expect(call(presence, 3)).toEqual([0, 0, 0]);
  });

  it("sets the PCR banks, which are there after another reset of the TPM", () => {
    const executor = startedTpm();
    const presence = new PhysicalPresence();
    call(presence, 7, 23, 0b0110);
    expect(presence.perform(executor)).toBe(true);
    executor.power(true);
    run(executor, "80010000000c000001440000");
    // SHA-1 and SHA-512 have no PCR, SHA-256 and SHA-384 have all.
    expect(run(executor, readBanks).slice(38)).toBe("000403000000000b03ffffff000c03ffffff000d03000000");
    expect(presence.perform(executor)).toBe(false);
  });

  it("changes the endorsement primary seed", () => {
    const executor = startedTpm();
    const presence = new PhysicalPresence();
    call(presence, 2, 24);
    expect(presence.perform(executor)).toBe(false);
    expect(call(presence, 5)).toEqual([0, 24, 0]);
  });

  it("tells the guest the TPM's response code when it refuses", () => {
    const executor = startedTpm();
    // TPM2_HierarchyChangeAuth of the platform: firmware has set its authorization value already. Then: TPM_RC_BAD_AUTH.
    const changed = run(executor, `80020000001e000001294000000c${password}0001aa`);
    expect(changed.slice(12, 20)).toBe("00000000");
    const presence = new PhysicalPresence();
    call(presence, 2, 24);
    expect(presence.perform(executor)).toBe(false);
    expect(call(presence, 5)).toEqual([0, 24, 0x9a2]);
  });
});

describe("saved state", () => {
  const golden: unknown = JSON.parse(
    readFileSync(new URL("golden/physical-presence.json", import.meta.url), "utf8"),
  );

  it("is the golden one, and goes on from it", () => {
    const presence = new PhysicalPresence();
    call(presence, 2, 5);
    presence.perform(startedTpm());
    call(presence, 7, 23, 6);
    call(presence, 5);
    expect(presence.save()).toEqual(golden);
    const copy = new PhysicalPresence();
    copy.restore(decodeCbor(encodeCbor(presence.save())));
    expect(copy.save()).toEqual(golden);
    expect(copy.inspect()).toEqual({ pending: "set PCR banks", argument: 6, last: "clear", response: 0 });
  });

  it("that does not fit is refused, and changes nothing", () => {
    for (const change of [
      { version: 2 },
      { pending: 2 },
      { pendingArgument: 0 },
      { last: -1 },
      { more: 1 },
    ]) {
      const presence = new PhysicalPresence();
      call(presence, 2, 5);
      const before = presence.save();
      expect(() => presence.restore({ ...(golden as object), ...change })).toThrow(DeviceStateError);
      expect(presence.save()).toEqual(before);
    }
  });
});

describe("whatever a guest does", () => {
  it("is answered in its width and waits only as an operation that there is", () => {
    const access = fc.tuple(
      fc.boolean(),
      fc.nat(presenceLength - 1),
      fc.constantFrom(1, 2, 4),
      fc.oneof(fc.nat(30), fc.nat()),
    );
    fc.assert(
      fc.property(fc.array(access, { maxLength: 40 }), (accesses) => {
        const presence = new PhysicalPresence();
        let inWidth = true;
        for (const [write, offset, width, value] of accesses) {
          const size = width as 1 | 2 | 4;
          if (write) presence.mmioWrite(offset, size, value);
          else inWidth &&= presence.mmioRead(offset, size) < 2 ** (8 * size);
        }
        expect(inWidth).toBe(true);
        const copy = new PhysicalPresence();
        copy.restore(presence.save());
        expect(copy.save()).toEqual(presence.save());
      }),
    );
  });
});

describe("specs/tpm-interfaces.md", () => {
  it("has a row for every register of the mailbox", () => {
    const spec = readFileSync(new URL("../../../specs/tpm-interfaces.md", import.meta.url), "utf8");
    for (const row of interfaceRegisterLines(presenceRegisters)) expect(spec).toContain(row);
  });
});
