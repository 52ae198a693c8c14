/** The trained vectors of a model, and the look-ahead rows that they are. */
import type { DecodingModel } from "../../../engine/model.ts";
import { ensure } from "../../../errors.ts";
import { within } from "../../../files.ts";
import { fileIdentity } from "../../../weights/index.ts";
import type { Foresight } from "../guesses.ts";
import { promptTokensKind, promptTokensSettings } from "./training.ts";

interface PromptTokens {
  readonly identity: string;
  readonly count: number;
  readonly ensemble: number;
  /** By token, then by the ensemble's number. */
  readonly vectors: readonly Float32Array[];
}

/** Errors: `unavailable`, `bad_file`; `bad_option` for a part of another model. */
export const openPromptTokens = (
  model: Pick<DecodingModel, "config" | "part" | "state">,
  reference: string,
): Promise<PromptTokens> =>
  model.state(`prompt tokens ${reference}`, async () => {
    const { card, folder, tensors } = await model.part(reference, promptTokensKind);
    const settings = promptTokensSettings.safeParse(card.settings);
    ensure(settings.success, "bad_file", () => `${folder}: settings: ${settings.error?.issues[0].message}`);
    const { tokens: count, ensemble } = settings.data;
    const width = model.config.hiddenSize;
    const stored = tensors.get("vectors");
    ensure(
      stored?.shape.join() === [count * ensemble, width].join(),
      "bad_file",
      `${folder}: ${count} prompt tokens of ${ensemble} want vectors [${count * ensemble}, ${width}]`,
    );
    const { values } = stored;
    return {
      identity: `${card.base.fingerprint} ${await fileIdentity(within(folder, "part.safetensors"))}`,
      count,
      ensemble,
      vectors: Array.from({ length: count * ensemble }, (_, i) => values.subarray(i * width, (i + 1) * width)),
    };
  });

/** Vectors as rows: each of an ensemble is a chain of its own, and their guesses are averaged as logits. */
export function promptForesight({ identity, ensemble, vectors }: PromptTokens, levels: number): Foresight {
  const chains = Array.from({ length: ensemble }, (_, equal) =>
    Array.from({ length: levels }, (_, level) => ({ vector: vectors[level * ensemble + equal] })),
  );
  return {
    identity: `prompt-tokens ${levels} ${identity}`,
    levels,
    rows: (count) => chains.map((chain) => chain.slice(0, count)),
    guess: (_, made) =>
      Array.from({ length: made[0].length }, (_, level) => meanOf(made.map((chain) => chain[level]?.logits))),
  };
}

function meanOf(rows: readonly (Float32Array | undefined)[]): Float32Array | undefined {
  const [first, ...others] = rows;
  if (!first || others.length === 0) return first;
  const mean = first.slice();
  for (const row of others) {
    if (!row) return undefined;
    for (let i = 0; i < mean.length; i++) mean[i] += row[i];
  }
  return mean.map((sum) => sum / rows.length);
}
