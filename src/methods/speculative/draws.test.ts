import { expect, test } from "vitest";
import { createDraws } from "./draws.ts";

test("draws repeat for a round, differ between rounds and purposes, and have the right frequencies", () => {
  const weights = Float64Array.of(1, 0, 3);
  const sequence = (position: number, purpose: "draft" | "residual") => {
    const draws = createDraws({ seed: 3, request: 2 }, position);
    return Array.from({ length: 40 }, () => draws.choose(purpose, weights, 4)).join("");
  };
  expect(sequence(5, "draft")).toBe(sequence(5, "draft"));
  expect(new Set([sequence(5, "draft"), sequence(6, "draft"), sequence(5, "residual")]).size).toBe(3);

  const counts = [0, 0, 0];
  let accepted = 0;
  for (let position = 0; position < 2000; position++) {
    const draws = createDraws({ seed: 3, request: 2 }, position);
    for (let k = 0; k < 5; k++) {
      counts[draws.choose("draft", weights, 4)]++;
      if (draws.accept(0.3)) accepted++;
    }
  }
  expect(counts[1]).toBe(0);
  expect(Math.abs(counts[0] / 10_000 - 0.25)).toBeLessThan(0.02);
  expect(Math.abs(accepted / 10_000 - 0.3)).toBeLessThan(0.02);
});
