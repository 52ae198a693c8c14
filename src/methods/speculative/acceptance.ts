/**
 * How often verification accepts what a draft model proposes. A draft's own probability says which tokens are likelier to be
 * accepted, but not how likely: a token drawn with probability q is accepted with min(1, p/q), which for a good draft is far above
 * q. So acceptance is measured, once for a pair of models and a temperature, and kept on disk like pass times; a request adds what
 * it sees itself. Estimates thus depend on the machine and the request alone, never on other requests: a seed repeats.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { drawFrom, type SparseDistribution, softmax, topKSoftmax } from "../../engine/distribution.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { rising } from "../../engine/isotonic.ts";
import type { Model } from "../../engine/model.ts";
import { uniform } from "../../engine/random.ts";
import { VentrisError } from "../../errors.ts";
import { cacheKey, openCached, writeFileAtomically } from "../../weights/index.ts";
import { sum } from "./draws.ts";
import { createResidual } from "./residual.ts";
import { childrenOf, type DraftTree } from "./tree.ts";

/** Trials and their successes (both may be fractions), one entry a class. */
interface Counts {
  tried: number[];
  accepted: number[];
}

/** Of one kind of tree. */
export interface AcceptanceCounts {
  /**
   * By the probability a child was proposed with once its parent was accepted and its earlier siblings were not; for first, second and
   * later children apart: that the first was rejected says that target and draft differ here.
   */
  byProbability: Counts[];
  /** By a child's place among its siblings. */
  byRank: Counts;
}

export type AcceptanceCurve = Record<DraftTree["kind"], AcceptanceCounts>;

export interface AcceptanceEstimate {
  /** Probability of acceptance, once tried, of a node's n-th child (from 0) proposed with this probability: rises with it. */
  ofProbability(probability: number, rank: number): number;
  /** The same of the n-th child of a node (from 0), before its token is known. */
  ofRank(rank: number): number;
  /** Learns from a verification of a tree with probabilities. */
  observe(tree: DraftTree, path: readonly number[]): void;
}

/** Lower ends of the classes of probability: near 1, where a long draft hangs on it, they are told apart more finely. */
const lowerEnds = [0.98, 0.95, 0.9, 0.8, 0.65, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.015, 0.005, 0];
const classes = lowerEnds.length;
const classOf = (probability: number): number => {
  let index = 0;
  while (probability < lowerEnds[index]) index += 1;
  return index;
};
const ranks = 16;
const places = 3;
const placeOf = (rank: number): number => Math.min(rank, places - 1);

const emptyCounts = (size: number): Counts => ({ tried: new Array(size).fill(0), accepted: new Array(size).fill(0) });
const emptyKind = (): AcceptanceCounts => ({
  byProbability: Array.from({ length: places }, () => emptyCounts(classes)),
  byRank: emptyCounts(ranks),
});
const emptyCurve = (): AcceptanceCurve => ({ sampled: emptyKind(), chosen: emptyKind() });

/** What a measured curve may weigh against what the request itself shows, in trials of a class. */
const mostPriorTrials = 30;
/** Weight, in trials, of what is known without the class: a tree prefers what looks best, and so what chance made look best. */
const priorTrials = 6;

/** Takes the draft at its word (the assumption of DySpec, section 3): for comparisons, and where nothing was measured. */
export const ownProbability = (probability: number): number => probability;

/** An estimate that starts from a measured curve, or from the draft's own probabilities. */
export function createAcceptanceEstimate(kind: DraftTree["kind"], curve?: AcceptanceCurve): AcceptanceEstimate {
  const start = (counts: Counts | undefined, size: number, guess: (index: number) => number): Counts => {
    const result = emptyCounts(size);
    for (let i = 0; i < size; i++) {
      const tried = counts?.tried[i] ?? 0;
      const scale = Math.min(1, mostPriorTrials / Math.max(tried, 1));
      result.tried[i] = priorTrials + tried * scale;
      result.accepted[i] = priorTrials * guess(i) + (counts?.accepted[i] ?? 0) * scale;
    }
    return result;
  };
  const measured = curve?.[kind];
  const byProbability = Array.from({ length: places }, (_, place) => {
    const counts = measured?.byProbability[place];
    // Chosen tokens are accepted about as often as their probability says; drawn ones about equally often.
    const overall =
      counts && kind === "sampled" ? total(counts.accepted) / Math.max(total(counts.tried), 1) : undefined;
    return start(counts, classes, (index) => overall ?? (lowerEnds[index] + (lowerEnds[index - 1] ?? 1)) / 2);
  });
  const byRank = start(measured?.byRank, ranks, (rank) => 0.6 / (rank + 1));
  const rates: (number[] | undefined)[] = [];
  return {
    ofProbability(probability, rank) {
      if (probability <= 0) return 0;
      const place = placeOf(rank);
      const { tried, accepted } = byProbability[place];
      // Classes stand in falling order of probability.
      rates[place] ??= rising(tried.map((trials, i) => accepted[i] / trials).reverse(), [...tried].reverse()).reverse();
      return rates[place][classOf(probability)];
    },
    ofRank: (rank) => byRank.accepted[Math.min(rank, ranks - 1)] / byRank.tried[Math.min(rank, ranks - 1)],
    observe(tree, path) {
      const children = childrenOf(tree);
      for (let node = 0, level = 0; children[node].length > 0; level++) {
        const hit = children[node].indexOf(path[level]);
        // Drawn children are tried one after another; of chosen ones, each is the target's token or not.
        const tried = tree.kind === "sampled" && hit >= 0 ? hit + 1 : children[node].length;
        for (let rank = 0; rank < tried; rank++) {
          const success = rank === hit ? 1 : 0;
          count(byProbability[placeOf(rank)], classOf(tree.probabilities![children[node][rank] - 1]), 1, success);
          count(byRank, Math.min(rank, ranks - 1), 1, success);
        }
        if (hit < 0) break;
        node = path[level];
      }
      rates.length = 0;
    },
  };
}

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

function count({ tried, accepted }: Counts, index: number, weight: number, success: number): void {
  tried[index] += weight;
  accepted[index] += weight * success;
}

export interface AcceptanceConditions {
  /** Of the target; 0: greedy. */
  temperature: number;
  draftTemperature: number;
  topK: number;
}

/** The curve of a pair, measured when the cache folder has none. Temperatures are rounded to tenths. */
export async function acceptanceCurve(
  target: Model,
  draft: Model,
  { temperature, draftTemperature, topK }: AcceptanceConditions,
): Promise<AcceptanceCurve> {
  const tenths = (value: number): number => Math.round(value * 10) / 10;
  const conditions = { temperature: tenths(temperature), draftTemperature: tenths(draftTemperature) || 0.1, topK };
  const key = cacheKey("acceptance 4", target.identity, draft.identity, JSON.stringify(conditions));
  return target.state(`acceptance ${key}`, () =>
    openCached(
      join("acceptance", `${key}.json`),
      async (path) => {
        const text = JSON.stringify(await measure(target, draft, conditions));
        await writeFileAtomically(path, new TextEncoder().encode(text));
      },
      readCurve,
    ),
  );
}

const countsSchema = (size: number) => {
  const numbers = z.array(z.number().min(0).max(1e6)).length(size);
  return z.strictObject({ tried: numbers, accepted: numbers });
};
const kindSchema = z.strictObject({
  byProbability: z.array(countsSchema(classes)).length(places),
  byRank: countsSchema(ranks),
});
const curveSchema = z.strictObject({ sampled: kindSchema, chosen: kindSchema });

async function readCurve(path: string): Promise<AcceptanceCurve> {
  try {
    return curveSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    throw new VentrisError("bad_file", `${path}: not an acceptance curve`, { cause });
  }
}

/** Texts written side by side, tokens of each that are measured, and those before, drawn at temperature 1 so that texts differ. */
const [texts, measuredTokens, openingTokens] = [8, 64, 48];
/** A large target is not kept busy for longer than this; a few positions are always measured. */
const mostSeconds = 2;

/** The target writes; at every position the draft's proposals are judged by the probability with which they would be accepted. */
async function measure(target: Model, draft: Model, conditions: AcceptanceConditions): Promise<AcceptanceCurve> {
  const curve = emptyCurve();
  const leases = [target.forest.lease(), draft.forest.lease()];
  const begin = target.tokenizer?.beginToken ?? target.config.beginToken ?? 0;
  const stop = Math.min(
    openingTokens + measuredTokens,
    target.forest.contextLength - 1,
    draft.forest.contextLength - 1,
  );
  const started = performance.now();
  try {
    const [first, draftFirst] = await Promise.all(leases.map(async (lease) => (await lease.prefill([begin])).node));
    let nodes = Array.from({ length: texts }, () => [first, draftFirst]);
    for (let position = 0; position < stop; position++) {
      const measuring = position >= openingTokens;
      if (measuring && position > openingTokens + 2 && performance.now() - started > 1000 * mostSeconds) break;
      const next = nodes.map(([node, draftNode], request) => {
        const law = targetLaw(node, measuring ? conditions.temperature : 1);
        const stream = { seed: 0, request };
        if (measuring) {
          const proposal = topKSoftmax(draftNode.logits!, conditions.draftTemperature, conditions.topK);
          judge(curve, law, proposal, (index) => uniform(stream, position, "draft", index));
        }
        return drawFrom(law, uniform(stream, position, "sample"));
      });
      const extended = await Promise.all(
        leases.map((lease, side) => lease.extend(next.map((token, text) => ({ parent: nodes[text][side], token })))),
      );
      nodes = next.map((_, text) => [extended[0][text], extended[1][text]]);
    }
    return curve;
  } finally {
    for (const lease of leases) lease.close();
  }
}

function targetLaw({ logits }: ForestNode, temperature: number): Float64Array {
  if (temperature > 0) return softmax(logits!, 1 / temperature);
  const law = new Float64Array(logits!.length);
  law[topKSoftmax(logits!, 1, 1).tokens[0]] = 1;
  return law;
}

/** One position: drawn children until it is all but certain that one was accepted, and the likeliest as chosen ones. */
function judge(
  { sampled, chosen }: AcceptanceCurve,
  law: Float64Array,
  proposal: SparseDistribution,
  random: (index: number) => number,
): void {
  const { tokens, probabilities } = proposal;
  const residual = createResidual(law, proposal, false);
  const left = probabilities.slice();
  let reached = 1;
  for (let rank = 0; rank < Math.min(ranks, tokens.length) && reached > 1e-3; rank++) {
    const mass = sum(left);
    if (mass <= 1e-9) break;
    const entry = drawFrom(left, random(rank) * mass);
    const chance = Math.min(1, residual.ratio(entry));
    count(sampled.byProbability[placeOf(rank)], classOf(left[entry] / mass), reached, chance);
    count(sampled.byRank, rank, reached, chance);
    reached *= 1 - chance;
    residual.reject(entry);
    left[entry] = 0;
  }
  for (let rank = 0; rank < Math.min(ranks, tokens.length); rank++) {
    count(chosen.byProbability[placeOf(rank)], classOf(probabilities[rank]), 1, law[tokens[rank]]);
    count(chosen.byRank, rank, 1, law[tokens[rank]]);
  }
}
