/** What AWRS claims: unbiased weights, few checks, particles that follow the posterior where masks do not, speed with a slow checker. */
import { choicesConstraint } from "../../../constraints/regex/index.ts";
import { defineReproduction, type Json, type Model } from "../../../papers/reproduction.ts";
import { ratioOf } from "../../../papers/statistics.ts";
import { skillItem, skills } from "../../../training/skills/index.ts";
import { enumerateOutcomes } from "../../speculative/enumerate.ts";
import { drawLocally, type Estimator } from "../local.ts";
import { smc } from "../smc/index.ts";
import { runToy, type Toy } from "../toy.ts";
import { awrs } from "./index.ts";

const laws: readonly { law: readonly number[]; valid: readonly number[] }[] = [
  { law: [0.9, 0.02, 0.02, 0.02, 0.02, 0.02], valid: [0] },
  { law: [0.9, 0.02, 0.02, 0.02, 0.02, 0.02], valid: [1, 2, 3, 4, 5] },
  { law: [0.2, 0.2, 0.2, 0.2, 0.2], valid: [0, 1] },
  { law: [0.5, 0.3, 0.1, 0.1], valid: [0, 2] },
  { law: [0.35, 0.3, 0.2, 0.1, 0.05], valid: [4] },
];
const exact: readonly Estimator[] = ["adaptive", "recursive", "masking"];

/** Largest difference between E[w 1{token}] and the valid mass of the token, over every outcome of every draw. */
export async function largestBias(): Promise<number> {
  let worst = 0;
  for (const { law, valid } of laws) {
    const p = Float64Array.from(law);
    for (const estimator of exact) {
      const mean = new Float64Array(p.length);
      const outcomes = enumerateOutcomes((draws) =>
        drawLocally(
          {
            law: p,
            pick(_, weights) {
              const total = weights.reduce((a, b) => a + b, 0);
              return total > 1e-12 ? draws.choose("draft", weights, total) : -1;
            },
            geometric: () => 1,
          },
          (token) => valid.includes(token),
          { estimator, loops: 2, maxRejects: Number.MAX_SAFE_INTEGER },
        ),
      );
      for await (const { probability, result } of outcomes) {
        if (result.token >= 0) mean[result.token] += probability * result.weight;
      }
      mean.forEach((mass, token) => {
        worst = Math.max(worst, Math.abs(mass - (valid.includes(token) ? p[token] : 0)));
      });
    }
  }
  return worst;
}

/** "a" and "b" are equally likely; the one valid continuation of "a" has 1 %, that of "b" 99 %. */
const deadEnd: Toy = {
  letters: ["a", "b", "x", "y"],
  law(prefix) {
    if (prefix === "") return [0, 0.5, 0.5, 0, 0];
    if (prefix.length > 1) return [1, 0, 0, 0, 0];
    return prefix === "a" ? [0, 0, 0, 0.01, 0.99] : [0, 0, 0, 0.99, 0.01];
  },
  constraint: choicesConstraint(["ax", "bx"]),
  maxTokens: 4,
};

export const jsonSchema = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 20 },
    age: { type: "integer", minimum: 0, maximum: 120 },
    friends: { type: "array", items: { type: "string", maxLength: 12 }, maxItems: 3 },
  },
  required: ["name", "age"],
  additionalProperties: false,
};
export const opening =
  'A card about a girl, as JSON: {"name": "Lily", "age": 7, "friends": ["Tom"]}\nA card about a boy, as JSON: ';

/** A checker that reads the whole text again each time, as a user's own function would. */
const slowChecker = (text: string): boolean | "never" => {
  if (!/^[A-Za-z ,.!?'"]*$/.test(text) || text.length > 400) return "never";
  return text.endsWith(".") && text.length > 20;
};

const writesJson = skills.find(({ name }) => name === "json")!;
type Prompt = Parameters<Model["decode"]>[0];

export const reproduction = defineReproduction({
  sizes: {
    tiny: { seeds: 60, texts: 1, tokens: 24 },
    quick: { seeds: 600, texts: 6, tokens: 80 },
    full: { seeds: 4_000, texts: 40, tokens: 120 },
  },
  steps: ({ texts }) => 2 + texts,
  async measure({ open, step, seed, signal }, { seeds, texts, tokens }) {
    const bias = await step("weights enumerated", largestBias);
    const toy = (await step("dead-end toy", async ({ progress }) => {
      const shares: [number, number][] = [];
      for (let i = 0; i < seeds; i++) {
        progress(i / seeds);
        const particles = await runToy(smc, smc.options.parse({ particles: 64, threshold: 0 }), deadEnd, seed + i);
        const masked = await runToy(awrs, awrs.options.parse({ estimator: "improper" }), deadEnd, seed + i);
        shares.push([particles.posterior.get("ax") ?? 0, masked.text === "ax" ? 1 : 0]);
      }
      return shares as unknown as Json;
    })) as unknown as [number, number][];
    const share = toy.reduce((sum, [ours]) => sum + ours, 0) / seeds;
    // Two texts: the distance in total variation is that of one share. Blocks of runs make it a mean over units.
    const block = Math.max(1, Math.floor(seeds / 20));
    const distances = Array.from({ length: Math.floor(seeds / block) }, (_, b): [number, number] => {
      const some = toy.slice(b * block, (b + 1) * block);
      const off = (pick: 0 | 1): number => Math.abs(some.reduce((sum, one) => sum + one[pick], 0) / some.length - 0.01);
      return [off(0), off(1)];
    });

    const model = await open("knossos");
    const clerk = await open("phaistos");
    const ratios = (found: readonly [number, number][]): number =>
      found.reduce((sum, [all]) => sum + all, 0) / found.reduce((sum, [, asked]) => sum + asked, 0);
    const checks: [number, number][] = [];
    const unlearned: [number, number][] = [];
    const speeds: [number, number][] = [];
    for (let i = 0; i < texts; i++) {
      const [known, unknown, ours, masking] = await step(`texts, number ${i + 1}`, async () => {
        const request = { seed, request: i, maxTokens: tokens, signal };
        const counted = async (by: Model, prompt: Prompt, schema: unknown): Promise<[number, number]> => {
          const json = { ...request, constraint: { jsonSchema: schema }, method: "awrs" } as const;
          const { counters } = await by.decode(prompt, json).final;
          return [counters.generated * by.config.vocabularySize, counters.constraintChecks];
        };
        const { prompt, facts } = skillItem(writesJson, "test", seed, i);
        const slow = { ...request, maxTokens: Math.min(24, tokens), constraint: slowChecker };
        const seconds = async (method: object): Promise<number> => {
          const { seconds, counters } = await model.decode("Once upon a time, ", { ...slow, method } as never).final;
          return seconds.decode / Math.max(1, counters.generated);
        };
        const drawn = await seconds({ name: "awrs", estimator: "improper" });
        return [
          await counted(clerk, [{ role: "user", content: prompt }], facts.schema),
          await counted(model, opening, jsonSchema),
          drawn,
          await seconds({ name: "sample" }),
        ];
      });
      checks.push(known);
      unlearned.push(unknown);
      speeds.push([masking, ours]);
    }
    return [
      { claim: "unbiased", value: bias, count: laws.length * exact.length },
      {
        claim: "checks",
        ...ratioOf(checks, seed),
        note: `at temperature 1; knossos, which does not know JSON: ${ratios(unlearned).toFixed(1)}×`,
      },
      { claim: "posterior", ...ratioOf(distances, seed) },
      { claim: "dead-end", value: share, count: seeds },
      { claim: "speed", ...ratioOf(speeds, seed) },
    ];
  },
});
