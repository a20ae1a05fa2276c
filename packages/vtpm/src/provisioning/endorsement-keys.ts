import {
  Alg,
  Curve,
  type EccPublic,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  type Public,
  type RsaPublic,
} from "@entresol/tpm-types";

/*
 * Endorsement keys by the default templates of the TCG EK Credential Profile for TPM 2.0 (2.5, B.3 and B.4). A verifier makes the same key again
 * from the template alone, so every bit counts, the length of `unique` included.
 */

const { fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, adminWithPolicy, restricted, decrypt } =
  ObjectAttribute;
const empty: Uint8Array = new Uint8Array(0);

/** B.6.2, PolicyA: PolicySecret of the endorsement hierarchy. SHA-256. */
const POLICY_A_SHA256 = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
/** B.6.5, PolicyB: PolicyA, or PolicyC, which is what the index 0x01c07f01 (SHA-256), 02 (SHA-384) or 03 (SHA-512) says. */
const POLICY_B = new Map<number, string>([
  [Alg.SHA256, "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0"],
  [
    Alg.SHA384,
    "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12",
  ],
]);

const lowAttributes = fixedTPM | fixedParent | sensitiveDataOrigin | adminWithPolicy | restricted | decrypt;
const highAttributes = lowAttributes | userWithAuth;

function policy(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, "hex"));
}

function aes(keyBits: number) {
  return { ...noSymmetric, algorithm: Alg.AES, keyBits, mode: Alg.CFB };
}

function rsa(keyBits: number, common: Common, unique: Uint8Array): RsaPublic {
  const symmetric = aes(common.nameAlg === Alg.SHA256 ? 128 : 256);
  return {
    ...common,
    type: Alg.RSA,
    parameters: { symmetric, scheme: noScheme, keyBits, exponent: 0 },
    unique,
  };
}

function ecc(curveID: number, common: Common, coordinate: Uint8Array): EccPublic {
  const symmetric = aes(common.nameAlg === Alg.SHA256 ? 128 : 256);
  const kdf = { scheme: Alg.NULL, hash: Alg.NULL };
  return {
    ...common,
    type: Alg.ECC,
    parameters: { symmetric, scheme: noScheme, curveID, kdf },
    unique: { x: coordinate, y: coordinate },
  };
}

type Common = Pick<Public, "nameAlg" | "objectAttributes" | "authPolicy">;

const low: Common = {
  nameAlg: Alg.SHA256,
  objectAttributes: lowAttributes,
  authPolicy: policy(POLICY_A_SHA256),
};
const high = (nameAlg: number): Common => ({
  nameAlg,
  objectAttributes: highAttributes,
  authPolicy: policy(POLICY_B.get(nameAlg)!),
});

/** An endorsement key that can be provisioned. */
export interface EndorsementKey {
  /** For options and file names: as swtpm_setup calls certificate files. */
  readonly name: string;
  /** Name of the template in the profile. */
  readonly template: string;
  /** Where the key is kept (Registry of Reserved TPM 2.0 Handles; swtpm_setup uses the same). */
  readonly persistentHandle: number;
  /** NV index of the certificate (2.2.1.4 and 2.2.1.5 of the profile). */
  readonly certificateIndex: number;
  /** NV index of the template, where it is another than the default one. */
  readonly templateIndex: number;
  readonly publicArea: Public;
}

// biome-ignore format: one key a row
export const endorsementKeys = {
  rsa2048: { name: "rsa2048", template: "L-1", persistentHandle: 0x8101_0001, certificateIndex: 0x01c0_0002, templateIndex: 0x01c0_0004, publicArea: rsa(2048, low, new Uint8Array(256)) },
  p256: { name: "secp256r1", template: "L-2", persistentHandle: 0x8101_000a, certificateIndex: 0x01c0_000a, templateIndex: 0x01c0_000c, publicArea: ecc(Curve.NIST_P256, low, new Uint8Array(32)) },
  p384: { name: "secp384r1", template: "H-3", persistentHandle: 0x8101_0016, certificateIndex: 0x01c0_0016, templateIndex: 0x01c0_0017, publicArea: ecc(Curve.NIST_P384, high(Alg.SHA384), empty) },
  rsa3072: { name: "rsa3072", template: "H-6", persistentHandle: 0x8101_001c, certificateIndex: 0x01c0_001c, templateIndex: 0x01c0_001d, publicArea: rsa(3072, high(Alg.SHA384), empty) },
} as const satisfies Readonly<Record<string, EndorsementKey>>;

export type EndorsementKeyName = keyof typeof endorsementKeys;

/** What keys may be used for: endorsement keys decrypt; one that also signs is no standard one, and for those who ask for it. */
export interface EndorsementUse {
  readonly signing: boolean;
  readonly decryption: boolean;
}
export const standardUse: EndorsementUse = { signing: false, decryption: true };

/** The template of a key, changed when it is for another use than the profile's. An unrestricted signing key has no cipher for children. */
export function templateFor({ publicArea }: EndorsementKey, use: EndorsementUse): Public {
  if (!use.signing) return publicArea;
  const cleared = publicArea.objectAttributes & ~(restricted | decrypt);
  const objectAttributes = cleared | ObjectAttribute.sign | (use.decryption ? decrypt : 0);
  return publicArea.type === Alg.RSA
    ? { ...publicArea, objectAttributes, parameters: { ...publicArea.parameters, symmetric: noSymmetric } }
    : publicArea.type === Alg.ECC
      ? { ...publicArea, objectAttributes, parameters: { ...publicArea.parameters, symmetric: noSymmetric } }
      : publicArea;
}

/** The storage root key at the handle that the TCG reserves for it (TPM v2.0 Provisioning Guidance, 7.5.1). */
export const STORAGE_ROOT_HANDLE = 0x8100_0001;

export type StorageRootKind = "rsa2048" | "rsa3072" | "p384";

/** Template of the storage root key: no policy, usable with its empty authValue, not subject to dictionary attack protection. */
export function storageRootTemplate(kind: StorageRootKind): Public {
  const objectAttributes =
    fixedTPM | fixedParent | sensitiveDataOrigin | userWithAuth | ObjectAttribute.noDA | restricted | decrypt;
  const common = { objectAttributes, authPolicy: empty };
  const ofSize = (nameAlg: number): Common => ({ ...common, nameAlg });
  switch (kind) {
    case "rsa2048":
      return rsa(2048, ofSize(Alg.SHA256), new Uint8Array(256));
    case "rsa3072":
      return rsa(3072, ofSize(Alg.SHA384), new Uint8Array(384));
    case "p384":
      return ecc(Curve.NIST_P384, ofSize(Alg.SHA384), new Uint8Array(48));
    default:
      return kind satisfies never;
  }
}
