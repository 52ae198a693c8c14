import { expect, test } from "vitest";
import { heldOutShare, planTraining } from "./plan.ts";

test("passes over a text count what is read of it, without what is held out", () => {
  const { steps, rows, length, heldOut, epochs } = planTraining(4201, 347, 200, 60);
  expect(heldOut).toBe(heldOutShare(4201, rows * length));
  expect(epochs).toBeCloseTo((steps * rows * length) / (4201 * (1 - heldOut)), 9);
  expect(epochs).toBeLessThanOrEqual(4);
  expect(epochs).toBeGreaterThan(3.9);
});
