import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { requestOptions } from "../src/engine/decoding.ts";
import { methods, shapers } from "../src/methods/index.ts";
import { filters } from "../src/methods/signals.ts";
import { describeSchema, docstring, renderOptionTypes } from "../src/papers/option-types.ts";

test("src/options.ts is what the schemas say (node scripts/option-types.mjs writes it anew)", () => {
  const text = readFileSync(new URL("../src/options.ts", import.meta.url), "utf8");
  expect(renderOptionTypes(requestOptions, methods, shapers)).toBe(text);
});

test("docstrings give effect, range and default", () => {
  expect(docstring({ description: "keeps much", minimum: 0, maximum: 1, default: 1 })).toBe(
    "Keeps much. From 0 to 1. Default 1.",
  );
  expect(docstring({ description: "a limit; default: none", exclusiveMinimum: 0 })).toBe(
    "A limit; default: none. Above 0.",
  );
  expect(docstring({ description: "ends */ here", hostOnly: true }, true)).toBe(
    "Ends *\\/ here. Of the host alone: a server refuses it in requests.",
  );
  expect(docstring({ description: "an addition" })).toBe("An addition. Default: none.");
  expect(docstring({ description: "an addition; what is left out is published" })).not.toContain("Default");
});

test.each([...methods, ...shapers, ...filters].map(({ name, options }) => [name, describeSchema(options)] as const))(
  "every option of %s says what it does, and what happens without it",
  (_, { properties = {}, required = [] }) => {
    for (const [option, described] of Object.entries(properties)) {
      const text = described.description ?? "";
      expect(text.split(/\s+/).length, `${option}: ${text}`).toBeGreaterThanOrEqual(8);
      if (described.default === undefined && !required.includes(option))
        expect(text, `${option} has no default`).toMatch(/\bdefault\b|\bpublished\b|without it|\bneeded\b|instead of/);
    }
  },
);
