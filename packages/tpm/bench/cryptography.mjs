/*
 * The cryptography provider beside the nearest thing that node:crypto does by itself: what is put together from several of its calls, or done
 * here altogether, costs more than one call, and the rows say how much. Keys are made by searching primes here, and by OpenSSL there.
 */
import {
  constants,
  createHash,
  createHmac,
  createPrivateKey,
  diffieHellman,
  generateKeyPairSync,
  privateDecrypt,
  sign,
  verify,
} from "node:crypto";
import { nodeProvider as crypto } from "../dist/crypto/node-provider.js";

const SHA256 = 0x000b;
const SHA512 = 0x000d;
const CURVES = { P256: [0x0003, "P-256"], P384: [0x0004, "P-384"] };
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64url"));
const kilobyte = new Uint8Array(1024).fill(0xa5);
const padding = constants.RSA_NO_PADDING;

/** Both in turns, so that a slow moment of the machine hits both; medians in microseconds. */
function row(name, ours, peer, peerName, { rounds = 300, warm = 20 } = {}) {
  const times = [[], []];
  for (let round = -warm; round < rounds; round++) {
    for (const [index, action] of [ours, peer].entries()) {
      const before = process.hrtime.bigint();
      action();
      if (round >= 0) times[index].push(Number(process.hrtime.bigint() - before) / 1000);
    }
  }
  const [mine, theirs] = times.map((list) => list.sort((a, b) => a - b)[list.length >> 1]);
  return { case: name, ours: mine, peer: theirs, peerName, unit: "us", ratio: theirs / mine };
}

function eccRows([curve, name]) {
  const pair = generateKeyPairSync("ec", { namedCurve: name });
  const { d, x, y } = pair.privateKey.export({ format: "jwk" });
  const scalar = bytes(d);
  const point = { x: bytes(x), y: bytes(y) };
  const other = generateKeyPairSync("ec", { namedCurve: name });
  const numbers = other.publicKey.export({ format: "jwk" });
  const otherPoint = { x: bytes(numbers.x), y: bytes(numbers.y) };
  const digest = crypto.hash(SHA256, kilobyte);
  const { r, s } = crypto.ecdsaSign(curve, scalar, digest);
  const signature = sign("sha256", kilobyte, pair.privateKey);
  const options = { rounds: curve === CURVES.P256[0] ? 300 : 60 };
  return [
    row(
      `ECDSA ${name} sign a digest`,
      () => crypto.ecdsaSign(curve, scalar, digest),
      () => sign("sha256", kilobyte, pair.privateKey),
      "sign",
      options,
    ),
    row(
      `ECDSA ${name} verify a digest`,
      () => crypto.ecdsaVerify(curve, point, digest, r, s),
      () => verify("sha256", kilobyte, pair.publicKey, signature),
      "verify",
      options,
    ),
    row(
      `ECDH ${name}, x alone`,
      () => crypto.eccAgree(curve, scalar, otherPoint),
      () => diffieHellman({ privateKey: pair.privateKey, publicKey: other.publicKey }),
      "diffieHellman",
      options,
    ),
    row(
      `ECDH ${name}, whole point`,
      () => crypto.eccMultiply(curve, scalar, otherPoint),
      () => diffieHellman({ privateKey: pair.privateKey, publicKey: other.publicKey }),
      "diffieHellman",
      options,
    ),
  ];
}

function rsaRows() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const { n, p } = privateKey.export({ format: "jwk" });
  const key = { modulus: bytes(n), exponent: 0, prime: bytes(p) };
  const block = new Uint8Array(256).fill(1);
  const der = privateKey.export({ format: "der", type: "pkcs1" });
  return [
    row(
      "RSA-2048 private",
      () => crypto.rsaPrivate(key, block),
      () => privateDecrypt({ key: privateKey, padding }, block),
      "privateDecrypt",
    ),
    row(
      "RSA-2048 private, key just loaded",
      () => crypto.rsaPrivate({ ...key, prime: Uint8Array.from(key.prime) }, block),
      () =>
        privateDecrypt({ key: createPrivateKey({ key: der, format: "der", type: "pkcs1" }), padding }, block),
      "import and privateDecrypt",
    ),
    row(
      "RSA-2048 key",
      () => crypto.rsaDerive(2048, 0, 1, crypto.random),
      () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
      "generateKeyPairSync",
      { rounds: 25, warm: 2 },
    ),
  ];
}

function hashRows() {
  const saved = (alg) => () => {
    const hash = crypto.runningHash(alg);
    hash.update(kilobyte);
    return hash.save();
  };
  const native = (name) => () => createHash(name).update(kilobyte).digest();
  const key = new Uint8Array(32);
  return [
    row("SHA-256 of 1 KiB, saved", saved(SHA256), native("sha256"), "createHash"),
    row("SHA-512 of 1 KiB, saved", saved(SHA512), native("sha512"), "createHash"),
    row(
      "HMAC-SHA-256 of 1 KiB",
      () => crypto.hmac(SHA256, key, kilobyte),
      () => createHmac("sha256", key).update(kilobyte).digest(),
      "createHmac",
    ),
  ];
}

export function bench() {
  return [...eccRows(CURVES.P256), ...eccRows(CURVES.P384), ...rsaRows(), ...hashRows()];
}
