import { afterAll, beforeAll, expect, test } from "vitest";
import { logSoftmax } from "../../test/fixtures/reference.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../../test/fixtures/tiny-model.ts";
import { familyOf } from "../models/families.ts";
import { type Model, open } from "../open.ts";
import type { Tokenizer } from "../text/index.ts";
import { compareRows, measureDraft, workPerToken } from "./draft.ts";

const tokenizer = {
  beginToken: 0,
  fingerprint: "letters",
  encode: (text: string) => [...text].map((c) => 1 + ((c.codePointAt(0)! * 7) % 30)),
} as unknown as Tokenizer;
let [tiny, other]: TinyModel[] = [];
let [model, draft]: Model[] = [];
beforeAll(async () => {
  [tiny, other] = [
    await writeTinyModel({ seed: 1 }),
    await writeTinyModel({ seed: 2, config: { num_hidden_layers: 1 } }),
  ];
  [model, draft] = [await open(tiny.folder, { threads: 1 }), await open(other.folder, { threads: 1 })];
});
afterAll(async () => {
  await model.close();
  await draft.close();
  await removeModel(tiny);
  await removeModel(other);
});
const named = (one: Model, use = tokenizer) => ({ ...one, tokenizer: use });

test.each([1, 0.5])(
  "acceptance, agreement and divergence are sums over an independent forward pass: temperature %d",
  async (temperature) => {
    const texts = ["abcdefgh ij", "klm", "the cat"];
    let [minima, same, kl, positions] = [0, 0, 0, 0];
    for (const text of texts) {
      const tokens = [0, ...tokenizer.encode(text)].slice(0, -1);
      const [rows, others] = [tiny.logits(tokens), other.logits(tokens)];
      rows.forEach((row, i) => {
        const [p, q] = [row, others[i]].map((logits) => [...logSoftmax(logits.map((x) => x / temperature))]);
        minima += p.reduce((sum, x, k) => sum + Math.min(Math.exp(x), Math.exp(q[k])), 0);
        kl += p.reduce((sum, x, k) => sum + Math.exp(x) * (x - q[k]), 0);
        same += p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q)) ? 1 : 0;
        positions++;
      });
    }
    const found = await measureDraft(named(model), named(draft), texts, { temperature });
    expect([found.documents, found.positions]).toEqual([3, positions]);
    expect(found.acceptance.value).toBeCloseTo(minima / positions, 4);
    expect(found.divergence.value).toBeCloseTo(kl / positions, 4);
    expect(found.agreement.value).toBeCloseTo(same / positions, 9);
    const [low, high] = found.acceptance.interval;
    expect(low <= found.acceptance.value && found.acceptance.value <= high).toBe(true);
  },
);

test("a model foresees itself; another tokenizer and no text are refused", async () => {
  const { acceptance, agreement, divergence } = await measureDraft(named(model), named(model), ["abc"]);
  expect(acceptance.value).toBeCloseTo(1, 6);
  expect([agreement.value, divergence.value]).toEqual([1, 0]);
  const foreign = named(draft, { ...tokenizer, fingerprint: "words" });
  await expect(measureDraft(named(model), foreign, ["abc"])).rejects.toThrow("another tokenizer");
  await expect(measureDraft(named(model), named(draft), [""])).rejects.toThrow("nothing to predict");
});

test("two given distributions; equal maxima are the first's", () => {
  const logs = (p: number[]) => Float32Array.from(p, Math.log);
  const found = compareRows(logs([0.5, 0.3, 0.2]), logs([0.25, 0.25, 0.5]), 1);
  expect(found.overlap).toBeCloseTo(0.7, 6);
  expect(found.agrees).toBe(false);
  expect(found.divergence).toBeCloseTo(0.5 * Math.log(2) + 0.3 * Math.log(1.2) + 0.2 * Math.log(0.4), 6);
  expect(compareRows(Float32Array.of(1, 1, 0), Float32Array.of(2, 0, 2), 1).agrees).toBe(true);
});

test("work of a token: every matrix once, rows that are looked up not at all", () => {
  const shape = {
    vocab_size: 10,
    hidden_size: 4,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    intermediate_size: 6,
    max_position_embeddings: 8,
  };
  const layer = 4 * 4 + 2 * (2 * 4) + 4 * 4 + 3 * 4 * 6;
  for (const tied of [true, false]) {
    const { config } = familyOf({ architectures: ["LlamaForCausalLM"], ...shape, tie_word_embeddings: tied });
    expect(workPerToken(config)).toBe(2 * layer + 10 * 4);
  }
});
