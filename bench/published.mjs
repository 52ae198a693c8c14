/**
 * Published families beside Hugging Face's own libraries: logits and greedy tokens of random checkpoints, ids and texts of tokenizers.
 * Usage, after a build: python3 bench/peers/published_families.py FOLDER CORPUS, which may run on another machine; then
 * node bench/published.mjs FOLDER [--json]. Fails where something differs; what is refused is told with its reason.
 */
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { open } from "../dist/index.js";
import { openTokenizer } from "../dist/text/index.js";
import { format } from "./harness/measure.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean", default: false } },
});
const [folder] = positionals;
if (!folder || !existsSync(folder)) {
  console.error("usage: node bench/published.mjs FOLDER [--json]: what peers/published_families.py wrote");
  process.exit(2);
}
/** Logits in float32 and float64 may differ by this. */
const tolerance = 5e-5;
const readJson = (/** @type {string[]} */ ...path) => JSON.parse(readFileSync(join(folder, ...path), "utf8"));

/** @typedef {{ name: string, difference?: number, same?: boolean, refused?: string }} Compared */

/** @param {any} model @param {number[]} tokens @param {number[][]} wanted */
async function largestDifference(model, tokens, wanted) {
  const { logits } = await model.forward(tokens);
  let largest = 0;
  wanted.flat().forEach((value, i) => {
    const difference = Math.abs(value - logits[i]);
    if (!(difference <= largest)) largest = difference;
  });
  return largest;
}

/** @param {string} name @returns {Promise<Compared>} */
async function compareModel(name) {
  const { ids, logits, long, longLogits, greedy } = readJson(name, "reference.json");
  const model = await open(join(folder, name), { weights: "f32" });
  try {
    const differences = [];
    for (const [i, tokens] of ids.entries()) differences.push(await largestDifference(model, tokens, logits[i]));
    const { tokens } = await model.decode(ids[0].slice(0, 24), { temperature: 0, maxTokens: 20, minTokens: 20 }).final;
    if (long) {
      const longer = await open(join(folder, name), { weights: "f32", contextLength: 128 });
      differences.push(await largestDifference(longer, long[0], longLogits[0]));
      await longer.close();
    }
    return { name, difference: Math.max(...differences), same: tokens.join() === greedy.join() };
  } finally {
    await model.close();
  }
}

/** Tokens of a T5 model are told by characters, one for each. @param {string} name @returns {Promise<Compared>} */
async function compareEncoderDecoder(name) {
  const { ids, greedy } = readJson(name, "reference.json");
  const copy = mkdtempSync(join(tmpdir(), "published-"));
  try {
    for (const file of ["config.json", "model.safetensors"]) copyFileSync(join(folder, name, file), join(copy, file));
    writeFileSync(join(copy, "tokenizer.json"), JSON.stringify(characterTokenizer()));
    const model = await open(copy);
    const { tokens } = await model
      .ability("encoder-decoder")
      .write(String.fromCodePoint(...ids[0].slice(0, -1).map((/** @type {number} */ id) => 0x4e00 + id)), {
        maxTokens: 12,
      });
    await model.close();
    return { name, same: tokens.join() === greedy.join() };
  } finally {
    rmSync(copy, { recursive: true });
  }
}

function characterTokenizer() {
  const special = ["<pad>", "</s>", "<unk>"];
  const pieces = Array.from({ length: 96 }, (_, id) => special[id] ?? String.fromCodePoint(0x4e00 + id));
  const kept = { special: true, normalized: false, lstrip: false, rstrip: false, single_word: false };
  const end = { "</s>": { id: "</s>", ids: [1], tokens: ["</s>"] } };
  const single = [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "</s>", type_id: 0 } }];
  return {
    version: "1.0",
    added_tokens: special.map((content, id) => ({ id, content, ...kept })),
    normalizer: null,
    pre_tokenizer: null,
    post_processor: { type: "TemplateProcessing", single, pair: [], special_tokens: end },
    decoder: { type: "Fuse" },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: [],
      unk_token: "<unk>",
      byte_fallback: false,
      fuse_unk: false,
    },
  };
}

/** @param {string} name @returns {Promise<Compared>} */
async function compareTokenizer(name) {
  const copy = mkdtempSync(join(tmpdir(), "published-"));
  try {
    copyFileSync(join(folder, "tokenizers", `${name}.json`), join(copy, "tokenizer.json"));
    const tokenizer = await openTokenizer(copy);
    const different = readJson("tokenizers", `${name}.reference.json`).filter(
      (
        /** @type {{ text: string, ids: number[], plain: number[], decoded: string }} */ { text, ids, plain, decoded },
      ) => {
        const ours = tokenizer.encode(text, { allowSpecial: true }).join();
        return ours !== ids.join() || tokenizer.decode(plain, { special: true }) !== decoded;
      },
    );
    return { name: `tokenizer ${name}`, same: different.length === 0 };
  } finally {
    rmSync(copy, { recursive: true });
  }
}

/** @param {() => Promise<Compared>} compare @param {string} name @returns {Promise<Compared>} */
const orRefused = (name, compare) =>
  compare().catch((error) => {
    if (error.code === "bad_config") return { name, refused: error.message };
    throw error;
  });

const names = readdirSync(folder).filter((name) => existsSync(join(folder, name, "reference.json")));
/** @type {Compared[]} */
const compared = [];
for (const name of names) {
  const compare = name.startsWith("t5") ? compareEncoderDecoder : compareModel;
  compared.push(await orRefused(name, () => compare(name)));
}
for (const file of readdirSync(join(folder, "tokenizers")).filter((name) => name.endsWith(".reference.json"))) {
  compared.push(await compareTokenizer(file.slice(0, -".reference.json".length)));
}
if (options.json) console.log(JSON.stringify(compared));
else
  for (const { name, difference, same, refused } of compared) {
    const logits = difference === undefined ? "" : `logits within ${format(difference)}, `;
    console.log(`${name}: ${refused ?? `${logits}${same ? "the same" : "DIFFERENT"}`}`);
  }
const wrong = compared.filter(({ difference = 0, same, refused }) => !refused && (!same || !(difference < tolerance)));
process.exit(wrong.length > 0 ? 1 : 0);
