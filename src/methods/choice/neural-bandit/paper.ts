import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 10,
  name: "neural-bandit",
  system: "Neural contextual bandits",
  title: "Contextual Bandits with Online Neural Regression",
  authors: ["Rohan Deb", "Yikun Ban", "Shiliang Zuo", "Jingrui He", "Arindam Banerjee"],
  year: 2024,
  arxiv: "2312.07145",
  venue: "ICLR 2024",
  line: "learns online which choice to make for a request, from the outcome of the choice alone",
  what: [
    "A service must choose one of several ways for each request and sees the outcome of the chosen one only; earlier neural bandits keep huge matrices and fail on changing streams.",
    "This method regresses outcomes online with a small network and draws arms by inverse gap weighting, for square loss or for relative entropy.",
    "Its regret is bounded without assumptions on the order of requests.",
  ],
  lives: {
    folder: "methods/choice/neural-bandit",
    command: "ventris choose play --policy NeuFastCB DATA.csv",
    function: "neuFastCB({ width })",
  },
  showcase: {
    live: "NeuSquareCB chooses among five arms for 160 rounds; half-way through, good and bad change places: about a second.",
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  claims: [
    {
      id: "square",
      says: "With square loss regret stays well below uniform choice.",
      paper: { setting: "six classification sets, shown as plots" },
      ours: "synthetic cosine losses, 4 arms, 4,000 rounds, 10 seeds: regret over that of uniform choice",
      unit: "×",
      holds: { atMost: 0.65 },
    },
    {
      id: "entropy",
      says: "With relative entropy it stays lower still.",
      paper: { setting: "“consistently best” on six sets" },
      ours: "the same",
      unit: "×",
      holds: { atMost: 0.55 },
    },
    {
      id: "small-loss",
      says: "Where the best arm's loss is small, relative entropy beats square loss.",
      paper: { setting: "small-loss bound" },
      ours: "the low-loss variant: regret of relative entropy over that of square loss",
      unit: "×",
      holds: { below: 1, surely: true },
    },
    {
      id: "against-neural-ucb",
      says: "Both beat NeuralUCB and Thompson sampling.",
      paper: { setting: "six classification sets, shown as plots" },
      ours: "public classification sets: final regret over the better of NeuralUCB and NeuralTS",
      unit: "×",
      holds: { below: 1 },
    },
  ],
};
