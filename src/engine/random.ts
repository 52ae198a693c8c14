/**
 * Counter-based randomness: a draw is a pure function of (seed, request, position, purpose, index), so that results do
 * not depend on batch mix, order of evaluation or which method ran before.
 */

/** Every reason to draw has its own stream. Add to the end only: the number is part of the results. */
export const purposes = {
  sample: 0,
  draft: 1,
  accept: 2,
  residual: 3,
  xtc: 4,
  search: 5,
  data: 6,
  initialise: 7,
  race: 8,
  unmask: 9,
} as const;
/** What a random number is drawn for: draws for different purposes never meet. */
export type Purpose = keyof typeof purposes;

/** Both numbers are integers in [0, 2^53). */
export interface Stream {
  readonly seed: number;
  readonly request: number;
}

const block = new Int32Array(4);

/**
 * Uniform in [0, 1) with 53 bits. `index` separates several draws at one position (branches, slots). Position and index
 * are integers in [0, 2^32): every coordinate has bits of its own in the 128-bit counter or the key, so that no two
 * draws share a block.
 */
export function uniform(stream: Stream, position: number, purpose: Purpose, index = 0): number {
  const { seed, request } = stream;
  const requestHigh = (request / 2 ** 32) | 0; // 21 bits; the purpose takes the top 8
  philox(position, index, request, (purposes[purpose] << 24) | requestHigh, seed, seed / 2 ** 32, block);
  return ((block[0] >>> 5) * 2 ** 26 + (block[1] >>> 6)) / 2 ** 53;
}

/** Standard normal (Box and Muller 1958), of the uniform draws 2 · `index` and 2 · `index` + 1 at the position. */
export function normal(stream: Stream, position: number, purpose: Purpose, index = 0): number {
  const radius = Math.sqrt(-2 * Math.log(1 - uniform(stream, position, purpose, 2 * index)));
  return radius * Math.cos(2 * Math.PI * uniform(stream, position, purpose, 2 * index + 1));
}

/** 0 … count - 1 in an order drawn by the stream (Fisher and Yates). */
export function permutation(count: number, stream: Stream): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(uniform(stream, i, "data") * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Philox 4x32-10 (Salmon et al. 2011, section 4.3): encrypts a counter of four words under a key of two, into `out`. */
export function philox(
  counter0: number,
  counter1: number,
  counter2: number,
  counter3: number,
  key0: number,
  key1: number,
  out: Int32Array,
): void {
  let x0 = counter0 | 0;
  let x1 = counter1 | 0;
  let x2 = counter2 | 0;
  let x3 = counter3 | 0;
  let k0 = key0 | 0;
  let k1 = key1 | 0;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, x0);
    const low0 = Math.imul(0xd2511f53, x0);
    const high2 = multiplyHigh(0xcd9e8d57, x2);
    const low2 = Math.imul(0xcd9e8d57, x2);
    x0 = high2 ^ x1 ^ k0;
    x1 = low2;
    x2 = high0 ^ x3 ^ k1;
    x3 = low0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  out[0] = x0;
  out[1] = x1;
  out[2] = x2;
  out[3] = x3;
}

/** The upper 32 bits of the 64-bit product of two unsigned words. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const lowHigh = Math.imul(aLow, bHigh);
  const highLow = Math.imul(aHigh, bLow);
  const carry = (Math.imul(aLow, bLow) >>> 16) + (lowHigh & 0xffff) + (highLow & 0xffff);
  return (Math.imul(aHigh, bHigh) + (lowHigh >>> 16) + (highLow >>> 16) + (carry >>> 16)) | 0;
}
