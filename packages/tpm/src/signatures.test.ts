import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  constants as cryptoConstants,
  generateKeyPairSync,
  sign as nodeSign,
  verify as nodeVerify,
} from "node:crypto";
import {
  Alg,
  algorithmName,
  Curve,
  curveSizes,
  digestSizes,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  type Scheme,
  type Signature,
  St,
  type Ticket,
} from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { modulo, toBytes, toInteger } from "./crypto/integers.ts";
import { nodeProvider as crypto } from "./crypto/node-provider.ts";
import { concat } from "./engine.ts";
import { TpmClient } from "./testing/client.ts";
import {
  type ExternalKey,
  eccKey,
  hmacScheme,
  keyedHash,
  loadKey,
  rsaKey,
  signing,
  symmetricKey,
  withKey,
} from "./testing/external-keys.ts";
import { createPrimary, flush } from "./testing/objects.ts";
import { eccSigningTemplate, fixedKey, rsaTemplate } from "./testing/templates.ts";

const client = TpmClient.started();
const empty = new Uint8Array(0);
const message = new TextEncoder().encode("what is signed");
const hashes = [Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512];
const scheme = (id: number, hash: number = Alg.SHA256, count = 0): Scheme => ({ scheme: id, hash, count });
const hashName = (hash: number): string => algorithmName(hash).toLowerCase();
const digestOf = (hash: number, ...parts: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash(hashName(hash))
      .update(concat(...parts))
      .digest(),
  );
const noTicket: Ticket = { tag: St.HASHCHECK, hierarchy: Rh.NULL, digest: empty };
const BAD = ofParameter(Rc.SIGNATURE, 2);

function signWith(
  keyHandle: number,
  inScheme: Scheme,
  digest = digestOf(inScheme.hash, message),
  validation = noTicket,
): Signature {
  return client.run("Sign", { keyHandle }, { digest, inScheme, validation }).signature;
}
function signRc(
  keyHandle: number,
  inScheme: Scheme,
  digest = digestOf(Alg.SHA256, message),
  validation = noTicket,
): number {
  return client.rc("Sign", { keyHandle }, { digest, inScheme, validation });
}
function verifyRc(keyHandle: number, signature: Signature, digest: Uint8Array): number {
  return client.rc("VerifySignature", { keyHandle }, { digest, signature });
}
/** The bytes with one bit of one byte turned over. */
const flipped = (bytes: Uint8Array, at: number): Uint8Array =>
  bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
const jwk = pair.privateKey.export({ format: "jwk" });
const fromBase64 = (text = ""): Uint8Array => new Uint8Array(Buffer.from(text, "base64url"));
const rsaPrivate = { modulus: fromBase64(jwk.n), exponent: 0, prime: fromBase64(jwk.p) };

describe("RSA signatures", () => {
  const pss = (saltLength: number) => ({
    padding: cryptoConstants.RSA_PKCS1_PSS_PADDING,
    saltLength,
  });

  it.each(hashes)("of RSASSA with hash %i verify outside, and those from outside here", (hash) => {
    withKey(client, rsaKey(rsaPrivate, noScheme, signing), (key) => {
      const signature = signWith(key, scheme(Alg.RSASSA, hash));
      if (signature.sigAlg !== Alg.RSASSA) throw new Error("another signature");
      expect(signature.hash).toBe(hash);
      expect(nodeVerify(hashName(hash), message, pair.publicKey, signature.sig)).toBe(true);
      // PKCS #1 v1.5 leaves nothing to chance.
      expect(signature.sig).toEqual(new Uint8Array(nodeSign(hashName(hash), message, pair.privateKey)));
      expect(verifyRc(key, signature, digestOf(hash, message))).toBe(Rc.SUCCESS);
    });
  });

  it.each(hashes)("of RSAPSS with hash %i have a salt of the digest's size and verify both ways", (hash) => {
    withKey(client, rsaKey(rsaPrivate, noScheme, signing), (key) => {
      const signature = signWith(key, scheme(Alg.RSAPSS, hash));
      if (signature.sigAlg !== Alg.RSAPSS) throw new Error("another signature");
      const name = hashName(hash);
      const size = digestSizes.get(hash)!;
      expect(nodeVerify(name, message, { key: pair.publicKey, ...pss(size) }, signature.sig)).toBe(true);
      expect(nodeVerify(name, message, { key: pair.publicKey, ...pss(size - 1) }, signature.sig)).toBe(false);
      expect(signWith(key, scheme(Alg.RSAPSS, hash))).not.toEqual(signature);
      for (const saltLength of [0, 1, size, 256 - size - 2]) {
        const sig = new Uint8Array(nodeSign(name, message, { key: pair.privateKey, ...pss(saltLength) }));
        const digest = digestOf(hash, message);
        expect(verifyRc(key, { sigAlg: Alg.RSAPSS, hash, sig }, digest)).toBe(Rc.SUCCESS);
        expect(verifyRc(key, { sigAlg: Alg.RSAPSS, hash, sig }, flipped(digest, 0))).toBe(BAD);
      }
    });
  });

  it.each([Alg.RSASSA, Alg.RSAPSS] as const)("of scheme %i are refused when anything is wrong", (sigAlg) => {
    withKey(client, rsaKey(rsaPrivate, noScheme, signing), (key) => {
      const signature = signWith(key, scheme(sigAlg));
      if (signature.sigAlg !== sigAlg) throw new Error("another signature");
      const { sig } = signature;
      const digest = digestOf(Alg.SHA256, message);
      const changed = (change: object): number => verifyRc(key, { ...signature, ...change }, digest);
      expect(changed({})).toBe(Rc.SUCCESS);
      for (const at of [0, 1, 100, 255]) expect(changed({ sig: flipped(sig, at) })).toBe(BAD);
      expect(changed({ sig: sig.subarray(1) })).toBe(BAD);
      expect(changed({ sig: sig.subarray(0, 255) })).toBe(BAD);
      expect(changed({ sig: concat(new Uint8Array(1), sig) })).toBe(BAD);
      expect(changed({ sig: empty })).toBe(BAD);
      expect(changed({ sig: new Uint8Array(256) })).toBe(BAD);
      expect(changed({ sig: new Uint8Array(256).fill(0xff) })).toBe(BAD);
      expect(changed({ hash: Alg.SHA1 })).toBe(BAD);
      expect(changed({ sigAlg: sigAlg === Alg.RSASSA ? Alg.RSAPSS : Alg.RSASSA })).toBe(BAD);
      expect(verifyRc(key, signature, flipped(digest, 31))).toBe(BAD);
      expect(verifyRc(key, signature, digest.subarray(1))).toBe(BAD);
      expect(verifyRc(key, signature, empty)).toBe(BAD);
    });
  });

  it("whose padding is not all there are none of RSASSA", () => {
    withKey(client, rsaKey(rsaPrivate, noScheme, signing), (key) => {
      const digest = digestOf(Alg.SHA256, message);
      const info = Buffer.from("3031300d060960864801650304020105000420", "hex");
      const blocks = {
        whole: concat(Uint8Array.of(0, 1), new Uint8Array(202).fill(255), Uint8Array.of(0), info, digest),
        short: concat(
          Uint8Array.of(0, 1),
          new Uint8Array(8).fill(255),
          Uint8Array.of(0),
          info,
          digest,
          new Uint8Array(194),
        ),
        other: concat(Uint8Array.of(0, 2), new Uint8Array(202).fill(255), Uint8Array.of(0), info, digest),
      };
      const rc = (block: Uint8Array): number => {
        const sig = crypto.rsaPrivate(rsaPrivate, block)!;
        return verifyRc(key, { sigAlg: Alg.RSASSA, hash: Alg.SHA256, sig }, digest);
      };
      expect(rc(blocks.whole)).toBe(Rc.SUCCESS);
      expect(rc(blocks.short)).toBe(BAD);
      expect(rc(blocks.other)).toBe(BAD);
    });
  });
});

describe("ECDSA", () => {
  const names = [
    [Curve.NIST_P256, "P-256", Alg.SHA256],
    [Curve.NIST_P384, "P-384", Alg.SHA384],
    [Curve.NIST_P521, "P-521", Alg.SHA512],
  ] as const;

  it.each(names)("on curve %i (%s) verifies both ways, with any leading zeros", (curve, crv, hash) => {
    const key = eccKey(curve, Uint8Array.of(3, 1, 4, 1, 5), noScheme, signing);
    const size = curveSizes.get(curve)!;
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
    const { x, y } = key.publicArea.unique;
    const point = { kty: "EC", crv, x: text(x), y: text(y) };
    const publicKey = createPublicKey({ key: point, format: "jwk" });
    const privateKey = createPrivateKey({ key: { ...point, d: text(key.scalar) }, format: "jwk" });
    const dsaEncoding = "ieee-p1363";
    withKey(client, key, (handle) => {
      const signature = signWith(handle, scheme(Alg.ECDSA, hash));
      if (signature.sigAlg !== Alg.ECDSA) throw new Error("another signature");
      const raw = concat(signature.r, signature.s);
      expect(raw.length).toBe(2 * size);
      expect(nodeVerify(hashName(hash), message, { key: publicKey, dsaEncoding }, raw)).toBe(true);

      const theirs = new Uint8Array(nodeSign(hashName(hash), message, { key: privateKey, dsaEncoding }));
      const [r, s] = [theirs.subarray(0, size), theirs.subarray(size)];
      const digest = digestOf(hash, message);
      const rc = (change: object): number =>
        verifyRc(handle, { sigAlg: Alg.ECDSA, hash, r, s, ...change }, digest);
      const zero = new Uint8Array(size);
      const order = crypto.eccOrder(curve);
      expect(rc({})).toBe(Rc.SUCCESS);
      if (size < 66) expect(rc({ r: concat(new Uint8Array(2), r) })).toBe(Rc.SUCCESS);
      for (const wrong of [zero, empty, order, flipped(r, size - 1)]) expect(rc({ r: wrong })).toBe(BAD);
      for (const wrong of [zero, empty, order, flipped(s, size - 1)]) expect(rc({ s: wrong })).toBe(BAD);
      expect(rc({ r: s, s: r })).toBe(BAD);
      expect(rc({ s: s.subarray(0, size - 1) })).toBe(BAD);
      expect(verifyRc(handle, { sigAlg: Alg.ECDSA, hash, r, s }, flipped(digest, 0))).toBe(BAD);
      expect(rc({ sigAlg: Alg.ECSCHNORR })).toBe(BAD);
    });
  });
});

/** r and s of a signature over a curve. */
function pairOf(signature: Signature): { r: bigint; s: bigint } {
  if (!("r" in signature)) throw new Error("no signature of a curve");
  return { r: toInteger(signature.r), s: toInteger(signature.s) };
}

describe("Schnorr, SM2 and ECDAA", () => {
  const scalar = Uint8Array.of(2, 7, 1, 8, 2, 8);
  const key = eccKey(Curve.NIST_P256, scalar, noScheme, signing);
  const n = toInteger(crypto.eccOrder(Curve.NIST_P256));
  const secret = toInteger(scalar);
  const digest = digestOf(Alg.SHA256, message);
  /** k G. */
  const times = (k: bigint) => crypto.eccPublic(Curve.NIST_P256, toBytes(k, 32))!;

  it("sign so that whoever knows the secret finds the nonce that fits", () => {
    withKey(client, key, (handle) => {
      const schnorr = signWith(handle, scheme(Alg.ECSCHNORR));
      const { r, s } = pairOf(schnorr);
      // s = k + r d, r = H(x of k G, digest).
      const k = modulo(s - r * secret, n);
      expect(r).toBe(toInteger(digestOf(Alg.SHA256, times(k).x, digest)));
      expect(verifyRc(handle, schnorr, digest)).toBe(Rc.SUCCESS);
      expect(verifyRc(handle, schnorr, flipped(digest, 3))).toBe(BAD);

      const sm2 = signWith(handle, scheme(Alg.SM2));
      const { r: r2, s: s2 } = pairOf(sm2);
      // k = s (1 + d) + r d, r = digest + x of k G.
      const k2 = modulo(s2 * (1n + secret) + r2 * secret, n);
      expect(r2).toBe(modulo(toInteger(digest) + toInteger(times(k2).x), n));
      expect(verifyRc(handle, sm2, digest)).toBe(Rc.SUCCESS);
      expect(verifyRc(handle, sm2, flipped(digest, 3))).toBe(BAD);
    });
  });

  it("take no zero and nothing from the order on", () => {
    withKey(client, key, (handle) => {
      for (const sigAlg of [Alg.ECSCHNORR, Alg.SM2] as const) {
        const signature = signWith(handle, scheme(sigAlg));
        for (const wrong of [empty, new Uint8Array(32), toBytes(n, 32)]) {
          expect(verifyRc(handle, { ...signature, s: wrong } as Signature, digest)).toBe(BAD);
          expect(verifyRc(handle, { ...signature, r: wrong } as Signature, digest)).toBe(BAD);
        }
      }
    });
  });

  it("in two steps end a commit, whose counter is good once", () => {
    withKey(client, { ...key, ...eccKey(Curve.NIST_P256, scalar, scheme(Alg.ECDAA), signing) }, (handle) => {
      const none = { P1: { x: empty, y: empty }, s2: empty, y2: empty };
      const { E, counter } = client.run("Commit", { signHandle: handle }, none);
      // The key's scheme alone does not say which commit is meant.
      expect(signRc(handle, noScheme)).toBe(ofParameter(Rc.SCHEME, 2));
      const signature = signWith(handle, scheme(Alg.ECDAA, Alg.SHA256, counter));
      if (signature.sigAlg !== Alg.ECDAA) throw new Error("another signature");
      // s = k + T d, and k G is what the commit has told.
      const t = modulo(toInteger(digestOf(Alg.SHA256, signature.r, digest)), n);
      expect(times(modulo(toInteger(signature.s) - t * secret, n))).toEqual(E);
      expect(signRc(handle, scheme(Alg.ECDAA, Alg.SHA256, counter))).toBe(Rc.VALUE);
      expect(signRc(handle, scheme(Alg.ECDAA, Alg.SHA256, counter + 1))).toBe(Rc.VALUE);
      // A counter is too old when as many others have been given as the TPM keeps in mind.
      const { counter: old } = client.run("Commit", { signHandle: handle }, none);
      const { counter: newer } = client.run("Commit", { signHandle: handle }, none);
      for (let i = 0; i < 127; i++) client.run("Commit", { signHandle: handle }, none);
      expect(signRc(handle, scheme(Alg.ECDAA, Alg.SHA256, old))).toBe(Rc.VALUE);
      expect(signRc(handle, scheme(Alg.ECDAA, Alg.SHA256, newer))).toBe(Rc.SUCCESS);
      // Only who knows the issuer's group can verify.
      expect(verifyRc(handle, signature, digest)).toBe(ofParameter(Rc.SCHEME, 2));
    });
  });
});

describe("HMAC", () => {
  const secret = new Uint8Array(20).fill(7);
  it.each(hashes)("with hash %i is that of the digest", (hash) => {
    withKey(client, keyedHash(secret, hmacScheme(hash)), (handle) => {
      const digest = digestOf(hash, message);
      const signature = signWith(handle, noScheme, digest);
      const expected = new Uint8Array(createHmac(hashName(hash), secret).update(digest).digest());
      expect(signature).toEqual({ sigAlg: Alg.HMAC, hash, digest: expected });
      expect(verifyRc(handle, signature, digest)).toBe(Rc.SUCCESS);
      const forged: Signature = { sigAlg: Alg.HMAC, hash, digest: flipped(expected, 0) };
      expect(verifyRc(handle, forged, digest)).toBe(BAD);
    });
  });

  it("is not verified by another hash than the key's, nor without the secret", () => {
    const key = keyedHash(secret, hmacScheme(Alg.SHA256));
    const digest = digestOf(Alg.SHA1, message);
    const hmac = new Uint8Array(createHmac("sha1", secret).update(digest).digest());
    const signature: Signature = { sigAlg: Alg.HMAC, hash: Alg.SHA1, digest: hmac };
    expect(withKey(client, key, (handle) => verifyRc(handle, signature, digest))).toBe(BAD);
    expect(withKey(client, keyedHash(secret), (handle) => verifyRc(handle, signature, digest))).toBe(
      Rc.SUCCESS,
    );
    const handle = loadKey(client, key, true);
    expect(verifyRc(handle, signature, digest)).toBe(ofParameter(Rc.HANDLE, 2));
    flush(client, handle);
  });
});

describe("a scheme", () => {
  const rsaSigning = (own: Scheme) => rsaKey(rsaPrivate, own, signing);
  const eccSigning = (own: Scheme) => eccKey(Curve.NIST_P256, Uint8Array.of(5), own, signing);
  const rc = (key: ExternalKey, asked: Scheme): number =>
    withKey(client, key, (handle) => signRc(handle, asked));
  const REFUSED = ofParameter(Rc.SCHEME, 2);

  it("is the key's, or the caller's where the key has none", () => {
    expect(rc(rsaSigning(scheme(Alg.RSASSA)), noScheme)).toBe(Rc.SUCCESS);
    expect(rc(rsaSigning(scheme(Alg.RSASSA)), scheme(Alg.RSASSA))).toBe(Rc.SUCCESS);
    expect(rc(rsaSigning(noScheme), scheme(Alg.RSAPSS))).toBe(Rc.SUCCESS);
    expect(rc(rsaSigning(noScheme), noScheme)).toBe(REFUSED);
  });

  it("that differs from the key's in kind or hash is refused", () => {
    expect(rc(rsaSigning(scheme(Alg.RSASSA)), scheme(Alg.RSAPSS))).toBe(REFUSED);
    expect(rc(rsaSigning(scheme(Alg.RSASSA)), scheme(Alg.RSASSA, Alg.SHA1))).toBe(REFUSED);
    expect(rc(eccSigning(scheme(Alg.ECDSA)), scheme(Alg.ECSCHNORR))).toBe(REFUSED);
  });

  it("of another type of key is refused", () => {
    expect(rc(rsaSigning(noScheme), scheme(Alg.ECDSA))).toBe(REFUSED);
    expect(rc(eccSigning(noScheme), scheme(Alg.RSASSA))).toBe(REFUSED);
    expect(rc(eccSigning(noScheme), scheme(Alg.HMAC))).toBe(REFUSED);
    expect(rc(keyedHash(new Uint8Array(20)), scheme(Alg.ECDSA))).toBe(REFUSED);
    expect(rc(keyedHash(new Uint8Array(20)), scheme(Alg.HMAC))).toBe(Rc.SUCCESS);
  });

  it("of a signature must be one of the key's type", () => {
    const digest = digestOf(Alg.SHA256, message);
    const ofRsa: Signature = { sigAlg: Alg.RSASSA, hash: Alg.SHA256, sig: new Uint8Array(256) };
    const ofEcc: Signature = { sigAlg: Alg.ECDSA, hash: Alg.SHA256, r: digest, s: digest };
    const ofHmac: Signature = { sigAlg: Alg.HMAC, hash: Alg.SHA256, digest };
    const wrong = (key: ExternalKey, signature: Signature): number =>
      withKey(client, key, (handle) => verifyRc(handle, signature, digest));
    expect(wrong(rsaSigning(noScheme), ofEcc)).toBe(REFUSED);
    expect(wrong(rsaSigning(noScheme), ofHmac)).toBe(REFUSED);
    expect(wrong(eccSigning(noScheme), ofRsa)).toBe(REFUSED);
    expect(wrong(keyedHash(new Uint8Array(20)), ofEcc)).toBe(REFUSED);
    expect(wrong(eccSigning(noScheme), { sigAlg: Alg.NULL })).toBe(REFUSED);
    const cipher = symmetricKey(Alg.AES, new Uint8Array(16), Alg.CFB);
    expect(wrong(cipher, ofHmac)).toBe(REFUSED);
  });
});

describe("TPM2_Sign", () => {
  const { sign, restricted, decrypt, x509sign } = ObjectAttribute;

  it("is for signing keys, and not for those that sign certificates", () => {
    const key = (attributes: number) =>
      withKey(client, eccKey(Curve.NIST_P256, Uint8Array.of(5), noScheme, attributes), (handle) =>
        signRc(handle, scheme(Alg.ECDSA)),
      );
    expect(key(signing)).toBe(Rc.SUCCESS);
    expect(key((signing & ~sign) | decrypt)).toBe(ofHandle(Rc.KEY, 1));
    expect(key(signing | x509sign)).toBe(ofHandle(Rc.ATTRIBUTES, 1));
    const cipher = symmetricKey(Alg.AES, new Uint8Array(16), Alg.CFB);
    expect(withKey(client, cipher, (handle) => signRc(handle, scheme(Alg.HMAC)))).toBe(ofHandle(Rc.KEY, 1));
  });

  it("wants a digest of the hash's size", () => {
    withKey(client, eccKey(Curve.NIST_P256, Uint8Array.of(5), noScheme, signing), (handle) => {
      for (const size of [0, 20, 31, 48])
        expect(signRc(handle, scheme(Alg.ECDSA), new Uint8Array(size))).toBe(ofParameter(Rc.SIZE, 1));
    });
  });

  it("by a restricted key wants a ticket that the TPM has hashed the digest itself", () => {
    const { handle } = createPrimary(
      client,
      eccSigningTemplate(scheme(Alg.ECDSA), fixedKey | sign | restricted),
    );
    const hashed = (data: Uint8Array, hierarchy: number = Rh.OWNER) =>
      client.run("Hash", {}, { data, hashAlg: Alg.SHA256, hierarchy });
    const WRONG = ofParameter(Rc.TICKET, 3);
    const { outHash, validation } = hashed(message);
    expect(signRc(handle, noScheme, outHash, validation)).toBe(Rc.SUCCESS);
    expect(signRc(handle, noScheme, outHash)).toBe(WRONG);
    expect(signRc(handle, noScheme, flipped(outHash, 0), validation)).toBe(WRONG);
    const turned = { ...validation, digest: flipped(validation.digest, 0) };
    expect(signRc(handle, noScheme, outHash, turned)).toBe(WRONG);
    expect(signRc(handle, noScheme, outHash, { ...validation, hierarchy: Rh.PLATFORM })).toBe(WRONG);
    // What begins like an attestation gets no ticket.
    const forged = hashed(concat(Uint8Array.of(0xff, 0x54, 0x43, 0x47), message));
    expect(forged.validation.digest).toEqual(empty);
    expect(signRc(handle, noScheme, forged.outHash, forged.validation)).toBe(WRONG);
    const ofNull = hashed(message, Rh.NULL);
    expect(signRc(handle, noScheme, ofNull.outHash, ofNull.validation)).toBe(WRONG);
    flush(client, handle);
  });

  it("looks at a ticket of an unrestricted key as well, if there is one", () => {
    withKey(client, eccKey(Curve.NIST_P256, Uint8Array.of(5), noScheme, signing), (handle) => {
      const ticket = { ...noTicket, hierarchy: Rh.OWNER, digest: new Uint8Array(64) };
      expect(signRc(handle, scheme(Alg.ECDSA), undefined, ticket)).toBe(ofParameter(Rc.TICKET, 3));
    });
  });
});

describe("TPM2_VerifySignature", () => {
  it("gives a ticket that says so, in the key's hierarchy", () => {
    const template = rsaTemplate({
      objectAttributes: fixedKey | ObjectAttribute.sign,
      parameters: { symmetric: noSymmetric, scheme: scheme(Alg.RSASSA) },
    });
    const digest = digestOf(Alg.SHA256, message);
    const { handle, outPublic } = createPrimary(client, template);
    const signature = signWith(handle, scheme(Alg.RSASSA));
    const { validation } = client.run("VerifySignature", { keyHandle: handle }, { digest, signature });
    expect(validation).toMatchObject({ tag: St.VERIFIED, hierarchy: Rh.OWNER });
    expect(validation.digest.length).toBe(64);
    const again = client.run("VerifySignature", { keyHandle: handle }, { digest, signature });
    expect(again.validation).toEqual(validation);
    flush(client, handle);

    const load = (hierarchy: number) =>
      client.run("LoadExternal", {}, { inPrivate: undefined, inPublic: outPublic, hierarchy }).handle;
    const verified = (keyHandle: number) => {
      const response = client.run("VerifySignature", { keyHandle }, { digest, signature });
      flush(client, keyHandle);
      return response.validation;
    };
    expect(verified(load(Rh.OWNER))).toEqual(validation);
    expect(verified(load(Rh.NULL))).toEqual({ tag: St.VERIFIED, hierarchy: Rh.NULL, digest: empty });
  });

  it("is for keys that sign", () => {
    withKey(client, eccKey(Curve.NIST_P256, Uint8Array.of(5)), (handle) => {
      const r = new Uint8Array(32).fill(1);
      expect(verifyRc(handle, { sigAlg: Alg.ECDSA, hash: Alg.SHA256, r, s: r }, r)).toBe(
        ofHandle(Rc.ATTRIBUTES, 1),
      );
    });
  });
});
