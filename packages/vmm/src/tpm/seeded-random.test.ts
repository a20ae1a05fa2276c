import { nodeProvider } from "@entresol/tpm";
import { Alg, Curve } from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { RANDOM_STATE_SIZE, SeededRandom, seededProvider } from "./seeded-random.ts";

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const hexOf = (value: Uint8Array) => Buffer.from(value).toString("hex");

describe("SeededRandom", () => {
  it("gives the same for the same seed, and something else each time and for each seed", () => {
    const series = (seed: string) => {
      const random = new SeededRandom(bytes(seed));
      return [16, 16, 100, 0, 1].map((length) => hexOf(random.bytes(length)));
    };
    expect(series("a")).toEqual(series("a"));
    expect(series("a").map((text) => text.length / 2)).toEqual([16, 16, 100, 0, 1]);
    expect(new Set([...series("a").slice(0, 2), ...series("b").slice(0, 2)]).size).toBe(4);
  });

  it("goes on from its state, which it does not share", () => {
    const random = new SeededRandom(bytes("a"));
    const { state } = random;
    const first = random.bytes(32);
    state.fill(0);
    const other = new SeededRandom(bytes("b"));
    other.state = new SeededRandom(bytes("a")).state;
    expect(other.bytes(32)).toEqual(first);
    expect(() => {
      other.state = new Uint8Array(RANDOM_STATE_SIZE - 1);
    }).toThrow(RangeError);
  });

  it("goes another way after other bytes were stirred in", () => {
    const after = (...parts: string[]) => {
      const random = new SeededRandom(bytes("a"));
      for (const part of parts) random.stir(bytes(part));
      return hexOf(random.bytes(16));
    };
    expect(new Set([after(), after(""), after("x"), after("x", "y"), after("y", "x")]).size).toBe(5);
    expect(after("x")).toBe(after("x"));
  });
});

describe("seededProvider", () => {
  const p256 = Curve.NIST_P256;
  const provider = () => seededProvider(new SeededRandom(bytes("a")));
  const scalar = new Uint8Array(32).fill(7);
  const digest = nodeProvider.hash(Alg.SHA256, bytes("message"));

  it("makes the same keys and signatures from the same seed, which others accept", () => {
    const [one, two] = [provider(), provider()];
    expect(one.eccScalar(p256)).toEqual(two.eccScalar(p256));
    const signature = one.ecdsaSign(p256, scalar, digest);
    expect(two.ecdsaSign(p256, scalar, digest)).toEqual(signature);
    const point = nodeProvider.eccPublic(p256, scalar)!;
    expect(nodeProvider.ecdsaVerify(p256, point, digest, signature.r, signature.s)).toBe(true);
  });

  it("uses no secret number for two digests, even where the same state is gone on from twice", () => {
    const other = nodeProvider.hash(Alg.SHA256, bytes("another message"));
    expect(provider().ecdsaSign(p256, scalar, digest).r).not.toEqual(
      provider().ecdsaSign(p256, scalar, other).r,
    );
  });

  it("takes what a caller draws from as it is", () => {
    const draw = (length: number) => new Uint8Array(length).fill(9);
    expect(provider().eccScalar(p256, draw)).toEqual(nodeProvider.eccScalar(p256, draw));
    expect(provider().ecdsaSign(p256, scalar, digest, draw)).toEqual(
      nodeProvider.ecdsaSign(p256, scalar, digest, draw),
    );
  });
});
