import { describe, expect, it } from "vitest";
import { constant, cosine, linear, warmupStableDecay } from "./schedule.ts";

describe("schedules", () => {
  it("warm up linearly to the peak, whatever follows", () => {
    const shared = { peak: 2, warmup: 4, steps: 20 };
    for (const schedule of [
      constant(shared),
      linear(shared),
      cosine(shared),
      warmupStableDecay({ ...shared, decay: 5 }),
    ]) {
      expect([0, 1, 2, 3, 4].map(schedule)).toEqual([0.5, 1, 1.5, 2, 2]);
    }
  });

  it("end at the final rate and stay there", () => {
    const shared = { peak: 1, warmup: 10, steps: 110, final: 0.1 };
    for (const schedule of [linear(shared), cosine(shared), warmupStableDecay({ ...shared, decay: 20 })]) {
      expect(schedule(110)).toBeCloseTo(0.1, 12);
      expect(schedule(1000)).toBe(0.1);
    }
    expect(constant(shared)(1000)).toBe(1);
  });

  it("follow their shapes in between", () => {
    const shared = { peak: 1, warmup: 0, steps: 100 };
    expect(linear(shared)(25)).toBeCloseTo(0.75, 12);
    expect(cosine(shared)(25)).toBeCloseTo((1 + Math.SQRT1_2) / 2, 12);
    expect(cosine(shared)(50)).toBeCloseTo(0.5, 12);
    const stable = warmupStableDecay({ ...shared, decay: 20 });
    expect([0, 50, 80].map(stable)).toEqual([1, 1, 1]);
    expect(stable(90)).toBeCloseTo(0.5, 12);
  });

  it("refuse contradictions", () => {
    const wrong = [
      () => constant({ peak: 0 }),
      () => constant({ peak: Number.NaN }),
      () => constant({ peak: 1, warmup: 1.5 }),
      () => linear({ peak: 1, steps: 2.5 }),
      () => cosine({ peak: 1, steps: Number.POSITIVE_INFINITY }),
      () => warmupStableDecay({ peak: 1, steps: Number.NaN, decay: 0 }),
      () => cosine({ peak: 1, steps: 5, warmup: 6 }),
      () => linear({ peak: 1, steps: 5, final: 2 }),
      () => warmupStableDecay({ peak: 1, steps: 10, warmup: 5, decay: 6 }),
    ];
    for (const make of wrong) expect(make).toThrow(expect.objectContaining({ code: "bad_option" }));
  });
});
