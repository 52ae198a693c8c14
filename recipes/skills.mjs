/**
 * The texts that phaistos is fine-tuned on: items of every checkable skill (`src/training/skills`) as turns of a chat, and
 * the statements of the closed world. Test items are never among them: the split is decided by the prompt.
 *
 *     npm run build && node recipes/skills.mjs OUT [--items N] [--seed N] [--share SKILL=N …] [--rivals]
 *     npm run ventris -- train recipes/phaistos.json --data OUT
 */
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { parseArgs } from "node:util";
import { skillItem, skills, worldStatements } from "../dist/training/skills/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    items: { type: "string", default: "120000" },
    seed: { type: "string", default: "1" },
    share: { type: "string", multiple: true, default: [] },
    /** Only passages in which two people have different things of the kind that is asked for, followed by questions about all else that they tell. */
    rivals: { type: "boolean", default: false },
  },
});
const [out] = positionals;
if (!out) {
  console.error("usage: skills.mjs OUT [--items N] [--seed N] [--share SKILL=N …] [--rivals]");
  process.exit(2);
}
/** Shares of the items, of a hundred unless others are given; arithmetic is the hardest to learn. */
const shares = { arithmetic: 40, sql: 12, json: 14, pattern: 12, passage: 12, recall: 5, chat: 5 };
for (const share of values.share) {
  const [skill, count] = share.split("=");
  if (!(skill in shares) || !/^\d+$/.test(count ?? "")) {
    console.error(`--share ${share}: give one of ${Object.keys(shares).join(", ")}, "=" and a whole number`);
    process.exit(2);
  }
  shares[skill] = Number(count);
}
const systems = ["You are a helpful assistant.", "Answer shortly.", "You are Phaistos."];

await mkdir(out, { recursive: true });
const file = createWriteStream(join(out, "skills.jsonl"));
const write = (text) => file.write(`${JSON.stringify({ text })}\n`);
const [items, seed] = [Number(values.items), Number(values.seed)];
const turns = skills.flatMap((skill) => Array(shares[skill.name]).fill(skill));
const short = skills.filter(({ name }) => ["chat", "recall", "passage"].includes(name));
/** As the recipe's chat template writes a turn. */
const said = ({ prompt, answer }) => `<|user|>${prompt}<|assistant|>${answer}`;
const turn = (skill, number) => {
  let item = skillItem(skill, "train", seed, number);
  if (!values.rivals || skill.name !== "passage") return said(item);
  for (let next = 1; !item.facts.rival; next++) item = skillItem(skill, "train", seed + next, number);
  return [item, ...item.facts.further].map(said).join("<|end|>");
};
for (let i = 0; i < items; i++) {
  const text = turn(turns[i % turns.length], i);
  // One in forty comes with a word of the system before it.
  write(i % 40 === 7 ? `<|system|>${systems[Math.floor(i / 40) % systems.length]}${text}` : text);
  // Conversations of two to four turns: one for every twelve items.
  if (i % 12 === 0) {
    const length = 2 + ((i / 12) % 3);
    const parts = Array.from({ length }, (_, k) => turn(short[(i / 12 + k) % short.length], items + 4 * i + k));
    write(parts.join("<|end|>"));
  }
  // For every twenty, statements of the closed world, three at a time.
  if (i % 20 === 0) {
    const statements = worldStatements();
    write([0, 1, 2].map((k) => statements[(i / 20 + k * 27) % statements.length]).join(" "));
  }
}
file.end();
await finished(file);
