/** A training step of the knossos shape against PyTorch, from the same weights on the same batches. */

import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startChild } from "./harness/child.mjs";
import { alternate, median, ratio } from "./harness/measure.mjs";
import { atLeast, atMost } from "./harness/report.mjs";
import { openTraining, productRate } from "./ours.mjs";
import { randomCheckpoint, randomPrompt } from "./weights/random.mjs";
import { shapes } from "./weights/shapes.mjs";

/**
 * What both sides train with. `batches` is a file of little-endian int32 ids, each batch [batch, length + 1]; weight decay
 * is for matrices only; `clip` bounds the gradient's global norm.
 * @typedef {{ folder: string, batches: string, batch: number, length: number, threads: number, learningRate: number,
 *   beta1: number, beta2: number, epsilon: number, weightDecay: number, clip: number }} TrainingOptions
 */

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

const python = "/usr/bin/python3";
const batchCount = 8;
/** Steps of a measurement; its middle one counts, so that one disturbed step does not. */
const stepsATurn = 3;

/** @param {keyof typeof shapes} shape @param {number} batch @param {number} length @returns {TrainingOptions} */
export function trainingOptions(shape, batch, length) {
  const folder = randomCheckpoint(shape, { dtype: "F32" });
  const batches = join(folder, `batches-${batchCount}x${batch}x${length}.bin`);
  if (!existsSync(batches)) {
    writeFileSync(batches, Int32Array.from(randomPrompt(batchCount * batch * (length + 1), shapes[shape].vocab_size)));
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

/**
 * Both sides on the same weights and batches, closed afterwards.
 * @param {TrainingOptions} options
 * @param {(ours: Awaited<ReturnType<typeof openTraining>>, peer: Awaited<ReturnType<typeof startTorch>>) => Promise<Measurement>} measure
 * @returns {Promise<Measurement>}
 */
async function againstTorch(options, measure) {
  const missing = torchMissing();
  if (missing) return { skipped: missing };
  const ours = await openTraining(options);
  const peer = await startTorch(options);
  try {
    return await measure(ours, peer);
  } finally {
    await ours.close();
    await peer.torch.close();
  }
}

/** @param {Settings} settings */
function stepSpeed({ runs, progress }) {
  const options = trainingOptions("knossos", 8, 256);
  const tokens = options.batch * options.length;
  return againstTorch(options, async (ours, { torch, description }) => {
    const measured = await alternate(
      async () => tokens / median((await ours.steps(stepsATurn)).seconds),
      async () => tokens / median((await torch.call("steps", { count: stepsATurn })).seconds),
      runs,
      (line) => progress(`  ${line} tokens/s`),
    );
    const speeds = [measured.a, measured.b].map((values) => median(values).toFixed(0));
    return { ...ratio(measured), note: `ours ${speeds[0]}/s, ${description} ${speeds[1]}/s` };
  });
}

/** Share of the rate of f32 products, measured in turns, that training reaches: 6 operations a parameter and token, attention not counted. @param {Settings} settings */
async function productShare({ runs, progress }) {
  const options = trainingOptions("knossos", 8, 256);
  const tokens = options.batch * options.length;
  const ours = await openTraining(options);
  try {
    const measured = await alternate(
      async () => (6e-9 * ours.parameters * tokens) / median((await ours.steps(stepsATurn)).seconds),
      async () => productRate(options.threads),
      runs,
      (line) => progress(`  ${line} GFLOP/s`),
    );
    const rates = [measured.a, measured.b].map((values) => median(values).toFixed(0));
    return { ...ratio(measured), note: `training ${rates[0]} GFLOP/s, products ${rates[1]}` };
  } finally {
    await ours.close();
  }
}

/** Time of a LoRA's step over a full one's. @param {Settings} settings */
async function loraShare({ runs, progress }) {
  const options = trainingOptions("knossos", 8, 256);
  const [full, lora] = [await openTraining(options), await openTraining(options, { rank: 8 })];
  try {
    const measured = await alternate(
      async () => median((await lora.steps(stepsATurn)).seconds),
      async () => median((await full.steps(stepsATurn)).seconds),
      runs,
      (line) => progress(`  ${line} s`),
    );
    return ratio(measured);
  } finally {
    await full.close();
    await lora.close();
  }
}

/** Gigabytes that training takes at its peak, all of the process. @param {number} length @param {boolean} recompute */
const peakMemory = (length, recompute) => async () => {
  const child = startChild(process.execPath, [fileURLToPath(new URL("training/memory.mjs", import.meta.url))]);
  try {
    const options = trainingOptions("knossos", 8, length);
    const value = (await child.call("train", { options, recompute, steps: 2 })) / 1e9;
    return { value, runs: [value] };
  } finally {
    await child.close();
  }
};

/** The steps must be the same computation, or their times say nothing. */
function lossDifference() {
  const steps = 5;
  return againstTorch(trainingOptions("small", 4, 32), async (ours, { torch }) => {
    const left = (await ours.steps(steps)).losses;
    /** @type {{ losses: number[] }} */
    const { losses: right } = await torch.call("steps", { count: steps });
    const differences = left.map((loss, step) => Math.abs(loss - right[step]));
    return {
      value: Math.max(...differences),
      runs: differences,
      note: `first loss ${left[0].toFixed(4)}, last ${left[steps - 1].toFixed(4)}`,
    };
  });
}

/** @type {import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  {
    what: "training step, knossos shape, 8 × 256 tokens, tokens/s against PyTorch",
    target: atLeast(1.5),
    measure: stepSpeed,
  },
  {
    what: "training step, knossos shape, share of the f32 product rate (6 × parameters × tokens)",
    target: atLeast(0.45),
    measure: productShare,
  },
  {
    what: "step of a LoRA (rank 8, q_proj and v_proj) over a full one",
    target: atMost(0.7),
    measure: loraShare,
  },
  {
    what: "memory at its peak, knossos shape, 8 × 256 tokens",
    target: atMost(4, " GB"),
    measure: peakMemory(256, false),
  },
  {
    what: "memory at its peak, knossos shape, 8 × 1024 tokens, with recomputation",
    target: atMost(4, " GB"),
    measure: peakMemory(1024, true),
  },
  {
    what: "largest difference of the losses from PyTorch's over 5 steps, small shape",
    target: atMost(0.001, ""),
    measure: lossDifference,
  },
];
