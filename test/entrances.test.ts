import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { browserEntries } from "../scripts/browser.mjs";
import { areas, renderEntrances, renderGiven } from "../scripts/entrances.mjs";
import { root } from "./build.ts";

test("src/entrances is what the declarations say (node scripts/entrances.mjs writes it anew)", () => {
  const rendered = renderEntrances(root);
  const folder = join(root, "src", "entrances");
  expect(readdirSync(folder).sort()).toEqual([...rendered.keys()].sort());
  for (const [name, text] of rendered) expect(readFileSync(join(folder, name), "utf8"), name).toBe(text);
  expect(readFileSync(join(root, "src", "given.ts"), "utf8")).toBe(renderGiven(root));
});

test("every subpath is entered there, in Node and in pages, but those that look at their arguments themselves", () => {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const [subpath, entry] of Object.entries<string | { default: string }>(exports)) {
    if (typeof entry === "string" || [".", "./ai-sdk", "./worker"].includes(subpath)) continue;
    const name = subpath.slice(2);
    expect(entry.default).toBe(`./dist/entrances/${name}.js`);
    const inPages = `${name}.browser` in areas ? `${name}.browser` : name;
    expect(browserEntries[name]).toBe(`entrances/${inPages}.ts`);
  }
});
