import { Alg, curveSizes, digestSizes, rsaKeyBits, symmetricKeyBits } from "./algorithms.ts";
import {
  CommandAttribute,
  NvAttribute,
  ObjectAttribute,
  PermanentAttribute,
  SessionAttribute,
} from "./attributes.ts";
import { checked, oneOf, type Type, unsigned } from "./codec.ts";
import { Cap, Eo, Ht, handleType, Rh, Se, St, Su } from "./constants.ts";
import { Rc, TpmError } from "./response-codes.ts";

/* The numbers of Part 2: base types, constants and interface types (TPMI_*) with the answer to a value that is not allowed. */

export const UINT8 = unsigned("UINT8", 8);
export const UINT16 = unsigned("UINT16", 16);
export const UINT32 = unsigned("UINT32", 32);
export const UINT64: Type<bigint> = {
  name: "UINT64",
  read: (reader) => reader.u64(),
  write: (writer, value) => void writer.u64(value),
};
export const INT32: Type<number> = {
  name: "INT32",
  read: (reader) => reader.i32(),
  write: (writer, value) => void writer.u32(value >>> 0),
};

/** Part 2, 9.2. */
export const TPMI_YES_NO: Type<boolean> = {
  name: "TPMI_YES_NO",
  read(reader) {
    return oneBit.read(reader) === 1;
  },
  write: (writer, value) => void writer.u8(value ? 1 : 0),
};
const oneBit = oneOf(UINT8, "TPMI_YES_NO", Rc.VALUE, [0, 1]);

const { CLEAR, STATE } = Su;
export const TPM_SU = oneOf(UINT16, "TPM_SU", Rc.VALUE, [CLEAR, STATE]);
export const TPM_SE = oneOf(UINT8, "TPM_SE", Rc.VALUE, Object.values(Se));
export const TPM_EO = oneOf(UINT16, "TPM_EO", Rc.VALUE, Object.values(Eo));
export const TPM_CAP = oneOf(UINT32, "TPM_CAP", Rc.VALUE, Object.values(Cap));
export const INT8: Type<number> = {
  name: "INT8",
  read: (reader) => reader.i8(),
  write: (writer, value) => void writer.u8(value & 0xff),
};
export const TPM_CLOCK_ADJUST = checked(
  INT8,
  "TPM_CLOCK_ADJUST",
  Rc.VALUE,
  (value) => value >= -3 && value <= 3,
);
export const TPM_CC = { ...UINT32, name: "TPM_CC" };
export const TPM_GENERATED_TYPE = { ...UINT32, name: "TPM_GENERATED" };

const any = () => true;

/** Handle types. A handle that is of no allowed type is TPM_RC_VALUE (Part 2, 9). */
function handle(name: string, accepts: (handle: number) => boolean, rc: number = Rc.VALUE): Type<number> {
  return checked(UINT32, name, rc, accepts);
}
/** Permanent handles that are hierarchies. */
const hierarchies = new Set<number>([Rh.OWNER, Rh.PLATFORM, Rh.ENDORSEMENT]);
const isObject = (h: number): boolean => handleType(h) === Ht.TRANSIENT || handleType(h) === Ht.PERSISTENT;
const isPcr = (h: number): boolean => h < PCR_COUNT;
const isNv = (h: number): boolean => handleType(h) === Ht.NV_INDEX;
const isHmacSession = (h: number): boolean => handleType(h) === Ht.HMAC_SESSION;
const isPolicySession = (h: number): boolean => handleType(h) === Ht.POLICY_SESSION;
const isAct = (h: number): boolean => h >= Rh.ACT_0 && h <= Rh.ACT_F;

/** PCR 0 to 23. */
export const PCR_COUNT = 24;

export const TPM_HANDLE = handle("TPM_HANDLE", any);
export const TPMI_DH_OBJECT = handle("TPMI_DH_OBJECT", isObject);
export const TPMI_DH_OBJECT_NULL = handle("TPMI_DH_OBJECT+", (h) => isObject(h) || h === Rh.NULL);
export const TPMI_DH_PARENT = handle(
  "TPMI_DH_PARENT",
  (h) => isObject(h) || hierarchies.has(h) || h === Rh.NULL,
);
export const TPMI_DH_PERSISTENT = handle("TPMI_DH_PERSISTENT", (h) => handleType(h) === Ht.PERSISTENT);
export const TPMI_DH_ENTITY = handle(
  "TPMI_DH_ENTITY",
  (h) => isObject(h) || isNv(h) || isPcr(h) || hierarchies.has(h) || h === Rh.LOCKOUT || isAct(h),
);
export const TPMI_DH_ENTITY_NULL = handle(
  "TPMI_DH_ENTITY+",
  (h) =>
    isObject(h) || isNv(h) || isPcr(h) || hierarchies.has(h) || h === Rh.LOCKOUT || isAct(h) || h === Rh.NULL,
);
export const TPMI_DH_PCR = handle("TPMI_DH_PCR", isPcr);
export const TPMI_DH_PCR_NULL = handle("TPMI_DH_PCR+", (h) => isPcr(h) || h === Rh.NULL);
export const TPMI_SH_HMAC = handle("TPMI_SH_HMAC", isHmacSession);
export const TPMI_SH_POLICY = handle("TPMI_SH_POLICY", isPolicySession);
export const TPMI_SH_AUTH_SESSION = handle(
  "TPMI_SH_AUTH_SESSION",
  (h) => isHmacSession(h) || isPolicySession(h),
);
/** In an authorization area, where the password session is one as well. */
export const TPMI_SH_AUTH_SESSION_PW = handle(
  "TPMI_SH_AUTH_SESSION+",
  (h) => isHmacSession(h) || isPolicySession(h) || h === Rh.PW,
);
export const TPMI_DH_CONTEXT = handle(
  "TPMI_DH_CONTEXT",
  (h) => isHmacSession(h) || isPolicySession(h) || handleType(h) === Ht.TRANSIENT,
);
export const TPMI_DH_SAVED = handle(
  "TPMI_DH_SAVED",
  (h) => isHmacSession(h) || isPolicySession(h) || (h >= 0x8000_0000 && h <= 0x8000_0002),
);
export const TPMI_RH_HIERARCHY = handle("TPMI_RH_HIERARCHY", (h) => hierarchies.has(h) || h === Rh.NULL);
export const TPMI_RH_ENABLES = handle("TPMI_RH_ENABLES", (h) => hierarchies.has(h) || h === Rh.PLATFORM_NV);
export const TPMI_RH_HIERARCHY_AUTH = handle(
  "TPMI_RH_HIERARCHY_AUTH",
  (h) => hierarchies.has(h) || h === Rh.LOCKOUT,
);
export const TPMI_RH_HIERARCHY_POLICY = handle(
  "TPMI_RH_HIERARCHY_POLICY",
  (h) => hierarchies.has(h) || h === Rh.LOCKOUT || isAct(h),
);
export const TPMI_RH_BASE_HIERARCHY = handle("TPMI_RH_BASE_HIERARCHY", (h) => hierarchies.has(h));
export const TPMI_RH_PLATFORM = handle("TPMI_RH_PLATFORM", (h) => h === Rh.PLATFORM);
export const TPMI_RH_OWNER_NULL = handle("TPMI_RH_OWNER+", (h) => h === Rh.OWNER || h === Rh.NULL);
export const TPMI_RH_ENDORSEMENT = handle("TPMI_RH_ENDORSEMENT", (h) => h === Rh.ENDORSEMENT);
export const TPMI_RH_PROVISION = handle("TPMI_RH_PROVISION", (h) => h === Rh.OWNER || h === Rh.PLATFORM);
export const TPMI_RH_CLEAR = handle("TPMI_RH_CLEAR", (h) => h === Rh.LOCKOUT || h === Rh.PLATFORM);
export const TPMI_RH_NV_AUTH = handle(
  "TPMI_RH_NV_AUTH",
  (h) => h === Rh.PLATFORM || h === Rh.OWNER || isNv(h),
);
export const TPMI_RH_LOCKOUT = handle("TPMI_RH_LOCKOUT", (h) => h === Rh.LOCKOUT);
export const TPMI_RH_NV_INDEX = handle("TPMI_RH_NV_INDEX", isNv);
export const TPMI_RH_AC = handle("TPMI_RH_AC", (h) => handleType(h) === Ht.AC);
export const TPMI_RH_ACT = handle("TPMI_RH_ACT", isAct);

/** Algorithms. */
const hashes = [...digestSizes.keys()];
function hash(name: string, values: readonly number[]): Type<number> {
  const known = oneOf(UINT16, name, Rc.HASH, values);
  return {
    ...known,
    read(reader) {
      const value = known.read(reader);
      if (reader.without?.has(value)) throw new TpmError(Rc.HASH);
      return value;
    },
  };
}
export const TPMI_ALG_HASH = hash("TPMI_ALG_HASH", hashes);
export const TPMI_ALG_HASH_NULL = hash("TPMI_ALG_HASH+", [...hashes, Alg.NULL]);
const blockCiphers = [...symmetricKeyBits.keys()];
export const TPMI_ALG_SYM = oneOf(UINT16, "TPMI_ALG_SYM", Rc.SYMMETRIC, [...blockCiphers, Alg.XOR]);
export const TPMI_ALG_SYM_NULL = oneOf(UINT16, "TPMI_ALG_SYM+", Rc.SYMMETRIC, [
  ...blockCiphers,
  Alg.XOR,
  Alg.NULL,
]);
export const TPMI_ALG_SYM_OBJECT = oneOf(UINT16, "TPMI_ALG_SYM_OBJECT", Rc.SYMMETRIC, blockCiphers);
export const TPMI_ALG_SYM_OBJECT_NULL = oneOf(UINT16, "TPMI_ALG_SYM_OBJECT+", Rc.SYMMETRIC, [
  ...blockCiphers,
  Alg.NULL,
]);
const cipherModes = [Alg.CTR, Alg.OFB, Alg.CBC, Alg.CFB, Alg.ECB];
export const TPMI_ALG_SYM_MODE = oneOf(UINT16, "TPMI_ALG_SYM_MODE", Rc.MODE, [...cipherModes, Alg.CMAC]);
export const TPMI_ALG_SYM_MODE_NULL = oneOf(UINT16, "TPMI_ALG_SYM_MODE+", Rc.MODE, [
  ...cipherModes,
  Alg.CMAC,
  Alg.NULL,
]);
export const TPMI_ALG_CIPHER_MODE_NULL = oneOf(UINT16, "TPMI_ALG_CIPHER_MODE+", Rc.MODE, [
  ...cipherModes,
  Alg.NULL,
]);
export const TPMI_ALG_MAC_SCHEME_NULL = oneOf(UINT16, "TPMI_ALG_MAC_SCHEME+", Rc.SYMMETRIC, [
  ...hashes,
  Alg.CMAC,
  Alg.NULL,
]);
const kdfs = [Alg.MGF1, Alg.KDF1_SP800_56A, Alg.KDF2, Alg.KDF1_SP800_108];
export const TPMI_ALG_KDF = oneOf(UINT16, "TPMI_ALG_KDF", Rc.KDF, kdfs);
export const TPMI_ALG_KDF_NULL = oneOf(UINT16, "TPMI_ALG_KDF+", Rc.KDF, [...kdfs, Alg.NULL]);
export const TPMI_ALG_SIG_SCHEME_NULL = oneOf(UINT16, "TPMI_ALG_SIG_SCHEME+", Rc.SCHEME, [
  Alg.RSASSA,
  Alg.RSAPSS,
  Alg.ECDSA,
  Alg.ECDAA,
  Alg.SM2,
  Alg.ECSCHNORR,
  Alg.HMAC,
  Alg.NULL,
]);
export const TPMI_ALG_RSA_SCHEME_NULL = oneOf(UINT16, "TPMI_ALG_RSA_SCHEME+", Rc.VALUE, [
  Alg.RSASSA,
  Alg.RSAPSS,
  Alg.RSAES,
  Alg.OAEP,
  Alg.NULL,
]);
export const TPMI_ALG_RSA_DECRYPT_NULL = oneOf(UINT16, "TPMI_ALG_RSA_DECRYPT+", Rc.VALUE, [
  Alg.RSAES,
  Alg.OAEP,
  Alg.NULL,
]);
export const TPMI_ALG_ECC_SCHEME_NULL = oneOf(UINT16, "TPMI_ALG_ECC_SCHEME+", Rc.SCHEME, [
  Alg.ECDSA,
  Alg.ECDAA,
  Alg.SM2,
  Alg.ECSCHNORR,
  Alg.ECDH,
  Alg.ECMQV,
  Alg.NULL,
]);
export const TPMI_ECC_KEY_EXCHANGE = oneOf(UINT16, "TPMI_ECC_KEY_EXCHANGE", Rc.SCHEME, [
  Alg.ECDH,
  Alg.ECMQV,
  Alg.SM2,
]);
export const TPMI_ALG_KEYEDHASH_SCHEME_NULL = oneOf(UINT16, "TPMI_ALG_KEYEDHASH_SCHEME+", Rc.VALUE, [
  Alg.HMAC,
  Alg.XOR,
  Alg.NULL,
]);
export const TPMI_ALG_PUBLIC = oneOf(UINT16, "TPMI_ALG_PUBLIC", Rc.TYPE, [
  Alg.RSA,
  Alg.ECC,
  Alg.KEYEDHASH,
  Alg.SYMCIPHER,
]);
export const TPM_ALG_ID = { ...UINT16, name: "TPM_ALG_ID" };
export const TPMI_ECC_CURVE = oneOf(UINT16, "TPMI_ECC_CURVE", Rc.CURVE, curveSizes.keys());
export const TPMI_RSA_KEY_BITS = oneOf(UINT16, "TPMI_RSA_KEY_BITS", Rc.VALUE, rsaKeyBits);
export const TPMI_ST_ATTEST = oneOf(UINT16, "TPMI_ST_ATTEST", Rc.VALUE, [
  St.ATTEST_NV,
  St.ATTEST_COMMAND_AUDIT,
  St.ATTEST_SESSION_AUDIT,
  St.ATTEST_CERTIFY,
  St.ATTEST_QUOTE,
  St.ATTEST_TIME,
  St.ATTEST_CREATION,
  St.ATTEST_NV_DIGEST,
]);

/** Attributes: a bit that means nothing is TPM_RC_RESERVED_BITS. */
function attributes(
  base: Type<number>,
  name: string,
  bits: Readonly<Record<string, number>>,
  more = 0,
): Type<number> {
  const known = Object.values(bits).reduce((mask, bit) => mask | bit, more);
  return checked(base, name, Rc.RESERVED_BITS, (value) => (value & ~known) === 0);
}
export const TPMA_OBJECT = attributes(UINT32, "TPMA_OBJECT", ObjectAttribute);
export const TPMA_SESSION = attributes(UINT8, "TPMA_SESSION", SessionAttribute);
/** With the type in bits 7:4. */
export const TPMA_NV = attributes(UINT32, "TPMA_NV", NvAttribute, 0xf0);
export const TPMA_LOCALITY = { ...UINT8, name: "TPMA_LOCALITY" };
export const TPMA_PERMANENT = attributes(UINT32, "TPMA_PERMANENT", PermanentAttribute);
export const TPMA_CC = { ...UINT32, name: "TPMA_CC" };
export const TPMA_ALGORITHM = { ...UINT32, name: "TPMA_ALGORITHM" };
/** Bits 15:0 of TPMA_CC and V. */
export const COMMAND_INDEX_MASK = 0xffff | CommandAttribute.vendor;
