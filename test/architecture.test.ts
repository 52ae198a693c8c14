/** The shape of the source: imports go downwards only, none in a circle, and files of the core hold one idea each. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const source = fileURLToPath(new URL("../src", import.meta.url));
const files = readdirSync(source, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(".ts") && !/\.(test|fixture)\.ts$/.test(entry.name))
  .map((entry) => relative(source, join(entry.parentPath, entry.name)).replaceAll("\\", "/"));
const textOf = (file: string): string => readFileSync(join(source, file), "utf8");

/** What a file imports of ours: at run time, and for its types alone. */
function importsOf(file: string): { target: string; typeOnly: boolean }[] {
  const statements = textOf(file).matchAll(/^(?:import|export)\s+(type\s)?(?:[^"';]*?\sfrom\s+)?"(\.[^"]+)";/gm);
  return [...statements].map(([, type, path]) => ({
    target: relative(source, join(source, dirname(file), path)).replaceAll("\\", "/"),
    typeOnly: type !== undefined,
  }));
}

/** Each layer may import itself and those after it. Files of src itself are the public face, or what all share. */
const layers = [
  ["cli", "server", "ai-sdk", "worker", "entrances"],
  ["papers", "evaluation"],
  [""],
  ["methods", "browser"],
  ["engine", "training"],
  ["constraints", "models"],
  ["runtime", "weights", "text", "images", "sharing"],
  ["tensor"],
];
const layerOf = (file: string): number => {
  if (file === "papers/statistics.ts") return layers.findIndex(([name]) => name === "methods"); // sums alone
  // A file of src itself that uses no folder is for all; the others are the public face.
  if (!file.includes("/") && importsOf(file).every(({ target }) => !target.includes("/"))) return layers.length;
  // What a method claims and how that is measured belongs to the papers, which list it; the method knows nothing of it.
  if (/^methods\/.*\/(paper|measuring|reproduce[\w-]*|reproduce\/.*)\.ts$/.test(file))
    return layers.findIndex(([name]) => name === "papers");
  const folder = file.includes("/") ? file.slice(0, file.indexOf("/")) : "";
  return layers.findIndex((layer) => layer.includes(folder));
};

test("no import goes upwards", () => {
  const upwards = files.flatMap((file) =>
    importsOf(file).flatMap(({ target }) => (layerOf(target) < layerOf(file) ? [`${file} -> ${target}`] : [])),
  );
  expect(files.length).toBeGreaterThan(100);
  expect(files.filter((file) => layerOf(file) < 0)).toEqual([]);
  expect(upwards).toEqual([]);
});

test("no imports go in a circle", () => {
  const graph = new Map(
    files.map((file) => [file, importsOf(file).flatMap(({ target, typeOnly }) => (typeOnly ? [] : [target]))]),
  );
  const state = new Map<string, "open" | "done">();
  const circles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === "done") return;
    if (state.get(file) === "open") {
      circles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
      return;
    }
    state.set(file, "open");
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    state.set(file, "done");
  };
  for (const file of files) visit(file, []);
  expect(circles).toEqual([]);
});

test("models, texts, caches and downloads reach files through one small interface, which a page gives its own storage", () => {
  // Recordings, data sets and folders of these families, and what measures a paper, are Node's alone.
  const ofNode = /^methods\/(signals)\//;
  const others = files.filter(
    (file) => /^(engine|models|text|weights|methods)\//.test(file) && layerOf(file) !== 1 && !ofNode.test(file),
  );
  expect(others.length).toBeGreaterThan(150);
  expect(others.filter((file) => /(from|import\() ?"node:/.test(textOf(file)))).toEqual([]);
});

test("what a page loads is free of Node: files that use it have a twin for pages", async () => {
  const { browserEntries } = await import("../scripts/browser.mjs");
  const seen = new Set<string>();
  const visit = (file: string): void => {
    const twin = file.replace(/\.ts$/, ".browser.ts");
    const taken = files.includes(twin) ? twin : file;
    if (seen.has(taken)) return;
    seen.add(taken);
    const later = [...textOf(taken).matchAll(/import\("(\.[^"]+)"\)/g)].map(([, path]) =>
      relative(source, join(source, dirname(taken), path)).replaceAll("\\", "/"),
    );
    for (const { target, typeOnly } of importsOf(taken)) if (!typeOnly) visit(target);
    for (const target of later) visit(target);
  };
  for (const file of Object.values(browserEntries)) visit(file);
  expect(seen.size).toBeGreaterThan(300);
  expect([...seen].filter((file) => /(from|import\() ?"(node:|onnxruntime-node)/.test(textOf(file)))).toEqual([]);
});

test("no file of the engine, the models or the tensors is longer than 400 lines", () => {
  const long = files.flatMap((file) => {
    const lines = textOf(file).split("\n").length - 1;
    return /^(engine|models|tensor|runtime)\//.test(file) && lines > 400 ? [`${file}: ${lines}`] : [];
  });
  expect(long).toEqual([]);
});
