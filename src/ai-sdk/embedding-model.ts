/** Texts as vectors: the mean of their final states, scaled to length 1. */
import type { EmbeddingModelV3 } from "@ai-sdk/provider";
import { ensure, requireObject, requireOptions, shown } from "../errors.ts";
import { requireNothingElse } from "../names.ts";
import type { Model } from "../open.ts";

export const embeddingModel = (modelId: string, opened: () => Promise<Model>): EmbeddingModelV3 => ({
  specificationVersion: "v3",
  provider: "ventris",
  modelId,
  maxEmbeddingsPerCall: 64,
  supportsParallelCalls: true,
  async doEmbed(options) {
    requireObject(options, "doEmbed", "its options");
    const { values, abortSignal: signal, providerOptions } = options;
    ensure(Array.isArray(values), "bad_option", () => {
      return `doEmbed takes { values }, a list of texts, not ${shown(values)}: embed and embedMany make one`;
    });
    const own = providerOptions?.ventris ?? {};
    requireOptions(own, "providerOptions", "ventris");
    requireNothingElse(own, "embed", []);
    const model = await opened();
    const embeddings = await Promise.all(values.map(async (text) => Array.from(await model.embed(text, { signal }))));
    const tokens = values.reduce((sum, text) => sum + (model.tokenizer?.encode(text).length ?? 0), 0);
    return { embeddings, usage: { tokens }, warnings: [] };
  },
});
