import {
  TPM2B_DATA,
  TPM2B_DIGEST,
  TPM2B_MAX_NV_BUFFER,
  TPM2B_NAME,
  TPML_PCR_SELECTION,
  TPMS_CLOCK_INFO,
  TPMS_TIME_INFO,
} from "./basic-structures.ts";
import { sizedBytes, structure, type Type, type Value } from "./codec.ts";
import { St } from "./constants.ts";
import {
  TPM_ALG_ID,
  TPM_GENERATED_TYPE,
  TPMI_ST_ATTEST,
  TPMI_YES_NO,
  UINT16,
  UINT64,
} from "./interface-types.ts";

/* What attestation commands sign (Part 2, 10.12). */

export const TPMS_CERTIFY_INFO = structure("TPMS_CERTIFY_INFO", {
  name: TPM2B_NAME,
  qualifiedName: TPM2B_NAME,
});
export const TPMS_QUOTE_INFO = structure("TPMS_QUOTE_INFO", {
  pcrSelect: TPML_PCR_SELECTION,
  pcrDigest: TPM2B_DIGEST,
});
export const TPMS_COMMAND_AUDIT_INFO = structure("TPMS_COMMAND_AUDIT_INFO", {
  auditCounter: UINT64,
  digestAlg: TPM_ALG_ID,
  auditDigest: TPM2B_DIGEST,
  commandDigest: TPM2B_DIGEST,
});
export const TPMS_SESSION_AUDIT_INFO = structure("TPMS_SESSION_AUDIT_INFO", {
  exclusiveSession: TPMI_YES_NO,
  sessionDigest: TPM2B_DIGEST,
});
export const TPMS_CREATION_INFO = structure("TPMS_CREATION_INFO", {
  objectName: TPM2B_NAME,
  creationHash: TPM2B_DIGEST,
});
export const TPMS_NV_CERTIFY_INFO = structure("TPMS_NV_CERTIFY_INFO", {
  indexName: TPM2B_NAME,
  offset: UINT16,
  nvContents: TPM2B_MAX_NV_BUFFER,
});
export const TPMS_TIME_ATTEST_INFO = structure("TPMS_TIME_ATTEST_INFO", {
  time: TPMS_TIME_INFO,
  firmwareVersion: UINT64,
});
export const TPMS_NV_DIGEST_CERTIFY_INFO = structure("TPMS_NV_DIGEST_CERTIFY_INFO", {
  indexName: TPM2B_NAME,
  nvDigest: TPM2B_DIGEST,
});

/** TPMU_ATTEST: what is attested, by the type of attestation. */
export type Attested =
  | { readonly type: typeof St.ATTEST_CERTIFY; readonly attested: Value<typeof TPMS_CERTIFY_INFO> }
  | { readonly type: typeof St.ATTEST_QUOTE; readonly attested: Value<typeof TPMS_QUOTE_INFO> }
  | {
      readonly type: typeof St.ATTEST_COMMAND_AUDIT;
      readonly attested: Value<typeof TPMS_COMMAND_AUDIT_INFO>;
    }
  | {
      readonly type: typeof St.ATTEST_SESSION_AUDIT;
      readonly attested: Value<typeof TPMS_SESSION_AUDIT_INFO>;
    }
  | { readonly type: typeof St.ATTEST_CREATION; readonly attested: Value<typeof TPMS_CREATION_INFO> }
  | { readonly type: typeof St.ATTEST_NV; readonly attested: Value<typeof TPMS_NV_CERTIFY_INFO> }
  | { readonly type: typeof St.ATTEST_TIME; readonly attested: Value<typeof TPMS_TIME_ATTEST_INFO> }
  | {
      readonly type: typeof St.ATTEST_NV_DIGEST;
      readonly attested: Value<typeof TPMS_NV_DIGEST_CERTIFY_INFO>;
    };

const attestedTypes: ReadonlyMap<number, Type<unknown>> = new Map<number, Type<unknown>>([
  [St.ATTEST_CERTIFY, TPMS_CERTIFY_INFO],
  [St.ATTEST_QUOTE, TPMS_QUOTE_INFO],
  [St.ATTEST_COMMAND_AUDIT, TPMS_COMMAND_AUDIT_INFO],
  [St.ATTEST_SESSION_AUDIT, TPMS_SESSION_AUDIT_INFO],
  [St.ATTEST_CREATION, TPMS_CREATION_INFO],
  [St.ATTEST_NV, TPMS_NV_CERTIFY_INFO],
  [St.ATTEST_TIME, TPMS_TIME_ATTEST_INFO],
  [St.ATTEST_NV_DIGEST, TPMS_NV_DIGEST_CERTIFY_INFO],
]);

/** Fields that every attestation has, before what is attested. */
const head = structure("TPMS_ATTEST", {
  qualifiedSigner: TPM2B_NAME,
  extraData: TPM2B_DATA,
  clockInfo: TPMS_CLOCK_INFO,
  firmwareVersion: UINT64,
});

/** TPMS_ATTEST (Part 2, 10.12.12). */
export type Attest = { readonly magic: number } & Value<typeof head> & Attested;
export const TPMS_ATTEST: Type<Attest> = {
  name: "TPMS_ATTEST",
  read(reader) {
    const magic = TPM_GENERATED_TYPE.read(reader);
    const type = TPMI_ST_ATTEST.read(reader);
    const common = head.read(reader);
    return { magic, type, ...common, attested: attestedTypes.get(type)!.read(reader) } as Attest;
  },
  write(writer, value) {
    writer.u32(value.magic).u16(value.type);
    head.write(writer, value);
    attestedTypes.get(value.type)!.write(writer, value.attested);
  },
};
/** As a buffer: what is signed are these bytes. */
export const TPM2B_ATTEST = sizedBytes("TPM2B_ATTEST", 2048);
