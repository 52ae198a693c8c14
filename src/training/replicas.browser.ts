/** Training in a page: one model in this thread, whose operators have threads of their own where the page may have any. */
import { familyNamed } from "../models/families.ts";
import type { ModelConfig } from "../models/family.ts";
import { maskedDiffusionObjective } from "./masked-diffusion.ts";
import { type LanguageModelObjective, type NextTokenOptions, nextTokenObjective } from "./next-token.ts";

export const replicatedObjective = (
  config: ModelConfig,
  values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
  options: NextTokenOptions,
): Promise<LanguageModelObjective> => {
  const objective = config.diffusion ? maskedDiffusionObjective : nextTokenObjective;
  return objective(familyNamed(config.architecture), config, values, options);
};
