/** An encoder–decoder as a model's ability: text in, states, the likeliest text out. */
import { z } from "zod";
import { ensure, VentrisError } from "../../errors.ts";
import { parameterMaker } from "../../models/parameters.ts";
import { masked, type T5Config, t5Encoder } from "../../models/t5.ts";
import type { CompileOptions } from "../../runtime/program.ts";
import { input } from "../../tensor/index.ts";
import { parseOptions } from "../shapers/options.ts";
import { type FoundText, openDecoder, openGraph, parametersOfModel } from "./search.ts";
import type { Codec, TextModel } from "./text-model.ts";

/** How a text is written. */
export interface WriteOptions {
  /** Hypotheses kept by the beam search. Default 1: the likeliest token each time. */
  beams?: number;
  /** Default 64. */
  maxTokens?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  signal?: AbortSignal;
}

/** What an encoder–decoder wrote. */
export interface Written extends FoundText {
  readonly text: string;
}

/** What a model with the capability `encoder-decoder` brings. */
export interface EncoderDecoder {
  readonly config: T5Config;
  /** Its tokens. The end mark is not among those of a text. */
  readonly codec: Codec;
  /** The encoder's states of a text and its end mark: [tokens + 1, d_model]. Errors: `context_full` beyond 2,048 tokens, `bad_option`, `aborted`. */
  encode(text: string): Promise<{ readonly states: Float32Array; readonly tokens: readonly number[] }>;
  /** The text that beam search finds for another: by the mean log-probability of its tokens. Errors: `bad_option`, `context_full`, `aborted`. */
  write(text: string, options?: WriteOptions): Promise<Written>;
}

const most = 2048;
/** Tokens of all hypotheses: scores of attention grow with their square. */
const mostWritten = 8192;
const writeOptions = z.strictObject({
  beams: z.int().min(1).max(64).default(1),
  maxTokens: z.int().min(1).max(1024).default(64),
  signal: z.instanceof(AbortSignal, { error: "must be an AbortSignal" }).optional(),
});

/** Graphs have fixed sizes: a text is padded to one of these, so that most texts find theirs compiled. */
const padded = (length: number): number => Math.max(16, 2 ** Math.ceil(Math.log2(length)));
/** Compiled graphs kept. */
const mostGraphs = 6;

export function createEncoderDecoder(
  model: TextModel,
  options: CompileOptions = {},
): EncoderDecoder & { close(): Promise<void> } {
  const { config, codec } = model;
  const parameters = parametersOfModel(model);
  const graphs = new Map<string, Promise<{ release(): Promise<void> }>>();
  let last: Promise<unknown> = Promise.resolve();
  let closed = false;

  /** One after the other: a graph that is forgotten is in nobody's use then. */
  function inTurn<T>(action: () => Promise<T>): Promise<T> {
    if (closed) return Promise.reject(new VentrisError("aborted", "the encoder–decoder was closed"));
    const result = last.then(action, action);
    last = result.catch(() => {});
    return result;
  }

  async function kept<Graph extends { release(): Promise<void> }>(
    key: string,
    open: () => Promise<Graph>,
  ): Promise<Graph> {
    const graph = (graphs.get(key) as Promise<Graph> | undefined) ?? open();
    graphs.delete(key);
    graphs.set(key, graph);
    graph.catch(() => graphs.delete(key));
    if (graphs.size > mostGraphs) {
      const [oldest] = graphs.keys();
      const forgotten = graphs.get(oldest)!;
      graphs.delete(oldest);
      await (await forgotten).release();
    }
    return graph;
  }

  async function encoded(text: string): Promise<{ states: Float32Array; mask: Float32Array; tokens: number[] }> {
    ensure(typeof text === "string", "bad_option", "an encoder–decoder reads a text");
    // A token stands for at most so many characters in any published vocabulary: what is longer by far is refused unread.
    ensure(
      text.length <= 64 * most,
      "context_full",
      `the text has ${text.length} characters; ${most} tokens are the most`,
    );
    const tokens = [...codec.encode(text), config.eos_token_id];
    ensure(tokens.length <= most, "context_full", `the text has ${tokens.length} tokens; ${most} are the most`);
    const unknown = tokens.find((id) => id >= config.vocab_size);
    ensure(unknown === undefined, "bad_option", () => {
      return `the text has the token ${unknown}, and the model knows ${config.vocab_size} alone: its tokenizer is another model's`;
    });
    const slots = padded(tokens.length);
    const graph = await kept(`encoder ${slots}`, () => {
      const stack = { config, make: parameterMaker() };
      const states = t5Encoder(stack, input("source", [1, slots], "int64"), input("sourceMask", [1, 1, 1, slots]));
      return openGraph({ states }, parameters, options);
    });
    const source = new BigInt64Array(slots).fill(BigInt(config.pad_token_id));
    source.set(tokens.map(BigInt));
    const mask = new Float32Array(slots).fill(masked, tokens.length);
    const { states } = await graph.run({
      source: { data: source, dims: [1, slots] },
      sourceMask: { data: mask, dims: [1, 1, 1, slots] },
    });
    return { states: states.data as Float32Array, mask, tokens };
  }

  return {
    config,
    codec,
    encode: (text) =>
      inTurn(async () => {
        const { states, tokens } = await encoded(text);
        return { states: states.slice(0, tokens.length * config.d_model), tokens };
      }),
    async write(text, given = {}) {
      const { beams, maxTokens, signal } = parseOptions(writeOptions, given as never, "write");
      ensure(beams * maxTokens <= mostWritten, "bad_option", () => {
        return `beams: ${beams} of ${maxTokens} tokens are ${beams * maxTokens}, and ${mostWritten} are the most; fewer beams or maxTokens`;
      });
      return inTurn(async () => {
        const { states, mask } = await encoded(text);
        const size = { rows: 1, slots: mask.length, length: maxTokens, beams, masks: true };
        const decoder = await kept(`decoder ${JSON.stringify(size)}`, () => openDecoder(model, size, options));
        const [found] = await decoder.find(states, mask, signal);
        return { ...found, text: codec.decode(found.tokens.filter((id) => id !== config.eos_token_id)) };
      });
    },
    close() {
      const done = inTurn(async () => {
        for (const graph of graphs.values()) await (await graph).release();
        graphs.clear();
      });
      closed = true; // calls that were there before are answered
      return done;
    },
  };
}
