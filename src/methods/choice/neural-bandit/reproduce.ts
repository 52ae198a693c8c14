/** The paper's claims on synthetic losses with known best arms and on public classification sets, with the ablation that its reviewers asked for. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { defineReproduction, type Json, type Measurement } from "../../../papers/reproduction.ts";
import { mean, ratioOf } from "../../../papers/statistics.ts";
import { createPolicyByName } from "../index.ts";
import { classificationTask, cosineTask, type Play, playInTurns, readTable, type Task } from "../tasks.ts";

type Options = Readonly<Record<string, unknown>>;

/** What is played on the synthetic tasks, by name; the four ablations cross perturbation with loss. */
const contestants: Readonly<Record<string, readonly [policy: string, options: Options]>> = {
  Uniform: ["Uniform", {}],
  LinUCB: ["LinUCB", {}],
  NeuSquareCB: ["NeuSquareCB", { hidden: 64, members: 3 }],
  NeuFastCB: ["NeuFastCB", { hidden: 64, members: 3 }],
  "NeuSquareCB, not perturbed": ["NeuSquareCB", { hidden: 64, perturbation: "none" }],
  "NeuFastCB, not perturbed": ["NeuFastCB", { hidden: 64, perturbation: "none" }],
};
const neuralBaselines: typeof contestants = {
  NeuralUCB: ["NeuralUCB", {}],
  NeuralTS: ["NeuralTS", {}],
};

/** Rates tried on the first seed of a set for each policy; the best is played on the others, as the paper tunes by grid search. */
const rates = [0.1, 0.03, 0.01] as const;
/** Tables of the folder bandit-sets. */
export const publicSets = [
  "mushroom.csv.gz",
  "magic-telescope.csv.gz",
  "covertype-sample.csv.gz",
  "adult.csv.gz",
  "banknote.csv",
  "wine-quality-white.csv",
];

const playOne = (
  [name, options]: readonly [string, Options],
  task: Task,
  seed: number,
  rounds: number,
  signal: AbortSignal,
): Promise<Play> => {
  const own = name === "LinUCB" || name === "Uniform" ? { seed } : { ...options, seed };
  return playInTurns(createPolicyByName(name, { width: task.width, ...own }), task, rounds, signal);
};

export const reproduction = defineReproduction({
  sizes: {
    tiny: { seeds: 2, rounds: 300, sets: 0, setSeeds: 0, setRounds: 0 },
    quick: { seeds: 4, rounds: 4000, sets: 2, setSeeds: 2, setRounds: 2000 },
    full: { seeds: 10, rounds: 4000, sets: 6, setSeeds: 5, setRounds: 10_000 },
  },
  steps: ({ seeds, sets: count, setSeeds }) => 3 * seeds + count * setSeeds,
  data: ({ sets: count }) => publicSets.slice(0, count).map((file) => `bandit-sets/${file}`),
  async measure({ step, signal, data }, { seeds, rounds, sets: setCount, setSeeds, setRounds }) {
    const tasks = {
      cosine: (seed: number) => cosineTask({ seed }),
      low: (seed: number) => cosineTask({ seed, lowLoss: true }),
      turning: (seed: number) => cosineTask({ seed, switchEvery: Math.ceil(rounds / 8) }),
    };
    const played: Record<string, Record<string, { regret: number; curve: [number, number][] }>[]> = {};
    for (const [kind, make] of Object.entries(tasks)) {
      played[kind] = [];
      for (let seed = 1; seed <= seeds; seed++) {
        played[kind].push(
          await step(`${kind}, seed ${seed}`, async ({ progress }) => {
            const entries = Object.entries(kind === "turning" ? { ...contestants, ...neuralBaselines } : contestants);
            const results: (typeof played)[string][number] = {};
            for (const [i, [name, contestant]] of entries.entries()) {
              const { regret, curve } = await playOne(contestant, make(seed), seed, rounds, signal);
              results[name] = { regret, curve: seed === 1 ? curve.map(([x, y]): [number, number] => [x, y]) : [] };
              progress((i + 1) / entries.length);
            }
            return results;
          }),
        );
      }
    }
    const over = (kind: string, one: string, other: string) =>
      ratioOf(played[kind].map((row) => [row[one].regret, row[other].regret] as const));
    const means = (kind: string): Json =>
      Object.fromEntries(
        Object.keys(played[kind][0]).map((name) => [name, mean(played[kind].map((row) => row[name].regret))]),
      );
    const measurements: Measurement[] = [
      {
        claim: "square",
        ...over("cosine", "NeuSquareCB", "Uniform"),
        details: { "mean regret": means("cosine"), "mean regret on a stream that turns round": means("turning") },
        plot: {
          title: "Regret on cosine losses, first seed",
          x: { label: "rounds" },
          y: { label: "regret" },
          series: Object.entries(played.cosine[0])
            .filter(([name]) => !name.includes("not perturbed"))
            .map(([name, { curve }]) => ({ name, points: curve })),
        },
      },
      { claim: "entropy", ...over("cosine", "NeuFastCB", "Uniform") },
      { claim: "small-loss", ...over("low", "NeuFastCB", "NeuSquareCB"), details: { "mean regret": means("low") } },
    ];
    if (setCount === 0) return measurements;

    const pairs: [number, number][] = [];
    const details: Record<string, Json> = {};
    for (const file of publicSets.slice(0, setCount)) {
      const rows: Record<string, number>[] = [];
      let best: Record<string, number> | undefined;
      for (let seed = 1; seed <= setSeeds; seed++) {
        const { regrets, chosen } = await step(`${file}, seed ${seed}`, async ({ progress }) => {
          const bytes = readFileSync(data("bandit-sets", file));
          const table = readTable(file, (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8"));
          return playSet(classificationTask(table, seed), seed, best, progress);
        });
        best = chosen;
        rows.push(regrets);
      }
      const name = file.replace(/\.csv.*/, "");
      const average = Object.fromEntries(
        Object.keys(rows[0]).map((policy) => [policy, mean(rows.map((row) => row[policy]))]),
      );
      details[name] = average;
      pairs.push([Math.max(average.NeuSquareCB, average.NeuFastCB), Math.min(average.NeuralUCB, average.NeuralTS)]);
    }
    measurements.push({
      claim: "against-neural-ucb",
      ...ratioOf(pairs),
      note: "the worse of our two over the better of NeuralUCB and NeuralTS, mean over the sets",
      details,
    });
    return measurements;

    async function playSet(
      task: Task,
      seed: number,
      best: Record<string, number> | undefined,
      progress: (share: number) => void,
    ) {
      const names = ["NeuSquareCB", "NeuFastCB", "NeuralUCB", "NeuralTS", "NeuralEpsilonGreedy", "LinUCB"];
      const regrets: Record<string, number> = {};
      const chosen: Record<string, number> = {};
      for (const [i, name] of names.entries()) {
        const tried = name === "LinUCB" ? [0] : best ? [best[name]] : rates;
        const results: number[] = [];
        for (const rate of tried) results.push((await playOne([name, { rate }], task, seed, setRounds, signal)).regret);
        regrets[name] = Math.min(...results);
        chosen[name] = tried[results.indexOf(regrets[name])];
        progress((i + 1) / names.length);
      }
      return { regrets, chosen };
    }
  },
  /** Five arms whose contexts stay; half way the losses turn round, and the policy finds out. */
  async trace(signal) {
    const rounds = 160;
    const task = cosineTask({ arms: 5, seed: 4 });
    const { contexts, means } = task.round(0);
    const policy = createPolicyByName("NeuSquareCB", { width: task.width, hidden: 64, members: 3, rate: 0.1, seed: 1 });
    return Array.from({ length: rounds }, (_, i) => {
      signal.throwIfAborted();
      const { round, arm, probabilities, predictions } = policy.choose(contexts);
      policy.learn(round, i < rounds / 2 ? means[arm] : 1 - means[arm]);
      return {
        type: "choice" as const,
        arms: contexts.map((_, k) => `arm ${k + 1}`),
        predicted: predictions.map(rounded),
        probabilities: probabilities.map(rounded),
        chosen: arm,
      };
    });
  },
});

const rounded = (value: number): number => Math.round(value * 1e4) / 1e4;
