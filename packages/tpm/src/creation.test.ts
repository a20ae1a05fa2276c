import { Alg, Curve, ObjectAttribute, type Public, Rc, Rh, TpmError } from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { nodeProvider } from "./crypto/node-provider.ts";
import { TpmClient } from "./testing/client.ts";
import { createPrimary, flush } from "./testing/objects.ts";
import {
  cipherTemplate,
  eccSigningTemplate,
  eccTemplate,
  fixedKey,
  rsaTemplate,
  sealTemplate,
} from "./testing/templates.ts";
import { Tpm } from "./tpm.ts";

const { sign } = ObjectAttribute;
const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");

/** A TPM whose seeds and proofs are known. */
function known(): TpmClient {
  return TpmClient.started({
    crypto: { ...nodeProvider, random: (length) => new Uint8Array(length).fill(0x42) },
  });
}
const hmacKey = sealTemplate({
  objectAttributes: fixedKey | sign,
  parameters: { scheme: { scheme: Alg.HMAC, hash: Alg.SHA256, kdf: Alg.NULL } },
});
const rows: readonly (readonly [string, Public, number, string])[] = [
  [
    "RSA-2048 storage",
    rsaTemplate(),
    Rh.OWNER,
    "000b90330e3156bed6524c049d14c0d8b38569d3bf4280202c19b12a3d223b9d01aa",
  ],
  [
    "RSA-3072 endorsement",
    rsaTemplate({ parameters: { keyBits: 3072 } }),
    Rh.ENDORSEMENT,
    "000beccfd2c76fce8fb7eb790edb8ec14d0bd3cfd1e70bc709fe80e02f54d9072b89",
  ],
  [
    "P-256 storage",
    eccTemplate(),
    Rh.OWNER,
    "000b40f95c0f6aa324efb7cd1730896e21c323cf81352283aa9ffa61196cceeae501",
  ],
  [
    "P-256 platform",
    eccSigningTemplate(),
    Rh.PLATFORM,
    "000bf237b137666156b55d71ae0e09118b294e80adfc9c083f81b847973fdda589ca",
  ],
  [
    "P-384",
    eccTemplate({ parameters: { curveID: Curve.NIST_P384 } }),
    Rh.OWNER,
    "000bf4355fd69def3cde40cd37b6351498031c8a4f96bc47194e41c0eeefba46c4d7",
  ],
  [
    "P-521",
    eccTemplate({ parameters: { curveID: Curve.NIST_P521 } }),
    Rh.OWNER,
    "000b477f7e64806f2527777e2a6bd0ba530305800d338e6e640b5b4f1b774f9eca96",
  ],
  [
    "AES owner",
    cipherTemplate(),
    Rh.OWNER,
    "000b749a3353154f784f7b5747ab1e18037770313c4c7489f215c5bf0621a79f0603",
  ],
  [
    "AES endorsement",
    cipherTemplate(),
    Rh.ENDORSEMENT,
    "000b1281be235875a3f26b8c5707bbb2a75c63977e52ee214707ad6e262eb5b90084",
  ],
  ["HMAC", hmacKey, Rh.NULL, "000ba3f6877479a3cbd5cc5968d61a7e264d5d68dd9807f3cb29f091a088ee1f33c5"],
];

describe("derivation 1", () => {
  // A TPM that is updated must go on giving its owners the keys that they know: these Names never change.
  test.each(rows)("the %s key of a seed is this one for ever", (_, template, hierarchy, expected) => {
    expect(hex(createPrimary(known(), template, { hierarchy }).name)).toBe(expected);
  });

  test("a key is found again without a search, and searched for again when its seed has changed", () => {
    let searches = 0;
    const rsaDerive: typeof nodeProvider.rsaDerive = (...of) => {
      searches++;
      return nodeProvider.rsaDerive(...of);
    };
    const client = TpmClient.started({ crypto: { ...nodeProvider, rsaDerive } });
    const make = (hierarchy: number): string => {
      const { handle, name } = createPrimary(client, rsaTemplate(), { hierarchy });
      flush(client, handle);
      return hex(name);
    };
    const first = make(Rh.OWNER);
    expect(make(Rh.OWNER)).toBe(first);
    expect(searches).toBe(1);
    expect(make(Rh.PLATFORM)).not.toBe(first);
    expect(searches).toBe(2);
    client.run("Clear", { authHandle: Rh.LOCKOUT }, {});
    expect(make(Rh.OWNER)).not.toBe(first);
    expect(searches).toBe(3);
  });

  test("what an endorsement key protects is lost when the owner changes; the key itself stays", () => {
    const client = TpmClient.started();
    const make = () => createPrimary(client, eccTemplate(), { hierarchy: Rh.ENDORSEMENT });
    const before = make();
    const inPublic = sealTemplate();
    const making = { inSensitive: { userAuth: new Uint8Array(0), data: new Uint8Array(4) }, inPublic };
    const made = client.run(
      "Create",
      { parentHandle: before.handle },
      { ...making, outsideInfo: new Uint8Array(0), creationPCR: [] },
    );
    const parameters = { inPrivate: made.outPrivate, inPublic: made.outPublic };
    flush(client, client.run("Load", { parentHandle: before.handle }, parameters).handle);
    client.run("Clear", { authHandle: Rh.LOCKOUT }, {});
    const after = make();
    expect(after.name).toEqual(before.name);
    expect(client.rc("Load", { parentHandle: after.handle }, parameters)).not.toBe(0);
  });

  test("a search for a key ends when the command is canceled, and nothing has changed", () => {
    let draws = 0;
    const rsaDerive: typeof nodeProvider.rsaDerive = (bits, exponent, derivation, draw) =>
      nodeProvider.rsaDerive(bits, exponent, derivation, (length) => {
        // As another thread does it, that has waited long enough.
        if (++draws === 2) tpm.cancel();
        return draw(length);
      });
    const tpm = new Tpm({ crypto: { ...nodeProvider, rsaDerive } });
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: 0 });
    expect(() => createPrimary(client, rsaTemplate())).toThrow(new TpmError(Rc.CANCELED));
    expect(draws).toBe(2);
    expect(createPrimary(client, rsaTemplate()).handle).toBe(0x8000_0000);
  });
});
