/**
 * Inside the model: all neurons of an 8B shape from disk in little memory, and codebooks on the paper's finite-state task and on stories. The random
 * checkpoint is sparse: what is not read is holes, and it is deleted afterwards. VENTRIS_BENCH_LAYERS says how many of its 32 layers are decoded (1 with
 * --quick); VENTRIS_BENCH_WORK names a folder where it and the layers done stay, for a measurement that is interrupted. The rows of stories need models/knossos/parts/codebook and VENTRIS_DATA (or ../shared/data).
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startChild } from "./harness/child.mjs";
import { atLeast, atMost } from "./harness/report.mjs";
import { ourInside } from "./ours.mjs";
import { sparseLlama8B } from "./weights/sparse.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function streamed({ quick, progress }) {
  const kept = process.env.VENTRIS_BENCH_WORK;
  const folder = kept ?? mkdtempSync(join(tmpdir(), "ventris-8b-"));
  const layers = quick ? 1 : Number(process.env.VENTRIS_BENCH_LAYERS ?? 32);
  try {
    if (!kept || !existsSync(join(kept, "model.safetensors"))) {
      progress(`  writing ${layers} of 32 layers of a random 8B shape`);
      mkdirSync(folder, { recursive: true });
      await sparseLlama8B(folder, layers);
    }
    const child = startChild(process.execPath, [fileURLToPath(new URL("./inside-child.mjs", import.meta.url))]);
    const found = await child.call("map", { folder, layers, work: kept && join(kept, "layers") });
    await child.close();
    const { seconds, neurons, gflop, peakBytes } = found;
    const whole = (seconds * 32) / layers;
    return {
      value: peakBytes / 1e9,
      runs: [peakBytes / 1e9],
      note: `${neurons} neurons of ${layers} layers in ${seconds.toFixed(0)} s: ${(neurons / seconds).toFixed(0)} a second, ${(neurons / gflop).toFixed(2)} per GFLOP, ${(gflop / seconds).toFixed(0)} GFLOP/s; all 32 layers at that rate ${(whole / 60).toFixed(0)} minutes (paper: under 15)`,
    };
  } finally {
    if (!kept) rmSync(folder, { recursive: true, force: true });
  }
}

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function patched({ quick, progress }) {
  const { codebooks, open } = await ourInside();
  const folder = mkdtempSync(join(tmpdir(), "ventris-automaton-"));
  try {
    const automaton = codebooks.randomAutomaton();
    const { loss } = await codebooks.trainAutomatonModel(automaton, folder, {
      ...codebooks.automatonScale,
      ...(quick && { plainSteps: 200, steps: 100 }),
      sites: "both",
      onProgress: (/** @type {any} */ { step, heldOutLoss }) => {
        if (heldOutLoss !== undefined) progress(`  step ${step}: ${heldOutLoss.toFixed(3)} nats`);
      },
    });
    const model = await open(folder, { threads: 2 });
    const opened = await codebooks.openCodebooks(model, "codebook");
    const found = await codebooks.patchingOf(model, opened, automaton, quick ? 20 : 100);
    await model.close();
    return {
      value: found.both,
      runs: [found.both],
      note: `loss ${loss.toFixed(3)}; all codes of the last token set ${found.both.toFixed(3)}, feed-forward ones alone ${found.mlp.toFixed(3)}, attention ones alone ${found.attention.toFixed(3)}, random codes ${found.random.toFixed(3)}`,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const data = process.env.VENTRIS_DATA ?? fileURLToPath(new URL("../../shared/data", import.meta.url));

/** Stories to look for codes in: the first so many. @param {number} count */
async function stories(count) {
  const { readTexts } = await ourInside();
  /** @type {string[]} */
  const texts = [];
  for await (const text of readTexts([join(data, "tinystories", "tinystories-1000.jsonl.gz")]))
    if (texts.push(text) >= count) break;
  return texts;
}

/** Stories that knossos and its parts were not trained on: the first so many. @param {number} count */
async function heldOutStories(count) {
  const { isHeldOut, simpleStories } = await ourInside();
  /** @type {string[]} */
  const texts = [];
  for await (const text of simpleStories((path) => join(data, path)))
    if (isHeldOut(text) && texts.push(text) >= count) break;
  return texts;
}

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function codedLoss({ quick }) {
  const { codebooks, logSoftmaxAt, open } = await ourInside();
  const model = await open("knossos", { threads: 2 });
  try {
    const edits = codebooks.codebookEdits(await codebooks.openCodebooks(model, "codebook"));
    let [coded, plain, tokens] = [0, 0, 0];
    for (const text of await heldOutStories(quick ? 20 : 150)) {
      const ids = [model.tokenizer?.beginToken ?? 0, ...(model.tokenizer?.encode(text) ?? [])].slice(0, 256);
      for (const through of [true, false]) {
        const [{ logits }] = await model.forward([{ tokens: ids, logits: "all" }], through ? { edits } : {});
        const width = logits.length / ids.length;
        for (let at = 0; at + 1 < ids.length; at++) {
          const loss = -logSoftmaxAt(logits.subarray(at * width, (at + 1) * width), ids[at + 1]);
          if (through) coded += loss;
          else plain += loss;
        }
      }
      tokens += ids.length - 1;
    }
    const value = (coded - plain) / tokens;
    const note = `${(coded / tokens).toFixed(3)} through codebooks, ${(plain / tokens).toFixed(3)} without, nats a token of ${tokens}`;
    return { value, runs: [value], note };
  } finally {
    await model.close();
  }
}

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function steered({ quick, progress }) {
  const { codebooks, open } = await ourInside();
  const model = await open("knossos", { threads: 2 });
  try {
    const found = await codebooks.steerStories(model, await codebooks.openCodebooks(model, "codebook"), {
      texts: await stories(quick ? 200 : 1000),
      samples: quick ? 8 : 40,
      tokens: quick ? 80 : 200,
      onProgress: (/** @type {number} */ share) => progress(`  ${Math.round(10 * share)} of 10 topics`),
    });
    const up = found.filter(({ free, patched }) => patched > free).length;
    const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(0)}`;
    const note = found.map(({ topic, free, patched, random, codes }) => {
      return `${topic} ${percent(free)} to ${percent(patched)} % (random ${percent(random)}, ${codes} codes)`;
    });
    return { value: up, runs: [up], note: note.join("; ") };
  } finally {
    await model.close();
  }
}

export const rows = [
  { what: "all neurons of a random 8B shape streamed from disk: memory", target: atMost(4, " GB"), measure: streamed },
  {
    what: "finite-state task, k = 1: JSD to the patched state's law, over no patch",
    target: atMost(0.1),
    measure: patched,
  },
  { what: "codebook knossos: loss over the plain one", target: atMost(0.15, " nats"), measure: codedLoss },
  { what: "stories steered by codes: topics of ten that come up more often", target: atLeast(8, ""), measure: steered },
];
