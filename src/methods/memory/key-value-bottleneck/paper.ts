import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 4,
  name: "key-value-bottleneck",
  system: "Discrete key-value bottleneck",
  title: "Discrete Key-Value Bottleneck",
  authors: [
    "Frederik Träuble",
    "Anirudh Goyal",
    "Nasim Rahaman",
    "Michael Mozer",
    "Kenji Kawaguchi",
    "Yoshua Bengio",
    "Bernhard Schölkopf",
  ],
  year: 2023,
  arxiv: "2207.11240",
  venue: "ICML 2023",
  line: "a table of keys and values between encoder and decoder, so that learning the new leaves the old alone",
  what: [
    "A classifier that is tuned on a changing stream overwrites what it knew, because every weight takes part in every prediction.",
    "The discrete key-value bottleneck puts a table of pairs between a frozen encoder and the decoder: an input touches only the values whose keys are nearest to its features.",
    "So updates for the new leave the values of the old where they were, without task boundaries, replay or regularisation.",
  ],
  lives: {
    folder: "methods/memory/key-value-bottleneck",
    command: "ventris memory bottleneck train FILES --out IT.safetensors; ventris memory bottleneck compare FILES",
    function: "bottleneck.learn(table, stream, { epochs, batch })",
  },
  showcase: {
    live: "A bottleneck learns the toy stream, a class at a time, and what it answers everywhere is drawn after each: a few seconds.",
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  claims: [
    {
      id: "locality",
      says: "An update changes nothing but the values that were looked up.",
      paper: { setting: "a property of the construction" },
      ours: "values of keys that no input of the batch fetched, changed by a step",
      holds: { atMost: 0 },
    },
    {
      id: "retains",
      says: "After a stream of tasks, earlier classes are still known.",
      paper: { setting: "toy stream, shown as decision regions; class-incremental CIFAR-10" },
      ours: "class-incremental digits (MNIST): accuracy on the first classes after the last",
      holds: { atLeast: 0.5 },
    },
    {
      id: "against-head",
      says: "A linear head tuned on the same stream forgets them.",
      paper: { setting: "fewer forgotten classes than tuned heads for every encoder tried" },
      ours: "accuracy over all classes after the stream, bottleneck minus linear head",
      holds: { above: 0, surely: true },
    },
    {
      id: "order-gap",
      says: "The order of the stream matters little.",
      paper: { setting: "class-incremental against shuffled" },
      ours: "accuracy on the shuffled stream minus accuracy class by class",
      holds: { below: 0.1 },
    },
    {
      id: "share-of-iid",
      says: "Class by class it keeps nearly all of what it learns from the shuffled stream.",
      paper: { setting: "class-incremental CIFAR-10 against iid training" },
      ours: "accuracy over all classes, class by class over shuffled",
      unit: "×",
      holds: { atLeast: 0.9 },
    },
  ],
};
