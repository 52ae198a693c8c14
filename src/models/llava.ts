/**
 * LLaVA-1.5 (Liu et al. 2024): a vision tower, a projector, and a text model of the Llama family, in whose texts the rows of a picture stand like
 * tokens. This is the text model; `vision/` has the rest. Names are those of Hugging Face checkpoints.
 */
import { ensure, shown } from "../errors.ts";
import { ConfigReader, type Family } from "./family.ts";
import { llama } from "./llama.ts";
import { readVision } from "./vision/config.ts";
import { visionParameters } from "./vision/tower.ts";

/** What transformers leaves out of a text config that has it (`LlamaConfig`). */
const textDefaults = {
  model_type: "llama",
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  vocab_size: 32000,
  bos_token_id: 1,
  eos_token_id: 2,
};

export const llava: Family = {
  architectures: ["LlavaForConditionalGeneration"],
  readConfig(json) {
    const config = new ConfigReader(json);
    const given = config.raw("text_config");
    const isObject = typeof given === "object" && given !== null && !Array.isArray(given);
    ensure(isObject, "bad_config", () => `config: text_config must be an object, not ${shown(given)}`);
    const whole = { ...textDefaults, ...(given as object) };
    const architectures: Readonly<Record<string, string>> = {
      llama: "LlamaForCausalLM",
      mistral: "MistralForCausalLM",
      qwen2: "Qwen2ForCausalLM",
    };
    const architecture = architectures[whole.model_type];
    ensure(architecture, "bad_config", () => {
      return `config: text_config.model_type must be one of ${Object.keys(architectures).join(", ")}, not ${shown(whole.model_type)}`;
    });
    const tied = config.raw("tie_word_embeddings");
    const text = llama.readConfig({
      ...(tied !== undefined && { tie_word_embeddings: tied }),
      ...whole,
      architectures: [architecture],
    });
    const vision = readVision(config, text.hiddenSize);
    ensure(vision.imageToken < text.vocabularySize, "bad_config", () => {
      return `config: image_token_index ${vision.imageToken} is none of the text model's ${text.vocabularySize} tokens`;
    });
    for (const name of ["ignore_index", "image_grid_pinpoints"]) config.raw(name);
    config.finish();
    return { ...text, architecture: "LlavaForConditionalGeneration", vision };
  },
  parameters(config) {
    const text = llama.parameters(config).map((one) => ({
      ...one,
      sources: one.name.startsWith("model.")
        ? [`language_model.${one.name}`, one.name.replace(/^model\./, "model.language_model.")]
        : [`language_model.${one.name}`, one.name],
    }));
    return [...text, ...visionParameters(config.vision!)];
  },
  build: llama.build,
  readout: llama.readout,
};
