import { createHash } from "node:crypto";
import {
  Alg,
  Cap,
  Nt,
  NvAttribute,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  pcrBankHashes,
  Rh,
  Su,
} from "@entresol/tpm-types";
import { nodeProvider } from "../crypto/node-provider.ts";
import { StateKind, sealState } from "../sealed-state.ts";
import { Tpm, type TpmOptions } from "../tpm.ts";
import { aes128Cfb, TpmClient } from "./client.ts";
import { createPrimary } from "./objects.ts";
import { eccSigningTemplate, eccTemplate, fixedKey, rsaTemplate, sealTemplate } from "./templates.ts";

/*
 * A TPM that has something of everything, made the same way each time: what it saves is compared with the files in `golden/`, and what those restore to
 * is asked the same questions.
 */

const empty = new Uint8Array(0);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");

/** Under this key the sealed file was made. */
export const goldenKey: Uint8Array = text("the key of the golden state file");
/** Of the sealed file. */
export const goldenEpoch = 41n;

/** No source of randomness: bytes that follow from how many were asked for before. */
function reproducible(): TpmOptions {
  let asked = 0;
  const random = (length: number): Uint8Array => {
    const blocks: Buffer[] = [];
    for (let have = 0; have < length; have += 32)
      blocks.push(createHash("sha256").update(`golden ${asked++}`).digest());
    return new Uint8Array(Buffer.concat(blocks).subarray(0, length));
  };
  return { crypto: { ...nodeProvider, random }, now: () => 0 };
}

const PERSISTENT = 0x8100_0001;
const NV = 0x0150_0000;
const indices = [
  { type: Nt.ORDINARY, dataSize: 20, more: 0 },
  { type: Nt.COUNTER, dataSize: 8, more: 0 },
  { type: Nt.BITS, dataSize: 8, more: 0 },
  { type: Nt.EXTEND, dataSize: 32, more: 0 },
  { type: Nt.PIN_FAIL, dataSize: 8, more: NvAttribute.NO_DA },
  // Kept in memory until the next shutdown.
  { type: Nt.COUNTER, dataSize: 8, more: NvAttribute.ORDERLY },
];
const { OWNERREAD, OWNERWRITE, AUTHREAD } = NvAttribute;
const policyDigest = new Uint8Array(32).fill(0x50);

/** Makes the TPM. */
function build(): { tpm: Tpm; client: TpmClient } {
  const tpm = new Tpm(reproducible());
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  const auth = Rh.OWNER;
  const storage = createPrimary(client, eccTemplate()).handle;
  client.run("EvictControl", { auth, objectHandle: storage }, { persistentHandle: PERSISTENT });
  const signing = createPrimary(client, eccSigningTemplate(), { hierarchy: Rh.ENDORSEMENT, auth: "sign" });
  client.run("EvictControl", { auth, objectHandle: signing.handle }, { persistentHandle: PERSISTENT + 1 });
  for (const flushHandle of [storage, signing.handle]) client.run("FlushContext", {}, { flushHandle });

  for (const [at, { type, dataSize, more }] of indices.entries()) {
    const nvIndex = NV + at;
    const attributes = (OWNERREAD | OWNERWRITE | AUTHREAD | (type << 4) | more) >>> 0;
    const publicInfo = { nvIndex, nameAlg: Alg.SHA256, attributes, authPolicy: policyDigest, dataSize };
    client.run("NV_DefineSpace", { authHandle: auth }, { auth: text(`nv${at}`), publicInfo });
    const handles = { authHandle: auth, nvIndex };
    if (type === Nt.COUNTER) client.run("NV_Increment", handles, {});
    else if (type === Nt.BITS) client.run("NV_SetBits", handles, { bits: 0x8000_0000_0000_0005n });
    else if (type === Nt.EXTEND) client.run("NV_Extend", handles, { data: text("extended") });
    else if (type === Nt.PIN_FAIL)
      client.run("NV_Write", handles, { data: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 9), offset: 0 });
    else client.run("NV_Write", handles, { data: text("ordinary"), offset: 5 });
  }

  for (const [pcrHandle, event] of [
    [0, "firmware"],
    [7, "secure boot"],
    [23, "application"],
  ] as const)
    client.run("PCR_Event", { pcrHandle }, { eventData: text(event) });
  client.run("SetPrimaryPolicy", { authHandle: auth }, { authPolicy: policyDigest, hashAlg: Alg.SHA256 });
  const platform = { authPolicy: policyDigest, hashAlg: Alg.SHA256 };
  client.run("SetPrimaryPolicy", { authHandle: Rh.PLATFORM }, platform);
  client.run("HierarchyChangeAuth", { authHandle: Rh.ENDORSEMENT }, { newAuth: text("endorsement") });
  client.run(
    "DictionaryAttackParameters",
    { lockHandle: Rh.LOCKOUT },
    { newMaxTries: 7, newRecoveryTime: 600, lockoutRecovery: 700 },
  );
  client.run("ACT_SetTimeout", { actHandle: Rh.ACT_0 }, { startTimeout: 0 });
  client.run("ClockSet", { auth }, { newTime: 123_456n });

  createPrimary(client, sealTemplate(), { hierarchy: Rh.NULL, auth: "pw", data: "sealed" });
  const sequence = client.run("HashSequenceStart", {}, { auth: empty, hashAlg: Alg.SHA384 }).handle;
  client.run("SequenceUpdate", { sequenceHandle: sequence }, { buffer: text("the first half, ") });
  client.session({ symmetric: aes128Cfb });
  const { handle: policySession } = client.session({ kind: "policy" });
  client.run("PolicyAuthValue", { policySession }, {});
  const pcrs = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(0x81, 0, 0) }];
  client.run("PolicyPCR", { policySession }, { pcrDigest: empty, pcrs });
  const away = client.session({ kind: "trial" });
  client.run("ContextSave", { saveHandle: away.handle }, {});
  return { tpm, client };
}

/** What today's build saves: the file names of `golden/` without the version in front. */
export interface GoldenStates {
  readonly permanent: Uint8Array;
  readonly volatile: Uint8Array;
  /** Permanent, with what Shutdown(STATE) keeps in it. */
  readonly shutdown: Uint8Array;
  /** The permanent state, wrapped with `goldenEpoch` under `goldenKey`. */
  readonly sealed: Uint8Array;
  readonly unencrypted: Uint8Array;
}

export function goldenStates(): GoldenStates {
  const { tpm, client } = build();
  const [permanent, running] = [tpm.savePermanent(), tpm.saveVolatile()];
  client.run("Shutdown", {}, { shutdownType: Su.STATE });
  return {
    permanent,
    volatile: running,
    shutdown: tpm.savePermanent(),
    sealed: sealState(StateKind.permanent, goldenEpoch, permanent, goldenKey),
    unencrypted: sealState(StateKind.permanent, goldenEpoch, permanent, undefined),
  };
}

/** What a TPM that goes on from the golden states is asked, and says. Changes the TPM. */
export function goldenAnswers(tpm: Tpm): Record<string, string | number> {
  const client = new TpmClient(tpm);
  const answers: Record<string, string | number> = {};
  const pcrs = (): void => {
    for (const hash of pcrBankHashes)
      for (let pcr = 0; pcr < 24; pcr += 8) {
        const pcrSelect = new Uint8Array(3);
        pcrSelect[pcr >>> 3] = 0xff;
        const { pcrValues } = client.run("PCR_Read", {}, { pcrSelectionIn: [{ hash, pcrSelect }] });
        answers[`PCR ${pcr} to ${pcr + 7} of bank ${hash}`] = hex(
          createHash("sha256").update(Buffer.concat(pcrValues)).digest(),
        );
      }
  };
  pcrs();
  for (const [property, what] of [
    [0x0100_0000, "NV indices"],
    [0x0200_0000, "loaded sessions"],
    [0x0300_0000, "saved sessions"],
    [0x8000_0000, "transient objects"],
    [0x8100_0000, "persistent objects"],
  ] as const) {
    const asked = { capability: Cap.HANDLES, property, propertyCount: 100 };
    const { data } = client.run("GetCapability", {}, asked).capabilityData;
    answers[what] = (data as readonly number[]).map((handle) => handle.toString(16)).join(" ");
  }
  for (const objectHandle of [PERSISTENT, PERSISTENT + 1, 0x8000_0000]) {
    const { name, qualifiedName } = client.run("ReadPublic", { objectHandle }, {});
    answers[`Name of ${objectHandle.toString(16)}`] = hex(name);
    answers[`qualified Name of ${objectHandle.toString(16)}`] = hex(qualifiedName);
  }
  for (const [at, { dataSize }] of indices.entries()) {
    const nvIndex = NV + at;
    answers[`Name of NV index ${at}`] = hex(client.run("NV_ReadPublic", { nvIndex }, {}).nvName);
    const read = { size: dataSize, offset: 0 };
    const rc = client.rc("NV_Read", { authHandle: Rh.OWNER, nvIndex }, read);
    answers[`NV index ${at}`] =
      rc === 0
        ? hex(client.run("NV_Read", { authHandle: nvIndex, nvIndex }, read, { auth: [`nv${at}`] }).data)
        : rc;
  }
  answers["policy digest"] = hex(
    client.run("PolicyGetDigest", { policySession: 0x0300_0001 }, {}).policyDigest,
  );
  answers["unsealed"] = hex(client.run("Unseal", { itemHandle: 0x8000_0000 }, {}, { auth: ["pw"] }).outData);
  const rest = { buffer: text("and the second"), hierarchy: Rh.NULL };
  const sequence = client.run("SequenceComplete", { sequenceHandle: 0x8000_0001 }, rest);
  answers["end of the sequence"] = hex(sequence.result);
  const { currentTime } = client.run("ReadClock", {}, {});
  answers["clock"] = `${currentTime.clockInfo.clock} ${currentTime.clockInfo.resetCount}`;
  client.run("FlushContext", {}, { flushHandle: 0x8000_0000 });
  Object.assign(answers, primaryNames(client, "endorsement"));
  return answers;
}

/** Names of keys that follow from the seeds alone. */
export function primaryNames(client: TpmClient, endorsementAuth: string): Record<string, string> {
  const objectAttributes = fixedKey | ObjectAttribute.sign;
  const rsa = { symmetric: noSymmetric, scheme: noScheme };
  const templates = {
    "RSA-2048": rsaTemplate({ objectAttributes, parameters: rsa }),
    "P-256": eccTemplate(),
  };
  const names: Record<string, string> = {};
  for (const [what, inPublic] of Object.entries(templates)) {
    const parameters = {
      inSensitive: { userAuth: empty, data: empty },
      inPublic,
      outsideInfo: empty,
      creationPCR: [],
    };
    const auth = { auth: [endorsementAuth] };
    const made = client.run("CreatePrimary", { primaryHandle: Rh.ENDORSEMENT }, parameters, auth);
    names[`primary ${what}`] = hex(made.name);
    client.run("FlushContext", {}, { flushHandle: made.handle });
  }
  return names;
}
