/**
 * Lexical unit decoding (Sun et al. 2024): a model that was trained for it (src/training/lexical-units.ts) says several tokens in one pass, as long as it is sure
 * of them. Behind the last tokens stand placeholders; the first token is taken as ever, and those of the placeholders while each has a
 * probability of at least beta. Nothing is verified: it is lossy. What was accepted goes through the next pass as what it is, since the
 * placeholders' rows are forgotten.
 */
import { z } from "zod";
import type { Decoding } from "../../../engine/decoding.ts";
import { argmax } from "../../../engine/distribution.ts";
import type { Extension, ForestNode } from "../../../engine/forest.ts";
import { defineMethod } from "../../../engine/method.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import type { Commitment } from "../../../engine/output.ts";
import { ensure } from "../../../errors.ts";
import { foresightDrafter } from "../foresight.ts";
import type { Foresight } from "../guesses.ts";
import { refuseOptions } from "../options.ts";
import { guessedOutlook } from "../outlook.ts";
import { speculate } from "../speculate.ts";

/** The name of the placeholder in tokenizers of ours. */
const placeholder = "<|pad|>";

/** Errors: `bad_option` where there is none, or one that ends the text. */
function padOf({ model, endTokens }: Decoding, asked: number | undefined): number {
  const { tokenizer, config, name } = model;
  const pad = asked ?? tokenizer?.specialTokens?.get(placeholder);
  ensure(
    pad !== undefined && pad < config.vocabularySize,
    "bad_option",
    pad === undefined
      ? `pad: the tokenizer of ${name} has no ${placeholder}: which token is the placeholder that the model was trained with?`
      : `pad: ${pad} is outside the vocabulary of ${config.vocabularySize}`,
  );
  ensure(
    !endTokens.has(pad),
    "bad_option",
    `pad: ${pad} ends the text: the placeholder is what the model reads, not what it says`,
  );
  return pad;
}

/** Whether a token repeats or merely continues the one before it, as placeholders that do not see each other's tokens tend to. */
export function isRepetition(before: number, token: number, textOf: ((token: number) => string) | undefined): boolean {
  if (before === token) return true;
  const [one, other] = [before, token].map((id) => textOf?.(id).trim() ?? "");
  const words = /^\p{L}+$/u;
  return words.test(one) && words.test(other) && other.startsWith(one);
}

/** How many of these tokens are taken: the first, and those after it while each is sure enough and no repetition. */
export function acceptedLength(
  tokens: readonly number[],
  confidences: readonly number[],
  beta: number,
  repeats: (before: number, token: number) => boolean,
): number {
  let length = 1;
  if (!(confidences[0] >= beta)) return length;
  while (length < tokens.length && confidences[length] >= beta && !repeats(tokens[length - 1], tokens[length]))
    length++;
  return length;
}

interface Settings {
  readonly beta: number;
  readonly lookAhead: number;
  readonly guard: boolean;
}

async function decodeUnits(decoding: Decoding, pad: number, { beta, lookAhead, guard }: Settings): Promise<void> {
  const { lease, counters, forest, model, endTokens } = decoding;
  const textOf = model.tokenizer && ((token: number) => model.tokenizer!.decode([token], { continued: true }));
  const repeats = (before: number, token: number): boolean => guard && isRepetition(before, token, textOf);
  let tip = await decoding.prefill();
  const first = decoding.choose(tip);
  let before: Commitment = { token: first, from: tip };
  decoding.commit([before]);
  /** Output whose rows are not in the forest. */
  let pending = [first];
  while (!decoding.finished) {
    const end = tip.depth + pending.length;
    const room = Math.min(
      lookAhead - 1,
      decoding.remaining - 1,
      forest.contextLength - 1 - end,
      forest.maxRows - pending.length,
    );
    const ahead = beta > 1 ? 0 : Math.max(0, room);
    const extensions: Extension[] = [
      ...pending.map((token, i) => ({ parent: i === 0 ? tip : i - 1, token, logits: i === pending.length - 1 })),
      ...Array.from({ length: ahead }, (_, i) => ({ parent: pending.length - 1 + i, token: pad, ahead: {} })),
    ];
    const nodes = await lease.extend(extensions);
    const last = nodes[pending.length - 1];
    const said: Commitment[] = [];
    const confidences: number[] = [];
    for (const [i, row] of nodes.slice(pending.length - 1).entries()) {
      if (!row.logits) break; // a placeholder's row that failed
      // What shapers see before a placeholder is what was said before it, in this pass, too.
      const node = await decoding.standIn(row, before.from, before.token);
      const law = decoding.greedy ? undefined : decoding.shape(node);
      // The first is what plain decoding says; of a placeholder it is the likeliest.
      const token = i === 0 || !law ? decoding.choose(node) : argmax(law);
      before = { token, from: node };
      said.push(before);
      confidences.push(law ? law[token] : probabilityOf(node, token));
      if (endTokens.has(token)) break;
    }
    const tokens = said.map(({ token }) => token);
    const length = acceptedLength(tokens, confidences, beta, repeats);
    counters.drafted += tokens.length - 1;
    counters.accepted += length - 1;
    decoding.emit({
      type: "draft",
      tokens: tokens.slice(1),
      parents: tokens.slice(1).map((_, i) => i),
      values: confidences.slice(1),
      passes: 0,
      seconds: 0,
      note: `one token, and ${length - 1} of ${tokens.length - 1} placeholders that were sure enough (nothing is verified)`,
    });
    const taken = said.slice(0, length);
    decoding.commit(taken);
    lease.release([tip, ...nodes.slice(0, pending.length - 1)]);
    tip = last;
    before = taken[length - 1];
    pending = taken.map(({ token }) => token);
  }
}

/** Under the model's own distribution. */
function probabilityOf({ logits }: ForestNode, token: number): number {
  let [most, sum] = [-Infinity, 0];
  for (const logit of logits!) if (logit > most) most = logit;
  for (const logit of logits!) sum += Math.exp(logit - most);
  return Math.exp(logits![token] - most) / sum;
}

/** The placeholders as guesses to be verified: the lossless variant. */
async function placeholderForesight(model: DecodingModel, pad: number, levels: number): Promise<Foresight> {
  const { hiddenSize: width } = model.config;
  const embeddings = model.family.parameters(model.config)[0].name;
  const vector = await model.state(`placeholder ${pad}`, async () => {
    const values = (await model.parameterValues((name) => name === embeddings)).get(embeddings)!;
    return values.slice(pad * width, (pad + 1) * width);
  });
  const chain = Array.from({ length: levels }, () => ({ vector }));
  return {
    identity: `lexical-units ${pad} ${levels}`,
    levels,
    rows: (count) => [chain.slice(0, count)],
    guess: (_, [made]) => made.map(({ logits }) => logits),
  };
}

export const lexicalUnits = defineMethod({
  name: "lexical-units",
  family: "speculative",
  summary: "a model trained for it says a phrase it is sure of in one pass; lossy, or verified as drafts",
  source: "Sun et al. 2024, lexical unit decoding, arXiv 2405.15208",
  lossless: ({ verify }) => verify,
  outlook: (model, { lookAhead }, conditions) => guessedOutlook(Math.max(1, lookAhead - 1))(model, {}, conditions),
  options: z.strictObject({
    beta: z
      .number()
      .min(0)
      .max(2)
      .optional()
      .describe(
        "tokens of placeholders are taken while each has at least this probability: lower takes more a pass and makes more mistakes; above 1 takes one token a pass; not with verify; default: 0.8",
      ),
    lookAhead: z
      .int()
      .min(1)
      .max(16)
      .default(4)
      .describe(
        "most tokens a pass, one and those of the placeholders behind it: more than the model was trained with, which its card says (units), rarely help",
      ),
    guard: z
      .boolean()
      .optional()
      .describe(
        "end a pass before a token that repeats the one before it or begins with its letters, the usual mistake of placeholders; false takes such tokens, too; not with verify; default: true",
      ),
    verify: z
      .boolean()
      .default(false)
      .describe(
        "true: what placeholders say is a draft that the next pass verifies, and the output is plain decoding's; false: it is taken as it is (lossy, as published)",
      ),
    pad: z
      .int()
      .min(0)
      .optional()
      .describe(`the placeholder token that the model was trained with; default: ${placeholder}`),
  }),
  async decode(decoding, options) {
    const { model } = decoding;
    const pad = padOf(decoding, options.pad);
    if (!options.verify) {
      ensure(
        !decoding.constraining,
        "bad_option",
        "constraint: lexical-units says several tokens before any of them could be checked; give it verify: true",
      );
      const { beta = 0.8, lookAhead, guard = true } = options;
      return decodeUnits(decoding, pad, { beta, lookAhead, guard });
    }
    refuseOptions(options, ["beta", "guard"], "verify: true, where the model itself decides what is taken");
    const levels = options.lookAhead - 1;
    if (levels === 0)
      return speculate(decoding, {
        propose: () => ({ kind: "chosen", replacement: false, tokens: [], parents: [], distributions: [] }),
      });
    const foresight = await placeholderForesight(model, pad, levels);
    const drafter = await foresightDrafter(decoding, foresight, { by: "probability", estimate: "measured", topK: 64 });
    await speculate(decoding, drafter);
  },
});
