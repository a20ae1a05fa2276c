import { Alg, Max, ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";

/* Random numbers, and the question whether the TPM knows parameters (Part 3, clauses 16 and 30.3). */

/** The one RSA key size that only an embedder's option allows. */
const WEAK_RSA_BITS = 1024;

export const randomCommands = {
  /** As many bytes as the largest digest has, when more are asked for. */
  GetRandom(engine, { parameters: { bytesRequested } }) {
    return { randomBytes: engine.crypto.random(Math.min(bytesRequested, Max.DIGEST)) };
  },

  StirRandom(engine, { parameters: { inData } }) {
    engine.crypto.stir(inData);
    return {};
  },

  /** Unmarshalling has answered already what the TPM does not know. */
  TestParms(engine, { parameters: { parameters } }) {
    if (parameters.type === Alg.RSA && parameters.parameters.keyBits === WEAK_RSA_BITS && !engine.weakRsa)
      throw new TpmError(ofParameter(Rc.VALUE, 1));
    return {};
  },
} satisfies Handlers;
