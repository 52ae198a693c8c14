import { expect, test } from "vitest";
import { fitScaling, predictedLoss } from "./scaling.ts";

const law = { floor: 1.2, a: 300, alpha: 0.4, b: 400, beta: 0.36, error: 0 };
const sizes = [3e6, 5.5e6, 7.5e6];
const lengths = [0.3e6, 0.6e6, 1.2e6];
const points = sizes.flatMap((parameters) =>
  lengths.map((tokens) => ({ parameters, tokens, loss: predictedLoss(law, { parameters, tokens }) })),
);

test("points of a law give it back, and what lies beyond them", () => {
  const fit = fitScaling(points);
  expect(fit.error).toBeLessThan(1e-6);
  expect([fit.alpha, fit.beta]).toEqual([expect.closeTo(0.4, 6), expect.closeTo(0.36, 6)]);
  const further = { parameters: 5.5e6, tokens: 20e6 };
  expect(predictedLoss(fit, further)).toBeCloseTo(predictedLoss(law, further), 4);
});

test("noise moves it a little; no part becomes negative, though sizes say nothing", () => {
  const noisy = points.map((point, i) => ({ ...point, loss: point.loss * (1 + 0.003 * Math.sin(7 * i)) }));
  const further = { parameters: 5.5e6, tokens: 2.4e6 };
  expect(Math.abs(predictedLoss(fitScaling(noisy), further) / predictedLoss(law, further) - 1)).toBeLessThan(0.02);
  // Larger is worse here, as it is with too few tokens: the best that the law can say is that size does not matter.
  const worse = points.map(({ parameters, tokens }) => ({
    parameters,
    tokens,
    loss: 2 + 300 / tokens ** 0.4 + parameters / 1e8,
  }));
  const fit = fitScaling(worse);
  expect(Math.min(fit.floor, fit.a, fit.b)).toBeGreaterThanOrEqual(0);
  expect(fit.a).toBeCloseTo(0, 6);
});

test("too few runs, or all alike, are refused", () => {
  expect(() => fitScaling(points.slice(0, 4))).toThrow("4 runs are too few");
  expect(() => fitScaling(points.map((point) => ({ ...point, tokens: 5 })))).toThrow("the same number of tokens");
});
