// Random commands that sign, verify and attest, sent to a TPM here and to swtpm: their response codes are the same, and so is what is signed and does
// not hang on a TPM's own secrets. One case is one command; every SESSION cases both start anew. Needs swtpm in the PATH.
// Left out are differences to libtpms 0.9.2 that are meant: it does not look at reserved bits of a key usage, wants `restricted` of a key for agreement
// instead of one for encipherment, and gives RSAPSS with SHA-1 NULL for parameters, where RFC 4055 has an empty sequence. Now and then it answers
// TPM_RC_RETRY, with which nothing is compared.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Alg,
  Curve,
  commandOf,
  commands,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  Rc,
  Rh,
  responseCodeName,
  St,
  TPMS_ATTEST,
  TPMT_PUBLIC_NULL,
  TPMT_SENSITIVE,
  TPMT_SIG_SCHEME,
  TPMT_SIGNATURE,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { nodeProvider } from "../dist/crypto/node-provider.js";
import { bitString, element, objectIdentifier, Tag } from "../dist/der.js";
import { Tpm } from "../dist/index.js";
import { eccKey, hmacScheme, keyedHash, rsaKey, symmetricKey } from "../dist/testing/external-keys.js";
import { marshal } from "../dist/testing/objects.js";
import { startSwtpm } from "../dist/testing/swtpm.js";
import { eccTemplate, fixedKey } from "../dist/testing/templates.js";

export const description = "what attestation commands answer and sign compared with swtpm's";
export const defaultCount = 10_000;

const SESSION = 250;
const A = ObjectAttribute;
const empty = new Uint8Array(0);
/** Keys of a session: one from outside, one made to sign what the TPM has hashed, one from outside again. */
const KEYS = [0x80000000, 0x80000001, 0x80000002];
const NV_INDEX = 0x01000001;
const SESSION_HANDLE = 0x02000000;
const hashes = [Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512];
/** SplitMix64: `below(n)` is a number from 0 to n - 1. */
function generator(seed) {
  let state = BigInt.asUintN(64, BigInt(seed) * 0x9e3779b97f4a7c15n);
  return (n) => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return Number((z ^ (z >> 31n)) % BigInt(n));
  };
}

const sized = (...parts) => new TpmWriter().sized(Buffer.concat(parts)).finish();
const u32 = (value) => new TpmWriter().u32(value).finish();
const u16 = (value) => new TpmWriter().u16(value).finish();
const filled = (size, value = 0) => new Uint8Array(size).fill(value);

/** A command with an empty password for what needs one. */
function command(name, handles, ...parameters) {
  const { code, roles } = commandOf(commands[name].code);
  const writer = new TpmWriter();
  writer
    .u16(roles.length > 0 ? 0x8002 : 0x8001)
    .u32(0)
    .u32(code);
  for (const handle of handles) writer.u32(handle);
  if (roles.length > 0) writer.u32(9 * roles.length);
  for (const _ of roles) writer.u32(Rh.PW).u16(0).u8(1).u16(0);
  writer.bytes(Buffer.concat(parameters)).setU32(2, writer.length);
  return writer.finish();
}

const draw = generator(1);
const rsa = nodeProvider.rsaDerive(2048, 0, 1, (length) => filled(length).map(() => draw(256)));

/** What random cases are made of. */
class Cases {
  #below;
  /** Digest and signature that a TPM has made. */
  signed = {
    digest: filled(32),
    signature: marshal(TPMT_SIGNATURE, { sigAlg: Alg.HMAC, hash: Alg.SHA256, digest: filled(32) }),
  };

  constructor(seed) {
    this.#below = generator(seed);
  }

  pick(...values) {
    return values[this.#below(values.length)];
  }
  one(of) {
    return this.#below(of) === 0;
  }

  #scheme(...schemes) {
    const scheme = this.pick(...schemes);
    return scheme === Alg.NULL ? noScheme : { scheme, hash: this.pick(...hashes), count: 0 };
  }

  #key() {
    const { sign, decrypt, userWithAuth, noDA, x509sign } = A;
    const base = userWithAuth | noDA;
    switch (this.#below(5)) {
      case 0:
        return rsaKey(rsa, this.#scheme(Alg.RSASSA, Alg.RSAPSS), base | sign);
      case 1:
        return rsaKey(rsa, noScheme, base | this.pick(sign, sign, decrypt, sign | decrypt, sign | x509sign));
      case 2: {
        const curve = this.pick(Curve.NIST_P256, Curve.NIST_P384);
        const scheme = this.#scheme(Alg.NULL, Alg.NULL, Alg.ECDSA, Alg.ECDAA, Alg.ECSCHNORR);
        return eccKey(curve, Uint8Array.of(3, 1, 4), scheme, base | sign);
      }
      case 3:
        return keyedHash(filled(20, 7), this.one(3) ? undefined : hmacScheme(this.pick(...hashes)));
      default:
        return this.one(3)
          ? symmetricKey(Alg.AES, filled(16, 5), Alg.CFB)
          : eccKey(
              Curve.NIST_P256,
              Uint8Array.of(2, 7),
              noScheme,
              base | this.pick(sign, decrypt, sign | decrypt),
            );
    }
  }

  #load() {
    const { publicArea, sensitive } = this.#key();
    const inPrivate = this.one(8) ? sized() : sized(marshal(TPMT_SENSITIVE, sensitive));
    return command("LoadExternal", [], inPrivate, sized(marshal(TPMT_PUBLIC_NULL, publicArea)), u32(Rh.NULL));
  }

  setUp() {
    const restricted = eccTemplate({
      objectAttributes: fixedKey | A.sign | A.restricted,
      parameters: { symmetric: noSymmetric, scheme: { scheme: Alg.ECDSA, hash: Alg.SHA256, count: 0 } },
    });
    const inPublic = sized(marshal(TPMT_PUBLIC_NULL, restricted));
    const hierarchy = this.pick(Rh.OWNER, Rh.ENDORSEMENT);
    const nvPublic = [u32(NV_INDEX), u16(Alg.SHA256), u32(0x00040004 | 0x00020002), sized(), u16(40)];
    return [
      this.#load(),
      command("CreatePrimary", [hierarchy], sized(sized(), sized()), inPublic, sized(), filled(4)),
      this.#load(),
      command("NV_DefineSpace", [Rh.OWNER], sized(), sized(...nvPublic)),
      ...(this.one(6) ? [] : [command("NV_Write", [Rh.OWNER, NV_INDEX], sized(filled(40, 3)), u16(0))]),
      command(
        "StartAuthSession",
        [Rh.NULL, Rh.NULL],
        sized(filled(16)),
        sized(),
        filled(1),
        u16(Alg.NULL),
        u16(Alg.SHA256),
      ),
    ];
  }

  key() {
    return this.pick(...KEYS);
  }
  #signer() {
    return this.pick(...KEYS, ...KEYS, Rh.NULL);
  }
  #inScheme() {
    const asked = [Alg.RSASSA, Alg.RSAPSS, Alg.ECDSA, Alg.HMAC, Alg.ECSCHNORR, Alg.ECDAA];
    const scheme = this.#scheme(Alg.NULL, Alg.NULL, Alg.NULL, ...asked);
    return marshal(TPMT_SIG_SCHEME, scheme);
  }
  #data() {
    return sized(this.pick(empty, filled(8, 1), filled(50, 2)));
  }
  #ticket(tag) {
    const hierarchy = this.pick(Rh.NULL, Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM);
    return [u16(tag), u32(hierarchy), sized(this.pick(empty, empty, filled(32), filled(64)))];
  }

  sign() {
    const digest = filled(this.pick(20, 32, 48, 64, 31, 0), 0x5a);
    return command("Sign", [this.key()], sized(digest), this.#inScheme(), ...this.#ticket(St.HASHCHECK));
  }

  verify() {
    const digest = this.signed.digest.slice();
    const signature = this.signed.signature.slice();
    if (this.one(6)) digest[0] ^= 1;
    if (this.one(6)) signature[this.#below(signature.length)] ^= 1 << this.#below(8);
    return command("VerifySignature", [this.key()], sized(digest), signature);
  }

  attest() {
    const common = [this.#data(), this.#inScheme()];
    switch (this.#below(7)) {
      case 0:
        return command("Certify", [this.key(), this.#signer()], ...common);
      case 1: {
        const [data, scheme] = common;
        const ticket = this.#ticket(St.CREATION);
        return command(
          "CertifyCreation",
          [this.#signer(), this.key()],
          data,
          sized(filled(32)),
          scheme,
          ...ticket,
        );
      }
      case 2: {
        const select = this.pick([0, 0, 0], [1, 0, 0], [255, 255, 255]);
        const bank = [u16(this.pick(Alg.SHA1, Alg.SHA256)), Uint8Array.of(3, ...select)];
        const selection = this.one(4) ? [u32(0)] : [u32(1), ...bank];
        return command("Quote", [this.#signer()], ...common, ...selection);
      }
      case 3:
        return command("GetTime", [Rh.ENDORSEMENT, this.#signer()], ...common);
      case 4: {
        const [size, offset] = this.pick([0, 0], [0, 0], [40, 0], [4, 36], [5, 36], [0, 40], [2000, 0]);
        const auth = this.pick(Rh.OWNER, Rh.OWNER, NV_INDEX, Rh.PLATFORM);
        return command("NV_Certify", [this.#signer(), auth, NV_INDEX], ...common, u16(size), u16(offset));
      }
      case 5:
        return command("GetSessionAuditDigest", [Rh.ENDORSEMENT, this.#signer(), SESSION_HANDLE], ...common);
      default:
        return command("GetCommandAuditDigest", [Rh.ENDORSEMENT, this.#signer()], ...common);
    }
  }

  #extension(identifier, bits) {
    const value = element(Tag.OCTET_STRING, element(Tag.BIT_STRING, bits));
    const critical = this.one(2) ? [element(Tag.BOOLEAN, Uint8Array.of(255))] : [];
    return element(Tag.SEQUENCE, objectIdentifier(identifier), ...critical, value);
  }

  certificate() {
    const extensions = [];
    if (!this.one(8)) {
      const [unused, ...bits] = this.pick([7, 128], [6, 0xc0], [1, 6], [7, 0, 128], [4, 16], [0]);
      extensions.push(this.#extension("2.5.29.15", Uint8Array.of(unused, ...bits)));
    }
    if (this.one(4)) {
      const attributes = this.pick(A.userWithAuth | A.noDA | A.sign, fixedKey | A.sign | A.restricted);
      extensions.push(this.#extension("2.23.133.10.1.1.1", new Uint8Array([0, ...u32(attributes)])));
    }
    if (this.one(3)) extensions.unshift(this.#extension("2.5.29.19", Uint8Array.of(0)));
    const names = [];
    const count = this.pick(3, 3, 3, 3, 4, 2, 5);
    for (let i = 0; i < count; i++) names.push(element(Tag.SEQUENCE, filled(this.#below(60), 5)));
    names.push(element(Tag.CONTEXT + 3, element(Tag.SEQUENCE, ...extensions)));
    if (this.one(12)) names.push(bitString(filled(1)));
    let der = element(Tag.SEQUENCE, ...names);
    if (this.one(12)) der = der.subarray(0, this.#below(der.length));
    const reserved = sized(this.one(20) ? filled(1) : empty);
    const signer = this.key();
    return command("CertifyX509", [this.key(), signer], reserved, this.#inScheme(), sized(der));
  }

  next() {
    return this.pick(this.sign, this.verify, this.verify, this.attest, this.attest, this.certificate).call(
      this,
    );
  }
}

const codeOf = (response) => Buffer.from(response).readUInt32BE(6);

/** What an answer of success says, without what differs from TPM to TPM: as text. `isOurs` of the key that each TPM has made itself. */
function substance(name, response, hasOwnKey) {
  const { responseList, roles } = commandOf(commands[name].code);
  const reader = new TpmReader(response, 10);
  if (roles.length > 0) reader.u32();
  const said = {};
  for (const [key, type] of responseList) {
    const value = type.read(reader);
    if (key === "signature") {
      const { sigAlg, hash } = value;
      said[key] = { sigAlg, hash };
      // Signed is either the same digest or an attestation of the clock.
      if (name === "Sign" && (sigAlg === Alg.RSASSA || sigAlg === Alg.HMAC) && !hasOwnKey) said[key] = value;
    } else if (["certifyInfo", "quoted", "timeInfo", "auditInfo"].includes(key)) {
      const {
        clockInfo: _,
        firmwareVersion: __,
        qualifiedSigner,
        attested,
        ...rest
      } = TPMS_ATTEST.read(new TpmReader(value));
      said[key] = { ...rest, signer: hasOwnKey ? qualifiedSigner.length : qualifiedSigner };
      if (rest.type === St.ATTEST_TIME) continue;
      if (!hasOwnKey || rest.type === St.ATTEST_QUOTE) said[key].attested = attested;
    } else if (!hasOwnKey) said[key] = value;
  }
  if (reader.remaining > 0 && roles.length === 0) said.rest = reader.remaining;
  const { sigAlg, hash } = said.signature ?? {};
  if (name === "CertifyX509" && sigAlg === Alg.RSAPSS && hash === Alg.SHA1) return "";
  return JSON.stringify(said, (_, value) =>
    value instanceof Uint8Array
      ? Buffer.from(value).toString("hex")
      : typeof value === "bigint"
        ? String(value)
        : value,
  );
}

export async function* run({ seed, count, position }) {
  for (let done = position; done < count; ) {
    const folder = mkdtempSync(join(tmpdir(), "entresol-attestation-as-swtpm-"));
    const peer = await startSwtpm(folder);
    const tpm = new Tpm();
    tpm.execute(command("Startup", [], filled(2)));
    const messages = [];
    let mismatches = 0;
    try {
      const cases = new Cases(seed + done);
      for (const bytes of cases.setUp()) {
        const ours = codeOf(tpm.execute(bytes));
        const answer = await peer.send(bytes);
        const theirs = answer && codeOf(answer);
        if (theirs === undefined || ours !== theirs) {
          mismatches++;
          const answered = theirs === undefined ? "dead" : responseCodeName(theirs);
          const what = Buffer.from(bytes).toString("hex");
          messages.push(`set-up of ${done}: ${responseCodeName(ours)}, swtpm ${answered}: ${what}`);
        }
      }
      for (let i = 0; i < SESSION && done < count; i++, done++) {
        const bytes = cases.next();
        const { name, handleNames } = commandOf(Buffer.from(bytes).readUInt32BE(6));
        const answer = tpm.execute(bytes);
        const peerAnswer = await peer.send(bytes);
        if (peerAnswer === undefined) {
          // Not our fault, and nothing to compare with: the next session goes on behind it.
          messages.push(`case ${done}: swtpm did not survive ${Buffer.from(bytes).toString("hex")}`);
          done++;
          break;
        }
        const [ours, theirs] = [codeOf(answer), codeOf(peerAnswer)];
        if (theirs === Rc.RETRY) continue;
        if (ours !== theirs) {
          mismatches++;
          messages.push(
            `case ${done}: ${responseCodeName(ours)}, swtpm ${responseCodeName(theirs)}: ${name} ${Buffer.from(bytes).toString("hex")}`,
          );
        } else if (ours === 0) {
          const handles = handleNames.map((_, at) => Buffer.from(bytes).readUInt32BE(10 + 4 * at));
          const hasOwnKey = handles.includes(KEYS[1]);
          const [a, b] = [answer, peerAnswer].map((response) => substance(name, response, hasOwnKey));
          if (a !== b) {
            mismatches++;
            messages.push(`case ${done}: ${a}, swtpm ${b}: ${name} ${Buffer.from(bytes).toString("hex")}`);
          }
          if (name === "Sign") {
            const reader = new TpmReader(bytes, 10 + 4 + 4 + 9);
            const digest = reader.take(reader.u16());
            const response = new TpmReader(cases.one(2) ? answer : peerAnswer, 10);
            cases.signed = { digest, signature: response.take(response.u32()) };
          }
        }
      }
    } finally {
      await peer.stop();
      rmSync(folder, { recursive: true, force: true });
    }
    yield { position: done, mismatches, messages };
  }
}
