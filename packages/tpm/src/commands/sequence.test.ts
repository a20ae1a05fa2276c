import { createHash, createHmac } from "node:crypto";
import { Alg, ofHandle, Rc, Rh, SessionAttribute } from "@entresol/tpm-types";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nodeProvider as crypto } from "../crypto/node-provider.ts";
import { aes128Cfb, TpmClient } from "../testing/client.ts";
import {
  flush,
  hmacScheme,
  keyedHash,
  loadKey,
  signing,
  symmetricKey,
  withKey,
} from "../testing/external-keys.ts";

const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");
const empty = new Uint8Array(0);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const generated = Uint8Array.of(0xff, 0x54, 0x43, 0x47, 0x80, 0x18);
const client = TpmClient.started();
const start = (hashAlg: number, auth: Uint8Array = empty): number =>
  client.run("HashSequenceStart", {}, { auth, hashAlg }).handle;
const update = (sequenceHandle: number, buffer: Uint8Array, auth: Uint8Array = empty): void => {
  client.run("SequenceUpdate", { sequenceHandle }, { buffer }, { auth: [auth] });
};
const complete = (
  sequenceHandle: number,
  buffer: Uint8Array = empty,
  hierarchy: number = Rh.NULL,
  auth: Uint8Array = empty,
) => client.run("SequenceComplete", { sequenceHandle }, { buffer, hierarchy }, { auth: [auth] });
const parts = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 });

describe("hash sequences", () => {
  it("give the digest of all pieces together", () => {
    fc.assert(
      fc.property(
        parts,
        fc.constantFrom(
          ["sha1", Alg.SHA1] as const,
          ["sha256", Alg.SHA256] as const,
          ["sha512", Alg.SHA512] as const,
          ["sha3-384", Alg.SHA3_384] as const,
        ),
        (pieces, [name, hashAlg]) => {
          const sequence = start(hashAlg);
          for (const piece of pieces.slice(1)) update(sequence, piece);
          const { result } = complete(sequence, pieces[0] ?? empty);
          const whole = Buffer.concat([...pieces.slice(1), pieces[0] ?? empty]);
          expect(hex(result)).toBe(createHash(name).update(whole).digest("hex"));
        },
      ),
      { numRuns: 30 },
    );
  });

  it("have the ticket of TPM2_Hash over the same data", () => {
    const sequence = start(Alg.SHA256);
    update(sequence, text("some "));
    const { validation } = complete(sequence, text("data"), Rh.OWNER);
    const parameters = { data: text("some data"), hashAlg: Alg.SHA256, hierarchy: Rh.OWNER };
    expect(validation).toEqual(client.run("Hash", {}, parameters).validation);
    expect(validation.digest.length).toBe(64);
  });

  it("have no ticket when the first piece begins like an attestation, or is too short to tell", () => {
    const ticketOf = (first: readonly Uint8Array[], last: Uint8Array) => {
      const sequence = start(Alg.SHA256);
      for (const piece of first) update(sequence, piece);
      return complete(sequence, last, Rh.OWNER).validation.hierarchy;
    };
    expect(ticketOf([], generated)).toBe(Rh.NULL);
    expect(ticketOf([generated], empty)).toBe(Rh.NULL);
    expect(ticketOf([generated.subarray(0, 3)], generated.subarray(3))).toBe(Rh.NULL);
    expect(ticketOf([empty], text("harmless"))).toBe(Rh.NULL);
    expect(ticketOf([], text("abc"))).toBe(Rh.NULL);
    expect(ticketOf([text("harmless")], generated)).toBe(Rh.OWNER);
    expect(ticketOf([], text("abcd"))).toBe(Rh.OWNER);
  });

  it("are gone when they are complete", () => {
    const sequence = start(Alg.SHA1);
    complete(sequence);
    expect(client.rc("SequenceUpdate", { sequenceHandle: sequence }, { buffer: empty })).toBe(
      Rc.REFERENCE_H0,
    );
  });

  it("take slots, and say when there are none", () => {
    const handles = [start(Alg.SHA1), start(Alg.SHA1), start(Alg.NULL)];
    expect(client.rc("HashSequenceStart", {}, { auth: empty, hashAlg: Alg.SHA1 })).toBe(Rc.OBJECT_MEMORY);
    for (const handle of handles) flush(client, handle);
  });

  it("need their authValue", () => {
    const sequence = start(Alg.SHA256, text("secret"));
    const rc = client.rc(
      "SequenceUpdate",
      { sequenceHandle: sequence },
      { buffer: empty },
      { auth: ["wrong"] },
    );
    expect(rc).toBe(0x9a2);
    update(sequence, text("a"), text("secret"));
    const { result } = complete(sequence, empty, Rh.NULL, text("secret"));
    expect(hex(result)).toBe(createHash("sha256").update("a").digest("hex"));
  });

  it("authenticate and encrypt the last response by the authValue, though the sequence is gone", () => {
    const session = client.session({ symmetric: aes128Cfb });
    const auth = text("secret");
    const sequence = start(Alg.SHA256, auth);
    const { continueSession, encrypt, decrypt } = SessionAttribute;
    const attributes = continueSession | encrypt | decrypt;
    const use = { session, authValue: auth, attributes };
    client.run(
      "SequenceUpdate",
      { sequenceHandle: sequence },
      { buffer: text("ab") },
      {
        auth: [{ ...use, attributes: continueSession | decrypt }],
      },
    );
    const { result } = client.run(
      "SequenceComplete",
      { sequenceHandle: sequence },
      { buffer: text("c"), hierarchy: Rh.NULL },
      { auth: [use] },
    );
    expect(hex(result)).toBe(createHash("sha256").update("abc").digest("hex"));
    flush(client, session.handle);
  });

  it("go on from a saved context, and from a saved TPM", () => {
    const sequence = start(Alg.SHA384);
    update(sequence, text("begun "));
    const { context } = client.run("ContextSave", { saveHandle: sequence }, {});
    update(sequence, text("in vain"));
    flush(client, sequence);
    const loaded = client.run("ContextLoad", {}, { context }).handle;
    const { result } = complete(loaded, text("and ended"));
    expect(hex(result)).toBe(createHash("sha384").update("begun and ended").digest("hex"));
  });
});

describe("MAC sequences", () => {
  it("give the HMAC of all pieces together, whatever the length of the key", () => {
    for (const [name, hash, longest] of [
      ["sha256", Alg.SHA256, 64],
      ["sha1", Alg.SHA1, 64],
      ["sha512", Alg.SHA512, 128],
    ] as const)
      for (const length of [1, 20, longest]) {
        const key = crypto.random(length);
        const { handle } = withKey(client, keyedHash(key, hmacScheme(hash)), (owner) =>
          client.run("HMAC_Start", { handle: owner }, { auth: empty, hashAlg: Alg.NULL }),
        );
        update(handle, text("first "));
        const { result, validation } = complete(handle, text("last"), Rh.OWNER);
        expect(hex(result)).toBe(createHmac(name, key).update("first last").digest("hex"));
        expect(validation).toMatchObject({ hierarchy: Rh.NULL, digest: empty });
      }
  });

  it("give the CMAC of all pieces together", () => {
    const key = crypto.random(32);
    const owner = loadKey(client, symmetricKey(Alg.CAMELLIA, key, Alg.CMAC, signing));
    fc.assert(
      fc.property(parts, (pieces) => {
        const { handle } = client.run("HMAC_Start", { handle: owner }, { auth: empty, hashAlg: Alg.CMAC });
        for (const piece of pieces) update(handle, piece);
        const whole = crypto.cmac(Alg.CAMELLIA, key, Buffer.concat(pieces));
        expect(hex(complete(handle).result)).toBe(hex(whole));
      }),
      { numRuns: 40 },
    );
    flush(client, owner);
  });
});

describe("event sequences", () => {
  it("extend a PCR in all banks by the digests that they give", () => {
    const sequence = start(Alg.NULL);
    update(sequence, text("an "));
    const { results } = client.run(
      "EventSequenceComplete",
      { pcrHandle: 16, sequenceHandle: sequence },
      { buffer: text("event") },
    );
    expect(results.map(({ hashAlg, digest }) => [hashAlg, hex(digest)])).toEqual(
      (
        [
          [Alg.SHA1, "sha1"],
          [Alg.SHA256, "sha256"],
          [Alg.SHA384, "sha384"],
          [Alg.SHA512, "sha512"],
        ] as const
      ).map(([alg, name]) => [alg, createHash(name).update("an event").digest("hex")]),
    );
    const pcrSelectionIn = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(0, 0, 1) }];
    const { pcrValues } = client.run("PCR_Read", {}, { pcrSelectionIn });
    const digest = createHash("sha256").update("an event").digest();
    expect(hex(pcrValues[0]!)).toBe(
      createHash("sha256").update(new Uint8Array(32)).update(digest).digest("hex"),
    );
    expect(client.rc("SequenceUpdate", { sequenceHandle: sequence }, { buffer: empty })).toBe(
      Rc.REFERENCE_H0,
    );
  });

  it("extend nothing for the NULL handle, and nothing that the locality may not", () => {
    const sequence = start(Alg.NULL);
    const rc = client.rc(
      "EventSequenceComplete",
      { pcrHandle: 17, sequenceHandle: sequence },
      { buffer: empty },
    );
    expect(rc).toBe(Rc.LOCALITY);
    const { results } = client.run(
      "EventSequenceComplete",
      { pcrHandle: Rh.NULL, sequenceHandle: sequence },
      { buffer: empty },
    );
    expect(results.length).toBe(4);
  });

  it("and other sequences and keys are not taken for each other", () => {
    const event = start(Alg.NULL);
    const hash = start(Alg.SHA256);
    const key = loadKey(client, keyedHash(crypto.random(20)));
    const completed = { buffer: empty, hierarchy: Rh.NULL };
    expect(client.rc("SequenceComplete", { sequenceHandle: event }, completed)).toBe(ofHandle(Rc.MODE, 1));
    expect(client.rc("SequenceComplete", { sequenceHandle: key }, completed)).toBe(ofHandle(Rc.MODE, 1));
    expect(client.rc("SequenceUpdate", { sequenceHandle: key }, { buffer: empty })).toBe(
      ofHandle(Rc.MODE, 1),
    );
    for (const sequenceHandle of [hash, key])
      expect(client.rc("EventSequenceComplete", { pcrHandle: 16, sequenceHandle }, { buffer: empty })).toBe(
        ofHandle(Rc.MODE, 2),
      );
    expect(client.rc("HMAC", { handle: hash }, { buffer: empty, hashAlg: Alg.SHA1 })).toBe(
      ofHandle(Rc.TYPE, 1),
    );
    for (const handle of [event, hash, key]) flush(client, handle);
  });
});
