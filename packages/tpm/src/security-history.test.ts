import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Alg,
  commands,
  digestSizes,
  Nt,
  NvAttribute,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  Rc,
  Rh,
  SessionAttribute,
  St,
  Su,
  TPMT_SIG_SCHEME,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { FileNvStore } from "./file-store.ts";
import { TpmStateError } from "./saved-state.ts";
import { openState, StateKind, sealState } from "./sealed-state.ts";
import { aes128Cfb, TpmClient } from "./testing/client.ts";
import { createPrimary } from "./testing/objects.ts";
import { cipherTemplate, eccTemplate, fixedKey, rsaTemplate, sealTemplate } from "./testing/templates.ts";
import { Tpm } from "./tpm.ts";

/* What went wrong in other TPMs: one test each, by the name that it became known by. */

const empty = new Uint8Array(0);
const { sign, decrypt } = ObjectAttribute;

/** A format-one code without the handle, parameter or session that it is said of. */
const base = (rc: number): number => rc & 0x0bf;

function inFolder(action: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "entresol-tpm-history-"));
  try {
    action(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("security history", () => {
  it.each([
    ["no parameters", []],
    ["one byte of parameters", [0]],
  ])("CVE-2023-1017 and -1018: a parameter to decrypt in %s is TPM_RC_INSUFFICIENT", (_, parameters) => {
    const client = TpmClient.started();
    const { handle } = client.session({ symmetric: aes128Cfb });
    const attributes = SessionAttribute.continueSession | SessionAttribute.decrypt;
    const area = new TpmWriter().u32(handle).sized(new Uint8Array(16)).u8(attributes).sized(empty).finish();
    for (const { code } of [commands.Hash, commands.StirRandom]) {
      const command = new TpmWriter().u16(St.SESSIONS).u32(0).u32(code).u32(area.length).bytes(area);
      command.bytes(Uint8Array.from(parameters)).setU32(2, command.length);
      expect(base(client.raw(command.finish()))).toBe(Rc.INSUFFICIENT);
    }
    expect((client.tpm as Tpm).failed).toBe(false);
  });

  it("CVE-2023-1017 and -1018: an encrypted parameter that says it is longer than the command is TPM_RC_SIZE", () => {
    const client = TpmClient.started();
    const { handle } = client.session({ symmetric: aes128Cfb });
    const attributes = SessionAttribute.continueSession | SessionAttribute.decrypt;
    const area = new TpmWriter().u32(handle).sized(new Uint8Array(16)).u8(attributes).sized(empty).finish();
    for (const size of [1, 0xfffe, 0xffff]) {
      const command = new TpmWriter().u16(St.SESSIONS).u32(0).u32(commands.StirRandom.code);
      command.u32(area.length).bytes(area).u16(size).setU32(2, command.length);
      expect(base(client.raw(command.finish()))).toBe(Rc.SIZE);
    }
  });

  it("CVE-2025-2884 and -49133: a keyed hash that is to sign by the scheme of another kind of key answers by a code", () => {
    const client = TpmClient.started();
    const scheme = { scheme: Alg.NULL, hash: Alg.NULL, kdf: Alg.NULL };
    const inPublic = sealTemplate({ objectAttributes: fixedKey | sign | decrypt, parameters: { scheme } });
    const key = createPrimary(client, inPublic).handle;
    const digest = new Uint8Array(32);
    const schemes = [Alg.RSASSA, Alg.RSAPSS, Alg.ECDSA, Alg.ECDAA, Alg.SM2, Alg.ECSCHNORR];
    const hashes = [Alg.SHA1, Alg.SHA256, Alg.SHA3_512];
    for (const id of schemes) {
      for (const hash of hashes) {
        const writer = new TpmWriter().sized(new Uint8Array(digestSizes.get(hash)!));
        TPMT_SIG_SCHEME.write(writer, { ...noScheme, scheme: id, hash });
        writer.u16(St.HASHCHECK).u32(Rh.NULL).sized(empty);
        expect(() => client.runBytes("Sign", [key], writer.finish())).toThrow(/^TPM_RC_SCHEME/);
      }
    }
    // A hash of an HMAC that there is not, and one of a cipher.
    for (const hashAlg of [Alg.ECDSA, Alg.CMAC, Alg.NULL, 0xffff])
      expect(() =>
        client.runBytes("HMAC", [key], new TpmWriter().sized(digest).u16(hashAlg).finish()),
      ).toThrow(/^TPM_RC_/);
    expect((client.tpm as Tpm).failed).toBe(false);
  });

  it("CVE-2021-3446: data that is encrypted in pieces, each with the vector that the last one gave, is what it is in one", () => {
    const client = TpmClient.started();
    const sym = { ...aes128Cfb, mode: Alg.NULL };
    const inPublic = cipherTemplate({ objectAttributes: fixedKey | sign | decrypt, parameters: { sym } });
    const { handle } = createPrimary(client, inPublic);
    const data = Uint8Array.from({ length: 96 }, (_, i) => i);
    const run = (mode: number, inData: Uint8Array, ivIn: Uint8Array) =>
      client.run("EncryptDecrypt2", { keyHandle: handle }, { inData, decrypt: false, mode, ivIn });
    for (const mode of [Alg.CBC, Alg.CFB, Alg.OFB, Alg.CTR]) {
      const whole = run(mode, data, new Uint8Array(16)).outData;
      let iv: Uint8Array = new Uint8Array(16);
      const pieces: number[] = [];
      for (const [from, to] of [
        [0, 16],
        [16, 64],
        [64, 96],
      ]) {
        const piece = run(mode, data.subarray(from, to), iv);
        pieces.push(...piece.outData);
        iv = piece.ivOut;
      }
      expect(Uint8Array.from(pieces)).toEqual(whole);
    }
  });

  it("CVE-2021-3623 and CVE-2022-23645: a state whose lengths reach beyond its end is refused", () => {
    const tpm = new Tpm();
    const state = tpm.savePermanent();
    // Every place where a length may be: nothing that is read may come from behind the end.
    for (let at = 8; at + 2 <= state.length; at++) {
      const changed = state.slice();
      changed[at] = 0xff;
      changed[at + 1] = 0xff;
      try {
        new Tpm({ permanent: changed });
      } catch (error) {
        expect(error).toBeInstanceOf(TpmStateError);
      }
    }
    for (let length = 0; length < state.length; length += 7)
      expect(() => new Tpm({ permanent: state.slice(0, length) })).toThrow(TpmStateError);
  });

  it("CVE-2021-3505: an RSA key has as many bits as it says, and another prime each time", () => {
    const client = TpmClient.started();
    const seen = new Set<string>();
    for (let n = 0; n < 3; n++) {
      const objectAttributes = fixedKey | sign | decrypt;
      const template = rsaTemplate({ objectAttributes, parameters: { symmetric: noSymmetric } });
      const unique = Uint8Array.of(n);
      const { outPublic, handle } = createPrimary(client, { ...template, unique });
      if (outPublic.type !== Alg.RSA) throw new Error("another type of key");
      expect(outPublic.unique.length).toBe(256);
      expect(outPublic.unique[0]! & 0x80).toBe(0x80);
      expect(outPublic.unique.at(-1)! & 1).toBe(1);
      seen.add(Buffer.from(outPublic.unique).toString("hex"));
      client.run("FlushContext", {}, { flushHandle: handle });
    }
    expect(seen.size).toBe(3);
  });

  it("CVE-2021-3569 and -3746: a running TPM's state whose lengths reach beyond its end is refused, and changes nothing", () => {
    const client = TpmClient.started();
    client.session({ symmetric: aes128Cfb });
    createPrimary(client, sealTemplate(), { data: "secret" });
    const tpm = client.tpm as Tpm;
    const state = tpm.saveVolatile();
    const target = new Tpm({ permanent: tpm.savePermanent() });
    const before = target.saveVolatile();
    for (let length = 0; length < state.length; length += 5)
      expect(() => target.restoreVolatile(state.slice(0, length))).toThrow(TpmStateError);
    expect(target.saveVolatile()).toEqual(before);
    for (let at = 8; at + 2 <= state.length; at++) {
      const changed = state.slice();
      changed[at] = 0xff;
      changed[at + 1] = 0xff;
      try {
        target.restoreVolatile(changed);
      } catch (error) {
        expect(error).toBeInstanceOf(TpmStateError);
      }
      expect(target.failed).toBe(false);
    }
  });

  it("CVE-2025-49707: a key of the endorsement hierarchy follows from its seed, whatever the owner evicts or clears", () => {
    const client = TpmClient.started();
    const make = (hierarchy: number) => {
      const { handle, name } = createPrimary(client, eccTemplate(), { hierarchy });
      return { handle, name };
    };
    const [endorsed, owned] = [make(Rh.ENDORSEMENT), make(Rh.OWNER)];
    const persistentHandle = 0x8101_0001;
    const evict = (objectHandle: number) =>
      client.run("EvictControl", { auth: Rh.OWNER, objectHandle }, { persistentHandle });
    evict(endorsed.handle);
    evict(persistentHandle);
    // The owner puts another key in its place.
    evict(owned.handle);
    expect(client.run("ReadPublic", { objectHandle: persistentHandle }, {}).name).toEqual(owned.name);
    client.run("Clear", { authHandle: Rh.LOCKOUT }, {});
    expect(make(Rh.ENDORSEMENT).name).toEqual(endorsed.name);
    expect(make(Rh.OWNER).name).not.toEqual(owned.name);
  });

  it("CVE-2020-28407: a link in the place of a state is not written through", () => {
    const folder = mkdtempSync(join(tmpdir(), "entresol-tpm-link-"));
    try {
      const victim = join(folder, "victim");
      writeFileSync(victim, "precious");
      for (const name of ["tpm2.state.tmp", "tpm2-volatile.state"]) symlinkSync(victim, join(folder, name));
      const store = FileNvStore.open(folder);
      store.commit(new Uint8Array(100));
      store.saveVolatile(new Uint8Array(100));
      store.close();
      expect(readFileSync(victim, "utf8")).toBe("precious");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("a clone is told apart: two TPM that go on from one state do not draw the same secrets", () => {
    const state = new Tpm().savePermanent();
    const [a, b] = [TpmClient.started({ permanent: state }), TpmClient.started({ permanent: state })];
    const random = (client: TpmClient) => client.run("GetRandom", {}, { bytesRequested: 32 }).randomBytes;
    expect(random(a)).not.toEqual(random(b));
    const epochOf = (client: TpmClient) => new TpmReader((client.tpm as Tpm).saveVolatile(), 7).take(400);
    expect(epochOf(a)).not.toEqual(epochOf(b));
  });

  it("clones, honestly: a quote does not tell them apart, and an anchor that both have tells it of the second one", () => {
    const maker = TpmClient.started();
    maker.run("Shutdown", {}, { shutdownType: Su.CLEAR });
    const state = (maker.tpm as Tpm).savePermanent();
    const told = () => {
      const client = TpmClient.started({ permanent: state, now: () => 0 });
      const handles = { privacyAdminHandle: Rh.ENDORSEMENT, signHandle: Rh.NULL };
      const { timeInfo } = client.run("GetTime", handles, { qualifyingData: empty, inScheme: noScheme });
      return Buffer.from(timeInfo).toString("hex");
    };
    expect(told()).toBe(told());
    // What is there against it: file-store.test.ts, "a clone of a TPM, with the anchor that both have".
    let seen = 0n;
    const anchor = {
      read: () => seen,
      advance: (epoch: bigint) => {
        seen = epoch;
      },
    };
    inFolder((folder) => {
      FileNvStore.open(folder, { anchor }).commit(state);
      const stores = [FileNvStore.open(folder, { anchor }), FileNvStore.open(folder, { anchor })];
      const clients = stores.map((store) => new TpmClient({ permanent: store.load()!, store }));
      expect(clients[0]!.rc("Startup", {}, { startupType: Su.CLEAR })).toBe(Rc.SUCCESS);
      expect(clients[1]!.rc("Startup", {}, { startupType: Su.CLEAR })).toBe(Rc.FAILURE);
    });
  });

  it("CVE-2022-23645: a file whose header is short, or says what cannot be, is no state", () => {
    for (const key of [undefined, new Uint8Array(32).fill(5)]) {
      const sealed = sealState(StateKind.permanent, 7n, new Tpm().savePermanent(), key);
      const refused = (bytes: Uint8Array) =>
        expect(() => openState(StateKind.permanent, bytes, key)).toThrow(TpmStateError);
      for (let length = 0; length < 80; length++) refused(sealed.subarray(0, length));
      // Magic, version, kind, encryption: every other value.
      for (let at = 0; at < 8; at++)
        for (let value = 0; value < 256; value++)
          if (sealed[at] !== value) refused(sealed.map((byte, i) => (i === at ? value : byte)));
    }
  });

  it("CVE-2025-53781: a state with a key is taken under that key only, and is written under no other", () => {
    inFolder((folder) => {
      const key = new Uint8Array(32).fill(5);
      const store = FileNvStore.open(folder, { key });
      for (let n = 1; n <= 3; n++) store.commit(Uint8Array.of(n));
      store.saveVolatile(Uint8Array.of(9));
      store.close();
      const names = ["tpm2-0.state", "tpm2-1.state", "tpm2-volatile.state"];
      for (const name of names) {
        const kind = name.includes("volatile") ? StateKind.volatile : StateKind.permanent;
        const sealed = new Uint8Array(readFileSync(join(folder, name)));
        expect(() => openState(kind, sealed, undefined)).toThrow(TpmStateError);
        expect(() => openState(kind, sealed, new Uint8Array(32).fill(6))).toThrow(TpmStateError);
        expect(openState(kind, sealed, key).state.length).toBe(1);
      }
      // A newer one of the host's own, in the clear and under a key that it chose.
      for (const own of [undefined, new Uint8Array(32).fill(6)]) {
        writeFileSync(join(folder, names[1]!), sealState(StateKind.permanent, 99n, Uint8Array.of(66), own));
        expect(FileNvStore.open(folder, { key }).load()).toEqual(Uint8Array.of(3));
      }
    });
  });

  it("rollback: an older state in the place of a newer one is found out where there is an anchor, and only there", () => {
    let seen: bigint | undefined;
    const anchor = {
      read: () => seen,
      advance: (epoch: bigint) => {
        seen = epoch;
      },
    };
    inFolder((folder) => {
      const counter = 0x0150_0000;
      const store = FileNvStore.open(folder, { anchor });
      const client = TpmClient.started({ store });
      const attributes = NvAttribute.OWNERREAD | NvAttribute.OWNERWRITE | (Nt.COUNTER << 4);
      const publicInfo = {
        nvIndex: counter,
        nameAlg: Alg.SHA256,
        attributes,
        authPolicy: empty,
        dataSize: 8,
      };
      client.run("NV_DefineSpace", { authHandle: Rh.OWNER }, { auth: empty, publicInfo });
      const handles = { authHandle: Rh.OWNER, nvIndex: counter };
      const value = (from: TpmClient) => from.run("NV_Read", handles, { size: 8, offset: 0 }).data[7];
      client.run("NV_Increment", handles, {});
      const old = ["tpm2-0.state", "tpm2-1.state"].map((name) => readFileSync(join(folder, name)));
      for (let n = 0; n < 3; n++) client.run("NV_Increment", handles, {});
      expect(value(client)).toBe(4);
      store.close();
      for (const [index, bytes] of old.entries()) writeFileSync(join(folder, `tpm2-${index}.state`), bytes);
      expect(() => FileNvStore.open(folder, { anchor }).load()).toThrow(
        expect.objectContaining({ code: "rolled-back" }),
      );
      const unanchored = FileNvStore.open(folder);
      expect(value(TpmClient.started({ permanent: unanchored.load()!, store: unanchored }))).toBe(1);
    });
  });

  it("order: a command whose change could not be kept says so, and is not there after power was away", () => {
    let broken = false;
    const kept: Uint8Array[] = [];
    const store = {
      commit(permanent: Uint8Array) {
        if (broken) throw new Error("no space left");
        kept.push(permanent);
      },
    };
    const client = TpmClient.started({ store });
    const change = (newAuth: Uint8Array, auth: Uint8Array) =>
      client.rc("HierarchyChangeAuth", { authHandle: Rh.OWNER }, { newAuth }, { auth: [auth] });
    expect(change(Uint8Array.of(1), empty)).toBe(Rc.SUCCESS);
    broken = true;
    expect(change(Uint8Array.of(2), Uint8Array.of(1))).toBe(Rc.FAILURE);
    expect(change(Uint8Array.of(3), Uint8Array.of(1))).toBe(Rc.FAILURE);
    broken = false;
    const tpm = client.tpm as Tpm;
    tpm.powerOff();
    tpm.powerOn();
    client.run("Startup", {}, { startupType: Su.CLEAR });
    expect(change(Uint8Array.of(4), Uint8Array.of(2))).not.toBe(Rc.SUCCESS);
    expect(change(Uint8Array.of(4), Uint8Array.of(1))).toBe(Rc.SUCCESS);
    // Another TPM from what was kept last knows it too.
    const next = TpmClient.started({ permanent: kept.at(-1)! });
    const owner = { auth: [Uint8Array.of(4)] };
    expect(next.rc("HierarchyChangeAuth", { authHandle: Rh.OWNER }, { newAuth: empty }, owner)).toBe(
      Rc.SUCCESS,
    );
  });

  it("order: a store that is slow holds the response up, not the other way round", () => {
    const events: string[] = [];
    const store = {
      commit() {
        events.push("begins");
        for (const until = performance.now() + 5; performance.now() < until; );
        events.push("is durable");
      },
    };
    const client = TpmClient.started({ store });
    events.length = 0;
    client.run("HierarchyChangeAuth", { authHandle: Rh.OWNER }, { newAuth: Uint8Array.of(1) });
    events.push("response");
    expect(events).toEqual(["begins", "is durable", "response"]);
  });

  it("a response is given only when what it says is kept", () => {
    const order: string[] = [];
    const store = { commit: () => void order.push("commit") };
    const client = TpmClient.started({ store });
    order.length = 0;
    client.run("HierarchyChangeAuth", { authHandle: Rh.OWNER }, { newAuth: Uint8Array.of(1) });
    order.push("response");
    expect(order).toEqual(["commit", "response"]);
  });
});
