/**
 * How the tokenizer of knossos and its family was made: 4096 byte-level BPE tokens from the texts of `corpus.mjs`. The special
 * tokens begin and end a text, stand for what is hidden (mycenae) and for pictures, and begin the turns of a chat.
 *
 *     npm run build && node recipes/tokenizer.mjs CORPUS OUT
 */
import { join } from "node:path";
import { readTexts, trainTokenizer } from "../dist/text/index.js";

const [corpus, out] = process.argv.slice(2);
if (!corpus || !out) {
  console.error("usage: tokenizer.mjs CORPUS OUT");
  process.exit(2);
}
const files = ["stories.jsonl", "storybooks.jsonl", "books.jsonl", "novels.jsonl"];
await trainTokenizer({
  texts: readTexts(files.map((file) => join(corpus, file))),
  size: 4096,
  specialTokens: [
    "<|begin|>",
    "<|end|>",
    "<|mask|>",
    "<|image|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|pad|>",
  ],
  out,
});
