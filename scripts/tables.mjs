// Writes the tables that are made of papers, records and schemas: in FEATURES.md, in the READMEs of the methods and in docs/measurements.md.
// `--check` only says which are stale.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { figures } from "../bench/baselines.mjs";
import { figuresTable, markdownTable } from "../bench/harness/report.mjs";
import { build } from "./build.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
build();
const { papers } = await import("../dist/papers/index.js");
const { readRecord } = await import("../dist/papers/records.js");
const { methods, shapers } = await import("../dist/methods/index.js");
const { filters } = await import("../dist/methods/signals/filters.js");
const { optionTables } = await import("../dist/papers/option-tables.js");
const { claimsMark, claimsTable, featuresMark, featuresTable, replaceBetween } = await import(
  "../dist/papers/tables.js"
);

const tables = optionTables(methods, shapers, filters);

const measurements = join("docs", "measurements.md");
/** Benchmarks whose records are shown where their marks are. */
const shown = readFileSync(join(root, measurements), "utf8").matchAll(/<!-- benchmark-([\w-]+):begin -->/g);
const recordOf = (name) => {
  const path = join(root, "bench", "results", `${name}.json`);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
};

const methodFolder = (name) => join("methods", name === "auto" ? "choice" : "speculative", name);

const files = [
  ...[...shown].map(([, name]) => ({
    path: measurements,
    mark: `benchmark-${name}`,
    content: () =>
      markdownTable(recordOf(name), `npm run --silent bench -- ${name} --record`, recordOf("second-machine")?.[name]),
  })),
  { path: "FEATURES.md", mark: featuresMark, content: () => featuresTable(papers, (name) => readRecord(name)) },
  ...papers.map((paper) => ({
    path: join("src", paper.lives.folder, "README.md"),
    mark: claimsMark,
    content: () => claimsTable(paper, readRecord(paper.name)),
  })),
  ...Object.entries(figures).map(([name, list]) => ({
    path: join("src", methodFolder(name), "README.md"),
    mark: "figures",
    content: () => figuresTable(list, recordOf),
  })),
  ...readdirSync(join(root, "src", "methods"), { recursive: true })
    .filter((name) => name.endsWith("README.md"))
    .flatMap((name) =>
      [...tables].map(([mark, table]) => ({ path: join("src", "methods", name), mark, content: () => table })),
    ),
];
for (const { path, mark, content } of files) {
  const full = join(root, path);
  if (!existsSync(full)) continue;
  const text = readFileSync(full, "utf8");
  const renewed = replaceBetween(text, mark, content());
  if (renewed === undefined || renewed === text) continue;
  if (process.argv.includes("--check")) {
    console.error(`${path} is stale: run node scripts/tables.mjs`);
    process.exitCode = 1;
  } else {
    writeFileSync(full, renewed);
    console.error(`wrote ${path}`);
  }
}
