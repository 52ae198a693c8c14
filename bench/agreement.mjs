/**
 * Whether every lossless method gives the very tokens of plain decoding at every precision: on held-out texts, greedy and sampled, alone
 * and in eights, with one thread and two. Prints a line for each precision and method, and fails if a text differs.
 * Usage, after a build: node bench/agreement.mjs [--prompts 200] [--tokens 48] [--weights int8,int4] [--threads 1,2] [--temperatures 0,0.8]
 * [--methods chain,dyspec] [--part 3/10]
 */
import { parseArgs } from "node:util";
import { open } from "../dist/index.js";
import { methods } from "../dist/methods/index.js";
import { shippedModel } from "./ours.mjs";
import { kinds, promptsOf, textsMissing } from "./texts.mjs";

const { values: options } = parseArgs({
  options: {
    prompts: { type: "string", default: "200" },
    tokens: { type: "string", default: "48" },
    weights: { type: "string", default: "int8,int4" },
    threads: { type: "string", default: "1,2" },
    temperatures: { type: "string", default: "0,0.8" },
    methods: { type: "string" },
    part: { type: "string", default: "1/1" },
  },
});
const folder = shippedModel("knossos");
const missing = folder ? textsMissing() : "models/knossos is absent";
if (missing || !folder) {
  console.error(missing);
  process.exit(1);
}

/** Lexical units are lossless where they are verified. */
const verified = { "lexical-units": { name: "lexical-units", verify: true } };
const names =
  options.methods?.split(",") ??
  methods.filter(({ family, lossless }) => family === "speculative" && lossless).map(({ name }) => name);
const maxTokens = Number(options.tokens);
const [part, parts] = options.part.split("/").map(Number);
let differences = 0;

/** Pieces of stories, questions and code, of 8 to 160 tokens, so that pages end everywhere. @param {(text: string) => number[]} encode */
function promptsOfAllLengths(encode) {
  const texts = kinds.flatMap((kind) => promptsOf(kind, 80, 600, encode)).filter((tokens) => tokens.length >= 8);
  return Array.from({ length: Number(options.prompts) }, (_, i) => {
    const tokens = texts[i % texts.length];
    const length = Math.min(tokens.length, 8 + ((i * 37) % 153));
    const start = (Math.floor(i / texts.length) * 101) % (tokens.length - length + 1);
    return tokens.slice(start, start + length);
  });
}

for (const weights of options.weights.split(",")) {
  /** Tokens of plain decoding, one prompt after another, by temperature. @type {Map<number, string[]>} */
  const wanted = new Map();
  for (const threads of options.threads.split(",").map(Number)) {
    const model = await open(folder, { weights: /** @type {"int8"} */ (weights), threads });
    const encode = (/** @type {string} */ text) => model.tokenizer?.encode(text) ?? [];
    const prompts = promptsOfAllLengths(encode).filter((_, i) => i % parts === part - 1);
    for (const temperature of options.temperatures.split(",").map(Number)) {
      /** @param {any} method @param {number} together */
      const decode = async (method, together) => {
        /** @type {string[]} */
        const texts = [];
        for (let start = 0; start < prompts.length; start += together) {
          const runs = prompts
            .slice(start, start + together)
            .map((prompt, i) => model.decode(prompt, { method, temperature, maxTokens, seed: start + i }).final);
          for (const { tokens } of await Promise.all(runs)) texts.push(tokens.join());
        }
        return texts;
      };
      const plain = temperature === 0 ? "greedy" : "sample";
      if (!wanted.has(temperature)) wanted.set(temperature, await decode(plain, 1));
      const plainTexts = /** @type {string[]} */ (wanted.get(temperature));
      for (const name of [plain, ...names]) {
        for (const together of [1, 8]) {
          let told = "";
          let different = 0;
          try {
            const texts = await decode(verified[/** @type {"lexical-units"} */ (name)] ?? name, together);
            different = texts.filter((text, i) => text !== plainTexts[i]).length;
            told = `${different} of ${texts.length} differ`;
          } catch (error) {
            told = `not run: ${/** @type {Error} */ (error).message}`;
          }
          differences += different;
          const setting = `${weights}, ${threads} threads, temperature ${temperature}, ${together} at a time`;
          console.log(`${setting}: ${name}: ${told}`);
        }
      }
    }
    await model.close();
  }
}
process.exit(differences > 0 ? 1 : 0);
