import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 23,
  name: "inverse-permutation",
  system: "Inverse permutation learning",
  title: "The Impossibility of Inverse Permutation Learning in Transformer Models",
  authors: ["R. Alur", "C. Hays", "M. Raghavan", "D. Shah"],
  year: 2025,
  arxiv: "2509.24125",
  venue: "NeurIPS 2025 workshop",
  line: "what a causal mask makes impossible, and two layers without it or with scratch space make exact",
  what: [
    "Putting a shuffled list back into its order is the plainest form of a skill that many tasks need.",
    "A causal transformer that attends only cannot write the restored list into its stream at any depth; without the mask, or with scratch tokens that mean nothing, two layers suffice.",
    "Both are constructions that can be built and run.",
  ],
  lives: {
    folder: "methods/insight/inverse-permutation",
    command: "ventris reproduce inverse-permutation --quick",
    function: "permutations.construct",
  },
  missing:
    "Lists as long as the paper's, of 10, are restored by construction and not by training. How soon training leaves its plateau without a mask differs from seed to seed.",
  showcase: {
    live: "The construction inverts a list of ten without a mask, with a mask and scratch rows, and fails with a mask alone: about a second.",
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  claims: [
    {
      id: "construction",
      says: "Two layers without the mask restore every permutation.",
      paper: { setting: "a theorem" },
      ours: "constructed weights, lists of 2 to 64: largest error",
      holds: { atMost: 1e-5 },
    },
    {
      id: "scratch",
      says: "So do two causal layers with scratch tokens.",
      paper: { setting: "a theorem" },
      ours: "constructed weights, lists of 2 to 64: largest error",
      holds: { atMost: 1e-5 },
    },
    {
      id: "impossible",
      says: "Causal layers without scratch cannot: some rows never see what they should hold.",
      paper: { setting: "a theorem" },
      ours: "share of trials in which a row changes with an input that it cannot see, summed over random weights of depths 1 to 8 and trained ones",
      holds: { atMost: 0 },
    },
    {
      id: "training",
      says: "Training finds it as soon as the mask is gone.",
      paper: { setting: "accuracy from chance to near-perfect" },
      ours: "trained on lists of 4 or 6: share of restored rows without the mask minus with it",
      holds: { above: 0.3, surely: true },
    },
    {
      id: "decoding",
      says: "The claim is about answers in place: a causal model that writes the list after its input has fresh rows for it.",
      paper: { setting: "our reading; scratch tokens are the paper's form of it" },
      ours: "small GPT-2: share of items right when written after the input minus when read in the rows of the items",
      holds: { above: 0.1, surely: true },
    },
  ],
};
