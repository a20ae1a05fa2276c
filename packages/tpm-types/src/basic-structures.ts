import { Alg, digestSizes } from "./algorithms.ts";
import { list, sized, sizedBytes, structure, type Type, type Value } from "./codec.ts";
import { St } from "./constants.ts";
import {
  PCR_COUNT,
  TPM_ALG_ID,
  TPM_CC,
  TPM_HANDLE,
  TPMI_ALG_HASH,
  TPMI_ALG_HASH_NULL,
  TPMI_DH_SAVED,
  TPMI_RH_HIERARCHY,
  TPMI_YES_NO,
  UINT16,
  UINT32,
  UINT64,
} from "./interface-types.ts";
import { Rc, TpmError } from "./response-codes.ts";

/** Sizes in bytes that bound buffers (Part 2, annex A; the values are the engine's). */
export const Max = {
  DIGEST: 64,
  /** TPM2B_MAX_BUFFER, TPM2B_EVENT. */
  BUFFER: 1024,
  NV_BUFFER: 1024,
  /** What a keyed-hash object can seal, and the data of TPM2B_SENSITIVE_CREATE. */
  SYM_DATA: 128,
  NV_INDEX: 2048,
  RSA_KEY: 512,
  ECC_KEY: 66,
  SYM_KEY: 32,
  SYM_BLOCK: 16,
  LABEL: 32,
  COMMAND: 4096,
  RESPONSE: 4096,
  CAP_BUFFER: 1024,
  /** TPM2B_ENCRYPTED_SECRET: an RSA block, larger than an ECC point. */
  SECRET: 512,
  PRIVATE: 1900,
  CONTEXT: 4096,
} as const;

/** Digests of one hash, the size given by the algorithm (TPMT_HA, Part 2, 10.3.2). */
export interface TpmtHa {
  readonly hashAlg: number;
  readonly digest: Uint8Array;
}
const empty = new Uint8Array(0);
function hashAgile(name: string, algorithm: Type<number>): Type<TpmtHa> {
  return {
    name,
    read(reader) {
      const hashAlg = algorithm.read(reader);
      return { hashAlg, digest: hashAlg === Alg.NULL ? empty : reader.take(digestSizes.get(hashAlg)!) };
    },
    write: (writer, { hashAlg, digest }) => void writer.u16(hashAlg).bytes(digest),
  };
}
export const TPMT_HA = hashAgile("TPMT_HA", TPMI_ALG_HASH);
export const TPMT_HA_NULL = hashAgile("TPMT_HA+", TPMI_ALG_HASH_NULL);

/** Buffers (Part 2, 10.4). */
export const TPM2B_DIGEST = sizedBytes("TPM2B_DIGEST", Max.DIGEST);
export const TPM2B_NONCE = sizedBytes("TPM2B_NONCE", Max.DIGEST);
export const TPM2B_AUTH = sizedBytes("TPM2B_AUTH", Max.DIGEST);
export const TPM2B_OPERAND = sizedBytes("TPM2B_OPERAND", Max.DIGEST);
export const TPM2B_DATA = sizedBytes("TPM2B_DATA", 2 + Max.DIGEST);
export const TPM2B_NAME = sizedBytes("TPM2B_NAME", 2 + Max.DIGEST);
export const TPM2B_EVENT = sizedBytes("TPM2B_EVENT", Max.BUFFER);
export const TPM2B_MAX_BUFFER = sizedBytes("TPM2B_MAX_BUFFER", Max.BUFFER);
export const TPM2B_MAX_NV_BUFFER = sizedBytes("TPM2B_MAX_NV_BUFFER", Max.NV_BUFFER);
export const TPM2B_TIMEOUT = sizedBytes("TPM2B_TIMEOUT", 8);
export const TPM2B_IV = sizedBytes("TPM2B_IV", Max.SYM_BLOCK);
export const TPM2B_SYM_KEY = sizedBytes("TPM2B_SYM_KEY", Max.SYM_KEY);
export const TPM2B_SENSITIVE_DATA = sizedBytes("TPM2B_SENSITIVE_DATA", Max.SYM_DATA);
export const TPM2B_PUBLIC_KEY_RSA = sizedBytes("TPM2B_PUBLIC_KEY_RSA", Max.RSA_KEY);
export const TPM2B_PRIVATE_KEY_RSA = sizedBytes("TPM2B_PRIVATE_KEY_RSA", (Max.RSA_KEY * 5) / 2);
export const TPM2B_ECC_PARAMETER = sizedBytes("TPM2B_ECC_PARAMETER", Max.ECC_KEY);
export const TPM2B_ENCRYPTED_SECRET = sizedBytes("TPM2B_ENCRYPTED_SECRET", Max.SECRET);
export const TPM2B_PRIVATE = sizedBytes("TPM2B_PRIVATE", Max.PRIVATE);
export const TPM2B_ID_OBJECT = sizedBytes("TPM2B_ID_OBJECT", 2 * (2 + Max.DIGEST));
export const TPM2B_LABEL = sizedBytes("TPM2B_LABEL", Max.LABEL);
export const TPM2B_CONTEXT_DATA = sizedBytes("TPM2B_CONTEXT_DATA", Max.CONTEXT);
/** As a buffer, for what only passes it on. */
export const TPM2B_TEMPLATE = sizedBytes("TPM2B_TEMPLATE", 1024);
export const TPM2B_MAX_CAP_BUFFER = sizedBytes("TPM2B_MAX_CAP_BUFFER", Max.CAP_BUFFER);

export const TPMS_ECC_POINT = structure("TPMS_ECC_POINT", { x: TPM2B_ECC_PARAMETER, y: TPM2B_ECC_PARAMETER });
export type EccPoint = Value<typeof TPMS_ECC_POINT>;
export const TPM2B_ECC_POINT = sized("TPM2B_ECC_POINT", TPMS_ECC_POINT);

/** Selection of PCR of one bank: bit n of byte n / 8 (Part 2, 10.6.2). Fewer or more than 3 bytes is TPM_RC_VALUE. */
export interface PcrSelection {
  readonly hash: number;
  readonly pcrSelect: Uint8Array;
}
const pcrSelectBytes = PCR_COUNT / 8;
export const TPMS_PCR_SELECTION: Type<PcrSelection> = {
  name: "TPMS_PCR_SELECTION",
  read(reader) {
    const hash = TPMI_ALG_HASH.read(reader);
    const size = reader.u8();
    if (size !== pcrSelectBytes) throw new TpmError(Rc.VALUE);
    return { hash, pcrSelect: reader.take(size) };
  },
  write: (writer, { hash, pcrSelect }) => void writer.u16(hash).u8(pcrSelect.length).bytes(pcrSelect),
};

/** Banks that one list can name: as many as there are hashes, twice over. */
const maximumBanks = 16;
export const TPML_PCR_SELECTION = list("TPML_PCR_SELECTION", TPMS_PCR_SELECTION, maximumBanks);
export const TPML_DIGEST = list("TPML_DIGEST", TPM2B_DIGEST, 8);
/** As PolicyOR takes it: two to eight. */
export const TPML_DIGEST_OR = list("TPML_DIGEST", TPM2B_DIGEST, 8, 2);
export const TPML_DIGEST_VALUES = list("TPML_DIGEST_VALUES", TPMT_HA, digestSizes.size);
export const TPML_CC = list("TPML_CC", TPM_CC, 254);
export const TPML_ALG = list("TPML_ALG", TPM_ALG_ID, 64);
export const TPML_HANDLE = list("TPML_HANDLE", TPM_HANDLE, 254);

/** Tickets (Part 2, 10.7): another tag than the type's is TPM_RC_TAG. */
function ticket(name: string, ...tags: readonly number[]): Type<Ticket> {
  return {
    name,
    read(reader) {
      const tag = UINT16.read(reader);
      if (!tags.includes(tag)) throw new TpmError(Rc.TAG);
      return { tag, hierarchy: TPMI_RH_HIERARCHY.read(reader), digest: TPM2B_DIGEST.read(reader) };
    },
    write: (writer, { tag, hierarchy, digest }) => void writer.u16(tag).u32(hierarchy).sized(digest),
  };
}
export interface Ticket {
  readonly tag: number;
  readonly hierarchy: number;
  readonly digest: Uint8Array;
}
export const TPMT_TK_CREATION = ticket("TPMT_TK_CREATION", St.CREATION);
export const TPMT_TK_VERIFIED = ticket("TPMT_TK_VERIFIED", St.VERIFIED);
export const TPMT_TK_AUTH = ticket("TPMT_TK_AUTH", St.AUTH_SIGNED, St.AUTH_SECRET);
export const TPMT_TK_HASHCHECK = ticket("TPMT_TK_HASHCHECK", St.HASHCHECK);

/** Clock (Part 2, 10.11). Times in ms. */
export const TPMS_CLOCK_INFO = structure("TPMS_CLOCK_INFO", {
  clock: UINT64,
  resetCount: UINT32,
  restartCount: UINT32,
  safe: TPMI_YES_NO,
});
export type ClockInfo = Value<typeof TPMS_CLOCK_INFO>;
export const TPMS_TIME_INFO = structure("TPMS_TIME_INFO", { time: UINT64, clockInfo: TPMS_CLOCK_INFO });

/** Part 2, 14.3: a saved context. */
export const TPMS_CONTEXT = structure("TPMS_CONTEXT", {
  sequence: UINT64,
  savedHandle: TPMI_DH_SAVED,
  hierarchy: TPMI_RH_HIERARCHY,
  contextBlob: TPM2B_CONTEXT_DATA,
});
export type Context = Value<typeof TPMS_CONTEXT>;
