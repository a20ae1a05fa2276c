/** TPM_ALG_ID (Part 2, 6.3; values from the TCG Algorithm Registry). */
export const Alg = {
  ERROR: 0x0000,
  RSA: 0x0001,
  TDES: 0x0003,
  SHA1: 0x0004,
  HMAC: 0x0005,
  AES: 0x0006,
  MGF1: 0x0007,
  KEYEDHASH: 0x0008,
  XOR: 0x000a,
  SHA256: 0x000b,
  SHA384: 0x000c,
  SHA512: 0x000d,
  NULL: 0x0010,
  SM3_256: 0x0012,
  SM4: 0x0013,
  RSASSA: 0x0014,
  RSAES: 0x0015,
  RSAPSS: 0x0016,
  OAEP: 0x0017,
  ECDSA: 0x0018,
  ECDH: 0x0019,
  ECDAA: 0x001a,
  SM2: 0x001b,
  ECSCHNORR: 0x001c,
  ECMQV: 0x001d,
  KDF1_SP800_56A: 0x0020,
  KDF2: 0x0021,
  KDF1_SP800_108: 0x0022,
  ECC: 0x0023,
  SYMCIPHER: 0x0025,
  CAMELLIA: 0x0026,
  SHA3_256: 0x0027,
  SHA3_384: 0x0028,
  SHA3_512: 0x0029,
  CMAC: 0x003f,
  CTR: 0x0040,
  OFB: 0x0041,
  CBC: 0x0042,
  CFB: 0x0043,
  ECB: 0x0044,
} as const;
export type AlgId = (typeof Alg)[keyof typeof Alg];

/** TPM_ECC_CURVE (Part 2, 6.4). */
export const Curve = {
  NONE: 0x0000,
  NIST_P192: 0x0001,
  NIST_P224: 0x0002,
  NIST_P256: 0x0003,
  NIST_P384: 0x0004,
  NIST_P521: 0x0005,
  BN_P256: 0x0010,
  SM2_P256: 0x0020,
} as const;
export type CurveId = (typeof Curve)[keyof typeof Curve];

/** TPMA_ALGORITHM (Part 2, 8.2). */
export const AlgAttribute = {
  asymmetric: 1 << 0,
  symmetric: 1 << 1,
  hash: 1 << 2,
  object: 1 << 3,
  signing: 1 << 8,
  encrypting: 1 << 9,
  method: 1 << 10,
} as const;

const { asymmetric, symmetric, hash, object, signing, encrypting, method } = AlgAttribute;

/**
 * Every algorithm that the engine implements, with what TPM_CAP_ALGS tells of it, in the order of its identifier: the one table that
 * unmarshalling, capabilities and the documentation go by.
 */
export const implementedAlgorithms: readonly { readonly id: number; readonly attributes: number }[] = [
  { id: Alg.RSA, attributes: asymmetric | object },
  { id: Alg.SHA1, attributes: hash },
  { id: Alg.HMAC, attributes: hash | signing },
  { id: Alg.AES, attributes: symmetric },
  { id: Alg.MGF1, attributes: hash | method },
  { id: Alg.KEYEDHASH, attributes: hash | object | signing | encrypting },
  { id: Alg.XOR, attributes: hash | symmetric },
  { id: Alg.SHA256, attributes: hash },
  { id: Alg.SHA384, attributes: hash },
  { id: Alg.SHA512, attributes: hash },
  { id: Alg.NULL, attributes: 0 },
  { id: Alg.RSASSA, attributes: asymmetric | signing },
  { id: Alg.RSAES, attributes: asymmetric | encrypting },
  { id: Alg.RSAPSS, attributes: asymmetric | signing },
  { id: Alg.OAEP, attributes: asymmetric | encrypting },
  { id: Alg.ECDSA, attributes: asymmetric | signing },
  { id: Alg.ECDH, attributes: asymmetric | method },
  { id: Alg.ECDAA, attributes: asymmetric | signing },
  { id: Alg.SM2, attributes: asymmetric | signing | method },
  { id: Alg.ECSCHNORR, attributes: asymmetric | signing },
  { id: Alg.ECMQV, attributes: asymmetric | method },
  { id: Alg.KDF1_SP800_56A, attributes: hash | method },
  { id: Alg.KDF2, attributes: hash | method },
  { id: Alg.KDF1_SP800_108, attributes: hash | method },
  { id: Alg.ECC, attributes: asymmetric | object },
  { id: Alg.SYMCIPHER, attributes: object },
  { id: Alg.CAMELLIA, attributes: symmetric },
  { id: Alg.SHA3_256, attributes: hash },
  { id: Alg.SHA3_384, attributes: hash },
  { id: Alg.SHA3_512, attributes: hash },
  { id: Alg.CMAC, attributes: symmetric | signing },
  { id: Alg.CTR, attributes: symmetric | encrypting },
  { id: Alg.OFB, attributes: symmetric | encrypting },
  { id: Alg.CBC, attributes: symmetric | encrypting },
  { id: Alg.CFB, attributes: symmetric | encrypting },
  { id: Alg.ECB, attributes: symmetric | encrypting },
];

/** Digest size in bytes of every hash that the engine implements. */
export const digestSizes: ReadonlyMap<number, number> = new Map([
  [Alg.SHA1, 20],
  [Alg.SHA256, 32],
  [Alg.SHA384, 48],
  [Alg.SHA512, 64],
  [Alg.SHA3_256, 32],
  [Alg.SHA3_384, 48],
  [Alg.SHA3_512, 64],
]);

/** The hashes that may have a PCR bank. */
export const pcrBankHashes: readonly number[] = [Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512];

/** Size in bytes of a coordinate of every curve that the engine implements, in the order of TPM_CAP_ECC_CURVES. */
export const curveSizes: ReadonlyMap<number, number> = new Map([
  [Curve.NIST_P192, 24],
  [Curve.NIST_P224, 28],
  [Curve.NIST_P256, 32],
  [Curve.NIST_P384, 48],
  [Curve.NIST_P521, 66],
  [Curve.BN_P256, 32],
  [Curve.SM2_P256, 32],
]);

/** Key sizes in bits. RSA-1024 is offered only when the embedder asks for it. */
export const rsaKeyBits: readonly number[] = [1024, 2048, 3072, 4096];
export const symmetricKeyBits: ReadonlyMap<number, readonly number[]> = new Map([
  [Alg.AES, [128, 192, 256]],
  [Alg.CAMELLIA, [128, 192, 256]],
]);

const names = new Map<number, string>(Object.entries(Alg).map(([name, id]) => [id, name]));

/** The name of an algorithm for people, hexadecimal when there is none. */
export function algorithmName(id: number): string {
  return names.get(id) ?? `0x${id.toString(16).padStart(4, "0")}`;
}
