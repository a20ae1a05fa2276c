import { Alg, Rc, TpmError } from "@entresol/tpm-types";
import { kdfa } from "./crypto/kdf.ts";
import type { Engine } from "./engine.ts";

/*
 * Ephemeral scalars in two steps (Part 1, C.2): the first command gives a counter, the second names it, and each counter is good once. The
 * scalar itself is not kept; it follows from a secret nonce, the counter and the key's Name.
 */

/** Bits of the array of outstanding commits. */
const slots = (engine: Engine): number => 8 * engine.state.reset.commitArray.length;

function scalarOf(engine: Engine, curve: number, counter: number, name: Uint8Array): Uint8Array {
  const { crypto, state } = engine;
  const counterBytes = new Uint8Array(4);
  new DataView(counterBytes.buffer).setUint32(0, counter);
  let at = 0;
  // The curve's own rule makes a scalar of these bytes; the generator is the KDF in as many rounds as it asks for.
  return crypto.eccScalar(curve, (length) => {
    const round = new Uint8Array([...counterBytes, at++]);
    return kdfa(crypto, Alg.SHA512, state.reset.commitNonce, "ECDAA Commit", name, round, 8 * length);
  });
}

/** A new commit for the key of this Name (empty: for none). `counter` is what the second step names, 16 bits of it are told. */
export function newCommit(
  engine: Engine,
  curve: number,
  name: Uint8Array,
): { readonly counter: number; readonly scalar: Uint8Array } {
  const { reset } = engine.state;
  const counter = reset.commitCounter;
  const slot = counter % slots(engine);
  reset.commitArray[slot >>> 3]! |= 1 << (slot & 7);
  reset.commitCounter = (counter + 1) >>> 0;
  return { counter: counter & 0xffff, scalar: scalarOf(engine, curve, counter, name) };
}

/**
 * The scalar of a commit that is outstanding, which it is no more when `finish` is called: a second step that fails may be tried again. Throws
 * TPM_RC_VALUE for a counter that was used, is too old or was never given.
 */
export function openCommit(
  engine: Engine,
  curve: number,
  count: number,
  name: Uint8Array,
): { readonly scalar: Uint8Array; readonly finish: () => void } {
  const { reset } = engine.state;
  // The last counter whose low 16 bits are these.
  const age = (((reset.commitCounter - 1) & 0xffff) - count) & 0xffff;
  const counter = reset.commitCounter - 1 - age;
  if (counter < 0 || age >= slots(engine)) throw new TpmError(Rc.VALUE);
  const slot = counter % slots(engine);
  const bit = 1 << (slot & 7);
  if ((reset.commitArray[slot >>> 3]! & bit) === 0) throw new TpmError(Rc.VALUE);
  return {
    scalar: scalarOf(engine, curve, counter, name),
    finish: () => {
      reset.commitArray[slot >>> 3]! &= ~bit;
    },
  };
}
