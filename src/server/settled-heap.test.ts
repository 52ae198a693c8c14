import { getHeapStatistics } from "node:v8";
import { expect, test } from "vitest";
import { settleHeap } from "./settled-heap.ts";

test("what starting left behind is collected, and nobody is given the means", () => {
  let garbage: unknown = Array.from({ length: 2_000_000 }, (_, i) => ({ i }));
  const before = getHeapStatistics().used_heap_size;
  garbage = undefined;
  expect(garbage).toBeUndefined();
  settleHeap();
  expect(getHeapStatistics().used_heap_size).toBeLessThan(before - 40e6);
  expect("gc" in globalThis).toBe(false);
});
