import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { whenAborted } from "./aborts.ts";

test("a hundred who wait for one signal are one listener, and are called once each, but those who went", () => {
  const own = new AbortController();
  const called: number[] = [];
  const leaving = Array.from({ length: 100 }, (_, i) => whenAborted(own.signal, () => called.push(i)));
  expect(getEventListeners(own.signal, "abort")).toHaveLength(1);
  for (const leave of leaving.slice(2)) leave();
  own.abort();
  own.abort();
  expect(called).toEqual([0, 1]);
  whenAborted(own.signal, () => called.push(7));
  expect(called).toEqual([0, 1, 7]);
  expect(whenAborted(undefined, () => called.push(8))()).toBeUndefined();
});
