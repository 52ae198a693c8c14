import { expect, it } from "vitest";
import { createTrials } from "./trials.ts";

it("tries a constraint again that once took too long: something else may have kept the machine busy", async () => {
  let started = 0;
  const trials = createTrials(0.001, async () => {
    started += 1;
    return undefined;
  });
  const ask = () => trials.seconds("a", { constraint: { regex: "a" } });
  await expect(ask()).rejects.toThrow(/takes longer than the 0.001 s/);
  expect(started).toBe(2); // a short trial and a patient one
  await expect(ask()).rejects.toThrow(/takes longer than the 0.001 s/);
  expect(started).toBe(4);
  trials.close();
});
