import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 14,
  name: "markov",
  system: "Markov categorical framework",
  title: "A Markov Categorical Framework for Language Modeling",
  authors: ["Yifan Zhang"],
  year: 2025,
  arxiv: "2507.19247",
  line: "measures how much a state knows beyond the next token, and what training does to its geometry",
  what: [
    "Why heads that read hidden states can draft, why likelihood teaches a model the data's own uncertainty, and which geometry it gives to states are separate observations.",
    "The framework puts them into one vocabulary: the information a state carries about later tokens, the entropy of the head, and the metric that the head pulls back onto states.",
    "For a decoding engine it is a kit of measurements that foretell what drafting gains.",
  ],
  lives: {
    folder: "methods/insight/markov",
    command: "ventris inspect markov",
    function: "markov.measureMarkov",
  },
  showcase: { look: "layers", asking: { measure: "alignment,entropy" } },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  claims: [
    {
      id: "surplus",
      says: "A trained model's states know more about later tokens than the next token shows.",
      paper: { setting: "theory" },
      ours: "knossos: estimated information about the token after next, given the next, in nats",
      unit: "nats",
      holds: { above: 0, surely: true },
    },
    {
      id: "order-one",
      says: "A source of order one has no surplus.",
      paper: { value: 0, setting: "theory" },
      ours: "estimated surplus on a source of order one, in nats",
      unit: "nats",
      holds: { atLeast: -0.03, atMost: 0.03 },
    },
    {
      id: "entropy",
      says: "The head's entropy approaches the source's own.",
      paper: { setting: "theory" },
      ours: "synthetic source: gap between the trained model's mean entropy and the source's",
      unit: "nats",
      holds: { atMost: 0.03 },
    },
    {
      id: "predicts-drafting",
      says: "Surplus foretells how well a small head drafts.",
      paper: { setting: "theory" },
      ours: "rank correlation, over layers and distances, of the surplus and the share of a small drafting head that exact sampling accepts",
      holds: { above: 0.5 },
    },
    {
      id: "alignment",
      says: "States align with the predictive operator as training goes on.",
      paper: { setting: "theory" },
      ours: "share of the predictive operator captured by the trained states minus that of the random start, a synthetic source with its true distributions",
      holds: { above: 0 },
    },
  ],
};
