import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { familyOf } from "../models/families.ts";
import { openTokenizer, trainTokenizer } from "../text/index.ts";
import { answersAlone, type TurnTokens, turnTokens } from "./answers.ts";
import { loadCorpus } from "./data.ts";
import { type TrainedModel, writeModel } from "./export.ts";
import { nextTokenObjective } from "./next-token.ts";
import { initialValues } from "./recipe.ts";
import { replicatedObjective } from "./replicas.ts";

const turns: TurnTokens = { begin: 0, ends: [1], user: 5, assistant: 6 };

test("what the assistant says counts, its end included; plain documents count as a whole; cut-off ones do not", () => {
  const rows = [
    // The end of a document whose question is not there, a chat of two turns, a plain document.
    [9, 9, 1, 0, 5, 9, 9, 6, 8, 8, 1, 5, 9, 6, 8, 1, 0, 7, 7, 1, 0],
    [0, 7, 7, 1, 0, 5, 9, 6, 8, 1, 0, 5, 9, 9, 9, 9, 9, 9, 9, 9, 9],
  ];
  const length = rows[0].length - 1;
  const { weights } = answersAlone({ tokens: Int32Array.from(rows.flat()), rows: 2, length }, turns);
  const counted = rows.map((row, r) =>
    row.slice(0, length).map((_, i) => (weights![r * length + i] > 0 ? row[i + 1] : "-")),
  );
  expect(counted.map((row) => row.join(" "))).toEqual([
    "- - - 5 - - - 8 8 1 - - - 8 1 - 7 7 1 -",
    "7 7 1 - 5 - - 8 1 - 5 - - - - - - - - -",
  ]);
  expect(weights!.reduce((a, b) => a + b, 0) / weights!.length).toBeCloseTo(1, 6);
});

const { family, config } = familyOf({
  architectures: ["LlamaForCausalLM"],
  vocab_size: 12,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 12,
  max_position_embeddings: 32,
  tie_word_embeddings: true,
});

test("a target of weight 0 changes nothing; others count by their weight; replicas agree with one model", async () => {
  const values = initialValues(family, config, 3);
  const [rows, length] = [2, 6];
  const options = { rows, length, threads: 1, weighted: true };
  const tokens = Int32Array.from({ length: rows * (length + 1) }, (_, i) => (i * 5 + 1) % 12);
  const only = (kept: (place: number) => number) =>
    Float32Array.from({ length: rows * length }, (_, i) => kept(i) * rows * length);
  const objective = await nextTokenObjective(family, config, values, options);
  const plain = await nextTokenObjective(family, config, values, { ...options, weighted: false });
  const each = await Promise.all(
    Array.from({ length: rows * length }, (_, place) =>
      objective.loss({ tokens, rows, length, weights: only((i) => (i === place ? 1 : 0)) }),
    ),
  );
  expect(each.reduce((a, b) => a + b, 0) / each.length).toBeCloseTo(await plain.loss({ tokens, rows, length }), 5);
  const weights = only((i) => [0.75, 0, 0, 0, 0, 0, 0, 0, 0, 0.25, 0, 0][i]);
  const whole = await objective.gradients({ tokens, rows, length, weights });
  expect(whole.loss).toBeCloseTo(0.75 * each[0] + 0.25 * each[9], 5);
  const replicas = await replicatedObjective(config, values, { ...options, threads: 2 });
  const shared = await replicas.gradients({ tokens, rows, length, weights });
  expect(shared.loss).toBeCloseTo(whole.loss, 5);
  for (const [i, gradient] of shared.gradients.entries())
    for (const [j, x] of gradient.entries()) expect(x).toBeCloseTo(whole.gradients[i][j], 6);
  await expect(objective.loss({ tokens, rows, length })).rejects.toThrow("must hold 12 weights");
  await Promise.all([objective, plain, replicas].map((one) => one.release()));
});

test("special tokens in a chat's text are tokens where the recipe says so, and the exported template writes the same ids", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ventris-answers-"));
  try {
    const specialTokens = ["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"];
    const text = "<|user|>How many?<|assistant|>Three.<|end|><|user|>And now?<|assistant|>Four.";
    const texts = [`${text} how many now three four `.repeat(20)];
    await trainTokenizer({ texts, size: 290, specialTokens, out: folder });
    const tokenizer = await openTokenizer(folder);
    expect(turnTokens(tokenizer, { user: "<|user|>", assistant: "<|assistant|>" })).toEqual({
      begin: 0,
      ends: [1],
      user: 2,
      assistant: 3,
    });
    expect(() => turnTokens(tokenizer, { user: "<|us|>", assistant: "<|assistant|>" })).toThrow(
      "answers.user: the tokenizer has no special token <|us|>",
    );

    const path = join(folder, "chats.jsonl");
    await writeFile(path, `${JSON.stringify({ text })}\n`);
    const read = async (special: boolean) => {
      const { train } = await loadCorpus({ files: [{ path, special }], tokenizer, heldOut: 0 });
      return [...train.tokens];
    };
    const chat = await read(true);
    const plain = await read(false);
    expect([chat.filter((id) => id > 1 && id < 4).length, plain.some((id) => id > 1 && id < 4)]).toEqual([4, false]);

    const template =
      "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    const model: TrainedModel = {
      recipe: { config: {}, chatTemplate: template } as TrainedModel["recipe"],
      family,
      config,
      values: initialValues(family, config, 1),
      lora: undefined,
      tokenizer: folder,
      base: undefined,
    };
    const out = join(folder, "out");
    await writeModel(model, out);
    expect(JSON.parse(await readFile(join(out, "tokenizer_config.json"), "utf8")).chat_template).toBe(template);
    const messages = [
      { role: "user", content: "How many?" },
      { role: "assistant", content: "Three." },
      { role: "user", content: "And now?" },
    ];
    const asked = (await openTokenizer(out)).encodeChat!(messages);
    expect(asked).toEqual(chat.slice(0, asked.length));
    expect(tokenizer.decode(chat.slice(asked.length))).toBe("Four.");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
