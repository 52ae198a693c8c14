import { ensure } from "../errors.ts";
import { type Family, type ModelConfig, unsupportedArchitecture } from "./family.ts";
import { gpt2 } from "./gpt2.ts";
import { llama } from "./llama.ts";

const families: readonly Family[] = [llama, gpt2];

export const supportedArchitectures: readonly string[] = families.flatMap((family) => family.architectures);

/** The family and checked config of a config.json. Errors: `bad_config` naming the field. */
export function familyOf(json: unknown): { family: Family; config: ModelConfig } {
  ensure(
    typeof json === "object" && json !== null && !Array.isArray(json),
    "bad_config",
    "config: must be a JSON object",
  );
  const { architectures } = json as { architectures?: unknown };
  ensure(
    Array.isArray(architectures) && architectures.length === 1,
    "bad_config",
    "config: `architectures` must name one architecture",
  );
  const family = familyNamed(architectures[0]);
  return { family, config: family.readConfig(json as Record<string, unknown>) };
}

/** The family of an architecture. Errors: `bad_config` with the nearest name. */
export function familyNamed(architecture: unknown): Family {
  const family = families.find((f) => f.architectures.includes(architecture as string));
  if (!family) throw unsupportedArchitecture(architecture, supportedArchitectures);
  return family;
}
