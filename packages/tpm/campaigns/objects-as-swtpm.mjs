// Random commands that make, load, import and evict objects, sent to a TPM here and to swtpm: their response codes are the same. Templates are near
// enough to good ones that every check is reached. One case is one command; every SESSION cases both start anew. Needs swtpm in the PATH.
import { createHash, createHmac } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Alg,
  commandOf,
  commands,
  ObjectAttribute,
  Rh,
  responseCodeName,
  TPMS_DERIVE,
  TPMT_PUBLIC_NULL,
  TPMT_SENSITIVE,
  TpmWriter,
} from "@entresol/tpm-types";
import { Tpm } from "../dist/index.js";
import { marshal } from "../dist/testing/objects.js";
import { startSwtpm } from "../dist/testing/swtpm.js";
import { derivationTemplate, eccTemplate, movableKey, storageKey } from "../dist/testing/templates.js";

export const description = "response codes of random object commands compared with swtpm's";
export const defaultCount = 10_000;

const SESSION = 500;
const A = ObjectAttribute;
const empty = new Uint8Array(0);
/** The parents of a session; the third slot, which is all that swtpm has, is for what a case makes. */
const [PARENT, DERIVING, MADE] = [0x80000000, 0x80000001, 0x80000002];
const noCipher = { algorithm: Alg.NULL, keyBits: 0, mode: Alg.NULL, hash: Alg.NULL };
const cipher = { algorithm: Alg.AES, keyBits: 128, mode: Alg.CFB, hash: Alg.NULL };
const hashes = [
  [Alg.SHA1, "sha1", 20],
  [Alg.SHA256, "sha256", 32],
  [Alg.SHA384, "sha384", 48],
];

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

const sized = (...parts) => {
  const bytes = Buffer.concat(parts);
  return new TpmWriter().sized(bytes).finish();
};
const u32 = (value) => new TpmWriter().u32(value).finish();
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
  if (roles.length > 0) writer.u32(9).u32(Rh.PW).u16(0).u8(1).u16(0);
  writer.bytes(Buffer.concat(parameters)).setU32(2, writer.length);
  return writer.finish();
}

/** Makes the parents: fixed to the TPM, or movable. */
function setUp(fixed) {
  const change = fixed ? {} : { objectAttributes: movableKey | storageKey };
  return [eccTemplate(change), derivationTemplate(change)].map((template) =>
    command(
      "CreatePrimary",
      [Rh.OWNER],
      sized(filled(4)),
      sized(marshal(TPMT_PUBLIC_NULL, template)),
      filled(2),
      filled(4),
    ),
  );
}

/** What random cases are made of. */
class Cases {
  #below;

  constructor(seed) {
    this.#below = generator(seed);
  }

  pick(...values) {
    return values[this.#below(values.length)];
  }
  one(of) {
    return this.#below(of) === 0;
  }

  #attributes() {
    const made = A.sensitiveDataOrigin | A.userWithAuth;
    const fixed = A.fixedTPM | A.fixedParent;
    let attributes = this.pick(fixed | made, made, A.userWithAuth, fixed | A.userWithAuth);
    const { sign, decrypt, restricted } = A;
    attributes |= this.pick(sign, decrypt, decrypt | restricted, sign | restricted, 0, sign | decrypt);
    // Bits that swtpm does not know yet are left out.
    const { firmwareLimited: _, svnLimited: __, ...known } = A;
    while (this.one(3)) attributes ^= this.pick(...Object.values(known));
    return attributes;
  }

  #cipher() {
    return this.pick(
      noCipher,
      cipher,
      cipher,
      { ...cipher, keyBits: 256 },
      { ...cipher, mode: Alg.CTR },
      { ...cipher, algorithm: Alg.CAMELLIA },
    );
  }

  #scheme(...schemes) {
    const scheme = this.pick(Alg.NULL, Alg.NULL, ...schemes);
    const hash = scheme === Alg.NULL || scheme === Alg.RSAES ? Alg.NULL : this.pick(...hashes)[0];
    return { scheme, hash, count: 0 };
  }

  template() {
    const common = {
      nameAlg: this.pick(Alg.SHA256, Alg.SHA256, Alg.SHA256, Alg.SHA1, Alg.SHA384),
      objectAttributes: this.#attributes(),
      authPolicy: this.pick(empty, empty, empty, filled(32), filled(20)),
    };
    switch (this.#below(4)) {
      case 0: {
        const scheme = this.#scheme(Alg.ECDSA, Alg.ECDAA, Alg.ECDH, Alg.ECSCHNORR, Alg.SM2, Alg.ECMQV);
        const curveID = this.pick(3, 3, 3, 4, 5, 1, 0x10, 0x20);
        const kdf = this.one(8)
          ? { scheme: Alg.KDF2, hash: Alg.SHA256 }
          : { scheme: Alg.NULL, hash: Alg.NULL };
        const parameters = { symmetric: this.#cipher(), scheme, curveID, kdf };
        return { type: Alg.ECC, ...common, parameters, unique: { x: empty, y: empty } };
      }
      case 1: {
        const scheme = this.pick(Alg.NULL, Alg.HMAC, Alg.XOR);
        const hash = scheme === Alg.NULL ? Alg.NULL : this.pick(...hashes)[0];
        const kdf = scheme === Alg.XOR ? this.pick(Alg.KDF1_SP800_108, Alg.MGF1) : Alg.NULL;
        return {
          type: Alg.KEYEDHASH,
          ...common,
          parameters: { scheme: { scheme, hash, kdf } },
          unique: empty,
        };
      }
      case 2: {
        const sym = this.#cipher();
        const used = sym.algorithm === Alg.NULL ? { ...cipher, mode: Alg.CMAC } : sym;
        return { type: Alg.SYMCIPHER, ...common, parameters: { sym: used }, unique: empty };
      }
      default: {
        const scheme = this.#scheme(Alg.RSASSA, Alg.RSAPSS, Alg.RSAES, Alg.OAEP);
        const exponent = this.pick(0, 0, 65537, 3, 65538, 65539);
        const parameters = { symmetric: this.#cipher(), scheme, keyBits: 2048, exponent };
        return { type: Alg.RSA, ...common, parameters, unique: empty };
      }
    }
  }

  /** TPM2B_SENSITIVE_CREATE. */
  #creation(...data) {
    const auth = this.pick(empty, empty, empty, filled(20, 1), filled(32, 1), filled(40, 1));
    return sized(sized(auth), sized(this.pick(...data)));
  }

  create() {
    const data = [empty, empty, filled(16), filled(32), filled(70), filled(128)];
    const inPublic = sized(marshal(TPMT_PUBLIC_NULL, this.template()));
    const rest = [this.#creation(...data), inPublic, filled(2), filled(4)];
    switch (this.#below(3)) {
      case 0:
        return command("Create", [this.pick(PARENT, PARENT, DERIVING)], ...rest);
      case 1:
        return command("CreatePrimary", [this.pick(Rh.OWNER, Rh.NULL)], ...rest);
      default:
        return command("CreateLoaded", [this.pick(PARENT, Rh.OWNER)], ...rest.slice(0, 2));
    }
  }

  derive() {
    const template = this.template();
    if (!this.one(3)) template.objectAttributes &= ~A.sensitiveDataOrigin;
    if (!this.one(3)) template.objectAttributes |= A.fixedParent | A.fixedTPM;
    const whole = marshal(TPMT_PUBLIC_NULL, template);
    const unique = template.type === Alg.ECC ? 4 : 2;
    const [label, context] = this.pick(
      [empty, empty],
      [filled(4), empty],
      [filled(32), filled(32)],
      [filled(33), empty],
    );
    const head = whole.subarray(0, whole.length - unique);
    const derive = marshal(TPMS_DERIVE, { label, context });
    const inPublic = sized(head, derive, this.pick(empty, empty, empty, filled(1)));
    const creation = this.#creation(
      empty,
      empty,
      filled(4),
      Uint8Array.of(0, 1, 1, 0, 0),
      filled(1),
      Uint8Array.of(0, 40),
    );
    return command("CreateLoaded", [DERIVING], creation, inPublic);
  }

  /** A sensitive area for the template, whose `unique` is set to fit more often than not. */
  #sensitive(template) {
    const [, hash, size] = hashes.find(([alg]) => alg === template.nameAlg);
    const fits = filled(size);
    const seedValue = this.pick(empty, fits, fits, fits, filled(size / 2), filled(size / 2 - 1), filled(64));
    let secret;
    if (template.type === Alg.RSA) {
      // No factor of the modulus below, as 0xff... would be: a second factor of 1025 bits is enough for swtpm.
      secret = this.pick(filled(128, 0xfb), filled(127));
      template.unique = this.pick(filled(256, 0xff), filled(255), filled(256, 0x7f));
    } else if (template.type === Alg.ECC) {
      secret = this.pick(filled(32), filled(32, 1), Uint8Array.of(1), filled(66, 0xff));
      template.unique = this.pick({ x: filled(32, 1), y: filled(32, 2) }, { x: filled(31), y: empty });
    } else {
      secret = template.type === Alg.SYMCIPHER ? filled(this.pick(16, 32)) : filled(this.pick(16, 65, 128));
      const isParent = (template.objectAttributes & storageKey) === storageKey;
      const digest = isParent ? createHmac(hash, seedValue) : createHash(hash).update(seedValue);
      const bound = new Uint8Array(digest.update(secret).digest());
      template.unique = this.pick(bound, bound, bound, filled(size), filled(size - 1));
    }
    const sensitiveType = this.one(6) ? Alg.KEYEDHASH : template.type;
    // Nothing longer than a digest: swtpm 0.7.1 does not survive that below a movable parent.
    const authValue = this.pick(empty, empty, filled(20));
    return marshal(TPMT_SENSITIVE, { sensitiveType, authValue, seedValue, sensitive: secret });
  }

  loadExternal() {
    const template = this.template();
    const { fixedTPM, fixedParent, restricted } = A;
    if (!this.one(3)) template.objectAttributes &= ~(fixedTPM | fixedParent | restricted);
    const sensitive = this.#sensitive(template);
    const nameAlg = this.one(4) ? Alg.NULL : template.nameAlg;
    const inPublic = sized(marshal(TPMT_PUBLIC_NULL, { ...template, nameAlg }));
    const hierarchy = u32(this.pick(Rh.OWNER, Rh.NULL, Rh.NULL));
    return command("LoadExternal", [], this.one(2) ? sized(sensitive) : filled(2), inPublic, hierarchy);
  }

  import() {
    const template = this.template();
    if (!this.one(4)) template.objectAttributes &= ~(A.fixedTPM | A.fixedParent);
    let duplicate = sized(this.#sensitive(template));
    if (this.one(8)) duplicate = duplicate.subarray(0, this.#below(duplicate.length));
    if (this.one(8)) duplicate = Buffer.concat([duplicate, filled(1)]);
    const inner = this.one(6);
    const key = inner ? filled(this.pick(16, 16, 15)) : this.pick(empty, empty, empty, filled(16));
    const seed = this.pick(empty, empty, empty, empty, filled(1), filled(70));
    const symmetric = inner ? Uint8Array.of(0, 6, 0, 128, 0, 0x43) : Uint8Array.of(0, 0x10);
    const inPublic = sized(marshal(TPMT_PUBLIC_NULL, template));
    const parent = this.pick(PARENT, PARENT, PARENT, DERIVING);
    return command("Import", [parent], sized(key), inPublic, sized(duplicate), sized(seed), symmetric);
  }

  evict() {
    const object = this.pick(PARENT, DERIVING, 0x81000000, 0x81000001, 0x81800000, 0x80000005);
    const persistent = this.pick(object, 0x81000000, 0x81000001, 0x81800000, 0x81ffffff, 0x82000000);
    return command("EvictControl", [this.pick(Rh.OWNER, Rh.PLATFORM), object], u32(persistent));
  }

  next() {
    return this.pick(this.create, this.create, this.derive, this.loadExternal, this.import, this.evict).call(
      this,
    );
  }
}

const codeOf = (response) => Buffer.from(response).readUInt32BE(6);

export async function* run({ seed, count, position }) {
  for (let done = position; done < count; ) {
    const folder = mkdtempSync(join(tmpdir(), "entresol-objects-as-swtpm-"));
    const peer = await startSwtpm(folder);
    const tpm = new Tpm();
    tpm.execute(command("Startup", [], filled(2)));
    const messages = [];
    let mismatches = 0;
    try {
      const cases = new Cases(seed + done);
      for (const bytes of setUp(cases.one(2))) {
        tpm.execute(bytes);
        await peer.send(bytes);
      }
      for (let i = 0; i < SESSION && done < count; i++, done++) {
        const bytes = cases.next();
        const ours = codeOf(tpm.execute(bytes));
        const answer = await peer.send(bytes);
        if (answer === undefined) {
          // Not our fault, and nothing to compare with: the next session goes on behind it.
          messages.push(`case ${done}: swtpm did not survive ${Buffer.from(bytes).toString("hex")}`);
          done++;
          break;
        }
        const theirs = codeOf(answer);
        if (ours !== theirs) {
          mismatches++;
          const what = `${commandOf(Buffer.from(bytes).readUInt32BE(6)).name} ${Buffer.from(bytes).toString("hex")}`;
          messages.push(
            `case ${done}: ${responseCodeName(ours)}, swtpm ${responseCodeName(theirs)}: ${what}`,
          );
        }
        const flush = command("FlushContext", [], u32(MADE));
        tpm.execute(flush);
        await peer.send(flush);
      }
    } finally {
      await peer.stop();
      rmSync(folder, { recursive: true, force: true });
    }
    yield { position: done, mismatches, messages };
  }
}
