import {
  Alg,
  curveSizes,
  digestSizes,
  type EccPublic,
  ObjectAttribute,
  ofParameter,
  type Public,
  Rc,
  type RsaPublic,
  type Sensitive,
  TpmError,
} from "@entresol/tpm-types";
import type { Engine } from "./engine.ts";
import { keyedHashLimit, symmetricUnique, validatePublic, validateSchemes } from "./key-attributes.ts";
import { hasAttributes, inParameter, isFixedToTpm } from "./objects.ts";
import type { StoredObject } from "./state.ts";

/* Does what is loaded or imported belong together: public and sensitive area, and the parent (Part 1, 27; Part 2, 12.3)? */

const { restricted, decrypt } = ObjectAttribute;

/** Numbers of the parameters that a fault is said of. */
export interface Places {
  readonly publicArea: number;
  readonly sensitive: number;
}

/**
 * Checks an object that comes from outside, `sensitive` undefined for a public area alone; `parent` undefined for LoadExternal and Import. A parent
 * that is fixedTPM has vouched for the key already: then only the attributes are looked at. Throws what is wrong, with its place where the
 * reference implementation gives one.
 */
export function validateLoaded(
  engine: Engine,
  parent: StoredObject | undefined,
  publicArea: Public,
  sensitive: Sensitive | undefined,
  places: Places,
): void {
  if (sensitive === undefined || publicArea.nameAlg === Alg.NULL) {
    inParameter(places.publicArea, () => validateSchemes(undefined, publicArea, engine.weakRsa));
  } else {
    if (sensitive.seedValue.length > digestSizes.get(publicArea.nameAlg)!)
      throw new TpmError(ofParameter(Rc.KEY_SIZE, places.sensitive));
    inParameter(places.publicArea, () => validatePublic(parent, publicArea, engine.weakRsa));
  }
  if (parent === undefined || !isFixedToTpm(parent)) validateKeys(engine, publicArea, sensitive, places);
}

/** Is the modulus the product of the prime and another? Throws TPM_RC_BINDING. Of all RSA keys that are loaded with their private part. */
export function validateRsaPrime(
  engine: Pick<Engine, "crypto">,
  { parameters, unique }: RsaPublic,
  prime: Uint8Array,
): void {
  if (!engine.crypto.rsaCheck({ modulus: unique, exponent: parameters.exponent, prime }))
    throw new TpmError(Rc.BINDING);
}

/** Do the areas fit each other, and their lengths the parameters? */
export function validateKeys(
  engine: Pick<Engine, "crypto">,
  publicArea: Public,
  sensitive: Sensitive | undefined,
  places: Places,
): void {
  const ofPublic = (rc: number): TpmError => new TpmError(ofParameter(rc, places.publicArea));
  const ofSensitive = (rc: number): TpmError => new TpmError(ofParameter(rc, places.sensitive));
  const digestSize = digestSizes.get(publicArea.nameAlg) ?? 0;
  if (sensitive !== undefined) {
    if (sensitive.sensitiveType !== publicArea.type) throw ofSensitive(Rc.TYPE);
    if (digestSize > 0 && sensitive.authValue.length > digestSize) throw ofSensitive(Rc.SIZE);
  }
  switch (publicArea.type) {
    case Alg.RSA: {
      const { keyBits, exponent } = publicArea.parameters;
      const size = keyBits / 8;
      if (publicArea.unique.length !== size || publicArea.unique[0]! < 0x80) throw ofPublic(Rc.KEY);
      if (exponent !== 0 && exponent < 7) throw ofPublic(Rc.VALUE);
      if (sensitive === undefined) break;
      const prime = sensitive.sensitive;
      if (2 * prime.length !== size || prime[0]! < 0x80) throw ofSensitive(Rc.KEY_SIZE);
      break;
    }
    case Alg.ECC:
      validateEcc(engine, publicArea, sensitive, ofPublic);
      break;
    default: {
      if (sensitive === undefined) {
        if (publicArea.unique.length !== digestSize) throw ofPublic(Rc.KEY);
        break;
      }
      const { length } = sensitive.sensitive;
      const fits =
        publicArea.type === Alg.SYMCIPHER
          ? 8 * length === publicArea.parameters.sym.keyBits
          : length <= keyedHashLimit(publicArea);
      if (!fits) throw ofSensitive(Rc.KEY_SIZE);
      if (publicArea.nameAlg === Alg.NULL) break;
      if (sensitive.seedValue.length !== digestSize) throw ofSensitive(Rc.KEY_SIZE);
      if (!engine.crypto.equal(publicArea.unique, symmetricUnique(engine.crypto, publicArea, sensitive)))
        throw new TpmError(Rc.BINDING);
    }
  }
  if (sensitive === undefined || digestSize === 0 || !hasAttributes(publicArea, restricted | decrypt)) return;
  // A parent: its children are protected by the seed.
  const seedSize = sensitive.seedValue.length;
  if (2 * seedSize < digestSize || seedSize > digestSize) throw ofSensitive(Rc.SIZE);
}

function validateEcc(
  { crypto }: Pick<Engine, "crypto">,
  { parameters: { curveID }, unique, nameAlg }: EccPublic,
  sensitive: Sensitive | undefined,
  ofPublic: (rc: number) => TpmError,
): void {
  if (sensitive === undefined) {
    const size = curveSizes.get(curveID)!;
    if (unique.x.length !== size || unique.y.length !== size) throw ofPublic(Rc.KEY);
    if (nameAlg !== Alg.NULL && !crypto.eccOnCurve(curveID, unique)) throw ofPublic(Rc.ECC_POINT);
    return;
  }
  const scalar = withoutLeadingZeros(sensitive.sensitive);
  if (scalar.length === 0 || !isBelow(scalar, withoutLeadingZeros(crypto.eccOrder(curveID))))
    throw new TpmError(Rc.KEY_SIZE);
  if (nameAlg === Alg.NULL) return;
  const point = crypto.eccPublic(curveID, scalar);
  if (point === undefined || !sameNumber(point.x, unique.x) || !sameNumber(point.y, unique.y))
    throw new TpmError(Rc.BINDING);
}

function withoutLeadingZeros(value: Uint8Array): Uint8Array {
  let zeros = 0;
  while (value[zeros] === 0) zeros++;
  return value.subarray(zeros);
}

/** Both without leading zeros. */
function isBelow(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length ? Buffer.compare(a, b) < 0 : a.length < b.length;
}

function sameNumber(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(withoutLeadingZeros(a), withoutLeadingZeros(b)) === 0;
}
