import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 22,
  name: "glim",
  system: "GLIM, EEG to text",
  title: "Learning Interpretable Representations Leads to Semantically Faithful EEG-to-Text Generation",
  authors: ["Xiaozhao Liu", "Dinggang Shen", "Xihui Liu"],
  year: 2025,
  arxiv: "2505.17099",
  line: "decodes the gist of a sentence from EEG, and shows that the output depends on the signal",
  what: [
    "Earlier EEG-to-text systems scored well even on noise, because their language decoder ignores the signal.",
    "GLIM aims at a summary of the meaning, with several paraphrases a sentence and a contrastive loss that ties the signal to it.",
    "It is judged by retrieval and classification beside the overlap of texts, and against noise.",
  ],
  lives: { folder: "methods/signals/glim" },
  claims: [
    {
      id: "retrieval",
      says: "The right sentence is found among 24 by the signal.",
      paper: { setting: "chance 4.2 %; the paper's own figure was not readable to us" },
      ours: "synthetic recordings with known topics, unseen sentences: top-1 retrieval among 24, in %",
      unit: "%",
      holds: { above: 4.2, surely: true },
    },
    {
      id: "noise",
      says: "From noise it is not.",
      paper: { value: 4.2, setting: "% by chance" },
      ours: "top-1 retrieval from noise of the same spectrum, in %",
      unit: "%",
      holds: { atMost: 8 },
    },
    {
      id: "contrastive",
      says: "The contrastive loss is what ties output to signal.",
      paper: { setting: "an ablation" },
      ours: "top-1 retrieval with the loss minus without, in points",
      unit: "points",
      holds: { above: 0, surely: true },
    },
    {
      id: "classification",
      says: "Corpus and topic can be told from the signal.",
      paper: { value: 12.3, setting: "points above the majority class: 93.4 % against 81.1 %, corpus, ZuCo" },
      ours: "topic accuracy above the majority class, in points",
      unit: "points",
      holds: { above: 0, surely: true },
    },
  ],
};
