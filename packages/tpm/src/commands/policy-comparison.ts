import {
  Cap,
  commands,
  Eo,
  Ht,
  handleType,
  ofParameter,
  Rc,
  Rh,
  TPMS_CAPABILITY_DATA,
  TPMS_TIME_INFO,
  TpmError,
  TpmWriter,
} from "@entresol/tpm-types";
import { capabilityData } from "../capabilities.ts";
import { timeInfo } from "../clock.ts";
import type { Handlers } from "../command.ts";
import { argumentHash, holds, requireWithin } from "../comparison.ts";
import { type Engine, u32 } from "../engine.ts";
import { extendPolicy } from "../policy-digest.ts";
import { policySessionAt } from "../sessions.ts";

/* Policy assertions that compare what the TPM tells of itself with an operand: time and capabilities (Part 3, 23.10 and 23.23). */

/** Number that a capability's element goes by, at its begin; for commands the index in the attributes. */
function idOf(capability: number, element: Uint8Array): number {
  const view = new DataView(element.buffer, element.byteOffset, element.byteLength);
  if (capability === Cap.ALGS || capability === Cap.ECC_CURVES) return view.getUint16(0);
  return capability === Cap.COMMANDS ? view.getUint32(0) & 0x2000_ffff : view.getUint32(0);
}

/** The one element of a capability that `property` names, marshalled; undefined when there is none. */
function propertyOf(engine: Engine, capability: number, property: number): Uint8Array | undefined {
  const bad = (rc: number, parameter: number): TpmError => new TpmError(ofParameter(rc, parameter));
  const type = handleType(property);
  // These are always told all at once, and have no element of their own.
  if (capability === Cap.PCRS) throw bad(Rc.VALUE, 4);
  if (capability === Cap.HANDLES && !handleTypesWithList.has(type)) throw bad(Rc.HANDLE, 5);
  if (capability === Cap.AUTH_POLICIES && type !== Ht.PERMANENT) throw bad(Rc.VALUE, 5);
  if (capability === Cap.ACT && (property < Rh.ACT_0 || property > Rh.ACT_F)) throw bad(Rc.VALUE, 5);
  const found = capabilityData(engine, capability, property, 1);
  if (found === undefined) throw bad(Rc.VALUE, 4);
  const writer = new TpmWriter();
  TPMS_CAPABILITY_DATA.write(writer, found.capabilityData);
  // Capability and count come first.
  const element = writer.finish().subarray(8);
  return element.length > 0 && idOf(capability, element) === property ? element : undefined;
}
const handleTypesWithList: ReadonlySet<number> = new Set([
  Ht.PCR,
  Ht.NV_INDEX,
  Ht.HMAC_SESSION,
  Ht.POLICY_SESSION,
  Ht.PERMANENT,
  Ht.TRANSIENT,
  Ht.PERSISTENT,
]);

export const comparingPolicyCommands = {
  PolicyCounterTimer(engine, { handles, parameters }) {
    const session = policySessionAt(engine, handles.policySession);
    const { operandB, offset, operation } = parameters;
    const writer = new TpmWriter();
    TPMS_TIME_INFO.write(writer, timeInfo(engine));
    const info = writer.finish();
    // Also in a trial: a policy about bytes that are not there is none.
    if (offset > info.length) throw new TpmError(ofParameter(Rc.VALUE, 2));
    if (offset + operandB.length > info.length) throw new TpmError(Rc.RANGE);
    const part = info.subarray(offset, offset + operandB.length);
    if (session.kind !== "trial" && !holds(operation, part, operandB)) throw new TpmError(Rc.POLICY);
    const argument = argumentHash(engine, session, parameters);
    extendPolicy(engine, session, commands.PolicyCounterTimer.code, argument);
    return {};
  },

  PolicyCapability(engine, { handles, parameters }) {
    const session = policySessionAt(engine, handles.policySession);
    const { operandB, offset, operation, capability, property } = parameters;
    if (session.kind !== "trial") {
      const element = propertyOf(engine, capability, property);
      if (element === undefined) {
        // What does not exist is not equal to anything, and nothing else can be said of it.
        if (operation !== Eo.NEQ) throw new TpmError(Rc.POLICY);
      } else {
        requireWithin(parameters, element.length);
        const part = element.subarray(offset, offset + operandB.length);
        if (!holds(operation, part, operandB)) throw new TpmError(Rc.POLICY);
      }
    }
    const argument = argumentHash(engine, session, parameters, u32(capability), u32(property));
    extendPolicy(engine, session, commands.PolicyCapability.code, argument);
    return {};
  },
} satisfies Handlers;
