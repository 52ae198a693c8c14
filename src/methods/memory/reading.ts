/**
 * What memories are worth on texts: of every token, its probability under the model and under each memory, from one pass; every weight λ can then be
 * tried without another.
 */
import { logSumExp } from "../../engine/shapers/logprobs.ts";
import { ensure, requireAnswer, telling } from "../../errors.ts";
import { itemsOf, textItems } from "../../items.ts";
import { isObject } from "../../json.ts";
import { requireWhole } from "../../numbers.ts";
import { documentTokens, windowsOf } from "../../text/windows.ts";
import type { StateModel } from "./building.ts";
import type { Recollection } from "./recalling.ts";

/** A memory that is asked about states read at its site. */
export interface Reader {
  readonly name: string;
  readonly site: string;
  /** Of states [rows, width]. */
  recall(states: Float32Array): Promise<readonly Recollection[]>;
}

/** Of one document: the probability of each of its tokens. */
export interface ReadDocument {
  readonly own: Float64Array;
  /** By the readers' order. */
  readonly memories: readonly Float64Array[];
  /** Divergence, nats, of the model and of each reader from `imitated`'s distribution, where one is asked for: sums over the tokens. */
  readonly divergences?: { readonly own: number; readonly memories: readonly number[] };
}

export interface ReadTextsOptions {
  /** Longest text that a state is computed from; default: the context, at most 512. */
  readonly window?: number;
  /** The reader whose distributions the others are compared with. Default: none, and no divergences are measured. */
  readonly imitated?: string;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told how many documents are read. Default: nobody is told. */
  readonly onProgress?: (documents: number) => void;
}

/** Floors a probability inside a logarithm: a search knows nothing of most tokens, and a divergence from nothing would be infinite. */
const floor = 1e-10;

/** Errors: `bad_option` for texts without a token to predict; `aborted`. */
export async function readTextsWith(
  model: StateModel,
  texts: AsyncIterable<string> | Iterable<string>,
  readers: readonly Reader[],
  { window: given, imitated, signal, onProgress }: ReadTextsOptions = {},
): Promise<ReadDocument[]> {
  const { tokenizer, config } = model;
  ensure(tokenizer, "bad_option", `texts are read by tokens, and ${model.name} has no tokenizer`);
  const window = given ?? Math.min(512, config.contextLength);
  requireWhole({ window }, 2, config.contextLength);
  const teacher = readers.findIndex(({ name }) => name === imitated);
  ensure(imitated === undefined || teacher >= 0, "bad_option", `there is no reader ${imitated}`);
  const sites = [...new Set(readers.map(({ site }) => site))];
  const documents: ReadDocument[] = [];
  for await (const text of itemsOf(texts, "readTextsWith: texts", textItems)) {
    const [own, memories]: [number[], number[][]] = [[], readers.map(() => [])];
    const sums = { own: 0, memories: readers.map(() => 0) };
    for (const { context, continuation } of windowsOf(
      documentTokens(tokenizer, text),
      window,
      Math.floor(window / 2),
    )) {
      ensure(!signal?.aborted, "aborted", "measuring was aborted");
      const tokens = [...context, ...continuation].slice(0, -1);
      const first = tokens.length - continuation.length;
      const rows = continuation.map((_, i) => first + i);
      const [{ logits, taps }] = await model.forward([{ tokens, logits: rows }], { taps: sites });
      const recalled: (readonly Recollection[])[] = [];
      for (const { name, site, recall } of readers) {
        const { values, width } = taps[site];
        const said = await telling(`the reader ${name}: recall`, recall, { signal })(
          values.slice(first * width, tokens.length * width),
        );
        requireAnswer(areRecollections(said), said, `the reader ${name}: recall`, "a list of recollections");
        ensure(said.length === rows.length, "bad_shape", () => {
          return `the reader ${name} was asked about ${rows.length} states, and answered ${said.length}`;
        });
        recalled.push(said);
      }
      for (const [row, token] of continuation.entries()) {
        const mine = logits.subarray(row * config.vocabularySize, (row + 1) * config.vocabularySize);
        const normaliser = logSumExp(mine);
        own.push(Math.exp(mine[token] - normaliser));
        for (const [r, all] of recalled.entries()) memories[r].push(probabilityOf(all[row], token, readers[r].name));
        if (teacher < 0) continue;
        const law = recalled[teacher][row];
        for (const listed of Array.from(law.tokens)) {
          const p = probabilityOf(law, listed, readers[teacher].name);
          sums.own += p * (Math.log(p) - (mine[listed] - normaliser));
          for (const [r, all] of recalled.entries()) {
            sums.memories[r] +=
              p * (Math.log(p) - Math.log(Math.max(floor, probabilityOf(all[row], listed, readers[r].name))));
          }
        }
      }
    }
    if (own.length === 0) continue;
    documents.push({
      own: Float64Array.from(own),
      memories: memories.map((values) => Float64Array.from(values)),
      ...(teacher >= 0 && { divergences: sums }),
    });
    onProgress?.(documents.length);
  }
  ensure(documents.length > 0, "bad_option", "the texts hold nothing to predict");
  return documents;
}

const areRecollections = (said: unknown): boolean =>
  Array.isArray(said) &&
  said.every((one) => isObject(one) && typeof one.probability === "function" && typeof one.tokens === "object");

/** What a recollection says of a token. Errors: `bad_option` for what is no probability. */
function probabilityOf(recollection: Recollection, token: number, reader: string): number {
  const asked = `the reader ${reader}: probability(${token})`;
  const probability = telling(asked, () => recollection.probability(token))();
  const sound = typeof probability === "number" && probability >= 0 && probability <= 1 + rounding;
  requireAnswer(sound, probability, asked, "a number from 0 to 1");
  return probability;
}

/** Sums of weights that were rounded may pass 1 by so much. */
const rounding = 1e-6;

/**
 * Nats of a document's tokens under the mixture; λ = 0 is the model alone. Infinity where a token has the probability 0: with λ = 1 a search gives that
 * to most. Errors: `bad_option` for a reader that is not there, λ outside [0, 1], and probabilities that are none.
 */
export function natsOf({ own, memories }: ReadDocument, reader: number, lambda: number): number {
  ensure(lambda >= 0 && lambda <= 1, "bad_option", `lambda must lie in [0, 1], not ${lambda}`);
  ensure(
    memories[reader],
    "bad_option",
    `there is no reader ${reader}: the documents were read with ${memories.length}`,
  );
  let nats = 0;
  for (let i = 0; i < own.length; i++) {
    const probability = (1 - lambda) * own[i] + lambda * memories[reader][i];
    ensure(probability >= 0, "bad_option", () => `token ${i} of the document has the probability ${probability}`);
    nats -= Math.log(probability);
  }
  return nats;
}

export const usualLambdas: readonly number[] = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/** The weight that predicts some documents best, of a list. Errors: `bad_option` without documents or weights, and those of `natsOf`. */
export function bestLambda(documents: readonly ReadDocument[], reader: number, lambdas = usualLambdas): number {
  ensure(
    documents.length > 0 && lambdas.length > 0,
    "bad_option",
    "the best lambda is chosen of some weights, on some documents: give one of each at least",
  );
  const total = (lambda: number): number => documents.reduce((sum, one) => sum + natsOf(one, reader, lambda), 0);
  const totals = lambdas.map(total);
  return lambdas[totals.indexOf(Math.min(...totals))];
}
