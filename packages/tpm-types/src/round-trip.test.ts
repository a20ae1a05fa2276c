import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as types from "./index.ts";
import { Alg, Cap, Curve, Ht, Rc, Rh, St, TpmError, TpmReader, TpmWriter, type Type } from "./index.ts";

const { Max } = types;
const bytes = (maximum: number) => fc.uint8Array({ maxLength: maximum });
const uint = (bits: 8 | 16 | 32) => fc.integer({ min: 0, max: 2 ** bits - 1 });
const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const list = <T>(element: fc.Arbitrary<T>, maxLength: number, minLength = 0) =>
  fc.array(element, { minLength, maxLength });
const hash = fc.constantFrom(...types.digestSizes.keys());
const digestOf = (alg: number) => {
  const length = types.digestSizes.get(alg) ?? 0;
  return fc.uint8Array({ minLength: length, maxLength: length });
};
const agile = (algs: fc.Arbitrary<number>) =>
  algs.chain((hashAlg) => fc.record({ hashAlg: fc.constant(hashAlg), digest: digestOf(hashAlg) }));
const anyBitOf = (mask: number) => uint(32).map((value) => (value & mask) >>> 0);
const bitsOf = (table: Readonly<Record<string, number>>) =>
  Object.values(table).reduce((mask, bit) => mask | bit, 0);

const digest = bytes(Max.DIGEST);
const name = bytes(2 + Max.DIGEST);
const point = fc.record({ x: bytes(Max.ECC_KEY), y: bytes(Max.ECC_KEY) });
const hierarchy = fc.constantFrom(Rh.OWNER, Rh.PLATFORM, Rh.ENDORSEMENT, Rh.NULL);
const nvHandle = uint(16).map((n) => 0x0100_0000 + n);
const selection = fc.record({ hash, pcrSelect: fc.uint8Array({ minLength: 3, maxLength: 3 }) });
const clockInfo = fc.record({
  clock: uint64,
  resetCount: uint(32),
  restartCount: uint(32),
  safe: fc.boolean(),
});
const timeInfo = fc.record({ time: uint64, clockInfo });

const noSymmetric = fc.constant(types.noSymmetric);
const xor = hash.map((alg) => ({ ...types.noSymmetric, algorithm: Alg.XOR, hash: alg }));
const blockCipher = fc.record({
  algorithm: fc.constantFrom(...types.symmetricKeyBits.keys()),
  keyBits: fc.constantFrom(128, 192, 256),
  mode: fc.constantFrom(Alg.CTR, Alg.OFB, Alg.CBC, Alg.CFB, Alg.ECB, Alg.CMAC, Alg.NULL),
  hash: fc.constant(Alg.NULL),
});
/** Schemes by identifier: the null scheme and RSAES have no hash, and ECDAA has a count. */
const scheme = (...ids: number[]) =>
  fc.tuple(fc.constantFrom(Alg.NULL, ...ids), hash, uint(16)).map(([id, alg, count]) => ({
    scheme: id,
    hash: id === Alg.NULL || id === Alg.RSAES ? Alg.NULL : alg,
    count: id === Alg.ECDAA ? count : 0,
  }));
const kdf = fc.oneof(
  fc.constant({ scheme: Alg.NULL, hash: Alg.NULL }),
  fc.record({
    scheme: fc.constantFrom(Alg.MGF1, Alg.KDF1_SP800_56A, Alg.KDF2, Alg.KDF1_SP800_108),
    hash,
  }),
);
/** SM3 is no hash that there is here. */
const curveKdf = fc.oneof(kdf, fc.constant({ scheme: Alg.KDF1_SP800_56A, hash: Alg.SM3_256 }));
const keyedHashScheme = fc.oneof(
  fc.constant({ scheme: Alg.NULL, hash: Alg.NULL, kdf: Alg.NULL }),
  hash.map((alg) => ({ scheme: Alg.HMAC, hash: alg, kdf: Alg.NULL })),
  hash.map((alg) => ({ scheme: Alg.XOR, hash: alg, kdf: Alg.KDF1_SP800_108 })),
);
const rsaScheme = scheme(Alg.RSASSA, Alg.RSAPSS, Alg.RSAES, Alg.OAEP);
const eccScheme = scheme(Alg.ECDSA, Alg.ECDAA, Alg.SM2, Alg.ECSCHNORR, Alg.ECDH, Alg.ECMQV);

const symmetric = fc.oneof(noSymmetric, blockCipher);
const rsaParameters = fc.record({
  symmetric,
  scheme: rsaScheme,
  keyBits: fc.constantFrom(...types.rsaKeyBits),
  exponent: uint(32),
});
const eccParameters = fc.record({
  symmetric,
  scheme: eccScheme,
  curveID: fc.constantFrom(...types.curveSizes.keys()),
  kdf,
});
const keyParameters = fc.oneof(
  fc.record({ type: fc.constant(Alg.RSA), parameters: rsaParameters }),
  fc.record({ type: fc.constant(Alg.ECC), parameters: eccParameters }),
  fc.record({ type: fc.constant(Alg.KEYEDHASH), parameters: fc.record({ scheme: keyedHashScheme }) }),
  fc.record({ type: fc.constant(Alg.SYMCIPHER), parameters: fc.record({ sym: blockCipher }) }),
);
const publicArea = (nameAlg: fc.Arbitrary<number>) =>
  keyParameters.chain((kind) =>
    fc
      .record({
        nameAlg,
        objectAttributes: anyBitOf(bitsOf(types.ObjectAttribute)),
        authPolicy: digest,
        unique:
          kind.type === Alg.ECC
            ? (point as fc.Arbitrary<unknown>)
            : bytes(kind.type === Alg.RSA ? Max.RSA_KEY : 64),
      })
      .map((common) => ({ ...kind, ...common })),
  );
const sensitive = fc.record({
  sensitiveType: fc.constantFrom(Alg.RSA, Alg.ECC, Alg.KEYEDHASH, Alg.SYMCIPHER),
  authValue: digest,
  seedValue: digest,
  sensitive: bytes(Max.SYM_KEY),
});
const sensitiveCreate = fc.record({ userAuth: digest, data: bytes(Max.SYM_DATA) });
const creationData = fc.record({
  pcrSelect: list(selection, 16),
  pcrDigest: digest,
  locality: uint(8),
  parentNameAlg: uint(16),
  parentName: name,
  parentQualifiedName: name,
  outsideInfo: name,
});
const eccNumber = bytes(Max.ECC_KEY);
const eccDetail = fc.record({
  curveID: uint(16),
  keySize: uint(16),
  kdf: curveKdf,
  sign: eccScheme,
  ...{ p: eccNumber, a: eccNumber, b: eccNumber, gX: eccNumber, gY: eccNumber, n: eccNumber, h: eccNumber },
});
const signature = fc.oneof(
  fc.constant({ sigAlg: Alg.NULL }),
  fc.record({ sigAlg: fc.constantFrom(Alg.RSASSA, Alg.RSAPSS), hash, sig: bytes(Max.RSA_KEY) }),
  fc.record({
    sigAlg: fc.constantFrom(Alg.ECDSA, Alg.ECDAA, Alg.SM2, Alg.ECSCHNORR),
    hash,
    r: eccNumber,
    s: eccNumber,
  }),
  agile(hash).map((value) => ({ sigAlg: Alg.HMAC, hash: value.hashAlg, digest: value.digest })),
);
const nvPublic = fc.record({
  nvIndex: nvHandle,
  nameAlg: hash,
  attributes: anyBitOf(bitsOf(types.NvAttribute) | 0xf0),
  authPolicy: digest,
  dataSize: fc.integer({ min: 0, max: Max.NV_INDEX }),
});
const ticket = (...tags: number[]) => fc.record({ tag: fc.constantFrom(...tags), hierarchy, digest });

const taggedProperty = fc.record({ property: uint(32), value: uint(32) });
const taggedSelect = fc.record({ tag: uint(32), pcrSelect: bytes(255) });
const taggedPolicy = fc.record({
  handle: uint(32),
  policyHash: agile(fc.constantFrom(Alg.NULL, ...types.digestSizes.keys())),
});
const algProperty = fc.record({ alg: uint(16), algProperties: uint(32) });
const act = fc.record({ handle: uint(32), timeout: uint(32), attributes: uint(32) });
const capabilities: Readonly<Record<keyof typeof Cap, fc.Arbitrary<unknown>>> = {
  ALGS: algProperty,
  HANDLES: uint(32),
  COMMANDS: uint(32),
  PP_COMMANDS: uint(32),
  AUDIT_COMMANDS: uint(32),
  PCRS: selection,
  TPM_PROPERTIES: taggedProperty,
  PCR_PROPERTIES: taggedSelect,
  ECC_CURVES: uint(16),
  AUTH_POLICIES: taggedPolicy,
  ACT: act,
};
const capabilityData = fc.oneof(
  ...Object.entries(capabilities).map(([capability, element]) =>
    fc.record({ capability: fc.constant(Cap[capability as keyof typeof Cap]), data: list(element, 16) }),
  ),
);
const certified = fc.record({ name, qualifiedName: name });
const quoted = fc.record({ pcrSelect: list(selection, 16), pcrDigest: digest });
const commandAudit = fc.record({
  auditCounter: uint64,
  digestAlg: uint(16),
  auditDigest: digest,
  commandDigest: digest,
});
const sessionAudit = fc.record({ exclusiveSession: fc.boolean(), sessionDigest: digest });
const created = fc.record({ objectName: name, creationHash: digest });
const nvContents = fc.record({ indexName: name, offset: uint(16), nvContents: bytes(Max.NV_BUFFER) });
const timeAttested = fc.record({ time: timeInfo, firmwareVersion: uint64 });
const nvDigest = fc.record({ indexName: name, nvDigest: digest });
const attested = new Map<number, fc.Arbitrary<unknown>>([
  [St.ATTEST_CERTIFY, certified],
  [St.ATTEST_QUOTE, quoted],
  [St.ATTEST_COMMAND_AUDIT, commandAudit],
  [St.ATTEST_SESSION_AUDIT, sessionAudit],
  [St.ATTEST_CREATION, created],
  [St.ATTEST_NV, nvContents],
  [St.ATTEST_TIME, timeAttested],
  [St.ATTEST_NV_DIGEST, nvDigest],
]);
const attestation = fc.oneof(
  ...[...attested].map(([type, what]) =>
    fc.record({
      magic: uint(32),
      type: fc.constant(type),
      qualifiedSigner: name,
      extraData: name,
      clockInfo,
      firmwareVersion: uint64,
      attested: what,
    }),
  ),
);

/** Values of every type that is no number, by the type's export. Buffers go by the size in their row. */
const values: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  UINT64: uint64,
  NV_UINT64: uint64,
  INT8: fc.integer({ min: -128, max: 127 }),
  INT32: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  TPM_CLOCK_ADJUST: fc.integer({ min: -3, max: 3 }),
  TPMI_YES_NO: fc.boolean(),
  TPMT_HA: agile(hash),
  TPMT_HA_NULL: agile(fc.constantFrom(Alg.NULL, ...types.digestSizes.keys())),
  TPMS_ECC_POINT: point,
  TPM2B_ECC_POINT: point,
  TPMS_PCR_SELECTION: selection,
  TPML_PCR_SELECTION: list(selection, 16),
  TPML_DIGEST: list(digest, 8),
  TPML_DIGEST_OR: list(digest, 8, 2),
  TPML_DIGEST_VALUES: list(agile(hash), types.digestSizes.size),
  TPML_CC: list(uint(32), 254),
  TPML_ALG: list(uint(16), 64),
  TPML_HANDLE: list(uint(32), 254),
  TPMT_TK_CREATION: ticket(St.CREATION),
  TPMT_TK_VERIFIED: ticket(St.VERIFIED),
  TPMT_TK_AUTH: ticket(St.AUTH_SIGNED, St.AUTH_SECRET),
  TPMT_TK_HASHCHECK: ticket(St.HASHCHECK),
  TPMS_CLOCK_INFO: clockInfo,
  TPMS_TIME_INFO: timeInfo,
  TPMS_CONTEXT: fc.record({
    sequence: uint64,
    savedHandle: fc.constantFrom(0x0200_0001, 0x0300_0002, 0x8000_0000, 0x8000_0002),
    hierarchy,
    contextBlob: bytes(Max.CONTEXT),
  }),
  TPMT_SYM_DEF: fc.oneof(noSymmetric, xor, blockCipher),
  TPMT_SYM_DEF_OBJECT: blockCipher,
  TPMT_SYM_DEF_OBJECT_NULL: symmetric,
  TPMT_SIG_SCHEME: scheme(Alg.RSASSA, Alg.RSAPSS, Alg.ECDSA, Alg.ECDAA, Alg.SM2, Alg.ECSCHNORR, Alg.HMAC),
  TPMT_RSA_SCHEME: rsaScheme,
  TPMT_RSA_DECRYPT: scheme(Alg.RSAES, Alg.OAEP),
  TPMT_ECC_SCHEME: eccScheme,
  TPMT_KDF_SCHEME: kdf,
  TPMT_KDF_SCHEME_OF_CURVE: curveKdf,
  TPMT_KEYEDHASH_SCHEME: keyedHashScheme,
  TPMT_PUBLIC_PARMS: keyParameters,
  TPMT_PUBLIC: publicArea(hash),
  TPMT_PUBLIC_NULL: publicArea(fc.constantFrom(Alg.NULL, Alg.SHA256)),
  TPM2B_PUBLIC: publicArea(hash),
  TPM2B_PUBLIC_NULL: publicArea(fc.constantFrom(Alg.NULL, Alg.SHA256)),
  TPMS_DERIVE: fc.record({ label: bytes(Max.LABEL), context: bytes(Max.LABEL) }),
  TPMT_SENSITIVE: sensitive,
  TPM2B_SENSITIVE_OPTIONAL: fc.option(sensitive, { nil: undefined }),
  TPMS_SENSITIVE_CREATE: sensitiveCreate,
  TPM2B_SENSITIVE_CREATE: sensitiveCreate,
  TPMS_CREATION_DATA: creationData,
  TPM2B_CREATION_DATA: creationData,
  TPMS_ALGORITHM_DETAIL_ECC: eccDetail,
  TPMT_SIGNATURE: signature.filter(({ sigAlg }) => sigAlg !== Alg.NULL),
  TPMT_SIGNATURE_NULL: signature,
  TPMS_NV_PUBLIC: nvPublic,
  TPM2B_NV_PUBLIC: nvPublic,
  TPM2B_NV_PUBLIC_2: nvPublic,
  TPMS_NV_PIN_COUNTER_PARAMETERS: fc.record({ pinCount: uint(32), pinLimit: uint(32) }),
  TPMS_ALG_PROPERTY: algProperty,
  TPMS_TAGGED_PROPERTY: taggedProperty,
  TPMS_TAGGED_PCR_SELECT: taggedSelect,
  TPMS_TAGGED_POLICY: taggedPolicy,
  TPMS_ACT_DATA: act,
  TPMS_CAPABILITY_DATA: capabilityData,
  TPMS_CERTIFY_INFO: certified,
  TPMS_QUOTE_INFO: quoted,
  TPMS_COMMAND_AUDIT_INFO: commandAudit,
  TPMS_SESSION_AUDIT_INFO: sessionAudit,
  TPMS_CREATION_INFO: created,
  TPMS_NV_CERTIFY_INFO: nvContents,
  TPMS_TIME_ATTEST_INFO: timeAttested,
  TPMS_NV_DIGEST_CERTIFY_INFO: nvDigest,
  TPMS_ATTEST: attestation,
};
/** TPM2B that are bytes and nothing else, with the most that they hold. */
const buffers: Readonly<Record<string, number>> = {
  TPM2B_DIGEST: 64,
  TPM2B_NONCE: 64,
  TPM2B_AUTH: 64,
  TPM2B_OPERAND: 64,
  TPM2B_DATA: 66,
  TPM2B_NAME: 66,
  TPM2B_EVENT: 1024,
  TPM2B_MAX_BUFFER: 1024,
  TPM2B_MAX_NV_BUFFER: 1024,
  TPM2B_TIMEOUT: 8,
  TPM2B_IV: 16,
  TPM2B_SYM_KEY: 32,
  TPM2B_SENSITIVE_DATA: 128,
  TPM2B_PUBLIC_KEY_RSA: 512,
  TPM2B_PRIVATE_KEY_RSA: 1280,
  TPM2B_ECC_PARAMETER: 66,
  TPM2B_ENCRYPTED_SECRET: 512,
  TPM2B_PRIVATE: 1900,
  TPM2B_ID_OBJECT: 132,
  TPM2B_LABEL: 32,
  TPM2B_CONTEXT_DATA: 4096,
  TPM2B_TEMPLATE: 1024,
  TPM2B_MAX_CAP_BUFFER: 1024,
  TPM2B_ATTEST: 2048,
  TPM2B_SET_CAPABILITY_DATA: 1024,
};

const isType = (value: unknown): value is Type<unknown> =>
  typeof value === "object" && value !== null && "read" in value && "write" in value;
const all = Object.entries(types as Record<string, unknown>).filter(
  (entry): entry is [string, Type<unknown>] => isType(entry[1]),
);
const numbers = all.filter(([key]) => values[key] === undefined && buffers[key] === undefined);
const composed: [string, Type<unknown>, fc.Arbitrary<unknown>][] = all.flatMap(([key, type]) => {
  const value = values[key] ?? (buffers[key] === undefined ? undefined : bytes(buffers[key]));
  return value === undefined ? [] : [[key, type, value]];
});

const written = (type: Type<unknown>, value: unknown): Uint8Array => {
  const writer = new TpmWriter(1);
  type.write(writer, value);
  return writer.finish();
};
/** What reading gives: a value and the bytes that it took, or a response code. */
const outcome = (type: Type<unknown>, input: Uint8Array) => {
  const reader = new TpmReader(input);
  try {
    return { value: type.read(reader), taken: reader.offset };
  } catch (error) {
    if (error instanceof TpmError) return { rc: error.rc, taken: reader.offset };
    throw error;
  }
};

describe("every type that is made of others", () => {
  it("has values here, and no name is one of no type", () => {
    const named = [...Object.keys(values), ...Object.keys(buffers)];
    expect(named.filter((key) => !all.some(([other]) => other === key))).toEqual([]);
    // Whatever has no row is a number of one, two or four bytes.
    for (const [key, type] of numbers)
      expect([key, [1, 2, 4].includes(outcome(type, new Uint8Array(8)).taken)]).toEqual([key, true]);
    expect(numbers.length).toBeGreaterThan(50);
  });

  it.each(composed)("%s reads back what it wrote, and takes no byte more", (_, type, value) => {
    fc.assert(
      fc.property(value, bytes(4), (wanted, behind) => {
        const encoded = written(type, wanted);
        const input = Uint8Array.of(...encoded, ...behind);
        expect(outcome(type, input)).toEqual({ value: wanted, taken: encoded.length });
      }),
      { numRuns: 20 },
    );
  });

  it.each(composed)("%s is TPM_RC_INSUFFICIENT wherever it ends too early", (_, type, value) => {
    fc.assert(
      fc.property(value, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (wanted, part) => {
        const encoded = written(type, wanted);
        const short = encoded.subarray(0, Math.floor(part * encoded.length));
        expect(outcome(type, short)).toMatchObject({ rc: Rc.INSUFFICIENT });
      }),
      { numRuns: 20 },
    );
  });

  it.each(composed)(
    "%s with bytes changed is refused by a code, or is the one value with these bytes",
    (_, type, value) => {
      const change = fc.tuple(fc.nat(), uint(8));
      fc.assert(
        fc.property(value, fc.array(change, { minLength: 1, maxLength: 4 }), (wanted, changes) => {
          const input = written(type, wanted);
          for (const [at, byte] of changes) input[at % Math.min(input.length, 24)] = byte;
          const result = outcome(type, input);
          if ("rc" in result) expect(result.rc & 0x080).toBe(0x080);
          else expect(written(type, result.value)).toEqual(input.slice(0, result.taken));
        }),
        { numRuns: 30 },
      );
    },
  );
});

describe("every type that is a number", () => {
  const known = [Alg, Curve, Rh, St, Cap].flatMap((table) => Object.values(table) as number[]);
  const handles = Object.values(Ht).flatMap((type) => [0, 1, 23, 24].map((n) => type * 2 ** 24 + n));
  const candidates = [...new Set([...known, ...handles, 0, 1, 2, 3, 1024, 2048])];
  it.each(numbers)("%s is big-endian, and takes or refuses a value by a code", (_, type) => {
    const { taken: width } = outcome(type, new Uint8Array(8));
    const accepted = candidates.filter((candidate) => {
      if (candidate >= 2 ** (8 * width)) return false;
      const input = new Uint8Array(4);
      new DataView(input.buffer).setUint32(0, candidate);
      const encoded = input.slice(4 - width);
      const result = outcome(type, encoded);
      if ("rc" in result) {
        expect(result.rc & 0x080).toBe(0x080);
        return false;
      }
      expect(result).toEqual({ value: candidate, taken: width });
      expect(written(type, candidate)).toEqual(encoded);
      expect(outcome(type, encoded.subarray(1))).toMatchObject({ rc: Rc.INSUFFICIENT });
      return true;
    });
    expect(accepted.length).toBeGreaterThan(0);
  });
});

describe("a buffer", () => {
  it.each(Object.entries(buffers))("%s holds %i bytes, and one more is TPM_RC_SIZE", (key, maximum) => {
    const type = all.find(([other]) => other === key)![1];
    const full = new Uint8Array(maximum).fill(7);
    expect(outcome(type, written(type, full))).toEqual({ value: full, taken: maximum + 2 });
    expect(outcome(type, written(type, new Uint8Array(maximum + 1)))).toMatchObject({ rc: Rc.SIZE });
  });
});
