import { createHash } from "node:crypto";
import { Alg } from "@entresol/tpm-types";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { blockSizeOf, resumeHash, runningHash } from "./running-hash.ts";

const hashes = [
  ["sha1", Alg.SHA1],
  ["sha256", Alg.SHA256],
  ["sha384", Alg.SHA384],
  ["sha512", Alg.SHA512],
  ["sha3-256", Alg.SHA3_256],
  ["sha3-384", Alg.SHA3_384],
  ["sha3-512", Alg.SHA3_512],
] as const;

function expected(name: string, data: Uint8Array): string {
  return createHash(name).update(data).digest("hex");
}
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe.each(hashes)("running %s", (name, alg) => {
  it("gives OpenSSL's digest for every length around the blocks", () => {
    const data = Uint8Array.from({ length: 3 * blockSizeOf(alg) + 2 }, (_, i) => (7 * i + 3) & 0xff);
    for (let length = 0; length <= data.length; length++) {
      const hash = runningHash(alg);
      hash.update(data.subarray(0, length));
      expect(hex(hash.digest())).toBe(expected(name, data.subarray(0, length)));
    }
  });

  it("does not care how the data is cut, nor whether it is saved in between", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), (parts) => {
        let hash = runningHash(alg);
        for (const part of parts) {
          hash.update(part);
          hash = resumeHash(alg, hash.save())!;
        }
        expect(hex(hash.digest())).toBe(expected(name, Buffer.concat(parts)));
      }),
      { numRuns: 50 },
    );
  });

  it("is not saved as a reference to what goes on", () => {
    const hash = runningHash(alg);
    hash.update(Uint8Array.of(1, 2, 3));
    const state = hash.save();
    hash.update(Uint8Array.of(4));
    const other = resumeHash(alg, state)!;
    other.update(Uint8Array.of(5));
    expect(hex(hash.digest())).toBe(expected(name, Uint8Array.of(1, 2, 3, 4)));
    expect(hex(other.digest())).toBe(expected(name, Uint8Array.of(1, 2, 3, 5)));
  });

  it("refuses a state whose length does not fit", () => {
    const hash = runningHash(alg);
    hash.update(new Uint8Array(blockSizeOf(alg) + 5));
    const state = hash.save();
    expect(resumeHash(alg, state.subarray(0, state.length - 1))).toBeUndefined();
    expect(resumeHash(alg, Uint8Array.of(...state, 0))).toBeUndefined();
    expect(resumeHash(alg, new Uint8Array(0))).toBeUndefined();
    const long = Uint8Array.from(state);
    long[long.length - 5 - 8] = 0xff;
    expect(resumeHash(alg, long)).toBeUndefined();
  });
});
