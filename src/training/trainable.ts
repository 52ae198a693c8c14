/** Which models can be trained as a recipe says: asked before anything is written or read. */
import { ensure } from "../errors.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { loraSites } from "../models/lora.ts";
import { type PartKind, partSettings, type StatedPart } from "./parts.ts";

interface Wanted {
  readonly lora?: { readonly r: number; readonly alpha: number; readonly targets: readonly string[] };
  readonly part?: StatedPart;
  /** Kinds of parts beside those of this folder. */
  readonly partKinds?: readonly PartKind[];
}

/** Errors: `bad_option` for a model that texts alone cannot train so, a matrix that it has not, and settings that a part does not take. */
export function requireTrainable(
  name: string,
  { family, config }: { readonly family: Family; readonly config: ModelConfig },
  { lora, part, partKinds }: Wanted,
): void {
  ensure(!config.vision || part, "bad_option", () => {
    return `${name} is a model that sees: all of its weights, and a LoRA, are trained on pictures with questions (recipes/argos.mjs of the repository shows how), and texts alone can train a part of it (--part prompt-tokens, or another)`;
  });
  ensure(!config.diffusion || !lora, "bad_option", () => {
    return `${name} is a masked diffusion model: all of its weights can be trained, and no LoRA, which goes with training on next tokens`;
  });
  if (lora) loraSites(family, config, { rank: lora.r, alpha: lora.alpha, targets: lora.targets });
  if (part) partSettings(part, partKinds);
}
