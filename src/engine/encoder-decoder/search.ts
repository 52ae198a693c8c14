/** Graphs of an encoder–decoder, and beam search for the text that the decoder makes of states. */
import { ensure, VentrisError } from "../../errors.ts";
import { parameterMaker } from "../../models/parameters.ts";
import { t5Decoder, t5Parameters } from "../../models/t5.ts";
import { type CompileOptions, compile, type Value, valueMaker } from "../../runtime/program.ts";
import { elementTypeOf, input, lower, type Tensor, type TensorData } from "../../tensor/index.ts";
import type { TextModel } from "./text-model.ts";

/** A compiled graph whose parameters are given once. */
export async function openGraph(
  outputs: Record<string, Tensor>,
  parameters: ReadonlyMap<string, { shape: readonly number[]; values: TensorData }>,
  options: CompileOptions = {},
) {
  const lowered = lower(outputs, { parameters: "inputs" });
  const program = await compile(lowered, options);
  const make = await valueMaker();
  const names = new Set(lowered.inputs.map(({ name }) => name));
  const fixed = Object.fromEntries(
    [...parameters]
      .filter(([name]) => names.has(name))
      .map(([name, { shape, values }]) => [name, make("float32", values, shape)]),
  );
  return {
    async run(feeds: Readonly<Record<string, Value>>) {
      const given = Object.entries(feeds)
        .filter(([name]) => names.has(name))
        .map(([name, { data, dims }]) => [name, make(elementTypeOf(data), data, dims)]);
      return program.run({ ...fixed, ...Object.fromEntries(given) });
    },
    release: () => program.release(),
  };
}

export const parametersOfModel = ({ config, weights }: TextModel) =>
  new Map(t5Parameters(config).map(({ name, shape }) => [name, { shape, values: weights.get(name)! }]));

/** A text that beam search found. */
export interface FoundText {
  /** Tokens, the end mark included where it was reached. */
  readonly tokens: readonly number[];
  /** The sum of their log-probabilities (nats). */
  readonly logprob: number;
  readonly ended: boolean;
}

/** What a search is made for. */
export interface DecoderSize {
  /** Texts at once, and states that each has. */
  readonly rows: number;
  readonly slots: number;
  /** Tokens of a text, at most. */
  readonly length: number;
  readonly beams: number;
  /** Whether some states are padding: `find` is then given a mask. */
  readonly masks?: boolean;
}

/** Beam search from states; the whole prefix is computed anew for each token. */
export async function openDecoder(model: TextModel, size: DecoderSize, options: CompileOptions = {}) {
  const { rows, slots, length, beams, masks = false } = size;
  const { config } = model;
  const width = rows * beams;
  const logits = t5Decoder(
    { config, make: parameterMaker() },
    input("decoderTokens", [width, length], "int64"),
    input("states", [width, slots, config.d_model]),
    masks ? input("statesMask", [width, 1, 1, slots]) : undefined,
    input("wanted", [width], "int64"),
  );
  const graph = await openGraph({ logits }, parametersOfModel(model), options);
  return {
    /** The best text of each row's states [rows, slots, d_model]; additive `mask` [rows, slots]. Errors: `aborted`, `runtime_failed`. */
    async find(states: Float32Array, mask?: Float32Array, signal?: AbortSignal): Promise<FoundText[]> {
      const repeated = { data: repeat(states, rows, beams), dims: [width, slots, config.d_model] };
      const feeds = {
        states: repeated,
        ...(mask && { statesMask: { data: repeat(mask, rows, beams), dims: [width, 1, 1, slots] } }),
      };
      const search = Array.from({ length: rows }, () => ({
        open: [{ tokens: [] as number[], logprob: 0 }],
        done: [] as FoundText[],
      }));
      for (let step = 0; step < length && search.some(({ open }) => open.length > 0); step++) {
        if (signal?.aborted) throw new VentrisError("aborted", "the search was aborted", { cause: signal.reason });
        const given = new BigInt64Array(width * length).fill(BigInt(config.pad_token_id));
        for (const [r, { open }] of search.entries()) {
          for (const [b, { tokens }] of open.entries()) {
            const at = (r * beams + b) * length;
            given[at] = BigInt(config.decoder_start_token_id);
            for (const [i, id] of tokens.slice(0, length - 1).entries()) given[at + i + 1] = BigInt(id);
          }
        }
        const wanted = BigInt64Array.from({ length: width }, (_, row) => BigInt(row * length + step));
        const { logits: out } = await graph.run({
          ...feeds,
          decoderTokens: { data: given, dims: [width, length] },
          wanted: { data: wanted, dims: [width] },
        });
        for (const [r, one] of search.entries()) {
          if (one.open.length === 0) continue;
          const grown = one.open.flatMap(({ tokens, logprob }, b) => {
            const from = (r * beams + b) * config.vocab_size;
            const line = (out.data as Float32Array).subarray(from, from + config.vocab_size);
            const largest = line.reduce((a, v) => Math.max(a, v), -Infinity);
            ensure(Number.isFinite(largest), "runtime_failed", "the decoder's outputs are not finite");
            const total = Math.log(line.reduce((sum, v) => sum + Math.exp(v - largest), 0)) + largest;
            return best(line, 2 * beams).map((id) => ({
              tokens: [...tokens, id],
              logprob: logprob + line[id] - total,
            }));
          });
          grown.sort((a, b) => b.logprob - a.logprob);
          one.open = [];
          for (const candidate of grown.slice(0, 2 * beams)) {
            const ended = candidate.tokens[step] === config.eos_token_id;
            if (ended) one.done.push({ ...candidate, ended });
            else if (one.open.length < beams) one.open.push(candidate);
          }
          one.done.sort((a, b) => mean(b) - mean(a));
          one.done.length = Math.min(beams, one.done.length);
          if (one.done.length < beams || one.open.length === 0) continue;
          if (mean(one.done[beams - 1]) >= mean(one.open[0])) one.open = [];
        }
      }
      return search.map(({ done, open }) => {
        const all = [...done, ...open.map((one) => ({ ...one, ended: false }))];
        return all.reduce((a, b) => (mean(b) > mean(a) ? b : a));
      });
    },
    release: () => graph.release(),
  };
}

/** A text counts by its mean log-probability a token. */
const mean = ({ tokens, logprob }: Pick<FoundText, "tokens" | "logprob">): number =>
  logprob / Math.max(1, tokens.length);

/** Each row so many times, side by side. */
function repeat(values: Float32Array, rows: number, times: number): Float32Array<ArrayBuffer> {
  const size = values.length / rows;
  const repeated = new Float32Array(values.length * times);
  for (let row = 0; row < rows * times; row++) {
    const from = Math.floor(row / times) * size;
    repeated.set(values.subarray(from, from + size), row * size);
  }
  return repeated;
}

/** Indices of the largest entries, in falling order. */
function best(line: Float32Array, count: number): number[] {
  const chosen: number[] = [];
  for (let i = 0; i < line.length; i++) {
    if (chosen.length === count && line[i] <= line[chosen[count - 1]]) continue;
    let at = chosen.length;
    while (at > 0 && line[chosen[at - 1]] < line[i]) at--;
    chosen.splice(at, 0, i);
    if (chosen.length > count) chosen.pop();
  }
  return chosen;
}
