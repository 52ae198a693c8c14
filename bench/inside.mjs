/**
 * Inside the model: all neurons of an 8B shape from disk in little memory, and codebooks on the paper's finite-state task. The random checkpoint is
 * sparse: what is not read is holes, and it is deleted afterwards. VENTRIS_BENCH_LAYERS says how many of its 32 layers are decoded (1 with --quick).
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startChild } from "./harness/child.mjs";
import { atMost } from "./harness/report.mjs";
import { ourInside } from "./ours.mjs";
import { sparseLlama8B } from "./weights/sparse.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function streamed({ quick, progress }) {
  const folder = mkdtempSync(join(tmpdir(), "ventris-8b-"));
  const layers = quick ? 1 : Number(process.env.VENTRIS_BENCH_LAYERS ?? 32);
  try {
    progress(`  writing ${layers} of 32 layers of a random 8B shape`);
    await sparseLlama8B(folder, layers);
    const child = startChild(process.execPath, [fileURLToPath(new URL("./inside-child.mjs", import.meta.url))]);
    const found = await child.call("map", { folder, layers });
    await child.close();
    const { seconds, neurons, gflop, peakBytes } = found;
    const whole = (seconds * 32) / layers;
    return {
      value: peakBytes / 1e9,
      runs: [peakBytes / 1e9],
      note: `${neurons} neurons of ${layers} layers in ${seconds.toFixed(0)} s: ${(neurons / seconds).toFixed(0)} a second, ${(neurons / gflop).toFixed(2)} per GFLOP, ${(gflop / seconds).toFixed(0)} GFLOP/s; all 32 layers at that rate ${(whole / 60).toFixed(0)} minutes (paper: under 15)`,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
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

export const rows = [
  { what: "all neurons of a random 8B shape streamed from disk: memory", target: atMost(4, " GB"), measure: streamed },
  {
    what: "finite-state task, k = 1: JSD to the patched state's law, over no patch",
    target: atMost(0.1),
    measure: patched,
  },
];
