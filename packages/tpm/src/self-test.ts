import { Alg, Curve } from "@entresol/tpm-types";
import type { Engine } from "./engine.ts";

/* Known answers that the cryptography must give before it is trusted (Part 1, clause 12.3). */

const hex = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
const abc = Uint8Array.of(0x61, 0x62, 0x63);

/** First eight bytes of each hash of "abc" (FIPS 180-4 and 202, examples). */
const hashAnswers: ReadonlyMap<number, string> = new Map([
  [Alg.SHA1, "a9993e364706816a"],
  [Alg.SHA256, "ba7816bf8f01cfea"],
  [Alg.SHA384, "cb00753f45a35e8b"],
  [Alg.SHA512, "ddaf35a193617aba"],
  [Alg.SHA3_256, "3a985da74fe225b2"],
  [Alg.SHA3_384, "ec01498288516fc9"],
  [Alg.SHA3_512, "b751850b1a57168a"],
]);
/** FIPS 197, appendix C: one block by each size of key. */
const aesPlain = hex("00112233445566778899aabbccddeeff");
const aesAnswers: ReadonlyMap<number, string> = new Map([
  [16, "69c4e0d86a7b0430d8cdb78070b4c55a"],
  [24, "dda97ca4864cdfe06eaf70a0ec0d7191"],
  [32, "8ea2b7ca516745bfeafc49904b496089"],
]);
/** RFC 4231, case 2. */
const hmacKey = hex("4a656665");
const hmacData = new TextEncoder().encode("what do ya want for nothing?");
const hmacAnswer = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

/** RFC 6979, A.2.5: the key of P-256, and a signature of "sample" by SHA-256. */
const ecdsaScalar = hex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
const ecdsaX = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
const ecdsaY = "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
const ecdsaR = hex("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
const ecdsaS = hex("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
const sample = new TextEncoder().encode("sample");

/** A key of 1024 bits made for this test, a number below its modulus, and what the two operations make of it (first eight bytes). */
const rsaKey = {
  modulus: hex(
    "e682490c2487d2bc32767d19ce31e4ac6e4b2d2d25ab916ac11734e1be3d83647fb9a798850ba9c1e50ce18f6583df6c45ce2ad142d3e8ec611a41bd244257c2" +
      "fddc461f19064ed433166a4ea3005fff0e5bca2acf7ee1203332236e167d8bde40fc837d0fe6bd5d9cca567d31ebef7d167ae405f016e704d6c3d04b7f352533",
  ),
  exponent: 65537,
  prime: hex(
    "fbe32fa9a8daaf793676149c55a0fd7e4f7563d545c536423508c752dacf1d213ff4d9f099a48fdadafbf6fa8ad2f404d258ede4b09c87cab345b9fd4823e733",
  ),
};
const rsaNumber = Uint8Array.from({ length: 128 }, (_, i) => (i < 28 ? 0 : 0x5a));
const rsaPublicAnswer = "5185a5408488cdea";
const rsaPrivateAnswer = "7b3a16973ba95acb";

const nothing = new Uint8Array(0);

/** Runs every test. Throws, which puts the TPM into failure mode, when an answer is wrong. */
export function selfTest(engine: Engine): void {
  const { crypto } = engine;
  const expect = (what: string, got: Uint8Array, answer: string): void => {
    const wanted = hex(answer);
    if (!crypto.equal(got.subarray(0, wanted.length), wanted)) throw new Error(`self test of ${what} failed`);
  };
  for (const [hash, answer] of hashAnswers) expect(`hash ${hash}`, crypto.hash(hash, abc), answer);
  expect("HMAC", crypto.hmac(Alg.SHA256, hmacKey, hmacData), hmacAnswer);
  const zero = new Uint8Array(16);
  for (const [size, answer] of aesAnswers) {
    const key = Uint8Array.from({ length: size }, (_, i) => i);
    const cipher = crypto.cipher(Alg.AES, Alg.ECB, key, zero, aesPlain, true);
    expect(`AES-${8 * size}`, cipher, answer);
  }

  const digest = crypto.hash(Alg.SHA256, sample);
  const point = crypto.eccPublic(Curve.NIST_P256, ecdsaScalar);
  expect("point multiplication, x", point?.x ?? nothing, ecdsaX);
  expect("point multiplication, y", point?.y ?? nothing, ecdsaY);
  const key = { x: hex(ecdsaX), y: hex(ecdsaY) };
  const verifies = (r: Uint8Array, s: Uint8Array, of: Uint8Array): boolean =>
    crypto.ecdsaVerify(Curve.NIST_P256, key, of, r, s);
  const { r, s } = crypto.ecdsaSign(Curve.NIST_P256, ecdsaScalar, digest);
  if (!verifies(ecdsaR, ecdsaS, digest) || !verifies(r, s, digest) || verifies(r, s, digest.subarray(1)))
    throw new Error("self test of ECDSA failed");

  const { modulus, exponent } = rsaKey;
  expect("RSA, public", crypto.rsaPublic(modulus, exponent, rsaNumber) ?? nothing, rsaPublicAnswer);
  expect("RSA, private", crypto.rsaPrivate(rsaKey, rsaNumber) ?? nothing, rsaPrivateAnswer);
}
