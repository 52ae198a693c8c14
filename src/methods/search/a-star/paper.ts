import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 24,
  name: "a-star",
  system: "A*-decoding",
  title: "A*-Decoding: Token-Efficient Inference Scaling",
  authors: ["Giannis Chatziveroglou"],
  year: 2025,
  arxiv: "2505.13672",
  line: "spends each next chunk of tokens on the most promising partial solution",
  what: [
    "Best-of-N, self-consistency and particle filtering spend their budget evenly over attempts, many of them doomed early.",
    "A*-decoding keeps all partial solutions in a queue, ordered by what was paid and what a reward model still expects to pay, and continues the best.",
    "A fixed budget then gives the same accuracy with fewer tokens and fewer calls of the reward model.",
  ],
  lives: {
    folder: "methods/search/a-star",
    method: "a-star",
    command: 'ventris run --model phaistos --method a-star --chat "Start with 5. + 3, * 2. What is the result?"',
    function: 'model.decode(prompt, { method: { name: "a-star", reward: ({ steps }) => judge(steps) } })',
  },
  showcase: {
    model: "phaistos",
    prompt: "Start with 15. - 7, * 6, + 9. What is the result?",
    chat: true,
    options: { temperature: 1.2, maxTokens: 128, seed: 2 },
  },
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
  missing:
    "Measured on arithmetic with a simulated solver and a reward of known noise, not on MATH500 with a process reward model; which edge cost the paper has is not known, both readings are options.",
  claims: [
    {
      id: "tokens",
      says: "It needs fewer tokens than best-of-N for the same accuracy.",
      paper: { value: 3, setting: "“up to 3× fewer”, against best-of-N and particle filtering" },
      ours: "step-by-step arithmetic, solver and reward with known errors: tokens of best-of-N over those of A* at equal accuracy",
      unit: "×",
      holds: { above: 1, surely: true },
    },
    {
      id: "reward-passes",
      says: "It needs fewer calls of the reward model.",
      paper: { value: 30, setting: "% fewer under equal budgets" },
      ours: "calls saved in %",
      unit: "%",
      holds: { above: 0 },
    },
    {
      id: "oracle",
      says: "With a perfect reward it never turns back.",
      paper: { setting: "follows from the algorithm" },
      ours: "expansions over the depth of the solution",
      unit: "×",
      holds: { atLeast: 1, atMost: 1 },
    },
    {
      id: "noise",
      says: "With a noisy reward it falls towards best-of-N.",
      paper: { setting: "not in the paper; contrary evidence in arXiv 2510.20272" },
      ours: "rank correlation of the reward's noise and the advantage over best-of-N",
      holds: { below: 0 },
    },
  ],
};
