import type { Claim, Paper } from "../../papers/paper.ts";

/** Rows of the paper's tables, beside the network that ships for the task; a row holds where it reaches the paper's figure. */
const tableOf = (
  task: string,
  what: string,
  rows: readonly (readonly [size: number, value: number, setting: string])[],
): Claim[] =>
  rows.map(([size, value, setting]) => ({
    id: `table-${task}-${size}`,
    says: `In the paper's tables: ${what.replace("#", `${size}`)}.`,
    paper: { value, setting },
    ours: "the network that ships",
    unit: "%",
    holds: { atLeast: value },
  }));

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
  showcase: { live: "The shipped networks point out a convex hull and a tour of new points: about a second." },
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
    ...tableOf("hull", "hulls of # points, exact", [
      [5, 92.0, "trained on 5 to 50 points, accuracy in %"],
      [10, 87.0, "trained on 5 to 50 points, accuracy in %"],
      [50, 69.6, "trained on 5 to 50 points, accuracy in %"],
    ]),
    ...tableOf("delaunay", "triangulations of # points, exact", [
      [5, 80.7, "trained on 5 points, accuracy in %"],
      [10, 22.6, "trained on 10 points, accuracy in %"],
    ]),
    {
      id: "table-tour-5",
      says: "In the paper's tables: tours of 5 cities.",
      paper: { value: 1, setting: "mean length 2.12 over the shortest, 2.12; trained on 5 cities" },
      ours: "the network that ships: mean length over the shortest",
      unit: "×",
      holds: { atMost: 1.03 },
    },
    {
      id: "table-tour-10",
      says: "In the paper's tables: tours of 10 cities.",
      paper: { value: 1.003, setting: "mean length 2.88 over the shortest, 2.87; trained on 10 cities" },
      ours: "the network that ships: mean length over the shortest",
      unit: "×",
      holds: { atMost: 1.05 },
    },
  ],
};
