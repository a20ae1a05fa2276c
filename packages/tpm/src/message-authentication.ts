import { Alg, digestSizes, ObjectAttribute, ofHandle, ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import type { Engine } from "./engine.ts";
import { hasAttributes, objectOf } from "./objects.ts";

/** How a key authenticates messages: by HMAC with a hash, or by CMAC with a block cipher. */
export interface Mac {
  readonly kind: "hmac" | "cmac";
  /** The hash or the cipher. */
  readonly alg: number;
  readonly key: Uint8Array;
}

const { restricted, sign } = ObjectAttribute;

/**
 * The MAC of the key in the first handle, by what the key says and the caller wants in the second parameter (`Alg.NULL`: as the key
 * says). Throws TPM_RC_TYPE, TPM_RC_VALUE, TPM_RC_SCHEME, TPM_RC_ATTRIBUTES and TPM_RC_KEY, in this order.
 */
export function selectMac(engine: Engine, handle: number, wanted: number): Mac {
  const { publicArea, sensitive } = objectOf(engine, handle, ofHandle(Rc.TYPE, 1));
  let own: number;
  if (publicArea.type === Alg.KEYEDHASH) own = publicArea.parameters.scheme.hash;
  else if (publicArea.type === Alg.SYMCIPHER) own = publicArea.parameters.sym.mode;
  else throw new TpmError(ofHandle(Rc.TYPE, 1));
  const chosen = wanted === Alg.NULL ? own : wanted;
  if (chosen === Alg.NULL || (own !== Alg.NULL && own !== chosen))
    throw new TpmError(ofParameter(Rc.VALUE, 2));
  const kind = publicArea.type === Alg.KEYEDHASH ? "hmac" : "cmac";
  const fits = kind === "hmac" ? digestSizes.has(chosen) : chosen === Alg.CMAC;
  if (!fits) throw new TpmError(ofParameter(Rc.SCHEME, 2));
  if (hasAttributes(publicArea, restricted)) throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
  if (!hasAttributes(publicArea, sign)) throw new TpmError(ofHandle(Rc.KEY, 1));
  const alg = publicArea.type === Alg.SYMCIPHER ? publicArea.parameters.sym.algorithm : chosen;
  // The authorization asks for a key whose sensitive area is there.
  return { kind, alg, key: sensitive!.sensitive };
}
