import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { z } from "zod";
import { methods, shapers } from "../methods/index.ts";
import { filters } from "../methods/signals/filters.ts";
import { optionsMark, optionsTable, optionTables } from "./option-tables.ts";
import { replaceBetween } from "./tables.ts";

const folder = fileURLToPath(new URL("../methods/", import.meta.url));
const pages = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith("README.md"))
  .map((name) => readFileSync(join(folder, name), "utf8"));

it.each([...optionTables(methods, shapers, filters)])(
  "one README has the table of the %s, as its schema has them (node scripts/tables.mjs writes it anew)",
  (mark, table) => {
    const renewed = pages.flatMap((text) => replaceBetween(text, mark, table) ?? []);
    expect(renewed).toHaveLength(1);
    expect(pages).toContain(renewed[0]);
  },
);

it("has every option of every method, shaper and filter", () => {
  const tables = optionTables(methods, shapers, filters);
  for (const { name, options, ...entry } of [...methods, ...shapers, ...filters])
    for (const option of Object.keys(options.shape)) {
      const shared = "family" in entry ? (tables.get(optionsMark(`all ${entry.family} methods`)) ?? "") : "";
      const own = tables.get(optionsMark(name)) ?? "";
      expect(`${shared}\n${own}`.split(`\n| \`${option}\` |`), `${option} of ${name}`).toHaveLength(2);
    }
});

it("says values, default and meaning", () => {
  const options = z.strictObject({
    budget: z.int().min(1).max(9).default(4).describe("nodes | rows"),
    rule: z.enum(["race", "published"]).describe("how drafts are verified"),
    branches: z.array(z.int().min(1)).optional().meta({ hostOnly: true }),
  });
  expect(optionsTable({ options }).split("\n").slice(2)).toEqual([
    "| `budget` | whole number from 1 to 9 | `4` | nodes \\| rows |",
    "| `rule` | `race`, `published` | required | how drafts are verified |",
    "| `branches` | list: whole number from 1 |  | the host's alone: refused in a server's requests |",
  ]);
});
