/**
 * The shaper chain: an explicit, ordered list of stages from a model's logits to the distribution of the next token. It
 * holds no state between calls, so that one chain serves every node of every tree of a run, in any order.
 */

import { ensure } from "../../errors.ts";
import { didYouMean } from "../../names.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { requireReturned, requireRun } from "../hooks.ts";
import { winnerOf } from "../race.ts";
import { best, bestLogit, type Candidates, load, weigh, withCandidates } from "./candidates.ts";
import { parseOptions, type ShapingOptions, type ShapingSettings, shapingOptions } from "./options.ts";
import {
  type ChainFacts,
  GREEDY_TEMPERATURE,
  presets,
  type ShapingContext,
  type StageDefinition,
  type StageFunction,
  standardStages,
} from "./stages.ts";

export interface ShaperChain {
  /** Temperature 0: the distribution is one-hot on the best token. */
  readonly greedy: boolean;
  /** Whether some stage compares tokens with one another: what it leaves then depends on which there are. */
  readonly compares: boolean;
  /** Whether some stage reads `context.history`. */
  readonly needsHistory: boolean;
  /** Names of the stages that run, in order. */
  readonly stages: readonly string[];
  /**
   * Probabilities [vocabularySize] that sum to 1, in an array of the caller's own. Errors: `runtime_failed` on NaN or no
   * finite logits; `constraint_dead_end` when mask and bans leave no token.
   */
  shape(logits: Float32Array, context: ShapingContext): Float64Array;
  /** The same by the stages alone that compare no tokens. */
  shapeApart(logits: Float32Array, context: ShapingContext): Float64Array;
  /**
   * The token that plain decoding emits: the winner of the position's race among the shaped distribution, or its most likely token
   * when greedy, the lowest id among equals. Errors as for `shape`.
   */
  choose(logits: Float32Array, context: ShapingContext): number;
}

/**
 * Makes a chain for logits of `vocabularySize`. `tokenizer` is needed for breakers given as text. `extra` adds stages to
 * the standard table (contrast, memories …); those that an explicit `order` does not place run first, on the raw logits.
 * Errors: `bad_option` naming option and range, unknown stages, and options whose stage the order leaves out.
 */
export function createShaperChain(
  options: ShapingOptions,
  vocabularySize: number,
  tokenizer?: Tokenizer,
  extra: Readonly<Record<string, StageDefinition>> = {},
): ShaperChain {
  return chainOf(parseOptions(shapingOptions, options, "shaping"), { vocabularySize, tokenizer }, extra);
}

/**
 * What of a request cannot become a chain, before its run begins: stages of shapers, and those of the request, are taken for what the order
 * names. Errors: as `createShaperChain`.
 */
export function requireChain(settings: ShapingSettings, facts: ChainFacts): void {
  const names = typeof settings.order === "string" ? [] : settings.order;
  const others = names.filter((name) => !Object.hasOwn(standardStages, name));
  chainOf(settings, facts, Object.fromEntries(others.map((name) => [name, without])));
}

/** A stage that does nothing. */
const without: StageDefinition = {
  changes: "support",
  keepsBest: true,
  readsHistory: false,
  create: () => undefined,
};

function chainOf(
  settings: ShapingSettings,
  facts: ChainFacts,
  extra: Readonly<Record<string, StageDefinition>>,
): ShaperChain {
  const { vocabularySize } = facts;
  const definitions: Readonly<Record<string, StageDefinition>> = { ...standardStages, ...extra };
  const order = resolveOrder(settings.order, definitions, Object.keys(extra));
  const greedy = settings.temperature < GREEDY_TEMPERATURE;
  ensure(
    !greedy || !settings.dynamicTemperature,
    "bad_option",
    "dynamicTemperature: means nothing at temperature 0, which always takes the most likely token",
  );

  const active: { name: string; run: StageFunction; readsHistory: boolean }[] = [];
  for (const [name, definition] of Object.entries(definitions)) {
    if (order.includes(name)) continue;
    ensure(
      !definition.create(settings, facts),
      "bad_option",
      () => `order: leaves out ${name}, for which there are options; add it or drop the options`,
    );
  }
  for (const name of order) {
    const definition = definitions[name];
    if (greedy && !mattersToGreedy(name, definition, order)) continue;
    const run = definition.create(settings, facts);
    requireReturned(
      run === undefined || typeof run === "function",
      run,
      `the stage ${name}: create`,
      "a function that changes candidates, or nothing",
    );
    if (run) active.push({ name, run, readsHistory: definition.readsHistory });
  }

  const run = (candidates: Candidates, logits: Float32Array, context: ShapingContext, stages = active) => {
    load(candidates, logits, context.allowed);
    for (const stage of stages) {
      requireRun(stage.run(candidates, context), `the stage ${stage.name}`);
      ensure(candidates.count > 0, "constraint_dead_end", () => {
        return `no token is left after the stage "${stage.name}"${context.allowed ? " under the constraint" : ""}`;
      });
    }
  };
  const onlyDrops = active.every((stage) => stage.run.keeps);
  const mostLikely = (logits: Float32Array, context: ShapingContext) => {
    if (onlyDrops && !context.allowed) {
      const likeliest = bestLogit(logits, vocabularySize);
      if (active.every((stage) => stage.run.keeps!(likeliest, context))) return likeliest;
    }
    return withCandidates(vocabularySize, (candidates) => {
      run(candidates, logits, context);
      return best(candidates);
    });
  };
  const apart = active.filter((stage) => stage.run.alone);
  const lawBy = (stages: typeof active, logits: Float32Array, context: ShapingContext) =>
    withCandidates(vocabularySize, (candidates) => {
      run(candidates, logits, context, stages);
      weigh(candidates);
      const probabilities = new Float64Array(vocabularySize);
      const { tokens, count, weights, total } = candidates;
      const scale = 1 / total;
      for (let i = 0; i < count; i++) probabilities[tokens[i]] = weights[tokens[i]] * scale;
      return probabilities;
    });
  return {
    greedy,
    compares: apart.length < active.length,
    needsHistory: active.some((stage) => stage.readsHistory),
    stages: active.map((stage) => stage.name),
    choose(logits, context) {
      if (greedy) return mostLikely(logits, context);
      return withCandidates(vocabularySize, (candidates) => {
        run(candidates, logits, context);
        weigh(candidates);
        return winnerOf(context, candidates.tokens, candidates.count, candidates.weights);
      });
    },
    shape(logits, context) {
      if (!greedy) return lawBy(active, logits, context);
      const probabilities = new Float64Array(vocabularySize);
      probabilities[mostLikely(logits, context)] = 1;
      return probabilities;
    },
    shapeApart: (logits, context) => lawBy(apart, logits, context),
  };
}

/**
 * At temperature 0 what only drops tokens matters if it can drop the best one, and if it comes before the temperature has
 * made the distribution one-hot. Bias and penalties always matter.
 */
function mattersToGreedy(name: string, definition: StageDefinition, order: readonly string[]): boolean {
  if (definition.keepsBest) return false;
  return definition.changes === "scores" || order.indexOf(name) < order.indexOf("temperature");
}

function resolveOrder(
  order: ShapingSettings["order"],
  definitions: Readonly<Record<string, StageDefinition>>,
  extra: readonly string[],
): readonly string[] {
  const names = typeof order === "string" ? presets[order] : order;
  for (const name of names) {
    ensure(Object.hasOwn(definitions, name), "bad_option", () => {
      return `order: no stage is called "${name}"${didYouMean(name, Object.keys(definitions))} Stages: ${Object.keys(definitions).join(", ")}`;
    });
  }
  return [...extra.filter((name) => !names.includes(name)), ...names];
}
