/** Every registered method that grows several texts at once. A method without an entry here is a failing test. */
import { expect, test } from "vitest";
import { apart } from "./entries.ts";
import { severalConformance } from "./several-suite.ts";

/** Prefers texts with many a: any function will do. */
const reward = ({ text }: { text: string }): number => (1 + [...text].filter((letter) => letter === "a").length) / 100;
const steps = { delimiters: ["t", "e"], maxStepTokens: 4 };

const entries: readonly (readonly [title: string, name: string, more?: Parameters<typeof severalConformance>[2]])[] = [
  ["smc", "smc", { options: { particles: 5 } }],
  ["smc without resampling", "smc", { options: { particles: 4, threshold: 0, estimator: "geometric" } }],
  ["beam", "beam", { options: { beams: 4 }, seedless: true }],
  ["stochastic beams", "beam", { options: { beams: 4, stochastic: true } }],
  ["diverse-beam", "diverse-beam", { options: { beams: 6, groups: 3, strength: 1 }, seedless: true }],
  ["a-star", "a-star", { options: { reward, ...steps, children: 3 } }],
  ["best-of-n", "best-of-n", { options: { reward, ...steps, samples: 4 } }],
  ["self-consistency", "self-consistency", { options: { ...steps, samples: 4 } }],
  ["particle-filtering", "particle-filtering", { options: { reward, ...steps, particles: 4 } }],
  ["reward-beam", "reward-beam", { options: { reward, ...steps, samples: 4, children: 2 } }],
];

test("every such method has an entry", () => {
  expect([...new Set(entries.map(([, name]) => name))].sort()).toEqual([...apart].sort());
});

for (const [title, name, more] of entries) severalConformance(title, name, more);
