import { responseCodeName } from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { seededDraw } from "./crypto/drbg.ts";
import { nodeProvider } from "./crypto/node-provider.ts";
import { TpmClient } from "./testing/client.ts";
import { negativeVectors } from "./testing/negative-vectors.ts";
import type { Tpm } from "./tpm.ts";

const draw = seededDraw(nodeProvider, new Uint8Array(32), "negative vectors");
const rsa = nodeProvider.rsaDerive(2048, 0, 1, draw);

describe("what is nearly a signature, a ciphertext, a point or a key", () => {
  it.each(Object.entries(negativeVectors))(
    "of %s is answered by its code, and never by failure mode",
    (_, vectors) => {
      const client = TpmClient.started();
      const wrong: string[] = [];
      let count = 0;
      for (const { title, expected, found } of vectors({ client, random: draw, rsa })) {
        count++;
        if (found !== expected)
          wrong.push(`${title}: ${responseCodeName(found)} in place of ${responseCodeName(expected)}`);
      }
      expect(wrong).toEqual([]);
      expect(count).toBeGreaterThan(15);
      expect((client.tpm as Tpm).failed).toBe(false);
    },
  );
});
