// Random commands that encrypt, hash, authenticate and agree on secrets by keys from outside, sent to a TPM here and to swtpm: their responses are the
// same bytes, or, where they are random, their codes are the same. Needs swtpm in the PATH. Left out is what ends swtpm 0.7.1 in failure mode: messages that
// are too long for RSA, paddings that are wrong, ECMQV; and the SM2 exchange, whose associate value libtpms takes from another variable.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Alg, Curve, commandOf, commands, Rh, responseCodeName, TpmWriter } from "@entresol/tpm-types";
import { nodeProvider as crypto } from "../dist/crypto/node-provider.js";
import { Tpm } from "../dist/index.js";
import * as keys from "../dist/testing/external-keys.js";
import { startSwtpm } from "../dist/testing/swtpm.js";

export const description = "responses of random cryptographic commands compared with swtpm's";
export const defaultCount = 10_000;

const SESSION = 500;
const [KEY, SEQUENCE] = [0x80000000, 0x80000001];
const empty = new Uint8Array(0);
const codeOf = (response) => Buffer.from(response).readUInt32BE(6);
const curves = [
  Curve.NIST_P192,
  Curve.NIST_P224,
  Curve.NIST_P256,
  Curve.NIST_P384,
  Curve.BN_P256,
  Curve.SM2_P256,
];
const hashes = [Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512];
const modes = [Alg.CTR, Alg.OFB, Alg.CBC, Alg.CFB, Alg.ECB];
const noScheme = { scheme: Alg.NULL, hash: Alg.NULL, count: 0 };
const rsaes = { ...noScheme, scheme: Alg.RSAES };
/** Commands whose responses are not random. */
const exact = new Set([
  "EncryptDecrypt",
  "EncryptDecrypt2",
  "HMAC",
  "Hash",
  "RSA_Decrypt",
  "ECDH_ZGen",
  "ECC_Parameters",
  "SequenceUpdate",
  "SequenceComplete",
]);

/** Cases of `next` that a key of each type is made for. */
const fitting = new Map([
  [Alg.SYMCIPHER, [0, 1, 2, 3, 4]],
  [Alg.KEYEDHASH, [3, 4, 5, 6]],
  [Alg.RSA, [7, 8]],
  [Alg.ECC, [9, 10, 11]],
]);

/** Multiplicative congruential numbers: `below(n)` is from 0 to n - 1. */
function generator(seed) {
  let state = (BigInt(seed) * 2n + 1n) & 0xffff_ffff_ffff_ffffn;
  return (n) => {
    state = (state * 0xd1342543de82ef95n + 1n) & 0xffff_ffff_ffff_ffffn;
    return Number((state >> 33n) % BigInt(n));
  };
}

/** A command by the table, with an empty password for what needs one. */
function command(name, handles, parameters) {
  const { code, roles, parameterList } = commandOf(commands[name].code);
  const writer = new TpmWriter();
  writer.u16(roles.length > 0 ? 0x8002 : 0x8001);
  writer.u32(0).u32(code);
  for (const handle of handles) writer.u32(handle);
  if (roles.length > 0) writer.u32(9).u32(Rh.PW).u16(0).u8(1).u16(0);
  for (const [key, type] of parameterList) type.write(writer, parameters[key]);
  writer.setU32(2, writer.length);
  return { name, bytes: writer.finish() };
}
const flush = (flushHandle) => command("FlushContext", [], { flushHandle });

class Cases {
  #below;
  #rsa;
  constructor(seed, rsa) {
    this.#below = generator(seed);
    this.#rsa = rsa;
  }
  pick(...values) {
    return values[this.#below(values.length)];
  }
  bytes(length) {
    return Uint8Array.from({ length }, () => this.#below(256));
  }
  #length(...sizes) {
    return this.pick(...sizes, this.#below(80));
  }
  #attributes() {
    return this.pick(keys.signing, keys.decrypting, keys.signing | keys.decrypting);
  }

  key() {
    switch (this.#below(4)) {
      case 0: {
        const key = this.bytes(this.pick(16, 32));
        const mode = this.pick(...modes, Alg.NULL, Alg.CMAC);
        const attributes = mode === Alg.CMAC ? keys.signing : this.#attributes();
        return keys.symmetricKey(this.pick(Alg.AES, Alg.CAMELLIA), key, mode, attributes);
      }
      case 1: {
        const scheme = this.pick(keys.noKeyedHashScheme, keys.hmacScheme(this.pick(...hashes)));
        return keys.keyedHash(this.bytes(1 + this.#below(64)), scheme);
      }
      case 2: {
        const oaep = { scheme: Alg.OAEP, hash: this.pick(...hashes), count: 0 };
        const scheme = this.pick(noScheme, rsaes, oaep);
        const attributes = scheme === noScheme ? this.#attributes() : keys.decrypting;
        return keys.rsaKey(this.#rsa, scheme, attributes);
      }
      default: {
        const ecdaa = { scheme: Alg.ECDAA, hash: Alg.SHA256, count: 1 };
        const scheme = this.pick(noScheme, noScheme, { ...ecdaa, scheme: Alg.ECDH, count: 0 }, ecdaa);
        let attributes = this.#attributes();
        if (scheme.scheme === Alg.ECDH) attributes = keys.decrypting;
        if (scheme === ecdaa) attributes = keys.signing;
        return keys.eccKey(this.pick(...curves), this.bytes(8), scheme, attributes);
      }
    }
  }

  #point(key) {
    const curve = key.publicArea.parameters.curveID ?? this.pick(...curves);
    const point = crypto.eccPublic(curve, this.bytes(8));
    return this.pick(point, point, point, { x: point.x, y: point.x }, { x: empty, y: empty });
  }

  #scheme() {
    return this.pick(noScheme, rsaes, { scheme: Alg.OAEP, hash: this.pick(...hashes), count: 0 });
  }

  /** Ciphertexts of good padding, numbers without one, and what has the wrong length. */
  #decryption(key) {
    const own = key.publicArea.type === Alg.RSA ? key.publicArea.parameters.scheme : noScheme;
    const raw = own.scheme === Alg.NULL && this.pick(true, false);
    const cipherText = raw ? Uint8Array.of(0, ...this.bytes(255)) : this.bytes(this.pick(0, 255, 257));
    const label = this.pick(empty, Uint8Array.of(1), Uint8Array.of(1, 0));
    return { cipherText, inScheme: raw ? noScheme : this.#scheme(), label };
  }

  #sequence(start) {
    const updates = Array.from({ length: this.#below(4) }, () => {
      const begin = this.pick(empty, empty, Uint8Array.of(0xff, 0x54, 0x43, 0x47));
      return { buffer: Uint8Array.of(...begin, ...this.bytes(this.#length(0, 1, 64, 128, 300))) };
    });
    return [
      start,
      ...updates.map((parameters) => command("SequenceUpdate", [SEQUENCE], parameters)),
      // A ticket is another TPM's: only that of the NULL hierarchy is the same.
      command("SequenceComplete", [SEQUENCE], { buffer: this.bytes(this.#length(0, 5)), hierarchy: Rh.NULL }),
      flush(SEQUENCE),
    ];
  }

  /** Commands on a key that is loaded, or on none. */
  next(key) {
    const wantedMac = this.pick(Alg.NULL, Alg.CMAC, ...hashes);
    const mode = this.pick(...modes, Alg.NULL);
    const cipher = {
      mode,
      decrypt: this.pick(true, false),
      ivIn: this.bytes(this.pick(16, 16, mode === Alg.ECB ? 0 : 16, 8)),
      inData: this.bytes(this.#length(0, 16, 32, 48)),
    };
    const any = this.#below(12);
    switch (this.#below(4) === 0 ? any : this.pick(...fitting.get(key.publicArea.type))) {
      case 0:
        return [command("EncryptDecrypt", [KEY], cipher)];
      case 1:
      case 2:
        return [command("EncryptDecrypt2", [KEY], cipher)];
      case 3:
        return [command("HMAC", [KEY], { buffer: this.bytes(this.#length(0, 16)), hashAlg: wantedMac })];
      case 4:
        return this.#sequence(command("HMAC_Start", [KEY], { auth: empty, hashAlg: wantedMac }));
      case 5:
        return this.#sequence(
          command("HashSequenceStart", [], { auth: empty, hashAlg: this.pick(Alg.NULL, ...hashes) }),
        );
      case 6: {
        const data = this.bytes(this.#length(0, 1000));
        return [command("Hash", [], { data, hashAlg: this.pick(...hashes), hierarchy: Rh.NULL })];
      }
      case 7:
        return [command("RSA_Decrypt", [KEY], this.#decryption(key))];
      case 8: {
        const message = this.bytes(this.#below(120));
        return [command("RSA_Encrypt", [KEY], { message, inScheme: this.#scheme(), label: empty })];
      }
      case 9:
        return [
          command("ECDH_ZGen", [KEY], { inPoint: this.#point(key) }),
          command("ECDH_KeyGen", [KEY], {}),
        ];
      case 10: {
        const [inQsB, inQeB] = [this.#point(key), this.#point(key)];
        return [command("ZGen_2Phase", [KEY], { inQsB, inQeB, inScheme: Alg.ECDH, counter: 40_000 })];
      }
      default: {
        const [s2, y2] = [this.bytes(this.pick(0, 5)), this.bytes(this.pick(0, 32))];
        return [command("Commit", [KEY], { P1: this.#point(key), s2, y2 })];
      }
    }
  }
}

const RETRY = 0x922;

/** swtpm ended: not our fault, and nothing to compare with. */
class PeerEnded extends Error {}

export async function* run({ seed, count, position }) {
  const rsa = crypto.rsaDerive(2048, 0, 1, crypto.random);
  for (let done = position; done < count; ) {
    const folder = mkdtempSync(join(tmpdir(), "entresol-cryptography-as-swtpm-"));
    const peer = await startSwtpm(folder);
    const tpm = new Tpm();
    tpm.execute(command("Startup", [], { startupType: 0 }).bytes);
    const messages = [];
    let mismatches = 0;
    const both = async ({ name, bytes }) => {
      const ours = Buffer.from(tpm.execute(bytes));
      let theirs = await peer.send(bytes);
      if (theirs !== undefined && codeOf(theirs) === RETRY) theirs = await peer.send(bytes);
      if (theirs === undefined) throw new PeerEnded(`${name} ${Buffer.from(bytes).toString("hex")}`);
      const same = exact.has(name) ? ours.equals(theirs) : codeOf(ours) === codeOf(theirs);
      if (same) return;
      mismatches++;
      const [a, b] = [codeOf(ours), codeOf(theirs)].map(responseCodeName);
      messages.push(`case ${done}: ${a}, swtpm ${b}: ${name} ${Buffer.from(bytes).toString("hex")}`);
    };
    try {
      const cases = new Cases(seed + done, rsa);
      for (let i = 0; i < SESSION && done < count; i++, done++) {
        const key = cases.key();
        const { publicArea, sensitive } = key;
        const load = { inPrivate: sensitive, inPublic: publicArea, hierarchy: Rh.NULL };
        await both(command("LoadExternal", [], load));
        for (const each of cases.next(key)) await both(each);
        await both(flush(KEY));
      }
    } catch (error) {
      if (!(error instanceof PeerEnded)) throw error;
      messages.push(`case ${done}: swtpm did not survive ${error.message}`);
      done++;
    } finally {
      await peer.stop();
      rmSync(folder, { recursive: true, force: true });
    }
    yield { position: done, mismatches, messages };
  }
}
