import { addDD, divideDD, high, hornerStep, low, multiplyDD } from "./doubledouble";

/*
 * Elementary functions of double-doubles on the short intervals that the x87 instructions reduce to, by Taylor series.
 * Relative errors are below 2^-95. Each leaves its result in `high` and `low` of doubledouble.ts.
 */

/** 1/n! for n from 0. */
const INVERSE_FACTORIAL = memory.data<f64>([
  1.0, 0, 1.0, 0, 0.5, 0, 0.16666666666666666, 9.25185853854297e-18, 0.041666666666666664, 2.3129646346357427e-18,
  0.008333333333333333, 1.1564823173178714e-19, 0.001388888888888889, -5.300543954373577e-20, 0.0001984126984126984, 1.7209558293420705e-22,
  2.48015873015873e-05, 2.1511947866775882e-23, 2.7557319223985893e-06, -1.858393274046472e-22, 2.755731922398589e-07, 2.3767714622250297e-23,
  2.505210838544172e-08, -1.448814070935912e-24, 2.08767569878681e-09, -1.20734505911326e-25, 1.6059043836821613e-10, 1.2585294588752098e-26,
  1.1470745597729725e-11, 2.0655512752830745e-28, 7.647163731819816e-13, 7.03872877733453e-30, 4.779477332387385e-14, 4.399205485834081e-31,
  2.8114572543455206e-15, 1.6508842730861433e-31, 1.5619206968586225e-16, 1.1910679660273754e-32, 8.22063524662433e-18, 2.2141894119604265e-34,
  4.110317623312165e-19, 1.4412973378659527e-36, 1.9572941063391263e-20, -1.3643503830087908e-36, 8.896791392450574e-22, -7.911402614872376e-38,
  3.868170170630684e-23, -8.843177655482344e-40, 1.6117375710961184e-24, -3.6846573564509766e-41, 6.446950284384474e-26, -1.9330404233703465e-42,
  2.4795962632247976e-27, -1.2953730964765229e-43,
]);
/** 1/(2k + 1) for k from 0. */
const INVERSE_ODD = memory.data<f64>([
  1.0, 0, 0.3333333333333333, 1.850371707708594e-17, 0.2, -1.1102230246251566e-17, 0.14285714285714285, 7.93016446160826e-18,
  0.1111111111111111, 6.1679056923619804e-18, 0.09090909090909091, -2.523234146875356e-18, 0.07692307692307693, -4.270088556250602e-18,
  0.06666666666666667, 9.251858538542971e-19, 0.058823529411764705, 8.163404592832033e-19, 0.05263157894736842, 2.921639538487254e-18,
  0.047619047619047616, 2.64338815386942e-18, 0.043478260869565216, 1.206764157201257e-18, 0.04, -8.326672684688674e-19,
  0.037037037037037035, 2.05596856412066e-18, 0.034482758620689655, 4.785444071660157e-19, 0.03225806451612903, 8.953411488912552e-19,
  0.030303030303030304, -8.410780489584519e-19, 0.02857142857142857, 8.921435019309293e-19, 0.02702702702702703, -1.50030138462859e-18,
]);
/** atan(k/16) for k from 0 to 16. */
const ARCTANGENT = memory.data<f64>([
  0, 0, 0.06241880999595735, -1.5490756308295046e-18, 0.12435499454676144, -3.1253241424539383e-18, 0.18534794999569476, 4.180692268843079e-18,
  0.24497866312686414, 1.0698755618734451e-17, 0.3028848683749714, -1.1010827903001369e-17, 0.35877067027057225, -2.4623815582638635e-17,
  0.4124104415973873, -1.587652227770689e-17, 0.4636476090008061, 2.2698777452961687e-17, 0.5123894603107377, -2.5462781472855804e-17,
  0.5585993153435624, -5.4556305485916264e-18, 0.6022873461349642, 2.950430737228402e-17, 0.6435011087932844, 1.5834785051444286e-17,
  0.6823165548747481, 6.943223671560008e-18, 0.7188299996216245, -2.1478388444456983e-17, 0.7531512809621944, -2.4256934659182068e-17,
  0.7853981633974483, 3.061616997868383e-17,
]);

export const LN2: f64 = 0.6931471805599453, LN2_LOW: f64 = 2.3190468138462996e-17;
const TWO_OVER_LN2: f64 = 2.8853900817779268, TWO_OVER_LN2_LOW: f64 = 4.0710547481862066e-17;
export const PI: f64 = 3.141592653589793, PI_LOW: f64 = 1.2246467991473532e-16;
export const HALF_PI: f64 = 1.5707963267948966, HALF_PI_LOW: f64 = 6.123233995736766e-17;
/** e^y - 1 for |y| up to ln 2. */
export function exponentialMinusOne(yh: f64, yl: f64): void {
  addDD(load<f64>(INVERSE_FACTORIAL + 26 * 16), load<f64>(INVERSE_FACTORIAL + 26 * 16, 8), 0, 0);
  for (let n: usize = 25; n >= 1; n--) hornerStep(yh, yl, INVERSE_FACTORIAL + (n << 4));
  multiplyDD(high, low, yh, yl);
}

/** log2 of a number near 1 given s = (number - 1) / (number + 1): 2 / ln 2 x artanh s. */
export function logarithmSeries(sh: f64, sl: f64): void {
  multiplyDD(sh, sl, sh, sl);
  const qh = high, ql = low;
  addDD(load<f64>(INVERSE_ODD + 18 * 16), load<f64>(INVERSE_ODD + 18 * 16, 8), 0, 0);
  for (let k: i32 = 17; k >= 0; k--) hornerStep(qh, ql, INVERSE_ODD + (<usize>k << 4));
  multiplyDD(high, low, sh, sl);
  multiplyDD(high, low, TWO_OVER_LN2, TWO_OVER_LN2_LOW);
}

/** log2 of m x 2^e with m between 1 and 2. */
export function logarithm(mh: f64, ml: f64, e: i32): void {
  if (mh > 1.4142135623730951) {
    mh *= 0.5;
    ml *= 0.5;
    e++;
  }
  addDD(mh, ml, -1, 0);
  const nh = high, nl = low;
  addDD(mh, ml, 1, 0);
  divideDD(nh, nl, high, low);
  logarithmSeries(high, low);
  addDD(<f64>e, 0, high, low);
}

/** sin and cos of |r| up to pi/4. */
export function sine(rh: f64, rl: f64): void {
  multiplyDD(rh, rl, rh, rl);
  const qh = -high, ql = -low;
  addDD(load<f64>(INVERSE_FACTORIAL + 25 * 16), load<f64>(INVERSE_FACTORIAL + 25 * 16, 8), 0, 0);
  for (let n: i32 = 23; n > 0; n -= 2) hornerStep(qh, ql, INVERSE_FACTORIAL + (<usize>n << 4));
  multiplyDD(high, low, rh, rl);
}
export function cosine(rh: f64, rl: f64): void {
  multiplyDD(rh, rl, rh, rl);
  const qh = -high, ql = -low;
  addDD(load<f64>(INVERSE_FACTORIAL + 26 * 16), load<f64>(INVERSE_FACTORIAL + 26 * 16, 8), 0, 0);
  for (let n: i32 = 24; n >= 0; n -= 2) hornerStep(qh, ql, INVERSE_FACTORIAL + (<usize>n << 4));
}

/** atan of 0 to 1: from the nearest sixteenth, where the series is short. */
export function arctangent(th: f64, tl: f64): void {
  const k = <usize>(<i32>(th * 16 + 0.5)), c = <f64>k * 0.0625;
  let uh = th, ul = tl;
  if (k) {
    multiplyDD(th, tl, c, 0);
    addDD(high, low, 1, 0);
    const dh = high, dl = low;
    addDD(th, tl, -c, 0);
    divideDD(high, low, dh, dl);
    uh = high;
    ul = low;
  }
  multiplyDD(uh, ul, uh, ul);
  const qh = -high, ql = -low;
  addDD(load<f64>(INVERSE_ODD + 12 * 16), load<f64>(INVERSE_ODD + 12 * 16, 8), 0, 0);
  for (let n: i32 = 11; n >= 0; n--) hornerStep(qh, ql, INVERSE_ODD + (<usize>n << 4));
  multiplyDD(high, low, uh, ul);
  if (k) addDD(load<f64>(ARCTANGENT + (k << 4)), load<f64>(ARCTANGENT + (k << 4), 8), high, low);
}
