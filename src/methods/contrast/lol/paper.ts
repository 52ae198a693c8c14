import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 17,
  name: "lol",
  system: "LOL contrastive decoding",
  title:
    "Lower Layers Matter: Alleviating Hallucination via Multi-Layer Fusion Contrastive Decoding with Truthfulness Refocused",
  authors: ["D. Chen", "F. Fang", "S. Ni", "F. Liang", "X. Hu", "A. Argha", "H. Alinejad-Rokny", "M. Yang", "C. Li"],
  year: 2024,
  arxiv: "2408.08769",
  line: "contrasts a model with one that was taught falsehoods, at the last and at lower layers",
  what: [
    "Contrasting a model with an amateur that hallucinates, at the last layer only, is coarse and can damage its distribution.",
    "LOL also contrasts the two at lower layers through early exit, and fuses both contrasts.",
    "A term under an instruction turns the model's attention back to what is true.",
  ],
  lives: {
    folder: "methods/contrast/lol",
    command: 'ventris run --shaper lol "…"; ventris eval lm truthfulqa --model MODEL --shaper lol',
    function: 'model.decode(prompt, { shapers: [{ name: "lol", amateur: "FOLDER" }] })',
  },
  showcase: {
    prompt: "Once upon a time there was a little fox who",
    options: { temperature: 0.8, seed: 4, maxTokens: 27 },
    shapers: [{ name: "lol" }],
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  missing:
    "No amateur fine-tuned to say falsehoods ships: what is measured is the model behind words that induce them, on a model that was taught no facts. The paper's way of fusing, its layers and its weights could not be read; they are options.",
  claims: [
    {
      id: "against-best",
      says: "Truthfulness rises over the best other method.",
      paper: { value: 4.5, setting: "points, average over the metrics of TruthfulQA (abstract of v1)" },
      ours: "TruthfulQA on knossos: mean of MC1, MC2 and MC3, LOL minus contrast at the last layer (ICD by instruction)",
      unit: "points",
      holds: { above: 0 },
    },
    {
      id: "against-plain",
      says: "And over plain decoding.",
      paper: {
        value: 12.1,
        setting:
          "points, mean of MC1 +8.70, MC2 +14.48, MC3 +13.13 for the contrast at the last layer alone, Llama2-7B-Chat, second-hand",
      },
      ours: "the same questions: LOL minus plain likelihood",
      unit: "points",
      holds: { above: 0, surely: true },
    },
    {
      id: "damage",
      says: "Facts without misconceptions are not lost.",
      paper: { setting: "data sets beside TruthfulQA" },
      ours: "accuracy on FACTOR (news, by likelihood a token), change in points",
      unit: "points",
      holds: { atLeast: -2 },
    },
    {
      id: "reduces",
      says: "Without lower layers and refocusing it is contrast at the last layer.",
      paper: { setting: "a property of the construction" },
      ours: "largest difference of the scores",
      holds: { atMost: 1e-5 },
    },
  ],
};
