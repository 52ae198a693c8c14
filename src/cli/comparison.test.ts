import { expect, test } from "vitest";
import { type Entry, speedUp, verdictOf } from "./comparison.ts";

const entry = (secondsPerToken: readonly number[]): Entry => ({ secondsPerToken }) as unknown as Entry;

test("two runs give no interval and no verdict, three do", () => {
  const plain = entry([4, 4, 4]);
  for (const few of [[2], [2, 2.1]]) {
    expect(speedUp(entry(few), plain).interval).toBeUndefined();
    expect(verdictOf(entry(few), plain)).toBe("too few runs");
  }
  const { value, interval } = speedUp(entry([2, 2.1, 1.9]), plain);
  expect(value).toBeCloseTo(2, 1);
  expect(interval![0]).toBeGreaterThan(1.7);
  expect(interval![1]).toBeLessThan(2.4);
  expect(verdictOf(entry([2, 2.1, 1.9]), plain)).toBe("faster");
  expect(verdictOf(entry([8, 8.1, 8.2]), plain)).toBe("slower");
  expect(verdictOf(plain, plain)).toBe("plain");
});
