/**
 * A provider for the Vercel AI SDK (specification V3): models of this package, opened in this process at their first use.
 *
 *     import { generateText } from "ai";
 *     import { ventris } from "ventris/ai-sdk";
 *     const { text } = await generateText({ model: ventris("phaistos"), prompt: "Start with 14. * 5, - 9. What is the result?" });
 */
import type { EmbeddingModelV3, LanguageModelV3, ProviderV3 } from "@ai-sdk/provider";
import { ensure, shown, VentrisError } from "../errors.ts";
import { type Model, type OpenOptions, open, requireOpenOptions } from "../open.ts";
import { requireReference } from "../weights/references.ts";
import { embeddingModel } from "./embedding-model.ts";
import { languageModel } from "./language-model.ts";

/** A provider of the AI SDK that opens models in this process: language models and embeddings by the names that `open` takes. */
export interface VentrisProvider extends ProviderV3, AsyncDisposable {
  (modelId: string): LanguageModelV3;
  languageModel(modelId: string): LanguageModelV3;
  embeddingModel(modelId: string): EmbeddingModelV3;
  /** Closes the models that were opened; further calls open them anew. */
  close(): Promise<void>;
}

/** `options` are those of `open`: precision, threads, device. Errors: `bad_option`; what a model lacks is known when it is first called. */
export function createVentris(options: OpenOptions = {}): VentrisProvider {
  requireOpenOptions(options, "createVentris");
  const models = new Map<string, Promise<Model>>();
  const opened = (name: string): Promise<Model> => {
    let model = models.get(name);
    if (!model) {
      model = open(name, options);
      models.set(name, model);
      model.catch(() => models.delete(name)); // what was missing may be there at the next call
    }
    return model;
  };
  async function close(): Promise<void> {
    const all = [...models.values()];
    models.clear();
    for (const one of await Promise.allSettled(all)) if (one.status === "fulfilled") await one.value.close();
  }
  const named = (call: string, modelId: string, others: readonly unknown[]): (() => Promise<Model>) => {
    requireReference(modelId, call);
    ensure(
      others.length === 0,
      "bad_option",
      `${call}(${shown(modelId)}, …): it takes a name alone; options of open are given to createVentris, and those of a request to the call, by providerOptions: { ventris: { … } }`,
    );
    return () => opened(modelId);
  };
  const make =
    (call: string) =>
    (modelId: string, ...others: unknown[]): LanguageModelV3 =>
      languageModel(modelId, named(call, modelId, others));
  return Object.assign(make("ventris"), {
    specificationVersion: "v3" as const,
    languageModel: make("languageModel"),
    embeddingModel: (modelId: string, ...others: unknown[]) =>
      embeddingModel(modelId, named("embeddingModel", modelId, others)),
    imageModel(modelId: string): never {
      throw new VentrisError(
        "unavailable",
        `${shown(modelId)}: models of this package make text and vectors, no images`,
      );
    },
    close,
    [Symbol.asyncDispose]: close,
  });
}

/** Models with the options that `open` has by itself. */
export const ventris: VentrisProvider = createVentris();
