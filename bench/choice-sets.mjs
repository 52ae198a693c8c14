/**
 * Regret of the bandits on public tables (the classification reduction: a row is a context, a class an arm, a wrong class costs 1). A row's
 * value is the regret a round, mean over seeds, each of which deals the table's rows in an order of its own; the note has the interval.
 */

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { gunzipSync } from "node:zlib";
import { reported } from "./harness/report.mjs";
import { ourBandits } from "./ours.mjs";
import { dataFile, dataMissing } from "./texts.mjs";

const { publicSets } = await ourBandits();
/** Each as it is without options. */
const policies = ["NeuSquareCB", "NeuFastCB", "NeuralUCB", "NeuralTS", "LinUCB", "Uniform"];

/** @type {Map<string, Promise<Record<string, number[]>>>} regrets a round of each policy and seed, by table */
const played = new Map();

/** @param {string} file @param {import("./harness/report.mjs").Settings} settings */
async function regretsOf(file, { quick, runs, progress }) {
  const { classificationTask, createPolicyByName, play, readTable } = await ourBandits();
  const bytes = readFileSync(dataFile(`bandit-sets/${file}`));
  const text = (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
  const table = readTable(basename(file), text);
  const [rounds, seeds] = quick ? [500, 2] : [10_000, Math.max(5, runs)];
  /** @type {Record<string, number[]>} */
  const regrets = Object.fromEntries(policies.map((name) => [name, []]));
  for (let seed = 1; seed <= seeds; seed++) {
    const task = classificationTask(table, seed);
    for (const name of policies) {
      const policy = createPolicyByName(name, { width: task.width, seed });
      regrets[name].push(play(policy, task, rounds).regret / rounds);
    }
    progress(`  ${file}: seed ${seed} of ${seeds}, ${rounds} rounds`);
  }
  return regrets;
}

export const setRows = publicSets.flatMap((file) =>
  policies.map((name) => ({
    what: `regret a round on ${file.replace(/\.csv.*/, "")}, ${name}`,
    target: reported(""),
    /** @param {import("./harness/report.mjs").Settings} settings @returns {Promise<import("./harness/report.mjs").Measurement>} */
    async measure(settings) {
      const skipped = dataMissing("bandit-sets");
      if (skipped) return { skipped };
      const { meanWithin } = await ourBandits();
      if (!played.has(file)) played.set(file, regretsOf(file, settings));
      const runs = (await /** @type {Promise<Record<string, number[]>>} */ (played.get(file)))[name];
      const { value, interval } = meanWithin(runs);
      return { value, runs, note: interval && `95 %: ${interval.map((v) => v.toFixed(3)).join(" to ")}` };
    },
  })),
);
