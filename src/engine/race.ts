/**
 * The exponential race: with independent E(token) ~ Exp(1), the token whose E(token) / p(token) is smallest is distributed as p. The
 * E of a position belong to (seed, request, position) and are the same for everyone. So a draft that runs its own distribution
 * through the same race finds the target's token without knowing the target, and what the target emits depends on no draft
 * (Daliri, Musco and Suresh 2024, drafter-invariant speculation).
 *
 * Not every E is worked out. Tokens are taken in groups of 16: the least of 16 is Exp(16), each of them is it equally likely, and the
 * others exceed it by Exp(1) again (exponentials have no memory), which makes them independent Exp(1). One number a group then
 * tells for most groups that none of their tokens can win.
 */
import { philox, purposes, type Stream } from "./random.ts";

/** The race for the token at one position of a text. */
export interface Race {
  readonly stream: Stream;
  readonly position: number;
}

const groupBits = 4;
const groupSize = 2 ** groupBits;
/** What a counter's index means: first words of four groups, the rest of a group's numbers, or one token's excess. */
const ofGroup = 0x80000000;
const ofToken = 0xc0000000;
/** Below 1 by one step of a double. */
const largest = 1 - 2 ** -53;

const block = new Int32Array(4);
const firsts = new Int32Array(4);

function draw({ stream: { seed, request }, position }: Race, index: number, out: Int32Array): void {
  const requestHigh = (request / 2 ** 32) | 0; // 21 bits; the purpose takes the top 8, as in `uniform`
  philox(position, index, request, (purposes.race << 24) | requestHigh, seed, seed / 2 ** 32, out);
}

/** The least E of a group, of which the first 32 bits of 1 - exp(-16 E) are known; `leastAt` is then its token. */
function leastOf(race: Race, group: number, bits: number): number {
  draw(race, ofGroup + group, block);
  leastAt = group * groupSize + (block[1] >>> (32 - groupBits));
  const part = (bits + ((block[0] >>> 0) + 0.5) / 2 ** 32) / 2 ** 32;
  return -Math.log1p(-Math.min(part, largest)) / groupSize;
}
let leastAt = 0;

/** How much E of a token exceeds the least of its group. */
function excessOf(race: Race, token: number): number {
  if (token === leastAt) return 0;
  draw(race, ofToken + token, block);
  const part = ((block[0] >>> 5) * 2 ** 26 + (block[1] >>> 6) + 0.5) / 2 ** 53;
  return -Math.log1p(-Math.min(part, largest));
}

/** E of a token, above 0. */
export function arrival(race: Race, token: number): number {
  const group = token >>> groupBits;
  draw(race, group >>> 2, firsts);
  return leastOf(race, group, firsts[group & 3] >>> 0) + excessOf(race, token);
}

/**
 * Of the first `count` of `tokens`, which ascend, the one with the smallest E / weight, the lowest among equals; -1 when none has a
 * positive weight. `weights` is by token, up to any factor.
 */
export function winnerOf(race: Race, tokens: Int32Array, count: number, weights: Float64Array): number {
  let best = Infinity;
  let bound = Infinity;
  let winner = -1;
  let drawn = -1;
  for (let start = 0, end = 0; start < count; start = end) {
    const group = tokens[start] >>> groupBits;
    const last = tokens[start] | (groupSize - 1);
    let high = 0;
    for (; end < count; end++) {
      const token = tokens[end];
      if (token > last) break;
      const weight = weights[token];
      if (weight > high) high = weight;
    }
    if (high === 0) continue;
    if (group >>> 2 !== drawn) {
      drawn = group >>> 2;
      draw(race, drawn, firsts);
    }
    const bits = firsts[group & 3] >>> 0;
    // E is at least (1 - exp(-16 E)) / 16: most groups are out by their first bits, without a logarithm.
    if (bits >= bound * high) continue;
    const least = leastOf(race, group, bits);
    for (let i = start; i < end; i++) {
      const weight = weights[tokens[i]];
      if (!(least < best * weight)) continue;
      const time = (least + excessOf(race, tokens[i])) / weight;
      if (time >= best) continue;
      best = time;
      winner = tokens[i];
    }
    bound = best * groupSize * 2 ** 32;
  }
  return winner;
}
