/** Every decoding method of the registry, run in a page as under Node: options, as data, and one function that both run. */
import type { Model } from "../../src/index.ts";

interface Case {
  readonly options?: Readonly<Record<string, unknown>>;
  readonly request?: Readonly<Record<string, unknown>>;
}

const steps = { reward: "letters", delimiters: ["t", "e"], maxStepTokens: 4 };
const constrained = { request: { constraint: { regex: "[a-z ,.]{1,40}" } } };

/** Methods that are not here fail the test; one that a page cannot have is listed with `without` instead, and why. */
export const cases: Readonly<Record<string, Case>> = {
  greedy: { request: { temperature: 0 } },
  sample: {},
  chain: { options: { draft: "pylos", length: 3 } },
  "prompt-lookup": { options: { length: 4 } },
  "spec-infer": { options: { draft: "pylos", branches: [2, 1, 1] } },
  sequoia: { options: { draft: "pylos", budget: 6, depth: 3 } },
  dyspec: { options: { draft: "pylos", budget: 6 } },
  "top-k": { options: { draft: "pylos", budget: 6 } },
  aded: {},
  online: { options: { draft: "pylos", length: 3 } },
  medusa: {},
  "prompt-tokens": {},
  "hidden-transfer": {},
  eagle: {},
  multimodal: { options: { layer: "FOLDER/multimodal", budget: 6, width: 3 } },
  "self-speculative": { options: { skip: ["mlp.0", "attention.1"], budget: 4 } },
  "lexical-units": { options: { verify: true, pad: 7 } },
  awrs: constrained,
  smc: { options: { particles: 3 }, ...constrained },
  beam: { options: { beams: 2 } },
  "diverse-beam": { options: { beams: 4, groups: 2, strength: 1 } },
  "a-star": { options: { ...steps, children: 2 } },
  "best-of-n": { options: { ...steps, samples: 2 } },
  "self-consistency": { options: { delimiters: steps.delimiters, maxStepTokens: 4, samples: 2 } },
  "particle-filtering": { options: { ...steps, particles: 2 } },
  "reward-beam": { options: { ...steps, samples: 2, children: 2 } },
  "low-confidence": {},
  "fixed-k": { options: { k: 3 } },
  random: {},
  entropy: {},
  margin: {},
  threshold: {},
  localleap: {},
  learn2pd: { request: { maxTokens: 32 } }, // the block of its filter
  oracle: { options: { reference: "CANVAS" } },
  auto: { options: { arms: ["sample", { name: "prompt-lookup", length: 4 }], state: "none" } },
};

/** Methods whose work is a file system's, with the reason. */
export const without: Readonly<Record<string, string>> = {};

interface Given {
  readonly registry: readonly { name: string; needs?: readonly string[] }[];
  readonly cases: typeof cases;
  /** Where it may write. */
  readonly folder: string;
}

/** Texts by method; of one that fails, its error. It travels to the page as it is written: nothing from outside stands in it. */
export async function decodeAll(
  models: { readonly forest: Model; readonly canvas: Model },
  { registry, cases, folder }: Given,
): Promise<Record<string, string>> {
  const { forest, canvas } = models;
  const prompt = "Once upon a time";
  const request = { temperature: 0.8, seed: 7, maxTokens: 10 };
  const filled = { temperature: 0, seed: 7, maxTokens: 12 };
  const reward = ({ text }: { text: string }) => (1 + [...text].filter((letter) => letter === "a").length) / 100;
  // A part for models that see, which none of ours has: the model's own last layer, given its states as they are.
  const { hiddenSize: width, layers } = forest.config;
  const values = await forest.parameterValues((name) => name.includes(`layers.${layers - 1}.`));
  const fused = new Float32Array(2 * width * width);
  for (let i = 0; i < width; i++) fused[i * 2 * width + width + i] = 1;
  const own = forest.family
    .parameters({ ...forest.config, layers: 1 })
    .filter(({ name }) => name.includes("layers.0.") && !name.includes("input_layernorm"));
  await forest.writePart(`${folder}/multimodal`, {
    kind: "multimodal",
    settings: { form: "decoupled" },
    sites: ["final"],
    tensors: new Map([
      ["fc.weight", { shape: [width, 2 * width], values: fused }],
      ["fc.bias", { shape: [width], values: new Float32Array(width) }],
      ...own.map(({ name, shape }): [string, { shape: number[]; values: Float32Array<ArrayBuffer> }] => [
        name,
        { shape: [...shape], values: values.get(name.replace("layers.0.", `layers.${layers - 1}.`))!.slice() },
      ]),
    ]),
  });
  const texts: Record<string, string> = {};
  for (const { name, needs } of registry) {
    if (!cases[name]) continue;
    const fills = needs?.includes("canvas");
    const options: Record<string, unknown> = { ...cases[name].options };
    if (options.reward) options.reward = reward;
    if (options.layer) options.layer = `${folder}/multimodal`;
    try {
      if (options.reference) {
        const method = { name: "low-confidence", earlyStop: false };
        options.reference = (await canvas.decode(prompt, { ...filled, method: method as never }).final).canvas;
      }
      const method = { ...options, name } as never;
      const model = fills ? canvas : forest;
      const { text } = await model.generate(prompt, { ...(fills ? filled : request), ...cases[name].request, method });
      texts[name] = text;
    } catch (error) {
      texts[name] = `FAILED ${(error as { code?: string }).code}: ${(error as Error).message}`;
    }
  }
  return texts;
}
