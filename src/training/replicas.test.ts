import { beforeAll, expect, test } from "vitest";
import { ensureBuilt } from "../../test/build.ts";
import { familyOf } from "../models/families.ts";
import { nextTokenObjective } from "./next-token.ts";
import type { TokenBatch } from "./objective.ts";
import { initialValues } from "./recipe.ts";
import { replicatedObjective } from "./replicas.ts";

// The threads run the built package.
beforeAll(ensureBuilt);

const { family, config } = familyOf({
  architectures: ["LlamaForCausalLM"],
  vocab_size: 50,
  hidden_size: 18, // not a multiple of four, as gradients are summed four at a time
  num_hidden_layers: 2,
  num_attention_heads: 3,
  num_key_value_heads: 1,
  intermediate_size: 24,
  max_position_embeddings: 64,
});
const [rows, length] = [6, 12];
const batch = (seed: number): TokenBatch => ({
  tokens: Int32Array.from({ length: rows * (length + 1) }, (_, i) => (i * i * seed + 3 * i) % 50),
  rows,
  length,
});

test.each([
  { threads: 2, what: "two threads" },
  { threads: 4, what: "as many threads as divide the rows" },
])("replicas give the loss and gradient of one model on the whole batch: $what", async ({ threads }) => {
  const values = initialValues(family, config, 3);
  const teacher = { share: 0.5, config, values: initialValues(family, config, 4) };
  const whole = await nextTokenObjective(family, config, values, { rows, length, threads: 1, teacher });
  const shared = await replicatedObjective(config, values, { rows, length, threads, teacher });
  for (const seed of [5, 7]) {
    const wanted = await whole.gradients(batch(seed));
    const found = await shared.gradients(batch(seed));
    expect(Math.abs(found.loss - wanted.loss)).toBeLessThan(1e-6);
    expect(Math.abs((await shared.loss(batch(seed))) - (await whole.loss(batch(seed))))).toBeLessThan(1e-6);
    for (const [i, gradient] of found.gradients.entries()) {
      gradient.forEach((x, k) => {
        expect(Math.abs(x - wanted.gradients[i][k]), whole.parameters[i].name).toBeLessThan(1e-6);
      });
    }
    // The optimiser changes this thread's parameters; the others must see it.
    for (const { values: stored } of shared.parameters) for (let k = 0; k < stored.length; k++) stored[k] *= 0.9;
  }
  await whole.release();
  await shared.release();
});

test("a thread's failure is the step's, and the next step works", async () => {
  const shared = await replicatedObjective(config, initialValues(family, config, 3), { rows, length, threads: 2 });
  const wrong = batch(5);
  wrong.tokens[wrong.tokens.length - 3] = 50; // in the second thread's rows: outside the vocabulary
  await expect(shared.gradients(wrong)).rejects.toMatchObject({ name: "VentrisError", code: "runtime_failed" });
  expect((await shared.gradients(batch(5))).loss).toBeGreaterThan(0);
  await shared.release();
});
