import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 21,
  name: "multimodal",
  system: "Multimodal speculative decoding",
  title: "Speculative Decoding Reimagined for Multimodal Large Language Models",
  authors: ["Luxi Lin", "Zhihang Lin", "Zhanpeng Zeng", "Rongrong Ji"],
  year: 2025,
  arxiv: "2505.14260",
  line: "a draft that treats image rows and text rows differently, trained on text first and on images then",
  what: [
    "Drafts that speed up text models gain little on vision-language models, because image patches and words do not follow each other alike.",
    "Multimodal speculative decoding separates the two kinds of rows inside the draft, and trains it on text first and then on more and more images.",
    "The target is untouched, and the output stays its own.",
  ],
  lives: {
    folder: "methods/speculative/multimodal",
    method: "multimodal",
    command: 'ventris run --model argos --image picture.png --method multimodal "What is in the picture?"',
    function: 'model.decode([{ image: "picture.png" }, "What is in the picture?"], { method: "multimodal" })',
  },
  showcase: {
    model: "argos",
    prompt: "What is in the picture?",
    scene: { seed: 12, number: 4, size: 192 },
    options: { temperature: 0, maxTokens: 48 },
    methodOptions: { budget: 12, depth: 4, width: 4 },
  },
  claims: [
    {
      id: "accepted",
      says: "It accepts more on image tasks than a draft that couples the two.",
      paper: {
        value: 2.7683,
        setting: "4.54 against 1.64 tokens a pass for EAGLE-2, LLaVA-1.5-7B, a third party's run",
      },
      ours: "our small vision-language model: tokens a target pass over the coupled draft's on image prompts",
      unit: "×",
      holds: { above: 1, surely: true },
    },
    {
      id: "text",
      says: "And no less on text.",
      paper: { setting: "two-stage training keeps language ability" },
      ours: "the same on text prompts",
      unit: "×",
      holds: { atLeast: 0.98 },
    },
    {
      id: "sees",
      says: "It looks at the image.",
      paper: { setting: "a text-only draft cannot" },
      ours: "first-token agreement on vision questions, right image minus swapped image",
      holds: { above: 0, surely: true },
    },
    {
      id: "speed",
      says: "It decodes faster than plain decoding.",
      paper: { value: 2.29, setting: "“up to”, LLaVA-1.5-7B" },
      ours: "tokens a second over plain decoding's on image prompts, in turns",
      unit: "×",
      holds: { above: 1 },
    },
    {
      id: "lossless",
      says: "Greedy output is that of plain greedy decoding.",
      paper: { setting: "a property of the verification" },
      ours: "share of image and text prompts whose greedy text is identical",
      holds: { atLeast: 1 },
    },
  ],
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
};
