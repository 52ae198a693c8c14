/** What the reproductions of speculative systems share: prompts to draft on, and one request with what its trace counted. */
import type { TraceEvent } from "../../engine/trace.ts";
import type { Model, ReproductionContext } from "../../papers/reproduction.ts";
import { documents } from "../../text/text-files.ts";
import { isHeldOut } from "../../training/data.ts";

/** Openings that no training text has, for the tiny size: it needs no data. */
const openings = [
  "Once upon a time there was an old king who could read a forgotten script. Every morning he",
  "The fox and the raven met at the well. The raven had found a ring, and the fox wanted it. The fox said",
  "There was a little girl who lived with her grandmother at the edge of the forest, and every day she",
  "When the ship came home the whole village stood on the shore, and the first who stepped on land was",
];

/** Files of the evaluation data that `storyPrompts` and `relatedPassages` read. */
export const storyData = ["tales", "classic", "misc-1", "misc-2", "misc-3"].map(
  (name) => `gutenberg-stories/${name}.jsonl.gz`,
);

/** Stories that training left out, of at least so many characters, in the order of their files. */
async function heldOutStories({ data }: ReproductionContext, characters: number): Promise<string[]> {
  const texts: string[] = [];
  for (const file of storyData) {
    const path = data(...file.split("/"));
    for await (const text of documents({ path })) if (isHeldOut(text) && text.length >= characters) texts.push(text);
  }
  return texts;
}

/** Beginnings of stories as token ids, [length] each: of stories left out of training, spread evenly, or at the tiny size a few of ours. */
export async function storyPrompts(
  context: ReproductionContext,
  model: Model,
  count: number,
  length: number,
): Promise<number[][]> {
  const encode = (text: string): number[] => [...model.tokenizer!.encode(text.slice(0, 8 * length))].slice(0, length);
  if (context.size === "tiny") return openings.slice(0, count).map(encode);
  // A few books are long: where there are fewer than prompts asked for, each gives several passages, from its beginning on.
  const stories = await heldOutStories(context, 8 * length);
  const places = Math.ceil(count / Math.max(1, stories.length));
  const passages = stories.flatMap((text) =>
    Array.from({ length: places }, (_, i) => text.slice(Math.floor((i * text.length) / places))),
  );
  return spread(
    passages.filter((text) => text.length >= 8 * length),
    count,
  ).map(encode);
}

/** Passages that follow one another in a long story, [length] each: texts that have names and turns of phrase in common. */
export async function relatedPassages(
  context: ReproductionContext,
  model: Model,
  count: number,
  length: number,
): Promise<number[][]> {
  const text =
    context.size === "tiny"
      ? openings.join(" ")
      : (await heldOutStories(context, 8 * length)).sort((a, b) => b.length - a.length)[0];
  const ids = [...model.tokenizer!.encode(text.slice(0, 8 * length * count))];
  const places = Math.min(count, Math.floor(ids.length / length));
  return Array.from({ length: places }, (_, i) => ids.slice(i * length, (i + 1) * length));
}

/** `count` of these, evenly spread; all where there are fewer. */
export const spread = <T>(all: readonly T[], count: number): T[] =>
  Array.from({ length: Math.min(count, all.length) }, (_, i) => all[Math.floor((i * all.length) / count)]);

export interface Served {
  readonly tokens: readonly number[];
  readonly tokensPerPass: number;
  readonly tokensPerSecond: number;
  readonly events: readonly TraceEvent[];
}

type Request = NonNullable<Parameters<Model["decode"]>[1]>;

/** Decodes exactly `options.maxTokens` tokens. Ends with the error `aborted` of the context's signal by itself. */
export async function serve(model: Model, prompt: readonly number[], options: Request): Promise<Served> {
  const run = model.decode(prompt, { minTokens: options.maxTokens, ...options });
  const events: TraceEvent[] = [];
  for await (const event of run) events.push(event);
  const { tokens, counters, seconds } = await run.final;
  return {
    tokens,
    tokensPerPass: counters.tokensPerPass,
    tokensPerSecond: (counters.generated - 1) / Math.max(seconds.decode, 1e-9),
    events,
  };
}

/** A method beside plain greedy decoding on one prompt. */
export interface BesideGreedy {
  readonly tokensPerPass: number;
  /** 1 where the texts are one. */
  readonly same: number;
  /** Tokens a second of both. */
  readonly speeds: readonly [number, number];
}

export async function besideGreedy(
  model: Model,
  prompt: readonly number[],
  request: Omit<Request, "method" | "temperature"> & { method: NonNullable<Request["method"]> },
): Promise<BesideGreedy> {
  const plain = await serve(model, prompt, { ...request, temperature: 0, method: "greedy" });
  const served = await serve(model, prompt, { ...request, temperature: 0 });
  return {
    tokensPerPass: served.tokensPerPass,
    same: served.tokens.join() === plain.tokens.join() ? 1 : 0,
    speeds: [served.tokensPerSecond, plain.tokensPerSecond],
  };
}

/** Spearman's rank correlation; 0 where either side does not vary. */
export function rankCorrelation(pairs: readonly (readonly [number, number])[]): number {
  const [a, b] = [0, 1].map((side) => ranks(pairs.map((pair) => pair[side])));
  const middle = (pairs.length - 1) / 2;
  const product = (u: readonly number[], v: readonly number[]): number =>
    u.reduce((sum, at, i) => sum + (at - middle) * (v[i] - middle), 0);
  const scale = Math.sqrt(product(a, a) * product(b, b));
  return scale === 0 ? 0 : product(a, b) / scale;
}

/** Ranks from 0; equal values share the mean of theirs. */
function ranks(values: readonly number[]): number[] {
  return values.map((value) => {
    const below = values.filter((other) => other < value).length;
    const same = values.filter((other) => other === value).length;
    return below + (same - 1) / 2;
  });
}
