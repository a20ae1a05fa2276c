import { Cap, ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import { capabilityData } from "../capabilities.ts";
import type { Handlers } from "../command.ts";

/* TPM2_GetCapability (Part 3, 30.2). */

export const capabilityCommands = {
  GetCapability(engine, { parameters: { capability, property, propertyCount } }) {
    // A TPM in failure mode tells who it is and no more (Part 1, 12.4).
    if (engine.state.volatile.lastFailure !== undefined && capability !== Cap.TPM_PROPERTIES)
      throw new TpmError(Rc.FAILURE);
    const found = capabilityData(engine, capability, property, propertyCount);
    if (found === undefined) throw new TpmError(ofParameter(Rc.VALUE, 1));
    return found;
  },
} satisfies Handlers;
