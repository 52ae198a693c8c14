/**
 * Contrasts on questions of fact, beside plain decoding: TruthfulQA and FACTOR by the likelihood of given answers, and what phaistos answers about its
 * own world and about passages. Reported as it is; intervals are of the difference from plain decoding, item by item.
 */
import { reported } from "./harness/report.mjs";
import { heldOutItems, meanOf, openModel, ourChoices, shippedModel } from "./ours.mjs";
import { dataFile, dataMissing } from "./texts.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

/** As published evaluations score given answers: every token counts. Amateurs: the draft for cd, the model behind words that induce falsehoods for icd and lol. */
const contrasts = {
  dola: { name: "dola" },
  cd: { name: "cd", amateur: "pylos" },
  icd: { name: "icd" },
  lol: { name: "lol" },
};
const names = /** @type {(keyof typeof contrasts)[]} */ (Object.keys(contrasts));
const ways = /** @type {("plain" | keyof typeof contrasts)[]} */ (["plain", ...names]);
/** @typedef {Record<(typeof ways)[number], number>} Scored points of one item, by way */

/** @template T @param {readonly T[]} values @param {number} count @returns {T[]} */
const spread = (values, count) =>
  Array.from({ length: Math.min(count, values.length) }, (_, i) => values[Math.floor((i * values.length) / count)]);

/** @param {string} name @param {(model: any) => Promise<Scored[]>} measure */
async function withModel(name, measure) {
  const folder = shippedModel(name);
  if (!folder) throw new Error(`models/${name} is absent`);
  const { model, close } = await openModel(folder, { threads: 2 });
  try {
    return await measure(model);
  } finally {
    await close();
  }
}

/** @param {string} task @param {Settings} settings */
const byLikelihood = (task, { quick, progress }) =>
  withModel("knossos", async (model) => {
    const { chooses, loadTask, rankings, scoreItems, shapedScore, shaperChoice, taskNamed, truthfulness } =
      await ourChoices();
    const found = taskNamed(task);
    const items = spread(await loadTask(found, dataFile("")), quick ? 8 : 150);
    const result = [];
    for (const [i, item] of items.entries()) {
      if (i % 10 === 0) progress(`  ${task}: ${i} of ${items.length}`);
      /** @type {[string, number][]} */
      const points = [];
      for (const way of ways) {
        const shaper = way === "plain" ? undefined : shaperChoice({ ...contrasts[way], alpha: 0 });
        const score = shaper && shapedScore(model, { shapers: [shaper], normalise: false });
        const [scored] = await scoreItems(model, [item], undefined, score);
        const { mc1, mc2, mc3 } = found.measure === "truthful" ? truthfulness(scored) : { mc1: 0, mc2: 0, mc3: 0 };
        const right = chooses(scored, rankings.token) ? 1 : 0;
        points.push([way, 100 * (found.measure === "truthful" ? (mc1 + mc2 + mc3) / 3 : right)]);
      }
      result.push(/** @type {Scored} */ (Object.fromEntries(points)));
    }
    return result;
  });

/** Greedy answers, exact. @param {string} skill @param {Settings} settings */
const byAnswer = (skill, { quick, progress }) =>
  withModel("phaistos", async (model) => {
    const { shaperChoice } = await ourChoices();
    const result = [];
    for (const [i, { prompt, check }] of heldOutItems(skill, quick ? 8 : 100).entries()) {
      if (i % 10 === 0) progress(`  ${skill}: ${i}`);
      /** @type {[string, number][]} */
      const points = [];
      for (const way of ways) {
        const shapers = way === "plain" ? [] : [shaperChoice(contrasts[way])];
        const run = model.decode([{ role: "user", content: prompt }], { temperature: 0, maxTokens: 48, shapers });
        points.push([way, check((await run.final).text) ? 100 : 0]);
      }
      result.push(/** @type {Scored} */ (Object.fromEntries(points)));
    }
    return result;
  });

/** @type {Map<string, Promise<Scored[]>>} */
const known = new Map();
/** @param {string} name @param {(settings: Settings) => Promise<Scored[]>} measure @param {keyof typeof contrasts} way */
const row = (name, measure, way) => ({
  what: `${name}: ${way}, points`,
  target: reported(""),
  /** @param {Settings} settings @returns {Promise<Measurement>} */
  async measure(settings) {
    const work = known.get(name) ?? measure(settings);
    known.set(name, work);
    const scored = await work;
    /** @param {keyof Scored} one */
    const meanPoints = (one) => scored.reduce((sum, points) => sum + points[one], 0) / scored.length;
    const { value, interval } = meanOf(scored.map((points) => points[way] - points.plain));
    const [low, high] = interval ?? [value, value];
    const difference = `${value >= 0 ? "+" : ""}${value.toFixed(1)} (${low.toFixed(1)} to ${high.toFixed(1)})`;
    return {
      value: meanPoints(way),
      runs: [low, high],
      note: `plain ${meanPoints("plain").toFixed(1)}; difference ${difference}, ${scored.length} items`,
    };
  },
});

/** @param {string} folder @param {(settings: Settings) => Promise<Measurement>} measure @returns {(settings: Settings) => Promise<Measurement>} */
const needing = (folder, measure) => async (settings) => {
  const skipped = dataMissing(folder);
  return skipped ? { skipped } : measure(settings);
};

/** @type {readonly [string, string, string][]} */
const tasks = [
  ["TruthfulQA, knossos, mean of MC1 to MC3", "truthfulqa", "truthfulqa"],
  ["FACTOR (experts), knossos, accuracy", "factor-expert", "factor"],
  ["FACTOR (news), knossos, accuracy", "factor-news", "factor"],
];

/** @type {readonly import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  ...tasks.flatMap(([name, task, folder]) =>
    names.map((way) => {
      const { measure, ...rest } = row(name, (settings) => byLikelihood(task, settings), way);
      return { ...rest, measure: needing(folder, measure) };
    }),
  ),
  ...["recall", "passage"].flatMap((skill) =>
    names.map((way) => row(`${skill}, phaistos, exact`, (settings) => byAnswer(skill, settings), way)),
  ),
];
