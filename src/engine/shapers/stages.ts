/**
 * The stages a shaper chain is made of, as data: a table from name to definition, and the orders in which known engines
 * apply them. Definitions of truncation follow Hugging Face transformers and llama.cpp; where these keep or drop all of
 * several equal tokens, here exactly the shortest set is kept and the lowest ids win.
 */
import { ensure } from "../../errors.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { type Stream, uniform } from "../random.ts";
import { type Candidates, changed, entropy, highest, keepAtLeast, keepBest, keepWhere, weigh } from "./candidates.ts";
import { createBreakers, dry, noRepeatNgram, penalties } from "./history.ts";
import { type MirostatState, mirostat } from "./mirostat.ts";
import type { presetNames, ShapingSettings, standardNames } from "./options.ts";

/** What a distribution depends on besides the logits. */
export interface ShapingContext {
  /** Prompt and output tokens, up to and including the node whose successor is to be chosen. */
  readonly history: ArrayLike<number>;
  /** How many of `history` are prompt. */
  readonly promptLength: number;
  /** Position of the token to be chosen; with `stream`, the coordinate of the draws that stages make. */
  readonly position: number;
  readonly stream: Stream;
  /** Tokens that a constraint allows, 32 to a word; applied before every stage. */
  readonly allowed?: Uint32Array;
  /** What stages with a state know of the position before (nothing at the first of the output), and leave to the next. */
  readonly memory?: { readonly before?: MirostatState; after?: MirostatState };
}

/** Changes candidates in place. */
export interface StageFunction {
  (candidates: Candidates, context: ShapingContext): void;
  /**
   * Of stages that only drop tokens: whether this one stays. The best token is then known without running the stage, where it stays.
   */
  keeps?(token: number, context: ShapingContext): boolean;
  /**
   * Whether what becomes of a token depends on no other token. The law of such stages, cut down to some tokens, is the law they make of these
   * tokens; of others (topK …) it is not.
   */
  alone?: true;
}

/** Marks a stage that looks at each token alone. */
export const alone = (run: StageFunction): StageFunction => Object.assign(run, { alone: true } as const);

/** A stage of sampling: its options, and what it does with them. */
export interface StageDefinition {
  /** Whether it changes scores, or only drops tokens. Greedy choice always honours the former. */
  readonly changes: "scores" | "support";
  /** The best token before it is the best after it: needless where only the best counts. */
  readonly keepsBest: boolean;
  readonly readsHistory: boolean;
  /** The stage for these settings; undefined when they leave it off. Errors: `bad_option`. */
  create(settings: ShapingSettings, chain: ChainFacts): StageFunction | undefined;
}

/** What a stage may know of its chain when it is made. */
export interface ChainFacts {
  readonly vocabularySize: number;
  readonly tokenizer?: Tokenizer;
}

/** Below this, temperature means "always the most likely token". */
export const GREEDY_TEMPERATURE = 1e-5;

const truncation = { changes: "support", keepsBest: true, readsHistory: false } as const;

export const standardStages: Readonly<Record<(typeof standardNames)[number], StageDefinition>> = {
  /** Logit bias and banned tokens. */
  bias: {
    changes: "scores",
    keepsBest: false,
    readsHistory: false,
    create: ({ logitBias = {}, badTokens = [] }, { vocabularySize }) => {
      const finite: [token: number, bias: number][] = [];
      const banned = new Set(badTokens);
      for (const [id, bias] of Object.entries(logitBias)) {
        if (bias === -Infinity) banned.add(Number(id));
        else if (bias !== 0) finite.push([Number(id), bias]);
      }
      checkTokens("logitBias", Object.keys(logitBias).map(Number), vocabularySize);
      checkTokens("badTokens", badTokens, vocabularySize);
      if (finite.length === 0 && banned.size === 0) return undefined;
      const keeps = (token: number) => !banned.has(token);
      const run: StageFunction = (candidates) => {
        for (const [token, bias] of finite) candidates.scores[token] += bias;
        if (finite.length > 0) changed(candidates);
        if (banned.size > 0) keepWhere(candidates, keeps);
      };
      if (finite.length === 0) run.keeps = keeps;
      return alone(run);
    },
  },
  penalties: {
    changes: "scores",
    keepsBest: false,
    readsHistory: true,
    create: (settings, { vocabularySize }) => {
      const { repetitionPenalty: repetition, frequencyPenalty: frequency, presencePenalty: presence } = settings;
      if (repetition === 1 && frequency === 0 && presence === 0) return undefined;
      const { window, countPrompt } = conventionsOf(settings.order);
      return alone(
        penalties(
          { repetition, frequency, presence, countPrompt, window: span(settings.penaltyWindow ?? window) },
          vocabularySize,
        ),
      );
    },
  },
  dry: {
    changes: "scores",
    keepsBest: false,
    readsHistory: true,
    create: ({ dry: options }, { vocabularySize, tokenizer }) => {
      if (!options || options.multiplier === 0) return undefined;
      const ids = options.breakers.filter((breaker) => typeof breaker === "number");
      checkTokens("dry.breakers", ids, vocabularySize);
      ensure(
        tokenizer || ids.length === options.breakers.length,
        "bad_option",
        "dry.breakers: texts need a tokenizer; without one give token ids, or [] for none",
      );
      const breakers = createBreakers(options.breakers, vocabularySize, tokenizer);
      return alone(dry({ ...options, window: span(options.window) }, breakers, vocabularySize));
    },
  },
  noRepeatNgram: {
    changes: "scores", // a ban, as of bad tokens: at temperature 0 too
    keepsBest: false,
    readsHistory: true,
    create: ({ noRepeatNgram: size }) => (size === 0 ? undefined : alone(noRepeatNgram(size))),
  },
  temperature: {
    changes: "scores",
    keepsBest: true,
    readsHistory: false,
    create: ({ temperature, dynamicTemperature }) => {
      if (dynamicTemperature) return dynamic(temperature, dynamicTemperature);
      if (temperature === 1) return undefined;
      const inverse = 1 / temperature;
      return alone((candidates) => {
        const { tokens, count, scores } = candidates;
        for (let i = 0; i < count; i++) scores[tokens[i]] *= inverse;
        changed(candidates);
      });
    },
  },
  /** Logits within n standard deviations (of the live logits) of the highest (Tang et al. 2024). */
  topNSigma: {
    ...truncation,
    create: ({ topNSigma, minKept }) => {
      if (topNSigma === undefined) return undefined;
      return keeping(
        minKept,
        (candidates) => {
          const { tokens, count, scores } = candidates;
          let sum = 0;
          for (let i = 0; i < count; i++) sum += scores[tokens[i]];
          const mean = sum / count;
          let squares = 0;
          for (let i = 0; i < count; i++) squares += (scores[tokens[i]] - mean) ** 2;
          keepAtLeast(candidates, scores, highest(candidates, scores) - topNSigma * Math.sqrt(squares / count));
        },
        byScore,
      );
    },
  },
  topK: {
    ...truncation,
    create: ({ topK, minKept }) => {
      if (topK === 0) return undefined;
      return keeping(
        minKept,
        (candidates) => {
          if (topK >= candidates.count) return;
          keepBest(candidates, candidates.scores, topK);
        },
        byScore,
      );
    },
  },
  /** Nucleus: the token that crosses the sum is kept (Holtzman et al. 2020). */
  topP: {
    ...truncation,
    create: ({ topP, minKept }) => {
      if (topP === 1) return undefined;
      return keeping(
        minKept,
        (candidates) => {
          weigh(candidates);
          const { scores, weights, total, count } = candidates;
          // Tokens this light make up less than 1 - topP together and cannot be needed: a cheap first cut.
          keepAtLeast(candidates, weights, ((1 - topP) * total) / (count + 1));
          keepBest(candidates, scores, topP * total, weights);
        },
        byScore,
      );
    },
  },
  minP: {
    ...truncation,
    create: ({ minP, minKept }) => {
      if (minP === 0) return undefined;
      const distance = Math.log(minP);
      return keeping(
        minKept,
        (candidates) => {
          keepAtLeast(candidates, candidates.scores, highest(candidates, candidates.scores) + distance);
        },
        byScore,
      );
    },
  },
  /** Smallest set by |-ln p - entropy| that reaches the mass (Meister et al. 2023). */
  typicalP: {
    ...truncation,
    keepsBest: false,
    create: ({ typicalP, minKept }) => {
      if (typicalP === 1) return undefined;
      return keeping(
        minKept,
        (candidates) => {
          weigh(candidates);
          const { tokens, count, scores, keys } = candidates;
          // -ln p - entropy = typical - score
          const typical = candidates.reference + Math.log(candidates.total) - entropy(candidates);
          for (let i = 0; i < count; i++) keys[tokens[i]] = -Math.abs(typical - scores[tokens[i]]);
          keepBest(candidates, keys, typicalP * candidates.total, candidates.weights);
        },
        byKey,
      );
    },
  },
  /** Hewitt et al. 2022, section 4. */
  epsilon: {
    ...truncation,
    create: ({ epsilon, minKept }) => {
      if (epsilon === 0) return undefined;
      return keeping(
        minKept,
        (candidates) => {
          weigh(candidates);
          keepAtLeast(candidates, candidates.weights, epsilon * candidates.total);
        },
        byScore,
      );
    },
  },
  eta: {
    ...truncation,
    create: ({ eta, minKept }) => {
      if (eta === 0) return undefined;
      return keeping(
        minKept,
        (candidates) => {
          weigh(candidates);
          const threshold = Math.min(eta, Math.sqrt(eta) * Math.exp(-entropy(candidates)));
          keepAtLeast(candidates, candidates.weights, threshold * candidates.total);
        },
        byScore,
      );
    },
  },
  /**
   * Exclude top choices (p-e-w): with the given probability, only the least likely of the tokens at or above the
   * threshold stays, beside all below it. One coin per position, whichever branch asks.
   */
  xtc: {
    ...truncation,
    keepsBest: false,
    create: ({ xtc, minKept }) => {
      if (!xtc || xtc.probability === 0 || xtc.threshold > 0.5) return undefined; // no two tokens can exceed one half
      const { probability, threshold } = xtc;
      return keeping(minKept, (candidates, { stream, position }) => {
        if (uniform(stream, position, "xtc") >= probability) return;
        weigh(candidates);
        const { tokens, count, scores, weights } = candidates;
        const bound = threshold * candidates.total;
        let spared = -1;
        for (let i = 0; i < count; i++) {
          if (weights[tokens[i]] < bound) continue;
          if (spared < 0 || scores[tokens[i]] < scores[spared]) spared = tokens[i];
        }
        if (spared >= 0) keepWhere(candidates, (token) => token === spared || weights[token] < bound);
      });
    },
  },
  /** Comes last: what it leaves is what the token is chosen from. */
  mirostat: {
    ...truncation,
    readsHistory: true,
    create: ({ mirostat: settings, minKept }) => settings && mirostat(settings, minKept),
  },
};

/**
 * Dynamic temperature by entropy, as in llama.cpp: from temperature - range (0 at least) to temperature + range, by the power of the
 * live distribution's share of the largest entropy that so many tokens can have.
 */
function dynamic(temperature: number, { range, exponent }: { range: number; exponent: number }): StageFunction {
  const low = Math.max(0, temperature - range);
  const high = temperature + range;
  return (candidates) => {
    const { tokens, count, scores } = candidates;
    if (count < 2) return;
    weigh(candidates);
    const share = Math.max(0, entropy(candidates)) / Math.log(count);
    const inverse = 1 / Math.max(GREEDY_TEMPERATURE, low + (high - low) * share ** exponent);
    for (let i = 0; i < count; i++) scores[tokens[i]] *= inverse;
    changed(candidates);
  };
}

/**
 * A cut that leaves at least so many tokens: where it leaves fewer, the best of those there were. `best` ranks them, after the cut;
 * without it such a cut is not made at all.
 */
function keeping(
  minKept: number,
  cut: StageFunction | undefined,
  best?: (candidates: Candidates) => Float64Array,
): StageFunction | undefined {
  if (!cut || minKept === 1) return cut;
  let saved = new Int32Array(0);
  return (candidates, context) => {
    const { count, tokens } = candidates;
    if (saved.length < count) saved = new Int32Array(candidates.vocabularySize);
    saved.set(tokens.subarray(0, count));
    cut(candidates, context);
    if (candidates.count >= Math.min(minKept, count)) return;
    tokens.set(saved.subarray(0, count));
    candidates.count = count;
    changed(candidates);
    if (best) keepBest(candidates, best(candidates), minKept);
  };
}

const byScore = ({ scores }: Candidates): Float64Array => scores;
const byKey = ({ keys }: Candidates): Float64Array => keys;

/**
 * Orders of known engines; stages that an engine lacks stand where they disturb its own order least. llama.cpp cuts the
 * untempered distribution, the others the tempered one; vLLM takes min-p before top-k and top-p.
 */
export const presets: Readonly<Record<(typeof presetNames)[number], readonly string[]>> = {
  hf: "bias penalties noRepeatNgram dry temperature topNSigma topK topP minP typicalP epsilon eta xtc mirostat".split(
    " ",
  ),
  llamacpp:
    "bias penalties noRepeatNgram dry topNSigma topK typicalP topP minP epsilon eta xtc temperature mirostat".split(
      " ",
    ),
  vllm: "bias penalties noRepeatNgram dry temperature minP topNSigma topK topP typicalP epsilon eta xtc mirostat".split(
    " ",
  ),
};

/**
 * What penalties count: llama.cpp the last 64 tokens whoever wrote them; the others everything, though prompt tokens only
 * towards the repetition penalty.
 */
function conventionsOf(order: ShapingSettings["order"]) {
  return order === "llamacpp"
    ? ({ window: 64, countPrompt: true } as const)
    : ({ window: "all", countPrompt: false } as const);
}

function span(window: number | "all"): number {
  return window === "all" ? Infinity : window;
}

/** Errors: `bad_option` naming the option. */
export function checkTokens(option: string, ids: readonly number[], vocabularySize: number): void {
  for (const id of ids) {
    ensure(
      id < vocabularySize,
      "bad_option",
      () => `${option}: token ${id} is not in the vocabulary (0 to ${vocabularySize - 1})`,
    );
  }
}
