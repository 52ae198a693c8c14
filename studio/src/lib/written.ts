/** A short text that a model writes, for what is looked at beside it. */
import type { TraceEvent } from "../../../src/engine/trace.ts";
import { decode } from "./api.ts";

/** Beside what makes the text short. `read` is given what its taps read. */
export interface Asked {
  options?: Record<string, unknown>;
  shapers?: object[];
  /** The prompt is said in the model's chat form. */
  chat?: boolean;
  /** Data URLs, shown before the prompt. */
  pictures?: string[];
  read?: (taps: Extract<TraceEvent, { type: "taps" }>) => void;
}

/** The text after the prompt. */
export async function written(
  model: string,
  prompt: string,
  { options = {}, read, ...rest }: Asked,
  signal: AbortSignal,
): Promise<string> {
  const usual = { temperature: 0.7, seed: 1, maxTokens: 60 };
  let text = "";
  const request = { model, prompt, method: { name: "sample" }, options: { ...usual, ...options }, ...rest };
  for await (const events of decode(request, signal))
    for (const event of events) {
      if (event.type === "tokens") text += event.text;
      if (event.type === "taps") read?.(event);
    }
  return text;
}
