/** What @huggingface/tokenizers does for us; it is loaded only for tokenizers that need it. */
import { VentrisError } from "../errors.ts";

type Json = Record<string, unknown>;

/** Normalises a section and cuts it into the parts across which nothing merges. */
export type Preparation = (text: string, section: number) => readonly string[];

/** Errors: `bad_file` naming `origin` for steps that the library does not know. */
export async function createPreparation(options: {
  normalizer: unknown;
  steps: readonly Json[];
  origin: string;
}): Promise<Preparation> {
  const { normalizer, steps, origin } = options;
  if (normalizer === null && steps.length === 0) return (text) => [text];
  const emptyModel = { type: "BPE", vocab: {}, merges: [] };
  return preparationOf(await load({ normalizer, pre_tokenizer: sequence(steps), model: emptyModel }, origin), origin);
}

/** A Unigram model (SentencePiece, Kudo 2018) with its own preparation. Errors: `bad_file` naming `origin`. */
export async function createUnigramEncoder(options: {
  json: Json;
  reserved: ReadonlySet<number>;
  origin: string;
}): Promise<(text: string, section: number, ids: number[]) => void> {
  const { json, reserved, origin } = options;
  const model = json.model as { vocab: [string, number][]; unk_id?: unknown };
  // The lattice would find special tokens in plain text; under a name that no text contains it cannot.
  const vocab = model.vocab.map(([token, score], id) =>
    reserved.has(id) && id !== model.unk_id ? [`\u{fdd0}${id}\u{fdd1}`, score] : [token, score],
  );
  const library = await load(
    { normalizer: json.normalizer ?? null, pre_tokenizer: json.pre_tokenizer ?? null, model: { ...model, vocab } },
    origin,
  );
  const prepare = preparationOf(library, origin);
  const { tokens_to_ids, unk_token_id } = library.model!;
  return (text, section, ids) => {
    for (const token of guarded(origin, () => library.model!._call([...prepare(text, section)]))) {
      const id = tokens_to_ids.get(token) ?? unk_token_id;
      if (id === undefined) throw new VentrisError("bad_file", `${origin}: no token stands for "${token}" of the text`);
      ids.push(id);
    }
  };
}

async function load(sections: { normalizer: unknown; pre_tokenizer: unknown; model: object }, origin: string) {
  const { Tokenizer } = await import("@huggingface/tokenizers");
  return guarded(
    origin,
    () => new Tokenizer({ ...sections, decoder: null, post_processor: null, added_tokens: [] }, {}),
  );
}

function preparationOf(library: Awaited<ReturnType<typeof load>>, origin: string): Preparation {
  const { normalizer, pre_tokenizer } = library;
  return (text, section) =>
    guarded(origin, () => {
      const normalized = normalizer ? normalizer.normalize(text) : text;
      if (normalized === "") return [];
      return pre_tokenizer ? pre_tokenizer.pre_tokenize(normalized, { section_index: section }) : [normalized];
    });
}

function sequence(steps: readonly Json[]): Json | null {
  return steps.length === 0 ? null : { type: "Sequence", pretokenizers: steps };
}

function guarded<T>(origin: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new VentrisError("bad_file", `${origin}: ${(cause as Error).message}`, { cause });
  }
}
