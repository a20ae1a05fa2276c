import { describe, expect, it } from "vitest";
import * as types from "./index.ts";
import { Alg, Curve, Rc, Rh, TpmError, TpmReader, type Type } from "./index.ts";

const byName = new Map<string, unknown>(Object.entries(types));

/** What unmarshalling answers to each value, big-endian in `bits`. */
function answers(type: Type<unknown>, bits: 8 | 16 | 32, values: readonly number[]): number[] {
  return values.map((value) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value);
    const reader = new TpmReader(bytes.subarray(4 - bits / 8));
    try {
      type.read(reader);
      expect(reader.remaining).toBe(0);
      return Rc.SUCCESS;
    } catch (error) {
      if (error instanceof TpmError) return error.rc;
      throw error;
    }
  });
}
const all = (rc: number, count: number): number[] => Array.from({ length: count }, () => rc);

const transient = 0x8000_0000;
const persistent = 0x8100_0000;
const nv = 0x0100_0000;
const hmac = 0x0200_0000;
const policy = 0x0300_0000;
const { OWNER, PLATFORM, ENDORSEMENT, LOCKOUT, NULL, PW, PLATFORM_NV, ACT_0, ACT_F } = Rh;

describe("a handle that may not stand in its place is TPM_RC_VALUE", () => {
  it.each<[string, number[], number[]]>([
    ["TPMI_DH_OBJECT", [transient, persistent, 0x80ff_ffff], [NULL, OWNER, nv, hmac, 0, 0x8200_0000]],
    ["TPMI_DH_OBJECT_NULL", [transient, NULL], [OWNER, nv]],
    ["TPMI_DH_PARENT", [transient, persistent, OWNER, PLATFORM, ENDORSEMENT, NULL], [LOCKOUT, nv]],
    ["TPMI_DH_PERSISTENT", [persistent], [transient, NULL]],
    ["TPMI_DH_ENTITY", [OWNER, LOCKOUT, transient, nv, 0, 23, ACT_0], [NULL, 24, hmac, PW]],
    ["TPMI_DH_ENTITY_NULL", [NULL, OWNER, nv], [PW, hmac]],
    ["TPMI_DH_PCR", [0, 23], [24, NULL]],
    ["TPMI_DH_PCR_NULL", [0, 23, NULL], [24, OWNER]],
    ["TPMI_SH_HMAC", [hmac], [policy, PW]],
    ["TPMI_SH_POLICY", [policy], [hmac, PW]],
    ["TPMI_SH_AUTH_SESSION", [hmac, policy], [PW, transient]],
    ["TPMI_SH_AUTH_SESSION_PW", [hmac, policy, PW], [NULL, transient]],
    ["TPMI_DH_CONTEXT", [hmac, policy, transient], [persistent, PW, NULL]],
    ["TPMI_DH_SAVED", [hmac, policy, transient, transient + 2], [transient + 3, persistent]],
    ["TPMI_RH_HIERARCHY", [OWNER, PLATFORM, ENDORSEMENT, NULL], [LOCKOUT, transient]],
    ["TPMI_RH_ENABLES", [OWNER, PLATFORM, ENDORSEMENT, PLATFORM_NV], [NULL, LOCKOUT]],
    ["TPMI_RH_HIERARCHY_AUTH", [OWNER, PLATFORM, ENDORSEMENT, LOCKOUT], [NULL, ACT_0]],
    ["TPMI_RH_HIERARCHY_POLICY", [OWNER, LOCKOUT, ACT_0, ACT_F], [NULL, ACT_F + 1]],
    ["TPMI_RH_BASE_HIERARCHY", [OWNER, PLATFORM, ENDORSEMENT], [LOCKOUT, NULL]],
    ["TPMI_RH_PLATFORM", [PLATFORM], [OWNER, NULL]],
    ["TPMI_RH_ENDORSEMENT", [ENDORSEMENT], [OWNER, NULL]],
    ["TPMI_RH_PROVISION", [OWNER, PLATFORM], [ENDORSEMENT, NULL]],
    ["TPMI_RH_CLEAR", [LOCKOUT, PLATFORM], [OWNER, NULL]],
    ["TPMI_RH_LOCKOUT", [LOCKOUT], [OWNER]],
    ["TPMI_RH_NV_AUTH", [OWNER, PLATFORM, nv], [ENDORSEMENT, LOCKOUT, transient]],
    ["TPMI_RH_NV_INDEX", [nv, 0x01ff_ffff], [OWNER, 0x1100_0000]],
    ["TPMI_RH_ACT", [ACT_0, ACT_F], [ACT_0 - 1, ACT_F + 1]],
  ])("%s", (key, right, wrong) => {
    const type = byName.get(key) as Type<number>;
    expect(answers(type, 32, right)).toEqual(all(Rc.SUCCESS, right.length));
    expect(answers(type, 32, wrong)).toEqual(all(Rc.VALUE, wrong.length));
  });
});

describe("an algorithm that may not stand in its place has a code of its own", () => {
  it.each<[string, number, number[], number[]]>([
    ["TPMI_ALG_HASH", Rc.HASH, [Alg.SHA1, Alg.SHA256, Alg.SHA3_512], [Alg.NULL, Alg.SM3_256, Alg.AES, 0]],
    ["TPMI_ALG_HASH_NULL", Rc.HASH, [Alg.SHA384, Alg.NULL], [Alg.SM3_256]],
    ["TPMI_ALG_SYM", Rc.SYMMETRIC, [Alg.AES, Alg.CAMELLIA, Alg.XOR], [Alg.NULL, Alg.TDES, Alg.SM4]],
    ["TPMI_ALG_SYM_NULL", Rc.SYMMETRIC, [Alg.AES, Alg.XOR, Alg.NULL], [Alg.TDES]],
    ["TPMI_ALG_SYM_OBJECT", Rc.SYMMETRIC, [Alg.AES, Alg.CAMELLIA], [Alg.XOR, Alg.NULL]],
    ["TPMI_ALG_SYM_MODE", Rc.MODE, [Alg.CFB, Alg.ECB, Alg.CMAC], [Alg.NULL, Alg.AES]],
    ["TPMI_ALG_CIPHER_MODE_NULL", Rc.MODE, [Alg.CTR, Alg.NULL], [Alg.CMAC]],
    ["TPMI_ALG_MAC_SCHEME_NULL", Rc.SYMMETRIC, [Alg.SHA256, Alg.CMAC, Alg.NULL], [Alg.HMAC, Alg.AES]],
    ["TPMI_ALG_KDF", Rc.KDF, [Alg.MGF1, Alg.KDF1_SP800_108], [Alg.NULL, Alg.XOR]],
    [
      "TPMI_ALG_SIG_SCHEME_NULL",
      Rc.SCHEME,
      [Alg.RSASSA, Alg.ECDAA, Alg.HMAC, Alg.NULL],
      [Alg.OAEP, Alg.ECDH],
    ],
    ["TPMI_ALG_RSA_SCHEME_NULL", Rc.VALUE, [Alg.RSAES, Alg.RSAPSS, Alg.NULL], [Alg.ECDSA]],
    ["TPMI_ALG_RSA_DECRYPT_NULL", Rc.VALUE, [Alg.RSAES, Alg.OAEP, Alg.NULL], [Alg.RSASSA]],
    ["TPMI_ALG_ECC_SCHEME_NULL", Rc.SCHEME, [Alg.ECDSA, Alg.ECMQV, Alg.NULL], [Alg.RSASSA]],
    ["TPMI_ECC_KEY_EXCHANGE", Rc.SCHEME, [Alg.ECDH, Alg.ECMQV, Alg.SM2], [Alg.NULL, Alg.ECDSA]],
    ["TPMI_ALG_KEYEDHASH_SCHEME_NULL", Rc.VALUE, [Alg.HMAC, Alg.XOR, Alg.NULL], [Alg.RSASSA]],
    ["TPMI_ALG_PUBLIC", Rc.TYPE, [Alg.RSA, Alg.ECC, Alg.KEYEDHASH, Alg.SYMCIPHER], [Alg.NULL, Alg.AES]],
    ["TPMI_ECC_CURVE", Rc.CURVE, [Curve.NIST_P192, Curve.BN_P256, Curve.SM2_P256], [Curve.NONE, 6, 0x11]],
    ["TPMI_RSA_KEY_BITS", Rc.VALUE, [1024, 2048, 3072, 4096], [0, 512, 2047, 8192]],
  ])("%s", (key, rc, right, wrong) => {
    const type = byName.get(key) as Type<number>;
    expect(answers(type, 16, right)).toEqual(all(Rc.SUCCESS, right.length));
    expect(answers(type, 16, wrong)).toEqual(all(rc, wrong.length));
  });
});

describe("a reserved bit is TPM_RC_RESERVED_BITS", () => {
  const bits = (mask: number): number[] =>
    Array.from({ length: 32 }, (_, bit) => (1 << bit) >>> 0).filter((bit) => (mask & bit) !== 0);
  it.each<[string, Type<number>, 8 | 32, number]>([
    ["TPMA_OBJECT", types.TPMA_OBJECT, 32, 0xfff0_f009],
    ["TPMA_SESSION", types.TPMA_SESSION, 8, 0x18],
    ["TPMA_NV", types.TPMA_NV, 32, 0x01f0_0300],
    ["TPMA_PERMANENT", types.TPMA_PERMANENT, 32, 0xffff_f8f8],
  ])("in %s, bit by bit", (_, type, width, reserved) => {
    const whole = width === 8 ? 0xff : 0xffff_ffff;
    const free = (whole & ~reserved) >>> 0;
    expect(answers(type, width, bits(reserved))).toEqual(all(Rc.RESERVED_BITS, bits(reserved).length));
    expect(answers(type, width, [0, free, ...bits(free)])).toEqual(all(Rc.SUCCESS, bits(free).length + 2));
  });
});

it("constants that are none are TPM_RC_VALUE", () => {
  const { VALUE, SUCCESS } = Rc;
  expect(answers(types.TPMI_YES_NO, 8, [0, 1, 2, 255])).toEqual([SUCCESS, SUCCESS, VALUE, VALUE]);
  expect(answers(types.TPM_SU, 16, [0, 1, 2])).toEqual([SUCCESS, SUCCESS, VALUE]);
  expect(answers(types.TPM_SE, 8, [0, 1, 2, 3, 4])).toEqual([SUCCESS, SUCCESS, VALUE, SUCCESS, VALUE]);
  expect(answers(types.TPM_EO, 16, [0, 11, 12])).toEqual([SUCCESS, SUCCESS, VALUE]);
  expect(answers(types.TPM_CAP, 32, [0, 10, 11, 0x100])).toEqual([SUCCESS, SUCCESS, VALUE, VALUE]);
  expect(answers(types.TPM_CLOCK_ADJUST, 8, [0xfd, 3, 0xfc, 4])).toEqual([SUCCESS, SUCCESS, VALUE, VALUE]);
  expect(answers(types.TPMI_ST_ATTEST, 16, [0x8014, 0x8018, 0x801c, 0x8013, 0x801b, 0x8021])).toEqual([
    SUCCESS,
    SUCCESS,
    SUCCESS,
    VALUE,
    VALUE,
    VALUE,
  ]);
});
