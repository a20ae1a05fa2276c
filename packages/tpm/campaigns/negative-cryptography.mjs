// Signatures, ciphertexts, points and keys that are nearly right, of every scheme, in raw commands: each with the response code that it must have, by node:crypto
// where that knows the scheme. Keys and messages follow from the seed. One case is one command; a round with other keys has some thousands.
import { responseCodeName } from "@entresol/tpm-types";
import { seededDraw } from "../dist/crypto/drbg.js";
import { nodeProvider } from "../dist/crypto/node-provider.js";
import { TpmClient } from "../dist/testing/client.js";
import { negativeVectors } from "../dist/testing/negative-vectors.js";

export const description =
  "signatures, ciphertexts, points and keys that are nearly right, by their response codes";
export const defaultCount = 50_000;

/** CPU time that no command may take, ms. */
const LONGEST = 1000;

export async function* run({ seed, count, position }) {
  let done = 0;
  for (let round = 0; done < count; round++) {
    const random = seededDraw(
      nodeProvider,
      new TextEncoder().encode(`${seed} ${round}`),
      "negative cryptography",
    );
    const rsa = nodeProvider.rsaDerive(2048, round % 2 === 0 ? 0 : 7 + 2 * (round % 50), 1, random);
    for (const [scheme, vectors] of Object.entries(negativeVectors)) {
      const client = TpmClient.started();
      const messages = [];
      let began = process.cpuUsage();
      let cases = 0;
      for (const { title, expected, found } of vectors({ client, random, rsa, thorough: true })) {
        cases++;
        const where = `round ${round}, ${title}`;
        const { user, system } = process.cpuUsage(began);
        began = process.cpuUsage();
        if (found !== expected)
          messages.push(`${where}: ${responseCodeName(found)} in place of ${responseCodeName(expected)}`);
        if ((user + system) / 1000 > LONGEST) messages.push(`${where}: ${(user + system) / 1000} ms`);
        if (client.tpm.failed) {
          messages.push(`${where}: failure mode`);
          break;
        }
      }
      if (cases === 0) messages.push(`round ${round}: no cases of ${scheme}`);
      done = Math.min(count, done + cases);
      // A round is drawn anew from its number: what was done before is only not told again.
      if (done > position)
        yield { position: done, mismatches: messages.length, messages: messages.slice(0, 5) };
      if (done >= count) break;
    }
  }
}
