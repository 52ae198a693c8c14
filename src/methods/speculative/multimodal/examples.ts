/**
 * What drafts learn from: conversations with the model's rows and final states, computed once, as the paper's preparation has it. Several trainings
 * read the same ones.
 */
import type { VectorRow } from "../../../engine/forest.ts";
import type { ForwardResult } from "../../../engine/forward/index.ts";
import type { ForwardSequence } from "../../../engine/forward/input.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import type { RunResult } from "../../../engine/run.ts";
import type { Vision } from "../../../engine/vision.ts";
import { ensure } from "../../../errors.ts";
import type { Picture } from "../../../images/index.ts";
import type { ChatMessage } from "../../../text/tokenizer.ts";
import { conversationTokens, type Turn } from "../../../training/seeing/texts.ts";
import type { DraftForm } from "./layer.ts";

/** What is asked of a model here; an open one has it. */
interface Answering extends Pick<DecodingModel, "name" | "config" | "tokenizer" | "ability"> {
  decode(
    messages: readonly ChatMessage[],
    options: { temperature: number; maxTokens: number },
  ): { readonly final: Promise<RunResult> };
  forward(sequences: readonly ForwardSequence[], options: { taps: readonly string[] }): Promise<ForwardResult[]>;
}

/** A conversation; the picture stands before the first question. */
export interface Shown {
  readonly picture?: Picture;
  readonly turns: readonly Turn[];
}

export interface Example {
  readonly tokens: Int32Array;
  /** Where a picture's row stands, its number in `pictures`; -1 elsewhere. */
  readonly places: Int32Array;
  /** 1 where the model is to say this token. */
  readonly said: Uint8Array;
  /** [pictures' rows, width], as the projector gives them. */
  readonly pictures: Float32Array;
  /** The model's final states, behind its norm: [tokens, width]. */
  readonly states: Float32Array;
}

/** The messages of a conversation up to a question. */
export function messagesOf({ picture, turns }: Shown, last = turns.length - 1): ChatMessage[] {
  return turns.slice(0, last + 1).flatMap(({ question, answer }, i): ChatMessage[] => {
    const text = { type: "text", text: question };
    const content = i === 0 && picture ? [{ type: "image", image: picture }, text] : question;
    const asked: ChatMessage = { role: "user", content };
    return i === last ? [asked] : [asked, { role: "assistant", content: answer }];
  });
}

/**
 * The same questions with the model's own answers, greedy, turn by turn. A conversation ends before an answer that has no end, and where it has
 * `length` tokens.
 */
export async function ownAnswers(model: Answering, shown: Shown, length: number): Promise<Shown> {
  const turns: Turn[] = [];
  let maxTokens = length;
  for (const { question } of shown.turns) {
    const asked = { ...shown, turns: [...turns, { question, answer: "" }] };
    const { text, finish, counters } = await model.decode(messagesOf(asked), { temperature: 0, maxTokens }).final;
    if (finish !== "end") break;
    turns.push({ question, answer: text });
    maxTokens = length - counters.prefillTokens - counters.cachedTokens - counters.generated;
    if (maxTokens < 16) break; // a question and a word of an answer
  }
  return { ...shown, turns };
}

/** Examples of conversations, each up to `length` tokens, those of a call in one pass. Errors: `bad_option` for a model that does not see. */
export async function examplesOf(model: Answering, all: readonly Shown[], length: number): Promise<Example[]> {
  const { vision: config } = model.config;
  ensure(config, "bad_option", `the model ${model.name} cannot see: a draft of its own is the method eagle's`);
  ensure(model.tokenizer, "unavailable", `the model ${model.name} has no tokenizer`);
  const { tokenizer } = model;
  const vision = model.ability<Vision>("vision");
  const width = model.config.hiddenSize;
  const written = await Promise.all(
    all.map(async ({ picture, turns }) => {
      const seen: readonly VectorRow[] = picture ? await vision.see(picture) : [];
      const pixels = picture && new Float32Array(0); // only whether there is one is asked
      return { seen, ...conversationTokens(tokenizer, { turns, pixels }, config, length) };
    }),
  );
  const results = await model.forward(
    written.map(({ tokens, places, seen }) => ({
      tokens,
      embeddings: new Map(places.flatMap((place, i) => (place >= 0 ? [[i, seen[place].values] as const] : []))),
    })),
    { taps: ["final"] },
  );
  return written.map(({ tokens, places, said, seen }, i): Example => {
    const pictures = new Float32Array(seen.length * width);
    for (const [row, { values }] of seen.entries()) pictures.set(values, row * width);
    return {
      tokens: Int32Array.from(tokens),
      places: Int32Array.from(places),
      said: Uint8Array.from(said, Number),
      pictures,
      states: results[i].taps!.final.values.slice(0, tokens.length * width),
    };
  });
}

/** Rows of a draft: of each the next token or picture's row, the state before it, and the state that it stands for. */
export interface DraftBatch {
  /** Texts, and rows of each. */
  readonly rows: number;
  readonly length: number;
  /** [rows, length] */
  readonly next: Int32Array;
  /** [rows, length]: the number of the picture's row that comes next, in `pictures`; -1 for tokens. */
  readonly places: Int32Array;
  /** [pictures' rows, width], one of zeros where there are none. */
  readonly pictures: Float32Array;
  /** [rows, length, width] */
  readonly given: Float32Array;
  readonly wanted: Float32Array;
  /** [rows, length]: how much each row counts; sums to 1, or to 0 where none does. */
  readonly counted: Float32Array;
  /** Of the batch, for the noise. */
  readonly number?: number;
  readonly [extra: string]: unknown;
}

/** Examples as a batch for a draft of this form. A row counts where the state that it foretells says a word of an answer. */
export function draftBatch(
  examples: readonly Example[],
  { form, length, width, number }: { form: DraftForm; length: number; width: number; number?: number },
): DraftBatch {
  const rows = examples.length;
  const size = rows * length;
  const [next, places] = [new Int32Array(size), new Int32Array(size).fill(-1)];
  const [given, wanted] = [new Float32Array(size * width), new Float32Array(size * width)];
  const counted = new Float32Array(size);
  const pictures: Float32Array[] = [];
  let [seen, all] = [0, 0];
  for (const [row, example] of examples.entries()) {
    const { tokens, said, states } = example;
    let at = row * length;
    for (let i = 0; i + 1 < tokens.length && at < (row + 1) * length; i++) {
      const place = example.places[i + 1];
      if (place >= 0 && form === "text-only") continue;
      next[at] = place >= 0 ? 0 : tokens[i + 1];
      if (place >= 0) places[at] = seen + place;
      given.set(states.subarray(i * width, (i + 1) * width), at * width);
      wanted.set(states.subarray((i + 1) * width, (i + 2) * width), at * width);
      counted[at] = said[i + 2] ?? 0;
      all += counted[at];
      at += 1;
    }
    if (example.pictures.length > 0 && form !== "text-only") {
      pictures.push(example.pictures);
      seen += example.pictures.length / width;
    }
  }
  const joined = new Float32Array(Math.max(1, seen) * width);
  let to = 0;
  for (const one of pictures) {
    joined.set(one, to);
    to += one.length;
  }
  return {
    rows,
    length,
    next,
    places,
    pictures: joined,
    given,
    wanted,
    counted: counted.map((x) => x / Math.max(1, all)),
    ...(number !== undefined && { number }),
  };
}

/** What pictures' rows are multiplied by to be as long as the model's states: `pictureScale` of a draft. */
export function scaleOfPictures(examples: readonly Example[]): number {
  const square = (of: (example: Example) => Float32Array): number => {
    let [sum, count] = [0, 0];
    for (const example of examples)
      for (const x of of(example)) {
        sum += x * x;
        count += 1;
      }
    return sum / Math.max(1, count);
  };
  const [pictures, states] = [square((one) => one.pictures), square((one) => one.states)];
  return pictures > 0 && states > 0 ? Math.sqrt(states / pictures) : 1;
}
