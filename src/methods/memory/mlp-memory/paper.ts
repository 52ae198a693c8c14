import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 9,
  name: "mlp-memory",
  system: "MLP Memory",
  title: "MLP Memory: A Retriever-Pretrained Memory for Large Language Models",
  authors: ["R. Wei", "J. Cao", "J. Wang", "J. Kai", "Q. Guo", "B. Zhou", "Z. Lin"],
  year: 2025,
  arxiv: "2508.01832",
  venue: "ICLR 2026",
  line: "a network that imitates a nearest-neighbour memory, mixed into the model's distribution",
  what: [
    "A nearest-neighbour language model improves a frozen model by looking up similar states in a huge table, at the price of a search for every token.",
    "MLP Memory trains a network without attention to give, from one hidden state, the distribution that the search would have returned.",
    "At decoding time there is no table and no search: one small network and a mixture of two distributions.",
  ],
  lives: {
    folder: "methods/memory/mlp-memory",
    command: 'ventris memory train TEXTS --out FOLDER; ventris run --shaper "mlp-memory memory=FOLDER/memory" "…"',
    function: 'model.decode(prompt, { shapers: [{ name: "mlp-memory", memory: "FOLDER/memory" }] })',
  },
  showcase: {
    live: "A memory is trained on a few made-up facts, and the model then completes one of them with its help: up to a minute.",
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  missing:
    "Fifty times the search's speed at 200,000 keys is not reached with knossos, whose memory is half as large as itself.",
  claims: [
    {
      id: "perplexity",
      says: "Mixed in, the memory lowers held-out perplexity.",
      paper: {
        value: 0.9194,
        setting: "9.58 against 10.42, GPT-2 large fine-tuned on WikiText-103, with and without memory",
      },
      ours: "knossos on sentences about facts that the remembered text states in other words: perplexity with the memory over without",
      unit: "×",
      holds: { below: 1, surely: true },
    },
    {
      id: "against-table",
      says: "It keeps a good part of what the table itself would gain.",
      paper: { setting: "compared with kNN-LM on question sets: average 36.06 against 32.57" },
      ours: "the same sentences: share of the exact nearest-neighbour model's gain in nats",
      holds: { atLeast: 0.6 },
    },
    {
      id: "imitates",
      says: "It comes closer to the search's distribution than the model is.",
      paper: { setting: "training objective" },
      ours: "held-out divergence from the search's distribution, memory over model",
      unit: "×",
      holds: { below: 1, surely: true },
    },
    {
      id: "speed",
      says: "It is much faster than the search.",
      paper: { value: 5.6, setting: "time to first token against kNN-LM" },
      ours: "seconds a token of exact search over those of the memory, largest table",
      unit: "×",
      holds: { above: 1 },
    },
    {
      id: "overhead",
      says: "It costs little beside the model.",
      paper: { value: 1.2, setting: "time over the base model" },
      ours: "seconds a token with the memory over without",
      unit: "×",
      holds: { atMost: 1.5 },
    },
    {
      id: "questions",
      says: "Closed-book questions are answered better than by the model alone.",
      paper: { value: 3.94, setting: "points, average of five sets, Mistral-7B-v0.3, 32.12 to 36.06, second-hand" },
      ours: "questions about the stated facts in other words: exact matches with the memory, less those of the model alone",
      unit: "points",
      holds: { above: 0, surely: true },
    },
  ],
};
