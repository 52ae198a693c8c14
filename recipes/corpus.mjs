/**
 * The texts that knossos and its family are trained on: simple modern stories with older books as seasoning, cleaned
 * (`src/text/cleaning.ts`), each story once. Writes JSON lines `{text}` and `report.json`, what cleaning did to each source.
 *
 *     npm run build && node recipes/corpus.mjs DATA OUT
 */
import { createWriteStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { cleanTexts, emptyReport, seenTexts } from "../dist/text/cleaning.js";
import { documents } from "../dist/text/text-files.js";
import { storyCleaning, storyNames, storySources } from "../dist/training/stories.js";

const book = { proseOnly: true, minimumCharacters: 500 };

/**
 * Each source below the data folder, the file below `out` that gets its texts, and how it is cleaned; `separator` stands between texts
 * of a .txt file, `lowerCased` texts get their capitals back.
 */
export const sources = [
  ...storySources.map((source) => ({ ...source, into: "stories.jsonl", options: storyCleaning })),
  { path: "simple-stories/storybooks.jsonl.gz", into: "storybooks.jsonl", options: { minimumCharacters: 200 } },
  { path: "childrens-books/aesop-fables.jsonl.gz", into: "storybooks.jsonl", options: { minimumCharacters: 200 } },
  { path: "simple-stories/readers.jsonl.gz", into: "books.jsonl", options: book },
  { path: "gutenberg-stories/tales.jsonl.gz", into: "books.jsonl", options: book },
  { path: "childrens-books/books.jsonl.gz", into: "novels.jsonl", options: book },
];

export async function makeCorpus(data, out) {
  await mkdir(out, { recursive: true });
  const names = await storyNames((path) => join(data, path));
  const seen = seenTexts();
  const reports = {};
  const files = new Map(
    [...new Set(sources.map(({ into }) => into))].map((name) => [name, createWriteStream(join(out, name))]),
  );
  for (const { path, into, separator, options, lowerCased } of sources) {
    const report = emptyReport();
    reports[path] = report;
    const texts = documents({ path: join(data, path), separator });
    const cleaned = cleanTexts(texts, { ...options, seen, names: lowerCased ? names : undefined }, report);
    for await (const text of cleaned) files.get(into).write(`${JSON.stringify({ text })}\n`);
  }
  for (const file of files.values()) {
    file.end();
    await finished(file);
  }
  await writeFile(join(out, "report.json"), `${JSON.stringify(reports, null, 2)}\n`);
  return reports;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [data, out] = process.argv.slice(2);
  if (!data || !out) {
    console.error("usage: corpus.mjs DATA OUT");
    process.exit(2);
  }
  console.table(await makeCorpus(data, out));
}
