/** A training step of the knossos shape against PyTorch, from the same weights on the same batches. */

import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startChild } from "./harness/child.mjs";
import { alternate, median, ratio } from "./harness/measure.mjs";
import { atLeast, atMost } from "./harness/report.mjs";
import { openTraining } from "./ours.mjs";
import { randomCheckpoint, randomPrompt } from "./weights/random.mjs";
import { shapes } from "./weights/shapes.mjs";

/**
 * What both sides train with. `batches` is a file of little-endian int32 ids, each batch [batch, length + 1]; weight decay
 * is for matrices only; `clip` bounds the gradient's global norm.
 * @typedef {{ folder: string, batches: string, batch: number, length: number, threads: number, learningRate: number,
 *   beta1: number, beta2: number, epsilon: number, weightDecay: number, clip: number }} TrainingOptions
 */

const python = "/usr/bin/python3";
const batchCount = 8;

/** @returns {TrainingOptions} */
function trainingOptions() {
  const [batch, length] = [16, 256];
  const folder = randomCheckpoint("knossos", { dtype: "F32" });
  const batches = join(folder, `batches-${batchCount}x${batch}x${length}.bin`);
  if (!existsSync(batches)) {
    writeFileSync(batches, Int32Array.from(randomPrompt(batchCount * batch * (length + 1), shapes.knossos.vocab_size)));
  }
  return {
    folder,
    batches,
    batch,
    length,
    threads: 2,
    learningRate: 1e-3,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0.1,
    clip: 1,
  };
}

/** Why PyTorch cannot run here, or undefined. */
function torchMissing() {
  const { status, error } = spawnSync(python, ["-c", "import torch"], { stdio: "ignore" });
  if (error) return `${python}: ${error.message}`;
  return status === 0 ? undefined : `${python} has no torch (Debian: apt install python3-torch libopenblas0-pthread)`;
}

/** @param {TrainingOptions} options */
async function startTorch(options) {
  const script = fileURLToPath(new URL("training/torch_step.py", import.meta.url));
  // Debian's torch takes its products from the system's BLAS; VENTRIS_BENCH_BLAS names a faster library to put before it.
  const blas = process.env.VENTRIS_BENCH_BLAS;
  const torch = startChild(python, [script], {
    OMP_NUM_THREADS: String(options.threads),
    ...(blas && { LD_PRELOAD: blas }),
  });
  const { variant } = await torch.call("open", options);
  return { torch, description: `PyTorch with ${variant.linear} products and ${variant.attention} attention` };
}

/** @param {import("./harness/report.mjs").Settings} settings @returns {Promise<import("./harness/report.mjs").Measurement>} */
async function stepSpeed({ runs, progress }) {
  const missing = torchMissing();
  if (missing) return { skipped: missing };
  const options = trainingOptions();
  const ours = await openTraining(options);
  const { torch, description } = await startTorch(options);
  const tokens = options.batch * options.length;
  try {
    const measured = await alternate(
      async () => tokens / median((await ours.steps(3)).seconds),
      async () => tokens / median((await torch.call("steps", { count: 3 })).seconds),
      runs,
      (line) => progress(`  ${line} tokens/s`),
    );
    return {
      ...ratio(measured),
      note: `ours ${median(measured.a).toFixed(0)}/s, ${description} ${median(measured.b).toFixed(0)}/s`,
    };
  } finally {
    await ours.close();
    await torch.close();
  }
}

/** The steps must be the same computation, or their times say nothing. @returns {Promise<import("./harness/report.mjs").Measurement>} */
async function lossDifference() {
  const missing = torchMissing();
  if (missing) return { skipped: missing };
  const options = trainingOptions();
  const ours = await openTraining(options);
  const { torch } = await startTorch(options);
  try {
    const left = (await ours.steps(batchCount)).losses;
    /** @type {{ losses: number[] }} */
    const { losses: right } = await torch.call("steps", { count: batchCount });
    const differences = left.map((loss, step) => Math.abs(loss - right[step]));
    return {
      value: Math.max(...differences),
      runs: differences,
      note: `first loss ${left[0].toFixed(4)}, last ${left[batchCount - 1].toFixed(4)}`,
    };
  } finally {
    await ours.close();
    await torch.close();
  }
}

/** @type {import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  { what: "training step, knossos shape, tokens/s against PyTorch", target: atLeast(1), measure: stepSpeed },
  {
    what: "largest difference of the losses from PyTorch's over 8 steps",
    target: atMost(0.001, ""),
    measure: lossDifference,
  },
];
