/** What regressions from x [n] to y [d] are to the filters, and the search for a bandwidth. */
/** Writes the prediction into `out` [d]; false when x is far from all training points. */
export type Regression = (x: ArrayLike<number>, out: Float64Array) => boolean;

/**
 * The minimum of a function of a positive number near `start`: the bracket grows in factors of two, then golden sections shrink it to
 * a relative width of `tolerance`.
 */
export async function minimisePositive(
  f: (x: number) => Promise<number>,
  start: number,
  tolerance = 1e-2,
): Promise<number> {
  const value = (logarithm: number) => f(Math.exp(logarithm));
  let [low, middle, high] = [Math.log(start) - Math.LN2, Math.log(start), Math.log(start) + Math.LN2];
  let [atLow, atMiddle, atHigh] = [await value(low), await value(middle), await value(high)];
  for (let i = 0; i < 40 && (atLow < atMiddle || atHigh < atMiddle); i++) {
    if (atLow < atMiddle) {
      [high, atHigh, middle, atMiddle] = [middle, atMiddle, low, atLow];
      low -= Math.LN2;
      atLow = await value(low);
    } else {
      [low, atLow, middle, atMiddle] = [middle, atMiddle, high, atHigh];
      high += Math.LN2;
      atHigh = await value(high);
    }
  }
  const ratio = (Math.sqrt(5) - 1) / 2;
  let [a, b] = [high - ratio * (high - low), low + ratio * (high - low)];
  let [atA, atB] = [await value(a), await value(b)];
  while (high - low > tolerance) {
    if (atA <= atB) {
      [high, b, atB] = [b, a, atA];
      a = high - ratio * (high - low);
      atA = await value(a);
    } else {
      [low, a, atA] = [a, b, atB];
      b = low + ratio * (high - low);
      atB = await value(b);
    }
  }
  const best = atA <= atB ? a : b;
  return Math.exp(Math.min(atA, atB) <= atMiddle ? best : middle);
}
