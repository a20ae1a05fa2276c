import { Alg } from "@entresol/tpm-types";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { seededDraw } from "./drbg.ts";
import { kdf2, kdfa, kdfe, mgf1, xorObfuscate } from "./kdf.ts";
import { nodeProvider as crypto } from "./node-provider.ts";
import { padRsaes, unpadRsaes } from "./rsaes.ts";

const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");
const bytes = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits, "hex"));
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const empty = new Uint8Array(0);

describe("CMAC", () => {
  it("of AES-256 is the one of SP 800-38B", () => {
    const key = bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    const data = bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411");
    expect(hex(crypto.cmac(Alg.AES, key, empty))).toBe("028962f61b7bf89efc6b551f4667d983");
    expect(hex(crypto.cmac(Alg.AES, key, data))).toBe("aaf3d8f1de5640c232f5b169b9c911e6");
  });
  it("goes on from the block that was chained before", () => {
    const key = new Uint8Array(16).fill(7);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), (data) => {
        const before = 16 * Math.floor((data.length - 1) / 16);
        const zero = new Uint8Array(16);
        const chained =
          before === 0
            ? zero
            : crypto.cipher(Alg.CAMELLIA, Alg.CBC, key, zero, data.subarray(0, before), true).slice(-16);
        const whole = crypto.cmac(Alg.CAMELLIA, key, data);
        expect(crypto.cmac(Alg.CAMELLIA, key, data.subarray(before), chained)).toEqual(whole);
      }),
      { numRuns: 50 },
    );
  });
});

describe("comparison", () => {
  it("tells equal from unequal, and never throws for lengths", () => {
    expect(crypto.equal(bytes("0102"), bytes("0102"))).toBe(true);
    expect(crypto.equal(bytes("0102"), bytes("0103"))).toBe(false);
    expect(crypto.equal(bytes("0102"), bytes("01"))).toBe(false);
    expect(crypto.equal(empty, empty)).toBe(true);
  });
});

describe("unknown algorithms", () => {
  it("are a mistake of the caller", () => {
    expect(() => crypto.hash(Alg.SM3_256, empty)).toThrow(RangeError);
    expect(() => crypto.runningHash(Alg.SM3_256)).toThrow(RangeError);
    expect(() =>
      crypto.cipher(Alg.SM4, Alg.CFB, new Uint8Array(16), new Uint8Array(16), empty, true),
    ).toThrow(RangeError);
  });
});

describe("key derivation", () => {
  it("KDFa is HMAC over counter, label, contexts and length", () => {
    const key = text("key");
    const expected = [1, 2]
      .map((i) =>
        hex(
          crypto.hmac(
            Alg.SHA256,
            key,
            bytes(`0000000${i}`),
            text("STORAGE\0"),
            text("u"),
            text("v"),
            bytes("00000180"),
          ),
        ),
      )
      .join("");
    const derived = kdfa(crypto, Alg.SHA256, key, "STORAGE", text("u"), text("v"), 384);
    expect(hex(derived)).toBe(expected.slice(0, 96));
  });
  it("clears the excess bits of the first byte", () => {
    const derived = kdfa(crypto, Alg.SHA1, text("key"), "X", empty, empty, 521);
    expect(derived.length).toBe(66);
    expect(derived[0]! & 0xfe).toBe(0);
    expect(kdfe(crypto, Alg.SHA1, text("z"), "X", empty, empty, 12)[0]! & 0xf0).toBe(0);
  });
  it("KDFe is a hash of counter, secret, label and both parties", () => {
    const derived = kdfe(crypto, Alg.SHA256, text("z"), "SECRET", text("u"), text("v"), 256);
    expect(derived).toEqual(
      crypto.hash(Alg.SHA256, bytes("00000001"), text("z"), text("SECRET\0"), text("uv")),
    );
  });
  it("MGF1 counts from zero and KDF2 from one", () => {
    const block = (counter: number): string =>
      hex(crypto.hash(Alg.SHA1, text("seed"), Uint8Array.of(0, 0, 0, counter)));
    expect(hex(mgf1(crypto, Alg.SHA1, text("seed"), 30))).toBe((block(0) + block(1)).slice(0, 60));
    expect(hex(kdf2(crypto, Alg.SHA1, text("seed"), 30))).toBe((block(1) + block(2)).slice(0, 60));
  });
  it("XOR obfuscation undoes itself", () => {
    const data = text("some data that is longer than one digest is, by a few bytes");
    const changed = Uint8Array.from(data);
    const xor = () => xorObfuscate(crypto, Alg.SHA256, text("key"), text("u"), text("v"), changed);
    xor();
    expect(changed).not.toEqual(data);
    xor();
    expect(changed).toEqual(data);
  });
});

describe("the generator of derived keys", () => {
  it("gives the same for the same seed, label and parts, whatever else is drawn beside it", () => {
    const draw = seededDraw(crypto, text("seed"), "label", text("part"));
    const other = seededDraw(crypto, text("seed"), "label", text("part"));
    expect([draw(10), draw(100), draw(1)]).toEqual([other(10), other(100), other(1)]);
  });
  it("gives what SP 800-90A's HMAC_DRBG with SHA-512 gives", () => {
    // By hand: instantiation with the seed material, one call of 64 bytes.
    const material = text("seedlabel\0part");
    let key = new Uint8Array(64);
    let value = new Uint8Array(64).fill(1);
    for (const round of [0, 1]) {
      key = new Uint8Array(crypto.hmac(Alg.SHA512, key, value, Uint8Array.of(round), material));
      value = new Uint8Array(crypto.hmac(Alg.SHA512, key, value));
    }
    const first = crypto.hmac(Alg.SHA512, key, value);
    expect(seededDraw(crypto, text("seed"), "label", text("part"))(64)).toEqual(first);
    expect(hex(first)).toBe(
      "211048661e01d886c636fb9b9c60042119c875a9efc4a7c73deb7b76bd72e64c22ba9b891662c541b1e185c8f5a436dddd186a855c1b59543c4c79e2f33acd37",
    );
  });
  it("does not take one label's bytes for another's", () => {
    const a = seededDraw(crypto, text("seed"), "ab", text("c"))(32);
    const b = seededDraw(crypto, text("seed"), "a", text("bc"))(32);
    expect(a).not.toEqual(b);
  });
});

describe("RSAES padding", () => {
  it("is taken off by the one who put it on, and has no zero in it", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 53 }), (message) => {
        const block = padRsaes(crypto.random, message, 64)!;
        expect(block.subarray(2, 64 - message.length - 1).includes(0)).toBe(false);
        expect(unpadRsaes(block)).toEqual(message);
      }),
    );
    expect(padRsaes(crypto.random, new Uint8Array(54), 64)).toBeUndefined();
  });
  it("agrees with a plain reading of RFC 8017 about any block", () => {
    const byte = fc.oneof({ arbitrary: fc.constant(0), weight: 1 }, { arbitrary: fc.nat(255), weight: 3 });
    fc.assert(
      fc.property(fc.array(byte, { minLength: 0, maxLength: 40 }), (tail) => {
        const block = Uint8Array.of(0, 2, ...tail);
        const zero = block.indexOf(0, 2);
        const plain = block.length >= 11 && zero >= 10 ? block.slice(zero + 1) : undefined;
        expect(unpadRsaes(block)).toEqual(plain);
      }),
      { numRuns: 300 },
    );
  });
});
