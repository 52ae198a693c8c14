/** Acceptance measured once for a pair of models and a temperature, on texts that the target writes itself, and kept on disk. */
import { whenAborted } from "../../aborts.ts";
import { drawFrom, type SparseDistribution, softmax, topKSoftmax } from "../../engine/distribution.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { measured } from "../../engine/measurement.ts";
import type { DecodingModel } from "../../engine/model.ts";
import { winnerOf } from "../../engine/race.ts";
import { uniform } from "../../engine/random.ts";
import { type AcceptanceCurve, classOf, count, curveSchema, emptyCurve, placeOf, ranks } from "./acceptance.ts";
import { sum } from "./draws.ts";
import { expectedWinners, logitError } from "./expectation.ts";
import { createResidual } from "./residual.ts";

export interface AcceptanceConditions {
  /** Of the target; 0: greedy. */
  temperature: number;
  draftTemperature: number;
  topK: number;
}

/** The curve of a pair, measured when the cache folder has none. Temperatures are rounded to tenths. Errors: `aborted`. */
export function acceptanceCurve(
  target: DecodingModel,
  draft: DecodingModel,
  { temperature, draftTemperature, topK }: AcceptanceConditions,
  signal?: AbortSignal,
): Promise<AcceptanceCurve> {
  const tenths = (value: number): number => Math.round(value * 10) / 10;
  const conditions = { temperature: tenths(temperature), draftTemperature: tenths(draftTemperature) || 0.1, topK };
  const of = ["acceptance 5", target.identity, draft.identity, JSON.stringify(conditions)];
  const measure = (until: AbortSignal) => measureOn(target, draft, conditions, until);
  return measured(target, { folder: "acceptance", of, schema: curveSchema, measure }, signal);
}

/** Texts written side by side, tokens of each that are measured, and those before, drawn at temperature 1 so that texts differ. */
const [texts, measuredTokens, openingTokens] = [8, 64, 48];
/** A large target is not kept busy for longer than this; the openings take no more than half of it, and a few positions are measured. */
const mostSeconds = 2;
const leastMeasured = 3;
/** Races that are run at each position, as one is only won or lost. */
const races = 4;

/** The target writes; at every position the draft's proposals are judged by the probability with which they would be accepted. */
async function measureOn(
  target: DecodingModel,
  draft: DecodingModel,
  conditions: AcceptanceConditions,
  signal: AbortSignal,
): Promise<AcceptanceCurve> {
  const started = performance.now();
  const spent = (): number => (performance.now() - started) / 1000 / mostSeconds;
  const curve = emptyCurve();
  const leases = [target.forest.lease(), draft.forest.lease()];
  const close = (): void => {
    for (const lease of leases) lease.close();
  };
  const heard = whenAborted(signal, close);
  const begin = target.tokenizer?.beginToken ?? target.config.beginToken ?? 0;
  const longest = Math.min(target.forest.contextLength, draft.forest.contextLength) - 1;
  try {
    signal.throwIfAborted();
    const [first, draftFirst] = await Promise.all(leases.map(async (lease) => (await lease.prefill([begin])).node));
    let nodes = Array.from({ length: texts }, () => [first, draftFirst]);
    let done = 0;
    for (let position = 0; position < longest && done < measuredTokens; position++) {
      const measuring = position >= openingTokens || spent() > 0.5 || longest - position <= measuredTokens;
      if (done >= leastMeasured && spent() > 1) break;
      done += measuring ? 1 : 0;
      const next = nodes.map(([node, draftNode], request) => {
        const law = targetLaw(node, measuring ? conditions.temperature : 1);
        const random = (index: number) => uniform({ seed: 0, request }, position, "draft", index);
        if (measuring) {
          const proposal = topKSoftmax(draftNode.logits!, conditions.draftTemperature, conditions.topK);
          judgeDrawn(curve.sampled, law, proposal, random);
          if (conditions.temperature === 0) judgeChosen(curve.chosen, proposal, 1, (token) => law[token]);
          else judgeRaces(curve.chosen, law, proposal, conditions.draftTemperature / logitError, { request, position });
        }
        return drawFrom(law, uniform({ seed: 0, request }, position, "sample"));
      });
      const extended = await Promise.all(
        leases.map((lease, side) => lease.extend(next.map((token, text) => ({ parent: nodes[text][side], token })))),
      );
      leases.forEach((lease, side) => {
        lease.release(new Set(nodes.map((pair) => pair[side])));
      });
      nodes = next.map((_, text) => [extended[0][text], extended[1][text]]);
    }
    return curve;
  } finally {
    heard();
    close();
  }
}

export function targetLaw({ logits }: ForestNode, temperature: number): Float64Array {
  if (temperature > 0) return softmax(logits!, 1 / temperature);
  const law = new Float64Array(logits!.length);
  law[topKSoftmax(logits!, 1, 1).tokens[0]] = 1;
  return law;
}

/** One position: drawn children until it is all but certain that one was accepted. */
function judgeDrawn(
  counts: AcceptanceCurve["sampled"],
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
    count(counts.byProbability[placeOf(rank)], classOf(left[entry] / mass), reached, chance);
    count(counts.byRank, rank, reached, chance);
    reached *= 1 - chance;
    residual.reject(entry);
    left[entry] = 0;
  }
}

/** One position: the likeliest children, each with the chance that it is the target's token. */
export function judgeChosen(
  counts: AcceptanceCurve["chosen"],
  { tokens, probabilities }: SparseDistribution,
  weight: number,
  chanceOf: (token: number) => number,
): void {
  for (let rank = 0; rank < Math.min(ranks, tokens.length); rank++) {
    const chance = chanceOf(tokens[rank]);
    count(counts.byProbability[placeOf(rank)], classOf(probabilities[rank]), weight, chance);
    count(counts.byRank, rank, weight, chance);
  }
}

/** One position: the tokens that a draft expects to win races there, each won or lost in several of them. */
export function judgeRaces(
  counts: AcceptanceCurve["chosen"],
  law: Float64Array,
  proposal: SparseDistribution,
  sharpness: number,
  { request, position }: { request: number; position: number },
): void {
  const everyone = Int32Array.from(law, (_, token) => token);
  for (let seed = 1; seed <= races; seed++) {
    const race = { stream: { seed, request }, position };
    const winner = winnerOf(race, everyone, law.length, law);
    const expected = expectedWinners(proposal, sharpness, race);
    judgeChosen(counts, expected, 1 / races, (token) => (token === winner ? 1 : 0));
  }
}
