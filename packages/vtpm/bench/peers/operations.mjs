/*
 * What is measured: one entry per row. `prepare` makes what the command needs and gives `step`, which is timed, perhaps `after`, which runs behind
 * every step and is not, and `handles` that are flushed at the end.
 */
import { Alg, Nt, NV_TYPE_SHIFT, NvAttribute, noScheme, noSymmetric, Rh, Se } from "@entresol/tpm-types";
import { child, creation, ecdsaSha256, primary, templates } from "./keys.mjs";

const empty = new Uint8Array(0);
const kilobyte = new Uint8Array(1024).fill(0xa5);
const digest = new Uint8Array(32).fill(0x5a);
const noTicket = { tag: 0x8024, hierarchy: Rh.NULL, digest: empty };
const pcrs = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(0xff, 0, 0) }];

/** A row of one command that stays the same. */
const same = (name, handles, parameters) => (client) => ({
  step: () => client.run(name, handles, parameters),
});

/** As `same`, on a loaded object that `make` gives the handle of. */
const onObject =
  (make, name, handleName, parametersOf = () => ({})) =>
  async (client) => {
    const handle = await make(client);
    const parameters = await parametersOf(client, handle);
    return { step: () => client.run(name, { [handleName]: handle }, parameters), handles: [handle] };
  };

/** CreatePrimary of what `template` gives; the object is flushed each time, untimed. */
const createPrimary = (template) => (client) => ({
  step: () => client.run("CreatePrimary", { primaryHandle: Rh.OWNER }, creation(template())),
  after: ({ handle }) => client.flush(handle),
});

let varied = 0;
/** Another key each time, the same in both services: the field is part of what the key follows from. */
function varyingTemplate() {
  const unique = new Uint8Array(256);
  new DataView(unique.buffer).setUint32(0, ++varied);
  return { ...templates.rsaStorage, unique };
}

/** Below a storage key: Create alone, or with Load. */
const create = (template, withLoad) => async (client) => {
  const parentHandle = await primary(client, templates.eccStorage);
  const made = () => client.run("Create", { parentHandle }, creation(template));
  const load = ({ outPrivate: inPrivate, outPublic: inPublic }) =>
    client.run("Load", { parentHandle }, { inPrivate, inPublic });
  return {
    step: withLoad ? async () => load(await made()) : made,
    after: withLoad ? ({ handle }) => client.flush(handle) : undefined,
    handles: [parentHandle],
  };
};

/** An NV index of `size` bytes, defined anew for each row. */
const nvIndex = (size, type, attributes, name, parameters) => async (client) => {
  const index = 0x0180_0001;
  const { OWNERREAD, OWNERWRITE, AUTHREAD, AUTHWRITE, NO_DA } = NvAttribute;
  const all = OWNERREAD | OWNERWRITE | AUTHREAD | AUTHWRITE | NO_DA | attributes | (type << NV_TYPE_SHIFT);
  const publicInfo = {
    nvIndex: index,
    nameAlg: Alg.SHA256,
    attributes: all,
    authPolicy: empty,
    dataSize: size,
  };
  await client.run("NV_DefineSpace", { authHandle: Rh.OWNER }, { auth: empty, publicInfo });
  const handles = { authHandle: Rh.OWNER, nvIndex: index };
  if (name === "NV_Read")
    await client.run("NV_Write", handles, { data: kilobyte.subarray(0, size), offset: 0 });
  return {
    step: () => client.run(name, handles, parameters()),
    end: () => client.run("NV_UndefineSpace", handles),
  };
};

const sessionParameters = {
  nonceCaller: new Uint8Array(32),
  encryptedSalt: empty,
  sessionType: Se.HMAC,
  symmetric: noSymmetric,
  authHash: Alg.SHA256,
};
const unbound = { tpmKey: Rh.NULL, bind: Rh.NULL };

async function policyPcr(client) {
  const { handle } = await client.run("StartAuthSession", unbound, {
    ...sessionParameters,
    sessionType: Se.TRIAL,
  });
  const step = () => client.run("PolicyPCR", { policySession: handle }, { pcrDigest: empty, pcrs });
  return { step, handles: [handle] };
}

const sessionAndFlush = (client) => ({
  async step() {
    const { handle } = await client.run("StartAuthSession", unbound, sessionParameters);
    return client.flush(handle);
  },
});

async function contextSaveAndLoad(client) {
  const saveHandle = await primary(client, templates.eccStorage);
  return {
    async step() {
      const { context } = await client.run("ContextSave", { saveHandle }, {});
      return client.run("ContextLoad", {}, { context });
    },
    after: ({ handle }) => client.flush(handle),
    handles: [saveHandle],
  };
}

const making = (template, data) => (client) => child(client, template, data);
const toSign = { digest, inScheme: noScheme, validation: noTicket };

async function signed(client, keyHandle) {
  const { signature } = await client.run("Sign", { keyHandle }, { ...toSign, inScheme: ecdsaSha256 });
  return { digest, signature };
}
async function encrypted(client, keyHandle) {
  const inScheme = { scheme: Alg.OAEP, hash: Alg.SHA256, count: 0 };
  const { outData } = await client.run(
    "RSA_Encrypt",
    { keyHandle },
    { message: digest, inScheme, label: empty },
  );
  return { cipherText: outData, inScheme, label: empty };
}
const { ORDERLY } = NvAttribute;
/** Other bytes each time: what does not change anything need not be written down. */
function write64() {
  const data = new Uint8Array(64);
  new DataView(data.buffer).setUint32(0, ++varied);
  return { data, offset: 0 };
}
const cfb = { inData: kilobyte, decrypt: false, mode: Alg.CFB, ivIn: new Uint8Array(16) };
const pcrValues = [{ hashAlg: Alg.SHA256, digest }];
const extend = same("PCR_Extend", { pcrHandle: 10 }, { digests: pcrValues });

/** `share`: of the usual number of steps, for what takes long. `kind`: what the rest of the row's name says. */
export const operations = [
  ["GetRandom 32 B", same("GetRandom", {}, { bytesRequested: 32 })],
  ["PCR_Read 8 PCR", same("PCR_Read", {}, { pcrSelectionIn: pcrs })],
  ["PCR_Extend", extend],
  ["StartAuthSession + FlushContext", sessionAndFlush],
  ["PolicyPCR", policyPcr],
  ["Hash 1 KiB", same("Hash", {}, { data: kilobyte, hashAlg: Alg.SHA256, hierarchy: Rh.NULL })],
  [
    "HMAC 1 KiB",
    onObject(making(templates.hmac), "HMAC", "handle", () => ({ buffer: kilobyte, hashAlg: Alg.SHA256 })),
  ],
  ["EncryptDecrypt2 1 KiB", onObject(making(templates.cipher), "EncryptDecrypt2", "keyHandle", () => cfb)],
  ["Sign ECDSA P-256", onObject(making(templates.eccSigning), "Sign", "keyHandle", () => toSign)],
  [
    "VerifySignature ECDSA P-256",
    onObject(making(templates.eccSigning), "VerifySignature", "keyHandle", signed),
  ],
  ["Sign RSA-2048", onObject(making(templates.rsaSigning), "Sign", "keyHandle", () => toSign), 0.3],
  ["RSA_Decrypt OAEP", onObject(making(templates.rsaDecryption), "RSA_Decrypt", "keyHandle", encrypted), 0.3],
  [
    "Quote ECDSA P-256",
    onObject(making(templates.eccAttestation), "Quote", "signHandle", () => ({
      qualifyingData: digest,
      inScheme: noScheme,
      PCRselect: pcrs,
    })),
  ],
  ["CreatePrimary P-256", createPrimary(() => templates.eccStorage)],
  ["CreatePrimary RSA-2048, same template", createPrimary(() => templates.rsaStorage), 0.2],
  ["CreatePrimary RSA-2048, another each time", createPrimary(varyingTemplate), 0.1],
  ["Create + Load P-256", create(templates.eccSigning, true)],
  ["Create RSA-2048", create(templates.rsaSigning, false), 0.06],
  ["NV_Write 64 B", nvIndex(64, Nt.ORDINARY, 0, "NV_Write", write64)],
  ["NV_Write 64 B, orderly", nvIndex(64, Nt.ORDINARY, ORDERLY, "NV_Write", write64)],
  ["NV_Read 64 B", nvIndex(64, Nt.ORDINARY, 0, "NV_Read", () => ({ size: 64, offset: 0 }))],
  ["NV_Increment", nvIndex(8, Nt.COUNTER, 0, "NV_Increment", () => ({}))],
  ["Unseal 32 B", onObject(making(templates.sealed, digest), "Unseal", "itemHandle")],
  ["ContextSave + ContextLoad", contextSaveAndLoad],
].map(([name, prepare, share = 1]) => ({ name, prepare, share }));

/** Rows that are measured over another kind of socket too, and those whose state is on a disk. */
export const overUnix = new Set(["GetRandom 32 B", "PCR_Extend", "Sign ECDSA P-256"]);
export const onDisk = new Set(["NV_Write 64 B"]);
