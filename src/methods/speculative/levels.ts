/** How often guesses are right, level by level: measured once for a model and a source of guesses, on texts that the model writes itself. */

import { z } from "zod";
import { whenAborted } from "../../aborts.ts";
import { drawFrom, type SparseDistribution } from "../../engine/distribution.ts";
import type { Extension, ForestNode } from "../../engine/forest.ts";
import { measured } from "../../engine/measurement.ts";
import type { DecodingModel } from "../../engine/model.ts";
import { uniform } from "../../engine/random.ts";
import { leaseSites } from "../../engine/sites/request.ts";
import { type AcceptanceCounts, emptyCurve, kindSchema } from "./acceptance.ts";
import { areFinite, type Foresight, guessLaws } from "./guesses.ts";
import { judgeChosen, judgeRaces, targetLaw } from "./judge.ts";

export interface LevelConditions {
  /** Of the target; 0: greedy. */
  readonly temperature: number;
  readonly topK: number;
}

/** One entry a level, kept in the cache folder. Temperatures are rounded to tenths. Errors: `aborted`. */
export function levelCurves(
  model: DecodingModel,
  foresight: Foresight,
  { temperature, topK }: LevelConditions,
  signal?: AbortSignal,
): Promise<AcceptanceCounts[]> {
  const conditions = { temperature: Math.round(temperature * 10) / 10, topK };
  const of = ["levels 1", model.identity, foresight.identity, JSON.stringify(conditions)];
  const schema = z.array(kindSchema).length(foresight.levels);
  const measure = (until: AbortSignal) => measureLevels(model, foresight, conditions, until);
  return measured(model, { folder: "acceptance", of, schema, measure }, signal);
}

/** As for draft models: texts side by side, openings at temperature 1 so that they differ, and no more than a few seconds in all. */
const [openingTokens, measuredTokens] = [48, 64];
const mostTexts = 8;
const mostSeconds = 3;

async function measureLevels(
  model: DecodingModel,
  foresight: Foresight,
  { temperature, topK }: LevelConditions,
  signal: AbortSignal,
): Promise<AcceptanceCounts[]> {
  const started = performance.now();
  const late = (): boolean => performance.now() - started > 1000 * mostSeconds;
  const { forest } = model;
  const { levels } = foresight;
  const laws = guessLaws(temperature, topK);
  const curves = Array.from({ length: levels }, () => emptyCurve().chosen);
  const chains = foresight.rows?.(levels) ?? [];
  const rowsOfText = 1 + chains.reduce((sum, chain) => sum + chain.length, 0);
  const texts = Math.max(1, Math.min(mostTexts, Math.floor(forest.maxRows / rowsOfText)));
  const lease = forest.lease(leaseSites(model.sites(), foresight.taps ?? []));
  const close = (): void => lease.close();
  const heard = whenAborted(signal, close);
  const begin = model.tokenizer?.beginToken ?? model.config.beginToken ?? 0;
  const longest = forest.contextLength - 1 - levels;
  /** Guesses that wait for their position, by text and level. */
  const waiting = new Map<string, SparseDistribution>();
  try {
    signal.throwIfAborted();
    const { node } = await lease.prefill([begin]);
    let nodes: ForestNode[] = new Array(texts).fill(node);
    let done = 0;
    for (let position = 0; position < longest && done < measuredTokens; position++) {
      const measuring = position >= openingTokens || late() || longest - position <= measuredTokens;
      done += measuring ? 1 : 0;
      /** Whether guesses of this position will be judged: an opening needs none, and they are most of a pass. */
      const guessing = measuring || position >= openingTokens - levels - 1;
      if (late() && done > 8) break;
      const next = nodes.map((at, request) => {
        const law = targetLaw(at, measuring ? temperature : 1);
        for (let level = 0; level < levels; level++) {
          const name = `${request} ${level} ${position + 1}`;
          const proposal = waiting.get(name);
          waiting.delete(name);
          if (!proposal) continue;
          if (temperature === 0) judgeChosen(curves[level], proposal, 1, (token) => law[token]);
          else judgeRaces(curves[level], law, proposal, laws.sharpness, { request, position: position + 1 });
        }
        return drawFrom(law, uniform({ seed: 0, request }, position, "sample"));
      });
      const extensions: Extension[] = next.map((token, text) => ({ parent: nodes[text], token }));
      const places = next.map((_, text) =>
        (guessing ? chains : []).map((chain) =>
          chain.map((ahead, i) => {
            extensions.push({ parent: i === 0 ? text : extensions.length - 1, token: 0, ahead });
            return extensions.length - 1;
          }),
        ),
      );
      const made = await lease.extend(extensions);
      lease.release(new Set(nodes));
      nodes = made.slice(0, texts);
      if (!guessing) continue;
      for (const [request, at] of nodes.entries()) {
        const guesses = await foresight.guess(
          at,
          places[request].map((chain) => chain.map((place) => made[place])),
        );
        for (const [level, logits] of guesses.entries()) {
          if (!areFinite(logits)) continue;
          waiting.set(`${request} ${level} ${position + 3 + level}`, laws.law(logits));
        }
      }
    }
    return curves;
  } finally {
    heard();
    lease.close();
  }
}
