/**
 * A* over steps against best-of-n on multi-step arithmetic: with a solver and a reward of known errors, which the reproduction of a-star measures,
 * and with phaistos and its own reward head.
 */
import { atLeast, reported } from "./harness/report.mjs";
import { heldOutItems, openModel, ourReproduction, ourSearches, shippedModel } from "./ours.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

/** @type {Promise<{ claim: string, value: number, interval?: readonly [number, number], note?: string }[]> | undefined} */
let shared;

/** @param {string} claim @param {(value: number) => number} [shown] @returns {(settings: Settings) => Promise<Measurement>} */
const measured =
  (claim, shown = (value) => value) =>
  async ({ quick, progress }) => {
    shared ??= ourReproduction("a-star", quick ? "tiny" : "quick", progress);
    const found = (await shared).find((one) => one.claim === claim);
    if (!found) return { skipped: "this size does not measure it" };
    return { value: shown(found.value), runs: (found.interval ?? [found.value]).map(shown), note: found.note };
  };

/** Settings were chosen on other problems of the skill than are measured here. A step is drawn when the search comes to need it. */
const ways = {
  "a-star": {
    list: [2, 4, 8, 12],
    /** @param {number} children */
    method: (children) => ({ name: "a-star", children, budget: 2000, edgeCost: "drop", atOnce: 1, slack: 0.5 }),
  },
  "a-star, all steps at once, drop": {
    list: [2, 4, 6, 8],
    /** @param {number} children */
    method: (children) => ({ name: "a-star", children, budget: 2000, edgeCost: "drop" }),
  },
  "a-star, all steps at once, rise": {
    list: [2, 4, 6, 8],
    /** @param {number} children */
    method: (children) => ({ name: "a-star", children, budget: 2000, edgeCost: "rise" }),
  },
  "best-of-n": {
    list: [2, 4, 8, 16],
    /** @param {number} samples */
    method: (samples) => ({ name: "best-of-n", samples }),
  },
};
/** @typedef {keyof typeof ways} Way */
/** Samples of best-of-n whose accuracy is to be reached; a temperature at which phaistos errs often enough. */
const at = 8;
const temperature = 1.8;
/** Of both: judged by its last line alone, which only repeats a number, best-of-n would take wrong solutions. */
const aggregate = "min";

/** @typedef {Record<string, [right: number, tokens: number, calls: number]>} Solved by method and width */
/** @type {Promise<Solved[]> | undefined} */
let solved;

/** Held-out problems of three steps, by every search. @param {Settings} settings @returns {Promise<Solved[]>} */
async function solveAll({ quick, progress }) {
  const folder = shippedModel("phaistos");
  if (!folder) throw new Error("models/phaistos is absent");
  const { model, close } = await openModel(folder, { threads: 2 });
  try {
    const items = heldOutItems("arithmetic", quick ? 40 : 240).filter(({ facts }) => facts.steps.length === 3);
    const result = [];
    for (const [i, { prompt, check }] of items.entries()) {
      if (i % 10 === 0) progress(`  problem ${i + 1} of ${items.length}`);
      const all = Object.entries(ways).flatMap(([name, { list, method }]) =>
        list.map(async (width) => {
          const run = model.decode([{ role: "user", content: prompt }], {
            method: /** @type {any} */ ({ ...method(width), aggregate }),
            temperature,
            maxTokens: 96,
            request: i,
          });
          const { text, counters } = await run.final;
          const { tokens, rewardCalls } = /** @type {any} */ (counters).search;
          return /** @type {const} */ ([`${name} ${width}`, [check(text) ? 1 : 0, tokens, rewardCalls]]);
        }),
      );
      // All at once: they share passes.
      result.push(/** @type {Solved} */ (Object.fromEntries(await Promise.all(all))));
    }
    return result;
  } finally {
    await close();
  }
}

/** What best-of-n spends over what A* spends at its accuracy. @param {1 | 2} cost tokens or calls of the reward @param {Way} [way] @returns {(settings: Settings) => Promise<Measurement>} */
const byHead =
  (cost, way = "a-star") =>
  async (settings) => {
    solved ??= solveAll(settings);
    const { bootstrap, costAt, mean } = await ourSearches();
    const all = await solved;
    /** @param {readonly Solved[]} sample @param {Way} name @param {{ list: readonly number[] }} [widths] @returns {[number, number][]} */
    const curve = (sample, name, { list } = ways[name]) =>
      list
        .map((width) => {
          const rows = sample.map((one) => one[`${name} ${width}`]);
          return /** @type {[number, number]} */ ([
            mean(rows.map((row) => row[cost])),
            mean(rows.map((row) => row[0])),
          ]);
        })
        .sort((a, b) => a[0] - b[0]);
    /** @param {readonly Solved[]} sample */
    const ratio = (sample) => {
      const [[theirs, accuracy]] = curve(sample, "best-of-n", { list: [at] });
      const ours = curve(sample, way);
      const reached = costAt(ours, accuracy);
      if (reached !== undefined) return theirs / reached;
      // A* never gets there: what best-of-n spends for the best that A* does get.
      const [spent, best] = ours.reduce((a, b) => (b[1] > a[1] ? b : a));
      return (costAt(curve(sample, "best-of-n"), best) ?? theirs) / spent;
    };
    const { value, interval } = bootstrap(all, ratio, 1);
    /** @param {Way} name */
    const shown = (name) =>
      curve(all, name)
        .map(([spent, accuracy]) => `${(100 * accuracy).toFixed(1)} % for ${spent.toFixed(0)}`)
        .join(", ");
    return {
      value,
      runs: [...(interval ?? [])],
      note: `${all.length} problems, temperature ${temperature}; ${way} ${shown(way)}; best-of-n ${shown("best-of-n")}`,
    };
  };

export const rows = [
  {
    what: "best-of-n over a-star, phaistos and its reward head: tokens at equal accuracy",
    target: atLeast(2),
    measure: byHead(1),
  },
  {
    what: "best-of-n over a-star, phaistos and its reward head: reward calls at equal accuracy",
    target: atLeast(1),
    measure: byHead(2),
  },
  ...["drop", "rise"].map((cost) => ({
    what: `best-of-n over a-star as published (all steps at once, ${cost}), phaistos and its reward head: tokens at equal accuracy`,
    target: reported(),
    measure: byHead(1, /** @type {Way} */ (`a-star, all steps at once, ${cost}`)),
  })),
  {
    what: "best-of-n over a-star, solver of known errors: tokens at equal accuracy",
    target: atLeast(2),
    measure: measured("tokens"),
  },
  {
    what: "best-of-n over a-star, solver of known errors: reward calls at equal accuracy",
    target: atLeast(1),
    measure: measured("reward-passes", (saved) => 1 / (1 - saved / 100)),
  },
  { what: "a-star with a perfect reward: expansions over depth", target: reported(""), measure: measured("oracle") },
];
