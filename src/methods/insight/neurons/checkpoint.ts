/**
 * A checkpoint as this method reads it: the feed-forward matrices layer by layer, the norms around them, and the output matrix by rows.
 * Nothing is compiled and no more is in memory than what is asked for.
 */
import { ensure, VentrisError } from "../../../errors.ts";
import { familyOf } from "../../../models/families.ts";
import type { ModelConfig } from "../../../models/family.ts";
import { findParameters, transposedValues } from "../../../models/parameters.ts";
import { openTokenizer, type Tokenizer } from "../../../text/index.ts";
import { openCheckpoint } from "../../../weights/index.ts";
import { checkLayer } from "../layers.ts";

/** `up` and `gate` rows are what a neuron reads, a `down` column is what it writes. */
export const matrices = ["up", "gate", "down"] as const;
export type Matrix = (typeof matrices)[number];

/** A norm's parameters: of RMSNorm a gain alone, of LayerNorm a bias, too. */
export interface Norm {
  readonly gain: Float32Array;
  readonly bias: Float32Array | undefined;
  readonly epsilon: number;
}

export interface NeuronCheckpoint {
  /** Path it was opened from. */
  readonly origin: string;
  /** Names its files as they are now. */
  readonly identity: string;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer | undefined;
  /** Rows of the output matrix that are tokens: a vocabulary may be padded beyond its tokenizer. */
  readonly vocabulary: number;
  /** Those it has: a feed-forward without a gate has two. */
  readonly matrices: readonly Matrix[];
  /** One vector for each neuron of a layer: [neurons, width]. */
  vectors(layer: number, matrix: Matrix): Promise<Float32Array>;
  /** The norm before a layer's feed-forward. */
  innerNorm(layer: number): Promise<Norm>;
  finalNorm(): Promise<Norm>;
  /** Rows of the output matrix: [to - from, width]. */
  output(from: number, to: number): Promise<Float32Array>;
  close(): Promise<void>;
}

/** What families call them. */
const names: Readonly<Record<Matrix | "inner" | "final" | "output" | "embedding", RegExp>> = {
  up: /mlp\.(up_proj|c_fc)\.weight$/,
  gate: /mlp\.gate_proj\.weight$/,
  down: /mlp\.(down_proj|c_proj)\.weight$/,
  inner: /(pre_feedforward_layernorm|post_attention_layernorm|ln_2)\.weight$/,
  final: /(^|\.)(model\.norm|ln_f)\.weight$/,
  output: /^lm_head\.weight$/,
  embedding: /(embed_tokens|wte)\.weight$/,
};

/** Opens a checkpoint folder or weight file. Errors: those of `openCheckpoint` and `findParameters`; `bad_option` where it has no feed-forward. */
export async function openNeurons(path: string): Promise<NeuronCheckpoint> {
  const source = await openCheckpoint(path);
  try {
    const { family, config } = familyOf(source.config);
    const parameters = findParameters(source, family, config);
    const all = [...parameters.keys()];
    const inLayer = new Map<string, string>();
    // Where norms stand after the branches, the one after attention is not the one before the feed-forward.
    const after = config.variant?.norms ? /post_attention_layernorm/ : undefined;
    for (const name of all.filter((one) => !after?.test(one))) {
      const [, layer] = /(?:layers|h)\.(\d+)\./.exec(name) ?? [];
      for (const [role, pattern] of Object.entries(names))
        if (layer !== undefined && pattern.test(name)) inLayer.set(`${layer} ${role}`, name);
    }
    const stored = (name: string | undefined, what: string) => {
      ensure(name !== undefined, "bad_option", `${path}: ${config.architecture} has no ${what} that is known here`);
      return parameters.get(name)!;
    };
    const ofLayer = (layer: number, role: Matrix | "inner") => {
      checkLayer(config, layer);
      return stored(inLayer.get(`${layer} ${role}`), `${role} matrix`);
    };
    const named = (role: keyof typeof names) => all.find((name) => names[role].test(name));
    const norm = async (name: string, what: string): Promise<Norm> => ({
      gain: await stored(name, what).read(),
      bias: await parameters.get(name.replace(/weight$/, "bias"))?.read(),
      epsilon: config.epsilon,
    });
    const output = stored(named("output") ?? named("embedding"), "output matrix");
    const tokenizer = await openTokenizer(path, { outputs: config.vocabularySize, metadata: source.metadata }).catch(
      (error) => {
        if (error instanceof VentrisError && error.code === "unavailable") return undefined;
        throw error;
      },
    );
    const has = matrices.filter((matrix) => inLayer.has(`0 ${matrix}`));
    ensure(has.includes("up"), "bad_option", `${path}: ${config.architecture} has no feed-forward that is known here`);
    return {
      origin: path,
      identity: source.identity,
      config,
      tokenizer,
      vocabulary: Math.min(config.vocabularySize, tokenizer?.vocabularySize ?? Number.POSITIVE_INFINITY),
      matrices: has,
      async vectors(layer, matrix) {
        const parameter = ofLayer(layer, matrix);
        const values = await parameter.read();
        // What a neuron writes is a column: [width, neurons] there.
        return matrix === "down" ? transposedValues(values, [config.feedForward, config.hiddenSize]) : values;
      },
      innerNorm: (layer) => norm(ofLayer(layer, "inner").specification.name, "norm"),
      finalNorm: () => norm(named("final") ?? "", "final norm"),
      output: (from, to) => output.readRows(from, to),
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}
