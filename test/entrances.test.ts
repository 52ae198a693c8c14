import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { browserEntries } from "../scripts/browser.mjs";
import { areas, renderEntrances, renderGiven } from "../scripts/entrances.mjs";
import { createPolicyByName, policies } from "../src/entrances/choice.ts";
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

test("options that are declared to have other names, too, pass: who takes them looks at them", () => {
  const own = { width: 3, hidden: 32, gamma: 10 };
  expect(createPolicyByName("NeuSquareCB", own).save().options).toMatchObject(own);
  expect(policies.NeuSquareCB(own).save().options).toMatchObject(own);
  expect(createPolicyByName("LinUCB", { width: 3, alpha: 0.5 }).save().options).toMatchObject({ alpha: 0.5 });
  expect(createPolicyByName("Fixed", { width: 3, arm: 1 }).name).toBe("Fixed");
  expect(() => createPolicyByName("NeuSquareCB", { width: 3, hiden: 32 })).toThrow(
    /NeuSquareCB has no option hiden.*hidden/,
  );
  expect(() => createPolicyByName("NeuSquareCB", { width: "3" as never })).toThrow(/options\.width must be a number/);
});
