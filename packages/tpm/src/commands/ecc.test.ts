import {
  Alg,
  Curve,
  curveSizes,
  type EccPoint,
  noScheme,
  ofHandle,
  ofParameter,
  Rc,
  type Scheme,
} from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { parametersOf } from "../crypto/curves.ts";
import { power, toBytes, toInteger } from "../crypto/integers.ts";
import { fullMqv, sm2Exchange } from "../crypto/key-agreement.ts";
import { nodeProvider as crypto } from "../crypto/node-provider.ts";
import { TpmClient } from "../testing/client.ts";
import { eccKey, keyedHash, loadKey, signing, withKey } from "../testing/external-keys.ts";

const client = TpmClient.started();
const empty = new Uint8Array(0);
const emptyPoint = { x: empty, y: empty };
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const scheme = (id: number, hash: number = Alg.SHA256, count = 0): Scheme => ({ scheme: id, hash, count });
const curves = [...curveSizes.keys()];
const off = (point: EccPoint): EccPoint => ({ x: point.x, y: point.x });
const P256 = Curve.NIST_P256;

describe.each(curves)("ECDH on curve %i", (curve) => {
  const key = eccKey(curve, Uint8Array.of(3, 1, 4, 1, 5, 9));
  const other = eccKey(curve, Uint8Array.of(2, 7, 1, 8, 2, 8));

  it("agrees on one point from either side", () => {
    const ours = withKey(client, key, (keyHandle) =>
      client.run("ECDH_ZGen", { keyHandle }, { inPoint: other.publicArea.unique }),
    );
    const theirs = withKey(client, other, (keyHandle) =>
      client.run("ECDH_ZGen", { keyHandle }, { inPoint: key.publicArea.unique }),
    );
    expect(ours.outPoint).toEqual(theirs.outPoint);
    expect(ours.outPoint.x.length).toBe(curveSizes.get(curve));
  });

  it("gives an ephemeral point, for the holder of the key to find the same", () => {
    const handle = loadKey(client, key, true);
    const { zPoint, pubPoint } = client.run("ECDH_KeyGen", { keyHandle: handle }, {});
    client.run("FlushContext", {}, { flushHandle: handle });
    expect(crypto.eccMultiply(curve, key.scalar, pubPoint)).toEqual(zPoint);
  });

  it("refuses a point off the curve", () => {
    const rc = withKey(client, key, (keyHandle) => [
      client.rc("ECDH_ZGen", { keyHandle }, { inPoint: off(other.publicArea.unique) }),
      client.rc("ECDH_ZGen", { keyHandle }, { inPoint: emptyPoint }),
    ]);
    expect(rc).toEqual([ofParameter(Rc.ECC_POINT, 1), ofParameter(Rc.ECC_POINT, 1)]);
  });

  it("in two phases agrees with the other party by every scheme, and takes each counter once", () => {
    const ephemeral = eccKey(curve, Uint8Array.of(1, 6, 1, 8));
    const B = { curve, staticA: other.scalar, ephemeralA: ephemeral.scalar, staticB: key.publicArea.unique };
    const keyA = loadKey(client, key);
    for (const inScheme of [Alg.ECDH, Alg.ECMQV, Alg.SM2]) {
      const { Q, counter } = client.run("EC_Ephemeral", {}, { curveID: curve });
      const parameters = {
        inQsB: other.publicArea.unique,
        inQeB: ephemeral.publicArea.unique,
        inScheme,
        counter,
      };
      const { outZ1, outZ2 } = client.run("ZGen_2Phase", { keyA }, parameters);
      const ofB = { ...B, ephemeralB: Q };
      if (inScheme === Alg.ECDH) {
        expect(outZ1).toEqual(crypto.eccMultiply(curve, other.scalar, key.publicArea.unique));
        expect(outZ2).toEqual(crypto.eccMultiply(curve, ephemeral.scalar, Q));
      } else {
        expect(outZ1).toEqual((inScheme === Alg.ECMQV ? fullMqv : sm2Exchange)(crypto, ofB));
        expect(outZ2).toEqual(emptyPoint);
      }
      expect(client.rc("ZGen_2Phase", { keyA }, parameters)).toBe(ofParameter(Rc.VALUE, 4));
    }
    client.run("FlushContext", {}, { flushHandle: keyA });
  });
});

describe("ECDH", () => {
  it("gives the shared secret of NIST's CAVS vector on P-256", () => {
    const bytes = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits, "hex"));
    const key = eccKey(P256, bytes("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534"));
    const inPoint = {
      x: bytes("700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287"),
      y: bytes("db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac"),
    };
    const { outPoint } = withKey(client, key, (keyHandle) =>
      client.run("ECDH_ZGen", { keyHandle }, { inPoint }),
    );
    expect(Buffer.from(outPoint.x).toString("hex")).toBe(
      "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b",
    );
  });

  it("is refused to keys for other uses, each with its code", () => {
    const inPoint = eccKey(P256, Uint8Array.of(9)).publicArea.unique;
    const zgen = (key: Parameters<typeof withKey>[1]) =>
      withKey(client, key, (keyHandle) => client.rc("ECDH_ZGen", { keyHandle }, { inPoint }));
    const scalar = Uint8Array.of(5);
    expect(zgen(keyedHash(crypto.random(20)))).toBe(ofHandle(Rc.KEY, 1));
    expect(zgen(eccKey(P256, scalar, noScheme, signing))).toBe(ofHandle(Rc.ATTRIBUTES, 1));
    expect(zgen(eccKey(P256, scalar, scheme(Alg.ECMQV)))).toBe(ofHandle(Rc.SCHEME, 1));
    expect(zgen(eccKey(P256, scalar, scheme(Alg.ECDH)))).toBe(Rc.SUCCESS);
    const handle = loadKey(client, keyedHash(crypto.random(20)));
    expect(client.rc("ECDH_KeyGen", { keyHandle: handle }, {})).toBe(ofHandle(Rc.KEY, 1));
    client.run("FlushContext", {}, { flushHandle: handle });
  });

  it("in two phases is refused in the order of the reference: key, scheme, points, counter", () => {
    const scalar = Uint8Array.of(5);
    const good = eccKey(P256, Uint8Array.of(9)).publicArea.unique;
    const code = (key: Parameters<typeof withKey>[1], inScheme: number, inQsB: EccPoint, inQeB: EccPoint) =>
      withKey(client, key, (keyA) =>
        client.rc("ZGen_2Phase", { keyA }, { inQsB, inQeB, inScheme, counter: 77 }),
      );
    const own = eccKey(P256, scalar, scheme(Alg.ECDH));
    expect(code(keyedHash(crypto.random(20)), Alg.ECDH, good, good)).toBe(ofHandle(Rc.KEY, 1));
    expect(code(eccKey(P256, scalar, noScheme, signing), Alg.ECDH, good, good)).toBe(
      ofHandle(Rc.ATTRIBUTES, 1),
    );
    expect(code(own, Alg.ECMQV, off(good), off(good))).toBe(ofParameter(Rc.SCHEME, 3));
    expect(code(own, Alg.ECDH, off(good), off(good))).toBe(ofParameter(Rc.ECC_POINT, 1));
    expect(code(own, Alg.ECDH, good, off(good))).toBe(ofParameter(Rc.ECC_POINT, 2));
    expect(code(own, Alg.ECDH, good, good)).toBe(ofParameter(Rc.VALUE, 4));
    expect(code(own, Alg.RSASSA, good, good)).toBe(ofParameter(Rc.SCHEME, 3));
  });
});

describe("TPM2_ECC_Parameters", () => {
  it("names SM3 for SM2 as swtpm does, though the TPM has it not", () => {
    const { parameters } = client.runBytes("ECC_Parameters", [], Uint8Array.of(0, Curve.SM2_P256));
    const head =
      "0020 0100 0020 0012 0010 0020 fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff 0020";
    expect(Buffer.from(parameters).toString("hex").startsWith(head.replaceAll(" ", ""))).toBe(true);
    expect(parameters.length).toBe(0xe3 - 10);
    expect(client.run("ECC_Parameters", {}, { curveID: Curve.SM2_P256 }).parameters.kdf).toEqual({
      scheme: Alg.KDF1_SP800_56A,
      hash: Alg.SM3_256,
    });
  });
  it.each(curves)("gives the constants of curve %i, in the form of swtpm", (curveID) => {
    const { parameters } = client.run("ECC_Parameters", {}, { curveID });
    const { p, a, b, gx, gy, n, size } = parametersOf(curveID);
    expect(["p", "a", "b", "gX", "gY", "n", "h"].map((name) => toInteger(parameters[name as "p"]))).toEqual([
      p,
      a,
      b,
      gx,
      gy,
      n,
      1n,
    ]);
    const zero = curveID === Curve.BN_P256;
    expect([parameters.p.length, parameters.a.length, parameters.gX.length, parameters.h.length]).toEqual([
      size,
      zero ? 1 : size,
      size,
      1,
    ]);
    expect(parameters.kdf.scheme).toBe(zero ? Alg.NULL : Alg.KDF1_SP800_56A);
    expect(parameters.sign).toEqual(noScheme);
  });
  it("refuses a curve that is not there", () => {
    expect(client.rc("ECC_Parameters", {}, { curveID: 0x11 })).toBe(ofParameter(Rc.CURVE, 1));
  });
});

describe("TPM2_ECC_Encrypt and ECC_Decrypt", () => {
  const kdf2 = { scheme: Alg.KDF2, hash: Alg.SHA256 };
  const key = eccKey(P256, Uint8Array.of(1, 2, 3));

  it("takes back what it made, whatever the length", () => {
    withKey(client, key, (keyHandle) => {
      for (const length of [0, 1, 32, 1024]) {
        const plainText = crypto.random(length);
        const { C1, C2, C3 } = client.run("ECC_Encrypt", { keyHandle }, { plainText, inScheme: kdf2 });
        expect(C2.length).toBe(length);
        expect(client.run("ECC_Decrypt", { keyHandle }, { C1, C2, C3, inScheme: kdf2 }).plainText).toEqual(
          plainText,
        );
      }
    });
  });

  it("masks by hashes of the shared point and a counter from one, and hashes the text between the coordinates", () => {
    const plainText = text("a text of more than thirty-two bytes, for two blocks");
    const { C1, C2, C3 } = withKey(client, key, (keyHandle) =>
      client.run("ECC_Encrypt", { keyHandle }, { plainText, inScheme: kdf2 }),
    );
    const shared = crypto.eccMultiply(P256, key.scalar, C1)!;
    const mask = [1, 2].flatMap((counter) => [
      ...crypto.hash(Alg.SHA256, shared.x, shared.y, Uint8Array.of(0, 0, 0, counter)),
    ]);
    expect(C2).toEqual(plainText.map((byte, i) => byte ^ mask[i]!));
    expect(C3).toEqual(crypto.hash(Alg.SHA256, shared.x, plainText, shared.y));
  });

  it("answers whatever was changed with the one code", () => {
    withKey(client, key, (keyHandle) => {
      const { C1, C2, C3 } = client.run(
        "ECC_Encrypt",
        { keyHandle },
        { plainText: text("text"), inScheme: kdf2 },
      );
      const flipped = (value: Uint8Array) => value.map((byte, i) => (i === 0 ? byte ^ 1 : byte));
      const rc = (change: object) =>
        client.rc("ECC_Decrypt", { keyHandle }, { C1, C2, C3, inScheme: kdf2, ...change });
      expect(rc({})).toBe(Rc.SUCCESS);
      expect(rc({ C2: flipped(C2) })).toBe(Rc.VALUE);
      expect(rc({ C3: flipped(C3) })).toBe(Rc.VALUE);
      expect(rc({ C3: empty })).toBe(Rc.VALUE);
      expect(rc({ C1: off(C1) })).toBe(Rc.VALUE);
      expect(rc({ C1: key.publicArea.unique })).toBe(Rc.VALUE);
    });
  });

  it("refuses keys and schemes with the codes of their places", () => {
    const codes = (loaded: Parameters<typeof withKey>[1], inScheme: { scheme: number; hash: number }) =>
      withKey(client, loaded, (keyHandle) => [
        client.rc("ECC_Encrypt", { keyHandle }, { plainText: empty, inScheme }),
        client.rc(
          "ECC_Decrypt",
          { keyHandle },
          { C1: key.publicArea.unique, C2: empty, C3: empty, inScheme },
        ),
      ]);
    const none = { scheme: Alg.NULL, hash: Alg.NULL };
    expect(codes(keyedHash(crypto.random(20)), kdf2)).toEqual([ofHandle(Rc.KEY, 1), ofHandle(Rc.KEY, 1)]);
    expect(codes(key, none)).toEqual([ofParameter(Rc.SCHEME, 2), ofParameter(Rc.SCHEME, 4)]);
    expect(codes(key, { scheme: Alg.MGF1, hash: Alg.SHA256 })).toEqual([Rc.SCHEME, Rc.SCHEME]);
    const signer = eccKey(P256, Uint8Array.of(1), noScheme, signing);
    expect(codes(signer, kdf2)).toEqual([Rc.SUCCESS, ofHandle(Rc.ATTRIBUTES, 1)]);
  });
});

describe("TPM2_Commit", () => {
  const key = eccKey(P256, Uint8Array.of(8, 8), scheme(Alg.ECDAA, Alg.SHA256, 0), signing);
  const point = eccKey(P256, Uint8Array.of(4, 2)).publicArea.unique;
  const { p, a, b, gx, gy } = parametersOf(P256);
  /** A value whose hash is the x of a point, with its y. */
  const { s2, y2, second } = (() => {
    for (let i = 0; ; i++) {
      const value = Uint8Array.of(i);
      const x = toInteger(crypto.hash(Alg.SHA256, value)) % p;
      const square = (((x * x + a) * x + b) % p) + p;
      const y = power(square % p, (p + 1n) / 4n, p);
      if ((y * y - square) % p !== 0n) continue;
      return { s2: value, y2: toBytes(y, 32), second: { x: toBytes(x, 32), y: toBytes(y, 32) } };
    }
  })();
  const commit = (P1: EccPoint, hashed: { s2: Uint8Array; y2: Uint8Array }) =>
    withKey(client, key, (signHandle) => client.run("Commit", { signHandle }, { P1, ...hashed }));
  const nothing = { s2: empty, y2: empty };

  it("with both points gives d and r times the hashed one, and r times the other", () => {
    expect(commit(point, { s2, y2 }).K).toEqual(crypto.eccMultiply(P256, key.scalar, second));
    // r stays in the TPM. With the hashed point in both places the two products by it are the same.
    const { L, E } = commit(second, { s2, y2 });
    expect(L).toEqual(E);
    expect(crypto.eccOnCurve(P256, L)).toBe(true);
    expect(L).not.toEqual(second);
  });

  it("gives only what the points that are there ask for", () => {
    expect(commit(emptyPoint, { s2, y2 })).toMatchObject({ E: emptyPoint });
    expect(commit(point, nothing)).toMatchObject({ K: emptyPoint, L: emptyPoint });
    const { K, L, E } = commit(emptyPoint, nothing);
    expect([K, L]).toEqual([emptyPoint, emptyPoint]);
    expect(crypto.eccOnCurve(P256, E)).toBe(true);
    expect(E).not.toEqual({ x: toBytes(gx, 32), y: toBytes(gy, 32) });
  });

  it("counts, and a commit that fails does not", () => {
    const first = commit(point, nothing).counter;
    const rc = withKey(client, key, (signHandle) =>
      client.rc("Commit", { signHandle }, { P1: off(point), ...nothing }),
    );
    expect(rc).toBe(ofParameter(Rc.ECC_POINT, 1));
    expect(commit(point, nothing).counter).toBe(first + 1);
    expect(client.run("EC_Ephemeral", {}, { curveID: P256 }).counter).toBe(first + 2);
  });

  it("refuses keys of other schemes, halves of a point, and points off the curve", () => {
    const rc = (
      loaded: Parameters<typeof withKey>[1],
      P1: EccPoint,
      hashed: { s2: Uint8Array; y2: Uint8Array },
    ) => withKey(client, loaded, (signHandle) => client.rc("Commit", { signHandle }, { P1, ...hashed }));
    expect(rc(keyedHash(crypto.random(20)), point, nothing)).toBe(ofHandle(Rc.KEY, 1));
    const ecdsa = eccKey(P256, Uint8Array.of(8), scheme(Alg.ECDSA), signing);
    expect(rc(ecdsa, point, nothing)).toBe(ofHandle(Rc.SCHEME, 1));
    expect(rc(key, point, { s2, y2: empty })).toBe(ofParameter(Rc.SIZE, 3));
    expect(rc(key, point, { s2: empty, y2 })).toBe(ofParameter(Rc.SIZE, 3));
    expect(rc(key, point, { s2, y2: point.y })).toBe(ofParameter(Rc.ECC_POINT, 2));
    expect(rc(key, { x: point.x, y: empty }, nothing)).toBe(ofParameter(Rc.ECC_POINT, 1));
  });
});
