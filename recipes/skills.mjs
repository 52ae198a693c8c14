/**
 * The texts that phaistos is fine-tuned on: items of every checkable skill (`src/training/skills`) as turns of a chat, and
 * the statements of the closed world. Test items are never among them: the split is decided by the prompt.
 *
 *     npm run build && node recipes/skills.mjs OUT [--items N] [--seed N]
 */
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { parseArgs } from "node:util";
import { skillItem, skills, worldStatements } from "../dist/training/skills/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { items: { type: "string", default: "60000" }, seed: { type: "string", default: "1" } },
});
const [out] = positionals;
if (!out) {
  console.error("usage: skills.mjs OUT [--items N] [--seed N]");
  process.exit(2);
}
/** Of a hundred items; arithmetic is the hardest to learn. */
const shares = { arithmetic: 40, sql: 12, json: 14, pattern: 12, passage: 10, recall: 6, chat: 6 };

await mkdir(out, { recursive: true });
const file = createWriteStream(join(out, "skills.jsonl"));
const items = Number(values.items);
const turns = skills.flatMap((skill) => Array(shares[skill.name]).fill(skill));
for (let i = 0; i < items; i++) {
  const { prompt, answer } = skillItem(turns[i % turns.length], "train", Number(values.seed), i);
  file.write(`${JSON.stringify({ text: `<|user|>${prompt}<|assistant|>${answer}` })}\n`);
  // A twentieth are statements of the closed world, three at a time.
  if (i % 20 === 0) {
    const statements = worldStatements();
    const some = [0, 1, 2].map((k) => statements[(i / 20 + k * 27) % statements.length]);
    file.write(`${JSON.stringify({ text: some.join(" ") })}\n`);
  }
}
file.end();
await finished(file);
