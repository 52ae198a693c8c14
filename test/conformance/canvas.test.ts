import { expect, test } from "vitest";
import { methodChoice } from "../../src/calls.ts";
import { methods } from "../../src/methods/index.ts";
import { type CanvasConformance, canvasChecks, canvasConformance } from "./canvas-suite.ts";

const { maxTokens, blockLength, prompt } = canvasChecks;

const checked: Readonly<Record<string, CanvasConformance>> = {
  "low-confidence": {},
  "fixed-k": { options: async () => ({ k: 3 }) },
  random: {},
  entropy: {},
  margin: {},
  threshold: { options: async () => ({ threshold: 0.3 }) },
  localleap: { options: async () => ({ anchor: 0.4, relaxed: 0.2 }) },
  learn2pd: { options: async () => ({ filter: "none", eotp: "repo" }) },
  oracle: {
    greedyOnly: true,
    oneLength: true,
    options: async (model) => {
      const method = methodChoice({ name: "low-confidence", blockLength, earlyStop: false });
      return { reference: (await model.decode(prompt, { method, maxTokens }).final).canvas };
    },
  },
};

for (const [name, options] of Object.entries(checked)) canvasConformance(name, options);

test("every method over a canvas is checked", () => {
  const all = methods.filter(({ needs }) => needs?.includes("canvas")).map(({ name }) => name);
  expect(Object.keys(checked).sort()).toEqual(all.sort());
});
