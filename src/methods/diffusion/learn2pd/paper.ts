import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 3,
  name: "learn2pd",
  system: "Learn2PD",
  title: "Learning to Parallel: Accelerating Diffusion Large Language Models via Learnable Parallel Decoding",
  authors: ["W. Bao", "Z. Chen", "D. Xu", "Y. Shang"],
  year: 2025,
  arxiv: "2509.25188",
  venue: "ICLR 2026",
  line: "a small trained filter says which masked positions are already final, and stops at the end of the text",
  what: [
    "Block samplers of diffusion models commit positions by a fixed rule, so that most tokens are predicted anew many times after they were first right, and most work goes into padding after the end.",
    "Learn2PD trains a filter of a few thousand numbers that tells from the confidences of a block which predictions are final already.",
    "End-of-text prediction stops decoding what comes after the end.",
  ],
  lives: {
    folder: "methods/diffusion/learn2pd",
    method: "learn2pd",
    command:
      'ventris run --model mycenae --method learn2pd --temperature 0 --chat "Tom has 9 books. Tom finds 8 more. …"',
  },
  showcase: {
    model: "mycenae",
    prompt: "Ann has 6 pears. Then Ann has 3 times as many. Ann finds 4 more. How many pears does Ann have now?",
    chat: true,
    options: { temperature: 0, maxTokens: 64 },
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  claims: [
    {
      id: "passes",
      says: "The learned filter needs at most half of the passes of one-token-a-pass decoding.",
      paper: { value: 12.21, setting: "speed-up, LLaDA-8B-Instruct, GSM8K, length 1024" },
      ours: "mycenae, held-out prompts: passes of plain unmasking over passes with the filter, without end-of-text prediction",
      unit: "×",
      holds: { atLeast: 2 },
    },
    {
      id: "passes-quality",
      says: "With the filter alone, quality loses at most two points.",
      paper: { value: -0.34, setting: "77.60 → 77.26, LLaDA-8B-Instruct, GSM8K" },
      ours: "mycenae: change of the task's accuracy in points, same runs",
      unit: "points",
      holds: { atLeast: -2 },
    },
    {
      id: "quality",
      says: "With filter and end-of-text prediction, quality loses at most two points.",
      paper: { value: 2.23, setting: "77.60 → 79.83, LLaDA-8B-Instruct, GSM8K" },
      ours: "mycenae: change of the task's accuracy in points",
      unit: "points",
      holds: { atLeast: -2 },
    },
    {
      id: "end-of-text",
      says: "Stopping at the end of the text multiplies the gain for long canvases.",
      paper: { value: 1.8493, setting: "22.58× over 12.21×, length 1024" },
      ours: "mycenae: passes of the filter without end-of-text prediction over its passes with it, each for the whole canvas",
      unit: "×",
      holds: { above: 1, surely: true },
    },
    {
      id: "frontier",
      says: "It decides better than one confidence threshold for all.",
      paper: { setting: "compared with fixed thresholds" },
      ours: "agreement with plain unmasking at equal passes, filter minus best global threshold",
      holds: { above: 0, surely: true },
    },
    {
      id: "filter-size",
      says: "The filter has 2·(B² + B) numbers for blocks of B.",
      paper: { value: 2112, setting: "two layers, blocks of 32" },
      ours: "count of the trained filter's numbers",
      holds: { atLeast: 2112, atMost: 2112 },
    },
  ],
};
