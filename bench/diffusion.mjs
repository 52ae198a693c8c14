/**
 * Passes over a canvas against passes of the forest of the same shape, caches, and policies. Speeds are of knossos's shape (its own weights without
 * a causal mask where mycenae does not ship: a pass takes as long whatever they say); what needs right answers waits for mycenae.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median } from "./harness/measure.mjs";
import { atLeast, atMost, reported } from "./harness/report.mjs";
import { openRaw, shippedModel, skillPrompts } from "./ours.mjs";
import { asDiffusion } from "./weights/diffusion.mjs";

const threads = 2;
const blockLength = 32;

/** @type {Promise<{ model: any, trained: boolean }> | undefined} */
let opened;
function canvasModel() {
  opened ??= (async () => {
    const shipped = shippedModel("mycenae");
    if (shipped) return { model: await openRaw(shipped, { threads }), trained: true };
    const folder = mkdtempSync(join(tmpdir(), "ventris-bench-diffusion-"));
    await asDiffusion(/** @type {string} */ (shippedModel("knossos")), folder);
    return { model: await openRaw(folder, { threads }), trained: false };
  })();
  return opened;
}

const prompt = Array.from({ length: 24 }, (_, i) => 300 + 37 * i);

/** @param {any} model @param {readonly number[]} ids @param {number} length @param {object} method */
const fill = (model, ids, length, method) =>
  model.decode(ids, { maxTokens: length, method: { blockLength, earlyStop: false, ...method } }).final;

/** @param {() => Promise<unknown>} work */
async function seconds(work) {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/** @param {readonly number[]} values */
const shown = (values) => values.map((v) => v.toFixed(2)).join(", ");

/** Tasks of mycenae. @param {string} what @param {import("./harness/report.mjs").Target} target @param {(model: any, quick: boolean) => Promise<{ value: number, runs: number[], note?: string }>} work */
const onTasks = (what, target, work) => ({
  what,
  target,
  /** @param {import("./harness/report.mjs").Settings} settings */
  async measure({ quick }) {
    const { model, trained } = await canvasModel();
    return trained ? work(model, quick) : { skipped: "no diffusion model ships yet" };
  },
});

/** Passes and right answers of a method beside one-token decoding, on the same prompts. @param {any} model @param {boolean} quick @param {number} length @param {object} method */
async function besidePlain(model, quick, length, method) {
  const tasks = skillPrompts(model, quick ? 14 : 140);
  const totals = { plain: 0, other: 0, plainRight: 0, right: 0 };
  for (const { ids, check } of tasks) {
    const plain = await fill(model, ids, length, { name: "low-confidence" });
    const other = await fill(model, ids, length, method);
    totals.plain += plain.counters.passes;
    totals.other += other.counters.passes;
    totals.plainRight += check(plain.text) ? 1 : 0;
    totals.right += check(other.text) ? 1 : 0;
  }
  const points = (100 * (totals.right - totals.plainRight)) / tasks.length;
  const score = `right: ${totals.right} of ${tasks.length}, one token a pass ${totals.plainRight} (${points.toFixed(1)} points)`;
  return { share: totals.other / totals.plain, score };
}

export const rows = [
  {
    what: "a pass over 160 positions of a canvas, over one of knossos for 160 new tokens",
    target: atMost(1.1),
    /** @param {import("./harness/report.mjs").Settings} settings */
    async measure({ runs }) {
      const { model } = await canvasModel();
      const knossos = await openRaw(/** @type {string} */ (shippedModel("knossos")), { threads, maxRows: 256 });
      const tokens = Array.from({ length: 160 }, (_, i) => 300 + 17 * i);
      const scored = tokens.map((_, i) => i);
      const canvas = async () => {
        const sheet = model.ability("canvas").open();
        await sheet.compute({ tokens, rows: "all", scored, keep: false });
        sheet.close();
      };
      const forest = async () => {
        // Another first token each time, or its pages would be found again.
        tokens[0] = (tokens[0] % 4000) + 1;
        const lease = knossos.forest.lease();
        await lease.extend(tokens.map((token, i) => ({ parent: i === 0 ? undefined : i - 1, token })));
        lease.close();
      };
      for (let i = 0; i < 5; i++) await canvas().then(forest);
      const ratios = [];
      /** @type {number[][]} */
      const times = [[], []];
      for (let run = 0; run < 6 * runs; run++) {
        const [ours, theirs] = [await seconds(canvas), await seconds(forest)];
        ratios.push(ours / theirs);
        times[0].push(1000 * ours);
        times[1].push(1000 * theirs);
      }
      await knossos.close();
      return {
        value: median(ratios),
        runs: ratios,
        note: `${median(times[0]).toFixed(1)} and ${median(times[1]).toFixed(1)} ms, logits of all rows included`,
      };
    },
  },
  ...["dual", "prefix", "delayed"].map((cache) => ({
    what: `tokens/s with cache ${cache} over none, one token a pass, G = 256`,
    target: cache === "dual" ? atLeast(2) : reported(),
    /** @param {import("./harness/report.mjs").Settings} settings */
    async measure({ runs, quick }) {
      const { model, trained } = await canvasModel();
      const ratios = [];
      let same = 0;
      for (let run = 0; run < (quick ? 1 : runs); run++) {
        /** @type {any[]} */
        const found = [];
        const times = [];
        for (const mode of ["none", cache]) {
          const method = { name: "low-confidence", cache: mode };
          times.push(await seconds(async () => found.push(await fill(model, prompt, 256, method))));
        }
        ratios.push(times[0] / times[1]);
        const agrees = found[0].canvas.filter(
          (/** @type {number} */ token, /** @type {number} */ i) => token === found[1].canvas[i],
        );
        same += agrees.length / 256 / (quick ? 1 : runs);
      }
      const agreement = trained ? `; agreement ${(100 * same).toFixed(1)} %` : "";
      return { value: median(ratios), runs: ratios, note: `runs: ${shown(ratios)}${agreement}` };
    },
  })),
  ...[64, 128, 256].map((length) =>
    onTasks(`LocalLeap: passes over one token a pass, G = ${length}`, atMost(20, " %"), async (model, quick) => {
      const { share, score } = await besidePlain(model, quick, length, { name: "localleap" });
      return { value: 100 * share, runs: [100 * share], note: score };
    }),
  ),
  onTasks(
    "Learn2PD with end-of-text prediction: one-token passes over its passes, G = 256",
    atLeast(8),
    async (model, quick) => {
      const { share, score } = await besidePlain(model, quick, 256, { name: "learn2pd" });
      return { value: 1 / share, runs: [1 / share], note: score };
    },
  ),
  onTasks(
    "tokens/s of mycenae with localleap and the dual cache, over plain knossos at equal length",
    reported(),
    async (model) => {
      const knossos = await openRaw(/** @type {string} */ (shippedModel("knossos")), { threads });
      const ratios = [];
      for (let run = 0; run < 5; run++) {
        const ours = await seconds(() => fill(model, prompt, 128, { name: "localleap", cache: "dual" }));
        const plain = { temperature: 0, maxTokens: 128, minTokens: 128 };
        ratios.push((await seconds(() => knossos.decode(prompt, plain).final)) / ours);
      }
      await knossos.close();
      return { value: median(ratios), runs: ratios };
    },
  ),
];
