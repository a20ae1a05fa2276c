import { TPML_CC, TPML_HANDLE, TPML_PCR_SELECTION, TPMT_HA_NULL } from "./basic-structures.ts";
import { list, sizedBytes, structure, type Type, type Value } from "./codec.ts";
import { Cap } from "./constants.ts";
import {
  TPM_ALG_ID,
  TPM_CAP,
  TPM_HANDLE,
  TPMA_ALGORITHM,
  TPMA_CC,
  UINT16,
  UINT32,
} from "./interface-types.ts";

/* What TPM2_GetCapability answers (Part 2, 10.8 to 10.10). */

export const TPMS_ALG_PROPERTY = structure("TPMS_ALG_PROPERTY", {
  alg: TPM_ALG_ID,
  algProperties: TPMA_ALGORITHM,
});
export const TPMS_TAGGED_PROPERTY = structure("TPMS_TAGGED_PROPERTY", { property: UINT32, value: UINT32 });
/** `pcrSelect`: bit n of byte n / 8. */
export const TPMS_TAGGED_PCR_SELECT: Type<{ readonly tag: number; readonly pcrSelect: Uint8Array }> = {
  name: "TPMS_TAGGED_PCR_SELECT",
  read(reader) {
    const tag = reader.u32();
    return { tag, pcrSelect: reader.take(reader.u8()) };
  },
  write: (writer, { tag, pcrSelect }) => void writer.u32(tag).u8(pcrSelect.length).bytes(pcrSelect),
};
export const TPMS_TAGGED_POLICY = structure("TPMS_TAGGED_POLICY", {
  handle: TPM_HANDLE,
  policyHash: TPMT_HA_NULL,
});
export const TPMS_ACT_DATA = structure("TPMS_ACT_DATA", {
  handle: TPM_HANDLE,
  timeout: UINT32,
  attributes: UINT32,
});

const maximum = 254;
const capabilityTypes = {
  [Cap.ALGS]: list("TPML_ALG_PROPERTY", TPMS_ALG_PROPERTY, maximum),
  [Cap.HANDLES]: TPML_HANDLE,
  [Cap.COMMANDS]: list("TPML_CCA", TPMA_CC, maximum),
  [Cap.PP_COMMANDS]: TPML_CC,
  [Cap.AUDIT_COMMANDS]: TPML_CC,
  [Cap.PCRS]: TPML_PCR_SELECTION,
  [Cap.TPM_PROPERTIES]: list("TPML_TAGGED_TPM_PROPERTY", TPMS_TAGGED_PROPERTY, maximum),
  [Cap.PCR_PROPERTIES]: list("TPML_TAGGED_PCR_PROPERTY", TPMS_TAGGED_PCR_SELECT, maximum),
  [Cap.ECC_CURVES]: list("TPML_ECC_CURVE", UINT16, maximum),
  [Cap.AUTH_POLICIES]: list("TPML_TAGGED_POLICY", TPMS_TAGGED_POLICY, maximum),
  [Cap.ACT]: list("TPML_ACT_DATA", TPMS_ACT_DATA, maximum),
} as const;

/** TPMS_CAPABILITY_DATA: a list whose elements go by the capability. */
export type CapabilityData = {
  [C in keyof typeof capabilityTypes]: {
    readonly capability: C;
    readonly data: Value<(typeof capabilityTypes)[C]>;
  };
}[keyof typeof capabilityTypes];

const types = new Map<number, Type<unknown>>(
  Object.entries(capabilityTypes).map(([capability, type]) => [Number(capability), type]),
);
export const TPMS_CAPABILITY_DATA: Type<CapabilityData> = {
  name: "TPMS_CAPABILITY_DATA",
  read(reader) {
    const capability = TPM_CAP.read(reader);
    return { capability, data: types.get(capability)!.read(reader) } as CapabilityData;
  },
  write(writer, value) {
    writer.u32(value.capability);
    types.get(value.capability)!.write(writer, value.data);
  },
};
/** As TPM2_SetCapability and PolicyCapability see it. */
export const TPM2B_SET_CAPABILITY_DATA = sizedBytes("TPM2B_SET_CAPABILITY_DATA", 1024);
