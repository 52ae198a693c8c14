import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { z } from "zod";
import { methods, shapers } from "../methods/index.ts";
import { optionsMark, optionsTable } from "./option-tables.ts";
import { replaceBetween } from "./tables.ts";

const folder = fileURLToPath(new URL("../methods/", import.meta.url));
const pages = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith("README.md"))
  .map((name) => readFileSync(join(folder, name), "utf8"));

const documented = [...methods, ...shapers].filter(
  (entry) => Object.keys(entry.options.shape).length > 0 && !("family" in entry && entry.family === "diffusion"),
);

it.each(documented.map((entry) => [entry.name, entry] as const))(
  "one README has the table of %s's options, as its schema has them (node scripts/tables.mjs writes it anew)",
  (name, entry) => {
    const renewed = pages.flatMap((text) => replaceBetween(text, optionsMark(name), optionsTable(entry)) ?? []);
    expect(renewed).toHaveLength(1);
    expect(pages).toContain(renewed[0]);
  },
);

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
