import {
  Alg,
  type EccPoint,
  type EccPublic,
  type KdfScheme,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  Rc,
  TpmError,
} from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { newCommit, openCommit } from "../commits.ts";
import { curveDetail } from "../crypto/curve-detail.ts";
import { parametersOf } from "../crypto/curves.ts";
import { toBytes, toInteger } from "../crypto/integers.ts";
import { kdf2 } from "../crypto/kdf.ts";
import { fullMqv, sm2Exchange, type TwoPhase } from "../crypto/key-agreement.ts";
import { concat, type Engine } from "../engine.ts";
import { hasAttributes, inParameter, objectOf } from "../objects.ts";
import type { StoredObject } from "../state.ts";

/* What the TPM does with points of a curve (Part 3, clauses 14.4 to 14.9 and 19; Part 1, annex C). */

const { restricted, decrypt } = ObjectAttribute;
const emptyPoint: EccPoint = { x: new Uint8Array(0), y: new Uint8Array(0) };
const none = new Uint8Array(0);

function eccKey(engine: Engine, handle: number): { object: StoredObject; publicArea: EccPublic } {
  const object = objectOf(engine, handle, ofHandle(Rc.KEY, 1));
  const { publicArea } = object;
  if (publicArea.type !== Alg.ECC) throw new TpmError(ofHandle(Rc.KEY, 1));
  return { object, publicArea };
}

/** A key that may decrypt whatever comes, with its private scalar. */
function agreementKey(engine: Engine, handle: number): { publicArea: EccPublic; scalar: Uint8Array } {
  const { object, publicArea } = eccKey(engine, handle);
  if (hasAttributes(publicArea, restricted) || !hasAttributes(publicArea, decrypt))
    throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
  // The authorization asks for a key whose sensitive area is there.
  return { publicArea, scalar: object.sensitive!.sensitive };
}

/** The key derivation of the key, or the caller's (parameter `place`) where the key has none. Only KDF2 is defined for this use. */
function kdfFor({ parameters }: EccPublic, wanted: KdfScheme, place: number): KdfScheme {
  const own = parameters.kdf;
  const chosen = wanted.scheme === Alg.NULL ? own : wanted;
  const differs = own.scheme !== Alg.NULL && (own.scheme !== chosen.scheme || own.hash !== chosen.hash);
  if (chosen.scheme === Alg.NULL || differs) throw new TpmError(ofParameter(Rc.SCHEME, place));
  if (chosen.scheme !== Alg.KDF2) throw new TpmError(Rc.SCHEME);
  return chosen;
}

/** Data under the mask of a shared point: the same again takes it off. */
function masked(engine: Engine, hash: number, shared: EccPoint, data: Uint8Array): Uint8Array {
  const mask = kdf2(engine.crypto, hash, concat(shared.x, shared.y), data.length);
  return data.map((byte, i) => byte ^ mask[i]!);
}

/** A point of the response; infinity is TPM_RC_NO_RESULT. */
function finite(point: EccPoint | undefined): EccPoint {
  if (point === undefined) throw new TpmError(Rc.NO_RESULT);
  return point;
}

/** x = H(s2) mod p, with the y that the caller found for it (Part 1, C.2.2). */
function hashedPoint(engine: Engine, publicArea: EccPublic, s2: Uint8Array, y: Uint8Array): EccPoint {
  if (publicArea.nameAlg === Alg.NULL) throw new TpmError(ofHandle(Rc.HASH, 1));
  const { p, size } = parametersOf(publicArea.parameters.curveID);
  return { x: toBytes(toInteger(engine.crypto.hash(publicArea.nameAlg, s2)) % p, size), y };
}

export const eccCommands = {
  ECDH_KeyGen(engine, { handles: { keyHandle } }) {
    const { publicArea } = eccKey(engine, keyHandle);
    const { crypto } = engine;
    const { curveID } = publicArea.parameters;
    const scalar = crypto.eccScalar(curveID);
    const zPoint = crypto.eccMultiply(curveID, scalar, publicArea.unique);
    if (zPoint === undefined) throw new TpmError(ofHandle(Rc.KEY, 1));
    return { zPoint, pubPoint: crypto.eccPublic(curveID, scalar)! };
  },

  ECDH_ZGen(engine, { handles: { keyHandle }, parameters: { inPoint } }) {
    const { publicArea, scalar } = agreementKey(engine, keyHandle);
    const { scheme, curveID } = publicArea.parameters;
    if (scheme.scheme !== Alg.ECDH && scheme.scheme !== Alg.NULL) throw new TpmError(ofHandle(Rc.SCHEME, 1));
    if (!engine.crypto.eccOnCurve(curveID, inPoint)) throw new TpmError(ofParameter(Rc.ECC_POINT, 1));
    return { outPoint: finite(engine.crypto.eccMultiply(curveID, scalar, inPoint)) };
  },

  ECC_Parameters(_engine, { parameters: { curveID } }) {
    return { parameters: curveDetail(curveID) };
  },

  ECC_Encrypt(engine, { handles: { keyHandle }, parameters: { plainText, inScheme } }) {
    const { publicArea } = eccKey(engine, keyHandle);
    const { hash } = kdfFor(publicArea, inScheme, 2);
    const { crypto } = engine;
    const { curveID } = publicArea.parameters;
    const scalar = crypto.eccScalar(curveID);
    const shared = finite(crypto.eccMultiply(curveID, scalar, publicArea.unique));
    return {
      C1: crypto.eccPublic(curveID, scalar)!,
      C2: masked(engine, hash, shared, plainText),
      C3: crypto.hash(hash, shared.x, plainText, shared.y),
    };
  },

  ECC_Decrypt(engine, { handles: { keyHandle }, parameters: { C1, C2, C3, inScheme } }) {
    const { publicArea, scalar } = agreementKey(engine, keyHandle);
    const { hash } = kdfFor(publicArea, inScheme, 4);
    const { crypto } = engine;
    // A point off the curve and a digest that is wrong have one answer.
    const shared = crypto.eccMultiply(publicArea.parameters.curveID, scalar, C1);
    if (shared === undefined) throw new TpmError(Rc.VALUE);
    const plainText = masked(engine, hash, shared, C2);
    if (!crypto.equal(crypto.hash(hash, shared.x, plainText, shared.y), C3)) throw new TpmError(Rc.VALUE);
    return { plainText };
  },

  EC_Ephemeral(engine, { parameters: { curveID } }) {
    const { counter, scalar } = newCommit(engine, curveID, none);
    return { Q: finite(engine.crypto.eccPublic(curveID, scalar)), counter };
  },

  ZGen_2Phase(engine, { handles: { keyA }, parameters: { inQsB, inQeB, inScheme, counter } }) {
    const { publicArea, scalar } = agreementKey(engine, keyA);
    const { scheme, curveID } = publicArea.parameters;
    if (scheme.scheme !== Alg.NULL && scheme.scheme !== inScheme)
      throw new TpmError(ofParameter(Rc.SCHEME, 3));
    const { crypto } = engine;
    if (!crypto.eccOnCurve(curveID, inQsB)) throw new TpmError(ofParameter(Rc.ECC_POINT, 1));
    if (!crypto.eccOnCurve(curveID, inQeB)) throw new TpmError(ofParameter(Rc.ECC_POINT, 2));
    const commit = inParameter(4, () => openCommit(engine, curveID, counter, none));
    const phases: TwoPhase = {
      curve: curveID,
      staticA: scalar,
      ephemeralA: commit.scalar,
      staticB: inQsB,
      ephemeralB: inQeB,
    };
    let result: { outZ1: EccPoint; outZ2: EccPoint };
    switch (inScheme) {
      case Alg.ECDH:
        result = {
          outZ1: finite(crypto.eccMultiply(curveID, scalar, inQsB)),
          outZ2: finite(crypto.eccMultiply(curveID, commit.scalar, inQeB)),
        };
        break;
      case Alg.ECMQV:
        result = { outZ1: finite(fullMqv(crypto, phases)), outZ2: emptyPoint };
        break;
      default:
        result = { outZ1: finite(sm2Exchange(crypto, phases)), outZ2: emptyPoint };
    }
    commit.finish();
    return result;
  },

  Commit(engine, { handles: { signHandle }, parameters: { P1, s2, y2 } }) {
    const { object, publicArea } = eccKey(engine, signHandle);
    const { crypto } = engine;
    const { scheme, curveID } = publicArea.parameters;
    if (scheme.scheme !== Alg.ECDAA) throw new TpmError(ofHandle(Rc.SCHEME, 1));
    if ((s2.length === 0) !== (y2.length === 0)) throw new TpmError(ofParameter(Rc.SIZE, 3));
    const second = s2.length === 0 ? undefined : hashedPoint(engine, publicArea, s2, y2);
    if (second !== undefined && !crypto.eccOnCurve(curveID, second))
      throw new TpmError(ofParameter(Rc.ECC_POINT, 2));
    const first = P1.x.length === 0 && P1.y.length === 0 ? undefined : P1;
    if (first !== undefined && !crypto.eccOnCurve(curveID, first))
      throw new TpmError(ofParameter(Rc.ECC_POINT, 1));
    const { counter, scalar } = newCommit(engine, curveID, object.name);
    const times = (by: Uint8Array, point: EccPoint): EccPoint =>
      finite(crypto.eccMultiply(curveID, by, point));
    let E = emptyPoint;
    if (first !== undefined) E = times(scalar, first);
    else if (second === undefined) E = finite(crypto.eccPublic(curveID, scalar));
    return {
      K: second === undefined ? emptyPoint : times(object.sensitive!.sensitive, second),
      L: second === undefined ? emptyPoint : times(scalar, second),
      E,
      counter,
    };
  },
} satisfies Handlers;
