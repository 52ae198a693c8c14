/** Decoding: speed against node-llama-cpp on the same weights, and what a pass, a fork, a batch and a start cost. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { startChild } from "./harness/child.mjs";
import { alternate, format, median, ratio } from "./harness/measure.mjs";
import { atLeast, atMost, reported } from "./harness/report.mjs";
import { commandLine, openModel, shippedModel } from "./ours.mjs";
import { describeSettings, fastestSettings, startLlamaCpp } from "./peers/llama-cpp.mjs";
import { promptsOf, textsMissing } from "./texts.mjs";
import { ggufInCache, ggufOf } from "./weights/gguf.mjs";
import { randomCheckpoint, randomPrompt } from "./weights/random.mjs";
import { shapes } from "./weights/shapes.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

const threads = 2;
const absent = { skipped: "models/knossos is absent" };

/**
 * Tokens per second of greedy decoding, ours over the peer's, from the same weights and ours with two threads.
 * @param {keyof typeof shapes} shape @param {number} context tokens before the first timed one
 * @param {number} count timed tokens
 * @param {readonly number[]} peerThreads the peer runs with whichever of these is fastest, flash attention likewise
 * @param {boolean} sameFile both sides read the Q4_0 file; otherwise ours makes its own 4-bit blocks of the checkpoint that the
 *   file was made of
 * @returns {(settings: Settings) => Promise<Measurement>}
 */
function againstLlamaCpp(shape, context, count, peerThreads, sameFile) {
  return async ({ quick, runs, progress }) => {
    const timed = quick ? count / 4 : count;
    const gguf = ggufOf(randomCheckpoint(shape), "Q4_0");
    const prompt = randomPrompt(context, shapes[shape].vocab_size);
    const peer = startLlamaCpp(gguf, { contextSize: context + count + 64 });
    const ours = sameFile
      ? await openModel(gguf, { threads })
      : await openModel(randomCheckpoint(shape), { threads, weights: "int4" });
    try {
      const { settings, tried } = await fastestSettings(peer, peerThreads, prompt, timed / 2);
      progress(`  node-llama-cpp: ${tried.map(describeSettings).join("; ")}`);
      await peer.open(settings);
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

/**
 * Both sides must compute the same model, or their times say nothing: the share of greedy tokens that agree on knossos going on with stories,
 * each text counted up to the first that differs or to its end. Both round to eight bits what their 4-bit products take, each kernel in
 * its own way, so that near ties part: how near they were is in the note.
 * @param {Settings} settings @returns {Promise<Measurement>}
 */
async function agreement({ quick, progress }) {
  const folder = shippedModel("knossos");
  if (!folder) return absent;
  const missing = textsMissing();
  if (missing) return { skipped: missing };
  const gguf = ggufInCache(folder, "Q4_0");
  const count = quick ? 16 : 64;
  const peer = startLlamaCpp(gguf, { contextSize: 512 });
  const ours = await openModel(gguf, { threads });
  try {
    await peer.open({ threads: 1, flashAttention: false });
    const shares = [];
    let lead = 0;
    for (const prompt of promptsOf("stories", quick ? 4 : 32, 48, (text) => [
      ...(ours.model.tokenizer?.encode(text) ?? []),
    ])) {
      const { tokens: left } = await ours.generate(prompt, count, { minTokens: 0 });
      const right = (await peer.generate(prompt, count)).tokens;
      const parting = left.findIndex((token, i) => token !== right[i]);
      shares.push(parting < 0 ? 1 : parting / left.length);
      if (parting >= 0) lead = Math.max(lead, await ours.lead([...prompt, ...left.slice(0, parting)], right[parting]));
      progress(`  text ${shares.length}: ${parting < 0 ? "all" : parting} of ${left.length} tokens agree`);
    }
    const value = shares.reduce((a, b) => a + b) / shares.length;
    return { value, runs: shares, note: `where they part, ours is ahead by at most ${format(lead)} nats` };
  } finally {
    await ours.close();
    await peer.close();
  }
}

/** @param {number} rows @returns {(settings: Settings) => Promise<Measurement>} */
function passOver(rows) {
  return async ({ runs }) => {
    const ours = await openModel(randomCheckpoint("135m"), { threads, weights: "int4" });
    try {
      const measured = await alternate(
        () => ours.passSeconds(128, rows),
        () => ours.passSeconds(128, 1),
        runs,
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
  const folder = shippedModel("knossos");
  if (!folder) return absent;
  const ours = await openModel(folder, { threads });
  try {
    const prompt = randomPrompt(512, shapes.knossos.vocab_size);
    const computed = await ours.rowsOfSamples(prompt, 16);
    return {
      value: computed / prompt.length,
      runs: [computed / prompt.length],
      note: `${computed} rows computed for 16 times ${prompt.length} prompt tokens`,
    };
  } finally {
    await ours.close();
  }
}

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function concurrentRequests({ runs, quick, progress }) {
  const folder = shippedModel("knossos");
  if (!folder) return absent;
  const count = quick ? 32 : 128;
  const ours = await openModel(folder, { threads });
  const prompts = Array.from({ length: 16 }, (_, index) => randomPrompt(32, shapes.knossos.vocab_size, index));
  try {
    const measured = await alternate(
      () => ours.together(prompts, count),
      () => ours.together(prompts.slice(0, 1), count),
      runs,
      (line) => progress(`  ${line} tokens/s`),
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
  if (!shippedModel("knossos")) return absent;
  if (!existsSync(commandLine)) return { skipped: `${commandLine} is absent` };
  const times = [];
  for (let run = 0; run <= runs; run++) times.push(1000 * (await firstOutputSeconds()));
  return { value: median(times.slice(1)), runs: times.slice(1) }; // the first start reads the files from disk
}

/**
 * Resident memory after 1,000 generations over that after the first half of them, in a process of its own.
 * @param {Settings} settings @returns {Promise<Measurement>}
 */
async function residentMemory({ quick, progress }) {
  const folder = shippedModel("knossos");
  if (!folder) return absent;
  const half = quick ? 50 : 500;
  const script = fileURLToPath(new URL("generations.mjs", import.meta.url));
  const child = startChild(process.execPath, ["--expose-gc", script]);
  try {
    await child.call("open", { folder, threads });
    /** @type {number[]} */
    const megabytes = [];
    for (const seed of [1, 2]) {
      const { resident, aborted } = await child.call("generate", { count: half, seed });
      megabytes.push(resident / 2 ** 20);
      progress(
        `  ${megabytes[seed - 1].toFixed(1)} MiB after ${seed * half} generations (${aborted} of ${half} aborted)`,
      );
    }
    const value = megabytes[1] / megabytes[0];
    return { value, runs: [value], note: megabytes.map((size) => `${size.toFixed(1)} MiB`).join(", then ") };
  } finally {
    await child.close();
  }
}

/**
 * The most memory a process held while it loaded a model and decoded a little, over what it holds afterwards.
 * @param {string} title @param {() => string} path @param {"auto" | "f32" | "int8" | "int4"} weights
 */
const loadingMemory = (title, path, weights) => ({
  what: `memory at its peak while loading the ${title}, over what is held afterwards`,
  target: atMost(1.2),
  /** @returns {Promise<Measurement>} */
  measure: async () => {
    const small = shippedModel("knossos");
    if (!small) return absent;
    if (!existsSync("/proc/self/status")) return { skipped: "resident sizes are read from /proc, which is absent" };
    const script = fileURLToPath(new URL("loading.mjs", import.meta.url));
    const child = startChild(process.execPath, [script]);
    try {
      const { peak, after } = await child.call("load", { small, path: path(), weights, threads });
      const sizes = [peak, after].map((bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`);
      return { value: peak / after, runs: [peak / after], note: `${sizes[0]} against ${sizes[1]}` };
    } finally {
      await child.close();
    }
  },
});

/** Seconds from starting the command line to its first byte of text. */
function firstOutputSeconds() {
  return new Promise((resolve, reject) => {
    const start = process.hrtime.bigint();
    const child = spawn(
      process.execPath,
      [commandLine, "run", "--model", "knossos", "--max-tokens", "4", "Once upon a time"],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    /** @type {number | undefined} */
    let seconds;
    let talk = "";
    child.stderr.on("data", (text) => {
      talk += text;
    });
    child.stdout.on("data", () => {
      seconds ??= Number(process.hrtime.bigint() - start) / 1e9;
    });
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 && seconds !== undefined
        ? resolve(seconds)
        : reject(new Error(`ventris run exited with ${code}: ${talk.trim()}`)),
    );
  });
}

/** Each shape and context against the peer at its best, as the target says, and against it with our number of threads. */
const comparisons = [
  { shape: "135m", title: "135M shape, context 128–256", context: 128, count: 128, bound: 1.3 },
  { shape: "135m", title: "135M shape, context 2048", context: 2016, count: 64, bound: 1.3 },
  { shape: "1b", title: "1B shape, context 128–192", context: 128, count: 64, bound: 1.1 },
].flatMap(({ shape, title, context, count, bound }) => {
  const row = (
    /** @type {string} */ condition,
    /** @type {import("./harness/report.mjs").Target} */ target,
    /** @type {number[]} */ peerThreads,
    sameFile = false,
  ) => ({
    what: `greedy tokens/s, ${title}, against node-llama-cpp ${condition}`,
    target,
    measure: againstLlamaCpp(/** @type {keyof typeof shapes} */ (shape), context, count, peerThreads, sameFile),
  });
  return [
    row("with its fastest settings", atLeast(bound), [1, threads]),
    row("with 2 threads", reported(), [threads]),
    row("with 2 threads, both from the Q4_0 file", reported(), [threads], true),
  ];
});

/** @type {import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  ...comparisons,
  {
    what: "greedy tokens that agree with node-llama-cpp's, knossos as Q4_0, up to the first difference",
    target: reported(""),
    measure: agreement,
  },
  { what: "one pass over 4 rows against 1 row, 135M shape", target: atMost(1.5), measure: passOver(4) },
  { what: "one pass over 8 rows against 1 row, 135M shape", target: atMost(2.2), measure: passOver(8) },
  {
    what: "forking: rows computed for 16 samples of a 512-token prompt over the prompt's length",
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
    target: atMost(1500, " ms"),
    measure: startToFirstToken,
  },
  {
    what: "resident memory after 1,000 generations with random aborts, last half over first half",
    target: atMost(1.05),
    measure: residentMemory,
  },
  loadingMemory("135M shape as float32 from F16 safetensors", () => randomCheckpoint("135m"), "f32"),
  loadingMemory("1B shape in 8 bits from F16 safetensors", () => randomCheckpoint("1b"), "int8"),
  loadingMemory("1B shape in 4 bits from a Q4_0 file", () => ggufOf(randomCheckpoint("1b"), "Q4_0"), "auto"),
];
