/**
 * The documentation site's pages: none links to nothing, each method's says what its paper, schema and record say, and its programs run. Then
 * the site as it is built: every page is there, and fits a telephone.
 */
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { type Browser, chromium } from "playwright-core";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chromiumPath as executablePath } from "../scripts/chromium.mjs";
import { headings, links, rewriteLinks, section, slug, withoutTitle } from "../scripts/site/markdown.mjs";
import { brokenLinks, type Pages, sitePages, type Tables, writePages } from "../scripts/site/pages.mjs";
import { methods, shapers } from "../src/methods/index.ts";
import { papers } from "../src/papers/index.ts";
import { judge } from "../src/papers/judge.ts";
import { optionsMark, optionsTable } from "../src/papers/option-tables.ts";
import { readRecord } from "../src/papers/records.ts";
import { claimsMark, claimsTable } from "../src/papers/tables.ts";
import { ensureBuilt, root } from "./build.ts";
import { type PageServer, servePages } from "./fixtures/page-server.ts";

const tables: Tables = {
  papers,
  methods,
  shapers,
  judge,
  readRecord,
  optionsMark,
  optionsTable,
  claimsMark,
  claimsTable,
};

let site: Pages;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ventris-site-"));
  site = sitePages(root, tables);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("links", () => {
  const page = (target: string): string => site.texts.get(target) ?? "";

  it("lead to a page, to a heading on it, or to a file that goes along", () => {
    const wrong = [...site.texts].flatMap(([address, text]) =>
      links(text).flatMap(({ target }) => {
        const [path, anchor] = target.split("#");
        const there = path === "" ? address : path;
        if (/^[a-z]+:/.test(target) || there.startsWith("/api/")) return [];
        if (there.startsWith("/files/")) return site.files.has(there.slice("/files/".length)) ? [] : [target];
        const known = site.texts.has(there) && (!anchor || headings(page(there)).some((one) => one.anchor === anchor));
        return known ? [] : [`${address}: ${target}`];
      }),
    );
    expect(wrong).toEqual([]);
    expect([...site.texts.values()].flatMap(links).length).toBeGreaterThan(300);
  });

  it("of the side bar and of the home page do, too", () => {
    const targets = [JSON.stringify(site.sidebar), page("/")].flatMap((text) =>
      [...text.matchAll(/"link":"([^"]+)"/g)].map(([, target]) => target),
    );
    expect(targets.length).toBeGreaterThan(100);
    expect(targets.filter((target) => !site.texts.has(target) && target !== "/api/ventris")).toEqual([]);
    // And every page is in a side bar, but for the home page.
    expect([...site.texts.keys()].filter((address) => !targets.includes(address))).toEqual(["/"]);
  });

  it("of all pages of the repository lead to files", () => {
    const skip = /(^|\/)(node_modules|dist|runs|pages|cache|\.[^/]*)(\/|$)/;
    const all = ["docs", "src", "models", "bench", "recipes", "examples", "."].flatMap((place) =>
      readdirSync(join(root, place), { recursive: place !== ".", encoding: "utf8" })
        .map((name) => `${place}/${name.replaceAll("\\", "/")}`)
        .filter((name) => name.endsWith(".md") && !skip.test(name.replace(/^\.\//, ""))),
    );
    expect(all.length).toBeGreaterThan(60);
    expect(all.flatMap((path) => brokenLinks(root, path.replace(/^\.\//, "")))).toEqual([]);
  });

  it("that lead nowhere are all named, and nothing is written", () => {
    const copy = join(folder, "copy");
    mkdirSync(copy);
    for (const name of ["src", "models", "bench", "examples", "reproductions"])
      symlinkSync(join(root, name), join(copy, name));
    for (const name of ["README.md", "FEATURES.md", "CHANGELOG.md", "package.json"])
      cpSync(join(root, name), join(copy, name));
    cpSync(join(root, "docs"), join(copy, "docs"), { recursive: true, filter: (path) => !path.includes("site") });
    expect(sitePages(copy, tables).texts.size).toBe(site.texts.size);
    const text =
      "# New\n\n[a](gone.md) [b](cli.md#nothing) [c](#new) [d](#old) `[e](gone.md)` ![f](gone.png)\n\n```\n[g](gone.md)\n```\n";
    writeFileSync(join(copy, "docs", "new.md"), text);
    expect(() => sitePages(copy, tables)).toThrow(
      "links that lead nowhere:\n  docs/new.md: gone.md\n  docs/new.md: cli.md#nothing\n  docs/new.md: #old\n  docs/new.md: gone.png",
    );
    expect(brokenLinks(copy, "docs/new.md")).toEqual(["docs/new.md: gone.md", "docs/new.md: gone.png"]);
  });
});

describe("a method's page", () => {
  const everything = [...new Set([...papers, ...methods, ...shapers].map(({ name }) => name))];
  it.each(everything)("%s: paper, options, claims and README", (name) => {
    const text = site.texts.get(`/methods/${name}`)!;
    const paper = papers.find((one) => one.name === name);
    const made = [...methods, ...shapers].find((one) => one.name === name);
    for (const row of made ? optionsTable(made).split("\n").slice(2) : []) expect(text).toContain(row);
    if (!paper) return;
    for (const part of [paper.title, ...paper.authors, ...paper.what]) expect(plainly(text)).toContain(plainly(part));
    for (const { says } of paper.claims) expect(plainly(text)).toContain(plainly(says));
    for (const { claim, plot } of readRecord(name)?.measurements ?? [])
      if (plot) expect(text).toContain(`/files/reproductions/${name}-${claim}.svg`);
    const readme = readFileSync(join(root, "src", paper.lives.folder, "README.md"), "utf8");
    const prose = (given: string): string => plainly(rewriteLinks(withoutTitle(given), () => null));
    expect(plainly(rewriteLinks(text, () => null))).toContain(prose(readme).trim());
  });

  it("the list of papers has all of them", () => {
    const text = site.texts.get("/papers/")!;
    for (const { name, number } of papers) {
      expect(text).toContain(`(/methods/${name})`);
      expect(text).toContain(`>${number} · `);
    }
  });

  it("shows programs that run", { timeout: 300_000 }, () => {
    ensureBuilt();
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(root, join(folder, "node_modules", "ventris"), "junction");
    const shown = papers.filter(({ showcase }) => showcase && "prompt" in showcase && !showcase.scene);
    const programs = shown.map(
      ({ name }) => /```ts\n(import[\s\S]*?)```/.exec(site.texts.get(`/methods/${name}`)!)![1],
    );
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
    for (const [i, text] of programs.entries()) writeFileSync(join(folder, `${i}.mjs`), ts.transpile(text, options));
    const all = programs.map((_, i) => `await import("./${i}.mjs");\nconsole.log("<<done>>");\n`).join("");
    writeFileSync(join(folder, "all.mjs"), all);
    const { stdout, stderr } = spawnSync(process.execPath, ["all.mjs"], { cwd: folder, encoding: "utf8" });
    expect(stderr).toBe("");
    const said = stdout.split("<<done>>\n").slice(0, -1);
    expect(said).toHaveLength(shown.length);
    for (const text of said) expect(text).toMatch(/\S[\s\S]*\n\d+ tokens in \d+ passes\n$/);
  });

  it("shows commands whose names and options there are", async () => {
    const lines = [...site.texts].flatMap(([address, text]) =>
      address.startsWith("/methods/")
        ? [...text.matchAll(/^On the command line:\n\n```text\n([\s\S]*?)```/gm)].flatMap(([, block]) =>
            block.trim().split("\n"),
          )
        : [],
    );
    expect(lines.length).toBeGreaterThan(50);
    for (const line of lines.flatMap((one) => one.split(" && "))) {
      const [name, ...words] = line.match(/"[^"]*"|\S+/g)!.map((word) => word.replace(/^"|"$/g, ""));
      expect(name, line).toBe("ventris");
      const first = words.shift()!;
      let command = new Command(first);
      (await import(`../src/cli/${first}.ts`)).define(command);
      for (
        let below: Command | undefined = command;
        below;
        below = command.commands.find((one) => one.name() === words[0])
      ) {
        if (below !== command) words.shift();
        command = below;
      }
      expect(command.parseOptions(words).unknown, line).toEqual([]);
    }
  });
});

/** Without the signs that a page writes otherwise. */
const plainly = (text: string): string =>
  text.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code))).replaceAll("\u200b", "");

it("headings have the anchors of code hosts, and sections end where the next begins", () => {
  expect(["`open` and *close*", "What's new, in 0.2?", "A  b", "Über Größe"].map(slug)).toEqual([
    "open-and-close",
    "whats-new-in-02",
    "a--b",
    "über-größe",
  ]);
  const text = "# A\n\n## b\n\none\n\n```\n## not this\n```\n\n### c\n\ntwo\n\n## b\n\nthree\n";
  expect(headings(text).map(({ anchor }) => anchor)).toEqual(["a", "b", "c", "b-1"]);
  expect(section(text, (title) => title === "c")).toBe("two");
});

it("writes what changed, and takes away what is no more", () => {
  const out = join(folder, "pages");
  writePages(root, out, site);
  expect(readFileSync(join(out, "methods", "dyspec.md"), "utf8")).toBe(site.texts.get("/methods/dyspec"));
  for (const file of site.files) expect(existsSync(join(out, "public", "files", file))).toBe(true);
  writeFileSync(join(out, "old.md"), "");
  mkdirSync(join(out, "api"));
  writeFileSync(join(out, "api", "kept.md"), "");
  writePages(root, out, {
    ...site,
    texts: new Map([...site.texts].filter(([address]) => address !== "/methods/dyspec")),
  });
  expect(["old.md", "methods/dyspec.md", "api/kept.md", "index.md"].map((name) => existsSync(join(out, name)))).toEqual(
    [false, false, true, true],
  );
});

const builder = join(root, "docs", "site");
const installed = existsSync(join(builder, "node_modules", ".installed"));
/** What builds it is a package of its own, which is fetched the first time. */
const why =
  installed || spawnSync("npm", ["view", "vitepress", "version"], { encoding: "utf8" }).status === 0
    ? undefined
    : "what builds the site is not installed, and the package registry cannot be reached";

describe.skipIf(why)(`the documentation site${why ? `: ${why}` : ""}`, () => {
  const dist = join(builder, "dist");
  const names = (place: string, kind: string): string[] =>
    readdirSync(join(builder, place), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(kind))
      .map((name) => name.replaceAll("\\", "/").slice(0, -kind.length));
  beforeAll(() => {
    ensureBuilt();
    const { status, stderr } = spawnSync(process.execPath, ["scripts/docs.mjs"], { cwd: root, encoding: "utf8" });
    expect(status, stderr).toBe(0);
  }, 300_000);

  it("has every page, and one for each entry of the library", () => {
    const [pages, built] = [names("pages", ".md"), names("dist", ".html")];
    expect(pages.length).toBeGreaterThan(100);
    expect(pages.filter((name) => !built.includes(name))).toEqual([]);
    const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const entries = Object.keys(exports).filter((name) => name !== "./package.json");
    const titles = names("dist/api", ".html").map((name) =>
      /<h1[^>]*>([^<]*)/.exec(readFileSync(join(dist, "api", `${name}.html`), "utf8"))?.[1].trim(),
    );
    expect(titles).toEqual(expect.arrayContaining(entries.map((name) => `ventris${name.slice(1)}`)));
    // The side bar calls them by their names, whatever their addresses.
    const shown = readFileSync(join(dist, "api", "ventris.html"), "utf8");
    for (const name of entries) expect(shown).toMatch(new RegExp(`class="text"[^>]*>ventris${name.slice(1)}<`));
  });

  describe.skipIf(!executablePath)(`in a browser${executablePath ? "" : " (no chromium)"}`, () => {
    let browser: Browser;
    let server: PageServer;
    beforeAll(async () => {
      server = await servePages({ "/": dist });
      browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    });
    afterAll(async () => {
      await browser?.close();
      await server?.close();
    });

    it.each([360, 1600])(
      "shows pages of every kind on %i pixels, none wider than that, and without errors",
      {
        timeout: 120_000,
      },
      async (width) => {
        const page = await browser.newPage({ viewport: { width, height: 800 } });
        const faults: string[] = [];
        page.on("pageerror", ({ message }) => faults.push(message));
        page.on("response", (answer) => answer.status() >= 400 && faults.push(`${answer.status()} ${answer.url()}`));
        const kinds = [
          "index",
          "how/json",
          "guide/models",
          "guide/cli",
          "methods/dyspec",
          "methods/glim",
          "papers/index",
        ];
        for (const name of [...kinds, "api/ventris", "models/argos", "tutorial/2-first-run", "features", "changelog"]) {
          await page.goto(`${server.url}${name}.html`);
          await page.locator(".VPContent").waitFor();
          const wide = await page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth",
          );
          if (wide !== 0) faults.push(`${name} is ${wide} pixels too wide`);
        }
        expect(faults).toEqual([]);
        await page.close();
      },
    );

    it("finds pages by its search", { timeout: 60_000 }, async () => {
      const page = await browser.newPage({ viewport: { width: 1600, height: 800 } });
      await page.goto(`${server.url}index.html`);
      await page.locator("#local-search button").click();
      await page.locator(".search-input").fill("hidden transfer");
      await page.locator(".results .result").first().waitFor();
      expect(await page.locator(".results .result").first().textContent()).toMatch(/hidden transfer/i);
      await page.close();
    });
  });
});
