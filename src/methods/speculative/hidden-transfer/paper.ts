import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 13,
  name: "hidden-transfer",
  system: "Hidden transfer",
  title: "Parallel Decoding via Hidden Transfer for Lossless Large Language Model Acceleration",
  authors: ["P. Wu", "J. Liu", "Z. Gong", "Q. Wang", "J. Li", "J. Wang", "X. Cai", "D. Zhao"],
  year: 2024,
  arxiv: "2404.12022",
  line: "guesses future tokens inside the network, by sending states of tokens that are not there yet through the upper layers",
  what: [
    "Heads on the last state guess distant tokens too late in the network to gather context, and their guesses ignore each other.",
    "Hidden transfer makes pseudo states for future tokens at a middle layer by a linear map; they run through the remaining layers, attend to the text and to each other, and are read by the ordinary head.",
    "Tree attention verifies the guesses, so that the output is unchanged.",
  ],
  lives: {
    folder: "methods/speculative/hidden-transfer",
    method: "hidden-transfer",
    command: 'ventris run --method hidden-transfer --temperature 0 "Once upon a time"',
    function: 'model.decode(prompt, { method: "hidden-transfer", temperature: 0 })',
  },
  showcase: {
    prompt: "Once upon a time there was a little girl who lived near the forest. One day she",
    options: { temperature: 0, maxTokens: 64 },
    methodOptions: { budget: 12 },
  },
  claims: [
    {
      id: "lossless",
      says: "Greedy output is that of plain greedy decoding.",
      paper: { setting: "“lossless”" },
      ours: "share of prompts whose greedy text is identical",
      holds: { atLeast: 1 },
    },
    {
      id: "tokens-a-pass",
      says: "A pass yields clearly more than one token.",
      paper: { value: "1.9× to 3× speed", setting: "FIRP, the authors' follow-up with the same mechanism" },
      ours: "knossos, greedy, held-out stories, 32 nodes and look-ahead rows: tokens a target pass",
      unit: "tokens a pass",
      holds: { above: 1.2, surely: true },
    },
    {
      id: "against-medusa",
      says: "Its guesses two and more tokens ahead are better than Medusa heads'.",
      paper: { setting: "higher accuracy than competing heads, shown as a plot" },
      ours: "accuracy at distance 2, transferred states (trained on 2.0 million tokens) minus Medusa heads (on 1.0 million, drawn from the same files)",
      holds: { above: 0, surely: true },
    },
    {
      id: "attention-matters",
      says: "The second guess needs to see the first.",
      paper: { setting: "an ablation, shown as a plot" },
      ours: "accuracy of the second guess with attention to the first minus without",
      holds: { above: 0, surely: true },
    },
    {
      id: "similarity",
      says: "Pseudo states become more like the real ones with depth.",
      paper: { setting: "shown as a plot" },
      ours: "rank correlation of depth and cosine similarity",
      holds: { above: 0 },
    },
  ],
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
};
