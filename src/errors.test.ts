import { expect, test } from "vitest";
import { shown } from "./errors.ts";

test.each([
  [10n, "10n"],
  [[1, 2n], '[1,"2n"]'],
  [new Int32Array(2), "an Int32Array of 2"],
  [new Uint8Array(2), "a Uint8Array of 2"],
  [new ArrayBuffer(2), "an ArrayBuffer"],
  [new Map(), "a Map"],
])("%o is shown as %s", (value, words) => {
  expect(shown(value)).toBe(words);
});
