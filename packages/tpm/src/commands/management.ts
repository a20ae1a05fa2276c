import { Alg, commandOf, ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";

/* What the TPM is told about itself: dictionary attacks, physical presence, audit and modes (Part 3, clauses 21, 25 and 26; 1.83). */

/** The codes with those of `set` added and those of `clear` taken away, where `may` says so. In ascending order. */
function changed(
  codes: readonly number[],
  set: readonly number[],
  clear: readonly number[],
  may: (code: number, to: boolean) => boolean,
): number[] {
  const result = new Set(codes);
  for (const code of set) if (may(code, true)) result.add(code);
  for (const code of clear) if (may(code, false)) result.delete(code);
  return [...result].sort((a, b) => a - b);
}

/** May the command be made to need physical presence, or (`to` false) not to need it any more? */
function presenceMayChange(code: number, to: boolean): boolean {
  const presence = commandOf(code)?.physicalPresence;
  return presence !== undefined && (to || !presence);
}

/** May the command be audited, or not any more? Shutdown could not be: it would change what it has saved. */
function auditMayChange(code: number, to: boolean): boolean {
  const name = commandOf(code)?.name;
  return name !== undefined && (to ? name !== "Shutdown" : name !== "SetCommandCodeAuditStatus");
}

export const managementCommands = {
  DictionaryAttackLockReset(engine) {
    engine.state.permanent.failedTries = 0;
    engine.nvDirty = true;
    return {};
  },

  DictionaryAttackParameters(engine, { parameters: { newMaxTries, newRecoveryTime, lockoutRecovery } }) {
    const { permanent } = engine.state;
    permanent.maxTries = newMaxTries;
    permanent.recoveryTime = newRecoveryTime;
    permanent.lockoutRecovery = lockoutRecovery;
    engine.nvDirty = true;
    return {};
  },

  /** Codes that no command has, or that cannot be changed, are passed over. */
  PP_Commands(engine, { parameters: { setList, clearList } }) {
    const { permanent } = engine.state;
    permanent.ppCommands = changed(permanent.ppCommands, setList, clearList, presenceMayChange);
    engine.nvDirty = true;
    return {};
  },

  /** Either the hash or the list: a new hash begins a new digest. */
  SetCommandCodeAuditStatus(engine, { parameters: { auditAlg, setList, clearList } }) {
    const { permanent, reset } = engine.state;
    if (auditAlg !== Alg.NULL && auditAlg !== permanent.auditHash) {
      if (setList.length > 0 || clearList.length > 0) throw new TpmError(ofParameter(Rc.VALUE, 1));
      permanent.auditHash = auditAlg;
      reset.commandAuditDigest = new Uint8Array(0);
    } else {
      permanent.auditCommands = changed(permanent.auditCommands, setList, clearList, auditMayChange);
    }
    engine.nvDirty = true;
    return {};
  },

  /** The set is only remembered: all algorithms can always be used. */
  SetAlgorithmSet(engine, { parameters: { algorithmSet } }) {
    engine.state.permanent.algorithmSet = algorithmSet;
    engine.nvDirty = true;
    return {};
  },

  ReadOnlyControl(engine, { parameters: { state } }) {
    engine.state.clear.readOnly = state;
    return {};
  },

  /** There is no capability that can be set. */
  SetCapability() {
    throw new TpmError(ofParameter(Rc.VALUE, 1));
  },
} satisfies Handlers;
