import { Alg } from "./algorithms.ts";
import {
  type EccPoint,
  Max,
  TPM2B_AUTH,
  TPM2B_DATA,
  TPM2B_DIGEST,
  TPM2B_ECC_PARAMETER,
  TPM2B_LABEL,
  TPM2B_NAME,
  TPM2B_PUBLIC_KEY_RSA,
  TPM2B_SENSITIVE_DATA,
  TPML_PCR_SELECTION,
  TPMS_ECC_POINT,
} from "./basic-structures.ts";
import { sized, sizedBytes, structure, TpmReader, type Type, type Value } from "./codec.ts";
import {
  TPM_ALG_ID,
  TPMA_LOCALITY,
  TPMA_OBJECT,
  TPMI_ALG_HASH,
  TPMI_ALG_HASH_NULL,
  TPMI_ALG_PUBLIC,
  TPMI_ECC_CURVE,
  TPMI_RSA_KEY_BITS,
  UINT16,
  UINT32,
} from "./interface-types.ts";
import {
  type KdfScheme,
  type KeyedHashScheme,
  type Scheme,
  type SymmetricDefinition,
  TPMT_ECC_SCHEME,
  TPMT_KDF_SCHEME,
  TPMT_KDF_SCHEME_OF_CURVE,
  TPMT_KEYEDHASH_SCHEME,
  TPMT_RSA_SCHEME,
  TPMT_SYM_DEF_OBJECT,
  TPMT_SYM_DEF_OBJECT_NULL,
} from "./schemes.ts";

/* Public and sensitive areas of objects (Part 2, clause 12). */

interface PublicCommon {
  /** `Alg.NULL` only for what LoadExternal brings. */
  readonly nameAlg: number;
  readonly objectAttributes: number;
  readonly authPolicy: Uint8Array;
}
export interface RsaParameters {
  readonly symmetric: SymmetricDefinition;
  readonly scheme: Scheme;
  readonly keyBits: number;
  /** 0 stands for 65537. */
  readonly exponent: number;
}
export interface EccParameters {
  readonly symmetric: SymmetricDefinition;
  readonly scheme: Scheme;
  readonly curveID: number;
  readonly kdf: KdfScheme;
}
export interface KeyedHashParameters {
  readonly scheme: KeyedHashScheme;
}
export interface SymCipherParameters {
  readonly sym: SymmetricDefinition;
}
export interface RsaPublic extends PublicCommon {
  readonly type: typeof Alg.RSA;
  readonly parameters: RsaParameters;
  /** Modulus, big-endian. */
  readonly unique: Uint8Array;
}
export interface EccPublic extends PublicCommon {
  readonly type: typeof Alg.ECC;
  readonly parameters: EccParameters;
  readonly unique: EccPoint;
}
export interface KeyedHashPublic extends PublicCommon {
  readonly type: typeof Alg.KEYEDHASH;
  readonly parameters: KeyedHashParameters;
  readonly unique: Uint8Array;
}
export interface SymCipherPublic extends PublicCommon {
  readonly type: typeof Alg.SYMCIPHER;
  readonly parameters: SymCipherParameters;
  readonly unique: Uint8Array;
}
/** TPMT_PUBLIC. */
export type Public = RsaPublic | EccPublic | KeyedHashPublic | SymCipherPublic;
/** The parts of a public area that say what kind of key it is (TPMT_PUBLIC_PARMS). */
export type PublicParameters =
  | { readonly type: typeof Alg.RSA; readonly parameters: RsaParameters }
  | { readonly type: typeof Alg.ECC; readonly parameters: EccParameters }
  | { readonly type: typeof Alg.KEYEDHASH; readonly parameters: KeyedHashParameters }
  | { readonly type: typeof Alg.SYMCIPHER; readonly parameters: SymCipherParameters };

const rsaParameters: Type<RsaParameters> = structure("TPMS_RSA_PARMS", {
  symmetric: TPMT_SYM_DEF_OBJECT_NULL,
  scheme: TPMT_RSA_SCHEME,
  keyBits: TPMI_RSA_KEY_BITS,
  exponent: UINT32,
});
const eccParameters: Type<EccParameters> = structure("TPMS_ECC_PARMS", {
  symmetric: TPMT_SYM_DEF_OBJECT_NULL,
  scheme: TPMT_ECC_SCHEME,
  curveID: TPMI_ECC_CURVE,
  kdf: TPMT_KDF_SCHEME,
});
const keyedHashParameters: Type<KeyedHashParameters> = structure("TPMS_KEYEDHASH_PARMS", {
  scheme: TPMT_KEYEDHASH_SCHEME,
});
const symCipherParameters: Type<SymCipherParameters> = structure("TPMS_SYMCIPHER_PARMS", {
  sym: TPMT_SYM_DEF_OBJECT,
});

export const TPMT_PUBLIC_PARMS: Type<PublicParameters> = {
  name: "TPMT_PUBLIC_PARMS",
  read(reader) {
    const type = TPMI_ALG_PUBLIC.read(reader);
    switch (type) {
      case Alg.RSA:
        return { type, parameters: rsaParameters.read(reader) };
      case Alg.ECC:
        return { type, parameters: eccParameters.read(reader) };
      case Alg.KEYEDHASH:
        return { type, parameters: keyedHashParameters.read(reader) };
      default:
        return { type: Alg.SYMCIPHER, parameters: symCipherParameters.read(reader) };
    }
  },
  write(writer, value) {
    writer.u16(value.type);
    writeParameters(writer, value);
  },
};
function writeParameters(writer: Parameters<Type<Public>["write"]>[0], value: PublicParameters): void {
  switch (value.type) {
    case Alg.RSA:
      rsaParameters.write(writer, value.parameters);
      return;
    case Alg.ECC:
      eccParameters.write(writer, value.parameters);
      return;
    case Alg.KEYEDHASH:
      keyedHashParameters.write(writer, value.parameters);
      return;
    case Alg.SYMCIPHER:
      symCipherParameters.write(writer, value.parameters);
      return;
    default:
      value satisfies never;
  }
}

function publicArea(name: string, nameAlgType: Type<number>): Type<Public> {
  return {
    name,
    read(reader) {
      const type = TPMI_ALG_PUBLIC.read(reader);
      const nameAlg = nameAlgType.read(reader);
      const objectAttributes = TPMA_OBJECT.read(reader);
      const authPolicy = TPM2B_DIGEST.read(reader);
      const common = { nameAlg, objectAttributes, authPolicy };
      switch (type) {
        case Alg.RSA: {
          const parameters = rsaParameters.read(reader);
          return { type, ...common, parameters, unique: TPM2B_PUBLIC_KEY_RSA.read(reader) };
        }
        case Alg.ECC: {
          const parameters = eccParameters.read(reader);
          return { type, ...common, parameters, unique: TPMS_ECC_POINT.read(reader) };
        }
        case Alg.KEYEDHASH: {
          const parameters = keyedHashParameters.read(reader);
          return { type, ...common, parameters, unique: TPM2B_DIGEST.read(reader) };
        }
        default: {
          const parameters = symCipherParameters.read(reader);
          return { type: Alg.SYMCIPHER, ...common, parameters, unique: TPM2B_DIGEST.read(reader) };
        }
      }
    },
    write(writer, value) {
      writer.u16(value.type).u16(value.nameAlg).u32(value.objectAttributes).sized(value.authPolicy);
      writeParameters(writer, value);
      if (value.type === Alg.ECC) TPMS_ECC_POINT.write(writer, value.unique);
      else writer.sized(value.unique);
    },
  };
}
export const TPMT_PUBLIC = publicArea("TPMT_PUBLIC", TPMI_ALG_HASH);
export const TPMT_PUBLIC_NULL = publicArea("TPMT_PUBLIC+", TPMI_ALG_HASH_NULL);
export const TPM2B_PUBLIC = sized("TPM2B_PUBLIC", TPMT_PUBLIC);
/** As LoadExternal takes it: the Name algorithm may be NULL. */
export const TPM2B_PUBLIC_NULL = sized("TPM2B_PUBLIC+", TPMT_PUBLIC_NULL);

/** What a derived object has in place of `unique` (TPMS_DERIVE, Part 2, 11.1.11). */
export const TPMS_DERIVE = structure("TPMS_DERIVE", { label: TPM2B_LABEL, context: TPM2B_LABEL });
export type Derive = Value<typeof TPMS_DERIVE>;

/** TPMT_SENSITIVE (Part 2, 12.3.2): `sensitive` is a prime, a private scalar, a key or sealed data, by type. */
export interface Sensitive {
  readonly sensitiveType: number;
  readonly authValue: Uint8Array;
  readonly seedValue: Uint8Array;
  readonly sensitive: Uint8Array;
}
const sensitiveSizes: ReadonlyMap<number, number> = new Map([
  [Alg.RSA, (Max.RSA_KEY * 5) / 2],
  [Alg.ECC, Max.ECC_KEY],
  [Alg.KEYEDHASH, Max.SYM_DATA],
  [Alg.SYMCIPHER, Max.SYM_KEY],
]);
const sensitiveComposites = new Map(
  [...sensitiveSizes].map(([type, size]) => [type, sizedBytes("TPMU_SENSITIVE_COMPOSITE", size)]),
);
export const TPMT_SENSITIVE: Type<Sensitive> = {
  name: "TPMT_SENSITIVE",
  read(reader) {
    const sensitiveType = TPMI_ALG_PUBLIC.read(reader);
    const authValue = TPM2B_AUTH.read(reader);
    const seedValue = TPM2B_DIGEST.read(reader);
    const sensitive = sensitiveComposites.get(sensitiveType)!.read(reader);
    return { sensitiveType, authValue, seedValue, sensitive };
  },
  write: (writer, value) =>
    void writer.u16(value.sensitiveType).sized(value.authValue).sized(value.seedValue).sized(value.sensitive),
};
const sizedSensitive = sized("TPM2B_SENSITIVE", TPMT_SENSITIVE);
/** As LoadExternal takes it: empty when only the public area is loaded. */
export const TPM2B_SENSITIVE_OPTIONAL: Type<Sensitive | undefined> = {
  name: "TPM2B_SENSITIVE+",
  read(reader) {
    // Only looked at: the sized type reads it again.
    if (new TpmReader(reader.bytes, reader.offset, reader.end).u16() !== 0)
      return sizedSensitive.read(reader);
    reader.u16();
    return undefined;
  },
  write(writer, value) {
    if (value === undefined) writer.u16(0);
    else sizedSensitive.write(writer, value);
  },
};

export const TPMS_SENSITIVE_CREATE = structure("TPMS_SENSITIVE_CREATE", {
  userAuth: TPM2B_AUTH,
  data: TPM2B_SENSITIVE_DATA,
});
export type SensitiveCreate = Value<typeof TPMS_SENSITIVE_CREATE>;
export const TPM2B_SENSITIVE_CREATE = sized("TPM2B_SENSITIVE_CREATE", TPMS_SENSITIVE_CREATE);

/** Part 2, 15.1. */
export const TPMS_CREATION_DATA = structure("TPMS_CREATION_DATA", {
  pcrSelect: TPML_PCR_SELECTION,
  pcrDigest: TPM2B_DIGEST,
  locality: TPMA_LOCALITY,
  parentNameAlg: TPM_ALG_ID,
  parentName: TPM2B_NAME,
  parentQualifiedName: TPM2B_NAME,
  outsideInfo: TPM2B_DATA,
});
export type CreationData = Value<typeof TPMS_CREATION_DATA>;
export const TPM2B_CREATION_DATA = sized("TPM2B_CREATION_DATA", TPMS_CREATION_DATA);

/** Part 2, 11.2.6: the constants of a curve, big-endian. */
export const TPMS_ALGORITHM_DETAIL_ECC = structure("TPMS_ALGORITHM_DETAIL_ECC", {
  curveID: UINT16,
  keySize: UINT16,
  kdf: TPMT_KDF_SCHEME_OF_CURVE,
  sign: TPMT_ECC_SCHEME,
  p: TPM2B_ECC_PARAMETER,
  a: TPM2B_ECC_PARAMETER,
  b: TPM2B_ECC_PARAMETER,
  gX: TPM2B_ECC_PARAMETER,
  gY: TPM2B_ECC_PARAMETER,
  n: TPM2B_ECC_PARAMETER,
  h: TPM2B_ECC_PARAMETER,
});
export type EccDetail = Value<typeof TPMS_ALGORITHM_DETAIL_ECC>;
