import { digestSizes, ofParameter, Rc, Rh, TpmError } from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { type Engine, PRIMARY_SEED_SIZE, PROOF_SIZE, withoutTrailingZeros } from "../engine.ts";
import { initialLockout } from "../lockout.ts";
import { flushPermanent } from "../nv.ts";
import { flushHierarchy } from "../objects.ts";
import { countPcrUpdate } from "../pcr.ts";
import { noPolicy } from "../state.ts";

/* Hierarchies: who controls them, and how they begin anew (Part 3, clause 24). */

/** What HierarchyControl switches, and where that is kept. */
const switches = {
  [Rh.OWNER]: "ownerEnable",
  [Rh.ENDORSEMENT]: "endorsementEnable",
  [Rh.PLATFORM]: "platformEnable",
  [Rh.PLATFORM_NV]: "platformNvEnable",
} as const;

function isSwitch(handle: number): handle is keyof typeof switches {
  return handle in switches;
}

/** Objects that belong to a hierarchy which has a new seed, or is gone, go too. */
function flushAll(engine: Engine, hierarchy: number): void {
  flushHierarchy(engine, hierarchy);
  flushPermanent(engine, hierarchy);
}

function empty(): Uint8Array {
  return new Uint8Array(0);
}

export const hierarchyCommands = {
  HierarchyControl(engine, { handles: { authHandle }, parameters: { enable, state } }) {
    const { clear } = engine.state;
    if (!isSwitch(enable)) throw new TpmError(ofParameter(Rc.VALUE, 1));
    const enabled = switches[enable];
    if (authHandle !== Rh.PLATFORM) {
      // A hierarchy can turn itself off, and only the platform turns it on again.
      if (authHandle !== enable || (state && !clear[enabled])) throw new TpmError(Rc.AUTH_TYPE);
    }
    if (clear[enabled] === state) return {};
    clear[enabled] = state;
    if (!state && enable !== Rh.PLATFORM_NV) flushHierarchy(engine, enable);
    return {};
  },

  HierarchyChangeAuth(engine, { handles: { authHandle }, parameters: { newAuth } }) {
    const { permanent, clear } = engine.state;
    const value = withoutTrailingZeros(newAuth);
    switch (authHandle) {
      case Rh.OWNER:
        permanent.ownerAuth = value;
        break;
      case Rh.ENDORSEMENT:
        permanent.endorsementAuth = value;
        break;
      case Rh.LOCKOUT:
        permanent.lockoutAuth = value;
        break;
      default:
        // Of the platform, whose value goes with power.
        clear.platformAuth = value;
        return {};
    }
    engine.nvDirty = true;
    return {};
  },

  SetPrimaryPolicy(engine, { handles: { authHandle }, parameters: { authPolicy, hashAlg } }) {
    // Without an algorithm there is no digest.
    if (authPolicy.length !== (digestSizes.get(hashAlg) ?? 0)) throw new TpmError(ofParameter(Rc.SIZE, 1));
    const { permanent, clear } = engine.state;
    const policy = { alg: hashAlg, digest: authPolicy };
    switch (authHandle) {
      case Rh.OWNER:
        permanent.ownerPolicy = policy;
        break;
      case Rh.ENDORSEMENT:
        permanent.endorsementPolicy = policy;
        break;
      case Rh.LOCKOUT:
        permanent.lockoutPolicy = policy;
        break;
      case Rh.PLATFORM:
        clear.platformPolicy = policy;
        return {};
      default: {
        const act = clear.acts.find(({ number }) => number === authHandle - Rh.ACT_0);
        if (act !== undefined) act.policy = policy;
        return {};
      }
    }
    engine.nvDirty = true;
    return {};
  },

  /** The owner changes: all that was the last one's goes, and what was made by his seeds and proofs is void. */
  Clear(engine) {
    const { crypto } = engine;
    const { permanent, clear, reset } = engine.state;
    if (permanent.disableClear) throw new TpmError(Rc.DISABLED);
    permanent.ownerSeed = crypto.random(PRIMARY_SEED_SIZE);
    permanent.ownerProof = crypto.random(PROOF_SIZE);
    permanent.endorsementProof = crypto.random(PROOF_SIZE);
    permanent.seedEpoch++;
    clear.ownerEnable = true;
    clear.endorsementEnable = true;
    permanent.ownerAuth = empty();
    permanent.endorsementAuth = empty();
    permanent.lockoutAuth = empty();
    permanent.ownerPolicy = noPolicy();
    permanent.endorsementPolicy = noPolicy();
    permanent.lockoutPolicy = noPolicy();
    flushAll(engine, Rh.OWNER);
    flushAll(engine, Rh.ENDORSEMENT);
    Object.assign(permanent, initialLockout);
    permanent.clock = 0n;
    permanent.clockSafe = true;
    permanent.resetCount = 0;
    reset.restartCount = 0;
    reset.clearCount = 0;
    permanent.auditCounter = 0n;
    clear.pcrAuth = empty();
    countPcrUpdate(engine);
    engine.nvDirty = true;
    return {};
  },

  ClearControl(engine, { handles: { auth }, parameters: { disable } }) {
    // The lockout authorization may only take the right away.
    if (auth === Rh.LOCKOUT && !disable) throw new TpmError(Rc.AUTH_FAIL);
    engine.state.permanent.disableClear = disable;
    engine.nvDirty = true;
    return {};
  },

  ChangePPS(engine) {
    const { permanent, clear } = engine.state;
    permanent.platformSeed = engine.crypto.random(PRIMARY_SEED_SIZE);
    permanent.platformProof = engine.crypto.random(PROOF_SIZE);
    permanent.seedEpoch++;
    clear.platformPolicy = noPolicy();
    flushAll(engine, Rh.PLATFORM);
    permanent.pcrPolicy = noPolicy();
    engine.nvDirty = true;
    return {};
  },

  ChangeEPS(engine) {
    const { permanent, clear } = engine.state;
    permanent.endorsementSeed = engine.crypto.random(PRIMARY_SEED_SIZE);
    permanent.endorsementProof = engine.crypto.random(PROOF_SIZE);
    permanent.seedEpoch++;
    clear.endorsementEnable = true;
    permanent.endorsementAuth = empty();
    permanent.endorsementPolicy = noPolicy();
    flushAll(engine, Rh.ENDORSEMENT);
    engine.nvDirty = true;
    return {};
  },
} satisfies Handlers;
