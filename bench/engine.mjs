/** Decoding: speed against node-llama-cpp on the same weights, and what a pass, a fork and a batch cost. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { alternate, median, ratio } from "./harness/measure.mjs";
import { atLeast, atMost } from "./harness/report.mjs";
import { openModel } from "./ours.mjs";
import { describeSettings, openFastest, startLlamaCpp } from "./peers/llama-cpp.mjs";
import { ggufOf } from "./weights/gguf.mjs";
import { randomCheckpoint, randomPrompt } from "./weights/random.mjs";
import { shapes } from "./weights/shapes.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

const threads = 2;
const root = fileURLToPath(new URL("..", import.meta.url));
const knossos = `${root}models/knossos`;

/**
 * Tokens per second of greedy decoding, ours over the peer's, both from the same checkpoint.
 * @param {keyof typeof shapes} shape @param {number} context tokens before the first timed one
 * @param {number} count timed tokens
 * @returns {(settings: Settings) => Promise<Measurement>}
 */
function againstLlamaCpp(shape, context, count) {
  return async ({ quick, runs, progress }) => {
    const timed = quick ? count / 4 : count;
    const folder = randomCheckpoint(shape);
    const gguf = ggufOf(folder, "Q4_0");
    const prompt = randomPrompt(context, shapes[shape].vocab_size);
    const peer = startLlamaCpp(gguf, { contextSize: context + count + 64 });
    const ours = await openModel(folder, { weights: "int4", threads });
    try {
      const { settings, tried } = await openFastest(peer, threads, prompt, timed);
      progress(`  node-llama-cpp: ${tried.map(describeSettings).join("; ")}`);
      const measured = await alternate(
        async () => timed / (await ours.generate(prompt, timed)).seconds,
        async () => timed / (await peer.generate(prompt, timed)).seconds,
        runs,
        (line) => progress(`  ${line} tokens/s`),
      );
      const peerText = describeSettings({ ...settings, tokensPerSecond: median(measured.b) });
      return { ...ratio(measured), note: `ours ${median(measured.a).toFixed(1)}/s, node-llama-cpp ${peerText}` };
    } finally {
      await ours.close();
      await peer.close();
    }
  };
}

/** @param {number} rows @returns {(settings: Settings) => Promise<Measurement>} */
function passOver(rows) {
  return async ({ runs }) => {
    const ours = await openModel(randomCheckpoint("135m"), { weights: "int4", threads });
    try {
      const measured = await alternate(
        () => ours.passSeconds(128, rows),
        () => ours.passSeconds(128, 1),
        runs * 4,
      );
      const milliseconds = [measured.a, measured.b].map((times) => `${(median(times) * 1e3).toFixed(2)} ms`);
      return { ...ratio(measured), note: `${milliseconds[0]} against ${milliseconds[1]}` };
    } finally {
      await ours.close();
    }
  };
}

/** @returns {Promise<Measurement>} */
async function forkingWork() {
  const ours = await openModel(randomCheckpoint("knossos"), { weights: "f32", threads });
  try {
    const prompt = randomPrompt(shapes.knossos.max_position_embeddings - 16, shapes.knossos.vocab_size);
    const computed = await ours.prefillOfSamples(prompt, 16);
    return {
      value: computed / prompt.length,
      runs: [computed / prompt.length],
      note: `${computed} of ${prompt.length} prompt tokens computed`,
    };
  } finally {
    await ours.close();
  }
}

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function concurrentRequests({ runs, quick }) {
  if (!existsSync(knossos)) return { skipped: "models/knossos is absent" };
  const count = quick ? 32 : 128;
  const ours = await openModel(knossos, { weights: "f32", threads });
  const prompts = Array.from({ length: 16 }, (_, index) => randomPrompt(32, shapes.knossos.vocab_size, index));
  try {
    const measured = await alternate(
      async () => (16 * count) / (await ours.generateTogether(prompts, count)),
      async () => count / (await ours.generateTogether(prompts.slice(0, 1), count)),
      runs,
    );
    return {
      ...ratio(measured),
      note: `${median(measured.a).toFixed(0)} against ${median(measured.b).toFixed(0)} tokens/s`,
    };
  } finally {
    await ours.close();
  }
}

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function startToFirstToken({ runs }) {
  if (!existsSync(knossos)) return { skipped: "models/knossos is absent" };
  const times = [];
  for (let run = 0; run <= runs; run++) times.push(await firstOutputSeconds());
  return { value: median(times.slice(1)), runs: times.slice(1) }; // the first start reads the files from disk
}

/** Seconds from starting the command line to its first byte of text. */
function firstOutputSeconds() {
  return new Promise((resolve, reject) => {
    const start = process.hrtime.bigint();
    const child = spawn(
      process.execPath,
      [`${root}dist/cli/main.js`, "run", "--model", "knossos", "--max-tokens", "1", "Once upon a time"],
      {
        cwd: root,
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    /** @type {number | undefined} */
    let seconds;
    child.stdout.on("data", () => {
      seconds ??= Number(process.hrtime.bigint() - start) / 1e9;
    });
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 && seconds !== undefined ? resolve(seconds) : reject(new Error(`ventris run exited with ${code}`)),
    );
  });
}

/** @type {import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  {
    what: "greedy tokens/s, 135M shape, context 128–256, against node-llama-cpp",
    target: atLeast(2),
    measure: againstLlamaCpp("135m", 128, 128),
  },
  {
    what: "greedy tokens/s, 135M shape, context 2048, against node-llama-cpp",
    target: atLeast(1.5),
    measure: againstLlamaCpp("135m", 2016, 64),
  },
  {
    what: "greedy tokens/s, 1B shape, context 128–192, against node-llama-cpp",
    target: atLeast(1.1),
    measure: againstLlamaCpp("1b", 128, 64),
  },
  { what: "one pass over 4 rows against 1 row, 135M shape", target: atMost(1.6), measure: passOver(4) },
  { what: "one pass over 8 rows against 1 row, 135M shape", target: atMost(2.3), measure: passOver(8) },
  {
    what: "forking: prompt tokens computed for 16 samples over the prompt's length",
    target: atMost(1),
    measure: forkingWork,
  },
  {
    what: "16 concurrent requests against one on knossos, total tokens/s",
    target: atLeast(4),
    measure: concurrentRequests,
  },
  {
    what: "ventris run on knossos, process start to first token",
    target: atMost(1.5, " s"),
    measure: startToFirstToken,
  },
];
