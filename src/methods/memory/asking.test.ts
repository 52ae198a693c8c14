/** Questions of a file, what counts as right, and the ways to ask: with passages that fit, and with a memory. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { askQuestions, isRight, readQuestions } from "./asking.ts";
import { baseOf, buildDatastore } from "./building.ts";
import { completeCard, textsOf } from "./datastore.ts";
import { type MemoryFixture, memoryFixture, tinyTexts } from "./memory.fixture.ts";
import { readTextsWith } from "./reading.ts";

let fixture: MemoryFixture;
beforeAll(async () => {
  fixture = await memoryFixture({ max_position_embeddings: 256 });
});
afterAll(() => fixture.remove());

it("an answer is right as a whole sentence, by its words, also with full stops of its own", () => {
  expect(isRight(" Orlo. The king", ["Orlo"])).toBe(true);
  expect(isRight(" orlo\nand so", ["Pima", "Orlo"])).toBe(true);
  expect(isRight(" Orlo the Great.", ["Orlo"])).toBe(false);
  expect(isRight(" St. Louis, I think. No", ["St. Louis"])).toBe(false);
  expect(isRight(" St. Louis. No", ["St. Louis"])).toBe(true);
});

it("questions of a file, with the line that is none", async () => {
  const path = join(fixture.folder, "questions.jsonl");
  const of = async (text: string) => {
    await writeFile(path, text);
    return readQuestions(path);
  };
  const two = '{"question": "a", "answer": "b"}\n\n{"question": "c", "answer": ["d", "e"]}\n';
  expect(await of(two)).toEqual([
    { question: "a", answers: ["b"] },
    { question: "c", answers: ["d", "e"] },
  ]);
  expect(await readQuestions(path, 1)).toHaveLength(1);
  await expect(of("")).rejects.toThrow(/holds no questions/);
  await expect(of(`${two}{"question": "f"}`)).rejects.toThrow(/line 4: .*answer/);
  await expect(of('{"question": " ", "answer": "b"}')).rejects.toThrow(/line 1: .*question/);
  await expect(of('{"question": "a", "answer": "…"}')).rejects.toThrow(/the answer "…" has no words/);
  await expect(readQuestions("asked.txt")).rejects.toThrow(/asked\.txt: questions are a file that ends in \.jsonl/);
});

it("a datastore gives back its texts, chunk after chunk; passages are as many as fit; a memory answers", async () => {
  const { model, folder } = fixture;
  const store = join(folder, "store");
  await buildDatastore(model, tinyTexts, { folder: store, chunkEntries: 16, rows: 16, window: 16 });
  const card = await completeCard(store, await baseOf(model));
  expect(card.chunks.length).toBeGreaterThan(1);
  const texts: string[] = [];
  for await (const text of textsOf(store, card, model.tokenizer!)) texts.push(text);
  const { encode, decode, beginToken } = model.tokenizer!;
  const first = beginToken === undefined ? 1 : 0; // what no begin token stands before is no value
  expect(texts).toEqual(tinyTexts.map((text) => decode(encode(text, { special: false }).slice(first))));

  const questions = [{ question: "the cat sat on the", answers: ["hat"] }];
  const memory = { name: "knn-lm", datastore: store, k: 4, temperature: 1, lambda: 1 };
  const ways = [
    { name: "alone" },
    { name: "rag", passages: () => tinyTexts },
    { name: "flood", passages: () => Array(200).fill(tinyTexts[0]) },
    { name: "knn-lm", shaper: memory },
  ];
  const done: number[] = [];
  const [row] = await askQuestions(model, questions, ways, { onProgress: (count) => done.push(count) });
  expect(done).toEqual([1]);
  expect(row.map(({ passages }) => passages).slice(0, 2)).toEqual([0, 3]);
  expect(row[1].promptTokens).toBeGreaterThan(row[0].promptTokens);
  expect(row[2].passages).toBeGreaterThan(0);
  expect(row[2].passages).toBeLessThan(200);
  expect(row[3].text).toMatch(/^ (hat|cat)/);
  expect(row[3].promptTokens).toBe(row[0].promptTokens);
  await expect(askQuestions(model, [], ways)).rejects.toThrow(/no questions to ask/);
  await expect(askQuestions(model, [{ question: "a", answers: [] }], ways)).rejects.toThrow(/question 0 has no answer/);
  const silent = { name: "silent", site: "layers.1.mlp.norm", recall: async () => [] };
  await expect(readTextsWith(model, tinyTexts, [silent])).rejects.toThrow(/the reader silent was asked about/);
  const certain = (probability: unknown) => ({
    ...{ name: "odd", site: "layers.1.mlp.norm" },
    recall: async (states: Float32Array) =>
      Array(states.length / model.config.hiddenSize).fill({ probability: () => probability, tokens: [] }),
  });
  for (const odd of [Number.NaN, 2, "0.5"])
    await expect(readTextsWith(model, tinyTexts, [certain(odd) as never])).rejects.toThrow(
      /the reader odd: probability\(\d+\) gave .*, and must give a number from 0 to 1/,
    );
  const recall = async (): Promise<never> => {
    throw new Error("boo");
  };
  await expect(readTextsWith(model, tinyTexts, [{ ...silent, recall }])).rejects.toThrow(
    /^the reader silent: recall failed: boo$/,
  );
  for (const recall of [async () => 7, () => undefined, async () => [null, {}]])
    await expect(readTextsWith(model, tinyTexts, [{ ...silent, recall } as never])).rejects.toThrow(
      /the reader silent: recall gave .*, and must give a list of recollections/,
    );
  await expect(readTextsWith(model, [5] as never, [silent])).rejects.toThrow(/texts\[0\] must be a text, not 5/);
  for (const window of [Number.NaN, 1, 2.5])
    await expect(readTextsWith(model, tinyTexts, [silent], { window })).rejects.toThrow(
      /window must be a whole number/,
    );
  const signal = AbortSignal.abort();
  await expect(askQuestions(model, questions, ways, { signal })).rejects.toThrow(/was aborted/);
});
