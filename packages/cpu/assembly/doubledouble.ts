/*
 * Numbers of about 106 bits as the unevaluated sum of two f64 (Dekker 1971; Knuth, TAOCP volume 2, 4.2.2): the
 * precision in which the x87's elementary functions are evaluated before they are rounded to 64 bits.
 *
 * Every function leaves its result in `high` and `low`, with |low| at most half a unit in the last place of high.
 * Operands keep clear of overflow and underflow; callers scale.
 */

export let high: f64 = 0;
export let low: f64 = 0;

@inline function renormalize(h: f64, l: f64): void {
  high = h + l;
  low = l - (high - h);
}

export function addDD(ah: f64, al: f64, bh: f64, bl: f64): void {
  const s = ah + bh, sb = s - ah, se = (ah - (s - sb)) + (bh - sb);
  const t = al + bl, tb = t - al, te = (al - (t - tb)) + (bl - tb);
  renormalize(s, se + t);
  renormalize(high, low + te);
}

/** Veltkamp's constant: splits 53 bits into two halves of 26. */
const SPLIT: f64 = 134217729.0;

export function multiplyDD(ah: f64, al: f64, bh: f64, bl: f64): void {
  const p = ah * bh;
  const at = SPLIT * ah, a1 = at - (at - ah), a0 = ah - a1;
  const bt = SPLIT * bh, b1 = bt - (bt - bh), b0 = bh - b1;
  const e = ((a1 * b1 - p) + a1 * b0 + a0 * b1) + a0 * b0;
  renormalize(p, e + (ah * bl + al * bh));
}

export function divideDD(ah: f64, al: f64, bh: f64, bl: f64): void {
  const q1 = ah / bh;
  multiplyDD(bh, bl, q1, 0);
  addDD(ah, al, -high, -low);
  const rh = high, rl = low, q2 = rh / bh;
  multiplyDD(bh, bl, q2, 0);
  addDD(rh, rl, -high, -low);
  const q3 = high / bh;
  renormalize(q1, q2);
  addDD(high, low, q3, 0);
}

/** high:low = high:low x b + the constant pair at `constant`: one step of Horner's rule. */
@inline export function hornerStep(bh: f64, bl: f64, constant: usize): void {
  multiplyDD(high, low, bh, bl);
  addDD(high, low, load<f64>(constant), load<f64>(constant, 8));
}
