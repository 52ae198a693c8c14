/** Parallel prompt decoding's claims: tokens a pass, what training is worth, what the trees' chain foretells, identity, speed. */
import { join } from "node:path";
import { methodChoice } from "../../../calls.ts";
import { normal } from "../../../engine/random.ts";
import { defineReproduction, type Json } from "../../../papers/reproduction.ts";
import { mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { type BesideGreedy, besideGreedy, serve, storyData, storyPrompts } from "../measuring.ts";

const budget = 32;
const published = (more: object = {}) => methodChoice({ name: "prompt-tokens", tree: "published", budget, ...more });

export const reproduction = defineReproduction({
  sizes: {
    tiny: { prompts: 2, promptTokens: 24, tokens: 24 },
    quick: { prompts: 8, promptTokens: 96, tokens: 64 },
    full: { prompts: 40, promptTokens: 128, tokens: 128 },
  },
  steps: ({ prompts }) => prompts,
  data: () => storyData,
  async measure(context, { prompts: count, promptTokens, tokens }) {
    const { open, step, signal, seed } = context;
    const model = await open("knossos");
    const prompts = await storyPrompts(context, model, count, promptTokens);
    const part = await model.part("prompt-tokens", "prompt-tokens");
    const { shape, values } = part.tensors.get("vectors")!;
    // As large as the trained ones, and of no use.
    const scale = Math.sqrt(mean(Array.from(values, (x) => x * x)));
    const random = values.map((_, i) => scale * normal({ seed, request: 0 }, i, "initialise"));

    type Row = BesideGreedy & { random: number; expected: number; own: number; free: BesideGreedy };
    const rows: Row[] = [];
    for (const [i, prompt] of prompts.entries()) {
      const row = await step(`prompt ${i + 1}`, async ({ folder }) => {
        const request = { seed, request: i, maxTokens: tokens, signal };
        const path = join(folder, "random");
        await model.writePart(path, {
          kind: "prompt-tokens",
          settings: part.card.settings,
          sites: part.card.sites,
          tensors: new Map([["vectors", { shape, values: random }]]),
        });
        if (i === 0) await serve(model, prompt, { ...request, temperature: 0, method: methodChoice("prompt-tokens") }); // measures once
        const trained = await besideGreedy(model, prompt, { ...request, method: published() });
        // What the accuracies were measured on: the model's own texts, from openings that it draws.
        const begin = [model.tokenizer!.beginToken ?? 0];
        const opening = await serve(model, begin, {
          seed: seed + 7,
          request: i,
          maxTokens: Math.min(48, tokens),
          temperature: 1,
          signal,
        });
        const own = await serve(model, [...begin, ...opening.tokens], {
          ...request,
          temperature: 0,
          method: published(),
        });
        const note = own.events.flatMap((event) => (event.type === "draft" ? (event.note ?? []) : []))[0] ?? "";
        return {
          ...trained,
          random: (await besideGreedy(model, prompt, { ...request, method: published({ prompts: path }) }))
            .tokensPerPass,
          expected: Number.parseFloat(note),
          own: own.tokensPerPass,
          free: await besideGreedy(model, prompt, { ...request, method: methodChoice("prompt-tokens") }),
        } as unknown as Json;
      });
      rows.push(row as unknown as Row);
    }
    const measured = meanOf(
      rows.map(({ tokensPerPass }) => tokensPerPass),
      seed,
    );
    const ownTexts = mean(rows.map(({ own }) => own));
    return [
      { claim: "tokens-a-pass", ...measured },
      {
        claim: "trained",
        ...ratioOf(
          rows.map((row): [number, number] => [row.tokensPerPass, row.random]),
          seed,
        ),
      },
      {
        claim: "expected",
        value: Math.abs(rows[0].expected / ownTexts - 1),
        count: rows.length,
        details: { expected: rows[0].expected, measured: ownTexts },
      },
      { claim: "parameters", value: (100 * values.length) / model.parameterCount, note: `${values.length} numbers` },
      { claim: "lossless", value: mean(rows.map(({ same, free }) => Math.min(same, free.same))), count: rows.length },
      {
        claim: "speed",
        ...ratioOf(
          rows.map(({ free }): [number, number] => [...free.speeds]),
          seed,
        ),
        note: "with what is worth its cost here",
      },
    ];
  },
});
