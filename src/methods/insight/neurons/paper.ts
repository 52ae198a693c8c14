import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 7,
  name: "neurons",
  system: "Feature neurons through the LM head",
  title: "Decoding specialised feature neurons in LLMs with the final projection layer",
  authors: ["Harry J. Davies"],
  year: 2025,
  arxiv: "2501.02688",
  line: "reads from the weights alone which token a neuron stands for, and clamps it to see",
  what: [
    "Which of the many neurons of a language model stands for a concept is usually found by training another network on its activations.",
    "This method takes a neuron's weights as if they were a final hidden state, puts them through the language model's head and looks at the most likely token.",
    "The claim is then checked by clamping that neuron while the model writes.",
  ],
  lives: {
    folder: "methods/insight/neurons",
    command: "ventris inspect neurons --word dog",
    function: "neurons.mapNeurons(await neurons.openNeurons(folder), { wanted })",
  },
  showcase: { look: "neurons", asking: { word: "dog" } },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  claims: [
    {
      id: "clamping",
      says: "Clamping a concept's neuron makes the concept likelier than clamping a random neuron does.",
      paper: { setting: "examples: a “dog” and a “California” neuron of Llama 3.1 8B" },
      ours: "knossos, 20 frequent concept words: share whose best neuron moves the word's probability more than 95 % of random neurons of its layer do at the same values",
      holds: { above: 0.5 },
    },
    {
      id: "agreement",
      says: "A model and its fine-tuned copy agree on most neurons.",
      paper: {
        value: 75.4,
        setting: "% of up-projection neurons with the same top token, Llama 3.1 8B base and Instruct",
      },
      ours: "knossos and a lightly fine-tuned copy",
      unit: "%",
      holds: { atLeast: 75 },
    },
    {
      id: "tail",
      says: "Neurons stand out from random directions.",
      paper: { setting: "implied" },
      ours: "share of neurons whose top probability exceeds the 99th percentile of random vectors of the same norm",
      holds: { above: 0.01, surely: true },
    },
    {
      id: "time",
      says: "All neurons are read in seconds.",
      paper: { value: 10, setting: "seconds, “under 10 s”, Llama 3.1 8B (v2)" },
      ours: "seconds for all neurons of knossos",
      unit: "s",
      holds: { atMost: 10 },
    },
  ],
};
