/**
 * Dream (Ye et al. 2025, arXiv 2508.15487): the shape of Qwen2, biases included, without a causal mask. It began as a model of the next token
 * and still reads the prediction for a position one row before it.
 */
import { ConfigReader, type Family } from "../family.ts";
import { llama } from "../llama.ts";
import { readTokens } from "./tokens.ts";

export const dream: Family = {
  ...llama,
  architectures: ["DreamModel"],
  readConfig(json) {
    // The class's own defaults are not those of the published sizes: every number is to stand in the file.
    const { use_mrope: _, ...rest } = json;
    const reader = new ConfigReader(json);
    reader.only("use_mrope", false, undefined);
    for (const field of ["hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings"])
      reader.integer(field);
    const shape = llama.readConfig({ ...rest, architectures: ["Qwen2ForCausalLM"] });
    return {
      ...shape,
      architecture: "DreamModel",
      diffusion: { ...readTokens(reader, shape.vocabularySize), shift: true },
    };
  },
};
