// Sessions, saved contexts and policies beside swtpm (Debian's package): random commands, good and bad, go to both TPMs, and response codes,
// handles and policy digests must be the same. What only one of the two can know (nonces, tickets, contexts) each gets as it gave it itself.
import { spawn } from "node:child_process";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Alg,
  Curve,
  commandOf,
  commands,
  Eo,
  NvAttribute,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  Rc,
  Rh,
  responseCodeName,
  Se,
  SessionAttribute,
  St,
  TPM2B_NONCE,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { Tpm } from "../dist/index.js";

export const description = "random session and policy commands on this TPM and on swtpm, answer by answer";
export const defaultCount = 20_000;

/** Commands that one pair of TPMs gets before it is replaced by a new pair. */
const BATCH = 4000;
const empty = new Uint8Array(0);
const filled = (byte, length) => new Uint8Array(length).fill(byte);
const u16 = (value) => Uint8Array.of(value >>> 8, value & 0xff);
const u32 = (value) => Uint8Array.of(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
const concat = (...parts) => new Uint8Array(Buffer.concat(parts));
const sha256 = (...parts) =>
  new Uint8Array(
    createHash("sha256")
      .update(concat(...parts))
      .digest(),
  );
const [INDEX, POLICY_INDEX, NO_INDEX] = [0x0150_0001, 0x0150_0002, 0x0150_0003];

/** Where libtpms 0.9.2 is known to answer otherwise, and why this TPM does not. */
function isKnownDifference(name, theirs, ours, { operandB }) {
  // A Name too short to have an algorithm: read beyond its end then, TPM_RC_SIZE since 1.83.
  if (name === "PolicyAuthorize") return (theirs & 0xbf) === Rc.HASH && (ours & 0xbf) === Rc.SIZE;
  // Another template than before: TPM_RC_VALUE then, TPM_RC_CPHASH in the specification.
  if (name === "PolicyTemplate") return (theirs & 0xbf) === Rc.VALUE && ours === Rc.CPHASH;
  // The first failure that could count makes 0.9.2 write to NV first.
  if (theirs === Rc.RETRY) return true;
  // Signed comparison of nothing with nothing looks at what lies behind both.
  if (operandB?.length === 0) return true;
  // A cpHash that has the bytes of another kind of hash is taken for that one there.
  return ours === Rc.CPHASH && ["PolicySecret", "PolicySigned", "PolicyTicket"].includes(name);
}

function randomFrom(seed) {
  let state = seed >>> 0;
  const below = (n) => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
  return { below, pick: (...choices) => choices[below(choices.length)] };
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** A swtpm of its own, started. */
async function startSwtpm() {
  const folder = mkdtempSync(join(tmpdir(), "entresol-swtpm-"));
  const [port, control] = [await freePort(), await freePort()];
  const child = spawn(
    "swtpm",
    ["socket", "--tpm2", "--server", `type=tcp,port=${port}`, "--ctrl", `type=tcp,port=${control}`].concat([
      "--tpmstate",
      `dir=${folder}`,
      "--flags",
      "not-need-init,startup-clear",
    ]),
    { stdio: "ignore" },
  );
  const failed = new Promise((_, reject) => child.once("error", reject));
  let socket;
  for (let tries = 0; socket === undefined; tries++) {
    socket = await Promise.race([
      failed,
      new Promise((resolve) => {
        const attempt = connect(port, "127.0.0.1", () => resolve(attempt));
        attempt.once("error", () => setTimeout(() => resolve(undefined), 20));
      }),
    ]);
    if (tries > 250) throw new Error("swtpm does not listen");
  }
  let received = Buffer.alloc(0);
  let answer;
  socket.on("data", (bytes) => {
    received = Buffer.concat([received, bytes]);
    if (received.length < 10 || received.length < received.readUInt32BE(2)) return;
    const response = new Uint8Array(received);
    received = Buffer.alloc(0);
    answer(response);
  });
  return {
    execute: (command) =>
      new Promise((resolve) => {
        answer = resolve;
        socket.write(command);
      }),
    async close() {
      socket.destroy();
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill();
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** One of the two TPMs, with what it has given. */
class Side {
  nonces = new Map();
  contexts = [];
  tickets = [];
  #tpm;

  constructor(tpm) {
    this.#tpm = tpm;
  }

  /** `use`: the session that authorizes, or only goes along, with its attributes and an empty HMAC, which will do where there is no key. */
  async run({ name, handles, parameters, auth = empty, use }) {
    const { code, roles, parameterList, responseHandle, responseList } = commandOf(commands[name].code);
    const given = typeof parameters === "function" ? parameters(this) : parameters;
    const writer = new TpmWriter();
    writer
      .u16(roles.length > 0 || use !== undefined ? St.SESSIONS : St.NO_SESSIONS)
      .u32(0)
      .u32(code);
    for (const handle of handles) writer.u32(handle);
    if (roles.length > 0 || use !== undefined) {
      const area = new TpmWriter();
      if (use !== undefined) area.u32(use.handle).sized(filled(1, 16)).u8(use.attributes).sized(empty);
      else for (const _ of roles) area.u32(Rh.PW).sized(empty).u8(1).sized(auth);
      writer.u32(area.length).bytes(area.finish());
    }
    for (const [key, type] of parameterList) type.write(writer, given[key]);
    writer.setU32(2, writer.length);
    const reader = new TpmReader(await this.#tpm.execute(writer.finish()));
    const tag = reader.u16();
    reader.u32();
    const answer = { rc: reader.u32(), given };
    if (answer.rc !== Rc.SUCCESS) return answer;
    if (responseHandle !== undefined) answer.handle = reader.u32();
    if (tag === St.SESSIONS) reader.u32();
    for (const [key, type] of responseList) answer[key] = type.read(reader);
    // Nonces roll with each use.
    if (use !== undefined) this.nonces.set(use.handle, TPM2B_NONCE.read(reader));
    return answer;
  }
}

const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const coordinate = (name) =>
  new Uint8Array(Buffer.from(publicKey.export({ format: "jwk" })[name], "base64url"));
const publicArea = {
  type: Alg.ECC,
  nameAlg: Alg.SHA256,
  objectAttributes: ObjectAttribute.sign | ObjectAttribute.userWithAuth | ObjectAttribute.noDA,
  authPolicy: empty,
  parameters: {
    symmetric: noSymmetric,
    scheme: noScheme,
    curveID: Curve.NIST_P256,
    kdf: { scheme: Alg.NULL, hash: Alg.NULL },
  },
  unique: { x: coordinate("x"), y: coordinate("y") },
};
const KEY = 0x8000_0000;

function signed(...parts) {
  const bytes = sign("sha256", concat(...parts), { key: privateKey, dsaEncoding: "ieee-p1363" });
  const [r, s] = [new Uint8Array(bytes.subarray(0, 32)), new Uint8Array(bytes.subarray(32))];
  return { sigAlg: Alg.ECDSA, hash: Alg.SHA256, r, s };
}

const { OWNERREAD, OWNERWRITE, AUTHREAD, AUTHWRITE, NO_DA } = NvAttribute;
const define = (nvIndex, dataSize) => ({
  name: "NV_DefineSpace",
  handles: [Rh.OWNER],
  parameters: {
    auth: empty,
    publicInfo: {
      nvIndex,
      nameAlg: Alg.SHA256,
      attributes: OWNERREAD | OWNERWRITE | AUTHREAD | AUTHWRITE | NO_DA,
      authPolicy: empty,
      dataSize,
    },
  },
});
/** What both TPMs have before the random commands. */
const preparation = [
  define(INDEX, 8),
  define(POLICY_INDEX, 34),
  {
    name: "NV_Write",
    handles: [Rh.OWNER, INDEX],
    parameters: { data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), offset: 0 },
  },
  {
    name: "SetPrimaryPolicy",
    handles: [Rh.OWNER],
    parameters: {
      authPolicy: sha256(filled(0, 32), u32(commands.PolicyAuthValue.code)),
      hashAlg: Alg.SHA256,
    },
  },
  {
    name: "LoadExternal",
    handles: [],
    parameters: { inPrivate: undefined, inPublic: publicArea, hierarchy: Rh.OWNER },
  },
];

/** The commands that are drawn from, each with the draw of its parameters. */
function commandsOf({ below, pick }) {
  const session = () => pick(0x0300_0000, 0x0300_0001, 0x0300_0002, 0x0200_0000, 0x0300_0003, 0x0300_0040);
  const digest = () => filled(below(3), pick(32, 32, 32, 48, 20, 0, 64));
  const reference = () => pick(empty, filled(1, 3), filled(2, 33));
  const nameOf = (alg, byte, length) => concat(u16(alg), filled(byte, length));
  const name = () =>
    pick(
      nameOf(Alg.SHA256, below(2), 32),
      nameOf(Alg.SHA384, 1, 48),
      nameOf(0x99, 1, 32),
      u32(Rh.OWNER),
      empty,
    );
  const flag = () => below(2) === 1;
  const nonceFor = (policySession) => {
    const kind = below(4);
    return (side) => [empty, empty, side.nonces.get(policySession) ?? filled(1, 16), filled(1, 16)][kind];
  };
  const plain =
    (command, parameters = () => ({})) =>
    () => ({
      name: command,
      handles: [session()],
      parameters: parameters(),
    });
  const operand = () =>
    pick(
      empty,
      Uint8Array.of(1),
      Uint8Array.of(3, 4),
      filled(0, 8),
      filled(0xff, 8),
      filled(0x7f, 8),
      filled(1, 9),
    );

  const start = () => ({
    name: "StartAuthSession",
    handles: [
      pick(Rh.NULL, Rh.NULL, Rh.NULL, KEY),
      pick(Rh.NULL, Rh.NULL, Rh.OWNER, Rh.LOCKOUT, 0, KEY, INDEX, NO_INDEX),
    ],
    parameters: {
      nonceCaller: filled(1, pick(16, 20, 32, 15, 33)),
      encryptedSalt: pick(empty, empty, empty, filled(1, 5)),
      sessionType: pick(Se.TRIAL, Se.POLICY, Se.POLICY, Se.HMAC),
      symmetric: pick(noSymmetric, {
        ...noSymmetric,
        algorithm: Alg.AES,
        keyBits: 128,
        mode: pick(Alg.CFB, Alg.CTR),
      }),
      authHash: pick(Alg.SHA256, Alg.SHA256, Alg.SHA384, Alg.SHA1),
    },
  });
  const secret = () => {
    const policySession = session();
    const nonce = nonceFor(policySession);
    const claims = {
      cpHashA: pick(empty, digest()),
      policyRef: reference(),
      expiration: pick(0, 0, 3600, -3600, 100_000),
    };
    const wrong = below(4) === 0;
    const authHandle = wrong
      ? pick(Rh.OWNER, INDEX)
      : pick(Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM, Rh.NULL, Rh.LOCKOUT, INDEX, 3, KEY);
    return {
      name: "PolicySecret",
      handles: [authHandle, policySession],
      parameters: (side) => ({ ...claims, nonceTPM: nonce(side) }),
      auth: wrong ? filled(9, 2) : empty,
      authName: authHandle === KEY ? empty : u32(authHandle),
    };
  };
  const bySignature = () => {
    const policySession = session();
    const nonce = nonceFor(policySession);
    const claims = {
      cpHashA: pick(empty, empty, digest()),
      policyRef: reference(),
      expiration: pick(0, 3600, -3600, -7200),
    };
    const error = below(4) === 0 ? 1 : 0;
    return {
      name: "PolicySigned",
      handles: [pick(KEY, KEY, KEY, KEY + 1, 0x8100_0000), policySession],
      parameters: (side) => {
        const nonceTPM = nonce(side);
        const auth = signed(nonceTPM, u32(claims.expiration + error), claims.cpHashA, claims.policyRef);
        return { ...claims, nonceTPM, auth };
      },
      authName: empty,
    };
  };
  const noTicket = {
    timeout: filled(0, 8),
    cpHashA: empty,
    policyRef: empty,
    authName: u32(Rh.OWNER),
    ticket: { tag: St.AUTH_SECRET, hierarchy: Rh.OWNER, digest: filled(1, 64) },
  };
  const ticket = () => {
    const [which, change] = [
      below(8),
      pick({}, {}, {}, { timeout: filled(0, 7) }, { policyRef: filled(7, 4) }),
    ];
    const parameters = (side) => ({ ...(side.tickets[which] ?? noTicket), ...change });
    return { name: "PolicyTicket", handles: [session()], parameters };
  };
  const noContext = {
    sequence: 1n,
    savedHandle: 0x0200_0000,
    hierarchy: Rh.NULL,
    contextBlob: filled(1, 100),
  };
  const loadContext = () => {
    const [which, changed, at] = [below(12), below(5) === 0, below(80)];
    const parameters = (side) => {
      const context = side.contexts[which] ?? noContext;
      const contextBlob = context.contextBlob.map((byte, i) => (changed && i === at ? byte ^ 1 : byte));
      return { context: { ...context, contextBlob } };
    };
    return { name: "ContextLoad", handles: [], parameters };
  };
  const compareNv = () => ({
    name: "PolicyNV",
    handles: [
      pick(Rh.OWNER, INDEX, Rh.PLATFORM),
      pick(INDEX, INDEX, INDEX, POLICY_INDEX, NO_INDEX),
      session(),
    ],
    parameters: { operandB: operand(), offset: pick(0, 0, 2, 7, 8, 9), operation: below(13) },
  });
  const { continueSession, encrypt, decrypt, audit } = SessionAttribute;
  const used = (purpose) => ({
    handle: session(),
    attributes: purpose | pick(continueSession, continueSession, 0),
  });
  const list = [
    () => ({ name: "ClockRateAdjust", handles: [Rh.OWNER], parameters: { rateAdjust: 0 }, use: used(0) }),
    () => ({ name: "ClockRateAdjust", handles: [Rh.OWNER], parameters: { rateAdjust: 0 }, use: used(0) }),
    () => ({
      name: "GetRandom",
      handles: [],
      parameters: { bytesRequested: 8 },
      use: used(pick(encrypt, encrypt, decrypt, audit, 0)),
    }),
    start,
    start,
    start,
    secret,
    secret,
    bySignature,
    bySignature,
    ticket,
    ticket,
    loadContext,
    loadContext,
    compareNv,
    compareNv,
    () => ({ name: "ContextSave", handles: [pick(session(), session(), KEY)], parameters: {} }),
    () => ({
      name: "FlushContext",
      handles: [],
      parameters: { flushHandle: pick(session(), 0x0200_0001, 0x0200_0005, 0x0200_0040, KEY + 1, KEY + 7) },
    }),
    () => ({ name: "PolicyRestart", handles: [session()], parameters: {} }),
    () => ({
      name: "PolicyAuthorizeNV",
      handles: [pick(Rh.OWNER, POLICY_INDEX), pick(POLICY_INDEX, INDEX), session()],
      parameters: {},
    }),
    () => ({
      name: "NV_Write",
      handles: [Rh.OWNER, POLICY_INDEX],
      parameters: { data: nameOf(pick(Alg.SHA256, Alg.SHA384, 9), 0, 32), offset: 0 },
    }),
    () => ({
      name: "PCR_Extend",
      handles: [pick(16, 5, 23)],
      parameters: { digests: [{ hashAlg: Alg.SHA256, digest: filled(below(256), 32) }] },
    }),
    plain("PolicyOR", () => ({ pHashList: [digest(), digest()] })),
    plain("PolicyPCR", () => ({
      pcrDigest: pick(empty, empty, digest()),
      pcrs: pick(
        [],
        [{ hash: Alg.SHA256, pcrSelect: filled(below(256), 3) }],
        [{ hash: Alg.SHA1, pcrSelect: filled(1, 3) }],
      ),
    })),
    plain("PolicyLocality", () => ({ locality: pick(0, 1, 3, 2, 16, 31, 32, 33, 255) })),
    // Time and counters, which the two do not share, are only compared with what is true or false of both.
    plain("PolicyCounterTimer", () => ({
      ...pick(
        { operandB: filled(0, 8), offset: 0 },
        { operandB: filled(0x7f, 8), offset: 0 },
        { operandB: filled(0, 8), offset: 18 },
        { operandB: filled(0, 26), offset: 0 },
        { operandB: empty, offset: pick(25, 26) },
      ),
      operation: pick(Eo.UNSIGNED_GT, Eo.UNSIGNED_LT, Eo.SIGNED_GT, Eo.SIGNED_LE, 12),
    })),
    plain("PolicyCommandCode", () => ({ code: pick(0x14e, 0x15e, 0x14b, 0x1ff, 0, 0x12f) })),
    plain("PolicyPhysicalPresence"),
    plain("PolicyCpHash", () => ({ cpHashA: digest() })),
    plain("PolicyNameHash", () => ({ nameHash: digest() })),
    plain("PolicyTemplate", () => ({ templateHash: digest() })),
    plain("PolicyDuplicationSelect", () => ({
      objectName: name(),
      newParentName: name(),
      includeObject: flag(),
    })),
    plain("PolicyAuthValue"),
    plain("PolicyPassword"),
    plain("PolicyNvWritten", () => ({ writtenSet: flag() })),
    plain("PolicyAuthorize", () => ({
      approvedPolicy: digest(),
      policyRef: reference(),
      keySign: name(),
      checkTicket: {
        tag: St.VERIFIED,
        hierarchy: pick(Rh.OWNER, Rh.NULL),
        digest: pick(empty, filled(1, 64)),
      },
    })),
    plain("PolicyGetDigest"),
    plain("PolicyGetDigest"),
    plain("PolicyGetDigest"),
  ];
  return () => pick(...list)();
}

const same = (a, b) => Buffer.compare(a, b) === 0;

/** What the two answers differ in; undefined when they do not. */
function difference(name, theirs, ours) {
  if (theirs.rc !== ours.rc)
    return `swtpm ${responseCodeName(theirs.rc)}, this TPM ${responseCodeName(ours.rc)}`;
  if (theirs.rc !== Rc.SUCCESS) return undefined;
  if (theirs.handle !== ours.handle) return `handles ${theirs.handle} and ${ours.handle}`;
  if (name === "PolicyGetDigest" && !same(theirs.policyDigest, ours.policyDigest)) return "policy digests";
  if (name === "ContextSave" && theirs.context.savedHandle !== ours.context.savedHandle)
    return "saved handles";
  if (theirs.policyTicket === undefined) return undefined;
  const [a, b] = [theirs, ours].map(({ timeout, policyTicket: { hierarchy, digest } }) =>
    [timeout.length, hierarchy, digest.length].join(" "),
  );
  return a === b ? undefined : `tickets ${a} and ${b}`;
}

/** Keeps what a TPM gave, to be shown to it later. */
function remember(side, command, answer, random) {
  if (command.name === "StartAuthSession") side.nonces.set(answer.handle, answer.nonceTPM);
  if (command.name === "ContextSave") side.contexts[random % 12] = answer.context;
  if (answer.policyTicket === undefined || answer.timeout.length === 0) return;
  const { cpHashA, policyRef } = answer.given;
  const { timeout, policyTicket: ticket } = answer;
  side.tickets[random % 8] = { timeout, cpHashA, policyRef, authName: command.authName, ticket };
}

const flush = (flushHandle) => ({ name: "FlushContext", handles: [], parameters: { flushHandle } });

async function* batch(seed, count) {
  const swtpm = await startSwtpm();
  try {
    const tpm = new Tpm();
    const sides = [new Side(swtpm), new Side({ execute: async (command) => tpm.execute(command) })];
    const onBoth = async (command) => [await sides[0].run(command), await sides[1].run(command)];
    await sides[1].run({ name: "Startup", handles: [], parameters: { startupType: 0 } });
    for (const command of preparation) await onBoth(command);
    const random = randomFrom(seed);
    const draw = commandsOf(random);
    for (let done = 0; done < count; done++) {
      const command = draw();
      const place = random.below(24);
      const [theirs, ours] = await onBoth(command);
      const wrong = difference(command.name, theirs, ours);
      if (wrong === undefined && theirs.rc === Rc.SUCCESS) {
        remember(sides[0], command, theirs, place);
        remember(sides[1], command, ours, place);
        // An object that was loaded again makes room for the next.
        if (command.name === "ContextLoad" && theirs.handle > KEY) await onBoth(flush(theirs.handle));
      }
      if (wrong !== undefined) {
        if (!isKnownDifference(command.name, theirs.rc, ours.rc, ours.given))
          yield `${command.name}: ${wrong} (command ${done})`;
        // Their sessions may not be alike any more: all begin anew.
        for (let number = 0; number < 8; number++) await onBoth(flush(0x0200_0000 + number));
      }
    }
  } finally {
    await swtpm.close();
  }
}

export async function* run({ seed, count, position }) {
  for (let at = position; at < count; at += BATCH) {
    const messages = [];
    const size = Math.min(BATCH, count - at);
    for await (const message of batch(seed + at, size)) messages.push(`seed ${seed + at}: ${message}`);
    yield { position: at + size, mismatches: messages.length, messages };
  }
}
