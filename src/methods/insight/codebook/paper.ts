import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 15,
  name: "codebook",
  system: "Codebook features",
  title: "Codebook Features: Sparse and Discrete Interpretability for Neural Networks",
  authors: ["Alex Tamkin", "Mohammad Taufeeque", "Noah D. Goodman"],
  year: 2023,
  arxiv: "2310.17230",
  venue: "ICML 2024",
  line: "replaces activations by a few codes from a learned dictionary, which can be searched and forced",
  what: [
    "Neurons mix many features, so that one can neither read nor set a feature alone.",
    "A network is fine-tuned so that every attention head or layer output is the sum of a few vectors from a learned dictionary; its state at a token is then a short list of code numbers.",
    "Codes can be searched (which inputs fire this one?) and forced while the model writes.",
  ],
  lives: {
    folder: "methods/insight/codebook",
    command: 'ventris inspect codes TEXTS --find "dragon"',
    function: 'codebooks.findCodes(await codebooks.cacheCodes(model, books, texts), "dragon")',
  },
  showcase: {
    live: "The model writes a text through its codebooks, and the codes of the last ones are drawn token by token: a few seconds.",
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  missing:
    "Codebooks of knossos were trained with its weights left as they are, and with 1024 codes a head none fires on a story's topic more often than not: topics are brought up by dozens of codes that fire before their word, not by a few that fire on it; the finite-state model begins from a plain one, the paper's from scratch.",
  claims: [
    {
      id: "loss",
      says: "The codebook model loses little.",
      paper: {
        value: 0.0904,
        setting: "loss 1.66 against about 1.57 without, TinyStories, one layer, attention, 8 codes",
      },
      ours: "finite-state task: loss with codebooks minus without, in nats",
      unit: "nats",
      holds: { atMost: 0.1 },
    },
    {
      id: "precision",
      says: "Codes stand for states better than neurons do.",
      paper: {
        value: 26.6,
        setting: "mean precision 97.1 % against 70.5 % for the best neuron at equal recall, second-hand",
      },
      ours: "finite-state task: mean precision of the best code minus that of the best neuron at equal recall",
      unit: "points",
      holds: { above: 0, surely: true },
    },
    {
      id: "steering",
      says: "Forcing a topic's codes brings the topic into stories.",
      paper: { value: 62.5, setting: "dragon: 2.5 % → 65.0 % of stories, TinyStories, one layer" },
      ours: "mean rise over the topics in the share of stories that name the topic",
      unit: "points",
      holds: { above: 0, surely: true },
    },
    {
      id: "patching",
      says: "Patching the codes of one state into another's run moves the prediction there.",
      paper: { setting: "finite-state task, shown as a plot" },
      ours: "Jensen-Shannon divergence to the patched state's prediction, with the patch over without",
      unit: "×",
      holds: { below: 1, surely: true },
    },
  ],
};
