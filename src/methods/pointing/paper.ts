import type { Paper } from "../../papers/paper.ts";

export const paper: Paper = {
  number: 18,
  name: "pointing",
  system: "Pointer networks",
  title: "Pointer Networks",
  authors: ["Oriol Vinyals", "Meire Fortunato", "Navdeep Jaitly"],
  year: 2015,
  arxiv: "1506.03134",
  venue: "NIPS 2015",
  line: "attention that points at the inputs, so that the answer's alphabet is the question itself",
  what: [
    "Where each symbol of the answer is a place of the input, no fixed vocabulary fits.",
    "A pointer network uses the attention weights over its inputs as the distribution of the answer.",
    "Hulls, triangulations and tours are learned from solved examples, by one model for many sizes.",
  ],
  lives: {
    folder: "methods/pointing",
    command: "ventris point hull POINTS.csv",
    function: "point(await openPointing(file), points)",
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  claims: [
    {
      id: "hull",
      says: "Convex hulls of small sets are found, and nearly all of their area.",
      paper: { value: 99.6, setting: "% of the area, 5 points, trained on 5 to 50, as we remember the paper" },
      ours: "hulls of 5 points: % of the area covered",
      unit: "%",
      holds: { atLeast: 95 },
    },
    {
      id: "against-lstm",
      says: "An LSTM with a fixed output does worse.",
      paper: { value: 1.049, setting: "92.0 % against 87.7 % of hulls of 5 points, as we remember the paper" },
      ours: "share of exact hulls of 5 points, over an LSTM of the same size",
      unit: "×",
      holds: { above: 1, surely: true },
    },
    {
      id: "tour",
      says: "Tours of five cities are near the shortest.",
      paper: { value: 2.12, setting: "mean length, 5 cities; the shortest have 2.12" },
      ours: "mean length of valid tours over the shortest",
      unit: "×",
      holds: { atMost: 1.03 },
    },
    {
      id: "generalises",
      says: "Trained on small sets it goes on to larger ones: exactness falls faster than area.",
      paper: { setting: "area 99.2 % at 500 points where 1.3 % are exact" },
      ours: "hulls of 20 points by a model trained on 5 to 10: area covered minus share exact",
      holds: { above: 0, surely: true },
    },
  ],
};
