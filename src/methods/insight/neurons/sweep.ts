/** The causal check as a curve: a neuron held at several values, what that does to a concept's probability, and to the text's fluency. */
import type { ForwardResult } from "../../../engine/forward/index.ts";
import type { ForwardSequence } from "../../../engine/forward/input.ts";
import type { ReadyEdit } from "../../../engine/sites/ready.ts";
import { ensure } from "../../../errors.ts";
import type { ModelConfig } from "../../../models/family.ts";
import { checkTokens } from "../layers.ts";
import { type Clamp, checkNeuron, clampNeuron } from "./clamp.ts";

/** What of an open model this needs. */
export interface Forwarding {
  readonly config: Pick<ModelConfig, "layers" | "feedForward" | "vocabularySize" | "diffusion">;
  forward(
    sequences: readonly ForwardSequence[],
    options?: { readonly taps?: readonly string[]; readonly edits?: ReadyEdit[] },
  ): Promise<ForwardResult[]>;
}

export interface DoseOptions extends Omit<Clamp, "value"> {
  /** Token ids; the concept's probability is that of the next token after each. */
  readonly prompts: readonly (readonly number[])[];
  /** The concept's tokens, whose probabilities are added. */
  readonly concept: readonly number[];
  /** Texts that the unclamped model reads well: where the neuron's spread is measured, and the loss under each clamp. */
  readonly texts: readonly (readonly number[])[];
  /** Values as multiples of the neuron's own standard deviation. Default: ±1, 2, 5, 10, 20, 50. */
  readonly multiples?: readonly number[];
  /** Ends the work between two values with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
}

export interface DoseResponse {
  /** Of the clamped value over the texts, unclamped. */
  readonly deviation: number;
  readonly unclamped: Dose;
  readonly doses: readonly (Dose & { readonly multiple: number; readonly value: number })[];
}

interface Dose {
  /** Mean over the prompts. */
  readonly probability: number;
  /** exp of the mean loss over the texts. */
  readonly perplexity: number;
}

const usualMultiples = [-50, -20, -10, -5, -2, -1, 1, 2, 5, 10, 20, 50];

/** Errors: `bad_option` for a neuron that is not there, no prompts or texts, or a token that is not there; `aborted`; those of `forward`. */
export async function doseResponse(model: Forwarding, options: DoseOptions): Promise<DoseResponse> {
  const { prompts, concept, texts, multiples = usualMultiples, signal, ...neuron } = options;
  checkNeuron(model.config, neuron.layer, neuron.neuron);
  ensure(!model.config.diffusion, "bad_option", () => {
    return "clamping: a masked diffusion model has no next token, whose probability would answer to the neuron";
  });
  const { site } = clampNeuron({ ...neuron, value: 0 });
  const enough = prompts.length > 0 && concept.length > 0 && texts.some((text) => text.length > 1);
  ensure(enough, "bad_option", "clamping: give prompts, tokens of a concept, and texts of two tokens or more");
  const { vocabularySize } = model.config;
  checkTokens(concept, vocabularySize);
  const values = await valuesOf(model, site, neuron.neuron, texts);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
  ensure(
    deviation > 0,
    "bad_option",
    `the neuron ${neuron.layer}.${neuron.neuron} has one value over the texts: its multiples are none`,
  );
  const dose = async (value?: number): Promise<Dose> => {
    ensure(!signal?.aborted, "aborted", "measuring what the neuron does was aborted");
    const edits = value === undefined ? [] : [clampNeuron({ ...neuron, value })];
    return {
      probability: await conceptProbability(model, prompts, concept, edits),
      perplexity: Math.exp(await meanLoss(model, texts, edits)),
    };
  };
  const doses: DoseResponse["doses"][number][] = [];
  for (const multiple of multiples)
    doses.push({ multiple, value: multiple * deviation, ...(await dose(multiple * deviation)) });
  return { deviation, unclamped: await dose(), doses };
}

/** What the neuron's site holds for it at every token of the texts. */
async function valuesOf(
  model: Forwarding,
  site: string,
  neuron: number,
  texts: readonly (readonly number[])[],
): Promise<number[]> {
  const results = await model.forward(
    texts.map((tokens) => ({ tokens, logits: "none" })),
    { taps: [site] },
  );
  return results.flatMap(({ taps }) => {
    const { rows, width, values } = taps[site];
    return Array.from({ length: rows }, (_, row) => values[row * width + neuron]);
  });
}

/** Mean over prompts of the probability that the next token is one of the concept's. */
export async function conceptProbability(
  model: Forwarding,
  prompts: readonly (readonly number[])[],
  concept: readonly number[],
  edits: ReadyEdit[],
): Promise<number> {
  const results = await model.forward(
    prompts.map((tokens) => ({ tokens, logits: "last" })),
    { edits },
  );
  const shares = results.map(({ logits }) => {
    const normaliser = logSum(logits);
    return concept.reduce((sum, token) => sum + Math.exp(logits[token] - normaliser), 0);
  });
  return shares.reduce((a, b) => a + b, 0) / shares.length;
}

/** Nats a token over all texts. */
async function meanLoss(model: Forwarding, texts: readonly (readonly number[])[], edits: ReadyEdit[]): Promise<number> {
  const { vocabularySize } = model.config;
  const read = texts.filter((tokens) => tokens.length > 1);
  const results = await model.forward(
    read.map((tokens) => ({ tokens: tokens.slice(0, -1) })),
    { edits },
  );
  const losses = results.flatMap(({ logits }, i) =>
    read[i].slice(1).map((token, row) => {
      const own = logits.subarray(row * vocabularySize, (row + 1) * vocabularySize);
      return logSum(own) - own[token];
    }),
  );
  return losses.reduce((a, b) => a + b, 0) / losses.length;
}

function logSum(logits: Float32Array): number {
  const most = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return most + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0));
}
