/** What tokens mean, as far as a model's input embeddings tell: their cosines, and those of sums of several. */
import type { DecodingModel } from "../../engine/model.ts";
import { ensure, VentrisError } from "../../errors.ts";

export interface Embeddings {
  /** The sum of some tokens' vectors, and its length. */
  of(tokens: readonly number[]): Meaning;
}

export interface Meaning {
  /** [width]. */
  readonly vector: Float32Array;
  readonly length: number;
}

/** A model's input embeddings, read once. Errors: `bad_option` for a model whose parameters cannot be read. */
export function embeddingsOf(model: DecodingModel): Promise<Embeddings> {
  return model.state("input embeddings", async () => {
    const { family, config } = readable(model);
    const [{ name }] = family.parameters(config);
    const table = (await model.parameterValues((other) => other === name)).get(name);
    ensure(table, "internal", `${model.name} has no parameter ${name}`);
    const { hiddenSize: width } = config;
    return {
      of(tokens) {
        const vector = new Float32Array(width);
        for (const token of tokens) {
          for (let i = 0; i < width; i++) vector[i] += table[token * width + i] ?? 0;
        }
        return { vector, length: Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0)) };
      },
    };
  });
}

function readable(model: DecodingModel): DecodingModel {
  if (model.capabilities.has("learning")) return model;
  throw new VentrisError(
    "bad_option",
    `diversity: embeddings are read from a model's own parameters, which ${model.name} does not give; use hamming, cumulative or ngram`,
  );
}

/** From 0 to 1: what points apart counts as having nothing in common, and so does a vector of zeros. */
export function alike(a: Meaning, b: Meaning): number {
  if (a.length === 0 || b.length === 0) return 0;
  let product = 0;
  for (let i = 0; i < a.vector.length; i++) product += a.vector[i] * b.vector[i];
  return Math.max(0, product / (a.length * b.length));
}
