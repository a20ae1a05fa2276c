import { commands, Max, Rc, TPMT_HA, TpmError, TpmReader } from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { argumentHash, holds, requireWithin } from "../comparison.ts";
import { entityName } from "../entities.ts";
import { nvOf, readNv, requireReadable } from "../nv.ts";
import { clearPolicyDigest, extendPolicy } from "../policy-digest.ts";
import { policySessionAt } from "../sessions.ts";

/* Policy assertions on the content of an NV index (Part 3, 23.9 and 23.22). */

export const nvPolicyCommands = {
  PolicyNV(engine, { handles: { authHandle, nvIndex, policySession }, parameters }) {
    const session = policySessionAt(engine, policySession);
    const { operandB, offset, operation } = parameters;
    if (session.kind !== "trial") {
      const index = nvOf(engine, nvIndex);
      // May it be read at all? Only then is anything said of its size.
      requireReadable(authHandle, index);
      requireWithin(parameters, index.dataSize);
      const data = readNv(engine, authHandle, nvIndex, offset, operandB.length);
      if (!holds(operation, data, operandB)) throw new TpmError(Rc.POLICY);
    }
    const argument = argumentHash(engine, session, parameters);
    extendPolicy(engine, session, commands.PolicyNV.code, argument, entityName(engine, nvIndex));
    return {};
  },

  PolicyAuthorizeNV(engine, { handles: { authHandle, nvIndex, policySession } }) {
    const session = policySessionAt(engine, policySession);
    if (session.kind !== "trial") {
      const size = Math.min(nvOf(engine, nvIndex).dataSize, 2 + Max.DIGEST);
      // What is wrong with the content is said without a number: no parameter has brought it.
      const approved = TPMT_HA.read(new TpmReader(readNv(engine, authHandle, nvIndex, 0, size)));
      if (approved.hashAlg !== session.hash) throw new TpmError(Rc.HASH);
      if (!engine.crypto.equal(approved.digest, session.policyDigest)) throw new TpmError(Rc.VALUE);
    }
    clearPolicyDigest(session);
    extendPolicy(engine, session, commands.PolicyAuthorizeNV.code, entityName(engine, nvIndex));
    return {};
  },
} satisfies Handlers;
