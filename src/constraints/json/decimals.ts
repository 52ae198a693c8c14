/** Exact decimal numbers: `digits` · 10^-`scale`. */
export interface Decimal {
  readonly digits: bigint;
  readonly scale: number;
}

/** The decimal that JavaScript writes for a number. */
export function decimalOf(value: number): Decimal {
  const [, sign, whole, fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/.exec(String(value))!;
  const digits = BigInt(`${sign}${whole}${fraction}`);
  const scale = fraction.length - Number(exponent);
  return scale >= 0 ? reduce({ digits, scale }) : { digits: digits * 10n ** BigInt(-scale), scale: 0 };
}

function reduce({ digits, scale }: Decimal): Decimal {
  while (scale > 0 && digits % 10n === 0n) {
    digits /= 10n;
    scale -= 1;
  }
  return { digits, scale };
}

/** Digits at a scale at least as fine as the decimal's own. */
export const at = ({ digits, scale }: Decimal, finer: number): bigint => digits * 10n ** BigInt(finer - scale);

export function compareDecimals(a: Decimal, b: Decimal): number {
  const scale = Math.max(a.scale, b.scale);
  const difference = at(a, scale) - at(b, scale);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

export const negative = ({ digits, scale }: Decimal): Decimal => ({ digits: -digits, scale });

export function leastCommonMultiple(a: Decimal, b: Decimal): Decimal {
  const scale = Math.max(a.scale, b.scale);
  const [x, y] = [at(a, scale), at(b, scale)];
  let [m, n] = [x, y];
  while (n !== 0n) [m, n] = [n, m % n];
  return reduce({ digits: (x / m) * y, scale });
}

/** The next double above (direction 1) or below (-1). */
export function neighbour(value: number, direction: 1 | -1): number {
  if (value === 0) return direction * Number.MIN_VALUE;
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigInt64(0);
  view.setBigInt64(0, bits + (value > 0 === direction > 0 ? 1n : -1n));
  return view.getFloat64(0);
}
