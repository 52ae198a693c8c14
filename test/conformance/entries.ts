/** Registered methods that write one text, with options that leave nothing to timing. */
import type { ConformanceOptions } from "./suite.ts";

const published = { verification: "published" };
export const entries: Readonly<Record<string, ConformanceOptions>> = {
  greedy: { greedyOnly: true },
  sample: {},
  chain: { options: (draft) => ({ draft, length: 3 }), published },
  "prompt-lookup": { options: () => ({ length: 4 }) },
  "spec-infer": { options: (draft) => ({ draft, branches: [2, 1, 1] }), published },
  sequoia: { options: (draft) => ({ draft, budget: 6, depth: 3 }), published },
  dyspec: { options: (draft) => ({ draft, budget: 6 }), published },
  online: { options: (draft) => ({ draft, length: 3 }), published },
  "top-k": { options: (draft) => ({ draft, budget: 6 }) },
  aded: { options: () => ({ table: "empty", primePrompt: true, budget: 8 }) },
  awrs: {},
  auto: { options: () => ({ arms: ["sample", { name: "prompt-lookup", length: 4 }], state: "none" }) },
};
