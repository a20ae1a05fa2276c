// Commands drawn from the command table, good, nearly good and mutated, to a TPM that has keys, NV indices, sequences and sessions; and saved states
// with changed bytes. Whatever comes: one whole response, no exception, never failure mode, no second of work. One case is one command or one state;
// every SESSION cases a new TPM. The engine's randomness and time come from the seed, so that a case that fails fails again.
import { createHash } from "node:crypto";
import {
  Alg,
  Cap,
  Curve,
  commandList,
  commandOf,
  commands,
  NvAttribute,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  Rc,
  Rh,
  SessionAttribute,
  St,
  Su,
  TPMS_CREATION_DATA,
  TPMS_ECC_POINT,
  TPMS_NV_PUBLIC,
  TPMS_SENSITIVE_CREATE,
  TPMT_PUBLIC,
  TPMT_SENSITIVE,
  TpmError,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { nodeProvider } from "../dist/crypto/node-provider.js";
import { Tpm, TpmStateError } from "../dist/index.js";
import { aes128Cfb, TpmClient } from "../dist/testing/client.js";
import { createPrimary, nameOf } from "../dist/testing/objects.js";
import {
  cipherTemplate,
  eccSigningTemplate,
  eccTemplate,
  fixedKey,
  rsaTemplate,
  sealTemplate,
} from "../dist/testing/templates.js";

export const description =
  "mutated and generated commands and saved states: always an answer, never failure mode";
export const defaultCount = 1_000_000;

/** Cases between two TPMs. */
const SESSION = 400;
/** CPU time that no command may take, ms. The search for RSA primes may: it asks whether it shall end instead. */
const LONGEST = 1000;
/** Messages of one step: the first say enough. */
const SHOWN = 5;
const empty = new Uint8Array(0);
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const NV = 0x0150_0000;
const [FIRST_PERSISTENT, PERSISTENT] = [0x8100_0001, 9];
/** The persistent keys, in the order of `templates`. */
const [STORAGE, RSA_STORAGE, RSA_KEY, ECC_KEY, ECDAA_KEY, CIPHER, SEALED, MAC_KEY, ECDH_KEY] = Array.from(
  { length: PERSISTENT },
  (_, n) => FIRST_PERSISTENT + n,
);
/** After these little is left to do: they are drawn more seldom. */
const final = new Set(
  [
    "Clear",
    "ClearControl",
    "ChangeEPS",
    "ChangePPS",
    "HierarchyChangeAuth",
    "HierarchyControl",
    "ReadOnlyControl",
  ].concat([
    "SetPrimaryPolicy",
    "Shutdown",
    "NV_UndefineSpace",
    "EvictControl",
    "DictionaryAttackParameters",
    "PCR_Allocate",
    "NV_GlobalWriteLock",
  ]),
);

/** SplitMix32, with the draws that the cases are made of. */
function randomFrom(seed) {
  let state = seed >>> 0;
  const word = () => {
    state = (state + 0x9e37_79b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  const below = (n) => word() % n;
  const pick = (choices) => choices[below(choices.length)];
  const bytes = (length) => Uint8Array.from({ length }, () => word() & 0xff);
  /** True one time in `n`. */
  const rarely = (n) => below(n) === 0;
  return { word, below, pick, bytes, rarely };
}

const ids = Object.values(Alg);
const sizes = [0, 0, 1, 2, 3, 4, 8, 16, 20, 32, 32, 48, 64, 128, 256, 1024];
const halves = [
  ...ids,
  ...ids,
  ...Object.values(Curve),
  ...sizes,
  ...sizes,
  128,
  256,
  1024,
  2048,
  0xffff,
  0x7fff,
  0x8000,
];
const attributeBits = Object.values(ObjectAttribute);
const permanents = [
  Rh.OWNER,
  Rh.OWNER,
  Rh.OWNER,
  Rh.OWNER,
  Rh.NULL,
  Rh.ENDORSEMENT,
  Rh.PLATFORM,
  Rh.LOCKOUT,
  Rh.PLATFORM_NV,
  Rh.PW,
  Rh.ACT_0,
];
const handles = [
  ...permanents,
  ...[0, 1, 2, 0x40].flatMap((n) => [0x8000_0000 + n, 0x0200_0000 + n, 0x0300_0000 + n]),
  ...Array.from({ length: PERSISTENT + 1 }, (_, n) => FIRST_PERSISTENT + n),
  ...Array.from({ length: 7 }, (_, n) => NV + n),
  ...[0, 5, 16, 23, 24],
];
/** Handles of what there is when a session begins, and of what is made first. */
const likely = [
  ...[
    Rh.OWNER,
    Rh.OWNER,
    Rh.ENDORSEMENT,
    Rh.PLATFORM,
    Rh.LOCKOUT,
    0x8000_0000,
    0x0200_0000,
    0x0300_0000,
    0x0300_0001,
    16,
  ],
  ...Array.from({ length: PERSISTENT }, (_, n) => FIRST_PERSISTENT + n),
  ...Array.from({ length: 6 }, (_, n) => NV + n),
];
const words = [
  ...handles,
  ...Object.values(Cap),
  0,
  1,
  1,
  2,
  2,
  3,
  4,
  0xff,
  0x100,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffff,
];

/** Gives a type's `read` what it may accept: each number is drawn when it is asked for, and drawn again when it was refused. */
class Draft extends TpmReader {
  #random;
  #tape = [];
  #next = 0;
  #view;

  constructor(random) {
    super(new Uint8Array(4096));
    this.#view = new DataView(this.bytes.buffer);
    this.#random = random;
  }

  /** Bytes that `type` reads, or nearly. */
  draw(type) {
    for (let tries = 0; tries < 100; tries++) {
      this.offset = 0;
      this.#next = 0;
      try {
        type.read(this);
        break;
      } catch (error) {
        if (!(error instanceof TpmError)) throw error;
        this.#tape.length = Math.max(0, this.#next - 1);
      }
    }
    return this.bytes.slice(0, this.offset);
  }

  #drawn(draw) {
    if (this.#next === this.#tape.length) this.#tape.push(draw());
    return this.#tape[this.#next++];
  }
  #half() {
    const { below, pick, word } = this.#random;
    return this.#drawn(() => (below(16) > 0 ? pick(halves) : word() & 0xffff));
  }
  #word() {
    const { below, pick, word } = this.#random;
    return this.#drawn(() => {
      const kind = below(16);
      if (kind > 5) return pick(words);
      if (kind > 3) return below(4);
      if (kind === 0) return word();
      return attributeBits.reduce((all, bit) => (below(2) === 0 ? all : (all | bit) >>> 0), 0);
    });
  }
  #put(length, write) {
    if (this.offset + length <= this.end) write(this.offset);
  }
  u8() {
    const value = this.#drawn(() => this.#random.pick([0, 1, 1, 2, 3, 3, 8, this.#random.below(256)]));
    this.#put(1, (at) => this.#view.setUint8(at, value));
    return super.u8();
  }
  i8() {
    return (this.u8() << 24) >> 24;
  }
  u16() {
    const value = this.#half();
    this.#put(2, (at) => this.#view.setUint16(at, value));
    return super.u16();
  }
  u32() {
    const value = this.#word();
    this.#put(4, (at) => this.#view.setUint32(at, value));
    return super.u32();
  }
  i32() {
    return this.u32() | 0;
  }
  u64() {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  take(length) {
    this.#put(length, (at) => this.bytes.set(this.#random.bytes(length), at));
    return super.take(length);
  }
}

/** Structures in a TPM2B, whose size must be theirs. */
const contents = new Map([
  ["TPM2B_PUBLIC", TPMT_PUBLIC],
  ["TPM2B_TEMPLATE", TPMT_PUBLIC],
  ["TPM2B_SENSITIVE", TPMT_SENSITIVE],
  ["TPM2B_SENSITIVE_CREATE", TPMS_SENSITIVE_CREATE],
  ["TPM2B_CREATION_DATA", TPMS_CREATION_DATA],
  ["TPM2B_ECC_POINT", TPMS_ECC_POINT],
  ["TPM2B_NV_PUBLIC", TPMS_NV_PUBLIC],
]);
const plainName = ({ name }) => name.replace("+", "");
const marshal = (type, value) => {
  const writer = new TpmWriter();
  type.write(writer, value);
  return writer.finish();
};
const sized = (bytes) => new TpmWriter().sized(bytes).finish();

/** Values of a type that are kept: the newest. */
const KEPT = 24;

/** What was seen of each type in commands and responses, to be given back to the TPM. */
class Pool {
  #values = new Map();

  add(name, bytes) {
    const values = this.values(name);
    if (values.length === KEPT) values.shift();
    values.push(bytes);
    this.#values.set(name, values);
  }
  values(name) {
    return this.#values.get(name) ?? [];
  }
  copy() {
    const copy = new Pool();
    for (const [name, values] of this.#values) copy.#values.set(name, [...values]);
    return copy;
  }
}

/** Throws what is wrong with a response. */
function checkResponse(command, response, pool) {
  const wrong = (what) => new Error(`${what} in the response ${hex(response.subarray(0, 200))}`);
  if (response.length < 10) throw wrong("less than a header");
  const reader = new TpmReader(response);
  const [tag, size, rc] = [reader.u16(), reader.u32(), reader.u32()];
  if (size !== response.length) throw wrong("another size");
  if (rc === Rc.FAILURE) throw wrong("failure mode");
  if (rc !== Rc.SUCCESS) {
    if (size !== 10) throw wrong("more than a code");
    if (tag !== (rc === Rc.BAD_TAG ? St.RSP_COMMAND : St.NO_SESSIONS)) throw wrong("another tag");
    return;
  }
  const asked = new TpmReader(command);
  if (asked.u16() !== tag) throw wrong("another tag");
  asked.u32();
  const code = asked.u32();
  const { responseHandle, responseList, handleList } = commandOf(code);
  if (responseHandle !== undefined) reader.u32();
  let encrypted = false;
  if (tag === St.SESSIONS) {
    const end = reader.u32() + reader.offset;
    const area = new TpmReader(response, end);
    for (const _ of handleList) asked.u32();
    const areaEnd = asked.u32() + asked.offset;
    while (asked.offset < areaEnd) {
      asked.u32();
      asked.take(asked.u16());
      encrypted ||= (asked.u8() & SessionAttribute.encrypt) !== 0;
      asked.take(asked.u16());
      area.take(area.u16());
      area.u8();
      area.take(area.u16());
    }
    if (area.remaining > 0) throw wrong("bytes behind the sessions");
    reader.end = end;
  }
  // What is encrypted cannot be read, nor the constants of SM2, which name a hash that the TPM has not (as swtpm does).
  if (encrypted || (code === commands.ECC_Parameters.code && command.at(-1) === Curve.SM2_P256)) return;
  for (const [, type] of responseList) {
    const from = reader.offset;
    type.read(reader);
    pool.add(plainName(type), response.slice(from, reader.offset));
  }
  if (reader.remaining > 0) throw wrong("bytes behind the parameters");
}

/** A TPM whose every answer is looked at. */
class Watched {
  asked = 0;
  patience = 0;
  log = [];
  #time = 0;
  #random;
  #pool;
  tpm;

  constructor(random, pool, permanent) {
    this.#random = random;
    this.#pool = pool;
    this.tpm = this.make(permanent);
  }

  make(permanent) {
    const options = {
      crypto: { ...nodeProvider, random: this.#random.bytes },
      now: () => this.#time,
      canceled: () => this.asked++ >= this.patience,
      onFailure: (error) => {
        this.failure = error;
      },
    };
    return new Tpm(permanent === undefined ? options : { ...options, permanent });
  }

  execute(command, locality = 0) {
    return this.run(this.tpm, command, locality);
  }

  run(tpm, command, locality = 0) {
    this.#time += this.#random.rarely(50) ? this.#random.below(10_000_000) : this.#random.below(50);
    this.asked = 0;
    this.log.push(command);
    const before = performance.now();
    const cpuBefore = process.cpuUsage();
    const response = tpm.execute(command, locality);
    if (performance.now() - before > LONGEST && this.asked === 0) {
      const { user, system } = process.cpuUsage(cpuBefore);
      if ((user + system) / 1000 > LONGEST)
        throw new Error(`${Math.round((user + system) / 1000)} ms of work`);
    }
    if (tpm.failed) throw this.failure ?? new Error("failure mode");
    checkResponse(command, response, this.#pool);
    return response;
  }
}

const { OWNERREAD, OWNERWRITE, AUTHREAD, AUTHWRITE, NO_DA } = NvAttribute;
/** An index of each type: ordinary, counter, bits, extend, PIN fail and PIN pass, which authorize no writing. */
const nvIndices = [
  [0, AUTHWRITE, 64],
  [1, AUTHWRITE, 8],
  [2, AUTHWRITE, 8],
  [4, AUTHWRITE, 32],
  [8, NO_DA, 8],
  [9, 0, 8],
].map(([type, more, dataSize], n) => ({
  nvIndex: NV + n,
  nameAlg: Alg.SHA256,
  attributes: OWNERREAD | OWNERWRITE | AUTHREAD | more | (type << 4),
  authPolicy: empty,
  dataSize,
}));

/** A TPM with a key of every kind, persistent, and NV indices: its permanent state, with every command that led there. */
function prepare(random, pool) {
  const watched = new Watched(random, pool);
  watched.patience = Number.POSITIVE_INFINITY;
  const client = new TpmClient(watched);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  const { sign, decrypt } = ObjectAttribute;
  const rsaSign = rsaTemplate({
    objectAttributes: fixedKey | sign | decrypt,
    parameters: { symmetric: noSymmetric },
  });
  const macKey = sealTemplate({
    objectAttributes: fixedKey | sign,
    parameters: { scheme: { scheme: Alg.HMAC, hash: Alg.SHA256, kdf: Alg.NULL } },
  });
  const templates = [
    [eccTemplate()],
    [rsaTemplate()],
    [rsaSign],
    [eccSigningTemplate()],
    [eccSigningTemplate({ scheme: Alg.ECDAA, hash: Alg.SHA256, count: 1 })],
    [
      cipherTemplate({
        objectAttributes: fixedKey | sign | decrypt,
        parameters: { sym: { ...aes128Cfb, mode: Alg.NULL } },
      }),
    ],
    [sealTemplate(), "sealed"],
    [macKey],
    [eccTemplate({ objectAttributes: fixedKey | decrypt, parameters: { symmetric: noSymmetric } })],
  ];
  for (const [n, [template, data]] of templates.entries()) {
    const { handle } = createPrimary(client, template, { data });
    client.run(
      "EvictControl",
      { auth: Rh.OWNER, objectHandle: handle },
      { persistentHandle: FIRST_PERSISTENT + n },
    );
    client.run("FlushContext", {}, { flushHandle: handle });
  }
  for (const publicInfo of nvIndices)
    client.run("NV_DefineSpace", { authHandle: Rh.OWNER }, { auth: empty, publicInfo });
  const never = { newMaxTries: 1_000_000, newRecoveryTime: 0, lockoutRecovery: 0 };
  client.run("DictionaryAttackParameters", { lockHandle: Rh.LOCKOUT }, never);
  useEverything(client);
  for (const command of watched.log) harvest(command, pool);
  return { permanent: watched.tpm.savePermanent(), recorded: watched.log };
}

/** One good command at least of every group, so that there are good parameters and answers to go on with. */
function useEverything(client) {
  // What PolicySigned wants signed when nothing is said of nonce, cpHash and policyRef.
  const digest = new Uint8Array(createHash("sha256").update(new Uint8Array(4)).digest());
  const some = Uint8Array.of(1, 2, 3, 4);
  const run = (name, handles, parameters = {}, auth = undefined) => {
    const { handleNames } = commandOf(commands[name].code);
    const named = Object.fromEntries(handleNames.map((key, n) => [key, handles[n]]));
    return client.run(name, named, parameters, auth === undefined ? {} : { auth });
  };
  const flush = (flushHandle) => run("FlushContext", [], { flushHandle });
  const noTicket = { tag: St.HASHCHECK, hierarchy: Rh.NULL, digest: empty };
  const ecdsa = { ...noScheme, scheme: Alg.ECDSA, hash: Alg.SHA256 };
  const rsassa = { ...noScheme, scheme: Alg.RSASSA, hash: Alg.SHA256 };
  const rsaes = { ...noScheme, scheme: Alg.RSAES };
  const claims = { nonceTPM: empty, cpHashA: empty, policyRef: empty };
  const attested = { qualifyingData: some, inScheme: ecdsa };
  const pcrs = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(0xff, 0, 0) }];

  for (const [n, { nvIndex, dataSize }] of nvIndices.entries()) {
    const both = [Rh.OWNER, nvIndex];
    if (n === 1) run("NV_Increment", both);
    else if (n === 2) run("NV_SetBits", both, { bits: 5n });
    else if (n === 3) run("NV_Extend", both, { data: some });
    else run("NV_Write", both, { data: new Uint8Array(dataSize), offset: 0 });
    run("NV_Read", both, { size: dataSize, offset: 0 });
    run("NV_ReadPublic", [nvIndex]);
    run("NV_Certify", [ECC_KEY, ...both], { ...attested, size: dataSize, offset: 0 });
  }
  for (const [key, inScheme] of [
    [ECC_KEY, ecdsa],
    [RSA_KEY, rsassa],
  ]) {
    const { signature } = run("Sign", [key], { digest, inScheme, validation: noTicket });
    run("VerifySignature", [key], { digest, signature });
    const { handle } = client.session({ kind: "policy" });
    run("PolicySigned", [key, handle], { ...claims, expiration: 0, auth: signature }, []);
    flush(handle);
    run("Quote", [key], { ...attested, inScheme, PCRselect: pcrs });
    run("Certify", [STORAGE, key], { ...attested, inScheme });
    run("GetTime", [Rh.ENDORSEMENT, key], { ...attested, inScheme });
    run("GetCommandAuditDigest", [Rh.ENDORSEMENT, key], { ...attested, inScheme });
  }

  for (const inScheme of [rsaes, { ...noScheme, scheme: Alg.OAEP, hash: Alg.SHA256 }]) {
    const { outData } = run("RSA_Encrypt", [RSA_KEY], { message: some, inScheme, label: empty });
    run("RSA_Decrypt", [RSA_KEY], { cipherText: outData, inScheme, label: empty });
  }
  const { pubPoint } = run("ECDH_KeyGen", [ECDH_KEY]);
  run("ECDH_ZGen", [ECDH_KEY], { inPoint: pubPoint });
  const kdf = { scheme: Alg.KDF2, hash: Alg.SHA256 };
  const { C1, C2, C3 } = run("ECC_Encrypt", [ECDH_KEY], { plainText: some, inScheme: kdf });
  run("ECC_Decrypt", [ECDH_KEY], { C1, C2, C3, inScheme: kdf });
  const { Q, counter } = run("EC_Ephemeral", [], { curveID: Curve.NIST_P256 });
  run("ZGen_2Phase", [ECDH_KEY], { inQsB: pubPoint, inQeB: Q, inScheme: Alg.ECDH, counter });
  run("Commit", [ECDAA_KEY], { P1: pubPoint, s2: empty, y2: empty });
  for (const curveID of [Curve.NIST_P256, Curve.NIST_P384, Curve.SM2_P256])
    client.rc("ECC_Parameters", {}, { curveID });

  run("Hash", [], { data: some, hashAlg: Alg.SHA256, hierarchy: Rh.OWNER });
  run("HMAC", [MAC_KEY], { buffer: some, hashAlg: Alg.NULL });
  const crypted = { inData: new Uint8Array(32), decrypt: false, mode: Alg.CFB, ivIn: new Uint8Array(16) };
  run("EncryptDecrypt2", [CIPHER], crypted);
  run("EncryptDecrypt", [CIPHER], crypted);
  const starts = [
    () => run("HMAC_Start", [MAC_KEY], { auth: empty, hashAlg: Alg.NULL }),
    () => run("HashSequenceStart", [], { auth: empty, hashAlg: Alg.SHA256 }),
    () => run("HashSequenceStart", [], { auth: empty, hashAlg: Alg.NULL }),
  ];
  for (const start of starts) {
    const sequence = start().handle;
    run("SequenceUpdate", [sequence], { buffer: some });
    const { context } = run("ContextSave", [sequence]);
    flush(sequence);
    const { handle } = run("ContextLoad", [], { context });
    if (start !== starts[2]) run("SequenceComplete", [handle], { buffer: some, hierarchy: Rh.OWNER });
    else run("EventSequenceComplete", [16, handle], { buffer: some });
  }
  run("PCR_Extend", [16], { digests: [{ hashAlg: Alg.SHA256, digest }] });
  run("PCR_Event", [16], { eventData: some });
  run("PCR_Read", [], { pcrSelectionIn: pcrs });
  run("PCR_Reset", [16]);
  run("GetRandom", [], { bytesRequested: 16 });
  run("StirRandom", [], { inData: some });
  run("Unseal", [SEALED]);

  const inSensitive = { userAuth: empty, data: empty };
  const { userWithAuth, noDA, sign, sensitiveDataOrigin } = ObjectAttribute;
  const movable = eccSigningTemplate(noScheme, userWithAuth | noDA | sign | sensitiveDataOrigin);
  const making = { inSensitive, outsideInfo: empty, creationPCR: pcrs };
  for (const parent of [STORAGE, RSA_STORAGE]) {
    const made = run("Create", [parent], { ...making, inPublic: eccSigningTemplate() });
    const { handle, name } = run("Load", [parent], { inPrivate: made.outPrivate, inPublic: made.outPublic });
    run("ReadPublic", [handle]);
    const { creationHash, creationTicket } = made;
    run("CertifyCreation", [ECC_KEY, handle], { ...attested, creationHash, creationTicket });
    run("ObjectChangeAuth", [handle, parent], { newAuth: some });
    const { credentialBlob, secret } = run("MakeCredential", [parent], {
      credential: some,
      objectName: name,
    });
    run("ActivateCredential", [handle, parent], { credentialBlob, secret });
    const { context } = run("ContextSave", [handle]);
    flush(handle);
    flush(run("ContextLoad", [], { context }).handle);
    flush(run("CreateLoaded", [parent], { inSensitive, inPublic: marshal(TPMT_PUBLIC, movable) }).handle);
    flush(
      run("LoadExternal", [], { inPrivate: undefined, inPublic: made.outPublic, hierarchy: Rh.OWNER }).handle,
    );
    flush(
      run("LoadExternal", [], {
        inPrivate: undefined,
        inPublic: movedPublic(client, parent),
        hierarchy: Rh.NULL,
      }).handle,
    );
  }

  const { handle: policy, nonceTpm } = client.session({ kind: "policy" });
  run("PolicySecret", [Rh.OWNER, policy], { ...claims, nonceTPM: nonceTpm, expiration: -100_000 });
  for (const name of ["PolicyPassword", "PolicyAuthValue", "PolicyPhysicalPresence", "PolicyGetDigest"])
    run(name, [policy]);
  run("PolicyPCR", [policy], { pcrDigest: empty, pcrs });
  run("PolicyNvWritten", [policy], { writtenSet: true });
  run("PolicyLocality", [policy], { locality: 31 });
  run("PolicyNV", [Rh.OWNER, NV, policy], { operandB: Uint8Array.of(0), offset: 0, operation: 0 });
  run("PolicyCommandCode", [policy], { code: commands.Sign.code });
  run("PolicyCpHash", [policy], { cpHashA: digest });
  run("PolicyRestart", [policy]);
  run("PolicyNameHash", [policy], { nameHash: digest });
  run("ContextLoad", [], run("ContextSave", [policy]));
  flush(policy);
}

/** Makes a key that may move, duplicates and imports it: gives its public area. */
function movedPublic(client, parentHandle) {
  const trial = client.session({ kind: "trial" });
  const session = { policySession: trial.handle };
  client.run("PolicyCommandCode", session, { code: commands.Duplicate.code });
  const authPolicy = client.run("PolicyGetDigest", session, {}).policyDigest;
  client.run("FlushContext", {}, { flushHandle: trial.handle });
  const { userWithAuth, noDA, sign, sensitiveDataOrigin } = ObjectAttribute;
  const template = {
    ...eccSigningTemplate(noScheme, userWithAuth | noDA | sign | sensitiveDataOrigin),
    authPolicy,
  };
  const inSensitive = { userAuth: empty, data: empty };
  const making = { inSensitive, inPublic: template, outsideInfo: empty, creationPCR: [] };
  const made = client.run("Create", { parentHandle }, making);
  const { handle } = client.run(
    "Load",
    { parentHandle },
    { inPrivate: made.outPrivate, inPublic: made.outPublic },
  );
  const policy = client.session({ kind: "policy" });
  client.run("PolicyCommandCode", { policySession: policy.handle }, { code: commands.Duplicate.code });
  const { duplicate, outSymSeed } = client.run(
    "Duplicate",
    { objectHandle: handle, newParentHandle: parentHandle },
    { encryptionKeyIn: empty, symmetricAlg: noSymmetric },
    { auth: [{ session: policy, attributes: 0 }] },
  );
  client.run("FlushContext", {}, { flushHandle: handle });
  const seed = { inSymSeed: outSymSeed };
  const name = nameOf(made.outPublic);
  client.run(
    "Rewrap",
    { oldParent: parentHandle, newParent: STORAGE },
    { inDuplicate: duplicate, name, ...seed },
  );
  const imported = {
    encryptionKey: empty,
    objectPublic: made.outPublic,
    duplicate,
    ...seed,
    symmetricAlg: noSymmetric,
  };
  client.run("Import", { parentHandle }, imported);
  return made.outPublic;
}

/** One TPM and the commands that are sent to it. */
class Session {
  #random;
  #pool;
  #recorded;
  #client;
  #sessions = [];
  watched;

  constructor(random, pool, { permanent, recorded }) {
    this.#random = random;
    this.#pool = pool;
    this.#recorded = recorded;
    this.watched = new Watched(random, pool, permanent);
    this.#client = new TpmClient(this.watched);
    this.#startup(Su.CLEAR);
    for (const parent of [FIRST_PERSISTENT, FIRST_PERSISTENT + 1]) this.#make(parent);
  }

  step() {
    const { below, rarely, pick } = this.#random;
    this.watched.log.length = 0;
    this.watched.patience = rarely(40) ? 3 : 0;
    if (rarely(60)) this.#event();
    const kind = below(20);
    if (kind === 0) this.#restoreMutated();
    else if (kind < 5) this.watched.execute(this.#mutate(pick(this.#recorded)), this.#locality());
    else if (kind < 9)
      this.watched.execute(this.#mutate(this.#command(this.#drawCommand())), this.#locality());
    else if (kind < 15) this.watched.execute(this.#command(this.#drawCommand()), this.#locality());
    else this.#withSessions(this.#drawCommand());
  }

  #drawCommand() {
    const drawn = this.#random.pick(commandList);
    return final.has(drawn.name) && !this.#random.rarely(10) ? this.#drawCommand() : drawn;
  }
  #locality() {
    return this.#random.rarely(8) ? this.#random.pick([0, 1, 2, 3, 4, 32, 255]) : 0;
  }
  #startup(type) {
    this.watched.execute(Uint8Array.of(0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, type));
  }
  #make(parentHandle) {
    const inSensitive = { userAuth: empty, data: empty };
    const parameters = { inSensitive, inPublic: eccSigningTemplate(), outsideInfo: empty, creationPCR: [] };
    try {
      this.#client.run("Create", { parentHandle }, parameters);
    } catch (error) {
      if (!(error instanceof TpmError)) throw error;
    }
  }

  /** What comes from outside of the command stream. */
  #event() {
    const { below, bytes, rarely } = this.#random;
    const { tpm } = this.watched;
    switch (below(4)) {
      case 0:
        if (rarely(2)) this.watched.execute(Uint8Array.of(0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x45, 0, below(2)));
        tpm.powerOff();
        tpm.powerOn();
        if (rarely(3)) this.#measure(bytes(below(100)));
        if (rarely(2)) this.#startup(Su.STATE);
        this.#startup(Su.CLEAR);
        this.#sessions = [];
        return;
      case 1: {
        const running = tpm.saveVolatile();
        this.watched.tpm = this.watched.make(tpm.savePermanent());
        this.watched.tpm.restoreVolatile(running);
        if (hex(this.watched.tpm.saveVolatile()) !== hex(running))
          throw new Error("a restored state is another one");
        return;
      }
      case 2:
        return this.#measure(bytes(below(100)));
      default:
        tpm.setPhysicalPresence(rarely(2));
    }
  }
  #measure(data) {
    const { tpm } = this.watched;
    tpm.hashStart();
    tpm.hashData(data);
    if (!this.#random.rarely(3)) tpm.hashEnd();
    if (tpm.failed) throw this.watched.failure ?? new Error("failure mode by a measurement");
  }

  #parameter(type) {
    const { below, pick, rarely } = this.#random;
    const name = plainName(type);
    const seen = this.#pool.values(name);
    if (seen.length > 0 && below(5) < 2) return pick(seen);
    if (name === "TPM2B_DIGEST" && rarely(3)) return sized(new Uint8Array(pick([20, 32, 48, 64])));
    const content = contents.get(name);
    const drawn = new Draft(this.#random).draw(content ?? type);
    return content === undefined ? drawn : sized(drawn);
  }
  #parameters({ parameterList }) {
    return new Uint8Array(Buffer.concat(parameterList.map(([, type]) => this.#parameter(type))));
  }
  #handles({ handleList }) {
    const { pick, rarely } = this.#random;
    return handleList.map(({ type }) => {
      for (let tries = 0; tries < 60; tries++) {
        const handle = pick(rarely(3) ? handles : likely);
        if (rarely(30)) return handle;
        try {
          type.read(new TpmReader(marshal({ write: (writer, value) => writer.u32(value) }, handle)));
          return handle;
        } catch {
          // Another one, then.
        }
      }
      return pick(handles);
    });
  }

  /** A command with passwords, which are empty as nearly every authValue is. */
  #command(definition) {
    const { bytes, below, rarely, pick } = this.#random;
    const { code, roles } = definition;
    const count = rarely(30) ? below(5) : roles.length;
    const writer = new TpmWriter();
    writer
      .u16(count > 0 ? St.SESSIONS : St.NO_SESSIONS)
      .u32(0)
      .u32(code);
    for (const handle of this.#handles(definition)) writer.u32(handle);
    if (count > 0) {
      const area = new TpmWriter();
      for (let n = 0; n < count; n++) {
        const garbage = rarely(20);
        area.u32(garbage ? pick(handles) : Rh.PW).sized(garbage ? bytes(16) : empty);
        area.u8(garbage ? below(256) : 1).sized(rarely(20) ? bytes(below(40)) : empty);
      }
      writer.u32(area.length).bytes(area.finish());
    }
    writer.bytes(this.#parameters(definition));
    writer.setU32(2, writer.length);
    return writer.finish();
  }

  #session() {
    const { pick, rarely, bytes } = this.#random;
    if (this.#sessions.length > 0 && !rarely(6)) return pick(this.#sessions);
    if (this.#sessions.length >= 3) {
      const [{ handle }] = this.#sessions.splice(0, 1);
      this.#client.rc("FlushContext", {}, { flushHandle: handle });
    }
    const session = this.#client.session({
      kind: pick(["hmac", "hmac", "policy", "trial"]),
      hash: pick([Alg.SHA256, Alg.SHA256, Alg.SHA1, Alg.SHA384]),
      symmetric: pick([aes128Cfb, aes128Cfb, { ...aes128Cfb, algorithm: Alg.XOR, hash: Alg.SHA256 }]),
    });
    session.nonceCaller = bytes(16);
    this.#sessions.push(session);
    return session;
  }

  /** A command whose HMACs are right, as long as authValues are empty. An answer's HMACs are verified. */
  #withSessions(definition) {
    const { below, pick, rarely } = this.#random;
    const { continueSession, decrypt, encrypt, audit } = SessionAttribute;
    const { name, roles, firstParameterSized, firstResponseSized } = definition;
    try {
      const parameters = this.#parameters(definition);
      const mayDecrypt = (firstParameterSized || rarely(10)) && parameters.length >= 2;
      const count = Math.max(roles.length, 1 + below(2));
      const used = new Set();
      let free = decrypt | encrypt;
      const auth = Array.from({ length: Math.min(3, count) }, (_, n) => {
        const session = this.#session();
        if ((n < roles.length && rarely(2)) || used.has(session)) return n < roles.length ? empty : undefined;
        used.add(session);
        let attributes = rarely(8) ? 0 : continueSession;
        if (mayDecrypt && rarely(3)) attributes |= decrypt & free;
        if ((firstResponseSized || rarely(10)) && rarely(3)) attributes |= encrypt & free;
        if (session.kind === "hmac" && rarely(4)) attributes |= audit;
        free &= ~attributes;
        return { session, attributes };
      }).filter((use) => use !== undefined);
      this.#client.runBytes(name, this.#handles(definition), parameters, {
        auth,
        locality: this.#locality(),
      });
    } catch (error) {
      // An answer by a code. The new authValue is in the HMAC of the answer to what changes it, and is not known here.
      if (error instanceof TpmError) {
        if (rarely(4)) this.#sessions = this.#sessions.filter(() => pick([true, true, false]));
        return;
      }
      const changing = ["HierarchyChangeAuth", "NV_ChangeAuth", "PCR_SetAuthValue"];
      if (!(changing.includes(name) && /HMAC of session/.test(error.message))) throw error;
    }
  }

  #mutate(command) {
    const { below, pick, bytes, word, rarely } = this.#random;
    let changed = command.slice();
    for (let times = 1 + below(3); times > 0; times--) {
      const at = below(Math.max(1, changed.length));
      const view = new DataView(changed.buffer);
      switch (below(9)) {
        case 0:
          changed[at] ^= 1 << below(8);
          break;
        case 1:
          changed[at] = pick([0, 1, 0x7f, 0x80, 0xff, below(256)]);
          break;
        case 2:
          if (at + 2 <= changed.length) view.setUint16(at, pick(halves));
          break;
        case 3:
          if (at + 4 <= changed.length) view.setUint32(at, pick(words));
          break;
        case 4:
          changed = changed.slice(0, at);
          break;
        case 5:
          changed = new Uint8Array(
            Buffer.concat([changed.subarray(0, at), bytes(below(40)), changed.subarray(at)]),
          );
          break;
        case 6: {
          const other = pick(this.#recorded);
          changed = new Uint8Array(
            Buffer.concat([changed.subarray(0, at), other.subarray(below(other.length))]),
          );
          break;
        }
        case 7:
          changed = new Uint8Array(
            Buffer.concat([changed.subarray(0, at), changed.subarray(at + 1 + below(8))]),
          );
          break;
        default:
          if (changed.length >= 10) view.setUint32(6, pick(commandList).code);
      }
    }
    if (rarely(50)) changed = new Uint8Array(Buffer.concat([changed, bytes(pick([1, 100, 4096, 5000]))]));
    if (changed.length >= 6 && !rarely(20)) new DataView(changed.buffer).setUint32(2, changed.length);
    else if (changed.length >= 6 && rarely(2)) new DataView(changed.buffer).setUint32(2, word());
    return changed;
  }

  /** A state with changed bytes is refused, or is that of a TPM that works. */
  #restoreMutated() {
    const { below, pick, rarely, bytes } = this.#random;
    const alsoVolatile = rarely(2);
    const damage = (state) => {
      let changed = state.slice();
      for (let times = 1 + below(3); times > 0; times--) {
        const at = below(changed.length);
        const kind = below(8);
        if (kind < 3) changed[at] ^= 1 << below(8);
        else if (kind < 5) changed[at] = pick([0, 1, 2, 3, 0x7f, 0x80, 0xff]);
        else if (kind === 5 && at + 2 <= changed.length)
          new DataView(changed.buffer).setUint16(at, pick(halves));
        else if (kind === 6) changed.set(bytes(Math.min(4, changed.length - at)), at);
        else if (kind === 7 && rarely(4)) changed = changed.slice(0, Math.max(1, at));
      }
      return changed;
    };
    const { tpm } = this.watched;
    const [permanent, running] = [tpm.savePermanent(), tpm.saveVolatile()];
    const changed = damage(alsoVolatile ? running : permanent);
    this.watched.log.push(new TextEncoder().encode(alsoVolatile ? "volatile" : "permanent"), changed);
    let restored;
    try {
      restored = this.watched.make(alsoVolatile ? permanent : changed);
      if (alsoVolatile) restored.restoreVolatile(changed);
    } catch (error) {
      if (error instanceof TpmStateError) return;
      throw error;
    }
    // A TPM that was saved in failure mode is in failure mode.
    if (restored.failed) return;
    if (!alsoVolatile)
      this.watched.run(restored, Uint8Array.of(0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, below(2)));
    for (let n = 0; n < 6; n++) this.watched.run(restored, this.#command(this.#drawCommand()));
    restored.savePermanent();
    restored.saveVolatile();
  }
}

export async function* run({ seed, count, position }) {
  const pool = new Pool();
  const prepared = prepare(randomFrom(seed), pool);
  let done = position - (position % SESSION);
  while (done < count) {
    // Each TPM starts from what is known after the preparation, so that it does not matter where a run begins.
    const ownPool = pool.copy();
    const digest = createHash("sha256").update(`${seed} ${done}`).digest();
    const random = randomFrom(digest.readUInt32BE(0));
    const messages = [];
    let session;
    let at = done;
    const last = Math.min(count, done + SESSION);
    for (; at < last; at++) {
      try {
        session ??= new Session(random, ownPool, prepared);
        session.step();
      } catch (error) {
        const log = session?.watched.log.slice(-8).map(hex) ?? [];
        messages.push(
          `case ${at}: ${error instanceof Error ? error.stack : String(error)}\n    ${log.join("\n    ")}`,
        );
        session = undefined;
      }
    }
    done = last;
    yield { position: done, mismatches: messages.length, messages: messages.slice(0, SHOWN) };
  }
}

/** Keeps the parameters of a command, which has no more than passwords, for others. */
function harvest(command, pool) {
  const reader = new TpmReader(command);
  const tag = reader.u16();
  reader.u32();
  const { handleList, parameterList } = commandOf(reader.u32());
  for (const _ of handleList) reader.u32();
  if (tag === St.SESSIONS) reader.take(reader.u32());
  for (const [, type] of parameterList) {
    const from = reader.offset;
    type.read(reader);
    pool.add(plainName(type), command.slice(from, reader.offset));
  }
}
