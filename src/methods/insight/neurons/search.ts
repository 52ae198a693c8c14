/** Looking into a map of neurons: what one stands for, and which stand for a word. */

import { ensure } from "../../../errors.ts";
import { suggestion } from "../../../names.ts";
import { requireWhole } from "../../../numbers.ts";
import type { Tokenizer } from "../../../text/index.ts";
import type { NeuronMap } from "./index.ts";

export interface NeuronReading {
  readonly layer: number;
  readonly neuron: number;
  /** Best first. `probability` is absent where scores are cosines. */
  readonly tokens: readonly { readonly token: number; readonly score: number; readonly probability?: number }[];
  /** Of the tokens that were asked for, all together: their probability, or with cosines their mean. */
  readonly wanted?: number;
}

/** The neuron at a place of the map (see `NeuronMap`). Errors: `bad_option` for a place that it has not. */
export function neuronAt(map: NeuronMap, place: number): NeuronReading {
  requireWhole({ place }, 0, map.normaliser.length - 1);
  const { settings, layers, neurons, tokens, scores, normaliser, wanted, wantedScores } = map;
  const { top, metric } = settings;
  const probability = (score: number): number => Math.exp(score - normaliser[place]);
  const entries = Array.from({ length: top }, (_, i) => {
    const [token, score] = [tokens[place * top + i], scores[place * top + i]];
    return { token, score, ...(metric === "softmax" && { probability: probability(score) }) };
  });
  const own = wantedScores.subarray(place * wanted.length, (place + 1) * wanted.length);
  return {
    layer: layers[Math.floor(place / neurons)],
    neuron: place % neurons,
    tokens: entries,
    ...(wanted.length > 0 && {
      wanted:
        metric === "softmax"
          ? own.reduce((sum, score) => sum + probability(score), 0)
          : own.reduce((sum, score) => sum + score, 0) / own.length,
    }),
  };
}

/** `specialised`: by the best token's probability (or cosine). `wanted`: by the tokens that were asked for. */
export const searchOrders = ["specialised", "wanted"] as const;
export type SearchOrder = (typeof searchOrders)[number];

/** The first `limit` neurons in an order; of equals the one in the lower layer, then of the lower number. Errors: `bad_option` for `wanted` without tokens, and a limit below 0. */
export function rankNeurons(map: NeuronMap, order: SearchOrder, limit: number): NeuronReading[] {
  ensure(order !== "wanted" || map.wanted.length > 0, "bad_option", "neurons: no tokens were asked for to order by");
  requireWhole({ limit }, 0);
  const { top, metric } = map.settings;
  const keys = Float64Array.from({ length: map.normaliser.length }, (_, place) =>
    order === "wanted"
      ? neuronAt(map, place).wanted!
      : map.scores[place * top] - (metric === "softmax" ? map.normaliser[place] : 0),
  );
  const places = Array.from(keys.keys()).sort((a, b) => keys[b] - keys[a] || a - b);
  return places.slice(0, limit).map((place) => neuronAt(map, place));
}

/**
 * All tokens that spell a word: with or without a space before it, in any case, and its regular plural. Errors: `bad_option` where none does, with the
 * nearest token.
 */
export function conceptTokens(tokenizer: Tokenizer | undefined, word: string): number[] {
  ensure(tokenizer, "bad_option", `the model has no tokenizer: name tokens by their numbers instead of "${word}"`);
  const wanted = word.trim().toLowerCase();
  ensure(wanted !== "", "bad_option", "the word to look for is empty");
  const forms = new Set([wanted, `${wanted}s`, `${wanted}es`, wanted.replace(/y$/, "ies")]);
  const spelled = spellings(tokenizer);
  const found = spelled.flatMap((text, token) => (text !== "" && forms.has(text) ? [token] : []));
  ensure(found.length > 0, "bad_option", () => {
    const long = [...new Set(spelled.filter((text) => text.length > 2))];
    return `no token of the model spells "${word.slice(0, 50)}" as a whole${suggestion(wanted.slice(0, 50), long)}`;
  });
  return found;
}

const known = new WeakMap<Tokenizer, string[]>();

/** Every token's text without spaces around it, in lower case. */
function spellings(tokenizer: Tokenizer): string[] {
  let texts = known.get(tokenizer);
  if (!texts) {
    texts = Array.from({ length: tokenizer.vocabularySize }, (_, id) =>
      tokenizer.decode([id], { continued: true }).trim().toLowerCase(),
    );
    known.set(tokenizer, texts);
  }
  return texts;
}
