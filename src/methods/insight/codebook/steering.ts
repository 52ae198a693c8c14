/** The paper's steering of stories: codes that fire before a topic's word, which they announce, are forced while the model writes, and the share of its texts that name the topic is compared. */
import { uniform } from "../../../engine/random.ts";
import type { AppliedEdit } from "../../../engine/sites/rows.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { type CodeChange, codebookEdits } from "./interventions.ts";
import type { Codebook } from "./part.ts";
import { type CodeCache, cacheCodes, type FoundCode, type Reading, searchCodes, tokensBefore } from "./search.ts";

/** Ten topics, the paper's and three frequent ones of simple stories; a text names a topic where the expression matches. */
export const topics: Readonly<Record<string, string>> = {
  dragon: "dragons?",
  slide: "slides?",
  friend: "friends?",
  flower: "flowers?",
  fire: "fires?",
  king: "prince|crown|king|castle",
  baby: "baby|babies",
  princess: "princess(?:es)?",
  boat: "boats?",
  snow: "snow",
};

/** The authors'. The empty one stands for a text's very beginning. */
export const openings = ["", "Once upon a time,", "Once there was a", "A long time ago,"];

/** What of an open model this needs. */
export interface Steerable extends Reading {
  decode(
    prompt: string | readonly number[],
    options: {
      temperature: number;
      maxTokens: number;
      seed: number;
      request: number;
      edits: AppliedEdit[];
      signal?: AbortSignal;
    },
  ): { readonly final: Promise<{ readonly text: string }> };
}

export interface Steering {
  readonly topic: string;
  /** Codes that are forced. */
  readonly codes: number;
  /** Shares of texts that name the topic: through the codebooks as they are, with the topic's codes, and with as many random ones in the same places. */
  readonly free: number;
  readonly patched: number;
  readonly random: number;
}

export interface SteeringOptions {
  /** Stories that codes are looked for in. */
  readonly texts: readonly string[];
  /** Texts written for each topic and setting. */
  readonly samples: number;
  /** Tokens of each text at most. Default 200. */
  readonly tokens?: number;
  /** Names of those to measure. Default: all ten. */
  readonly topics?: readonly string[];
  /** Of the texts and of the random codes. Default 0. */
  readonly seed?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told the share that is done. Default: nobody is told. */
  readonly onProgress?: (share: number) => void;
}

/** Codes to force for a topic: `forcingCodes` of its expression as a word. */
export const topicCodes = (cache: CodeCache, expression: string, options: ForcingOptions = {}): CodeChange[] =>
  forcingCodes(cache, `\\b(?:${expression})\\b`, options);

export interface ForcingOptions {
  /** Codes at most: fewer leave the text more as it was, and bring the topic in less often. Default 48. */
  readonly most?: number;
  /**
   * Share of a code's firings that stand before the topic: codes with less are left out. Default 0.005: with thousands of codes no single one stands for a
   * word, but one that announces it a hundred times as often as others does.
   */
  readonly precision?: number;
  /** Share of the topic's places that a code stands before: codes with less are left out. Default 0.02. */
  readonly recall?: number;
}

/** Firings elsewhere that every code is thought to have: one that has fired once, and before the word, says little. */
const doubt = 20;

/**
 * Codes that bring up what an expression matches: of those that fire at the tokens before it, where the model predicts it, the ones with most precision times
 * recall, rare ones doubted, in the weakest slots of their codebook, one after another. (A code that fires on the word itself says that it has been said.) Empty where there are
 * none. Errors: as `matchedTokens`.
 */
export function forcingCodes(
  cache: CodeCache,
  expression: string,
  { most = 48, precision = 0.005, recall = 0.02 }: ForcingOptions = {},
): CodeChange[] {
  const places = tokensBefore(cache, expression);
  if (places.length === 0) return [];
  const worth = ({ recall, count }: FoundCode): number => recall ** 2 / (count + doubt);
  const found = searchCodes(cache, places, { precision, recall, limit: Number.MAX_SAFE_INTEGER }).sort(
    (a, b) => worth(b) - worth(a),
  );
  const used = new Map<string, number>();
  const changes: CodeChange[] = [];
  for (const { site, group, code } of found) {
    const place = `${site}/${group}`;
    const slot = used.get(place) ?? 0;
    // The strongest code stays: what a head says of the text itself is in it.
    const free = cache.sites.find((one) => one.site === site)!.k - 1;
    if (slot >= Math.max(1, free) || changes.length >= most) continue;
    used.set(place, slot + 1);
    changes.push({ site, group, patch: code, slot: -1 - slot });
  }
  return changes;
}

/** Errors: `bad_option` for a topic that is not there; `aborted`; those of caching codes and of decoding. */
export async function steerStories(
  model: Steerable,
  codebooks: readonly Codebook[],
  options: SteeringOptions,
): Promise<Steering[]> {
  const { texts, samples, tokens = 200, seed = 0, signal, onProgress } = options;
  const names = options.topics ?? Object.keys(topics);
  for (const name of names)
    ensure(
      Object.hasOwn(topics, name),
      "bad_option",
      `there is no topic ${name}: there are ${Object.keys(topics).join(", ")}`,
    );
  const cache = await cacheCodes(model, codebooks, texts, { signal });
  const written = async (changes: readonly CodeChange[]): Promise<string[]> => {
    const edits = codebookEdits(codebooks, changes);
    const runs = Array.from({ length: samples }, (_, request) => {
      const prompt = beginning(model, openings[request % openings.length]);
      return model.decode(prompt, { temperature: 1, maxTokens: tokens, seed, request, edits, signal }).final;
    });
    const results = await Promise.all(runs);
    if (signal?.aborted) throw new VentrisError("aborted", "steering stories was aborted");
    return results.map(({ text }) => text);
  };
  // The same for all topics: what is written freely does not know what it will be searched for.
  const free = await written([]);
  onProgress?.(1 / (names.length + 1));
  const result: Steering[] = [];
  for (const [i, topic] of names.entries()) {
    const changes = topicCodes(cache, topics[topic]);
    const anything = changes.map((change, at) => {
      const { codes } = codebooks.find(({ bottleneck }) => bottleneck.site === change.site)!.bottleneck;
      return { ...change, patch: Math.floor(uniform({ seed, request: i }, at, "search") * codes) } as CodeChange;
    });
    const pattern = new RegExp(`\\b(?:${topics[topic]})\\b`, "iu");
    const share = (texts: readonly string[]): number => texts.filter((text) => pattern.test(text)).length / samples;
    // Side by side, in the same passes; without codes to force both are what is written freely.
    const [patched, random] = changes.length > 0 ? await Promise.all([changes, anything].map(written)) : [free, free];
    result.push({ topic, codes: changes.length, free: share(free), patched: share(patched), random: share(random) });
    onProgress?.((i + 2) / (names.length + 1));
  }
  return result;
}

function beginning({ tokenizer }: Steerable, text: string): readonly number[] {
  ensure(tokenizer, "bad_option", "steering: the model has no tokenizer");
  const ids = [...tokenizer.encode(text)];
  return ids.length > 0 ? ids : [tokenizer.beginToken ?? tokenizer.encode("\n")[0]];
}
