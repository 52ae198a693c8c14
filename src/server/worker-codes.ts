/** Codebooks of a model as the studio's code browser shows them: over texts that the model writes itself, read once for a model. */
import { ensure } from "../errors.ts";
import { codebooks, ownTexts } from "../methods/index.ts";
import type { Model } from "../open.ts";
import type { CodebookPlace, FoundCodes, ServedCode, ServedCodebooks, ServedCodes, ServedPiece } from "./protocol.ts";
import { withinTime } from "./within-time.ts";

/** The part is the one beside the model: a request names no folders. */
const part = "codebook";
const written = {
  count: 64,
  tokens: 96,
  temperature: 0.7,
  openings: ["Once upon a time", "One day", "There was a", "The"],
};
/** Codes in a list, places of one code, and codes of a site that a search finds, at most. */
const [listed, shown, found] = [200, 24, 6];
/** Milliseconds that an expression may take over all texts: others wait meanwhile. */
const longestMatch = 250;

const opened = (model: Model) => codebooks.openCodebooks(model, part);

/** Made to its end for whoever asks next, even where the one who asked first has gone: the work is bounded. */
const cacheOf = (model: Model): Promise<codebooks.CodeCache> =>
  model.state("codes of texts of its own", async () => {
    const books = await opened(model);
    const { tokenizer, config } = model;
    ensure(tokenizer, "bad_option", `the model ${model.name} has no tokenizer, so that it writes no texts`);
    const texts = (await ownTexts(model, written)).map((ids) => tokenizer.decode(ids));
    return codebooks.cacheCodes(model, books, texts, { longest: Math.min(256, config.contextLength) });
  });

/** Errors: `unavailable` where the model has no codebooks. */
export async function servedCodebooks(model: Model): Promise<ServedCodebooks> {
  const books = await opened(model);
  return { sites: books.map(({ bottleneck: { site, groups, codes, k } }) => ({ site, groups, codes, k })) };
}

/** Errors: and `bad_option` for a codebook that is not there. */
export async function servedCodes(model: Model, { site, group }: CodebookPlace): Promise<ServedCodes> {
  const cache = await cacheOf(model);
  const { alive, codes } = codebooks.commonCodes(cache, site, group, { limit: listed });
  return { texts: cache.texts.length, tokens: cache.tokens, alive, codes };
}

export async function servedCode(
  model: Model,
  { site, group, code }: CodebookPlace & { readonly code: number },
): Promise<ServedCode> {
  const cache = await cacheOf(model);
  const fired = codebooks.firedAt(cache, site, group, code);
  return { fired: fired.length, examples: codebooks.codeExamples(cache, fired, { limit: shown }) };
}

export async function servedText(
  model: Model,
  place: CodebookPlace,
  text: string,
  signal: AbortSignal,
): Promise<ServedPiece[]> {
  const longest = Math.min(256, model.config.contextLength);
  return codebooks.codedText(model, await opened(model), text, place, { longest, signal });
}

/** Errors: and `bad_option` for an expression that cannot be read, or takes too long. */
export async function servedSearch(model: Model, expression: string): Promise<FoundCodes> {
  const cache = await cacheOf(model);
  const { matched, codes } = withinTime(() => codebooks.findCodes(cache, expression, { limit: found }), longestMatch);
  const forcing = withinTime(() => codebooks.forcingCodes(cache, expression), longestMatch);
  return { matched: matched.length, tokens: cache.tokens, codes, forcing };
}
