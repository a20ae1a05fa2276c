import { webcrypto, X509Certificate } from "node:crypto";
import { MalformedError } from "@entresol/wire";
import { integer as anyInteger, assert as check, property } from "fast-check";
import * as pkijs from "pkijs";
import { describe, expect, test } from "vitest";
import { defaultProvider } from "../crypto/default-provider.ts";
import {
  bits,
  boolean,
  der,
  explicit,
  identifier,
  integer,
  octets,
  sequence,
  time,
} from "../testing/der-writer.ts";
import { basicConstraints, certificate, crl, keyPair, keyUsage, sha256 } from "../testing/pki.ts";
import { BoundedMap, CertificateCache } from "./cache.ts";
import { commonName, KeyUsage, nameAttributes, parseCertificate } from "./certificate.ts";
import { parseCrl } from "./crl.ts";
import { DerReader, ecdsaSignature, readDer, Tag } from "./der.ts";

pkijs.setEngine(
  "node",
  new pkijs.CryptoEngine({
    name: "node",
    crypto: webcrypto as unknown as NonNullable<pkijs.CryptoEngineParameters["crypto"]>,
  }),
);

const codeOf = (read: () => unknown): string => {
  try {
    read();
  } catch (error) {
    if (error instanceof MalformedError) return `${error.code} at ${error.offset}`;
    throw error;
  }
  return "read";
};

describe("DER is read strictly", () => {
  const unsigned = (bytes: Uint8Array) => readDer(bytes, (reader) => reader.unsigned());
  test.each<[string, number[], string]>([
    ["an indefinite length", [0x02, 0x80, 0, 0], "bad-value at 1"],
    ["a length of 1 in two bytes", [0x02, 0x81, 0x01, 5], "bad-value at 1"],
    ["a length of 128 in three bytes", [0x02, 0x82, 0x00, 0x80, ...new Array(128).fill(1)], "bad-value at 1"],
    ["a length of four bytes", [0x02, 0x84, 0, 0, 0, 1, 5], "bad-value at 1"],
    ["a length past the end", [0x02, 0x02, 5], "truncated at 0"],
    ["a length that is cut", [0x02, 0x82, 0x01], "truncated at 1"],
    ["nothing", [], "truncated at 0"],
    ["another tag", [0x04, 0x01, 5], "bad-value at 0"],
    ["no content", [0x02, 0x00], "bad-value at 0"],
    ["a negative number", [0x02, 0x01, 0x80], "bad-value at 0"],
    ["a superfluous zero", [0x02, 0x02, 0x00, 0x05], "bad-value at 0"],
    ["a byte behind", [0x02, 0x01, 0x05, 0x00], "trailing-bytes at 3"],
  ])("%s", (_name, bytes, code) => expect(codeOf(() => unsigned(Uint8Array.from(bytes)))).toBe(code));

  test("0xdb is an INTEGER of two bytes", () => {
    expect(integer(0xdb)).toEqual(Uint8Array.of(2, 2, 0, 0xdb));
    expect(unsigned(integer(0xdb))).toEqual(Uint8Array.of(0xdb));
  });

  test("BOOLEAN is 00 or ff, BIT STRING of whole bytes, identifiers in their shortest form", () => {
    expect(codeOf(() => readDer(Uint8Array.of(1, 1, 1), (reader) => reader.boolean()))).toBe(
      "bad-value at 0",
    );
    expect(readDer(boolean(true), (reader) => reader.boolean())).toBe(true);
    expect(codeOf(() => readDer(bits(Uint8Array.of(8), 3), (reader) => reader.bits()))).toBe(
      "bad-value at 0",
    );
    expect(readDer(identifier("1.3.6.1.4.1.3704.1.3.8"), (reader) => reader.identifier())).toBe(
      "1.3.6.1.4.1.3704.1.3.8",
    );
    expect(readDer(identifier("2.16.840.1"), (reader) => reader.identifier())).toBe("2.16.840.1");
    expect(
      codeOf(() => readDer(der(Tag.OBJECT_IDENTIFIER, Uint8Array.of(0x2a, 0x80, 1)), (r) => r.identifier())),
    ).toBe("bad-value at 0");
  });

  test("times are RFC 5280's, and of the calendar", () => {
    const at =
      (text: string, tag: number = Tag.UTC_TIME) =>
      () =>
        readDer(der(tag, new TextEncoder().encode(text)), (reader) => reader.time());
    expect(at("491231235959Z")()).toBe(Date.UTC(2049, 11, 31, 23, 59, 59));
    expect(at("500101000000Z")()).toBe(Date.UTC(1950, 0, 1));
    expect(at("20500101000000Z", Tag.GENERALIZED_TIME)()).toBe(Date.UTC(2050, 0, 1));
    for (const wrong of [
      "4912312359Z",
      "491231235959",
      "490231000000Z",
      "491301000000Z",
      "490101240000Z",
      "490101000000+0100",
    ])
      expect(codeOf(at(wrong)), wrong).toBe("bad-value at 0");
    expect(readDer(time("2033-05-21T10:45:10Z"), (reader) => reader.time())).toBe(
      Date.parse("2033-05-21T10:45:10Z"),
    );
  });

  test("an ECDSA signature is one pair of numbers that fit, padded in front", () => {
    const good = sequence(integer(5), integer(0xdb));
    expect(ecdsaSignature(good, 32)?.slice(31, 32)).toEqual(Uint8Array.of(5));
    expect(ecdsaSignature(good, 32)?.slice(63)).toEqual(Uint8Array.of(0xdb));
    expect(ecdsaSignature(Uint8Array.of(...good, 0), 32)).toBeUndefined();
    expect(ecdsaSignature(sequence(integer(5), integer(5), integer(5)), 32)).toBeUndefined();
    expect(ecdsaSignature(sequence(integer(new Uint8Array(33).fill(1)), integer(5)), 32)).toBeUndefined();
    expect(ecdsaSignature(new Uint8Array(0), 32)).toBeUndefined();
  });
});

const ca = { name: "a CA", key: keyPair("P-256", "ca") };
const leaf = keyPair("P-256", "leaf");
const good = certificate({
  subject: "a leaf",
  key: leaf,
  issuer: ca,
  serial: 0x1234,
  extensions: [basicConstraints(true, 2), keyUsage(KeyUsage.keyCertSign)],
});

describe("a certificate", () => {
  test("is taken apart as Node and pkijs do", () => {
    const ours = parseCertificate(good);
    const node = new X509Certificate(good);
    expect([commonName(ours.subject), commonName(ours.issuer)]).toEqual(["a leaf", "a CA"]);
    expect(Buffer.from(ours.serial).toString("hex").toUpperCase()).toBe(node.serialNumber);
    expect([ours.notBefore, ours.notAfter]).toEqual([Date.parse(node.validFrom), Date.parse(node.validTo)]);
    expect([...ours.spki]).toEqual([...node.publicKey.export({ type: "spki", format: "der" })]);
    expect(ours).toMatchObject({
      ca: true,
      pathLength: 2,
      keyUsage: KeyUsage.keyCertSign,
      scheme: { name: "ecdsa", hash: "sha256" },
    });
    const theirs = pkijs.Certificate.fromBER(good);
    expect([...ours.tbs]).toEqual([...theirs.tbsView]);
    expect([...ours.extensions.keys()]).toEqual(theirs.extensions?.map(({ extnID }) => extnID));
  });

  test.each(["P-256", "P-384", "rsa-2048"] as const)(
    "signed by %s verifies here and by pkijs, and forged by neither",
    async (kind) => {
      const issuer = { name: "an issuer", key: keyPair(kind, "issuer") };
      const root = pkijs.Certificate.fromBER(certificate({ subject: issuer.name, key: issuer.key }));
      for (const forged of [false, true]) {
        const one = certificate({ subject: "x", key: leaf, issuer, forged });
        const cache = new CertificateCache(defaultProvider());
        const known = await cache.certificate(one);
        const theirs = await pkijs.Certificate.fromBER(one)
          .verify(root)
          .catch(() => false);
        expect([await cache.signedBy(known.certificate, known.hash, issuer.key.spki), theirs]).toEqual([
          !forged,
          !forged,
        ]);
      }
    },
  );

  test("names its attributes in order", () => {
    expect(nameAttributes(parseCertificate(good).subject)).toEqual([["CN", "a leaf"]]);
  });

  const version = sequence(explicit(0, integer(1)));
  test.each<[string, () => Uint8Array, string]>([
    [
      "of version 2",
      () => sequence(version, sequence(identifier("1.2.840.10045.4.3.2")), bits(new Uint8Array(8))),
      "bad-version",
    ],
    ["with a byte behind it", () => Uint8Array.of(...good, 0), "trailing-bytes"],
    [
      "signed with SHA-1",
      () => certificate({ subject: "x", key: leaf, issuer: ca, scheme: "ecdsa-sha1" }),
      "bad-value",
    ],
    [
      "whose signed part names another algorithm",
      () => certificate({ subject: "x", key: leaf, issuer: ca, innerScheme: "ecdsa-sha384" }),
      "bad-value",
    ],
    [
      "with an extension twice",
      () =>
        certificate({
          subject: "x",
          key: leaf,
          issuer: ca,
          extensions: [basicConstraints(true), basicConstraints(false)],
        }),
      "bad-value",
    ],
    [
      "with a key usage of no bytes",
      () =>
        certificate({
          subject: "x",
          key: leaf,
          issuer: ca,
          extensions: [{ id: "2.5.29.15", value: bits(new Uint8Array(0)) }],
        }),
      "bad-value",
    ],
    [
      "with basic constraints that go on",
      () =>
        certificate({
          subject: "x",
          key: leaf,
          issuer: ca,
          extensions: [{ id: "2.5.29.19", value: sequence(boolean(true), integer(1), integer(1)) }],
        }),
      "trailing-bytes",
    ],
    [
      "with basic constraints in an OCTET STRING",
      () =>
        certificate({
          subject: "x",
          key: leaf,
          issuer: ca,
          extensions: [{ id: "2.5.29.19", value: octets(sequence(boolean(true))) }],
        }),
      "bad-value",
    ],
  ])("%s is refused", (_name, make, code) =>
    expect(codeOf(() => parseCertificate(make()))).toMatch(new RegExp(`^${code} at`)),
  );

  test("cut anywhere it is refused", () => {
    for (let size = 0; size < good.length; size++)
      expect(codeOf(() => parseCertificate(good.subarray(0, size)))).not.toBe("read");
  });

  test("with any byte changed it gives a certificate or MalformedError, and never a valid signature", async () => {
    const cache = new CertificateCache(defaultProvider());
    for (let at = 0; at < good.length; at++) {
      const changed = good.slice();
      changed[at] = (changed[at] as number) ^ 0x01;
      if (codeOf(() => parseCertificate(changed)) !== "read") continue;
      const known = await cache.certificate(changed);
      // pkijs reads the same bytes more loosely, and does not find the signature good either.
      expect(await cache.signedBy(known.certificate, known.hash, ca.key.spki), `byte ${at}`).toBe(false);
    }
  });

  test("any bytes in its place give MalformedError", () => {
    check(
      property(
        anyInteger({ min: 0, max: good.length - 1 }),
        anyInteger({ min: 0, max: 255 }),
        (at, value) => {
          const changed = good.slice();
          changed[at] = value;
          expect(codeOf(() => parseCertificate(changed))).toBeTypeOf("string");
        },
      ),
    );
  });
});

describe("a revocation list", () => {
  const list = crl({ issuer: ca, revoked: [{ serial: 5 }, { serial: 0x1234 }] });

  test("is taken apart as pkijs does, and finds serial numbers", () => {
    const ours = parseCrl(list);
    const theirs = pkijs.CertificateRevocationList.fromBER(list);
    expect(ours.count).toBe(theirs.revokedCertificates?.length);
    expect(ours.thisUpdate).toBe(theirs.thisUpdate.value.getTime());
    expect(ours.nextUpdate).toBe(theirs.nextUpdate?.value.getTime());
    expect([5, 6, 0x34].map((serial) => ours.revokes(Uint8Array.of(serial)))).toEqual([true, false, false]);
    expect(ours.revokes(Uint8Array.of(0x12, 0x34))).toBe(true);
    expect(parseCrl(crl({ issuer: ca })).revokes(Uint8Array.of(5))).toBe(false);
  });

  test("with an entry of another issuer, or a critical extension of an entry that is not known, is refused", () => {
    const other = crl({
      issuer: ca,
      revoked: [{ serial: 5, extensions: [{ id: "2.5.29.29", critical: true, value: sequence() }] }],
    });
    expect(codeOf(() => parseCrl(other))).toMatch(/^bad-value/);
    const reason = crl({
      issuer: ca,
      revoked: [{ serial: 5, extensions: [{ id: "2.5.29.21", value: Uint8Array.of(10, 1, 1) }] }],
    });
    expect(parseCrl(reason).count).toBe(1);
  });

  test("with an extension of an entry twice, or of a part of all entries, is refused", () => {
    const reason = { id: "2.5.29.21", value: Uint8Array.of(10, 1, 1) };
    const twice = crl({ issuer: ca, revoked: [{ serial: 5, extensions: [reason, reason] }] });
    expect(codeOf(() => parseCrl(twice))).toMatch(/^bad-value/);
    const two = crl({
      issuer: ca,
      revoked: [{ serial: 5, extensions: [reason, { id: "2.5.29.24", value: Uint8Array.of(5, 0) }] }],
    });
    expect(parseCrl(two).count).toBe(1);
    for (const id of ["2.5.29.27", "2.5.29.28"])
      expect(codeOf(() => parseCrl(crl({ issuer: ca, extensions: [{ id, value: integer(1) }] })))).toMatch(
        /^bad-value/,
      );
  });

  test("cut anywhere, with a byte behind it, or malformed behind its first entry it is refused", () => {
    for (let size = 0; size < list.length; size++)
      expect(codeOf(() => parseCrl(list.subarray(0, size)))).not.toBe("read");
    expect(codeOf(() => parseCrl(Uint8Array.of(...list, 0)))).toMatch(/^trailing-bytes/);
  });
});

test("the cache gives a certificate once, forgets the oldest, and keeps no failure", async () => {
  const cache = new CertificateCache(defaultProvider(), 2);
  const known = await cache.certificate(good);
  expect(await cache.certificate(good)).toBe(known);
  expect(known.hash).toBe(sha256(good));
  expect(await cache.signedBy(known.certificate, known.hash, leaf.spki)).toBe(false);
  expect(await cache.signedBy(known.certificate, known.hash, ca.key.spki)).toBe(true);
  for (const serial of [1, 2])
    await cache.certificate(certificate({ subject: "x", key: leaf, issuer: ca, serial }));
  expect(await cache.certificate(good)).not.toBe(known);
});

test("a bounded map keeps what is used, and no more than it may", () => {
  const map = new BoundedMap<number>(8);
  for (let i = 0; i < 100; i++) {
    map.set(`${i}`, i);
    map.set("used", -1);
    expect(map.get("used")).toBe(-1);
    expect(map.size).toBeLessThanOrEqual(8);
  }
  expect(map.get("0")).toBeUndefined();
  expect(map.get("99")).toBe(99);
});

test("what is large counts for several entries of a bounded map", () => {
  const map = new BoundedMap<number>(8);
  map.set("small", 1);
  map.set("large", 2, 4);
  expect(map.get("large")).toBe(2);
  map.set("larger", 3, 100);
  map.set("next", 4);
  expect(map.get("small")).toBeUndefined();
  expect(map.size).toBeLessThanOrEqual(2);
  expect(map.get("next")).toBe(4);
});

test("a cache lets go of certificates that keep much memory, whoever chose it", async () => {
  const cache = new CertificateCache(defaultProvider(), 16);
  const known = await cache.certificate(good);
  const filler = new Uint8Array(1 << 20);
  for (const serial of [1, 2]) {
    const der = certificate({ subject: "x", key: leaf, issuer: ca, serial });
    const [taken] = await cache.take([der, filler]);
    await cache.certificate(taken as NonNullable<typeof taken>);
  }
  expect(await cache.certificate(good)).not.toBe(known);
});

test("a name that is none makes a certificate or a list unreadable", () => {
  const name = sequence(integer(1));
  expect(codeOf(() => parseCertificate(certificate({ subject: name, key: leaf, issuer: ca })))).toMatch(
    /^bad-value/,
  );
  expect(codeOf(() => parseCrl(crl({ issuer: { ...ca, name } })))).toMatch(/^bad-value/);
});

test("a reader inside a value sees nothing behind it", () => {
  const bytes = sequence(sequence(integer(1)), integer(2));
  const outer = new DerReader(bytes).enter(Tag.SEQUENCE);
  const inner = outer.enter(Tag.SEQUENCE);
  expect(inner.smallInteger()).toBe(1);
  expect(inner.more).toBe(false);
  expect(codeOf(() => inner.unsigned())).toMatch(/^truncated/);
  expect(outer.smallInteger()).toBe(2);
});
