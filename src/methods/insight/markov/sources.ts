/** Sources whose information is known exactly: Markov chains of order one and two with random tables, by enumeration. */
import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { requireWhole, requireWithin } from "../../../numbers.ts";
import { requireLength, requireShares } from "./checks.ts";

/** A Markov source whose law is known exactly. */
export interface MarkovSource {
  readonly symbols: number;
  readonly order: number;
  /** The law, `[symbols ** order, symbols]`: that of the next symbol after a context, whose last symbol is its lowest digit. */
  readonly table: Float64Array;
  /** `[symbols ** order]`, how often a context occurs. */
  readonly stationary: Float64Array;
}

/** Digits of the largest table: a longer context of one symbol alone says no more. */
const longestOrder = 20;

/** Errors: `bad_option` for what is no source. */
function requireSource({ symbols, order, table, stationary }: MarkovSource): void {
  requireWhole({ symbols }, 1, 1e6);
  requireWhole({ order }, 1, longestOrder);
  requireLength("stationary", stationary, symbols ** order, () => `a source of order ${order} over ${symbols} symbols`);
  requireLength("table", table, symbols ** (order + 1), () => `a source of order ${order} over ${symbols} symbols`);
  requireShares(table);
  requireShares(stationary);
}

/** Errors: `bad_option` for tables of more than a million entries, orders beyond 20, and a sharpness that is not in [0, 16]. */
export function markovSource(symbols: number, order: number, seed = 0, sharpness = 2): MarkovSource {
  requireWhole({ order }, 1, longestOrder);
  requireWhole({ seed }, 0);
  requireWithin({ sharpness }, 0, 16); // beyond, the weights are not finite
  const contexts = symbols ** order;
  ensure(
    Number.isInteger(symbols) && symbols >= 1 && Number.isInteger(order) && order >= 1 && contexts * symbols <= 1e6,
    "bad_option",
    `a source of order ${order} over ${symbols} symbols is not to be tabulated`,
  );
  const table = new Float64Array(contexts * symbols);
  for (let context = 0; context < contexts; context++) {
    const weights = Array.from({ length: symbols }, (_, v) =>
      Math.exp(sharpness * -Math.log(1 - uniform({ seed, request: context }, v, "data"))),
    );
    const total = weights.reduce((a, b) => a + b, 0);
    for (let v = 0; v < symbols; v++) table[context * symbols + v] = weights[v] / total;
  }
  let stationary = new Float64Array(contexts).fill(1 / contexts);
  for (let sweep = 0; sweep < 5000; sweep++) {
    const next = new Float64Array(contexts);
    for (let context = 0; context < contexts; context++)
      for (let v = 0; v < symbols; v++)
        next[(context * symbols + v) % contexts] += stationary[context] * table[context * symbols + v];
    const moved = next.reduce((sum, x, i) => sum + Math.abs(x - stationary[i]), 0);
    stationary = next;
    if (moved < 1e-15) break;
  }
  return { symbols, order, table, stationary };
}

/** More do not fit a list. */
const longestWalk = 2 ** 26;

/** A walk of so many symbols, its first context drawn as it occurs. Errors: `bad_option` for what is no source, and for a length or seed that is none. */
export function drawSymbols(source: MarkovSource, length: number, seed: number): number[] {
  requireSource(source);
  requireWhole({ length }, 1, longestWalk);
  requireWhole({ seed }, 0);
  const { symbols, order, table, stationary } = source;
  const pick = (law: Float64Array, place: number): number => {
    let rest = uniform({ seed, request: 1 }, place, "data");
    for (let i = 0; i < law.length; i++) {
      rest -= law[i];
      if (rest < 0) return i;
    }
    return law.length - 1;
  };
  let context = pick(stationary, 0);
  const result = Array.from({ length: order }, (_, i) => Math.floor(context / symbols ** (order - 1 - i)) % symbols);
  while (result.length < length) {
    const next = pick(table.subarray(context * symbols, (context + 1) * symbols), result.length);
    result.push(next);
    context = (context * symbols + next) % stationary.length;
  }
  return result.slice(0, length);
}

/** Mean entropy of the next symbol's true law: what no model's loss is below. Errors: `bad_option` for what is no source. */
export function sourceEntropy(source: MarkovSource): number {
  requireSource(source);
  const { symbols, table, stationary } = source;
  let sum = 0;
  for (let i = 0; i < table.length; i++)
    if (table[i] > 0) sum -= stationary[Math.floor(i / symbols)] * table[i] * Math.log(table[i]);
  return sum;
}

/** S_k = I(H_t; w_(t+k) | w_t … w_(t+k-1)) of a state that knows the whole context: H(w_(t+k) | w_t …) - H(w_(t+k) | context, w_t …). Errors: `bad_option` for what is no source, and for a distance beyond 20 or tables. */
export function sourceSurplus(source: MarkovSource, k: number): number {
  requireSource(source);
  requireWhole({ k }, 1, longestOrder);
  const { symbols, order, table, stationary } = source;
  ensure(symbols ** (order + k) <= 1e6, "bad_option", `surplus at distance ${k}`);
  // Weights of (w_t … w_(t+k-1)) with the context before them, and the law of w_(t+k) then.
  const given = new Map<number, { weight: number; law: Float64Array }>();
  let withState = 0;
  const visit = (context: number, weight: number, between: number, left: number): void => {
    if (weight === 0) return;
    if (left === 0) {
      const law = table.subarray(context * symbols, (context + 1) * symbols);
      const entry = given.get(between) ?? { weight: 0, law: new Float64Array(symbols) };
      given.set(between, entry);
      entry.weight += weight;
      for (let v = 0; v < symbols; v++) {
        entry.law[v] += weight * law[v];
        if (law[v] > 0) withState -= weight * law[v] * Math.log(law[v]);
      }
      return;
    }
    for (let v = 0; v < symbols; v++) {
      const next = (context * symbols + v) % stationary.length;
      visit(next, weight * table[context * symbols + v], between * symbols + v, left - 1);
    }
  };
  for (let context = 0; context < stationary.length; context++) visit(context, stationary[context], 0, k);
  let without = 0;
  for (const { weight, law } of given.values())
    for (const share of law) if (share > 0) without -= share * Math.log(share / weight);
  return Math.max(0, without - withState);
}
