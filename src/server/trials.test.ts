import { expect, it, vi } from "vitest";
import { createTrials } from "./trials.ts";

it("refuses untried what took too long, for a while: something else may have kept the machine busy", async () => {
  let started = 0;
  const trials = createTrials(0.001, async () => {
    started += 1;
    return undefined;
  });
  const ask = () => trials.seconds("a", { constraint: { regex: "a" } });
  await expect(ask()).rejects.toThrow(/takes longer than the 0.001 s/);
  expect(started).toBe(2); // a short trial and a patient one
  await expect(ask()).rejects.toThrow(/takes longer than the 0.001 s/);
  expect(started).toBe(2);
  await vi.waitFor(async () => {
    await expect(ask()).rejects.toThrow(/takes longer than the 0.001 s/);
    expect(started).toBeGreaterThan(2);
  });
  trials.close();
});
