/** Registered methods that write one text, with options that leave nothing to timing. */
import { join } from "node:path";
import type { Model } from "../../src/index.ts";
import type { ConformanceOptions } from "./suite.ts";

const published = { verification: "published" };

/** Numbers without a pattern, small enough not to drown what they are added to. */
export const someNumbers = (count: number, scale: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => scale * Math.sin(i * 12.9898 + (i % 7)));

async function writeHeads(model: Model, folder: string): Promise<void> {
  const { hiddenSize: width, layers } = model.config;
  const tensors = [1, 2, 3].flatMap((k): [string, { shape: number[]; values: Float32Array<ArrayBuffer> }][] => [
    [`weight.${k}`, { shape: [width, width], values: someNumbers(width * width, 0.2) }],
    [`bias.${k}`, { shape: [width], values: someNumbers(width, 0.1) }],
  ]);
  await model.writePart(join(folder, "parts", "medusa"), {
    kind: "heads",
    sites: [`layers.${layers - 1}.residual`],
    tensors: new Map(tensors),
  });
}

async function writePromptTokens(model: Model, folder: string): Promise<void> {
  const { hiddenSize: width } = model.config;
  await model.writePart(join(folder, "parts", "prompt-tokens"), {
    kind: "prompt-tokens",
    sites: ["embed.tokens"],
    settings: { tokens: 3, ensemble: 2 },
    tensors: new Map([["vectors", { shape: [6, width], values: someNumbers(6 * width, 0.5) }]]),
  });
}

async function writeTransfers(model: Model, folder: string): Promise<void> {
  const { hiddenSize: width } = model.config;
  await model.writePart(join(folder, "parts", "hidden-transfer"), {
    kind: "hidden-transfer",
    sites: ["layers.0.residual"],
    settings: { layers: [1, 1, 1] },
    tensors: new Map(
      [1, 2, 3].map((i) => [
        `weight.${i}`,
        { shape: [width, width], values: someNumbers(width * width, 0.2 + i / 10) },
      ]),
    ),
  });
}

/** A draft that is the model's last layer, given the model's own state as it is. */
async function writeEagle(model: Model, folder: string): Promise<void> {
  const { hiddenSize: width, layers } = model.config;
  const values = await model.parameterValues((name) => name.includes(`layers.${layers - 1}.`));
  const fused = someNumbers(2 * width * width, 0.1);
  for (let i = 0; i < width; i++) fused[i * 2 * width + width + i] += 1;
  const draft = {
    sites: ["final"],
    tensors: new Map([
      ["fc.weight", { shape: [width, 2 * width], values: fused }],
      ["fc.bias", { shape: [width], values: new Float32Array(width) }],
      ...model.family
        .parameters({ ...model.config, layers: 1 })
        .filter(({ name }) => name.includes("layers.0.") && !name.includes("input_layernorm"))
        .map(({ name, shape }): [string, { shape: number[]; values: Float32Array<ArrayBuffer> }] => [
          name,
          { shape: [...shape], values: values.get(name.replace("layers.0.", `layers.${layers - 1}.`))!.slice() },
        ]),
    ]),
  };
  await model.writePart(join(folder, "parts", "eagle"), { ...draft, kind: "eagle" });
  const settings = { form: "decoupled" };
  await model.writePart(join(folder, "parts", "multimodal"), { ...draft, kind: "multimodal", settings });
}

/** Drafts from guesses leave nothing to measurements with these. */
const guessed = { estimate: "draft", budget: 6 };
export const entries: Readonly<Record<string, ConformanceOptions>> = {
  greedy: { greedyOnly: true },
  sample: {},
  chain: { options: (draft) => ({ draft, length: 3 }), published },
  "prompt-lookup": { options: () => ({ length: 4 }) },
  "spec-infer": { options: (draft) => ({ draft, branches: [2, 1, 1] }), published },
  sequoia: { options: (draft) => ({ draft, budget: 6, depth: 3 }), published },
  dyspec: { options: (draft) => ({ draft, budget: 6 }), published },
  online: { options: (draft) => ({ draft, length: 3 }), published },
  medusa: { options: () => guessed, prepare: writeHeads },
  "prompt-tokens": { options: () => guessed, prepare: writePromptTokens },
  "hidden-transfer": { options: () => guessed, prepare: writeTransfers },
  eagle: { options: () => ({ budget: 6, width: 3 }), prepare: writeEagle },
  multimodal: { options: () => ({ budget: 6, width: 3 }), prepare: writeEagle },
  "self-speculative": { options: () => ({ skip: ["mlp.0", "attention.1"], budget: 4 }) },
  "lexical-units": { options: () => ({ verify: true, pad: 7 }) },
  "top-k": { options: (draft) => ({ draft, budget: 6 }) },
  aded: { options: () => ({ table: "empty", primePrompt: true, budget: 8 }) },
  awrs: {},
  auto: { options: () => ({ arms: ["sample", { name: "prompt-lookup", length: 4 }], state: "none" }) },
};

/** Methods that grow several texts at once: `several.test.ts` has theirs. */
export const apart = [
  "smc",
  "beam",
  "diverse-beam",
  "a-star",
  "best-of-n",
  "self-consistency",
  "particle-filtering",
  "reward-beam",
];
