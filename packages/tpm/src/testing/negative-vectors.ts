import {
  createCipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  constants as cryptoConstants,
  type KeyObject,
  verify as nodeVerify,
  privateDecrypt,
  publicEncrypt,
} from "node:crypto";
import {
  Alg,
  algorithmName,
  type CommandName,
  Curve,
  curveSizes,
  type EccPoint,
  noScheme,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  type RsaPublic,
  type Signature,
  St,
  TPMT_SIGNATURE,
  TpmError,
} from "@entresol/tpm-types";
import { parametersOf } from "../crypto/curves.ts";
import { modulo, power, toBytes, toInteger } from "../crypto/integers.ts";
import { mgf1 } from "../crypto/kdf.ts";
import { nodeProvider as crypto } from "../crypto/node-provider.ts";
import type { RsaPrivate } from "../crypto/provider.ts";
import { concat, u16 } from "../engine.ts";
import type { TpmClient } from "./client.ts";
import {
  decrypting,
  eccKey,
  hmacScheme,
  keyedHash,
  loadKey,
  rsaKey,
  signing,
  symmetricKey,
  withKey,
} from "./external-keys.ts";
import { flush, marshal } from "./objects.ts";

/*
 * Signatures, ciphertexts, points and keys that are nearly right, in the manner of Wycheproof: each with the response code that it must have. What is
 * valid and what is not is said by `node:crypto` where that knows the scheme, else by the scheme's own equation.
 */

/** One command, with the code that it must be answered by and the one that it was. */
export interface NegativeResult {
  readonly title: string;
  readonly expected: number;
  readonly found: number;
}

/** What vectors are made with: a TPM with three free slots, and bytes drawn for them. */
export interface NegativeBench {
  readonly client: TpmClient;
  readonly random: (length: number) => Uint8Array;
  /** An RSA-2048 key. */
  readonly rsa: RsaPrivate;
  /** With r and s wrong at once, and every curve's points to every command: that takes seconds. */
  readonly thorough?: boolean;
}

const empty = new Uint8Array(0);
const BAD = ofParameter(Rc.SIGNATURE, 2);
const VALID = Rc.SUCCESS;
const hashes = [Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512] as const;
const hashName = (hash: number): string => algorithmName(hash).toLowerCase().replace("_", "-");
const digestOf = (hash: number, message: Uint8Array): Uint8Array =>
  new Uint8Array(createHash(hashName(hash)).update(message).digest());
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
const flipped = (bytes: Uint8Array, at: number, bit = 0): Uint8Array =>
  bytes.map((byte, i) => (i === at ? byte ^ (1 << bit) : byte));
const of = (...bytes: readonly number[]): Uint8Array => Uint8Array.from(bytes);
const filled = (length: number, value: number): Uint8Array => new Uint8Array(Math.max(0, length)).fill(value);

/** The code of a command whose parameters are bytes. */
function codeOf(
  client: TpmClient,
  name: CommandName,
  handles: readonly number[],
  parameters: Uint8Array,
): number {
  try {
    const { handle } = client.runBytes(name, handles, parameters);
    if (name === "LoadExternal" || name === "StartAuthSession") flush(client, handle);
    return Rc.SUCCESS;
  } catch (error) {
    if (error instanceof TpmError) return error.rc;
    throw error;
  }
}

const sized = (bytes: Uint8Array): Uint8Array => concat(u16(bytes.length), bytes);

function verifyCode(client: TpmClient, key: number, digest: Uint8Array, signature: Signature): number {
  return codeOf(client, "VerifySignature", [key], concat(sized(digest), marshal(TPMT_SIGNATURE, signature)));
}

const rsaNodeKey = ({ modulus, exponent }: RsaPrivate): KeyObject =>
  createPublicKey({
    key: { kty: "RSA", n: base64(modulus), e: base64(toBytes(BigInt(exponent || 65_537), 4)) },
    format: "jwk",
  });

const prefixes = new Map<number, string>([
  [Alg.SHA1, "3021300906052b0e03021a05000414"],
  [Alg.SHA256, "3031300d060960864801650304020105000420"],
  [Alg.SHA384, "3041300d060960864801650304020205000430"],
  [Alg.SHA512, "3051300d060960864801650304020305000440"],
]);
const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

/** Values next to a number that a signature may not have, whatever it says. */
function* blocksAround(modulus: Uint8Array): Iterable<[string, Uint8Array]> {
  const n = toInteger(modulus);
  const size = modulus.length;
  yield ["0", filled(size, 0)];
  yield ["1", toBytes(1n, size)];
  yield ["n - 1", toBytes(n - 1n, size)];
  yield ["n", modulus];
  yield ["n + 1", toBytes(n + 1n, size)];
  yield ["all ones", filled(size, 255)];
  yield ["nothing", empty];
}

/** Lengths that are not the modulus's. */
function* wrongLengths(value: Uint8Array): Iterable<[string, Uint8Array]> {
  yield ["without its first byte", value.subarray(1)];
  yield ["without its last byte", value.subarray(0, -1)];
  yield ["with a zero in front", concat(of(0), value)];
  yield ["with a zero behind", concat(value, of(0))];
  yield ["its first half", value.subarray(0, value.length >> 1)];
}

function* rsassa({ client, random, rsa }: NegativeBench): Iterable<NegativeResult> {
  const nodeKey = rsaNodeKey(rsa);
  const size = rsa.modulus.length;
  const key = loadKey(client, rsaKey(rsa, noScheme, signing), true);
  for (const hash of hashes) {
    const message = random(20);
    const digest = digestOf(hash, message);
    const info = concat(hex(prefixes.get(hash)!), digest);
    const padded = (content: Uint8Array, lead = of(0, 1), pad = 255, separator = of(0)): Uint8Array => {
      const length = size - lead.length - separator.length - content.length;
      return concat(lead, filled(length, pad), separator, content);
    };
    const other = hash === Alg.SHA256 ? Alg.SHA512 : Alg.SHA256;
    const [algorithm, own] = [info.subarray(2, info.length - 2 - digest.length), sized(digest).subarray(1)];
    const identifier = algorithm.subarray(2, -2);
    const sequence = (tag: number, ...parts: readonly Uint8Array[]): Uint8Array => {
      const content = concat(...parts);
      return concat(of(tag, content.length), content);
    };
    const digestInfo = (inner: Uint8Array): Uint8Array => sequence(0x30, inner, of(4), own);
    const right = padded(info);
    const blocks: readonly [string, Uint8Array][] = [
      ["right", right],
      ["type 0", padded(info, of(0, 0))],
      ["type 2", padded(info, of(0, 2))],
      ["first byte 1", padded(info, of(1, 1))],
      ["padding of zeros", padded(info, of(0, 1), 0)],
      ["padding of FE", padded(info, of(0, 1), 0xfe)],
      ["one byte of the padding", flipped(right, 50)],
      ["no separator", padded(info, of(0, 1), 255, empty)],
      ["another separator", padded(info, of(0, 1), 255, of(1))],
      ["two separators", padded(info, of(0, 1), 255, of(0, 0))],
      [
        "eight bytes of padding and garbage behind",
        concat(of(0, 1), filled(8, 255), of(0), info, random(size - 11 - info.length)),
      ],
      [
        "garbage before the digest",
        concat(of(0, 1), filled(8, 255), of(0), random(size - 11 - digest.length), digest),
      ],
      ["parameters left out", padded(digestInfo(sequence(0x30, identifier)))],
      ["parameters that are not NULL", padded(digestInfo(sequence(0x30, identifier, of(4, 0))))],
      ["NULL with a content", padded(digestInfo(sequence(0x30, identifier, of(5, 1, 0))))],
      ["more behind the parameters", padded(digestInfo(sequence(0x30, identifier, of(5, 0), of(5, 0))))],
      ["a length in two bytes", padded(concat(of(0x30, 0x81), info.subarray(1)))],
      ["a length without end", padded(concat(of(0x30, 0x80), info.subarray(2), of(0, 0)))],
      ["another tag", padded(flipped(info, 0, 1))],
      ["another hash's identifier", padded(concat(hex(prefixes.get(other)!), digest))],
      ["no identifier", padded(digest)],
      ["the digest cut short", padded(info.subarray(0, -1))],
      ["a byte behind the digest", padded(concat(info, of(0)))],
      ["a bit of the digest", padded(flipped(info, info.length - 1, 7))],
      ["the digest of zeros", padded(concat(hex(prefixes.get(hash)!), filled(digest.length, 0)))],
    ];
    const right2 = crypto.rsaPrivate(rsa, right)!;
    const signatures: [string, Uint8Array][] = [
      ...blocks.map(([title, block]): [string, Uint8Array] => [title, crypto.rsaPrivate(rsa, block)!]),
      ...blocksAround(rsa.modulus),
      ...wrongLengths(right2),
      ["n less the signature", toBytes(toInteger(rsa.modulus) - toInteger(right2), size)],
    ];
    const sum = toInteger(rsa.modulus) + toInteger(right2);
    if (sum < 1n << BigInt(8 * size)) signatures.push(["n more than the signature", toBytes(sum, size)]);
    for (const [title, sig] of signatures) {
      const holds = nodeVerify(hashName(hash), message, nodeKey, sig);
      const found = verifyCode(client, key, digest, { sigAlg: Alg.RSASSA, hash, sig });
      yield { title: `RSASSA ${hashName(hash)}: ${title}`, expected: holds ? VALID : BAD, found };
      if (holds !== (title === "right"))
        yield { title: `RSASSA oracle: ${title}`, expected: VALID, found: BAD };
    }
    for (const wrong of hashes) {
      const found = verifyCode(client, key, digest, { sigAlg: Alg.RSASSA, hash: wrong, sig: right2 });
      yield {
        title: `RSASSA ${hashName(hash)} said to be ${hashName(wrong)}`,
        expected: wrong === hash ? VALID : BAD,
        found,
      };
    }
    const pss: Signature = { sigAlg: Alg.RSAPSS, hash, sig: right2 };
    yield { title: "RSASSA said to be RSAPSS", expected: BAD, found: verifyCode(client, key, digest, pss) };
    const ecdsa: Signature = { sigAlg: Alg.ECDSA, hash, r: of(1), s: of(1) };
    const scheme = ofParameter(Rc.SCHEME, 2);
    yield { title: "ECDSA of an RSA key", expected: scheme, found: verifyCode(client, key, digest, ecdsa) };
    const tooLong = concat(sized(digest), u16(Alg.RSASSA), u16(hash), sized(filled(513, 1)));
    yield {
      title: "a signature longer than any key",
      expected: ofParameter(Rc.SIZE, 2),
      found: codeOf(client, "VerifySignature", [key], tooLong),
    };
  }
  flush(client, key);
}

function* rsapss({ client, random, rsa }: NegativeBench): Iterable<NegativeResult> {
  const nodeKey = rsaNodeKey(rsa);
  const size = rsa.modulus.length;
  const key = loadKey(client, rsaKey(rsa, noScheme, signing), true);
  const padding = cryptoConstants.RSA_PKCS1_PSS_PADDING;
  const saltLength = cryptoConstants.RSA_PSS_SALTLEN_AUTO;
  for (const hash of hashes) {
    const message = random(20);
    const digest = digestOf(hash, message);
    const other = hash === Alg.SHA256 ? Alg.SHA512 : Alg.SHA256;
    interface Making {
      readonly salt?: Uint8Array;
      readonly m?: Uint8Array;
      readonly maskHash?: number;
      readonly trailer?: number;
      readonly topBits?: number;
      readonly change?: (db: Uint8Array) => void;
      readonly zeros?: number;
    }
    const encoded = ({
      salt = random(digest.length),
      m = digest,
      maskHash = hash,
      trailer = 0xbc,
      topBits = 0,
      change,
      zeros = 8,
    }: Making): Uint8Array => {
      const h = crypto.hash(hash, filled(zeros, 0), m, salt);
      const db = filled(size - h.length - 1, 0);
      db[db.length - salt.length - 1] = 1;
      db.set(salt, db.length - salt.length);
      change?.(db);
      const mask = mgf1(crypto, maskHash, h, db.length);
      const masked = db.map((byte, i) => byte ^ mask[i]!);
      masked[0] = (masked[0]! & 0x7f) | topBits;
      return concat(masked, h, of(trailer));
    };
    const longest = size - digest.length - 2;
    const makings: readonly [string, Making][] = [
      ["right", {}],
      ["no salt", { salt: empty }],
      ["one byte of salt", { salt: random(1) }],
      ["the longest salt", { salt: random(longest) }],
      ["another digest", { m: flipped(digest, 0) }],
      ["a mask of another hash", { maskHash: other }],
      ["another trailer", { trailer: 0xbb }],
      ["the trailer CC of ISO 9796", { trailer: 0xcc }],
      ["no separator", { change: (db) => db.fill(0, 0, longest) }],
      ["another separator", { change: (db) => db.set([2], db.length - digest.length - 1) }],
      ["padding that is not zero", { change: (db) => db.set([0x80], 5) }],
      ["the lowest bit of the padding", { change: (db) => db.set([1], 1) }],
      ["seven zeros in the hash", { zeros: 7 }],
      ["nine zeros in the hash", { zeros: 9 }],
    ];
    const right = crypto.rsaPrivate(rsa, encoded({}))!;
    const signatures: [string, Uint8Array | undefined][] = [
      ...makings.map(([title, making]): [string, Uint8Array | undefined] => [
        title,
        crypto.rsaPrivate(rsa, encoded(making)),
      ]),
      // Above the modulus it is no number that could be signed.
      ["the highest bit", crypto.rsaPrivate(rsa, encoded({ topBits: 0x80 }))],
      ...blocksAround(rsa.modulus),
      ...wrongLengths(right),
    ];
    for (const [title, sig] of signatures) {
      if (sig === undefined) continue;
      const holds = nodeVerify(hashName(hash), message, { key: nodeKey, padding, saltLength }, sig);
      const found = verifyCode(client, key, digest, { sigAlg: Alg.RSAPSS, hash, sig });
      yield { title: `RSAPSS ${hashName(hash)}: ${title}`, expected: holds ? VALID : BAD, found };
    }
    const said = verifyCode(client, key, digest, { sigAlg: Alg.RSAPSS, hash: other, sig: right });
    yield { title: `RSAPSS ${hashName(hash)} said to be ${hashName(other)}`, expected: BAD, found: said };
  }
  flush(client, key);
}

const curveNames = new Map<number, string>([
  [Curve.NIST_P256, "P-256"],
  [Curve.NIST_P384, "P-384"],
  [Curve.NIST_P521, "P-521"],
]);

/** Pairs next to a good one, with what is expected of those that no oracle is asked about. */
function* pairsAround(
  curve: number,
  r: bigint,
  s: bigint,
  thorough = false,
): Iterable<[string, bigint, bigint]> {
  const { n, p } = parametersOf(curve);
  const size = BigInt(8 * curveSizes.get(curve)!);
  const wrong: [string, bigint][] = [
    ["0", 0n],
    ["n", n],
    ["n + 1", n + 1n],
    ["all ones", (1n << size) - 1n],
  ];
  // What may be a signature costs the time of looking.
  if (thorough)
    wrong.push(
      ["1", 1n],
      ["2", 2n],
      ["n - 1", n - 1n],
      ["p - 1", p - 1n],
      ["p", p],
      ["a half of n", (n - 1n) / 2n],
    );
  for (const [title, value] of wrong) {
    yield [`r is ${title}`, value, s];
    yield [`s is ${title}`, r, value];
    for (const [title2, value2] of wrong) yield [`r is ${title} and s is ${title2}`, value, value2];
  }
  yield ["r and s changed for each other", s, r];
  yield ["n less r", n - r, s];
  yield ["n less s", r, n - s];
  yield ["n less both", n - r, n - s];
  yield ["n more than r", r + n, s];
  yield ["n more than s", r, s + n];
  yield ["a bit of r", r ^ 1n, s];
  yield ["a bit of s", r, s ^ 1n];
  yield ["the highest bit of r", r ^ (1n << (size - 2n)), s];
}

function* ecdsa({ client, random, thorough }: NegativeBench): Iterable<NegativeResult> {
  for (const [curve, crv] of curveNames) {
    const size = curveSizes.get(curve)!;
    const hash = curve === Curve.NIST_P521 ? Alg.SHA512 : curve === Curve.NIST_P384 ? Alg.SHA384 : Alg.SHA256;
    const key = eccKey(curve, random(size - 2), noScheme, signing);
    const { x, y } = key.publicArea.unique;
    const nodeKey = createPublicKey({ key: { kty: "EC", crv, x: base64(x), y: base64(y) }, format: "jwk" });
    const message = random(30);
    const digest = digestOf(hash, message);
    const good = crypto.ecdsaSign(curve, key.scalar, digest);
    const holds = (r: bigint, s: bigint): boolean => {
      const limit = 1n << BigInt(8 * size);
      if (r >= limit || s >= limit) return false;
      const raw = concat(toBytes(r, size), toBytes(s, size));
      return nodeVerify(hashName(hash), message, { key: nodeKey, dsaEncoding: "ieee-p1363" }, raw);
    };
    const handle = loadKey(client, key, true);
    const check = (r: Uint8Array, s: Uint8Array, over = digest): number =>
      verifyCode(client, handle, over, { sigAlg: Alg.ECDSA, hash, r, s });
    const [r, s] = [toInteger(good.r), toInteger(good.s)];
    yield { title: `ECDSA ${crv}: right`, expected: VALID, found: check(good.r, good.s) };
    for (const [title, wrongR, wrongS] of pairsAround(curve, r, s, thorough)) {
      const limit = 1n << 528n;
      if (wrongR >= limit || wrongS >= limit) continue;
      const bytes = (value: bigint): Uint8Array => toBytes(value, value < 1n << BigInt(8 * size) ? size : 66);
      const found = check(bytes(wrongR), bytes(wrongS));
      yield { title: `ECDSA ${crv}: ${title}`, expected: holds(wrongR, wrongS) ? VALID : BAD, found };
    }
    if (size < 66) {
      const found = check(concat(filled(66 - size, 0), good.r), concat(of(0), good.s));
      yield { title: `ECDSA ${crv}: zeros in front`, expected: VALID, found };
    }
    yield { title: `ECDSA ${crv}: nothing`, expected: BAD, found: check(empty, empty) };
    yield { title: `ECDSA ${crv}: no r`, expected: BAD, found: check(empty, good.s) };
    yield { title: `ECDSA ${crv}: no s`, expected: BAD, found: check(good.r, empty) };
    yield { title: `ECDSA ${crv}: r cut short`, expected: BAD, found: check(good.r.subarray(0, -1), good.s) };
    yield {
      title: `ECDSA ${crv}: another digest`,
      expected: BAD,
      found: check(good.r, good.s, flipped(digest, 0, 7)),
    };
    yield {
      title: `ECDSA ${crv}: a digest cut short`,
      expected: BAD,
      found: check(good.r, good.s, digest.subarray(0, 20)),
    };
    yield { title: `ECDSA ${crv}: no digest`, expected: BAD, found: check(good.r, good.s, empty) };
    yield {
      title: `ECDSA ${crv}: a digest of zeros`,
      expected: BAD,
      found: check(good.r, good.s, filled(digest.length, 0)),
    };
    const long = concat(sized(digest), u16(Alg.ECDSA), u16(hash), sized(filled(67, 0)), sized(good.s));
    yield {
      title: `ECDSA ${crv}: r longer than any curve's`,
      expected: ofParameter(Rc.SIZE, 2),
      found: codeOf(client, "VerifySignature", [handle], long),
    };
    flush(client, handle);
  }
}

/** ECSCHNORR and SM2, and ECDSA on the curves that `node:crypto` has no key format for: nothing next to a signature is one, but for what ECDSA allows. */
function* otherEcc({ client, random, thorough }: NegativeBench): Iterable<NegativeResult> {
  for (const curve of thorough ? curveSizes.keys() : [Curve.NIST_P224, Curve.SM2_P256]) {
    const size = curveSizes.get(curve)!;
    const { n } = parametersOf(curve);
    const key = eccKey(curve, random(size - 2), noScheme, signing);
    const schemes: (typeof Alg.ECDSA | typeof Alg.ECSCHNORR | typeof Alg.SM2)[] = [Alg.ECSCHNORR, Alg.SM2];
    if (!curveNames.has(curve)) schemes.push(Alg.ECDSA);
    for (const sigAlg of schemes) {
      const hash = Alg.SHA256;
      const digest = random(32);
      const signed = withKey(client, key, (keyHandle) => {
        const inScheme = { scheme: sigAlg, hash, count: 0 };
        const validation = { tag: St.HASHCHECK, hierarchy: Rh.NULL, digest: empty };
        return client.run("Sign", { keyHandle }, { digest, inScheme, validation }).signature;
      });
      if (!("r" in signed)) throw new Error("no signature of a curve");
      const handle = loadKey(client, key, true);
      const check = (r: Uint8Array, s: Uint8Array, over = digest): number =>
        verifyCode(client, handle, over, { sigAlg, hash, r, s });
      const name = `${algorithmName(sigAlg)} on curve ${curve}`;
      yield { title: `${name}: right`, expected: VALID, found: check(signed.r, signed.s) };
      const [r, s] = [toInteger(signed.r), toInteger(signed.s)];
      for (const [title, wrongR, wrongS] of pairsAround(curve, r, s, thorough)) {
        if (wrongR >= 1n << 528n || wrongS >= 1n << 528n) continue;
        const same = wrongR === r && (wrongS === s || (sigAlg === Alg.ECDSA && wrongS === n - s));
        const bytes = (value: bigint): Uint8Array => toBytes(value, 66);
        yield {
          title: `${name}: ${title}`,
          expected: same ? VALID : BAD,
          found: check(bytes(wrongR), bytes(wrongS)),
        };
      }
      yield {
        title: `${name}: another digest`,
        expected: BAD,
        found: check(signed.r, signed.s, flipped(digest, 0)),
      };
      yield { title: `${name}: nothing`, expected: BAD, found: check(empty, empty) };
      const ecdaa: Signature = { sigAlg: Alg.ECDAA, hash, r: signed.r, s: signed.s };
      const scheme = ofParameter(Rc.SCHEME, 2);
      yield {
        title: `${name} said to be ECDAA`,
        expected: scheme,
        found: verifyCode(client, handle, digest, ecdaa),
      };
      const hmac: Signature = { sigAlg: Alg.HMAC, hash, digest };
      yield {
        title: `${name} said to be HMAC`,
        expected: scheme,
        found: verifyCode(client, handle, digest, hmac),
      };
      flush(client, handle);
    }
  }
}

/** Points that are not on a curve, and those of its twist. */
function* pointsOff(curve: number, good: EccPoint): Iterable<[string, EccPoint]> {
  const { p, a, b, n, gx, gy, size } = parametersOf(curve);
  const bytes = (value: bigint): Uint8Array => toBytes(value, size);
  const point = (x: bigint, y: bigint): EccPoint => ({ x: bytes(x), y: bytes(y) });
  const [x, y] = [toInteger(good.x), toInteger(good.y)];
  yield ["nothing", { x: empty, y: empty }];
  yield ["no y", { x: good.x, y: empty }];
  yield ["no x", { x: empty, y: good.y }];
  yield ["0, 0", point(0n, 0n)];
  yield ["0, 1", point(0n, 1n)];
  yield ["1, 1", point(1n, 1n)];
  yield ["another y", point(x, modulo(y + 1n, p))];
  yield ["x and y changed for each other", point(y, x)];
  yield ["y of zero", point(x, 0n)];
  yield ["the order", point(n, n)];
  yield ["p, p", point(p, p)];
  yield ["all ones", { x: filled(size, 255), y: filled(size, 255) }];
  const limit = 1n << BigInt(8 * size);
  for (const [from, to] of [
    [gx, gy],
    [x, y],
  ] as const) {
    if (from + p < limit) yield ["x above p", { x: bytes(from + p), y: bytes(to) }];
    if (to + p < limit) yield ["y above p", { x: bytes(from), y: bytes(to + p) }];
  }
  if (size < 66) {
    yield ["x above p, in more bytes", { x: toBytes(x + p, 66), y: good.y }];
    yield ["y below zero, in more bytes", { x: good.x, y: toBytes((1n << 527n) + y, 66) }];
  }
  // x of a point of the twist: there is no y for it on the curve. Its y there is any square root of u times the right side, u no square.
  const square = (value: bigint): boolean => value === 0n || power(value, (p - 1n) / 2n, p) === 1n;
  let count = 0;
  for (let twistX = 2n; count < 3; twistX++) {
    const right = modulo(twistX ** 3n + a * twistX + b, p);
    if (square(right)) continue;
    count++;
    yield [`x ${twistX} of the twist`, point(twistX, modulo(right, p))];
    // For p = 3 modulo 4, -1 is no square: the twist of -1.
    if (p % 4n === 3n)
      yield [`the point of x ${twistX} on the twist`, point(twistX, power(p - right, (p + 1n) / 4n, p))];
  }
  // A point of the curve with another b: what an invalid curve attack sends.
  for (const otherX of [1n, 5n]) yield [`another curve's point of x ${otherX}`, point(otherX, 2n)];
}

/** Parameters of StartAuthSession: an HMAC session with this salt. */
const salted = (salt: Uint8Array): Uint8Array =>
  concat(sized(filled(16, 1)), sized(salt), of(0), u16(Alg.NULL), u16(Alg.SHA256));

const sizedPoint = ({ x, y }: EccPoint): Uint8Array => sized(concat(sized(x), sized(y)));

function* points({ client, random, thorough }: NegativeBench): Iterable<NegativeResult> {
  for (const curve of curveSizes.keys()) {
    const size = curveSizes.get(curve)!;
    const all = thorough === true || curve === Curve.NIST_P256;
    const key = eccKey(curve, random(size - 2), noScheme, decrypting);
    const good = crypto.eccPublic(curve, random(size - 2))!;
    const handle = loadKey(client, key);
    const ecdaa = { scheme: Alg.ECDAA, hash: Alg.SHA256, count: 0 };
    const committing = loadKey(client, eccKey(curve, random(size - 2), ecdaa, signing));
    const counter = (): Uint8Array => u16(client.run("EC_Ephemeral", {}, { curveID: curve }).counter);
    const inPoint = ofParameter(Rc.ECC_POINT, 1);
    const zGen = (point: EccPoint): number => codeOf(client, "ECDH_ZGen", [handle], sizedPoint(point));
    yield { title: `ECDH_ZGen on curve ${curve}: right`, expected: VALID, found: zGen(good) };
    yield {
      title: `StartAuthSession, salt on curve ${curve}: right`,
      expected: VALID,
      found: codeOf(client, "StartAuthSession", [handle, Rh.NULL], salted(sizedPoint(good).subarray(2))),
    };
    for (const [title, point] of pointsOff(curve, good)) {
      const onCurve = crypto.eccOnCurve(curve, point);
      const name = `on curve ${curve}: ${title}`;
      if (onCurve !== isOnCurve(curve, point))
        yield { title: `eccOnCurve ${name}`, expected: VALID, found: BAD };
      if (onCurve) continue;
      yield { title: `ECDH_ZGen ${name}`, expected: inPoint, found: zGen(point) };
      if (!all) continue;
      const salt = salted(sizedPoint(point).subarray(2));
      yield {
        title: `StartAuthSession, salt ${name}`,
        expected: ofParameter(Rc.VALUE, 2),
        found: codeOf(client, "StartAuthSession", [handle, Rh.NULL], salt),
      };
      const phases = concat(sizedPoint(point), sizedPoint(good), u16(Alg.ECDH), counter());
      const swapped = concat(sizedPoint(good), sizedPoint(point), u16(Alg.ECMQV), counter());
      yield {
        title: `ZGen_2Phase, static ${name}`,
        expected: inPoint,
        found: codeOf(client, "ZGen_2Phase", [handle], phases),
      };
      yield {
        title: `ZGen_2Phase, ephemeral ${name}`,
        expected: ofParameter(Rc.ECC_POINT, 2),
        found: codeOf(client, "ZGen_2Phase", [handle], swapped),
      };
      const cipher = concat(
        sizedPoint(point),
        sized(random(20)),
        sized(random(32)),
        u16(Alg.KDF2),
        u16(Alg.SHA256),
      );
      yield {
        title: `ECC_Decrypt ${name}`,
        expected: Rc.VALUE,
        found: codeOf(client, "ECC_Decrypt", [handle], cipher),
      };
      if (point.x.length > 0 || point.y.length > 0) {
        const commit = concat(sizedPoint(point), sized(empty), sized(empty));
        yield {
          title: `Commit ${name}`,
          expected: inPoint,
          found: codeOf(client, "Commit", [committing], commit),
        };
      }
      const unique = { ...key.publicArea, unique: point };
      const found = client.rc(
        "LoadExternal",
        {},
        { inPrivate: undefined, inPublic: unique, hierarchy: Rh.NULL },
      );
      const expected = ofParameter(
        point.x.length === size && point.y.length === size ? Rc.ECC_POINT : Rc.KEY,
        2,
      );
      yield { title: `LoadExternal ${name}`, expected, found };
    }
    const long = concat(u16(2 + 67 + 2 + size), sized(filled(67, 0)), sized(good.y));
    yield {
      title: `a coordinate longer than any curve's, on curve ${curve}`,
      expected: ofParameter(Rc.SIZE, 1),
      found: codeOf(client, "ECDH_ZGen", [handle], long),
    };
    const split = concat(u16(3), sized(good.x), sized(good.y));
    yield {
      title: `a point that is longer than it says, on curve ${curve}`,
      expected: ofParameter(Rc.SIZE, 1),
      found: codeOf(client, "ECDH_ZGen", [handle], split),
    };
    flush(client, handle);
    flush(client, committing);
  }
}

/** The equation, and both coordinates below p. */
function isOnCurve(curve: number, { x, y }: EccPoint): boolean {
  const { p, a, b } = parametersOf(curve);
  if (x.length === 0 || y.length === 0) return false;
  const [u, v] = [toInteger(x), toInteger(y)];
  return u < p && v < p && modulo(v * v - (u ** 3n + a * u + b), p) === 0n;
}

function* rsaDecryption({ client, random, rsa }: NegativeBench): Iterable<NegativeResult> {
  const size = rsa.modulus.length;
  const key = loadKey(client, rsaKey(rsa, noScheme, decrypting));
  const node = nodePrivate(rsa);
  const decrypt = (cipherText: Uint8Array, scheme: Uint8Array, label: Uint8Array = empty): number =>
    codeOf(client, "RSA_Decrypt", [key], concat(sized(cipherText), scheme, sized(label)));
  const opened = (block: Uint8Array): Uint8Array => crypto.rsaPublic(rsa.modulus, rsa.exponent, block)!;
  const rsaes = u16(Alg.RSAES);
  const nonzero = (length: number): Uint8Array => random(length).map((byte) => byte || 7);
  const padded = (text: Uint8Array, lead = of(0, 2), separator = of(0)): Uint8Array =>
    concat(lead, nonzero(size - lead.length - separator.length - text.length), separator, text);
  const text = random(20);
  const blocks: readonly [string, Uint8Array, boolean][] = [
    ["right", padded(text), true],
    ["no message", padded(empty), true],
    ["the longest message", padded(nonzero(size - 11)), true],
    ["type 0", padded(text, of(0, 0)), false],
    ["type 1", padded(text, of(0, 1)), false],
    ["type 3", padded(text, of(0, 3)), false],
    ["first byte 1", padded(text, of(1, 2)), false],
    ["first byte 80, type 2", padded(text, of(0x40, 2)), false],
    ["no zero", concat(of(0, 2), nonzero(size - 2)), false],
    ["seven bytes of padding", concat(of(0, 2), nonzero(7), of(0), nonzero(size - 10)), false],
    ["no padding", concat(of(0, 2, 0), nonzero(size - 3)), false],
    ["eight bytes of padding", concat(of(0, 2), nonzero(8), of(0), nonzero(size - 11)), true],
    ["all zeros", filled(size, 0), false],
    ["the number 1", toBytes(1n, size), false],
    ["n - 1", toBytes(toInteger(rsa.modulus) - 1n, size), false],
  ];
  for (const [title, block, good] of blocks)
    yield {
      title: `RSAES: ${title}`,
      expected: good ? VALID : Rc.VALUE,
      found: decrypt(opened(block), rsaes),
    };
  const right = opened(padded(text));
  for (const [title, wrong] of wrongLengths(right))
    yield { title: `RSAES: ${title}`, expected: Rc.SIZE, found: decrypt(wrong, rsaes) };
  for (const [title, value] of blocksAround(rsa.modulus)) {
    const below = value.length === size && Buffer.compare(value, rsa.modulus) < 0;
    yield { title: `RSAES of ${title}`, expected: below ? Rc.VALUE : Rc.SIZE, found: decrypt(value, rsaes) };
    const found = decrypt(value, u16(Alg.NULL));
    yield { title: `RSA without padding of ${title}`, expected: below ? VALID : Rc.SIZE, found };
  }

  // The Name algorithm's hash, the label with its zero, and no more than its digest has.
  const publicKey = rsaNodeKey(rsa);
  const padding = cryptoConstants.RSA_PKCS1_OAEP_PADDING;
  for (const [title, label, oaepHash, length] of [
    ["right", "SECRET\0", "sha256", 32],
    ["empty", "SECRET\0", "sha256", 0],
    ["one byte too long", "SECRET\0", "sha256", 33],
    ["of a duplicate", "DUPLICATE\0", "sha256", 32],
    ["of a credential", "IDENTITY\0", "sha256", 32],
    ["whose label has no end", "SECRET", "sha256", 32],
    ["whose label has two ends", "SECRET\0\0", "sha256", 32],
    ["without a label", "", "sha256", 32],
    ["by another hash", "SECRET\0", "sha1", 20],
  ] as const) {
    const oaepLabel = Buffer.from(label);
    const salt = publicEncrypt({ key: publicKey, padding, oaepHash, oaepLabel }, filled(length, 5));
    yield {
      title: `salt: ${title}`,
      expected: title === "right" || title === "empty" ? VALID : ofParameter(Rc.VALUE, 2),
      found: codeOf(client, "StartAuthSession", [key, Rh.NULL], salted(new Uint8Array(salt))),
    };
  }

  for (const hash of hashes) {
    const hashSize = digestOf(hash, empty).length;
    const other = hash === Alg.SHA256 ? Alg.SHA384 : Alg.SHA256;
    const scheme = concat(u16(Alg.OAEP), u16(hash));
    const label = Uint8Array.from(Buffer.from("label\0"));
    interface Making {
      readonly first?: number;
      readonly labelHash?: Uint8Array;
      readonly maskHash?: number;
      readonly change?: (db: Uint8Array) => void;
      readonly message?: Uint8Array;
    }
    const encoded = ({
      first = 0,
      labelHash = digestOf(hash, label),
      maskHash = hash,
      change,
      message = text.subarray(0, 8),
    }: Making): Uint8Array => {
      const db = filled(size - hashSize - 1, 0);
      db.set(labelHash.subarray(0, hashSize));
      db[db.length - message.length - 1] = 1;
      db.set(message, db.length - message.length);
      change?.(db);
      const seed = random(hashSize);
      const dbMask = mgf1(crypto, maskHash, seed, db.length);
      const masked = db.map((byte, i) => byte ^ dbMask[i]!);
      const seedMask = mgf1(crypto, maskHash, masked, hashSize);
      return concat(
        of(first),
        seed.map((byte, i) => byte ^ seedMask[i]!),
        masked,
      );
    };
    const makings: readonly [string, Making][] = [
      ["right", {}],
      ["no message", { message: empty }],
      ["the longest message", { message: random(size - 2 * hashSize - 2) }],
      ["first byte 1", { first: 1 }],
      ["no label in it", { labelHash: digestOf(hash, empty) }],
      ["the label without its zero", { labelHash: digestOf(hash, label.subarray(0, -1)) }],
      ["another label", { labelHash: digestOf(hash, of(1, 0)) }],
      ["the label by another hash", { labelHash: concat(digestOf(other, label), filled(32, 0)) }],
      ["a bit of the label's hash", { labelHash: flipped(digestOf(hash, label), hashSize - 1) }],
      ["masks of another hash", { maskHash: other }],
      ["no separator", { change: (db) => db.fill(0, hashSize) }],
      ["another separator", { change: (db) => db.set([2], db.length - 9) }],
      ["padding that is not zero", { change: (db) => db.set([1], hashSize), message: random(4) }],
      ["padding of 02", { change: (db) => db.set([2], hashSize + 1) }],
    ];
    for (const [title, making] of makings) {
      const cipherText = opened(encoded(making));
      const oracle = oaepHolds(node, hash, label, cipherText);
      yield {
        title: `OAEP ${hashName(hash)}: ${title}`,
        expected: oracle ? VALID : Rc.VALUE,
        found: decrypt(cipherText, scheme, label),
      };
    }
    const cipherText = opened(encoded({}));
    const mixed = decrypt(cipherText, concat(u16(Alg.OAEP), u16(other)), label);
    yield { title: `OAEP ${hashName(hash)} opened by ${hashName(other)}`, expected: Rc.VALUE, found: mixed };
    yield { title: "OAEP opened without the label", expected: Rc.VALUE, found: decrypt(cipherText, scheme) };
    yield {
      title: "OAEP opened by another label",
      expected: Rc.VALUE,
      found: decrypt(cipherText, scheme, of(0)),
    };
    yield { title: "OAEP opened as RSAES", expected: Rc.VALUE, found: decrypt(cipherText, rsaes) };
    const open = decrypt(cipherText, scheme, label.subarray(0, -1));
    yield { title: "OAEP with a label without an end", expected: ofParameter(Rc.VALUE, 3), found: open };
    for (const [title, wrong] of wrongLengths(cipherText))
      yield { title: `OAEP: ${title}`, expected: Rc.SIZE, found: decrypt(wrong, scheme, label) };
    const tooLong = concat(sized(random(size - 2 * hashSize - 1)), scheme, sized(label));
    const found = codeOf(client, "RSA_Encrypt", [key], tooLong);
    yield { title: `OAEP ${hashName(hash)}: too long a message`, expected: Rc.VALUE, found };
  }
  flush(client, key);
}

function nodePrivate(rsa: RsaPrivate): {
  readonly open: (hash: string, label: Uint8Array, data: Uint8Array) => Uint8Array;
} {
  const [n, p] = [toInteger(rsa.modulus), toInteger(rsa.prime)];
  const e = BigInt(rsa.exponent || 65_537);
  const q = n / p;
  const phi = (p - 1n) * (q - 1n);
  const d = inverseOf(e, phi);
  const text = (value: bigint): string => {
    const digits = value.toString(16);
    return base64(hex(digits.length % 2 === 1 ? `0${digits}` : digits));
  };
  const key = {
    kty: "RSA",
    ...{ n: text(n), e: text(e), d: text(d), p: text(p), q: text(q) },
    ...{ dp: text(d % (p - 1n)), dq: text(d % (q - 1n)), qi: text(power(q, p - 2n, p)) },
  };
  const padding = cryptoConstants.RSA_PKCS1_OAEP_PADDING;
  const imported = createPrivateKey({ key, format: "jwk" });
  return {
    open: (oaepHash, oaepLabel, data) =>
      privateDecrypt({ key: imported, padding, oaepHash, oaepLabel }, data),
  };
}

function inverseOf(a: bigint, m: bigint): bigint {
  let [r0, r1, t0, t1] = [m, a, 0n, 1n];
  while (r1 !== 0n) {
    const quotient = r0 / r1;
    [r0, r1, t0, t1] = [r1, r0 - quotient * r1, t1, t0 - quotient * t1];
  }
  return modulo(t0, m);
}

function oaepHolds(
  node: ReturnType<typeof nodePrivate>,
  hash: number,
  label: Uint8Array,
  data: Uint8Array,
): boolean {
  try {
    node.open(hashName(hash), label, data);
    return true;
  } catch {
    return false;
  }
}

function* rsaKeys({ client, random, rsa }: NegativeBench): Iterable<NegativeResult> {
  const { publicArea } = rsaKey(rsa, noScheme, decrypting);
  const loaded = (change: Partial<RsaPublic>, parameters: Partial<RsaPublic["parameters"]> = {}): number => {
    const inPublic = { ...publicArea, ...change, parameters: { ...publicArea.parameters, ...parameters } };
    return client.rc("LoadExternal", {}, { inPrivate: undefined, inPublic, hierarchy: Rh.NULL });
  };
  const ofKey = (rc: number): number => ofParameter(rc, 2);
  for (const exponent of [1, 2, 3, 4, 5, 6])
    yield {
      title: `RSA: the exponent ${exponent}`,
      expected: ofKey(Rc.VALUE),
      found: loaded({}, { exponent }),
    };
  const n = rsa.modulus;
  for (const [title, unique] of [
    ["short", n.subarray(1)],
    ["long", concat(n, of(1))],
    ["with a zero in front", concat(of(0), n.subarray(1))],
    ["whose highest bit is not set", concat(of(0x7f), n.subarray(1))],
    ["of nothing", empty],
  ] as const)
    yield { title: `RSA: a modulus ${title}`, expected: ofKey(Rc.KEY), found: loaded({ unique }) };
  // Keys that are loaded, for their numbers are not looked into, and with which nothing can be done.
  const even = flipped(n, n.length - 1);
  for (const [title, unique, exponent] of [
    ["an even modulus", even, 0],
    ["a power of two", concat(of(0x80), filled(n.length - 1, 0)), 0],
  ] as const) {
    const inPublic = { ...publicArea, unique, parameters: { ...publicArea.parameters, exponent } };
    const { handle } = client.run("LoadExternal", {}, { inPrivate: undefined, inPublic, hierarchy: Rh.NULL });
    const encrypted = codeOf(
      client,
      "RSA_Encrypt",
      [handle],
      concat(sized(of(2)), u16(Alg.RSAES), sized(empty)),
    );
    yield { title: `RSA_Encrypt with ${title}`, expected: Rc.VALUE, found: encrypted };
    flush(client, handle);
    const asSigner = { ...inPublic, objectAttributes: signing };
    const signer = client.run(
      "LoadExternal",
      {},
      { inPrivate: undefined, inPublic: asSigner, hierarchy: Rh.NULL },
    ).handle;
    for (const sig of [
      random(n.length).map((byte, i) => (i === 0 ? byte & 0x3f : byte)),
      filled(n.length, 0),
      toBytes(1n, n.length),
    ])
      yield {
        title: `VerifySignature with ${title}`,
        expected: BAD,
        found: verifyCode(client, signer, random(32), { sigAlg: Alg.RSASSA, hash: Alg.SHA256, sig }),
      };
    flush(client, signer);
  }
  const prime = rsa.prime;
  const withPrime = (wrong: Uint8Array): number => {
    const key = rsaKey(rsa, noScheme, decrypting);
    const inPrivate = { ...key.sensitive, sensitive: wrong };
    return client.rc("LoadExternal", {}, { inPrivate, inPublic: key.publicArea, hierarchy: Rh.NULL });
  };
  for (const [title, wrong, expected] of [
    ["another number", flipped(prime, 40), Rc.BINDING],
    ["an even number", flipped(prime, prime.length - 1), Rc.BINDING],
    ["a half", prime.subarray(1), ofParameter(Rc.KEY_SIZE, 1)],
    ["a number that is too small", concat(of(0), prime.subarray(1)), ofParameter(Rc.KEY_SIZE, 1)],
    ["nothing", empty, ofParameter(Rc.KEY_SIZE, 1)],
    ["the modulus", n, ofParameter(Rc.KEY_SIZE, 1)],
  ] as const)
    yield { title: `RSA: ${title} for a prime`, expected, found: withPrime(wrong) };
}

function* messageAuthentication({ client, random }: NegativeBench): Iterable<NegativeResult> {
  const secret = random(20);
  for (const hash of hashes) {
    const handle = loadKey(client, keyedHash(secret, hmacScheme(hash)));
    const digest = random(32);
    const right = new Uint8Array(createHmac(hashName(hash), secret).update(digest).digest());
    const check = (mac: Uint8Array, said: number = hash, over = digest): number =>
      verifyCode(client, handle, over, { sigAlg: Alg.HMAC, hash: said, digest: mac });
    const name = `HMAC ${hashName(hash)}`;
    yield { title: `${name}: right`, expected: VALID, found: check(right) };
    for (let at = 0; at < right.length; at++)
      yield { title: `${name}: byte ${at}`, expected: BAD, found: check(flipped(right, at, at & 7)) };
    yield { title: `${name}: all zeros`, expected: BAD, found: check(filled(right.length, 0)) };
    yield { title: `${name}: another digest`, expected: BAD, found: check(right, hash, flipped(digest, 0)) };
    yield { title: `${name}: nothing to sign`, expected: BAD, found: check(right, hash, empty) };
    for (const said of hashes) {
      if (said === hash) continue;
      const mac = new Uint8Array(createHmac(hashName(said), secret).update(digest).digest());
      yield { title: `${name} by ${hashName(said)}`, expected: BAD, found: check(mac, said) };
    }
    const short = concat(sized(digest), u16(Alg.HMAC), u16(hash), right.subarray(1));
    const found = codeOf(client, "VerifySignature", [handle], short);
    yield { title: `${name}: cut short`, expected: ofParameter(Rc.INSUFFICIENT, 2), found };
    const long = concat(sized(digest), u16(Alg.HMAC), u16(hash), right, of(0));
    yield {
      title: `${name}: a byte more`,
      expected: Rc.SIZE,
      found: codeOf(client, "VerifySignature", [handle], long),
    };
    const rsa: Signature = { sigAlg: Alg.RSASSA, hash, sig: random(256) };
    yield {
      title: `${name}: RSASSA`,
      expected: ofParameter(Rc.SCHEME, 2),
      found: verifyCode(client, handle, digest, rsa),
    };
    flush(client, handle);
  }
  const cmac = loadKey(client, symmetricKey(Alg.AES, random(16), Alg.CMAC, signing));
  const mac = (data: Uint8Array, scheme: number): number =>
    codeOf(client, "HMAC", [cmac], concat(sized(data), u16(scheme)));
  yield { title: "CMAC: right", expected: VALID, found: mac(random(33), Alg.CMAC) };
  yield { title: "CMAC: of nothing", expected: VALID, found: mac(empty, Alg.NULL) };
  yield { title: "CMAC by HMAC", expected: ofParameter(Rc.VALUE, 2), found: mac(random(3), Alg.SHA256) };
  yield {
    title: "CMAC by no scheme that there is",
    expected: ofParameter(Rc.SYMMETRIC, 2),
    found: mac(random(3), Alg.RSASSA),
  };
  yield {
    title: "CMAC: too much data",
    expected: ofParameter(Rc.SIZE, 1),
    found: mac(random(1025), Alg.NULL),
  };
  const verified = verifyCode(client, cmac, random(32), {
    sigAlg: Alg.HMAC,
    hash: Alg.SHA256,
    digest: random(32),
  });
  yield { title: "CMAC: VerifySignature", expected: ofParameter(Rc.SCHEME, 2), found: verified };
  flush(client, cmac);
}

function* symmetric({ client, random }: NegativeBench): Iterable<NegativeResult> {
  const modes: readonly [number, string][] = [
    [Alg.CFB, "cfb"],
    [Alg.CTR, "ctr"],
    [Alg.OFB, "ofb"],
    [Alg.CBC, "cbc"],
    [Alg.ECB, "ecb"],
  ];
  const names = new Map<number, string>([
    [Alg.AES, "aes"],
    [Alg.CAMELLIA, "camellia"],
  ]);
  for (const [algorithm, algorithmText] of names)
    for (const keySize of [16, 24, 32])
      for (const [mode, modeText] of modes) {
        const secret = random(keySize);
        const handle = loadKey(client, symmetricKey(algorithm, secret, mode));
        const cipher = `${algorithmText}-${8 * keySize}-${modeText}`;
        const iv = mode === Alg.ECB ? empty : random(16);
        const body = (data: Uint8Array, vector: Uint8Array, said: number): Uint8Array =>
          concat(sized(data), of(0), u16(said), sized(vector));
        const run = (data: Uint8Array, vector = iv, said = mode): number =>
          codeOf(client, "EncryptDecrypt2", [handle], body(data, vector, said));
        const whole = mode === Alg.CBC || mode === Alg.ECB;
        for (const length of [0, 1, 15, 16, 17, 31, 32, 33, 1008, 1024]) {
          const data = random(length);
          const broken = whole && length % 16 !== 0;
          yield {
            title: `${cipher}: ${length} bytes`,
            expected: broken ? ofParameter(Rc.SIZE, 1) : VALID,
            found: run(data),
          };
          if (broken || length > 33) continue;
          const oracle = createCipheriv(cipher, secret, mode === Alg.ECB ? null : iv).setAutoPadding(false);
          const expected = Buffer.concat([oracle.update(data), oracle.final()]);
          const parameters = { inData: data, decrypt: false, mode, ivIn: iv };
          const { outData } = client.run("EncryptDecrypt2", { keyHandle: handle }, parameters);
          const same = expected.equals(outData);
          yield {
            title: `${cipher}: what node:crypto gives of ${length} bytes`,
            expected: VALID,
            found: same ? VALID : Rc.FAILURE,
          };
        }
        yield { title: `${cipher}: 1025 bytes`, expected: ofParameter(Rc.SIZE, 1), found: run(random(1025)) };
        for (const length of [0, 1, 15, 16]) {
          const good = length === iv.length;
          yield {
            title: `${cipher}: a vector of ${length}`,
            expected: good ? VALID : ofParameter(Rc.SIZE, 4),
            found: run(random(32), random(length)),
          };
        }
        yield {
          title: `${cipher}: a vector of 17`,
          expected: ofParameter(Rc.SIZE, 4),
          found: run(random(32), random(17)),
        };
        for (const [other] of modes)
          if (other !== mode)
            yield {
              title: `${cipher}: mode ${other}`,
              expected: ofParameter(Rc.MODE, 3),
              found: run(random(32), random(16), other),
            };
        yield {
          title: `${cipher}: a mode that is none`,
          expected: ofParameter(Rc.MODE, 3),
          found: run(random(32), iv, Alg.SHA256),
        };
        const flag = concat(sized(random(32)), of(2), u16(mode), sized(iv));
        yield {
          title: `${cipher}: neither yes nor no`,
          expected: ofParameter(Rc.VALUE, 2),
          found: codeOf(client, "EncryptDecrypt2", [handle], flag),
        };
        flush(client, handle);
      }
}

/** ECDAA: what is signed in two steps, with each step wrong. */
function* ecdaa({ client, random }: NegativeBench): Iterable<NegativeResult> {
  for (const curve of [Curve.NIST_P256, Curve.BN_P256]) {
    const scheme = { scheme: Alg.ECDAA, hash: Alg.SHA256, count: 0 };
    const handle = loadKey(client, eccKey(curve, random(30), scheme, signing));
    const commit = (): number =>
      client.run("Commit", { signHandle: handle }, { P1: { x: empty, y: empty }, s2: empty, y2: empty })
        .counter;
    const sign = (
      count: number,
      hash: number = Alg.SHA256,
      id: number = Alg.ECDAA,
      digest = random(32),
    ): number => {
      const inScheme = concat(u16(id), u16(hash), ...(id === Alg.ECDAA ? [u16(count)] : []));
      const ticket = concat(u16(St.HASHCHECK), of(0x40, 0, 0, 7), sized(empty));
      return codeOf(client, "Sign", [handle], concat(sized(digest), inScheme, ticket));
    };
    const name = `ECDAA on curve ${curve}`;
    const count = commit();
    yield { title: `${name}: a counter that was not given`, expected: Rc.VALUE, found: sign(count + 1) };
    yield { title: `${name}: the highest counter`, expected: Rc.VALUE, found: sign(0xffff) };
    yield {
      title: `${name}: another hash`,
      expected: ofParameter(Rc.SCHEME, 2),
      found: sign(count, Alg.SHA512),
    };
    yield {
      title: `${name}: ECDSA`,
      expected: ofParameter(Rc.SCHEME, 2),
      found: sign(count, Alg.SHA256, Alg.ECDSA),
    };
    yield {
      title: `${name}: a digest cut short`,
      expected: ofParameter(Rc.SIZE, 1),
      found: sign(count, Alg.SHA256, Alg.ECDAA, random(31)),
    };
    yield { title: `${name}: right`, expected: VALID, found: sign(count) };
    yield { title: `${name}: a second time`, expected: Rc.VALUE, found: sign(count) };
    const half = concat(sizedPoint({ x: empty, y: empty }), sized(of(1)), sized(empty));
    yield {
      title: `${name}: Commit to half a point`,
      expected: ofParameter(Rc.SIZE, 3),
      found: codeOf(client, "Commit", [handle], half),
    };
    const wrongY = concat(sizedPoint({ x: empty, y: empty }), sized(of(1)), sized(random(31)));
    yield {
      title: `${name}: Commit to no point`,
      expected: ofParameter(Rc.ECC_POINT, 2),
      found: codeOf(client, "Commit", [handle], wrongY),
    };
    const ephemeral = client.run("EC_Ephemeral", {}, { curveID: curve }).counter;
    yield { title: `${name}: the counter of EC_Ephemeral`, expected: VALID, found: sign(ephemeral) };
    flush(client, handle);
  }
  const plain = loadKey(client, eccKey(Curve.NIST_P256, random(30), noScheme, signing));
  const nothing = concat(sizedPoint({ x: empty, y: empty }), sized(empty), sized(empty));
  yield {
    title: "Commit of a key without the scheme",
    expected: ofHandle(Rc.SCHEME, 1),
    found: codeOf(client, "Commit", [plain], nothing),
  };
  flush(client, plain);
}

/** The schemes, each with its vectors. */
export const negativeVectors: Readonly<Record<string, (bench: NegativeBench) => Iterable<NegativeResult>>> = {
  RSASSA: rsassa,
  RSAPSS: rsapss,
  "RSAES and OAEP": rsaDecryption,
  "RSA keys": rsaKeys,
  ECDSA: ecdsa,
  "ECSCHNORR, SM2, and ECDSA on other curves": otherEcc,
  ECDAA: ecdaa,
  "points of ECDH, ZGen_2Phase, Commit and ECC_Decrypt": points,
  "HMAC and CMAC": messageAuthentication,
  "symmetric modes": symmetric,
};
