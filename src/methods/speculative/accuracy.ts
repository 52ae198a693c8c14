/** How often guesses of the tokens after the next are the model's own choice, text by text: for comparisons of where guesses come from. */
import { argmax } from "../../engine/distribution.ts";
import type { Extension, ForestNode } from "../../engine/forest.ts";
import type { DecodingModel } from "../../engine/model.ts";
import { leaseSites } from "../../engine/sites/request.ts";
import { VentrisError } from "../../errors.ts";
import type { Foresight } from "./guesses.ts";
import { openEarlyExits } from "./hidden-transfer/early-exit.ts";
import { openTransfers, transferForesight } from "./hidden-transfer/index.ts";
import { medusaForesight, openHeads } from "./medusa/heads.ts";
import { openPromptTokens, promptForesight } from "./prompt-tokens/vectors.ts";

/** What is asked of a model here; an open model has it. */
type Host = Pick<
  DecodingModel,
  "name" | "config" | "family" | "state" | "part" | "parameterValues" | "forest" | "sites"
>;

/** Of the part with the method's own name, or another. Errors: `bad_option`, and those of reading the part. */
export async function foresightOf(model: Host, name: string, part = name): Promise<Foresight> {
  if (name === "medusa") return medusaForesight(await openHeads(model, part));
  if (name === "prompt-tokens") {
    const tokens = await openPromptTokens(model, part);
    return promptForesight(tokens, tokens.count);
  }
  if (name === "hidden-transfer") {
    const transfers = await openTransfers(model, part);
    return transferForesight(transfers, transfers.layers.length, model.config.layers);
  }
  if (name === "early-exit") return openEarlyExits(model, part);
  throw new VentrisError("bad_option", `${name} has no guesses by level`);
}

export interface AccuracyOptions {
  /** Likeliest tokens of a guess among which the model's may be. */
  readonly top?: number;
  /** Positions of a text that are looked at, the last ones that leave room; default: what fits a pass, up to 24. */
  readonly positions?: number;
}

/** Shares by level, under the text's own tokens. Errors: those of passes. */
export async function guessAccuracy(
  model: Host,
  foresight: Foresight,
  text: readonly number[],
  { top = 1, positions = 24 }: AccuracyOptions = {},
): Promise<number[]> {
  const { forest } = model;
  const { levels } = foresight;
  const chains = foresight.rows?.(levels) ?? [];
  const rows = 1 + chains.reduce((sum, chain) => sum + chain.length, 0);
  const count = Math.min(positions, Math.floor((forest.maxRows - levels) / rows), text.length - levels - 2);
  const lease = forest.lease(leaseSites(model.sites(), foresight.taps ?? []));
  try {
    const start = text.length - levels - count;
    const { node } = await lease.prefill(text.slice(0, start));
    const extensions: Extension[] = text
      .slice(start)
      .map((token, i) => ({ parent: i === 0 ? node : i - 1, token }) satisfies Extension);
    const places = Array.from({ length: count }, (_, at) =>
      chains.map((chain) =>
        chain.map((ahead, i) => {
          extensions.push({ parent: i === 0 ? at : extensions.length - 1, token: 0, ahead });
          return extensions.length - 1;
        }),
      ),
    );
    const made = await lease.extend(extensions);
    const choice = made.slice(0, count + levels).map(({ logits }) => argmax(logits!));
    const hits = new Array<number>(levels).fill(0);
    for (let at = 0; at < count; at++) {
      const own = places[at].map((chain) => chain.map((place): ForestNode => made[place]));
      const guesses = await foresight.guess(made[at], own);
      for (const [level, logits] of guesses.entries()) {
        // The row so many places on says what the guess foretells.
        if (logits && rankOf(logits, choice[at + level + 1]) < top) hits[level] += 1;
      }
    }
    return hits.map((hit) => hit / count);
  } finally {
    lease.close();
  }
}

/** Tokens that are likelier. */
function rankOf(logits: Float32Array, token: number): number {
  let rank = 0;
  for (const logit of logits) if (logit > logits[token]) rank += 1;
  return rank;
}
