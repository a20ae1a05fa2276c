import { createHash, createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import {
  Alg,
  Curve,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  type Scheme,
  type Signature,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bitString, element, objectIdentifier, readElement, readElements, Tag, unsigned } from "../der.ts";
import { concat, u32 } from "../engine.ts";
import { TpmClient } from "../testing/client.ts";
import { eccKey, hmacScheme, keyedHash, loadKey, signing, withKey } from "../testing/external-keys.ts";
import { createPrimary } from "../testing/objects.ts";
import { eccSigningTemplate, eccTemplate, fixedKey, rsaTemplate } from "../testing/templates.ts";

const client = TpmClient.started();
const empty = new Uint8Array(0);
const { sign, decrypt, restricted, fixedTPM, userWithAuth, noDA } = ObjectAttribute;
const scheme = (id: number, hash: number = Alg.SHA256): Scheme => ({ scheme: id, hash, count: 0 });
const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

function nameOf(common: string): Uint8Array {
  const value = element(0x0c, ascii(common));
  const attribute = element(Tag.SEQUENCE, objectIdentifier("2.5.4.3"), value);
  return element(Tag.SEQUENCE, element(0x31, attribute));
}
const validity = element(
  Tag.SEQUENCE,
  element(0x17, ascii("240101000000Z")),
  element(0x17, ascii("340101000000Z")),
);
const names = [nameOf("issuer"), validity, nameOf("subject")];
function extension(identifier: string, value: Uint8Array, critical = true): Uint8Array {
  const criticality = critical ? [element(Tag.BOOLEAN, Uint8Array.of(0xff))] : [];
  return element(
    Tag.SEQUENCE,
    objectIdentifier(identifier),
    ...criticality,
    element(Tag.OCTET_STRING, value),
  );
}
const keyUsage = (...bits: readonly number[]): Uint8Array =>
  extension("2.5.29.15", element(Tag.BIT_STRING, Uint8Array.from(bits)));
const attributesOf = (attributes: number): Uint8Array =>
  extension("2.23.133.10.1.1.1", element(Tag.BIT_STRING, Uint8Array.of(0), u32(attributes)), false);
const extensions = (...list: readonly Uint8Array[]): Uint8Array =>
  element(Tag.CONTEXT + 3, element(Tag.SEQUENCE, ...list));
const DIGITAL_SIGNATURE = keyUsage(7, 0x80);
const partial = (...elements: readonly Uint8Array[]): Uint8Array => element(Tag.SEQUENCE, ...elements);
const sound = partial(...names, extensions(DIGITAL_SIGNATURE));

const objectKey = createPrimary(client, eccSigningTemplate(noScheme, fixedKey | sign));
const ecc = createPrimary(client, eccSigningTemplate(scheme(Alg.ECDSA)), { hierarchy: Rh.ENDORSEMENT });

interface Asking {
  readonly objectHandle?: number;
  readonly signHandle?: number;
  readonly inScheme?: Scheme;
  readonly reserved?: Uint8Array;
}
function certify(
  partialCertificate: Uint8Array,
  { objectHandle = objectKey.handle, signHandle = ecc.handle, inScheme = noScheme }: Asking = {},
) {
  const parameters = { reserved: empty, inScheme, partialCertificate };
  return client.run("CertifyX509", { objectHandle, signHandle }, parameters);
}
function rc(
  partialCertificate: Uint8Array,
  {
    objectHandle = objectKey.handle,
    signHandle = ecc.handle,
    inScheme = noScheme,
    reserved = empty,
  }: Asking = {},
): number {
  return client.rc("CertifyX509", { objectHandle, signHandle }, { reserved, inScheme, partialCertificate });
}

function signatureBytes(signature: Signature): Uint8Array {
  if (signature.sigAlg === Alg.ECDSA)
    return element(Tag.SEQUENCE, unsigned(signature.r), unsigned(signature.s));
  if ("sig" in signature) return signature.sig;
  throw new Error("no signature of a certificate");
}

/** The whole certificate, as the caller puts it together. */
function assembled(brought: Uint8Array, response: ReturnType<typeof certify>): X509Certificate {
  const added = readElements(readElement(response.addedToCertificate, Tag.SEQUENCE)!.content)!;
  const mine = readElements(readElement(brought, Tag.SEQUENCE)!.content)!.map(({ whole }) => whole);
  const [version, serial, ...others] = added.map(({ whole }) => whole);
  const publicKey = others.at(-1)!;
  const algorithm = others.length === 2 ? others[0]! : mine.shift()!;
  const tbs = element(Tag.SEQUENCE, version!, serial!, algorithm, ...mine.slice(0, 3), publicKey, mine[3]!);
  const hash = "hash" in response.signature && response.signature.hash === Alg.SHA1 ? "sha1" : "sha256";
  expect(response.tbsDigest).toEqual(new Uint8Array(createHash(hash).update(tbs).digest()));
  return new X509Certificate(
    element(Tag.SEQUENCE, tbs, algorithm, bitString(signatureBytes(response.signature))),
  );
}

/** The public key of an object, as `node:crypto` reads it from coordinates. */
function publicKeyOf({ outPublic }: ReturnType<typeof createPrimary>): KeyObject {
  const text = (value: Uint8Array): string => Buffer.from(value).toString("base64url");
  if (outPublic.type === Alg.RSA)
    return createPublicKey({ key: { kty: "RSA", n: text(outPublic.unique), e: "AQAB" }, format: "jwk" });
  if (outPublic.type !== Alg.ECC) throw new Error("no asymmetric key");
  const { x, y } = outPublic.unique;
  const crv = outPublic.parameters.curveID === Curve.NIST_P384 ? "P-384" : "P-256";
  return createPublicKey({ key: { kty: "EC", crv, x: text(x), y: text(y) }, format: "jwk" });
}

describe("TPM2_CertifyX509", () => {
  it("adds version, serial number, algorithm and key, and the whole is a certificate that verifies", () => {
    const response = certify(sound);
    const certificate = assembled(sound, response);
    expect(certificate.verify(publicKeyOf(ecc))).toBe(true);
    expect(certificate.verify(publicKeyOf(objectKey))).toBe(false);
    expect(certificate.publicKey.equals(publicKeyOf(objectKey))).toBe(true);
    expect(certificate.subject).toBe("CN=subject");
    expect(certificate.issuer).toBe("CN=issuer");
    expect(certificate.serialNumber.length).toBeLessThanOrEqual(40);
    // The serial number hangs on what is certified alone.
    expect(certify(sound).addedToCertificate).toEqual(response.addedToCertificate);
  });

  it("leaves the algorithm to the caller who brings one", () => {
    const algorithm = element(Tag.SEQUENCE, objectIdentifier("1.2.840.10045.4.3.2"));
    const brought = partial(algorithm, ...names, extensions(DIGITAL_SIGNATURE));
    const response = certify(brought);
    expect(assembled(brought, response).verify(publicKeyOf(ecc))).toBe(true);
    const added = readElements(readElement(response.addedToCertificate, Tag.SEQUENCE)!.content)!;
    expect(added.map(({ tag }) => tag)).toEqual([Tag.CONTEXT, Tag.INTEGER, Tag.SEQUENCE]);
  });

  it("certifies RSA keys and signs by RSA, each scheme with its identifier", () => {
    const rsa = createPrimary(
      client,
      rsaTemplate({ objectAttributes: fixedKey | sign, parameters: { symmetric: noSymmetric } }),
    );
    const { handle } = rsa;
    for (const inScheme of [
      scheme(Alg.RSASSA),
      scheme(Alg.RSASSA, Alg.SHA1),
      scheme(Alg.RSAPSS),
      scheme(Alg.RSAPSS, Alg.SHA1),
    ]) {
      const certificate = assembled(
        sound,
        certify(sound, { objectHandle: handle, signHandle: handle, inScheme }),
      );
      expect(certificate.verify(publicKeyOf(rsa))).toBe(true);
      expect(certificate.publicKey.equals(publicKeyOf(rsa))).toBe(true);
    }
    client.run("FlushContext", {}, { flushHandle: handle });
  });

  it("is for keys that sign, by schemes that certificates know, of keys that they know", () => {
    const storage = createPrimary(client, eccTemplate());
    expect(rc(sound, { signHandle: storage.handle })).toBe(ofHandle(Rc.KEY, 1));
    client.run("FlushContext", {}, { flushHandle: storage.handle });
    expect(rc(sound, { signHandle: Rh.NULL })).toBe(ofHandle(Rc.KEY, 1));
    expect(rc(sound, { inScheme: scheme(Alg.ECSCHNORR) })).toBe(ofParameter(Rc.SCHEME, 2));
    const { handle: signHandle } = objectKey;
    expect(rc(sound, { signHandle, inScheme: scheme(Alg.ECSCHNORR) })).toBe(ofHandle(Rc.SCHEME, 1));
    const hmac = loadKey(client, keyedHash(new Uint8Array(20), hmacScheme(Alg.SHA256)));
    expect(rc(sound, { objectHandle: hmac })).toBe(ofHandle(Rc.ASYMMETRIC, 2));
    expect(rc(sound, { signHandle: hmac })).toBe(ofHandle(Rc.SCHEME, 1));
    client.run("FlushContext", {}, { flushHandle: hmac });
    expect(rc(sound, { reserved: Uint8Array.of(0) })).toBe(ofParameter(Rc.SIZE, 1));
  });

  it("wants issuer, validity, subject and extensions in one sequence, and nothing else", () => {
    const VALUE = ofParameter(Rc.VALUE, 3);
    const SIZE = ofParameter(Rc.SIZE, 3);
    const [issuer, , subject] = names as [Uint8Array, Uint8Array, Uint8Array];
    const usage = extensions(DIGITAL_SIGNATURE);
    expect(rc(empty)).toBe(VALUE);
    expect(rc(concat(sound, Uint8Array.of(0)))).toBe(SIZE);
    expect(rc(sound.subarray(0, sound.length - 1))).toBe(SIZE);
    expect(rc(element(0x31, ...names, usage))).toBe(SIZE);
    expect(rc(partial(issuer, subject, usage))).toBe(VALUE);
    expect(rc(partial(...names, ...names, usage))).toBe(VALUE);
    expect(rc(partial(...names))).toBe(VALUE);
    expect(rc(partial(...names, usage, usage))).toBe(VALUE);
    expect(rc(partial(...names, usage, unsigned(Uint8Array.of(1))))).toBe(VALUE);
    expect(rc(partial(issuer, usage, validity, subject))).toBe(VALUE);
    expect(rc(partial(issuer, validity, unsigned(Uint8Array.of(1)), subject, usage))).toBe(VALUE);
    // A length in more octets than it takes.
    expect(rc(partial(...names, concat(usage.subarray(0, 1), Uint8Array.of(0x81), usage.subarray(1))))).toBe(
      VALUE,
    );
  });

  it("wants a key usage, once, as a bit string", () => {
    const VALUE = ofParameter(Rc.VALUE, 3);
    const withExtensions = (...list: readonly Uint8Array[]): number =>
      rc(partial(...names, extensions(...list)));
    const basic = extension("2.5.29.19", element(Tag.SEQUENCE));
    expect(withExtensions(basic, DIGITAL_SIGNATURE)).toBe(Rc.SUCCESS);
    expect(withExtensions()).toBe(VALUE);
    expect(withExtensions(basic)).toBe(VALUE);
    expect(withExtensions(DIGITAL_SIGNATURE, DIGITAL_SIGNATURE)).toBe(VALUE);
    expect(withExtensions(DIGITAL_SIGNATURE, unsigned(Uint8Array.of(1)))).toBe(VALUE);
    expect(withExtensions(extension("2.5.29.15", unsigned(Uint8Array.of(0x80))))).toBe(VALUE);
    for (const bits of [[], [8, 0x80], [1], [7, 0xff], [0, 0x80, 0, 0, 0, 0]])
      expect(withExtensions(keyUsage(...bits))).toBe(VALUE);
    expect(withExtensions(keyUsage(0))).toBe(Rc.SUCCESS);
    expect(withExtensions(keyUsage(6, 0, 0x40))).toBe(ofParameter(Rc.RESERVED_BITS, 3));
  });

  it("lets the key be used only as its attributes allow", () => {
    const usages = {
      digitalSignature: [7, 0x80],
      nonRepudiation: [6, 0x40],
      keyEncipherment: [5, 0x20],
      dataEncipherment: [4, 0x10],
      keyAgreement: [3, 0x08],
      keyCertSign: [2, 0x04],
      cRLSign: [1, 0x02],
      encipherOnly: [0, 0x01],
      decipherOnly: [7, 0, 0x80],
    };
    const allowed = (objectHandle: number): string[] =>
      Object.entries(usages)
        .filter(([, bits]) => rc(partial(...names, extensions(keyUsage(...bits))), { objectHandle }) === 0)
        .map(([name]) => name);
    const ofSigning = ["digitalSignature", "keyCertSign", "cRLSign"];
    const ofDecrypting = ["dataEncipherment", "keyAgreement", "encipherOnly", "decipherOnly"];
    const base = userWithAuth | noDA;
    const external = (attributes: number): string[] =>
      withKey(client, eccKey(Curve.NIST_P256, Uint8Array.of(7), noScheme, attributes), allowed);
    expect(external(signing)).toEqual(ofSigning);
    expect(external(base | decrypt)).toEqual(ofDecrypting);
    expect(allowed(objectKey.handle).sort()).toEqual([...ofSigning, "nonRepudiation"].sort());
    const storage = createPrimary(client, eccTemplate({ objectAttributes: fixedKey | restricted | decrypt }));
    expect(allowed(storage.handle).sort()).toEqual(
      [...ofDecrypting, "keyEncipherment", "nonRepudiation"].sort(),
    );
    client.run("FlushContext", {}, { flushHandle: storage.handle });
  });

  it("tells of TPMA_OBJECT only what is so", () => {
    const { objectAttributes } = objectKey.outPublic;
    const told = (attributes: number): number =>
      rc(partial(...names, extensions(attributesOf(attributes), DIGITAL_SIGNATURE)));
    expect(told(objectAttributes)).toBe(Rc.SUCCESS);
    expect(told(objectAttributes ^ fixedTPM)).toBe(ofHandle(Rc.ATTRIBUTES, 2));
    expect(told(0)).toBe(ofHandle(Rc.ATTRIBUTES, 2));
  });

  it("answers any bytes with one of its codes", () => {
    const codes = [
      Rc.SUCCESS,
      ofParameter(Rc.SIZE, 3),
      ofParameter(Rc.VALUE, 3),
      ofParameter(Rc.RESERVED_BITS, 3),
      ofHandle(Rc.ATTRIBUTES, 2),
    ];
    const { objectAttributes } = objectKey.outPublic;
    const whole = partial(...names, extensions(attributesOf(objectAttributes), DIGITAL_SIGNATURE));
    const change = fc.record({ at: fc.nat(whole.length - 1), to: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        const bytes = Uint8Array.from(whole);
        for (const { at, to } of changes) bytes[at] = to;
        expect(codes).toContain(rc(bytes));
      }),
      { numRuns: 150 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(codes).toContain(rc(element(Tag.SEQUENCE, bytes)));
      }),
      { numRuns: 100 },
    );
  });
});
