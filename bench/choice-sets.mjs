/**
 * Regret of the bandits on synthetic losses with known best arms and on public tables (the classification reduction: a row is a context, a
 * class an arm, a wrong class costs 1), 10,000 rounds each. A row's value is the regret a round, mean over seeds, each of which draws losses,
 * or deals the table's rows, of its own; the note has the interval. Nothing is timed.
 */

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { gunzipSync } from "node:zlib";
import { reported } from "./harness/report.mjs";
import { ourBandits } from "./ours.mjs";
import { dataFile, dataMissing } from "./texts.mjs";

const { publicSets } = await ourBandits();

/** Each as it is without options, but for what its name says. @type {Readonly<Record<string, readonly [policy: string, options: object]>>} */
const contestants = {
  NeuSquareCB: ["NeuSquareCB", {}],
  "NeuSquareCB, not perturbed": ["NeuSquareCB", { perturbation: "none" }],
  NeuFastCB: ["NeuFastCB", {}],
  "NeuFastCB, not perturbed": ["NeuFastCB", { perturbation: "none" }],
  LinUCB: ["LinUCB", {}],
  LinearSquareCB: ["LinearSquareCB", {}],
  Uniform: ["Uniform", {}],
  NeuralUCB: ["NeuralUCB", {}],
  NeuralTS: ["NeuralTS", {}],
  NeuralEpsilonGreedy: ["NeuralEpsilonGreedy", {}],
  EENet: ["EENet", {}],
};
/** The single arm that would have cost least, known in hindsight: no policy has that. */
const bestArm = "best fixed arm in hindsight";

/** @typedef {import("../dist/methods/choice/index.js").Task} Task */

/** As long as each other, between the turns. */
const stretches = 8;

/** @type {Readonly<Record<string, (bandits: Awaited<ReturnType<typeof ourBandits>>, seed: number, rounds: number) => Task>>} */
const synthetic = {
  "cosine losses": ({ cosineTask }, seed) => cosineTask({ seed }),
  "cosine losses, the best arm's near 0": ({ cosineTask }, seed) => cosineTask({ seed, lowLoss: true }),
  [`cosine losses that turn round ${stretches - 1} times`]: ({ cosineTask }, seed, rounds) =>
    cosineTask({ seed, switchEvery: Math.ceil(rounds / stretches) }),
};

/** @type {Map<string, any>} tables by their files: each is read once */
const tables = new Map();

/** @param {string} file @param {Awaited<ReturnType<typeof ourBandits>>} bandits @param {number} seed @returns {Task} */
function taskOf(file, { classificationTask, readTable }, seed) {
  if (!tables.has(file)) {
    const bytes = readFileSync(dataFile(`bandit-sets/${file}`));
    tables.set(file, readTable(basename(file), (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8")));
  }
  return classificationTask(tables.get(file), seed);
}

/**
 * @param {string} where @param {string} name
 * @param {(bandits: Awaited<ReturnType<typeof ourBandits>>, seed: number, rounds: number) => Task} make
 * @param {() => string | undefined} missing
 */
const row = (where, name, make, missing) => ({
  what: `regret a round on ${where}, ${name}`,
  target: reported(""),
  /** @param {import("./harness/report.mjs").Settings} settings @returns {Promise<import("./harness/report.mjs").Measurement>} */
  async measure({ quick, progress }) {
    const skipped = missing();
    if (skipped) return { skipped };
    const bandits = await ourBandits();
    const { createPolicyByName, meanWithin, play } = bandits;
    const [rounds, seeds] = quick ? [500, 2] : [10_000, 3];
    /** @type {number[]} */
    const runs = [];
    for (let seed = 1; seed <= seeds; seed++) {
      const task = make(bandits, seed, rounds);
      const [policy, options] = contestants[name] ?? contestants.Uniform;
      const played = play(createPolicyByName(policy, { width: task.width, seed, ...options }), task, rounds);
      runs.push((name === bestArm ? played.fixed : played).regret / rounds);
      progress(`  seed ${seed} of ${seeds}, ${rounds} rounds`);
    }
    const { value, interval } = meanWithin(runs);
    return { value, runs, note: interval && `95 %: ${interval.map((v) => v.toFixed(3)).join(" to ")}, ${seeds} seeds` };
  },
});

const names = [...Object.keys(contestants), bestArm];

export const setRows = [
  ...Object.entries(synthetic).flatMap(([where, make]) => names.map((name) => row(where, name, make, () => undefined))),
  ...publicSets.flatMap((file) =>
    names.map((name) =>
      row(
        file.replace(/\.csv.*/, ""),
        name,
        (bandits, seed) => taskOf(file, bandits, seed),
        () => dataMissing("bandit-sets"),
      ),
    ),
  ),
];
