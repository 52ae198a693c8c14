/** A model that gives more ids than its tokenizer has pieces, as many published ones do: the ids without a piece are empty text. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { removeModel, type TinyModel, vocabularySize, writeTinyModel } from "../../test/fixtures/tiny-model.ts";
import { type DecodeOptions, type Model, open } from "../index.ts";

const padded = vocabularySize + 40;
let file: TinyModel;
let model: Model;
beforeAll(async () => {
  file = await writeTinyModel({ tokenizer: true, config: { vocab_size: padded, eos_token_id: undefined } });
  model = await open(file.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await removeModel(file);
});

const cases: DecodeOptions[] = [
  { temperature: 1.5 },
  { temperature: 1.5, dry: { multiplier: 1 } },
  { temperature: 1.5, repetitionPenalty: 1.2, topP: 0.9, stop: ["zzz"], logprobs: 2 },
  { temperature: 0, logitBias: { [padded - 1]: 100 } },
  { temperature: 1.5, method: "prompt-lookup" },
  { temperature: 1.5, method: { name: "aded", table: "empty" } },
];

test.each(cases)("%j", async (options) => {
  let beyond = 0;
  for (let seed = 0; seed < 3; seed++) {
    const { tokens, text } = await model.decode("the cat", { ...options, seed, minTokens: 40, maxTokens: 40 }).final;
    expect(tokens).toHaveLength(40);
    beyond += tokens.filter((token) => token >= vocabularySize).length;
    const known = tokens.filter((token) => token < vocabularySize);
    expect(text).toBe(model.tokenizer!.decode(known, { continued: true }));
  }
  expect(beyond).toBeGreaterThan(0);
});
