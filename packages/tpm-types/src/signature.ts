import { Alg } from "./algorithms.ts";
import { TPM2B_ECC_PARAMETER, TPM2B_PUBLIC_KEY_RSA, TPMT_HA } from "./basic-structures.ts";
import type { Type } from "./codec.ts";
import { TPMI_ALG_HASH, TPMI_ALG_SIG_SCHEME_NULL } from "./interface-types.ts";
import { Rc, TpmError } from "./response-codes.ts";

/** TPMT_SIGNATURE (Part 2, 11.3.4). */
export type Signature =
  | { readonly sigAlg: typeof Alg.NULL }
  | {
      readonly sigAlg: typeof Alg.RSASSA | typeof Alg.RSAPSS;
      readonly hash: number;
      readonly sig: Uint8Array;
    }
  | {
      readonly sigAlg: typeof Alg.ECDSA | typeof Alg.ECDAA | typeof Alg.SM2 | typeof Alg.ECSCHNORR;
      readonly hash: number;
      /** Big-endian, any leading zeros. */
      readonly r: Uint8Array;
      readonly s: Uint8Array;
    }
  | { readonly sigAlg: typeof Alg.HMAC; readonly hash: number; readonly digest: Uint8Array };

/** As a response has it: the NULL signature where nothing was signed. */
export const TPMT_SIGNATURE_NULL: Type<Signature> = {
  name: "TPMT_SIGNATURE+",
  read(reader) {
    const sigAlg = TPMI_ALG_SIG_SCHEME_NULL.read(reader);
    switch (sigAlg) {
      case Alg.RSASSA:
      case Alg.RSAPSS: {
        const hash = TPMI_ALG_HASH.read(reader);
        return { sigAlg, hash, sig: TPM2B_PUBLIC_KEY_RSA.read(reader) };
      }
      case Alg.ECDSA:
      case Alg.ECDAA:
      case Alg.SM2:
      case Alg.ECSCHNORR: {
        const hash = TPMI_ALG_HASH.read(reader);
        const r = TPM2B_ECC_PARAMETER.read(reader);
        return { sigAlg, hash, r, s: TPM2B_ECC_PARAMETER.read(reader) };
      }
      case Alg.HMAC: {
        const { hashAlg, digest } = TPMT_HA.read(reader);
        return { sigAlg, hash: hashAlg, digest };
      }
      default:
        return { sigAlg: Alg.NULL };
    }
  },
  write(writer, value) {
    writer.u16(value.sigAlg);
    switch (value.sigAlg) {
      case Alg.NULL:
        return;
      case Alg.RSASSA:
      case Alg.RSAPSS:
        writer.u16(value.hash).sized(value.sig);
        return;
      case Alg.ECDSA:
      case Alg.ECDAA:
      case Alg.SM2:
      case Alg.ECSCHNORR:
        writer.u16(value.hash).sized(value.r).sized(value.s);
        return;
      case Alg.HMAC:
        writer.u16(value.hash).bytes(value.digest);
        return;
      default:
        value satisfies never;
    }
  },
};

/** As a parameter, where it must be one. Reading throws TPM_RC_SCHEME for the NULL signature. */
export const TPMT_SIGNATURE: Type<Signature> = {
  name: "TPMT_SIGNATURE",
  read(reader) {
    const signature = TPMT_SIGNATURE_NULL.read(reader);
    if (signature.sigAlg === Alg.NULL) throw new TpmError(Rc.SCHEME);
    return signature;
  },
  write: TPMT_SIGNATURE_NULL.write,
};
