/** Registered methods that write one text, with options that leave nothing to timing. */
import { join } from "node:path";
import type { OpenModel } from "../../src/index.ts";
import type { ConformanceOptions } from "./suite.ts";

const published = { verification: "published" };

/** Numbers without a pattern, small enough not to drown what they are added to. */
export const someNumbers = (count: number, scale: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => scale * Math.sin(i * 12.9898 + (i % 7)));

async function writeHeads(model: OpenModel, folder: string): Promise<void> {
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
  "top-k": { options: (draft) => ({ draft, budget: 6 }) },
  aded: { options: () => ({ table: "empty", primePrompt: true, budget: 8 }) },
  awrs: {},
  auto: { options: () => ({ arms: ["sample", { name: "prompt-lookup", length: 4 }], state: "none" }) },
};
