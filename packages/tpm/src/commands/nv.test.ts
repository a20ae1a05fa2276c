import { createHash } from "node:crypto";
import {
  Alg,
  type CommandParameters,
  commands,
  Nt,
  NvAttribute,
  ofHandle,
  ofParameter,
  ofSession,
  Rc,
  Rh,
  Su,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, u16, u32, u64 } from "../engine.ts";
import { decodePermanent, encodePermanent } from "../saved-state.ts";
import type { NvIndex } from "../state.ts";
import { aes128Cfb, TpmClient } from "../testing/client.ts";
import { Tpm } from "../tpm.ts";

const INDEX = 0x0180_0001;
const none = new Uint8Array(0);
const { OWNERWRITE, OWNERREAD, AUTHWRITE, AUTHREAD, PPWRITE, PPREAD, POLICYREAD, POLICYWRITE } = NvAttribute;
const { WRITTEN, WRITELOCKED, READLOCKED, WRITEDEFINE, WRITEALL, WRITE_STCLEAR, READ_STCLEAR } = NvAttribute;
const { NO_DA, ORDERLY, CLEAR_STCLEAR, GLOBALLOCK, PLATFORMCREATE, POLICY_DELETE } = NvAttribute;
/** What the owner may do with any index of these tests. */
const OPEN = OWNERREAD | OWNERWRITE | AUTHREAD | NO_DA;
const ofType = (type: number, attributes: number = OPEN): number => (attributes | (type << 4)) >>> 0;
const sha256 = (...parts: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash("sha256")
      .update(concat(...parts))
      .digest(),
  );

type Definition = CommandParameters<"NV_DefineSpace">["publicInfo"];
interface Wanted extends Partial<Definition> {
  readonly auth?: Uint8Array;
  readonly by?: number;
}
/** TPM2_NV_DefineSpace of an ordinary index of eight bytes, and what else is wanted. */
function definition({ auth = none, by = Rh.OWNER, ...wanted }: Wanted) {
  const publicInfo = {
    nvIndex: INDEX,
    nameAlg: Alg.SHA256,
    attributes: OPEN,
    authPolicy: none,
    dataSize: 8,
    ...wanted,
  };
  return [{ authHandle: by }, { auth, publicInfo }] as const;
}

function bench(client = TpmClient.started()) {
  const handles = (authHandle: number = Rh.OWNER) => ({ authHandle, nvIndex: INDEX });
  return {
    client,
    define: (wanted: Wanted = {}): number => client.rc("NV_DefineSpace", ...definition(wanted)),
    write: (data: Uint8Array, offset = 0, by?: number, auth: Uint8Array = none): number =>
      client.rc("NV_Write", handles(by), { data, offset }, { auth: [auth] }),
    read: (size: number, offset = 0, by?: number): Uint8Array =>
      client.run("NV_Read", handles(by), { size, offset }).data,
    readRc: (size: number, offset = 0, by?: number, auth: Uint8Array = none): number =>
      client.rc("NV_Read", handles(by), { size, offset }, { auth: [auth] }),
    increment: (by?: number): number => client.rc("NV_Increment", handles(by), {}),
    setBits: (bits: bigint): number => client.rc("NV_SetBits", handles(), { bits }),
    extend: (data: Uint8Array): number => client.rc("NV_Extend", handles(), { data }),
    writeLock: (by?: number): number => client.rc("NV_WriteLock", handles(by), {}),
    readLock: (by?: number): number => client.rc("NV_ReadLock", handles(by), {}),
    undefine: (by: number = Rh.OWNER): number =>
      client.rc("NV_UndefineSpace", { authHandle: by, nvIndex: INDEX }, {}),
    attributes: (): number => client.run("NV_ReadPublic", { nvIndex: INDEX }, {}).nvPublic.attributes,
  };
}

/** A TPM whose power can go, and come back with what its store was given last. */
function withStore() {
  let kept: Uint8Array | undefined;
  const store = {
    commits: 0,
    commit(bytes: Uint8Array): void {
      kept = bytes.slice();
      store.commits++;
    },
  };
  const powerOn = (startupType: number = Su.CLEAR): ReturnType<typeof bench> => {
    const client = new TpmClient(new Tpm({ store, ...(kept === undefined ? {} : { permanent: kept }) }));
    client.run("Startup", {}, { startupType });
    return bench(client);
  };
  return { store, powerOn };
}
const shutdown = ({ client }: { client: TpmClient }, shutdownType: number): unknown =>
  client.run("Shutdown", {}, { shutdownType });

describe("TPM2_NV_DefineSpace", () => {
  it("makes an index whose public area and Name NV_ReadPublic tells", () => {
    const { client, define } = bench();
    expect(define({ authPolicy: sha256(none) })).toBe(Rc.SUCCESS);
    const { nvPublic, nvName } = client.run("NV_ReadPublic", { nvIndex: INDEX }, {});
    expect(nvPublic).toEqual(definition({ authPolicy: sha256(none) })[1].publicInfo);
    const area = concat(u32(INDEX), u16(Alg.SHA256), u32(OPEN), u16(32), sha256(none), u16(8));
    expect(nvName).toEqual(concat(u16(Alg.SHA256), sha256(area)));
    const second = client.run("NV_ReadPublic2", { nvIndex: INDEX }, {});
    expect(second).toEqual({ nvPublic, nvName, handle: 0 });
  });

  it("as NV_DefineSpace2 does the same", () => {
    const { client, write, read } = bench();
    client.run("NV_DefineSpace2", ...definition({}));
    expect(write(u64(7n))).toBe(Rc.SUCCESS);
    expect(read(8)).toEqual(u64(7n));
  });

  const attributes = ofParameter(Rc.ATTRIBUTES, 2);
  const size = ofParameter(Rc.SIZE, 2);
  const platform = { by: Rh.PLATFORM };
  const pin = OWNERREAD | OWNERWRITE | NO_DA;
  const rules: readonly (readonly [rule: string, wanted: Wanted, rc: number])[] = [
    ["wants a policy of the Name's size", { authPolicy: new Uint8Array(20) }, size],
    [
      "wants no longer authValue than the Name's digest",
      { auth: new Uint8Array(33).fill(1) },
      ofParameter(Rc.SIZE, 1),
    ],
    [
      "takes an authValue without its trailing zeros",
      { auth: concat(new Uint8Array(32).fill(1), u64(0n)) },
      Rc.SUCCESS,
    ],
    ["knows no type 3", { attributes: ofType(3) }, attributes],
    ["wants 8 bytes of a counter", { attributes: ofType(Nt.COUNTER), dataSize: 7 }, size],
    ["wants 8 bytes of bits", { attributes: ofType(Nt.BITS), dataSize: 16 }, size],
    ["wants a digest's bytes of an extend index", { attributes: ofType(Nt.EXTEND), dataSize: 20 }, size],
    ["wants 8 bytes of a PIN", { attributes: ofType(Nt.PIN_PASS, pin), dataSize: 4 }, size],
    ["clears no counter at start-up", { attributes: ofType(Nt.COUNTER, OPEN | CLEAR_STCLEAR) }, attributes],
    [
      "lets no PIN be written by its authValue",
      { attributes: ofType(Nt.PIN_PASS, pin | AUTHWRITE) },
      attributes,
    ],
    ["lets no PIN be locked for good", { attributes: ofType(Nt.PIN_FAIL, pin | WRITEDEFINE) }, attributes],
    ["lets no PIN be locked with all", { attributes: ofType(Nt.PIN_PASS, pin | GLOBALLOCK) }, attributes],
    ["wants NO_DA of a failing PIN", { attributes: ofType(Nt.PIN_FAIL, pin & ~NO_DA) }, attributes],
    ["takes a PIN", { attributes: ofType(Nt.PIN_FAIL, pin) }, Rc.SUCCESS],
    ["sets no WRITTEN", { attributes: OPEN | WRITTEN }, attributes],
    ["sets no WRITELOCKED", { attributes: OPEN | WRITELOCKED }, attributes],
    ["sets no READLOCKED", { attributes: OPEN | READLOCKED }, attributes],
    ["wants somebody who can read", { attributes: OWNERWRITE }, attributes],
    ["wants somebody who can write", { attributes: OWNERREAD }, attributes],
    [
      "locks for good nothing that start-up clears",
      { attributes: OPEN | CLEAR_STCLEAR | WRITEDEFINE },
      attributes,
    ],
    [
      "makes no platform index for the owner",
      { attributes: OPEN | PLATFORMCREATE },
      ofHandle(Rc.ATTRIBUTES, 1),
    ],
    ["makes no owner's index for the platform", platform, ofHandle(Rc.ATTRIBUTES, 1)],
    [
      "makes a platform index for the platform",
      { ...platform, attributes: OPEN | PLATFORMCREATE },
      Rc.SUCCESS,
    ],
    ["keeps deletion by policy for the platform", { attributes: OPEN | POLICY_DELETE }, attributes],
    ["wants no whole write that fits no command", { attributes: OPEN | WRITEALL, dataSize: 1025 }, size],
    ["takes up to 2048 bytes", { dataSize: 2048 }, Rc.SUCCESS],
    ["takes no more than 2048 bytes", { dataSize: 2049 }, size],
    ["takes none", { dataSize: 0 }, Rc.SUCCESS],
    ["wants a handle of an index", { nvIndex: 0x8100_0001 }, ofParameter(Rc.VALUE, 2)],
    ["wants a hash", { nameAlg: Alg.NULL }, ofParameter(Rc.HASH, 2)],
  ];
  it.each(rules)("%s", (_, wanted, rc) => {
    expect(bench().define(wanted)).toBe(rc);
  });

  it("refuses an index that is there, and what there is no room for", () => {
    const { define } = bench(TpmClient.started({ limits: { nvIndices: 3, nvSpace: 4096 } }));
    expect(define({ dataSize: 2048 })).toBe(Rc.SUCCESS);
    expect(define({})).toBe(Rc.NV_DEFINED);
    expect(define({ nvIndex: INDEX + 1, dataSize: 2048 })).toBe(Rc.SUCCESS);
    expect(define({ nvIndex: INDEX + 2, dataSize: 1 })).toBe(Rc.NV_SPACE);
    expect(define({ nvIndex: INDEX + 2, dataSize: 0 })).toBe(Rc.SUCCESS);
    expect(define({ nvIndex: INDEX + 3, dataSize: 0 })).toBe(Rc.NV_SPACE);
  });
});

describe("NV data", () => {
  it("is written in parts; what no write has reached is all ones", () => {
    const { define, write, read, readRc, attributes } = bench();
    define({ dataSize: 6 });
    expect(readRc(1)).toBe(Rc.NV_UNINITIALIZED);
    expect(write(Uint8Array.of(1, 2), 1)).toBe(Rc.SUCCESS);
    expect(attributes()).toBe((OPEN | WRITTEN) >>> 0);
    expect(read(6)).toEqual(Uint8Array.of(0xff, 1, 2, 0xff, 0xff, 0xff));
    write(Uint8Array.of(9), 5);
    expect(read(4, 2)).toEqual(Uint8Array.of(2, 0xff, 0xff, 9));
    expect(read(0, 6)).toEqual(none);
  });

  it("ends where the index ends", () => {
    const { define, write, readRc } = bench();
    define();
    expect(write(new Uint8Array(9))).toBe(Rc.NV_RANGE);
    expect(write(none, 8)).toBe(Rc.SUCCESS);
    expect(write(Uint8Array.of(1), 8)).toBe(Rc.NV_RANGE);
    expect(write(none, 9)).toBe(ofParameter(Rc.VALUE, 2));
    expect(readRc(8, 1)).toBe(Rc.NV_RANGE);
    expect(readRc(0, 9)).toBe(ofParameter(Rc.VALUE, 2));
    expect(readRc(1025)).toBe(ofParameter(Rc.VALUE, 1));
  });

  it("of an index with WRITEALL is written whole", () => {
    const { define, write } = bench();
    define({ attributes: OPEN | WRITEALL });
    expect(write(new Uint8Array(7))).toBe(Rc.NV_RANGE);
    expect(write(new Uint8Array(8))).toBe(Rc.SUCCESS);
  });

  it("is for whom the attributes name", () => {
    const { define, write, readRc } = bench();
    const auth = Uint8Array.of(1, 2, 3);
    define({ auth, attributes: AUTHREAD | PPWRITE | NO_DA });
    expect(write(u64(1n))).toBe(Rc.NV_AUTHORIZATION);
    expect(write(u64(1n), 0, INDEX, auth)).toBe(Rc.AUTH_UNAVAILABLE);
    expect(write(u64(1n), 0, Rh.PLATFORM)).toBe(Rc.SUCCESS);
    expect(readRc(8)).toBe(Rc.NV_AUTHORIZATION);
    expect(readRc(8, 0, Rh.PLATFORM)).toBe(Rc.NV_AUTHORIZATION);
    expect(readRc(8, 0, INDEX)).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(readRc(8, 0, INDEX, auth)).toBe(Rc.SUCCESS);
    define({ nvIndex: INDEX + 1 });
    expect(readRc(8, 0, INDEX + 1)).toBe(Rc.NV_AUTHORIZATION);
  });

  it("goes through sessions with encrypted parameters", () => {
    const { client, define } = bench();
    const authValue = Uint8Array.of(5, 5);
    define({ auth: authValue, attributes: AUTHREAD | AUTHWRITE | NO_DA });
    const session = client.session({ symmetric: aes128Cfb, bind: Rh.OWNER });
    const handles = { authHandle: INDEX, nvIndex: INDEX };
    client.run(
      "NV_Write",
      handles,
      { data: u64(42n), offset: 0 },
      { auth: [{ session, authValue, attributes: 0x21 }] },
    );
    const { data } = client.run(
      "NV_Read",
      handles,
      { size: 8, offset: 0 },
      { auth: [{ session, authValue, attributes: 0x41 }] },
    );
    expect(data).toEqual(u64(42n));
  });

  it("is changed by the command of its type only", () => {
    const by: readonly (readonly [type: number, name: string])[] = [
      [Nt.ORDINARY, "write"],
      [Nt.COUNTER, "increment"],
      [Nt.BITS, "setBits"],
      [Nt.EXTEND, "extend"],
    ];
    for (const [type, name] of by) {
      const { define, write, increment, setBits, extend } = bench();
      define({ attributes: ofType(type), dataSize: type === Nt.EXTEND ? 32 : 8 });
      const of = (other: string, rc: number = ofHandle(Rc.ATTRIBUTES, 2)) =>
        other === name ? Rc.SUCCESS : rc;
      expect(write(u64(1n))).toBe(of("write", Rc.ATTRIBUTES));
      expect(increment()).toBe(of("increment"));
      expect(setBits(1n)).toBe(of("setBits"));
      expect(extend(none)).toBe(of("extend"));
    }
  });

  it("of bits only ever gains them", () => {
    const { define, setBits, read, readRc } = bench();
    define({ attributes: ofType(Nt.BITS) });
    expect(readRc(8)).toBe(Rc.NV_UNINITIALIZED);
    setBits(0n);
    expect(read(8)).toEqual(u64(0n));
    setBits(0x8000_0000_0000_0001n);
    setBits(6n);
    expect(read(8)).toEqual(u64(0x8000_0000_0000_0007n));
  });

  it("of an extend index is hashed with what comes", () => {
    const { define, extend, read } = bench();
    define({ attributes: ofType(Nt.EXTEND), dataSize: 32 });
    extend(Uint8Array.of(1));
    const once = sha256(new Uint8Array(32), Uint8Array.of(1));
    expect(read(32)).toEqual(once);
    extend(none);
    expect(read(32)).toEqual(sha256(once));
  });
});

describe("an NV counter", () => {
  it("begins above all that were deleted, whoever had them deleted", () => {
    const { client, define, increment, read, undefine } = bench();
    define({ attributes: ofType(Nt.COUNTER) });
    for (let i = 0; i < 3; i++) increment();
    expect(read(8)).toEqual(u64(3n));
    undefine();
    define({ attributes: ofType(Nt.COUNTER) });
    increment();
    expect(read(8)).toEqual(u64(4n));
    client.run("Clear", { authHandle: Rh.LOCKOUT }, {});
    define({ attributes: ofType(Nt.COUNTER) });
    increment();
    expect(read(8)).toEqual(u64(5n));
    undefine();
    define({ attributes: ofType(Nt.COUNTER) });
    undefine();
    define({ attributes: ofType(Nt.COUNTER) });
    increment();
    expect(read(8)).toEqual(u64(6n));
  });

  it("that is orderly is written down once in 256 steps, and when it begins", () => {
    const { store, powerOn } = withStore();
    const { define, increment } = powerOn();
    define({ attributes: ofType(Nt.COUNTER, OPEN | ORDERLY) });
    const before = store.commits;
    for (let i = 0; i < 600; i++) increment();
    expect(store.commits - before).toBe(1 + 2);
  });

  it("never goes back, however power goes", () => {
    const step = fc.constantFrom("increment", "lose power", "shut down", "shut down with state", "make anew");
    const attributes = fc.constantFrom(0, ORDERLY).map((orderly) => ofType(Nt.COUNTER, OPEN | orderly));
    fc.assert(
      fc.property(
        attributes,
        fc.array(fc.tuple(step, fc.nat({ max: 300 })), { maxLength: 12 }),
        (wanted, steps) => {
          const { powerOn } = withStore();
          let tpm = powerOn();
          tpm.define({ attributes: wanted });
          let last = 0n;
          for (const [name, times] of steps) {
            if (name === "make anew") {
              tpm.undefine();
              tpm.define({ attributes: wanted });
            } else if (name === "increment") {
              for (let i = 0; i < times; i++) tpm.increment();
            } else {
              if (name === "shut down") shutdown(tpm, Su.CLEAR);
              if (name === "shut down with state") shutdown(tpm, Su.STATE);
              tpm = powerOn(name === "shut down with state" && times % 2 === 0 ? Su.STATE : Su.CLEAR);
            }
            tpm.increment();
            const value = new DataView(tpm.read(8).slice().buffer).getBigUint64(0);
            expect(value).toBeGreaterThan(last);
            last = value;
          }
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe("NV locks", () => {
  it("for writing want an attribute that allows them, and need no second one", () => {
    const plain = bench();
    plain.define();
    expect(plain.writeLock(Rh.PLATFORM)).toBe(Rc.NV_AUTHORIZATION);
    expect(plain.writeLock()).toBe(ofHandle(Rc.ATTRIBUTES, 2));
    expect(plain.write(u64(1n))).toBe(Rc.SUCCESS);
    const { define, writeLock, write } = bench();
    define({ attributes: OPEN | WRITE_STCLEAR });
    expect(writeLock()).toBe(Rc.SUCCESS);
    expect(write(u64(1n))).toBe(Rc.NV_LOCKED);
    expect(writeLock()).toBe(Rc.SUCCESS);
    // What is locked is no more than locked to those who have no right.
    expect(writeLock(Rh.PLATFORM)).toBe(Rc.SUCCESS);
  });

  it("for reading hold before anything is written, until the next start-up", () => {
    const { powerOn } = withStore();
    let tpm = powerOn();
    tpm.define({ attributes: OPEN | READ_STCLEAR });
    expect(tpm.readLock(Rh.PLATFORM)).toBe(Rc.NV_AUTHORIZATION);
    expect(tpm.readLock()).toBe(Rc.SUCCESS);
    tpm.write(u64(5n));
    expect(tpm.readRc(8)).toBe(Rc.NV_LOCKED);
    expect(tpm.readLock()).toBe(Rc.SUCCESS);
    shutdown(tpm, Su.STATE);
    tpm = powerOn(Su.STATE);
    expect(tpm.readRc(8)).toBe(Rc.NV_LOCKED);
    tpm = powerOn();
    expect(tpm.read(8)).toEqual(u64(5n));
    const plain = bench();
    plain.define();
    expect(plain.readLock()).toBe(ofHandle(Rc.ATTRIBUTES, 2));
  });

  it("with WRITEDEFINE hold for good once written, else until the next start-up", () => {
    const { powerOn } = withStore();
    let tpm = powerOn();
    tpm.define({ attributes: OPEN | WRITEDEFINE });
    tpm.writeLock();
    tpm = powerOn();
    expect(tpm.write(u64(1n))).toBe(Rc.SUCCESS);
    tpm.writeLock();
    tpm = powerOn();
    expect(tpm.write(u64(2n))).toBe(Rc.NV_LOCKED);
    expect(tpm.read(8)).toEqual(u64(1n));
  });

  it("of all together are those with GLOBALLOCK", () => {
    const { client, define, write } = bench();
    define({ attributes: OPEN | GLOBALLOCK });
    client.run("NV_GlobalWriteLock", { authHandle: Rh.OWNER }, {});
    expect(write(u64(1n))).toBe(Rc.NV_LOCKED);
    const other = bench();
    other.define({ attributes: OPEN | WRITEDEFINE | WRITE_STCLEAR });
    other.client.run("NV_GlobalWriteLock", { authHandle: Rh.PLATFORM }, {});
    expect(other.write(u64(1n))).toBe(Rc.SUCCESS);
  });
});

describe("NV over a start-up", () => {
  const written = (attributes: number, end: "none" | "clear" | "state", start: number): boolean => {
    const { powerOn } = withStore();
    let tpm = powerOn();
    tpm.define({ attributes });
    tpm.write(u64(3n));
    if (end === "clear") shutdown(tpm, Su.CLEAR);
    if (end === "state") shutdown(tpm, Su.STATE);
    tpm = powerOn(start);
    const rc = tpm.readRc(8);
    expect(rc === Rc.SUCCESS || rc === Rc.NV_UNINITIALIZED).toBe(true);
    if (rc === Rc.SUCCESS) expect(tpm.read(8)).toEqual(u64(3n));
    return rc === Rc.SUCCESS;
  };
  it("keeps plain data always", () => {
    for (const end of ["none", "clear", "state"] as const) expect(written(OPEN, end, Su.CLEAR)).toBe(true);
  });
  it("loses CLEAR_STCLEAR data by each Reset and Restart", () => {
    const attributes = OPEN | CLEAR_STCLEAR;
    for (const end of ["none", "clear", "state"] as const)
      expect(written(attributes, end, Su.CLEAR)).toBe(false);
    expect(written(attributes, "state", Su.STATE)).toBe(true);
  });
  it("loses orderly data by a Reset", () => {
    const attributes = OPEN | ORDERLY;
    expect(written(attributes, "none", Su.CLEAR)).toBe(false);
    expect(written(attributes, "clear", Su.CLEAR)).toBe(false);
    expect(written(attributes, "state", Su.CLEAR)).toBe(true);
    expect(written(attributes, "state", Su.STATE)).toBe(true);
  });
  it("begins orderly data at zero", () => {
    const { define, write, read } = bench();
    define({ attributes: OPEN | ORDERLY });
    write(Uint8Array.of(7), 3);
    expect(read(8)).toEqual(Uint8Array.of(0, 0, 0, 7, 0, 0, 0, 0));
  });
  it("writes orderly data down no more than it must", () => {
    const { store, powerOn } = withStore();
    const { define, write } = powerOn();
    define({ attributes: OPEN | ORDERLY });
    const before = store.commits;
    for (let i = 0; i < 10; i++) write(u64(BigInt(i)));
    expect(store.commits).toBe(before);
  });
});

describe("an NV index", () => {
  it("is deleted by its maker, or the platform", () => {
    const { define, undefine, readRc } = bench();
    define();
    expect(undefine()).toBe(Rc.SUCCESS);
    expect(readRc(8)).toBe(ofHandle(Rc.HANDLE, 2));
    expect(readRc(8, 0, INDEX)).toBe(ofHandle(Rc.HANDLE, 1));
    define();
    expect(undefine(Rh.PLATFORM)).toBe(Rc.SUCCESS);
    define({ by: Rh.PLATFORM, attributes: OPEN | PLATFORMCREATE });
    expect(undefine()).toBe(Rc.NV_AUTHORIZATION);
    expect(undefine(Rh.PLATFORM)).toBe(Rc.SUCCESS);
  });

  /** A policy session for one command, and its digest. */
  function commandPolicy(client: TpmClient, code: number, kind: "policy" | "trial") {
    const session = client.session({ kind });
    client.run("PolicyCommandCode", { policySession: session.handle }, { code });
    const { policyDigest } = client.run("PolicyGetDigest", { policySession: session.handle }, {});
    return { session, policyDigest };
  }

  it("with POLICY_DELETE is deleted by its policy and the platform together", () => {
    const { client, define, undefine } = bench();
    const { code } = commands.NV_UndefineSpaceSpecial;
    const special = (auth: Parameters<TpmClient["rc"]>[3]): number =>
      client.rc("NV_UndefineSpaceSpecial", { nvIndex: INDEX, platform: Rh.PLATFORM }, {}, auth);
    const { policyDigest } = commandPolicy(client, code, "trial");
    define({ by: Rh.PLATFORM, attributes: OPEN | PLATFORMCREATE | POLICY_DELETE, authPolicy: policyDigest });
    expect(undefine(Rh.PLATFORM)).toBe(ofHandle(Rc.ATTRIBUTES, 2));
    expect(special({ auth: [none, none] })).toBe(ofSession(Rc.AUTH_TYPE, 1));
    const { session } = commandPolicy(client, code, "policy");
    expect(special({ auth: [{ session }, none] })).toBe(Rc.SUCCESS);
    define({ by: Rh.PLATFORM, attributes: OPEN | PLATFORMCREATE, authPolicy: policyDigest });
    const second = commandPolicy(client, code, "policy").session;
    expect(special({ auth: [{ session: second }, none] })).toBe(ofHandle(Rc.ATTRIBUTES, 1));
  });

  it("has its authValue changed by its policy", () => {
    const { client, define, write, readRc } = bench();
    const { code } = commands.NV_ChangeAuth;
    const { policyDigest } = commandPolicy(client, code, "trial");
    define({ authPolicy: policyDigest, attributes: OPEN | POLICYREAD | POLICYWRITE });
    write(u64(1n));
    const change = (newAuth: Uint8Array): number =>
      client.rc(
        "NV_ChangeAuth",
        { nvIndex: INDEX },
        { newAuth },
        { auth: [{ session: commandPolicy(client, code, "policy").session, attributes: 0 }] },
      );
    expect(change(new Uint8Array(33).fill(1))).toBe(ofParameter(Rc.SIZE, 1));
    expect(change(Uint8Array.of(8, 0, 0))).toBe(Rc.SUCCESS);
    expect(readRc(8, 0, INDEX, Uint8Array.of(8))).toBe(Rc.SUCCESS);
    expect(readRc(8, 0, INDEX)).toBe(ofSession(Rc.BAD_AUTH, 1));
  });

  it("with PIN_PASS lets its authValue be used so often", () => {
    const { client, define, write, readRc } = bench();
    define({ attributes: ofType(Nt.PIN_PASS, OWNERREAD | OWNERWRITE | AUTHREAD | NO_DA) });
    expect(readRc(8, 0, INDEX)).toBe(Rc.AUTH_UNAVAILABLE);
    write(concat(u32(0), u32(2)));
    expect(readRc(8, 0, INDEX)).toBe(Rc.SUCCESS);
    expect(client.run("NV_Read", { authHandle: INDEX, nvIndex: INDEX }, { size: 8, offset: 0 }).data).toEqual(
      concat(u32(2), u32(2)),
    );
    expect(readRc(8, 0, INDEX)).toBe(Rc.AUTH_UNAVAILABLE);
  });

  it("with a PIN has no limit that was not written", () => {
    const { define, write, read, readRc } = bench();
    define({ attributes: ofType(Nt.PIN_FAIL, OWNERREAD | OWNERWRITE | AUTHREAD | NO_DA) });
    write(u32(0));
    expect(read(8)).toEqual(u64(0n));
    expect(readRc(8, 0, INDEX)).toBe(Rc.AUTH_UNAVAILABLE);
  });

  it("with PIN_FAIL counts what was wrong since it was right last", () => {
    const { define, write, read, readRc } = bench();
    const auth = Uint8Array.of(1);
    define({ auth, attributes: ofType(Nt.PIN_FAIL, OWNERREAD | OWNERWRITE | AUTHREAD | NO_DA) });
    write(concat(u32(0), u32(2)));
    expect(readRc(8, 0, INDEX)).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(read(4)).toEqual(u32(1));
    expect(readRc(8, 0, INDEX, auth)).toBe(Rc.SUCCESS);
    expect(read(4)).toEqual(u32(0));
    readRc(8, 0, INDEX);
    readRc(8, 0, INDEX);
    expect(readRc(8, 0, INDEX, auth)).toBe(Rc.AUTH_UNAVAILABLE);
  });

  it("is there only as long as the hierarchy that made it", () => {
    const { client, define, readRc } = bench();
    define();
    define({ nvIndex: INDEX + 1, by: Rh.PLATFORM, attributes: OPEN | PPREAD | PLATFORMCREATE });
    const enable = (hierarchy: number, state: boolean): unknown =>
      client.run("HierarchyControl", { authHandle: Rh.PLATFORM }, { enable: hierarchy, state });
    const there = (nvIndex: number): number => client.rc("NV_ReadPublic", { nvIndex }, {});
    enable(Rh.OWNER, false);
    expect(readRc(8, 0, INDEX)).toBe(ofHandle(Rc.HANDLE, 1));
    expect(there(INDEX + 1)).toBe(Rc.SUCCESS);
    enable(Rh.OWNER, true);
    enable(Rh.PLATFORM_NV, false);
    expect(there(INDEX)).toBe(Rc.SUCCESS);
    expect(there(INDEX + 1)).toBe(ofHandle(Rc.HANDLE, 1));
    expect(define({ nvIndex: INDEX + 2, by: Rh.PLATFORM, attributes: OPEN | PLATFORMCREATE })).toBe(
      ofHandle(Rc.HIERARCHY, 1),
    );
  });
});

describe("an NV index of a saved state", () => {
  const sound: NvIndex = {
    handle: INDEX,
    nameAlg: Alg.SHA256,
    attributes: ofType(Nt.COUNTER),
    authPolicy: none,
    authValue: none,
    dataSize: 8,
    data: new Uint8Array(8),
  };
  const restored = (change: Partial<NvIndex>): (() => unknown) => {
    const state = decodePermanent(new Tpm().savePermanent());
    state.nvIndices.push({ ...sound, ...change });
    const bytes = encodePermanent(state);
    return () => decodePermanent(bytes);
  };
  it("is taken when it could have been defined", () => {
    expect(restored({})).not.toThrow();
    expect(restored({ attributes: ofType(Nt.ORDINARY), dataSize: 3, data: new Uint8Array(3) })).not.toThrow();
  });
  const changes: readonly (readonly [what: string, change: Partial<NvIndex>])[] = [
    ["a handle of something else", { handle: 0x8100_0001 }],
    ["a type that there is not", { attributes: ofType(3) }],
    ["attributes that there are not", { attributes: ofType(Nt.COUNTER) | (1 << 24) }],
    ["a counter without room for it", { dataSize: 4, data: new Uint8Array(4) }],
    ["a PIN without room for it", { attributes: ofType(Nt.PIN_PASS), dataSize: 4, data: new Uint8Array(4) }],
    ["an extend index without room for a digest", { attributes: ofType(Nt.EXTEND) }],
    ["data of another size", { data: new Uint8Array(7) }],
    ["a policy of another size", { authPolicy: new Uint8Array(20) }],
    ["a longer authValue than the Name's digest", { authValue: new Uint8Array(33) }],
  ];
  it.each(changes)("is refused with %s", (_, change) => {
    expect(restored(change)).toThrow(/state is damaged/u);
  });
});
