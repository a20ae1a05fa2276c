import { constants, createPublicKey, publicEncrypt } from "node:crypto";
import { Alg, ofHandle, ofParameter, type Public, Rc, Rh } from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TpmClient } from "../testing/client.ts";
import { outerWrap, tpm2b } from "../testing/protection.ts";
import { eccSigningTemplate, eccTemplate, rsaTemplate, sensitiveCreate } from "../testing/templates.ts";

const empty = new Uint8Array(0);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function primary(client: TpmClient, inPublic: Public) {
  const parameters = { inSensitive: sensitiveCreate(), inPublic, outsideInfo: empty, creationPCR: [] };
  return client.run("CreatePrimary", { primaryHandle: Rh.ENDORSEMENT }, parameters);
}

describe("MakeCredential and ActivateCredential", () => {
  test.each([
    ["RSA", rsaTemplate()],
    ["ECC", eccTemplate()],
  ])(
    "a credential for one object by an %s key is activated with both, and only for that Name",
    (_, template) => {
      const client = TpmClient.started();
      const key = primary(client, template);
      const attested = primary(client, eccSigningTemplate());
      const made = client.run(
        "MakeCredential",
        { handle: key.handle },
        { credential: bytes("a certificate's key"), objectName: attested.name },
      );
      const handles = { activateHandle: attested.handle, keyHandle: key.handle };
      expect(client.run("ActivateCredential", handles, made).certInfo).toEqual(bytes("a certificate's key"));
      const other = { activateHandle: key.handle, keyHandle: key.handle };
      expect(client.rc("ActivateCredential", other, made)).toBe(ofParameter(Rc.INTEGRITY, 1));
      const changed = {
        ...made,
        credentialBlob: made.credentialBlob.with(-1, made.credentialBlob.at(-1)! ^ 1),
      };
      expect(client.rc("ActivateCredential", handles, changed)).toBe(ofParameter(Rc.INTEGRITY, 1));
    },
  );

  test("a credential that an issuer made without a TPM is activated", () => {
    const client = TpmClient.started();
    const key = primary(client, rsaTemplate());
    const attested = primary(client, eccSigningTemplate());
    const seed = new Uint8Array(32).fill(0x5a);
    const n = Buffer.from(key.outPublic.unique as Uint8Array).toString("base64url");
    const secret = publicEncrypt(
      {
        key: createPublicKey({ key: { kty: "RSA", n, e: "AQAB" }, format: "jwk" }),
        padding: constants.RSA_PKCS1_OAEP_PADDING,
        oaepHash: "sha256",
        oaepLabel: Buffer.from("IDENTITY\0"),
      },
      seed,
    );
    const credentialBlob = outerWrap(Alg.SHA256, seed, attested.name, tpm2b(bytes("challenge")));
    const handles = { activateHandle: attested.handle, keyHandle: key.handle };
    const parameters = { credentialBlob, secret: new Uint8Array(secret) };
    expect(client.run("ActivateCredential", handles, parameters).certInfo).toEqual(bytes("challenge"));
    const longer = outerWrap(Alg.SHA256, seed, attested.name, new Uint8Array([...tpm2b(bytes("x")), 0]));
    expect(client.rc("ActivateCredential", handles, { ...parameters, credentialBlob: longer })).toBe(
      ofParameter(Rc.SIZE, 1),
    );
    const shorter = { ...parameters, secret: new Uint8Array(10) };
    expect(client.rc("ActivateCredential", handles, shorter)).toBe(ofParameter(Rc.SIZE, 2));
  });

  test("the public area of a restricted decryption key is enough to make one; another key is refused", () => {
    const client = TpmClient.started();
    const { outPublic, handle, name } = primary(client, eccTemplate());
    client.run("FlushContext", {}, { flushHandle: handle });
    const parameters = { inPrivate: undefined, inPublic: outPublic, hierarchy: Rh.NULL };
    const external = client.run("LoadExternal", {}, parameters).handle;
    const rc = (key: number, credential: Uint8Array): number =>
      client.rc("MakeCredential", { handle: key }, { credential, objectName: name });
    expect(rc(external, new Uint8Array(32))).toBe(Rc.SUCCESS);
    expect(rc(external, new Uint8Array(33))).toBe(ofParameter(Rc.SIZE, 1));
    const signer = primary(client, eccSigningTemplate()).handle;
    expect(rc(signer, empty)).toBe(ofHandle(Rc.TYPE, 1));
    const unnamed = { ...parameters, inPublic: { ...outPublic, nameAlg: Alg.NULL } as Public };
    const nameless = client.run("LoadExternal", {}, unnamed).handle;
    expect(rc(nameless, empty)).toBe(Rc.SCHEME);
    const handles = { activateHandle: signer, keyHandle: signer };
    expect(client.rc("ActivateCredential", handles, { credentialBlob: empty, secret: empty })).toBe(
      ofHandle(Rc.TYPE, 2),
    );
  });

  test("RSA keys of any exponent and modulus that load are answered, not fallen over", () => {
    const client = TpmClient.started();
    const random = fc.uint8Array({ minLength: 256, maxLength: 256 });
    const exponents = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 0xffff_ffff }));
    fc.assert(
      fc.property(
        random,
        exponents,
        fc.constantFrom(Alg.SHA256, Alg.SHA512, Alg.NULL),
        (modulus, exponent, nameAlg) => {
          const inPublic = rsaTemplate({
            nameAlg,
            unique: modulus.with(0, modulus[0]! | 0x80),
            parameters: { exponent },
          });
          const parameters = { inPrivate: undefined, inPublic, hierarchy: Rh.NULL };
          const small = exponent !== 0 && exponent < 7;
          expect(client.rc("LoadExternal", {}, parameters)).toBe(
            small ? ofParameter(Rc.VALUE, 2) : Rc.SUCCESS,
          );
          if (small) return;
          const making = { credential: empty, objectName: new Uint8Array(34) };
          const rc = client.rc("MakeCredential", { handle: 0x8000_0000 }, making);
          expect([Rc.SUCCESS, Rc.VALUE, Rc.SCHEME]).toContain(rc);
          client.run("FlushContext", {}, { flushHandle: 0x8000_0000 });
        },
      ),
      { numRuns: 200 },
    );
  });
});
