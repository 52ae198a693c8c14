import type { Claim, Paper } from "../../papers/paper.ts";

/** Rows of the paper's tables of accuracies, beside the network that ships for the task; a row holds where it reaches the paper's figure. */
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

/** What the paper's table has of tours of so many cities: mean lengths of the network's, and of others'. */
interface TourRow {
  readonly size: number;
  readonly network: number;
  /** Absent above 20 cities. */
  readonly shortest?: number;
  /** Of the paper's three solvers. */
  readonly solvers: readonly [a1: number, a2: number, a3: number];
}

/** A tour may be so much longer, over what it is compared with, than the paper's are: the instances are others. */
const slack = 1.03;

/** Rows of the paper's table of tours, as lengths over the shortest (above 20 cities, over the shortest of three solvers); a row holds up to 3 % above the paper's. */
const toursOf = (id: string, trained: string, ours: string, rows: readonly TourRow[]): Claim[] =>
  rows.map(({ size, network, shortest, solvers }) => {
    const value = Number((network / (shortest ?? Math.min(...solvers))).toFixed(3));
    const [a1, a2, a3] = solvers;
    const over = shortest === undefined ? `A3's, ${a3}` : `the shortest, ${shortest}`;
    const others = `A1 ${a1}, A2 ${a2}${shortest === undefined ? "" : `, A3 ${a3}`}`;
    return {
      id: `${id}-${size}`,
      says: `In the paper's tables: tours of ${size} cities${trained === "" ? "" : `, trained on ${trained}`}.`,
      paper: {
        value,
        setting: `mean length ${network} over ${over}; ${others}; trained on ${trained || size}, partly as we remember the paper`,
      },
      ours: `${ours}: mean of the length over the shortest${shortest === undefined ? " of three solvers'" : ""}`,
      unit: "×",
      digits: 4,
      holds: { atMost: Number((slack * value).toFixed(3)) },
    };
  });

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
      paper: { value: 1, setting: "5 cities: mean length 2.12, and 2.12 of the shortest" },
      ours: "tours of 5 cities: mean of the length over the shortest",
      unit: "×",
      digits: 4,
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
    ...toursOf("table-tour", "", "the network that ships", [
      { size: 5, network: 2.12, shortest: 2.12, solvers: [2.18, 2.12, 2.12] },
      { size: 10, network: 2.88, shortest: 2.87, solvers: [3.07, 2.87, 2.87] },
    ]),
    ...toursOf("table-tour-mixed", "5 to 20", "a network trained here on 5 to 20 cities", [
      { size: 5, network: 2.12, shortest: 2.12, solvers: [2.18, 2.12, 2.12] },
      { size: 10, network: 2.87, shortest: 2.87, solvers: [3.07, 2.87, 2.87] },
      { size: 20, network: 3.88, shortest: 3.83, solvers: [4.24, 3.86, 3.85] },
      { size: 25, network: 4.3, solvers: [4.71, 4.27, 4.24] },
      { size: 30, network: 4.72, solvers: [5.11, 4.63, 4.6] },
      { size: 40, network: 5.91, solvers: [5.82, 5.27, 5.23] },
      { size: 50, network: 7.66, solvers: [6.46, 5.84, 5.79] },
    ]),
  ],
};
