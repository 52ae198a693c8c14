/** ADED's claims: speed without training, a small table, adaptation while serving, what proposing costs, its greedy identity. */
import { methodChoice } from "../../../calls.ts";
import { defineReproduction, type Measurement } from "../../../papers/reproduction.ts";
import { bootstrap, mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { relatedPassages, type Served, serve, storyData, storyPrompts } from "../measuring.ts";

/** As the authors' program has it: of the table alone, 24 paths, 64 nodes; its update and its credit for the last 16 tokens. */
const search = { name: "aded", paths: 24, budget: 64, pathLength: 4 } as const;
const published = { ...search, step: 0.04, forget: 0, window: 16 } as const;

/** Seconds of drafting over seconds of the target's passes, from the trace: a round is what lies between two verifications. */
function proposerShare({ events }: Served, passSeconds: number): number {
  const drafting = events.reduce((sum, event) => sum + (event.type === "draft" ? event.seconds : 0), 0);
  return drafting / Math.max(passSeconds, 1e-9);
}

export const reproduction = defineReproduction({
  sizes: {
    tiny: { prompts: 2, promptTokens: 24, tokens: 24, stream: 8, streamTokens: 16 },
    quick: { prompts: 8, promptTokens: 128, tokens: 96, stream: 48, streamTokens: 48 },
    full: { prompts: 40, promptTokens: 128, tokens: 128, stream: 160, streamTokens: 96 },
  },
  steps: ({ prompts }) => prompts + 3,
  data: () => storyData,
  async measure(context, { prompts: count, promptTokens, tokens, stream, streamTokens }): Promise<Measurement[]> {
    const { open, step, signal, seed } = context;
    const model = await open("knossos");
    const prompts = await storyPrompts(context, model, count, promptTokens);
    const rows: {
      speed: number;
      plain: number;
      perPass: number;
      lookup: number;
      table: number;
      cost: number;
      same: number;
    }[] = [];
    for (const [i, prompt] of prompts.entries()) {
      rows.push(
        await step(`prompt ${i + 1}`, async () => {
          const request = { temperature: 0, maxTokens: tokens, signal };
          const ours = { name: "aded", isolate: true };
          if (i === 0) await serve(model, prompt, { ...request, method: methodChoice(ours) }); // pass times are measured when first needed
          const before = model.forest.counters.secondsInPasses;
          const aded = await serve(model, prompt, { ...request, method: methodChoice(ours) });
          const inPasses = model.forest.counters.secondsInPasses - before;
          const plain = await serve(model, prompt, { ...request, method: "greedy" });
          const lookup = await serve(model, prompt, { ...request, method: "prompt-lookup" });
          const table = await serve(model, prompt, { ...request, method: { ...published, isolate: true } });
          const text = plain.tokens.join();
          return {
            speed: aded.tokensPerSecond,
            plain: plain.tokensPerSecond,
            perPass: aded.tokensPerPass,
            lookup: lookup.tokensPerPass,
            table: table.tokensPerPass,
            cost: proposerShare(aded, inPasses),
            same: aded.tokens.join() === text && table.tokens.join() === text ? 1 : 0,
          };
        }),
      );
    }

    // A stream of related requests, served one after the other with one table. The fixed one comes first: it leaves the table as it was.
    const texts = await relatedPassages(context, model, stream, promptTokens);
    const perPass: Record<string, number[]> = {};
    const sides = { fixed: { ...search, step: 0 }, learning: published, empty: { ...published, table: "empty" } };
    for (const [side, method] of Object.entries(sides)) {
      perPass[side] = await step(`stream, ${side}`, async ({ progress }) => {
        const served: number[] = [];
        for (const [i, text] of texts.entries()) {
          progress(i / texts.length);
          served.push(
            (await serve(model, text, { temperature: 0, maxTokens: streamTokens, signal, method })).tokensPerPass,
          );
        }
        return served;
      });
    }
    const quarter = Math.max(1, Math.floor(texts.length / 4));
    const [first, last] = [perPass.empty.slice(0, quarter), perPass.empty.slice(-quarter)];
    return [
      {
        claim: "speed",
        ...ratioOf(
          rows.map(({ speed, plain }) => [speed, plain] as const),
          seed,
        ),
      },
      {
        claim: "small-table",
        ...meanOf(
          rows.map(({ table }) => table),
          seed,
        ),
      },
      {
        claim: "adapts",
        ...bootstrap(
          first.map((value, i) => [value, last[i]] as const),
          (sample) => mean(sample.map(([a, b]) => b - a)),
          seed,
        ),
        plot: {
          title: "ADED: tokens a pass over the requests served",
          x: { label: "requests served" },
          y: { label: "tokens a target pass" },
          series: Object.entries({
            "from an empty table": "empty",
            "shipped table, learning": "learning",
            "shipped table, fixed": "fixed",
          }).map(([name, side]) => ({ name, points: windows(perPass[side], 8) })),
        },
      },
      {
        claim: "update-matters",
        ...meanOf(
          perPass.learning.map((value, i) => value - perPass.fixed[i]),
          seed,
        ),
      },
      {
        claim: "against-lookup",
        ...ratioOf(
          rows.map(({ perPass, lookup }) => [perPass, lookup] as const),
          seed,
        ),
      },
      {
        claim: "proposer-cost",
        ...meanOf(
          rows.map(({ cost }) => cost),
          seed,
        ),
      },
      { claim: "lossless", value: mean(rows.map(({ same }) => same)), count: rows.length },
    ];
  },
});

/** Means of so many stretches, each at the request where it ends. */
function windows(values: readonly number[], count: number): [number, number][] {
  const width = Math.max(1, Math.floor(values.length / count));
  return Array.from({ length: Math.floor(values.length / width) }, (_, i): [number, number] => [
    (i + 1) * width,
    mean(values.slice(i * width, (i + 1) * width)),
  ]);
}
