/**
 * Counter-based randomness: a draw is a pure function of (seed, request, position, purpose, index), so that results do
 * not depend on batch mix, order of evaluation or which method ran before.
 */

/** Every reason to draw has its own stream. Add to the end only: the number is part of the results. */
export const purposes = { sample: 0, draft: 1, accept: 2, residual: 3, xtc: 4, search: 5, data: 6, initialise: 7 } as const;
export type Purpose = keyof typeof purposes;

export interface Stream {
  readonly seed: number;
  readonly request: number;
}

/** Uniform in [0, 1) with 53 bits. `index` separates several draws at one position (branches, slots). */
export function uniform(stream: Stream, position: number, purpose: Purpose, index = 0): number {
  // Philox 2x32-10 (Salmon et al. 2011) keyed by the seed over a mixed 64-bit counter.
  const counterHigh = mix(stream.request ^ Math.imul(index + 1, 0x9e3779b1), purposes[purpose] + 1);
  let x0 = (position ^ Math.imul(index, 0x85ebca6b)) >>> 0;
  let x1 = counterHigh >>> 0;
  let key = mix(stream.seed >>> 0, Math.floor(stream.seed / 2 ** 32) | 0) >>> 0;
  for (let round = 0; round < 10; round++) {
    const high = multiplyHigh(0xd256d193, x0);
    const low = Math.imul(0xd256d193, x0) >>> 0;
    x0 = (high ^ key ^ x1) >>> 0;
    x1 = low;
    key = (key + 0x9e3779b9) >>> 0;
  }
  return ((x0 >>> 5) * 2 ** 26 + (x1 >>> 6)) / 2 ** 53;
}

function multiplyHigh(a: number, b: number): number {
  const low = (a & 0xffff) * (b & 0xffff);
  const middle = (a >>> 16) * (b & 0xffff) + (low >>> 16);
  const other = (a & 0xffff) * (b >>> 16) + (middle & 0xffff);
  return ((a >>> 16) * (b >>> 16) + Math.floor(middle / 0x10000) + Math.floor(other / 0x10000)) >>> 0;
}

function mix(a: number, b: number): number {
  let h = Math.imul(a ^ (a >>> 16), 0x7feb352d) ^ Math.imul(b + 0x165667b1, 0x846ca68b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return h ^ (h >>> 15);
}
