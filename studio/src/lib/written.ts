/** A short text that a model writes, for what is looked at beside it. */
import { decode } from "./api.ts";

/** The text after the prompt. `options` and `shapers`: of the request, beside those that make it short. */
export async function written(
  model: string,
  prompt: string,
  { options = {}, shapers }: { options?: Record<string, unknown>; shapers?: object[] },
  signal: AbortSignal,
): Promise<string> {
  const usual = { temperature: 0.7, seed: 1, maxTokens: 60 };
  let text = "";
  const request = { model, prompt, method: { name: "sample" }, options: { ...usual, ...options }, shapers };
  for await (const events of decode(request, signal))
    for (const event of events) if (event.type === "tokens") text += event.text;
  return text;
}
