import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Alg,
  commands,
  digestSizes,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  Rc,
  Rh,
  SessionAttribute,
  St,
  TPMT_SIG_SCHEME,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { FileNvStore } from "./file-store.ts";
import { TpmStateError } from "./saved-state.ts";
import { aes128Cfb, TpmClient } from "./testing/client.ts";
import { createPrimary } from "./testing/objects.ts";
import { cipherTemplate, eccTemplate, fixedKey, rsaTemplate, sealTemplate } from "./testing/templates.ts";
import { Tpm } from "./tpm.ts";

/* What went wrong in other TPMs: one test each, by the name that it became known by. */

const empty = new Uint8Array(0);
const { sign, decrypt } = ObjectAttribute;

/** A format-one code without the handle, parameter or session that it is said of. */
const base = (rc: number): number => rc & 0x0bf;

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
