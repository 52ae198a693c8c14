import { expect, test } from "vitest";
import { findMethod } from "../methods/index.ts";
import { open } from "../open.ts";
import { compareMethods, type Entry, plainMethod, speedUp, verdictOf } from "./comparison.ts";
import { rowsOf } from "./comparison-report.ts";

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

test("where no plain decoding can run among the methods, that of the temperature is measured before them", async () => {
  await using model = await open("pylos", { threads: 1 });
  const compared = async (names: readonly string[], temperature: number) => {
    const comparison = await compareMethods({
      model,
      prompts: ["Once upon a time"],
      methods: names.map((name) => ({ method: findMethod(name), options: {} })),
      request: { temperature, maxTokens: 6, seed: 1 },
      repetitions: 1,
      signal: new AbortController().signal,
      onProgress() {},
    });
    return { ...comparison, table: rowsOf(comparison) };
  };
  const drawn = await compared(["greedy", "prompt-lookup"], 0.8);
  expect(drawn.table.rows.map(([label, same]) => [label, same])).toEqual([
    ["sample", "✓"],
    ["prompt-lookup", "✓"],
  ]);
  expect(drawn.table.header.at(-1)).toBe("speed against plain");
  expect(drawn.skipped.map(({ label }) => label)).toEqual(["greedy"]);
  expect(drawn.margin).toBeDefined();
  const likeliest = await compared(["prompt-lookup"], 0);
  expect(likeliest.entries.map(({ label }) => label)).toEqual(["greedy", "prompt-lookup"]);
  // One that is there stays where it was named.
  const named = await compared(["prompt-lookup", "sample"], 0.8);
  expect(named.entries.map(({ label }) => label)).toEqual(["prompt-lookup", "sample"]);
});

test("a model that fills gaps has no plain decoding", () => {
  expect(plainMethod({ capabilities: new Set(["canvas"]) as never }, { temperature: 0 })).toBeUndefined();
});
