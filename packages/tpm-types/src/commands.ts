import { TPM2B_ATTEST } from "./attest.ts";
import { CommandAttribute } from "./attributes.ts";
import * as B from "./basic-structures.ts";
import { TPM2B_SET_CAPABILITY_DATA, TPMS_CAPABILITY_DATA } from "./capability-data.ts";
import type { Fields, Structure, Type } from "./codec.ts";
import * as I from "./interface-types.ts";
import { TPM2B_NV_PUBLIC, TPM2B_NV_PUBLIC_2 } from "./nv-public.ts";
import * as P from "./public-area.ts";
import {
  TPMT_KDF_SCHEME,
  TPMT_RSA_DECRYPT,
  TPMT_SIG_SCHEME,
  TPMT_SYM_DEF,
  TPMT_SYM_DEF_OBJECT_NULL,
} from "./schemes.ts";
import { TPMT_SIGNATURE, TPMT_SIGNATURE_NULL } from "./signature.ts";

/** How a handle is authorized (Part 1, 19.2 "Authorization Roles"). */
export type AuthRole = "user" | "admin" | "dup";

/** A handle in the handle area. */
export interface HandleDefinition {
  readonly type: Type<number>;
  /** Undefined: no authorization. Handles with a role come first. */
  readonly role: AuthRole | undefined;
}

/** Groups of commands, for documentation: A boot, B keys and sealing, C attestation, D NV, E cryptography, F platform and audit, G after 1.59, H nobody's. */
export type Tier = "A" | "B" | "C" | "D" | "E" | "F" | "G" | "H";

export interface CommandDefinition<
  H extends Readonly<Record<string, HandleDefinition>> = Readonly<Record<string, HandleDefinition>>,
  I extends Fields = Fields,
  O extends Fields = Fields,
  R extends Type<number> | undefined = Type<number> | undefined,
> {
  /** TPM_CC (Part 2, 6.5.2). */
  readonly code: number;
  readonly tier: Tier;
  readonly handles: H;
  readonly parameters: I;
  /** The type of the handle in the response. */
  readonly responseHandle: R;
  readonly response: O;
  /** May write NV (TPMA_CC.nv). */
  readonly nv: boolean;
  /** Large effect: TPMA_CC.extensive. */
  readonly extensive: boolean;
  /** The handle is flushed: TPMA_CC.flushed. */
  readonly flushed: boolean;
  /** No session of any kind goes with it: TPM_RC_AUTH_CONTEXT. */
  readonly noSessions: boolean;
  /** May be made to need physical presence by PP_Commands: `true` when it does already. Undefined: it never can. */
  readonly physicalPresence: boolean | undefined;
  /** Refused in read-only mode (Part 1, 1.83). */
  readonly readOnlyBlocked: boolean;
}

const user = (type: Type<number>) => ({ type, role: "user" }) as const;
const admin = (type: Type<number>) => ({ type, role: "admin" }) as const;
const dup = (type: Type<number>) => ({ type, role: "dup" }) as const;
const open = (type: Type<number>) => ({ type, role: undefined }) as const;

type Handles = Readonly<Record<string, HandleDefinition>>;
interface Row<H extends Handles, I extends Fields, O extends Fields, R> {
  readonly handles?: H;
  readonly in?: I;
  readonly outHandle?: R;
  readonly out?: O;
  /** nv, ext, flushed, noSess, PP (may need presence), PPreq (needs it), RO (blocked in read-only mode). */
  readonly flags?: string;
}
type None = Record<never, never>;

function command<
  H extends Handles = None,
  I extends Fields = None,
  O extends Fields = None,
  R extends Type<number> | undefined = undefined,
>(tier: Tier, code: number, row: Row<H, I, O, R>): CommandDefinition<H, I, O, R> {
  const flags = new Set((row.flags ?? "").split(" "));
  return {
    code,
    tier,
    handles: row.handles ?? ({} as H),
    parameters: row.in ?? ({} as I),
    responseHandle: row.outHandle as R,
    response: row.out ?? ({} as O),
    nv: flags.has("nv"),
    extensive: flags.has("ext"),
    flushed: flags.has("flushed"),
    noSessions: flags.has("noSess"),
    physicalPresence: flags.has("PPreq") ? true : flags.has("PP") ? false : undefined,
    readOnlyBlocked: flags.has("RO"),
  };
}

const signed = { qualifyingData: B.TPM2B_DATA, inScheme: TPMT_SIG_SCHEME };
const policySession = { policySession: open(I.TPMI_SH_POLICY) };
const compare = { operandB: B.TPM2B_OPERAND, offset: I.UINT16, operation: I.TPM_EO };
const authorizeTicket = { timeout: B.TPM2B_TIMEOUT, policyTicket: B.TPMT_TK_AUTH };
const nvAccess = { authHandle: user(I.TPMI_RH_NV_AUTH), nvIndex: open(I.TPMI_RH_NV_INDEX) };
const platform = { authHandle: user(I.TPMI_RH_PLATFORM) };
const privateAndPublic = { inSensitive: P.TPM2B_SENSITIVE_CREATE, inPublic: P.TPM2B_PUBLIC };
const creation = {
  creationData: P.TPM2B_CREATION_DATA,
  creationHash: B.TPM2B_DIGEST,
  creationTicket: B.TPMT_TK_CREATION,
};

/** Every command of the library specification (Part 3), by its name without "TPM2_". */
// biome-ignore format: one command a row
export const commands = {
  NV_UndefineSpaceSpecial: command("D", 0x11f, { handles: { nvIndex: admin(I.TPMI_RH_NV_INDEX), platform: user(I.TPMI_RH_PLATFORM) }, flags: "nv PP RO" }),
  EvictControl: command("B", 0x120, { handles: { auth: user(I.TPMI_RH_PROVISION), objectHandle: open(I.TPMI_DH_OBJECT) }, in: { persistentHandle: I.TPMI_DH_PERSISTENT }, flags: "nv PP RO" }),
  HierarchyControl: command("A", 0x121, { handles: { authHandle: user(I.TPMI_RH_BASE_HIERARCHY) }, in: { enable: I.TPMI_RH_ENABLES, state: I.TPMI_YES_NO }, flags: "nv ext PP RO" }),
  NV_UndefineSpace: command("D", 0x122, { handles: { authHandle: user(I.TPMI_RH_PROVISION), nvIndex: open(I.TPMI_RH_NV_INDEX) }, flags: "nv PP RO" }),
  ChangeEPS: command("F", 0x124, { handles: platform, flags: "nv ext PP RO" }),
  ChangePPS: command("F", 0x125, { handles: platform, flags: "nv ext PP RO" }),
  Clear: command("B", 0x126, { handles: { authHandle: user(I.TPMI_RH_CLEAR) }, flags: "nv ext PP RO" }),
  ClearControl: command("B", 0x127, { handles: { auth: user(I.TPMI_RH_CLEAR) }, in: { disable: I.TPMI_YES_NO }, flags: "nv PP RO" }),
  ClockSet: command("F", 0x128, { handles: { auth: user(I.TPMI_RH_PROVISION) }, in: { newTime: I.UINT64 }, flags: "nv PP RO" }),
  HierarchyChangeAuth: command("A", 0x129, { handles: { authHandle: user(I.TPMI_RH_HIERARCHY_AUTH) }, in: { newAuth: B.TPM2B_AUTH }, flags: "nv PP RO" }),
  NV_DefineSpace: command("D", 0x12a, { handles: { authHandle: user(I.TPMI_RH_PROVISION) }, in: { auth: B.TPM2B_AUTH, publicInfo: TPM2B_NV_PUBLIC }, flags: "nv PP RO" }),
  PCR_Allocate: command("A", 0x12b, { handles: platform, in: { pcrAllocation: B.TPML_PCR_SELECTION }, out: { allocationSuccess: I.TPMI_YES_NO, maxPCR: I.UINT32, sizeNeeded: I.UINT32, sizeAvailable: I.UINT32 }, flags: "nv PP RO" }),
  PCR_SetAuthPolicy: command("F", 0x12c, { handles: platform, in: { authPolicy: B.TPM2B_DIGEST, hashAlg: I.TPMI_ALG_HASH_NULL, pcrNum: I.TPMI_DH_PCR }, flags: "nv PP RO" }),
  PP_Commands: command("F", 0x12d, { handles: { auth: user(I.TPMI_RH_PLATFORM) }, in: { setList: B.TPML_CC, clearList: B.TPML_CC }, flags: "nv PPreq RO" }),
  SetPrimaryPolicy: command("B", 0x12e, { handles: { authHandle: user(I.TPMI_RH_HIERARCHY_POLICY) }, in: { authPolicy: B.TPM2B_DIGEST, hashAlg: I.TPMI_ALG_HASH_NULL }, flags: "nv PP RO" }),
  ClockRateAdjust: command("F", 0x130, { handles: { auth: user(I.TPMI_RH_PROVISION) }, in: { rateAdjust: I.TPM_CLOCK_ADJUST }, flags: "PP RO" }),
  CreatePrimary: command("B", 0x131, { handles: { primaryHandle: user(I.TPMI_RH_HIERARCHY) }, in: { ...privateAndPublic, outsideInfo: B.TPM2B_DATA, creationPCR: B.TPML_PCR_SELECTION }, outHandle: I.TPM_HANDLE, out: { outPublic: P.TPM2B_PUBLIC, ...creation, name: B.TPM2B_NAME }, flags: "PP RO" }),
  NV_GlobalWriteLock: command("D", 0x132, { handles: { authHandle: user(I.TPMI_RH_PROVISION) }, flags: "nv PP RO" }),
  GetCommandAuditDigest: command("F", 0x133, { handles: { privacyHandle: user(I.TPMI_RH_ENDORSEMENT), signHandle: user(I.TPMI_DH_OBJECT_NULL) }, in: signed, out: { auditInfo: TPM2B_ATTEST, signature: TPMT_SIGNATURE_NULL }, flags: "nv" }),
  NV_Increment: command("D", 0x134, { handles: nvAccess, flags: "nv RO" }),
  NV_SetBits: command("D", 0x135, { handles: nvAccess, in: { bits: I.UINT64 }, flags: "nv" }),
  NV_Extend: command("D", 0x136, { handles: nvAccess, in: { data: B.TPM2B_MAX_NV_BUFFER }, flags: "nv" }),
  NV_Write: command("D", 0x137, { handles: nvAccess, in: { data: B.TPM2B_MAX_NV_BUFFER, offset: I.UINT16 }, flags: "nv" }),
  NV_WriteLock: command("D", 0x138, { handles: nvAccess, flags: "nv" }),
  DictionaryAttackLockReset: command("B", 0x139, { handles: { lockHandle: user(I.TPMI_RH_LOCKOUT) }, flags: "nv" }),
  DictionaryAttackParameters: command("B", 0x13a, { handles: { lockHandle: user(I.TPMI_RH_LOCKOUT) }, in: { newMaxTries: I.UINT32, newRecoveryTime: I.UINT32, lockoutRecovery: I.UINT32 }, flags: "nv RO" }),
  NV_ChangeAuth: command("D", 0x13b, { handles: { nvIndex: admin(I.TPMI_RH_NV_INDEX) }, in: { newAuth: B.TPM2B_AUTH }, flags: "nv RO" }),
  PCR_Event: command("A", 0x13c, { handles: { pcrHandle: user(I.TPMI_DH_PCR_NULL) }, in: { eventData: B.TPM2B_EVENT }, out: { digests: B.TPML_DIGEST_VALUES }, flags: "nv" }),
  PCR_Reset: command("A", 0x13d, { handles: { pcrHandle: user(I.TPMI_DH_PCR) }, flags: "nv" }),
  SequenceComplete: command("E", 0x13e, { handles: { sequenceHandle: user(I.TPMI_DH_OBJECT) }, in: { buffer: B.TPM2B_MAX_BUFFER, hierarchy: I.TPMI_RH_HIERARCHY }, out: { result: B.TPM2B_DIGEST, validation: B.TPMT_TK_HASHCHECK }, flags: "flushed" }),
  SetAlgorithmSet: command("F", 0x13f, { handles: platform, in: { algorithmSet: I.UINT32 }, flags: "nv RO" }),
  SetCommandCodeAuditStatus: command("F", 0x140, { handles: { auth: user(I.TPMI_RH_PROVISION) }, in: { auditAlg: I.TPMI_ALG_HASH_NULL, setList: B.TPML_CC, clearList: B.TPML_CC }, flags: "nv PP RO" }),
  IncrementalSelfTest: command("F", 0x142, { in: { toTest: B.TPML_ALG }, out: { toDoList: B.TPML_ALG }, flags: "nv" }),
  SelfTest: command("A", 0x143, { in: { fullTest: I.TPMI_YES_NO }, flags: "nv" }),
  Startup: command("A", 0x144, { in: { startupType: I.TPM_SU }, flags: "nv noSess" }),
  Shutdown: command("A", 0x145, { in: { shutdownType: I.TPM_SU }, flags: "nv" }),
  StirRandom: command("A", 0x146, { in: { inData: B.TPM2B_SENSITIVE_DATA }, flags: "nv" }),
  ActivateCredential: command("C", 0x147, { handles: { activateHandle: admin(I.TPMI_DH_OBJECT), keyHandle: user(I.TPMI_DH_OBJECT) }, in: { credentialBlob: B.TPM2B_ID_OBJECT, secret: B.TPM2B_ENCRYPTED_SECRET }, out: { certInfo: B.TPM2B_DIGEST } }),
  Certify: command("C", 0x148, { handles: { objectHandle: admin(I.TPMI_DH_OBJECT), signHandle: user(I.TPMI_DH_OBJECT_NULL) }, in: signed, out: { certifyInfo: TPM2B_ATTEST, signature: TPMT_SIGNATURE_NULL } }),
  PolicyNV: command("B", 0x149, { handles: { ...nvAccess, ...policySession }, in: compare }),
  CertifyCreation: command("C", 0x14a, { handles: { signHandle: user(I.TPMI_DH_OBJECT_NULL), objectHandle: open(I.TPMI_DH_OBJECT) }, in: { qualifyingData: B.TPM2B_DATA, creationHash: B.TPM2B_DIGEST, inScheme: TPMT_SIG_SCHEME, creationTicket: B.TPMT_TK_CREATION }, out: { certifyInfo: TPM2B_ATTEST, signature: TPMT_SIGNATURE_NULL } }),
  Duplicate: command("E", 0x14b, { handles: { objectHandle: dup(I.TPMI_DH_OBJECT), newParentHandle: open(I.TPMI_DH_OBJECT_NULL) }, in: { encryptionKeyIn: B.TPM2B_DATA, symmetricAlg: TPMT_SYM_DEF_OBJECT_NULL }, out: { encryptionKeyOut: B.TPM2B_DATA, duplicate: B.TPM2B_PRIVATE, outSymSeed: B.TPM2B_ENCRYPTED_SECRET } }),
  GetTime: command("C", 0x14c, { handles: { privacyAdminHandle: user(I.TPMI_RH_ENDORSEMENT), signHandle: user(I.TPMI_DH_OBJECT_NULL) }, in: signed, out: { timeInfo: TPM2B_ATTEST, signature: TPMT_SIGNATURE_NULL } }),
  GetSessionAuditDigest: command("C", 0x14d, { handles: { privacyAdminHandle: user(I.TPMI_RH_ENDORSEMENT), signHandle: user(I.TPMI_DH_OBJECT_NULL), sessionHandle: open(I.TPMI_SH_HMAC) }, in: signed, out: { auditInfo: TPM2B_ATTEST, signature: TPMT_SIGNATURE_NULL } }),
  NV_Read: command("D", 0x14e, { handles: nvAccess, in: { size: I.UINT16, offset: I.UINT16 }, out: { data: B.TPM2B_MAX_NV_BUFFER } }),
  NV_ReadLock: command("D", 0x14f, { handles: nvAccess, flags: "nv" }),
  ObjectChangeAuth: command("B", 0x150, { handles: { objectHandle: admin(I.TPMI_DH_OBJECT), parentHandle: open(I.TPMI_DH_OBJECT) }, in: { newAuth: B.TPM2B_AUTH }, out: { outPrivate: B.TPM2B_PRIVATE }, flags: "RO" }),
  PolicySecret: command("B", 0x151, { handles: { authHandle: user(I.TPMI_DH_ENTITY), ...policySession }, in: { nonceTPM: B.TPM2B_NONCE, cpHashA: B.TPM2B_DIGEST, policyRef: B.TPM2B_NONCE, expiration: I.INT32 }, out: authorizeTicket }),
  Rewrap: command("E", 0x152, { handles: { oldParent: user(I.TPMI_DH_OBJECT_NULL), newParent: open(I.TPMI_DH_OBJECT_NULL) }, in: { inDuplicate: B.TPM2B_PRIVATE, name: B.TPM2B_NAME, inSymSeed: B.TPM2B_ENCRYPTED_SECRET }, out: { outDuplicate: B.TPM2B_PRIVATE, outSymSeed: B.TPM2B_ENCRYPTED_SECRET } }),
  Create: command("B", 0x153, { handles: { parentHandle: user(I.TPMI_DH_OBJECT) }, in: { ...privateAndPublic, outsideInfo: B.TPM2B_DATA, creationPCR: B.TPML_PCR_SELECTION }, out: { outPrivate: B.TPM2B_PRIVATE, outPublic: P.TPM2B_PUBLIC, ...creation }, flags: "RO" }),
  ECDH_ZGen: command("E", 0x154, { handles: { keyHandle: user(I.TPMI_DH_OBJECT) }, in: { inPoint: B.TPM2B_ECC_POINT }, out: { outPoint: B.TPM2B_ECC_POINT } }),
  HMAC: command("E", 0x155, { handles: { handle: user(I.TPMI_DH_OBJECT) }, in: { buffer: B.TPM2B_MAX_BUFFER, hashAlg: I.TPMI_ALG_MAC_SCHEME_NULL }, out: { outHMAC: B.TPM2B_DIGEST } }),
  Import: command("E", 0x156, { handles: { parentHandle: user(I.TPMI_DH_OBJECT) }, in: { encryptionKey: B.TPM2B_DATA, objectPublic: P.TPM2B_PUBLIC, duplicate: B.TPM2B_PRIVATE, inSymSeed: B.TPM2B_ENCRYPTED_SECRET, symmetricAlg: TPMT_SYM_DEF_OBJECT_NULL }, out: { outPrivate: B.TPM2B_PRIVATE } }),
  Load: command("B", 0x157, { handles: { parentHandle: user(I.TPMI_DH_OBJECT) }, in: { inPrivate: B.TPM2B_PRIVATE, inPublic: P.TPM2B_PUBLIC }, outHandle: I.TPM_HANDLE, out: { name: B.TPM2B_NAME } }),
  Quote: command("C", 0x158, { handles: { signHandle: user(I.TPMI_DH_OBJECT_NULL) }, in: { ...signed, PCRselect: B.TPML_PCR_SELECTION }, out: { quoted: TPM2B_ATTEST, signature: TPMT_SIGNATURE_NULL } }),
  RSA_Decrypt: command("E", 0x159, { handles: { keyHandle: user(I.TPMI_DH_OBJECT) }, in: { cipherText: B.TPM2B_PUBLIC_KEY_RSA, inScheme: TPMT_RSA_DECRYPT, label: B.TPM2B_DATA }, out: { message: B.TPM2B_PUBLIC_KEY_RSA } }),
  HMAC_Start: command("E", 0x15b, { handles: { handle: user(I.TPMI_DH_OBJECT) }, in: { auth: B.TPM2B_AUTH, hashAlg: I.TPMI_ALG_MAC_SCHEME_NULL }, outHandle: I.TPM_HANDLE }),
  SequenceUpdate: command("A", 0x15c, { handles: { sequenceHandle: user(I.TPMI_DH_OBJECT) }, in: { buffer: B.TPM2B_MAX_BUFFER } }),
  Sign: command("C", 0x15d, { handles: { keyHandle: user(I.TPMI_DH_OBJECT) }, in: { digest: B.TPM2B_DIGEST, inScheme: TPMT_SIG_SCHEME, validation: B.TPMT_TK_HASHCHECK }, out: { signature: TPMT_SIGNATURE_NULL } }),
  Unseal: command("B", 0x15e, { handles: { itemHandle: user(I.TPMI_DH_OBJECT) }, out: { outData: B.TPM2B_SENSITIVE_DATA } }),
  PolicySigned: command("B", 0x160, { handles: { authObject: open(I.TPMI_DH_OBJECT), ...policySession }, in: { nonceTPM: B.TPM2B_NONCE, cpHashA: B.TPM2B_DIGEST, policyRef: B.TPM2B_NONCE, expiration: I.INT32, auth: TPMT_SIGNATURE }, out: authorizeTicket }),
  ContextLoad: command("B", 0x161, { in: { context: B.TPMS_CONTEXT }, outHandle: I.TPM_HANDLE, flags: "noSess" }),
  ContextSave: command("B", 0x162, { handles: { saveHandle: open(I.TPMI_DH_CONTEXT) }, out: { context: B.TPMS_CONTEXT }, flags: "noSess" }),
  ECDH_KeyGen: command("E", 0x163, { handles: { keyHandle: open(I.TPMI_DH_OBJECT) }, out: { zPoint: B.TPM2B_ECC_POINT, pubPoint: B.TPM2B_ECC_POINT } }),
  EncryptDecrypt: command("E", 0x164, { handles: { keyHandle: user(I.TPMI_DH_OBJECT) }, in: { decrypt: I.TPMI_YES_NO, mode: I.TPMI_ALG_CIPHER_MODE_NULL, ivIn: B.TPM2B_IV, inData: B.TPM2B_MAX_BUFFER }, out: { outData: B.TPM2B_MAX_BUFFER, ivOut: B.TPM2B_IV } }),
  FlushContext: command("B", 0x165, { in: { flushHandle: I.TPMI_DH_CONTEXT }, flags: "noSess" }),
  LoadExternal: command("B", 0x167, { in: { inPrivate: P.TPM2B_SENSITIVE_OPTIONAL, inPublic: P.TPM2B_PUBLIC_NULL, hierarchy: I.TPMI_RH_HIERARCHY }, outHandle: I.TPM_HANDLE, out: { name: B.TPM2B_NAME } }),
  MakeCredential: command("C", 0x168, { handles: { handle: open(I.TPMI_DH_OBJECT) }, in: { credential: B.TPM2B_DIGEST, objectName: B.TPM2B_NAME }, out: { credentialBlob: B.TPM2B_ID_OBJECT, secret: B.TPM2B_ENCRYPTED_SECRET } }),
  NV_ReadPublic: command("D", 0x169, { handles: { nvIndex: open(I.TPMI_RH_NV_INDEX) }, out: { nvPublic: TPM2B_NV_PUBLIC, nvName: B.TPM2B_NAME } }),
  PolicyAuthorize: command("B", 0x16a, { handles: policySession, in: { approvedPolicy: B.TPM2B_DIGEST, policyRef: B.TPM2B_NONCE, keySign: B.TPM2B_NAME, checkTicket: B.TPMT_TK_VERIFIED } }),
  PolicyAuthValue: command("B", 0x16b, { handles: policySession }),
  PolicyCommandCode: command("B", 0x16c, { handles: policySession, in: { code: I.TPM_CC } }),
  PolicyCounterTimer: command("B", 0x16d, { handles: policySession, in: compare }),
  PolicyCpHash: command("B", 0x16e, { handles: policySession, in: { cpHashA: B.TPM2B_DIGEST } }),
  PolicyLocality: command("B", 0x16f, { handles: policySession, in: { locality: I.TPMA_LOCALITY } }),
  PolicyNameHash: command("B", 0x170, { handles: policySession, in: { nameHash: B.TPM2B_DIGEST } }),
  PolicyOR: command("B", 0x171, { handles: policySession, in: { pHashList: B.TPML_DIGEST_OR } }),
  PolicyTicket: command("B", 0x172, { handles: policySession, in: { timeout: B.TPM2B_TIMEOUT, cpHashA: B.TPM2B_DIGEST, policyRef: B.TPM2B_NONCE, authName: B.TPM2B_NAME, ticket: B.TPMT_TK_AUTH } }),
  ReadPublic: command("B", 0x173, { handles: { objectHandle: open(I.TPMI_DH_OBJECT) }, out: { outPublic: P.TPM2B_PUBLIC_NULL, name: B.TPM2B_NAME, qualifiedName: B.TPM2B_NAME } }),
  RSA_Encrypt: command("E", 0x174, { handles: { keyHandle: open(I.TPMI_DH_OBJECT) }, in: { message: B.TPM2B_PUBLIC_KEY_RSA, inScheme: TPMT_RSA_DECRYPT, label: B.TPM2B_DATA }, out: { outData: B.TPM2B_PUBLIC_KEY_RSA } }),
  StartAuthSession: command("B", 0x176, { handles: { tpmKey: open(I.TPMI_DH_OBJECT_NULL), bind: open(I.TPMI_DH_ENTITY_NULL) }, in: { nonceCaller: B.TPM2B_NONCE, encryptedSalt: B.TPM2B_ENCRYPTED_SECRET, sessionType: I.TPM_SE, symmetric: TPMT_SYM_DEF, authHash: I.TPMI_ALG_HASH }, outHandle: I.TPM_HANDLE, out: { nonceTPM: B.TPM2B_NONCE } }),
  VerifySignature: command("C", 0x177, { handles: { keyHandle: open(I.TPMI_DH_OBJECT) }, in: { digest: B.TPM2B_DIGEST, signature: TPMT_SIGNATURE }, out: { validation: B.TPMT_TK_VERIFIED } }),
  ECC_Parameters: command("E", 0x178, { in: { curveID: I.TPMI_ECC_CURVE }, out: { parameters: P.TPMS_ALGORITHM_DETAIL_ECC } }),
  GetCapability: command("A", 0x17a, { in: { capability: I.TPM_CAP, property: I.UINT32, propertyCount: I.UINT32 }, out: { moreData: I.TPMI_YES_NO, capabilityData: TPMS_CAPABILITY_DATA } }),
  GetRandom: command("A", 0x17b, { in: { bytesRequested: I.UINT16 }, out: { randomBytes: B.TPM2B_DIGEST } }),
  GetTestResult: command("A", 0x17c, { out: { outData: B.TPM2B_MAX_BUFFER, testResult: I.UINT32 } }),
  Hash: command("E", 0x17d, { in: { data: B.TPM2B_MAX_BUFFER, hashAlg: I.TPMI_ALG_HASH, hierarchy: I.TPMI_RH_HIERARCHY }, out: { outHash: B.TPM2B_DIGEST, validation: B.TPMT_TK_HASHCHECK } }),
  PCR_Read: command("A", 0x17e, { in: { pcrSelectionIn: B.TPML_PCR_SELECTION }, out: { pcrUpdateCounter: I.UINT32, pcrSelectionOut: B.TPML_PCR_SELECTION, pcrValues: B.TPML_DIGEST } }),
  PolicyPCR: command("B", 0x17f, { handles: policySession, in: { pcrDigest: B.TPM2B_DIGEST, pcrs: B.TPML_PCR_SELECTION } }),
  PolicyRestart: command("B", 0x180, { handles: { sessionHandle: open(I.TPMI_SH_POLICY) } }),
  ReadClock: command("A", 0x181, { out: { currentTime: B.TPMS_TIME_INFO } }),
  PCR_Extend: command("A", 0x182, { handles: { pcrHandle: user(I.TPMI_DH_PCR_NULL) }, in: { digests: B.TPML_DIGEST_VALUES }, flags: "nv" }),
  PCR_SetAuthValue: command("F", 0x183, { handles: { pcrHandle: user(I.TPMI_DH_PCR) }, in: { auth: B.TPM2B_DIGEST }, flags: "RO" }),
  NV_Certify: command("C", 0x184, { handles: { signHandle: user(I.TPMI_DH_OBJECT_NULL), ...nvAccess }, in: { ...signed, size: I.UINT16, offset: I.UINT16 }, out: { certifyInfo: TPM2B_ATTEST, signature: TPMT_SIGNATURE_NULL } }),
  EventSequenceComplete: command("A", 0x185, { handles: { pcrHandle: user(I.TPMI_DH_PCR_NULL), sequenceHandle: user(I.TPMI_DH_OBJECT) }, in: { buffer: B.TPM2B_MAX_BUFFER }, out: { results: B.TPML_DIGEST_VALUES }, flags: "nv flushed" }),
  HashSequenceStart: command("A", 0x186, { in: { auth: B.TPM2B_AUTH, hashAlg: I.TPMI_ALG_HASH_NULL }, outHandle: I.TPM_HANDLE }),
  PolicyPhysicalPresence: command("F", 0x187, { handles: policySession }),
  PolicyDuplicationSelect: command("B", 0x188, { handles: policySession, in: { objectName: B.TPM2B_NAME, newParentName: B.TPM2B_NAME, includeObject: I.TPMI_YES_NO } }),
  PolicyGetDigest: command("B", 0x189, { handles: policySession, out: { policyDigest: B.TPM2B_DIGEST } }),
  TestParms: command("E", 0x18a, { in: { parameters: P.TPMT_PUBLIC_PARMS } }),
  Commit: command("E", 0x18b, { handles: { signHandle: user(I.TPMI_DH_OBJECT) }, in: { P1: B.TPM2B_ECC_POINT, s2: B.TPM2B_SENSITIVE_DATA, y2: B.TPM2B_ECC_PARAMETER }, out: { K: B.TPM2B_ECC_POINT, L: B.TPM2B_ECC_POINT, E: B.TPM2B_ECC_POINT, counter: I.UINT16 } }),
  PolicyPassword: command("B", 0x18c, { handles: policySession }),
  ZGen_2Phase: command("E", 0x18d, { handles: { keyA: user(I.TPMI_DH_OBJECT) }, in: { inQsB: B.TPM2B_ECC_POINT, inQeB: B.TPM2B_ECC_POINT, inScheme: I.TPMI_ECC_KEY_EXCHANGE, counter: I.UINT16 }, out: { outZ1: B.TPM2B_ECC_POINT, outZ2: B.TPM2B_ECC_POINT } }),
  EC_Ephemeral: command("E", 0x18e, { in: { curveID: I.TPMI_ECC_CURVE }, out: { Q: B.TPM2B_ECC_POINT, counter: I.UINT16 } }),
  PolicyNvWritten: command("B", 0x18f, { handles: policySession, in: { writtenSet: I.TPMI_YES_NO } }),
  PolicyTemplate: command("B", 0x190, { handles: policySession, in: { templateHash: B.TPM2B_DIGEST } }),
  CreateLoaded: command("B", 0x191, { handles: { parentHandle: user(I.TPMI_DH_PARENT) }, in: { inSensitive: P.TPM2B_SENSITIVE_CREATE, inPublic: B.TPM2B_TEMPLATE }, outHandle: I.TPM_HANDLE, out: { outPrivate: B.TPM2B_PRIVATE, outPublic: P.TPM2B_PUBLIC, name: B.TPM2B_NAME }, flags: "PP RO" }),
  PolicyAuthorizeNV: command("B", 0x192, { handles: { ...nvAccess, ...policySession } }),
  EncryptDecrypt2: command("E", 0x193, { handles: { keyHandle: user(I.TPMI_DH_OBJECT) }, in: { inData: B.TPM2B_MAX_BUFFER, decrypt: I.TPMI_YES_NO, mode: I.TPMI_ALG_CIPHER_MODE_NULL, ivIn: B.TPM2B_IV }, out: { outData: B.TPM2B_MAX_BUFFER, ivOut: B.TPM2B_IV } }),
  Policy_AC_SendSelect: command("G", 0x196, { handles: policySession, in: { objectName: B.TPM2B_NAME, authHandleName: B.TPM2B_NAME, acName: B.TPM2B_NAME, includeObject: I.TPMI_YES_NO } }),
  CertifyX509: command("E", 0x197, { handles: { objectHandle: admin(I.TPMI_DH_OBJECT), signHandle: user(I.TPMI_DH_OBJECT_NULL) }, in: { reserved: B.TPM2B_DATA, inScheme: TPMT_SIG_SCHEME, partialCertificate: B.TPM2B_MAX_BUFFER }, out: { addedToCertificate: B.TPM2B_MAX_BUFFER, tbsDigest: B.TPM2B_DIGEST, signature: TPMT_SIGNATURE_NULL } }),
  ACT_SetTimeout: command("F", 0x198, { handles: { actHandle: user(I.TPMI_RH_ACT) }, in: { startTimeout: I.UINT32 } }),
  ECC_Encrypt: command("G", 0x199, { handles: { keyHandle: open(I.TPMI_DH_OBJECT) }, in: { plainText: B.TPM2B_MAX_BUFFER, inScheme: TPMT_KDF_SCHEME }, out: { C1: B.TPM2B_ECC_POINT, C2: B.TPM2B_MAX_BUFFER, C3: B.TPM2B_DIGEST } }),
  ECC_Decrypt: command("G", 0x19a, { handles: { keyHandle: user(I.TPMI_DH_OBJECT) }, in: { C1: B.TPM2B_ECC_POINT, C2: B.TPM2B_MAX_BUFFER, C3: B.TPM2B_DIGEST, inScheme: TPMT_KDF_SCHEME }, out: { plainText: B.TPM2B_MAX_BUFFER } }),
  PolicyCapability: command("G", 0x19b, { handles: policySession, in: { ...compare, capability: I.TPM_CAP, property: I.UINT32 } }),
  PolicyParameters: command("G", 0x19c, { handles: policySession, in: { pHash: B.TPM2B_DIGEST } }),
  NV_DefineSpace2: command("G", 0x19d, { handles: { authHandle: user(I.TPMI_RH_PROVISION) }, in: { auth: B.TPM2B_AUTH, publicInfo: TPM2B_NV_PUBLIC_2 }, flags: "nv PP RO" }),
  NV_ReadPublic2: command("G", 0x19e, { handles: { nvIndex: open(I.TPMI_RH_NV_INDEX) }, out: { nvPublic: TPM2B_NV_PUBLIC_2, nvName: B.TPM2B_NAME } }),
  SetCapability: command("G", 0x19f, { handles: { authHandle: user(I.TPMI_RH_HIERARCHY_AUTH) }, in: { setCapabilityData: TPM2B_SET_CAPABILITY_DATA }, flags: "nv RO" }),
  ReadOnlyControl: command("G", 0x1a0, { handles: platform, in: { state: I.TPMI_YES_NO }, flags: "nv PP" }),
  PolicyTransportSPDM: command("G", 0x1a1, { handles: policySession, in: { reqKeyName: B.TPM2B_NAME, tpmKeyName: B.TPM2B_NAME } }),
} as const;

export type CommandName = keyof typeof commands;
/** Values of the parameters of a command. */
export type CommandParameters<N extends CommandName> = Structure<(typeof commands)[N]["parameters"]>;
/** Handles of a command by name. */
export type CommandHandles<N extends CommandName> = {
  readonly [K in keyof (typeof commands)[N]["handles"]]: number;
};
/** Values of the response parameters of a command. */
export type CommandResponse<N extends CommandName> = Structure<(typeof commands)[N]["response"]>;

/** Commands of tier H, which nobody implements: code and name, for documentation. They answer TPM_RC_COMMAND_CODE. */
export const absentCommands: readonly { readonly name: string; readonly code: number }[] = [
  { name: "FieldUpgradeStart", code: 0x12f },
  { name: "FieldUpgradeData", code: 0x141 },
  { name: "FirmwareRead", code: 0x179 },
  { name: "AC_GetCapability", code: 0x194 },
  { name: "AC_Send", code: 0x195 },
];

export interface NamedCommand extends CommandDefinition {
  readonly name: CommandName;
  readonly handleList: readonly HandleDefinition[];
  readonly handleNames: readonly string[];
  /** Roles of the handles that need an authorization; they come first. */
  readonly roles: readonly AuthRole[];
  readonly parameterList: readonly (readonly [name: string, type: Type<unknown>])[];
  readonly responseList: readonly (readonly [name: string, type: Type<unknown>])[];
  /** May a session decrypt the first parameter, and encrypt the first of the response: are they TPM2B (Part 1, clause 21)? */
  readonly firstParameterSized: boolean;
  readonly firstResponseSized: boolean;
}
/** Commands in the order of their codes. */
export const commandList: readonly NamedCommand[] = Object.entries<CommandDefinition>(commands)
  .map(([name, definition]) => {
    const handleList = Object.values(definition.handles);
    return {
      ...definition,
      name: name as CommandName,
      handleList,
      handleNames: Object.keys(definition.handles),
      roles: handleList.flatMap(({ role }) => (role === undefined ? [] : [role])),
      parameterList: Object.entries(definition.parameters),
      responseList: Object.entries(definition.response),
      firstParameterSized: firstIsSized(definition.parameters),
      firstResponseSized: firstIsSized(definition.response),
    };
  })
  .sort((a, b) => a.code - b.code);

const byCode = new Map(commandList.map((definition) => [definition.code, definition]));

/** The command of a code, undefined when there is none. */
export function commandOf(code: number): NamedCommand | undefined {
  return byCode.get(code);
}

function firstIsSized(fields: Fields): boolean {
  return Object.values(fields)[0]?.name.startsWith("TPM2B_") === true;
}

/** TPMA_CC of a command. */
export function commandAttributes(definition: CommandDefinition): number {
  const { nv, extensive, flushed, handleCountShift, responseHandle } = CommandAttribute;
  let attributes = definition.code | (Object.keys(definition.handles).length << handleCountShift);
  if (definition.nv) attributes |= nv;
  if (definition.extensive) attributes |= extensive;
  if (definition.flushed) attributes |= flushed;
  if (definition.responseHandle !== undefined) attributes |= responseHandle;
  return attributes >>> 0;
}
