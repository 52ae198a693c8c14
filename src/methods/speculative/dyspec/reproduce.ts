/** DySpec's claims: its tree against the fixed ones at the same number of nodes, its hypothesis, its greedy identity, its speed. */
import { methodChoice } from "../../../calls.ts";
import { defineReproduction, type Json, type Measurement, type Model } from "../../../papers/reproduction.ts";
import { ratioOf } from "../../../papers/statistics.ts";
import { rankCorrelation, type Served, serve, storyData, storyPrompts } from "../measuring.ts";
import { childrenOf } from "../tree.ts";

const draft = "pylos";
const draftTemperature = 0.6;
/** SpecInfer's trees are given by their branches: the largest of the usual shapes within each budget. */
const branches: Readonly<Record<number, number[]>> = { 16: [2, 2, 1, 1], 32: [2, 2, 2, 1, 1], 64: [4, 2, 2, 1, 1, 1] };

const trees = ["dyspec", "chain", "sequoia", "spec-infer"] as const;
type Tree = (typeof trees)[number];

/** A method held to a number of drafted nodes and the published rule, and DySpec to the paper's own estimate. */
function atBudget(name: Tree, budget: number): { name: string } & Record<string, unknown> {
  const shared = { name, draft, draftTemperature, verification: "published" };
  if (name === "chain") return { ...shared, length: Math.min(budget, 64) };
  if (name === "spec-infer") return { ...shared, branches: branches[budget], budget };
  return { ...shared, budget, ...(name === "dyspec" && { estimate: "draft" }) };
}

/** First-drawn nodes that verification came to: what they were drawn with, and whether they were accepted. */
function triedNodes({ events }: Served): [probability: number, accepted: number][] {
  const tried: [number, number][] = [];
  for (const [i, event] of events.entries()) {
    const next = events[i + 1];
    if (event.type !== "draft" || !event.values || next?.type !== "verify") continue;
    const value = (node: number): number => (node === 0 ? 1 : event.values![node - 1]);
    const children = childrenOf({ tokens: event.tokens, parents: event.parents });
    for (const parent of [0, ...next.path]) {
      const [first] = children[parent];
      if (first !== undefined) tried.push([value(first) / value(parent), next.path.includes(first) ? 1 : 0]);
    }
  }
  return tried;
}

const bins = 10;

/** Share accepted by tenth of the draft's probability; empty bins left out. */
function calibrate(tried: readonly (readonly [number, number])[]): [number, number][] {
  return Array.from({ length: bins }, (_, bin): [number, number] => {
    const inside = tried.filter(([probability]) => Math.min(bins - 1, Math.floor(probability * bins)) === bin);
    return [(bin + 0.5) / bins, inside.reduce((sum, [, accepted]) => sum + accepted, 0) / inside.length];
  }).filter(([, share]) => !Number.isNaN(share));
}

async function samePlain(model: Model, prompt: readonly number[], tokens: number, budget: number): Promise<number> {
  const request = { temperature: 0, maxTokens: tokens };
  const plain = (await serve(model, prompt, { ...request, method: "greedy" })).tokens.join();
  for (const algorithm of ["heap", "threshold"]) {
    const method = methodChoice({ name: "dyspec", draft, budget, algorithm });
    if ((await serve(model, prompt, { ...request, method })).tokens.join() !== plain) return 0;
  }
  return 1;
}

type Row = Readonly<Record<Tree, number>>;

export const reproduction = defineReproduction({
  sizes: {
    tiny: { prompts: 2, promptTokens: 24, tokens: 24, budgets: [16], temperatures: [0, 0.6] },
    quick: { prompts: 8, promptTokens: 96, tokens: 64, budgets: [64], temperatures: [0, 0.6] },
    full: { prompts: 30, promptTokens: 128, tokens: 128, budgets: [16, 32, 64], temperatures: [0, 0.6] },
  },
  steps: ({ prompts }) => 2 * prompts,
  data: () => storyData,
  async measure(context, { prompts: count, promptTokens, tokens, budgets, temperatures }) {
    const { open, step, signal, seed } = context;
    const model = await open("knossos");
    const prompts = await storyPrompts(context, model, count, promptTokens);
    const rows: Record<string, Row[]> = {};
    const tried: [number, number][] = [];
    const same: number[] = [];
    const speeds: [number, number][] = [];

    for (const [i, prompt] of prompts.entries()) {
      const request = { seed, request: i, maxTokens: tokens, signal };
      const measured = await step(`trees, prompt ${i + 1}`, async ({ progress }) => {
        const result: { rows: Record<string, Row>; tried: [number, number][] } = { rows: {}, tried: [] };
        const settings = budgets.flatMap((budget) => temperatures.map((temperature) => ({ budget, temperature })));
        for (const [at, { budget, temperature }] of settings.entries()) {
          progress(at / settings.length);
          const row: Partial<Record<Tree, number>> = {};
          for (const name of trees) {
            const method = methodChoice(atBudget(name, budget));
            const served = await serve(model, prompt, { ...request, temperature, method });
            row[name] = served.tokensPerPass;
            if (name === "dyspec" && temperature > 0) result.tried.push(...triedNodes(served));
          }
          result.rows[`${budget} at ${temperature}`] = row as Row;
        }
        return result as unknown as Json;
      });
      const { rows: own, tried: more } = measured as unknown as {
        rows: Record<string, Row>;
        tried: [number, number][];
      };
      for (const [setting, row] of Object.entries(own)) {
        rows[setting] ??= [];
        rows[setting].push(row);
      }
      tried.push(...more);

      const [identical, ours, plain] = await step(`identity and speed, prompt ${i + 1}`, async () => {
        const identical = await samePlain(model, prompt, tokens, budgets.at(-1)!);
        const method = methodChoice({ name: "dyspec", draft });
        const sampled = { ...request, temperature: 0.6 };
        if (i === 0) await serve(model, prompt, { ...sampled, method }); // what is measured once a model is measured here
        const mine = (await serve(model, prompt, { ...sampled, method })).tokensPerSecond;
        return [identical, mine, (await serve(model, prompt, { ...sampled, method: "sample" })).tokensPerSecond];
      });
      same.push(identical);
      speeds.push([ours, plain]);
    }

    const largest = budgets.at(-1)!;
    const against = (claim: string, other: Tree, temperature: number): Measurement => {
      const pairs = rows[`${largest} at ${temperature}`].map((row): [number, number] => [row.dyspec, row[other]]);
      return {
        claim,
        ...ratioOf(pairs, seed),
        ...(budgets.length > 1 && {
          plot: {
            title: `DySpec over ${other}, temperature ${temperature}`,
            x: { label: "drafted nodes a round", scale: "log" },
            y: { label: "tokens a target pass, ratio" },
            series: [
              {
                name: `over ${other}`,
                points: budgets.map((budget) => {
                  const { value, interval } = ratioOf(
                    rows[`${budget} at ${temperature}`].map((row): [number, number] => [row.dyspec, row[other]]),
                    seed,
                  );
                  return interval ? ([budget, value, ...interval] as const) : ([budget, value] as const);
                }),
              },
            ],
          },
        }),
        details: Object.fromEntries(
          trees.map((name) => [name, pairs.length === 0 ? 0 : meanBy(rows[`${largest} at ${temperature}`], name)]),
        ),
      };
    };
    const curve = calibrate(tried);
    return [
      against("against-chain", "chain", 0),
      against("against-spec-infer", "spec-infer", 0.6),
      against("against-sequoia", "sequoia", 0.6),
      against("greedy-against-sequoia", "sequoia", 0),
      {
        claim: "calibration",
        value: rankCorrelation(curve),
        count: tried.length,
        plot: {
          title: "Accepted tokens by the draft's probability",
          x: { label: "draft probability" },
          y: { label: "share accepted" },
          series: [{ name: "first-drawn nodes", points: curve }],
        },
      },
      { claim: "lossless", value: same.reduce((a, b) => a + b, 0) / same.length, count: same.length },
      { claim: "speed", ...ratioOf(speeds, seed) },
    ];
  },
});

const meanBy = (rows: readonly Row[], name: Tree): number =>
  rows.reduce((sum, row) => sum + row[name], 0) / rows.length;
