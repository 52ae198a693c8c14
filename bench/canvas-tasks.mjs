/**
 * What rows of the diffusion benchmark share: the model, held-out tasks that are the same for all methods, what a method did on them, and how two
 * methods are compared task by task.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { atLeast, reported } from "./harness/report.mjs";
import { meanOf, openRaw, ourUnmasking, shippedModel, skillPrompts } from "./ours.mjs";
import { asDiffusion } from "./weights/diffusion.mjs";

export const threads = 2;
export const blockLength = 32;
export const lengths = [64, 128, 256];
/** Chosen on 210 prompts of another seed (7; those of narrow skills are in part the same), where 365 of 366 right answers stay (64 and 128 positions): the published 0.9 and 0.75 are tuned to LLaDA's confidences. */
export const leaping = { name: "localleap", anchor: 0.995, relaxed: 0.985 };
export const bar = { name: "threshold", threshold: leaping.anchor };

/** @type {Promise<{ model: any, trained: boolean }> | undefined} */
let opened;
export function canvasModel() {
  opened ??= (async () => {
    const shipped = shippedModel("mycenae");
    if (shipped) return { model: await openRaw(shipped, { threads }), trained: true };
    const folder = mkdtempSync(join(tmpdir(), "ventris-bench-diffusion-"));
    await asDiffusion(/** @type {string} */ (shippedModel("knossos")), folder);
    return { model: await openRaw(folder, { threads }), trained: false };
  })();
  return opened;
}

/** @param {any} model @param {readonly number[]} ids @param {number} length @param {object} method */
export const fill = (model, ids, length, method) =>
  model.decode(ids, { maxTokens: length, method: { blockLength, earlyStop: false, ...method } }).final;

/** Tasks of mycenae. @param {string} what @param {import("./harness/report.mjs").Target} target @param {(model: any, quick: boolean) => Promise<import("./harness/report.mjs").Measurement>} work */
export const onTasks = (what, target, work) => ({
  what,
  target,
  /** @param {import("./harness/report.mjs").Settings} settings */
  async measure({ quick }) {
    const { model, trained } = await canvasModel();
    return trained ? work(model, quick) : { skipped: "no diffusion model ships yet" };
  },
});

/** What a method did on one task. @typedef {{ passes: number, right: number, text: readonly number[] }} Found */

/** @type {Map<string, Promise<Found[]>>} */
const known = new Map();

/**
 * A method on the tasks, in their order; rows that compare with the same one share it. `whole`: passes are those of the whole canvas, as published,
 * and not only those until the text is there.
 * @param {any} model @param {boolean} quick @param {number} length @param {{ name: string } & Record<string, unknown>} method @param {boolean} [whole]
 */
export const onAll = (model, quick, length, method, whole = true) =>
  onThese(model, heldOut(model, quick, 140), length, method, whole);

/** A prompt, and whether an answer to it is right. @typedef {{ ids: readonly number[], check: (text: string) => boolean }} Task */

/** The same on other tasks: fewer, where there are many runs. @param {any} model @param {readonly Task[]} tasks @param {number} length @param {{ name: string } & Record<string, unknown>} method @param {boolean} [whole] */
export function onThese(model, tasks, length, method, whole = true) {
  const key = JSON.stringify([tasks.map(({ ids }) => ids), length, method, whole]);
  const found = known.get(key) ?? run();
  known.set(key, found);
  return found;

  async function run() {
    const results = [];
    for (const { ids, check } of tasks)
      results.push(foundIn(model, check, await fill(model, ids, length, { earlyStop: !whole, ...method })));
    return results;
  }
}

/** As many held-out tasks, of each skill equally many. @param {any} model @param {boolean} quick @param {number} count */
export const heldOut = (model, quick, count) => skillPrompts(model, quick ? Math.min(21, count / 5) : count);

/** @param {any} model @param {(text: string) => boolean} check @param {any} final @returns {Found} */
export function foundIn(model, check, { canvas, text, counters }) {
  const end = canvas.findIndex((/** @type {number} */ token) => model.config.endTokens.includes(token));
  return {
    passes: counters.passes,
    right: check(text) ? 1 : 0,
    text: end < 0 ? canvas : canvas.slice(0, end + 1),
  };
}

/** A pass over the block's masks, whose places are counted from the answer's first, and what it filled. @typedef {{ masked: number[], tokens: number[], confidences: number[], filled: number[] }} Seen */
/** @typedef {Found & { seen: Seen[] }} Watched */

/**
 * Fills as `decide` says until the text is there, and keeps what each pass saw.
 * @param {any} model @param {Task} task @param {number} length
 * @param {(view: any) => { positions: number[] }} decide @returns {Promise<Watched>}
 */
export async function watch(model, { ids, check }, length, decide) {
  const { unmasking } = await ourUnmasking();
  /** @type {Seen[]} */
  const seen = [];
  const method = unmasking(({ start }) => ({
    decide(view) {
      const { masked, token, confidence } = view;
      const { positions } = decide(view);
      const placesOf = (/** @type {readonly number[]} */ all) => all.map((at) => at - start);
      const [tokens, confidences] = [masked.map(token), masked.map(confidence)];
      seen.push({ masked: placesOf(masked), tokens, confidences, filled: placesOf(positions) });
      return { positions };
    },
  }));
  const final = await model.decode(ids, { maxTokens: length, method: { method, options: { blockLength } } }).final;
  return { ...foundIn(model, check, final), seen };
}

/** @type {Map<string, Promise<Watched>>} */
const oneByOne = new Map();
/** One token a pass in 64 positions. @param {any} model @param {Task} task */
export function oneTokenSeen(model, task) {
  const key = task.ids.join();
  const found = oneByOne.get(key) ?? run();
  oneByOne.set(key, found);
  return found;

  async function run() {
    const { highest } = await ourUnmasking();
    return watch(model, task, 64, ({ masked, confidence }) => ({ positions: highest(masked, 1, confidence) }));
  }
}

/** The same on some tasks. @param {any} model @param {readonly Task[]} tasks */
export async function allOneTokenSeen(model, tasks) {
  const results = [];
  for (const task of tasks) results.push(await oneTokenSeen(model, task));
  return results;
}

/**
 * One token a pass fills a canvas of G in G passes; its text is there before the rest is, and nothing of it changes afterwards.
 * @param {any} model @param {boolean} quick @param {number} length
 */
export async function plainly(model, quick, length) {
  const found = await onAll(model, quick, length, { name: "low-confidence" }, false);
  return found.map((each) => ({ ...each, passes: length }));
}
/** @param {{ value: number, interval?: readonly [number, number] }} estimate @param {number} [digits] */
export const within = ({ value, interval }, digits = 1) =>
  `${value.toFixed(digits)}${interval ? ` [${interval.map((x) => x.toFixed(digits)).join(", ")}]` : ""}`;

/** The difference of right answers in points, with its interval. @param {readonly Found[]} ours @param {readonly Found[]} theirs */
export const pointsOf = (ours, theirs) => meanOf(ours.map(({ right }, i) => 100 * (right - theirs[i].right)));

/** Right answers of both. @param {readonly Found[]} ours @param {readonly Found[]} theirs */
export function scores(ours, theirs) {
  const count = (/** @type {readonly Found[]} */ all) => all.reduce((sum, { right }) => sum + right, 0);
  return `right ${count(ours)} against ${count(theirs)} of ${ours.length}: ${within(pointsOf(ours, theirs))} points`;
}

/** Passes of both, task by task. @param {readonly Found[]} ours @param {readonly Found[]} theirs */
export const pairs = (ours, theirs) =>
  ours.map((each, i) => /** @type {[number, number]} */ ([each.passes, theirs[i].passes]));

/**
 * Two rows of one comparison: what is compared, and the score, which may lose a point.
 * @param {string} what @param {number} length @param {string} measure @param {import("./harness/report.mjs").Target} target
 * @param {(model: any, quick: boolean) => Promise<[Found[], Found[]]>} run
 * @param {(ours: readonly Found[], theirs: readonly Found[]) => { value: number, interval?: readonly [number, number] }} compared
 */
export const against = (what, length, measure, target, run, compared) => [
  onTasks(`${what}: ${measure}, G = ${length}`, target, async (model, quick) => {
    const found = compared(...(await run(model, quick)));
    return { value: found.value, runs: [found.value], note: within(found, 2) };
  }),
  onTasks(
    `${what}: change of the score, G = ${length}`,
    target.relation === "none" ? reported(" points") : atLeast(-1, " points"),
    async (model, quick) => {
      const [ours, theirs] = await run(model, quick);
      const { value } = pointsOf(ours, theirs);
      return { value, runs: [value], note: scores(ours, theirs) };
    },
  ),
];

/** Share of a text's positions that are the other's. @param {readonly number[]} a @param {readonly number[]} b */
export const sameShare = (a, b) => a.filter((token, i) => token === b[i]).length / Math.max(a.length, b.length, 1);

/** @param {readonly Found[]} found */
export const meanPasses = (found) => found.reduce((sum, each) => sum + each.passes, 0) / found.length;
/** @param {readonly Found[]} found */
export const score = (found) => (100 * found.reduce((sum, { right }) => sum + right, 0)) / found.length;
