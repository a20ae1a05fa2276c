import { Max, TPM2B_DIGEST } from "./basic-structures.ts";
import { checked, sized, structure, type Type, type Value } from "./codec.ts";
import { Ht } from "./constants.ts";
import { TPMA_NV, TPMI_ALG_HASH, TPMI_RH_NV_INDEX, UINT16, UINT32, UINT64 } from "./interface-types.ts";
import { Rc, TpmError } from "./response-codes.ts";

/** Part 2, 13.5. A data size above the largest index is TPM_RC_SIZE. */
export const TPMS_NV_PUBLIC = structure("TPMS_NV_PUBLIC", {
  nvIndex: TPMI_RH_NV_INDEX,
  nameAlg: TPMI_ALG_HASH,
  attributes: TPMA_NV,
  authPolicy: TPM2B_DIGEST,
  dataSize: checked(UINT16, "UINT16", Rc.SIZE, (size) => size <= Max.NV_INDEX),
});
export type NvPublic = Value<typeof TPMS_NV_PUBLIC>;
export const TPM2B_NV_PUBLIC = sized("TPM2B_NV_PUBLIC", TPMS_NV_PUBLIC);

/** Content of PIN indices (Part 2, 13.3). */
export const TPMS_NV_PIN_COUNTER_PARAMETERS = structure("TPMS_NV_PIN_COUNTER_PARAMETERS", {
  pinCount: UINT32,
  pinLimit: UINT32,
});
export type NvPin = Value<typeof TPMS_NV_PIN_COUNTER_PARAMETERS>;
/** Content of a counter or of bits. */
export const NV_UINT64 = UINT64;

/** TPMT_NV_PUBLIC_2 (Part 2, 13.9, 1.83): the type of handle first. Only indices of the 0x01 range exist here; another type is TPM_RC_VALUE. */
const TPMT_NV_PUBLIC_2: Type<NvPublic> = {
  name: "TPMT_NV_PUBLIC_2",
  read(reader) {
    if (reader.u8() !== Ht.NV_INDEX) throw new TpmError(Rc.VALUE);
    return TPMS_NV_PUBLIC.read(reader);
  },
  write(writer, value) {
    writer.u8(Ht.NV_INDEX);
    TPMS_NV_PUBLIC.write(writer, value);
  },
};
export const TPM2B_NV_PUBLIC_2 = sized("TPM2B_NV_PUBLIC_2", TPMT_NV_PUBLIC_2);
