/** How local draws meet a request: its races, its constraint, and the options that both methods share. */
import { z } from "zod";
import type { ConstraintState } from "../../constraints/index.ts";
import type { Decoding } from "../../engine/decoding.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { arrival, type Race, winnerOf } from "../../engine/race.ts";
import { type Stream, uniform } from "../../engine/random.ts";
import { isRemoteDecoding } from "../../engine/remote/decoding.ts";
import { isListing } from "../../engine/remote/listing.ts";
import { ensure } from "../../errors.ts";
import { drawLocally, estimators, type LocalDraw, type LocalOptions, type Source } from "./local.ts";

export const localOptions = z.strictObject({
  estimator: z
    .enum(estimators)
    .default("recursive")
    .describe(
      "how the probability of all valid tokens is estimated, which weighs a text: recursive needs few checks and is a good first choice; adaptive, geometric and with-replacement ask further tokens; masking checks every token and is exact; improper gives no estimate and is fastest",
    ),
  loops: z
    .int()
    .min(1)
    .max(64)
    .default(2)
    .describe(
      "how many further valid draws go into an estimate of the estimators geometric and with-replacement: more make its noise smaller and cost more checks",
    ),
  maxRejects: z
    .int()
    .min(2)
    .default(Number.MAX_SAFE_INTEGER)
    .describe(
      "give up a draw of the estimators recursive and geometric after so many rejections; lower it where one check of the constraint takes long",
    ),
  mostMissed: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe(
      "of engines behind a network, which list their likeliest tokens alone: fail where tokens that are not listed may be valid with more than this probability; 0 takes nothing but exact weights, 1 any, and the counter missed says how much it was",
    ),
});

/** Of an error where nothing was found: the option that may be why. */
export const givesUp = ({ maxRejects }: { maxRejects: number }): string =>
  maxRejects < Number.MAX_SAFE_INTEGER ? `, and maxRejects gives up after ${maxRejects}` : "";

/** Where all of a model's distributions are known this changes nothing; over a network, what the engine lists of them is asked for. */
export const overLaws = (decoding: Decoding): Decoding => (isRemoteDecoding(decoding) ? decoding.listing() : decoding);

interface Law {
  /** Sums to 1. */
  readonly law: Float64Array;
  /** What it sums to in the model's own distribution: less than 1 where likely tokens alone are known. */
  readonly mass: number;
  /** A bound on the probability of tokens that may be valid and are not in the law. */
  readonly missed: number;
}

/**
 * The next-token law at a node, of which what the constraint refuses is still to be dropped; `last`: the end alone is wanted. Where options
 * compare tokens with one another (topK, topP …), they look at the allowed ones, as they do everywhere: the law is then what they leave of
 * these, and its mass is theirs before that. Errors: `unavailable` where more than `mostMissed` of it may be missed; `constraint_dead_end`.
 */
export function lawAt(decoding: Decoding, node: ForestNode, { mostMissed }: { mostMissed: number }, last = false): Law {
  if (decoding.constraining && decoding.compares) {
    const [law, whole] = [decoding.shape(node), decoding.shapeApart(node)];
    return { law, mass: law.reduce((sum, p, token) => (p > 0 ? sum + whole[token] : sum), 0), missed: 0 };
  }
  return freeLawAt(decoding, node, { mostMissed }, last);
}

/** The law at a node as if there were no constraint. Errors: as `lawAt`. */
export function freeLawAt(
  decoding: Decoding,
  node: ForestNode,
  { mostMissed }: { mostMissed: number },
  last = false,
): Law {
  const law = decoding.shapeFreely(node);
  if (!isListing(decoding)) return { law, mass: 1, missed: 0 };
  const missed = decoding.missedAt(node, last);
  ensure(missed <= mostMissed, "unavailable", () => {
    const shown = missed.toPrecision(2);
    return `mostMissed: tokens that the engine does not list may be valid with a probability of up to ${shown} at place ${node.depth + 1} of the text, and ${mostMissed} is the most: ask for more of them (topLogprobs of open), or allow it`;
  });
  return { law, mass: decoding.listedAt(node).mass, missed };
}

/** An account of what may have been missed, for the counters of a run whose laws are listed ones. */
export function accountOfMissed(decoding: Decoding) {
  let [places, largest, logMass] = [0, 0, -Infinity];
  return {
    /** At a place, by a particle of this weight among so many. */
    at(missed: number, logWeight: number, particles = 1): void {
      if (!(missed > 0) || logWeight === -Infinity) return;
      places += 1;
      largest = Math.max(largest, missed);
      const more = logWeight + Math.log(missed / particles);
      const [high, low] = more > logMass ? [more, logMass] : [logMass, more];
      logMass = high + Math.log1p(Math.exp(low - high));
    },
    /** `logEvidence`: of the mass of valid texts; undefined where factors beside the constraint say nothing about what was missed. */
    close(logEvidence: number | undefined): void {
      if (!isListing(decoding)) return;
      const share = logEvidence === undefined ? undefined : 1 / (1 + Math.exp(logEvidence - logMass));
      decoding.counters.missed = { places, largest, ...(share !== undefined && { share }) };
    },
  };
}

/** Draws of their own for the particles of a request; particle 0 has the request's. */
export const streamOf = (stream: Stream, particle: number): Stream =>
  particle === 0 ? stream : { ...stream, seed: Math.floor(uniform(stream, 0, "search", particle) * 2 ** 53) };

/** Beyond so many picks of one loop it is cheaper to sort its tokens. */
const fewPicks = 12;

function sortedOrder(race: Race, weights: Float64Array): Int32Array {
  const alive = Int32Array.from(weights.keys()).filter((token) => weights[token] > 0);
  const times = new Map<number, number>();
  for (const token of alive) times.set(token, arrival(race, token) / weights[token]);
  return alive.sort((a, b) => times.get(a)! - times.get(b)! || a - b);
}

/** Loop 0 runs in the order of the position's race, which is plain decoding's own; further loops have races of their own. */
export function sourceOf(stream: Stream, position: number, law: Float64Array): Source {
  const tokens = Int32Array.from(law.keys());
  const races = new Map<number, Race>();
  const raceOf = (loop: number): Race => {
    let race = races.get(loop);
    if (!race) {
      const seed = loop === 0 ? stream.seed : Math.floor(uniform(stream, position, "search", 2 ** 20 + loop) * 2 ** 53);
      race = { stream: { ...stream, seed }, position };
      races.set(loop, race);
    }
    return race;
  };
  const orders = new Map<number, { weights: Float64Array; picks: number; sorted?: Int32Array; next: number }>();
  return {
    law,
    pick(loop, weights) {
      let order = orders.get(loop);
      if (order?.weights !== weights) {
        order = { weights, picks: 0, next: 0 };
        orders.set(loop, order);
      }
      order.picks += 1;
      if (order.picks <= fewPicks) return winnerOf(raceOf(loop), tokens, tokens.length, weights);
      // Of the same weights tokens only drop out, so their order can be worked out once for all further picks.
      order.sorted ??= sortedOrder(raceOf(loop), weights);
      while (order.next < order.sorted.length && !(weights[order.sorted[order.next]] > 0)) order.next += 1;
      return order.sorted[order.next] ?? -1;
    },
    geometric(success, index) {
      if (success >= 1) return 1;
      const u = uniform(stream, position, "search", 2 ** 21 + index);
      return 1 + Math.floor(Math.log1p(-u) / Math.log1p(-success));
    },
  };
}

/**
 * Whether a token may follow a state: what a constraint is asked, one token at a time. A refusal says more than that: no token that
 * begins with the bytes which led nowhere needs asking again. Answers, and so draws and weights, are the same; there are fewer questions.
 */
export function checkerOf(decoding: Decoding, state: ConstraintState | undefined): (token: number) => boolean {
  const { constraining, endTokens, counters } = decoding;
  if (!constraining || !state) return () => true;
  const { vocabulary } = constraining;
  const refused: Beginning = new Map();
  return (token) => {
    if (endTokens.has(token)) {
      counters.constraintChecks += 1;
      return state.complete;
    }
    const bytes = vocabulary.bytes(token);
    if (bytes.length === 0 || beginsRefused(refused, bytes)) return false;
    counters.constraintChecks += 1;
    let at: ConstraintState | undefined = state;
    for (const [i, byte] of bytes.entries()) {
      at = at.push(byte);
      if (at) continue;
      refuse(refused, bytes.subarray(0, i + 1));
      return false;
    }
    return true;
  };
}

/** Refused beginnings by their bytes; `null` where one ends. */
type Beginning = Map<number, Beginning | null>;

function beginsRefused(refused: Beginning, bytes: Uint8Array): boolean {
  let at: Beginning = refused;
  for (const byte of bytes) {
    const next = at.get(byte);
    if (next === undefined) return false;
    if (next === null) return true;
    at = next;
  }
  return false;
}

function refuse(refused: Beginning, bytes: Uint8Array): void {
  let at = refused;
  for (const byte of bytes.subarray(0, -1)) {
    let next = at.get(byte);
    if (!next) {
      next = new Map();
      at.set(byte, next);
    }
    at = next;
  }
  at.set(bytes[bytes.length - 1], null);
}

export const drawToken = (
  decoding: Decoding,
  stream: Stream,
  position: number,
  law: Float64Array,
  state: ConstraintState | undefined,
  options: LocalOptions,
): LocalDraw => drawLocally(sourceOf(stream, position, law), checkerOf(decoding, state), options);

/** The index that a number in [0, 1) picks among weights that sum to 1. */
export function pickBy(weights: readonly number[], u: number): number {
  let left = u;
  let last = 0;
  for (const [i, weight] of weights.entries()) {
    if (weight > 0) last = i;
    left -= weight;
    if (left < 0 && weight > 0) return i;
  }
  return last;
}
