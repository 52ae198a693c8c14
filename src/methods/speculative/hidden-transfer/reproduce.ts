/** Hidden transfer's claims: identity, tokens a pass, guesses against Medusa heads', what a step sees of the one before it, likeness with depth. */
import { methodChoice } from "../../../calls.ts";
import { argmax } from "../../../engine/distribution.ts";
import type { Extension, ForestNode } from "../../../engine/forest.ts";
import { leaseSites } from "../../../engine/sites/request.ts";
import { defineReproduction, type Json, type Model } from "../../../papers/reproduction.ts";
import { mean, meanOf } from "../../../papers/statistics.ts";
import { foresightOf, guessAccuracy } from "../accuracy.ts";
import { besideGreedy, rankCorrelation, storyData, storyPrompts } from "../measuring.ts";
import { openTransfers } from "./index.ts";
import { siteAfter } from "./training.ts";

const positions = 16;

/** The second step's accuracy, its row seeing the first step's or not; and, by layer, how alike its states are to the real ones. */
async function lookInside(model: Model, text: readonly number[]) {
  const { rows, layers } = await openTransfers(model, "hidden-transfer");
  const depth = model.config.layers;
  const above = Array.from({ length: depth - layers[0] }, (_, i) => siteAfter(layers[0] + 1 + i));
  const lease = model.forest.lease(leaseSites(model.sites(), [...new Set([...layers.map(siteAfter), ...above])]));
  try {
    const start = text.length - positions - 2;
    const { node } = await lease.prefill(text.slice(0, start));
    const extensions: Extension[] = text
      .slice(start)
      .map((token, i) => ({ parent: i === 0 ? node : i - 1, token }) satisfies Extension);
    const places: [first: number, second: number, blind: number][] = [];
    for (let at = 0; at < positions; at++) {
      const first = extensions.push({ parent: at, token: 0, ahead: rows[0] }) - 1;
      const second = extensions.push({ parent: first, token: 0, ahead: rows[1] }) - 1;
      // At the same position, made of the same state, below the text itself.
      const [applied] = rows[1].edits!;
      const alone = {
        ...applied,
        inputs: (row: Parameters<NonNullable<typeof applied.inputs>>[0]) => ({
          source: [row.placeOf(row.node!.parent!)!],
          known: [0],
          state: new Float32Array(model.config.hiddenSize),
        }),
      };
      const position = start + at + 2;
      places.push([first, second, extensions.push({ parent: at, token: 0, ahead: { position, edits: [alone] } }) - 1]);
    }
    const made = await lease.extend(extensions);
    const hits = [0, 0];
    const likeness = above.map(() => 0);
    for (const [at, [first, second, blind]] of places.entries()) {
      const choice = argmax(made[at + 2].logits!);
      if (argmax(made[second].logits!) === choice) hits[0] += 1 / positions;
      if (argmax(made[blind].logits!) === choice) hits[1] += 1 / positions;
      for (const [i, site] of above.entries()) {
        likeness[i] += cosine(made[first].taps![site], (made[at + 1] as ForestNode).taps![site]) / positions;
      }
    }
    return { seeing: hits[0], blind: hits[1], likeness };
  } finally {
    lease.close();
  }
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [product, first, second] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    product += a[i] * b[i];
    first += a[i] * a[i];
    second += b[i] * b[i];
  }
  return product / Math.sqrt(first * second || 1);
}

interface Row {
  readonly same: number;
  readonly tokensPerPass: number;
  readonly transferred: number[];
  readonly heads: number[];
  readonly seeing: number;
  readonly blind: number;
  readonly likeness: number[];
}

export const reproduction = defineReproduction({
  sizes: {
    tiny: { prompts: 2, promptTokens: 32, tokens: 24 },
    quick: { prompts: 12, promptTokens: 96, tokens: 64 },
    full: { prompts: 60, promptTokens: 128, tokens: 128 },
  },
  steps: ({ prompts }) => prompts,
  data: () => storyData,
  async measure(context, { prompts: count, promptTokens, tokens }) {
    const { open, step, signal, seed } = context;
    const model = await open("knossos");
    const prompts = await storyPrompts(context, model, count, promptTokens);
    const method = methodChoice({ name: "hidden-transfer", budget: 32 });
    const rows: Row[] = [];
    for (const [i, prompt] of prompts.entries()) {
      const row = await step(`prompt ${i + 1}`, async () => {
        const beside = await besideGreedy(model, prompt, { seed, request: i, maxTokens: tokens, signal, method });
        const accuracy = async (name: string) => guessAccuracy(model, await foresightOf(model, name), prompt);
        return {
          ...beside,
          transferred: await accuracy("hidden-transfer"),
          heads: await accuracy("medusa"),
          ...(await lookInside(model, prompt)),
        } as unknown as Json;
      });
      rows.push(row as unknown as Row);
    }
    const layers = rows[0].likeness.map((_, i) => mean(rows.map(({ likeness }) => likeness[i])));
    const levels = rows[0].transferred.map((_, level) => level);
    const share = (of: "transferred" | "heads") =>
      levels.map((level): [number, number] => [level + 2, mean(rows.map((row) => row[of][level]))]);
    return [
      { claim: "lossless", value: mean(rows.map(({ same }) => same)), count: rows.length },
      {
        claim: "tokens-a-pass",
        ...meanOf(
          rows.map(({ tokensPerPass }) => tokensPerPass),
          seed,
        ),
      },
      {
        claim: "against-medusa",
        ...meanOf(
          rows.map(({ transferred, heads }) => transferred[1] - heads[1]),
          seed,
        ),
        plot: {
          title: "Guesses that are the model's own choice",
          x: { label: "tokens ahead" },
          y: { label: "share" },
          series: [
            { name: "hidden transfer", points: share("transferred") },
            { name: "Medusa heads", points: share("heads") },
          ],
        },
      },
      {
        claim: "attention-matters",
        ...meanOf(
          rows.map(({ seeing, blind }) => seeing - blind),
          seed,
        ),
      },
      {
        claim: "similarity",
        value: rankCorrelation(layers.map((value, i): [number, number] => [i, value])),
        count: rows.length,
        details: { cosines: layers },
      },
    ];
  },
});
