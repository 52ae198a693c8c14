/** Methods on tiny random checkpoints of the newer families: what is lossless says what plain decoding says, alone, in batches, under edits and by seed. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type MethodChoice, methodChoice } from "../src/calls.ts";
import { type DecodeOptions, type Model, open } from "../src/index.ts";
import { families } from "./fixtures/families.ts";
import { type Json, removeModel, type TinyModel, writeTinyModel } from "./fixtures/tiny-model.ts";

const prompts = ["the cat and the hat. the c", "a", "12345 and 12345 and 123"];
const chosen = ["granite", "olmo2", "smollm3", "qwen3 with YaRN", "pythia", "phi3", "gemma", "gemma2", "gemma3"];

let draft: TinyModel;
beforeAll(async () => {
  draft = await writeTinyModel({ tokenizer: true, config: { num_hidden_layers: 1, intermediate_size: 32 } });
});
afterAll(() => removeModel(draft));

describe.each(chosen)("%s", (family) => {
  let tiny: TinyModel;
  let model: Model;
  beforeAll(async () => {
    tiny = await writeTinyModel({ tokenizer: true, config: families[family] as Json });
    model = await open(tiny.folder, { threads: 1 });
  });
  afterAll(async () => {
    await model.close();
    await removeModel(tiny);
  });
  const methods = (): readonly MethodChoice[] =>
    [
      // The draft's tokenizer is not pythia's.
      ...(family === "pythia" ? [] : drafted()),
      { name: "prompt-lookup", length: 4 },
      { name: "aded", table: "empty" },
    ].map(methodChoice);
  const drafted = () => [
    { name: "chain", draft: draft.folder, length: 3 },
    { name: "dyspec", draft: draft.folder, budget: 8 },
  ];
  const tokensOf = async (prompt: string, options: DecodeOptions): Promise<readonly number[]> =>
    (await model.decode(prompt, { maxTokens: 10, ...options }).final).tokens;
  const edits = [{ site: "layers.0.residual", entries: [0, 1, 2, 3, 4, 5, 6, 7], set: [9, -9, 9, -9, 5, -5, 7, -7] }];

  it("lossless methods say what plain decoding says: greedy, by seed, under an edit, all in one batch", async () => {
    const settings: readonly DecodeOptions[] = [
      { temperature: 0, frequencyPenalty: 2 },
      { temperature: 8, seed: 5 },
      { temperature: 8, seed: 5, edits },
    ];
    const wanted: (readonly number[])[][] = [];
    for (const one of settings) {
      const alone: (readonly number[])[] = [];
      for (const prompt of prompts) alone.push(await tokensOf(prompt, one));
      wanted.push(alone);
    }
    // A seed is a text of its own, and the edit is at work.
    expect(await tokensOf(prompts[0], { ...settings[1], seed: 6 })).not.toEqual(wanted[1][0]);
    expect(wanted[2]).not.toEqual(wanted[1]);
    await Promise.all(
      methods().flatMap((method) =>
        settings.flatMap((one, i) =>
          prompts.map(async (prompt, j) => expect(await tokensOf(prompt, { ...one, method })).toEqual(wanted[i][j])),
        ),
      ),
    );
    expect(model.forest.held).toBe(0);
  });
});
