import { createHash, sign, webcrypto } from "node:crypto";
import { describe, expect, test } from "vitest";
import { EvidenceError } from "../errors.ts";
import { keyPair } from "../testing/pki.ts";
import { fingerprint, hexOf } from "./fingerprint.ts";
import { nativeProvider } from "./native.ts";
import type { CryptoProvider } from "./provider.ts";
import { type Subtle, webProvider } from "./web.ts";

const providers = [nativeProvider(), webProvider(webcrypto.subtle as unknown as Subtle)]
  .filter((one) => one !== undefined)
  .map((one): [string, CryptoProvider] => [one.name, one]);
const data = new TextEncoder().encode("what is signed");

async function codeOf(made: () => unknown): Promise<string> {
  try {
    await made();
  } catch (error) {
    if (error instanceof EvidenceError) return error.code;
    throw error;
  }
  return "made";
}

describe.each(providers)("%s", (_name, crypto) => {
  test.each(["P-256", "P-384"] as const)("verifies ECDSA over %s, by key and by point", async (kind) => {
    const { spki, privateKey } = keyPair(kind, "provider");
    const hash = kind === "P-256" ? "sha256" : "sha384";
    const signature = new Uint8Array(sign(hash, data, { key: privateKey, dsaEncoding: "ieee-p1363" }));
    const size = kind === "P-256" ? 64 : 96;
    for (const key of [await crypto.importSpki(spki), await crypto.importPoint(kind, spki.slice(-size))]) {
      expect(key).toMatchObject({ type: "ec", curve: kind });
      const verify = async (value: Uint8Array, over = data) =>
        crypto.verify(key, { name: "ecdsa", hash }, value, over);
      expect(await verify(signature)).toBe(true);
      expect(await verify(signature, data.subarray(1))).toBe(false);
      expect(await verify(signature.subarray(1))).toBe(false);
      expect(await verify(new Uint8Array(size))).toBe(false);
      expect(await verify(new Uint8Array(size).fill(0xff))).toBe(false);
      expect(await crypto.verify(key, { name: "rsa-pkcs1", hash: "sha256" }, signature, data)).toBe(false);
    }
  });

  test("tells the bits of an RSA key, and does not take an ECDSA signature by it", async () => {
    const key = await crypto.importSpki(keyPair("rsa-2048", "provider").spki);
    expect(key).toMatchObject({ type: "rsa", curve: undefined, bits: 2048 });
    expect(await crypto.verify(key, { name: "ecdsa", hash: "sha256" }, new Uint8Array(64), data)).toBe(false);
  });

  test("refuses a point that is not on its curve, at infinity, or of another size", async () => {
    const { spki } = keyPair("P-256", "provider");
    const off = spki.slice(-64);
    off[63] = (off[63] as number) ^ 1;
    for (const [point, code] of [
      [off, "unsupported-key"],
      [new Uint8Array(64), "unsupported-key"],
      [new Uint8Array(64).fill(0xff), "unsupported-key"],
      [spki.slice(-63), "unsupported-key"],
      [spki.slice(-64), "made"],
    ] as const)
      expect(await codeOf(() => crypto.importPoint("P-256", point))).toBe(code);
    const whole = spki.slice();
    whole.set(off, spki.length - 64);
    expect(await codeOf(() => crypto.importSpki(whole))).toBe("unsupported-key");
    expect(await codeOf(() => crypto.importSpki(Uint8Array.of(...spki, 0)))).toBe("unsupported-key");
    expect(await codeOf(() => crypto.importSpki(new Uint8Array(0)))).toBe("unsupported-key");
  });

  test("hashes parts as a whole, and makes the same fingerprint", async () => {
    const wanted = createHash("sha256").update(data).digest();
    const parts = await crypto.digest("sha256", data.subarray(0, 3), data.subarray(3));
    expect(hexOf(parts)).toBe(wanted.toString("hex"));
    expect(await fingerprint(crypto, data)).toBe(wanted.toString("hex"));
  });
});
