import { describe, expect, it } from "vitest";
import {
  Alg,
  Curve,
  list,
  ObjectAttribute,
  Rc,
  sized,
  structure,
  TPM2B_PUBLIC,
  TPM2B_SENSITIVE_CREATE,
  TPM2B_SENSITIVE_OPTIONAL,
  TPML_DIGEST_OR,
  TPML_PCR_SELECTION,
  TPMS_NV_PUBLIC,
  TPMT_ECC_SCHEME,
  TPMT_HA_NULL,
  TPMT_SYM_DEF,
  TPMT_TK_AUTH,
  TpmError,
  TpmReader,
  TpmWriter,
  type Type,
  UINT8,
  UINT16,
  UINT32,
  UINT64,
} from "./index.ts";

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));
const read = <T>(type: Type<T>, text: string): T => type.read(new TpmReader(hex(text)));
const rcOf = (type: Type<unknown>, text: string): number => {
  try {
    read(type, text);
    return Rc.SUCCESS;
  } catch (error) {
    if (error instanceof TpmError) return error.rc;
    throw error;
  }
};
const write = <T>(type: Type<T>, value: T): string => {
  const writer = new TpmWriter();
  type.write(writer, value);
  return Buffer.from(writer.finish()).toString("hex");
};

describe("a reader", () => {
  it("reads big-endian, and signed where the name says so", () => {
    const reader = new TpmReader(hex("01 0203 04050607 08090a0b0c0d0e0f ff fffffffe"));
    expect([reader.u8(), reader.u16(), reader.u32(), reader.u64(), reader.i8(), reader.i32()]).toEqual([
      1,
      0x0203,
      0x0405_0607,
      0x0809_0a0b_0c0d_0e0fn,
      -1,
      -2,
    ]);
    expect(reader.remaining).toBe(0);
  });

  it("ends where it is told, and stays where it was when there is too little", () => {
    const reader = new TpmReader(hex("0102030405"), 1, 3);
    expect(() => reader.u32()).toThrow(new TpmError(Rc.INSUFFICIENT));
    expect([reader.offset, reader.u16()]).toEqual([1, 0x0203]);
    expect(() => reader.take(1)).toThrow(new TpmError(Rc.INSUFFICIENT));
  });

  it("gives copies: a value does not change with its input", () => {
    const input = hex("000102");
    const taken = new TpmReader(input).take(2);
    input.fill(9);
    expect(taken).toEqual(Uint8Array.of(0, 1));
  });
});

describe("a writer", () => {
  it("grows, and fills sizes in afterwards", () => {
    const writer = new TpmWriter(1).u16(0).u32(0).u64(1n).sized(Uint8Array.of(7));
    writer.setU16(0, 0x8001);
    writer.setU32(2, writer.length);
    expect(Buffer.from(writer.finish()).toString("hex")).toBe("8001000000110000000000000001000107");
  });

  it("gives a copy when it is finished, and begins anew", () => {
    const writer = new TpmWriter().u8(1);
    const first = writer.finish();
    writer.u8(2).view()[0] = 3;
    expect([first, writer.finish()]).toEqual([Uint8Array.of(1), Uint8Array.of(3)]);
    expect(writer.length).toBe(0);
  });
  it("shares nothing with others that are under way or were finished, whatever their sizes", () => {
    const filled = (byte: number, length: number): Uint8Array => new Uint8Array(length).fill(byte);
    const writers = Array.from({ length: 10 }, () => new TpmWriter(16));
    for (const [i, writer] of writers.entries()) writer.bytes(filled(i, 1000 * i));
    const finished = writers.map((writer) => writer.finish());
    for (const writer of writers) writer.bytes(filled(0xff, 100));
    expect(finished).toEqual(writers.map((_, i) => filled(i, 1000 * i)));
    expect(writers.map((writer) => writer.finish())).toEqual(writers.map(() => filled(0xff, 100)));
  });
});

describe("a structure", () => {
  const pair = structure("PAIR", { first: UINT8, second: UINT16 });
  it("has its fields in their order, whatever order the value has", () => {
    expect(write(pair, { second: 0x0203, first: 1 })).toBe("010203");
    expect(read(pair, "010203")).toEqual({ first: 1, second: 0x0203 });
  });

  it("with a size has that size and no other, and is not empty", () => {
    const type = sized("TPM2B_PAIR", pair);
    expect(write(type, { first: 1, second: 2 })).toBe("0003010002");
    const rcs = ["0003 010002", "0000", "0002 010002", "0004 010002ff", "0004 010002", "0003 0100"];
    expect(rcs.map((text) => rcOf(type, text))).toEqual([
      Rc.SUCCESS,
      Rc.SIZE,
      Rc.SIZE,
      Rc.SIZE,
      Rc.INSUFFICIENT,
      Rc.INSUFFICIENT,
    ]);
  });

  it("that may be left out is two zero bytes then", () => {
    expect(read(TPM2B_SENSITIVE_OPTIONAL, "0000")).toBeUndefined();
    expect(write(TPM2B_SENSITIVE_OPTIONAL, undefined)).toBe("0000");
    expect(rcOf(TPM2B_SENSITIVE_CREATE, "0000")).toBe(Rc.SIZE);
  });
});

describe("a list", () => {
  const type = list("TPML_X", UINT16, 2, 1);
  it("counts its elements in 32 bits, between its bounds", () => {
    expect(write(type, [5, 6])).toBe("0000000200050006");
    expect(
      ["00000000", "00000001 0005", "00000003", "ffffffff", "00000002 0005"].map((text) => rcOf(type, text)),
    ).toEqual([Rc.SIZE, Rc.SUCCESS, Rc.SIZE, Rc.SIZE, Rc.INSUFFICIENT]);
  });

  it("of PolicyOR has two digests at least and eight at most", () => {
    const of = (count: number) => `0000000${count}${"0000".repeat(count)}`;
    expect([1, 2, 8, 9].map((count) => rcOf(TPML_DIGEST_OR, of(count)))).toEqual([
      Rc.SIZE,
      Rc.SUCCESS,
      Rc.SUCCESS,
      Rc.SIZE,
    ]);
  });
});

describe("what selects what follows", () => {
  it("a digest has the size of its hash, and none with the NULL hash", () => {
    expect(read(TPMT_HA_NULL, "0010")).toEqual({ hashAlg: Alg.NULL, digest: new Uint8Array(0) });
    expect(read(TPMT_HA_NULL, `0004${"11".repeat(20)}`).digest).toHaveLength(20);
    expect(rcOf(TPMT_HA_NULL, `000b${"11".repeat(31)}`)).toBe(Rc.INSUFFICIENT);
  });

  it("a session's cipher has key size and mode, XOR has a hash, NULL has nothing", () => {
    expect(read(TPMT_SYM_DEF, "0006 0080 0043")).toEqual({
      algorithm: Alg.AES,
      keyBits: 128,
      mode: Alg.CFB,
      hash: Alg.NULL,
    });
    expect(read(TPMT_SYM_DEF, "000a 000b").hash).toBe(Alg.SHA256);
    expect(write(TPMT_SYM_DEF, read(TPMT_SYM_DEF, "0010"))).toBe("0010");
    expect(
      ["0006 0081 0043", "0006 0080 0044", "0006 0080 0001", "0001"].map((text) => rcOf(TPMT_SYM_DEF, text)),
    ).toEqual([Rc.VALUE, Rc.SUCCESS, Rc.MODE, Rc.SYMMETRIC]);
  });

  it("a scheme has a hash, ECDAA a count besides", () => {
    expect(read(TPMT_ECC_SCHEME, "001a 000b 0007")).toEqual({
      scheme: Alg.ECDAA,
      hash: Alg.SHA256,
      count: 7,
    });
    expect(write(TPMT_ECC_SCHEME, { scheme: Alg.ECDSA, hash: Alg.SHA256, count: 0 })).toBe("0018000b");
    expect(rcOf(TPMT_ECC_SCHEME, "0014 000b")).toBe(Rc.SCHEME);
    expect(rcOf(TPMT_ECC_SCHEME, "0018 0010")).toBe(Rc.HASH);
  });

  it("a ticket has a tag of its type, else it is TPM_RC_TAG", () => {
    expect(read(TPMT_TK_AUTH, "8023 40000007 0000").tag).toBe(0x8023);
    expect(rcOf(TPMT_TK_AUTH, "8021 40000007 0000")).toBe(Rc.TAG);
    expect(rcOf(TPMT_TK_AUTH, "8025 4000000a 0000")).toBe(Rc.VALUE);
  });

  it("a selection of PCR is three bytes of an implemented hash", () => {
    const of = (row: string) => rcOf(TPML_PCR_SELECTION, `00000001 ${row}`);
    expect([of("000b 03 ffffff"), of("000b 02 ffff"), of("000b 04 ffffffff"), of("0012 03 ffffff")]).toEqual([
      Rc.SUCCESS,
      Rc.VALUE,
      Rc.VALUE,
      Rc.HASH,
    ]);
  });
});

it("a public area is laid out as the specification says", () => {
  const { fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt } =
    ObjectAttribute;
  // The ECC storage key that the TCG provisioning guidance recommends.
  const bytes = "001a 0023 000b 00030472 0000 0006 0080 0043 0010 0003 0010 0000 0000";
  const value = read(TPM2B_PUBLIC, bytes);
  expect(value).toEqual({
    type: Alg.ECC,
    nameAlg: Alg.SHA256,
    objectAttributes:
      fixedTPM | fixedParent | sensitiveDataOrigin | userWithAuth | noDA | restricted | decrypt,
    authPolicy: new Uint8Array(0),
    parameters: {
      symmetric: { algorithm: Alg.AES, keyBits: 128, mode: Alg.CFB, hash: Alg.NULL },
      scheme: { scheme: Alg.NULL, hash: Alg.NULL, count: 0 },
      curveID: Curve.NIST_P256,
      kdf: { scheme: Alg.NULL, hash: Alg.NULL },
    },
    unique: { x: new Uint8Array(0), y: new Uint8Array(0) },
  });
  expect(write(TPM2B_PUBLIC, value)).toBe(bytes.replaceAll(" ", ""));
});

it("an NV index has at most 2048 bytes of data, else it is TPM_RC_SIZE", () => {
  const of = (dataSize: string) => rcOf(TPMS_NV_PUBLIC, `01000001 000b 00040004 0000 ${dataSize}`);
  expect([of("0000"), of("0800"), of("0801"), of("ffff")]).toEqual([
    Rc.SUCCESS,
    Rc.SUCCESS,
    Rc.SIZE,
    Rc.SIZE,
  ]);
});

it("numbers without a rule take any value", () => {
  expect([
    read(UINT8, "ff"),
    read(UINT16, "ffff"),
    read(UINT32, "ffffffff"),
    read(UINT64, "ff".repeat(8)),
  ]).toEqual([255, 0xffff, 0xffff_ffff, 0xffff_ffff_ffff_ffffn]);
});
