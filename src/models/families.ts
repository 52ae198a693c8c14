import { ensure, shown } from "../errors.ts";
import { dream } from "./diffusion/dream.ts";
import { llada } from "./diffusion/llada.ts";
import { type Family, type ModelConfig, unsupportedArchitecture } from "./family.ts";
import { gpt2 } from "./gpt2.ts";
import { gptNeoX } from "./gptneox.ts";
import { llama } from "./llama.ts";
import { llava } from "./llava.ts";

const families: readonly Family[] = [llama, gpt2, gptNeoX, llada, dream, llava];

/** Why architectures that people may well try are not here. */
const refused: Readonly<Record<string, string>> = {
  "Mamba|Mamba2|FalconMamba|Jamba|GraniteMoeHybrid|Rwkv|Lfm2|Qwen3Next":
    "it keeps one state for all that was read, which a tree of texts cannot share and take back by tokens as it does keys and values",
  "Mixtral|Qwen2Moe|Qwen3Moe|GraniteMoe|Olmoe|PhiMoE|Phimoe": "it has experts, of which there are none here",
  "Gemma3|Gemma3n":
    "models that see are supported in LLaVA's layout alone; the text models of Gemma 3 are Gemma3ForCausalLM",
};

function reasonAgainst(architecture: string): string | undefined {
  const family = architecture.slice(0, 100).replace(/(LMHead|For[A-Z]\w*)$/, "");
  return Object.entries(refused).find(([names]) => names.split("|").includes(family))?.[1];
}

/** Names of architectures, as configurations state them, that can be opened. */
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
  refuseContradiction(architectures[0], (json as { model_type?: unknown }).model_type);
  return { family, config: family.readConfig(json as Record<string, unknown>) };
}

/** A config's `model_type` is its architecture's name without the task and in lower case, for a text model of several kinds with `_text`. */
function refuseContradiction(architecture: string, type: unknown): void {
  if (type === undefined || type === null) return;
  const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, "");
  const named = plain(architecture.replace(/(For[A-Z]\w*|LMHeadModel|ModelLM|Model)$/, ""));
  ensure(
    typeof type === "string" && [named, `${named}text`].includes(plain(type)),
    "bad_config",
    `config: model_type ${shown(type)} contradicts the architecture ${architecture}; which of the two is it?`,
  );
}

/** The family of an architecture. Errors: `bad_config` with the nearest name. */
export function familyNamed(architecture: unknown): Family {
  const family = families.find((f) => f.architectures.includes(architecture as string));
  if (family) return family;
  const reason = typeof architecture === "string" ? reasonAgainst(architecture) : undefined;
  ensure(
    reason === undefined,
    "bad_config",
    () => `config: the architecture ${shown(architecture)} is not supported: ${reason}`,
  );
  throw unsupportedArchitecture(architecture, supportedArchitectures);
}
