import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 19,
  name: "localleap",
  system: "LocalLeap",
  title: "Accelerating Diffusion LLM Inference via Local Determinism Propagation",
  authors: ["F. Kong", "J. Zhang", "Y. Liu", "Z. Wu", "Y. Tian", "V. W.", "G. Zhou"],
  year: 2025,
  arxiv: "2510.07081",
  line: "lowers the bar for unmasking next to positions the model is already sure about",
  what: [
    "Conservative unmasking leaves positions waiting long after their prediction has become final.",
    "LocalLeap commits positions above a high confidence, and near them those above a lower one, because a sure position makes its neighbours reliable.",
    "Nothing is trained.",
  ],
  lives: {
    folder: "methods/diffusion/localleap",
    method: "localleap",
    command:
      'ventris run --model mycenae --method localleap --temperature 0 --chat "Tom has 9 books. Tom finds 8 more. …"',
  },
  showcase: {
    model: "mycenae",
    prompt: "Ben has 14 stones. Then Ben has 5 times as many. Ben finds 7 more. How many stones does Ben have now?",
    chat: true,
    options: { temperature: 0, maxTokens: 64 },
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  claims: [
    {
      id: "passes",
      says: "Far fewer passes than one token a pass.",
      paper: { value: 14.2, setting: "% of the passes, best case over LLaDA-8B and Dream-7B" },
      ours: "mycenae, held-out prompts: passes in % of plain unmasking's",
      unit: "%",
      holds: { atMost: 50 },
    },
    {
      id: "against-threshold",
      says: "Fewer passes than one threshold at the same high confidence.",
      paper: { setting: "clear further gain over a threshold of 0.9" },
      ours: "passes over those of the threshold alone",
      unit: "×",
      holds: { below: 1, surely: true },
    },
    {
      id: "quality",
      says: "Quality hardly changes.",
      paper: { value: -0.61, setting: "40.85 → 40.24 pass@1, HumanEval, LLaDA-8B, a third party's figure" },
      ours: "change of accuracy against plain unmasking, in points",
      unit: "points",
      holds: { atLeast: -2 },
    },
    {
      id: "locality",
      says: "Predictions near a sure position are right more often.",
      paper: { setting: "the paper's first principle" },
      ours: "share right at medium confidence, neighbours of anchors minus others",
      holds: { above: 0, surely: true },
    },
  ],
};
