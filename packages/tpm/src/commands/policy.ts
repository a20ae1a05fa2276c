import {
  absentCommands,
  commandOf,
  commands,
  ofParameter,
  Rc,
  TPML_PCR_SELECTION,
  TpmError,
  TpmWriter,
} from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { concat, type Engine, u16, u32 } from "../engine.ts";
import { pcrDigest } from "../pcr.ts";
import {
  clearPolicyDigest,
  extendPolicy,
  nameAlgorithm,
  requireBindable,
  requireDigestSize,
} from "../policy-digest.ts";
import { policySessionAt } from "../sessions.ts";
import type { SessionState } from "../state.ts";

/*
 * Policy assertions that are checked at once or remembered for the authorization (Part 3, clause 23). A trial session takes them all, for only
 * its digest is wanted.
 */

/** TPMA_LOCALITY: values up to this are a bit map of the localities 0 to 4, those above are one extended locality. */
const LOCALITY_BITS = 31;
const ALL_LOCALITIES = 0x1f;

const code = (name: keyof typeof commands): number => commands[name].code;
/** TPM2_AC_Send, which Policy_AC_SendSelect is for and nobody implements. */
const AC_SEND = absentCommands.find(({ name }) => name === "AC_Send")!.code;

const flag = (value: boolean): Uint8Array => Uint8Array.of(value ? 1 : 0);

/** What a later assertion must agree with, so that one session cannot be bound to two commands. */
function requireNoCommand(session: SessionState): void {
  if (session.commandCode !== 0) throw new TpmError(Rc.COMMAND_CODE);
}

/** The common part of the assertions that bind a session to a hash that its command must have. */
function bind(
  engine: Engine,
  session: SessionState,
  command: keyof typeof commands,
  kind: SessionState["boundHashKind"],
  hash: Uint8Array,
): Record<never, never> {
  extendPolicy(engine, session, code(command), hash);
  session.boundHash = hash;
  session.boundHashKind = kind;
  return {};
}

export const policyCommands = {
  PolicyOR(engine, { handles, parameters: { pHashList } }) {
    const session = policySessionAt(engine, handles.policySession);
    const among = pHashList.some((digest) => engine.crypto.equal(digest, session.policyDigest));
    if (session.kind !== "trial" && !among) throw new TpmError(ofParameter(Rc.VALUE, 1));
    clearPolicyDigest(session);
    extendPolicy(engine, session, code("PolicyOR"), ...pHashList);
    return {};
  },

  PolicyPCR(engine, { handles, parameters }) {
    const session = policySessionAt(engine, handles.policySession);
    const { pcrCounter } = engine.state.reset;
    const { digest, selections } = pcrDigest(engine, session.hash, parameters.pcrs);
    const wanted = parameters.pcrDigest;
    if (session.kind !== "trial") {
      if (session.pcrCounter !== undefined && session.pcrCounter !== pcrCounter)
        throw new TpmError(Rc.PCR_CHANGED);
      if (wanted.length > 0 && !engine.crypto.equal(wanted, digest))
        throw new TpmError(ofParameter(Rc.VALUE, 1));
      session.pcrCounter = pcrCounter;
    }
    const writer = new TpmWriter();
    TPML_PCR_SELECTION.write(writer, selections);
    // In a trial the caller's digest stands for PCR values that are yet to come.
    extendPolicy(engine, session, code("PolicyPCR"), writer.finish(), wanted.length > 0 ? wanted : digest);
    return {};
  },

  PolicyLocality(engine, { handles, parameters: { locality } }) {
    const session = policySessionAt(engine, handles.policySession);
    const before = session.locality;
    const extended = locality > LOCALITY_BITS;
    let allowed = locality;
    if (before !== 0 && before > LOCALITY_BITS !== extended) allowed = 0;
    else if (!extended) allowed &= before === 0 ? ALL_LOCALITIES : before;
    else if (before !== 0 && before !== locality) allowed = 0;
    // No locality would be left that the session could be used from.
    if (allowed === 0) throw new TpmError(ofParameter(Rc.RANGE, 1));
    extendPolicy(engine, session, code("PolicyLocality"), Uint8Array.of(locality));
    session.locality = allowed;
    return {};
  },

  PolicyCommandCode(engine, { handles, parameters }) {
    const session = policySessionAt(engine, handles.policySession);
    if (session.commandCode !== 0 && session.commandCode !== parameters.code)
      throw new TpmError(ofParameter(Rc.VALUE, 1));
    if (commandOf(parameters.code) === undefined) throw new TpmError(ofParameter(Rc.POLICY_CC, 1));
    extendPolicy(engine, session, code("PolicyCommandCode"), u32(parameters.code));
    session.commandCode = parameters.code;
    return {};
  },

  PolicyPhysicalPresence(engine, { handles }) {
    const session = policySessionAt(engine, handles.policySession);
    extendPolicy(engine, session, code("PolicyPhysicalPresence"));
    session.presenceRequired = true;
    return {};
  },

  PolicyCpHash(engine, { handles, parameters: { cpHashA } }) {
    const session = policySessionAt(engine, handles.policySession);
    requireDigestSize(session, cpHashA);
    requireBindable(engine, session, "cpHash", cpHashA, true);
    return bind(engine, session, "PolicyCpHash", "cpHash", cpHashA);
  },

  PolicyNameHash(engine, { handles, parameters: { nameHash } }) {
    const session = policySessionAt(engine, handles.policySession);
    requireDigestSize(session, nameHash);
    requireBindable(engine, session, "nameHash", nameHash, false);
    return bind(engine, session, "PolicyNameHash", "nameHash", nameHash);
  },

  PolicyTemplate(engine, { handles, parameters: { templateHash } }) {
    const session = policySessionAt(engine, handles.policySession);
    requireBindable(engine, session, "templateHash", templateHash, true);
    requireDigestSize(session, templateHash);
    return bind(engine, session, "PolicyTemplate", "templateHash", templateHash);
  },

  PolicyParameters(engine, { handles, parameters: { pHash } }) {
    const session = policySessionAt(engine, handles.policySession);
    requireDigestSize(session, pHash);
    requireBindable(engine, session, "parameterHash", pHash, false);
    return bind(engine, session, "PolicyParameters", "parameterHash", pHash);
  },

  PolicyDuplicationSelect(engine, { handles, parameters }) {
    const { objectName, newParentName, includeObject } = parameters;
    const session = policySessionAt(engine, handles.policySession);
    const nameHash = engine.crypto.hash(session.hash, objectName, newParentName);
    requireBindable(engine, session, "nameHash", nameHash, false);
    requireNoCommand(session);
    extendPolicy(
      engine,
      session,
      code("PolicyDuplicationSelect"),
      ...(includeObject ? [objectName] : []),
      newParentName,
      flag(includeObject),
    );
    session.boundHash = nameHash;
    session.boundHashKind = "nameHash";
    session.commandCode = code("Duplicate");
    return {};
  },

  Policy_AC_SendSelect(engine, { handles, parameters }) {
    const { objectName, authHandleName, acName, includeObject } = parameters;
    const session = policySessionAt(engine, handles.policySession);
    const nameHash = engine.crypto.hash(session.hash, objectName, authHandleName, acName);
    requireBindable(engine, session, "nameHash", nameHash, false);
    requireNoCommand(session);
    extendPolicy(
      engine,
      session,
      code("Policy_AC_SendSelect"),
      ...(includeObject ? [objectName] : []),
      authHandleName,
      acName,
      flag(includeObject),
    );
    session.boundHash = nameHash;
    session.boundHashKind = "nameHash";
    session.commandCode = AC_SEND;
    return {};
  },

  PolicyAuthValue(engine, { handles }) {
    const session = policySessionAt(engine, handles.policySession);
    extendPolicy(engine, session, code("PolicyAuthValue"));
    session.authValueNeeded = true;
    session.passwordNeeded = false;
    return {};
  },

  PolicyPassword(engine, { handles }) {
    const session = policySessionAt(engine, handles.policySession);
    // The digest of PolicyAuthValue, so that a policy for one serves the other (Part 3, 23.18).
    extendPolicy(engine, session, code("PolicyAuthValue"));
    session.authValueNeeded = false;
    session.passwordNeeded = true;
    return {};
  },

  PolicyNvWritten(engine, { handles, parameters: { writtenSet } }) {
    const session = policySessionAt(engine, handles.policySession);
    if (session.nvWritten !== undefined && session.nvWritten !== writtenSet)
      throw new TpmError(ofParameter(Rc.VALUE, 1));
    extendPolicy(engine, session, code("PolicyNvWritten"), flag(writtenSet));
    session.nvWritten = writtenSet;
    return {};
  },

  PolicyTransportSPDM(engine, { handles, parameters: { reqKeyName, tpmKeyName } }) {
    const session = policySessionAt(engine, handles.policySession);
    if (session.channelRequired) throw new TpmError(Rc.VALUE);
    if (reqKeyName.length > 0) nameAlgorithm(reqKeyName, 1);
    if (tpmKeyName.length > 0) nameAlgorithm(tpmKeyName, 2);
    const keys = concat(u16(reqKeyName.length), reqKeyName, u16(tpmKeyName.length), tpmKeyName);
    const either = reqKeyName.length > 0 || tpmKeyName.length > 0;
    extendPolicy(
      engine,
      session,
      code("PolicyTransportSPDM"),
      ...(either ? [engine.crypto.hash(session.hash, keys)] : []),
    );
    // Which keys does not matter: no command comes through a channel at all.
    session.channelRequired = true;
    return {};
  },

  PolicyGetDigest(engine, { handles }) {
    return { policyDigest: policySessionAt(engine, handles.policySession).policyDigest };
  },
} satisfies Handlers;
