/** Every registered method, with options that leave nothing to timing. A method without an entry here is a failing test. */
import { expect, test } from "vitest";
import { methods } from "../../src/index.ts";
import { normalDeviate } from "../fixtures/chi-square.ts";
import { apart, entries } from "./entries.ts";
import { conformance } from "./suite.ts";

test("every method has an entry, and every entry a method", () => {
  const growing = methods.filter(({ needs }) => !needs?.includes("canvas")); // the others: canvas.test.ts
  expect([...Object.keys(entries), ...apart].sort()).toEqual(growing.map(({ name }) => name).sort());
});

test("the chi-square check tells a wrong law from the right one", () => {
  const exact = new Map([
    ["a", 0.5],
    ["b", 0.3],
    ["c", 0.2],
  ]);
  expect(
    normalDeviate(
      new Map([
        ["a", 502],
        ["b", 295],
        ["c", 203],
      ]),
      exact,
      1000,
    ),
  ).toBeLessThan(2);
  expect(
    normalDeviate(
      new Map([
        ["a", 600],
        ["b", 250],
        ["c", 150],
      ]),
      exact,
      1000,
    ),
  ).toBeGreaterThan(4);
});

for (const [name, options] of Object.entries(entries)) conformance(name, options);
