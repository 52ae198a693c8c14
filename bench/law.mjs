/**
 * Whether methods that say several tokens a pass draw from the model's own law: many samples through their public decoding, of a model so small
 * that the law of its texts can be enumerated, by chi-square.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { format } from "./harness/measure.mjs";
import { atLeast } from "./harness/report.mjs";
import { openRaw } from "./ours.mjs";
import { writeSafetensors } from "./weights/safetensors.mjs";
import { llamaTensors } from "./weights/shapes.mjs";

/** Guesses are first verified two rounds after the prompt. */
const length = 4;
const prompt = [1, 2, 1, 2, 0, 1, 2];
const shapings = [1, 0.8].flatMap((temperature) => [1, 0.8].map((topP) => ({ temperature, topP })));
/** Samples of all shapings together. */
const samples = 100_000;
const together = 500;

const shape = { hidden_size: 16, intermediate_size: 16, num_hidden_layers: 2, num_attention_heads: 2 };
const sizes = { ...shape, num_key_value_heads: 1, vocab_size: 3, max_position_embeddings: 64 };
const config = {
  ...sizes,
  ...{ architectures: ["LlamaForCausalLM"], model_type: "llama", hidden_act: "silu", rms_norm_eps: 1e-5 },
  ...{ rope_theta: 10000, tie_word_embeddings: true, bos_token_id: null, eos_token_id: null },
};

/** Numbers without a pattern. @param {number} count @param {number} scale @param {number} [phase] */
const numbers = (count, scale, phase = 0) =>
  Float32Array.from({ length: count }, (_, i) => scale * Math.sin(i * 12.9898 + (i % 7) + phase));

/** @type {Promise<{ model: any, close(): Promise<void> }> | undefined} */
let opened;
/** A model of three tokens with parts that nobody trained, but for EAGLE's, which is the model's last layer. */
const toy = () => {
  opened ??= (async () => {
    const folder = mkdtempSync(join(tmpdir(), "ventris-law-"));
    process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    let phase = 0;
    writeSafetensors(
      join(folder, "model.safetensors"),
      llamaTensors(config),
      "F32",
      ({ name, shape: [rows, columns = 1] }) => {
        const values = name.includes("norm")
          ? new Float32Array(rows).fill(1)
          : numbers(rows * columns, name.includes("embed") ? 0.6 : 1.4 / Math.sqrt(columns), phase++);
        return [new Uint8Array(values.buffer)];
      },
    );
    const model = await openRaw(folder, { threads: 1 });
    await writeParts(model, folder);
    return { model, close: () => model.close() };
  })();
  return opened;
};

/** @param {any} model @param {string} folder */
async function writeParts(model, folder) {
  const width = config.hidden_size;
  /** @param {string} name @param {object} card @param {[string, number[], Float32Array][]} tensors */
  const write = (name, card, tensors) =>
    model.writePart(join(folder, "parts", name), {
      ...{ kind: name, sites: ["layers.0.residual"], ...card },
      tensors: new Map(tensors.map(([tensor, shape, values]) => [tensor, { shape, values }])),
    });
  const steps = [1, 2, 3];
  const square = [width, width];
  await write("medusa", { kind: "heads" }, [
    ...steps.map((k) => /** @type {any} */ ([`weight.${k}`, square, numbers(width * width, 0.3, k)])),
    ...steps.map((k) => /** @type {any} */ ([`bias.${k}`, [width], numbers(width, 0.1, k)])),
  ]);
  await write("prompt-tokens", { settings: { tokens: 3 } }, [["vectors", [3, width], numbers(3 * width, 0.6)]]);
  await write(
    "hidden-transfer",
    { settings: { layers: [1, 1, 1] } },
    steps.map((k) => [`weight.${k}`, square, numbers(width * width, 0.3, k)]),
  );
  const last = config.num_hidden_layers - 1;
  const values = await model.parameterValues((/** @type {string} */ name) => name.includes(`layers.${last}.`));
  const fused = numbers(2 * width * width, 0.1);
  for (let i = 0; i < width; i++) fused[i * 2 * width + width + i] += 1;
  const layer = model.family
    .parameters({ ...model.config, layers: 1 })
    .filter(({ name }) => name.includes("layers.0.") && !name.includes("input_layernorm"))
    .map(({ name, shape }) => [name, [...shape], values.get(name.replace("layers.0.", `layers.${last}.`)).slice()]);
  await write("eagle", {}, [
    ["fc.weight", [width, 2 * width], fused],
    ["fc.bias", [width], new Float32Array(width)],
    ...layer,
  ]);
}

/** Of every text, by its tokens. @param {any} model @param {{ temperature: number, topP: number }} shaping */
async function lawOf(model, { temperature, topP }) {
  /** @type {Map<string, number>} */
  const law = new Map();
  const lease = model.forest.lease();
  /** @param {any} node @param {number[]} output @param {number} probability @returns {Promise<void>} */
  const spread = async (node, output, probability) => {
    const all = [.../** @type {Float32Array} */ (node.logits)].map((x) => Math.exp(x / temperature));
    const total = all.reduce((a, b) => a + b, 0);
    let mass = 0;
    const kept = [...all.keys()]
      .sort((a, b) => all[b] - all[a])
      .filter((token) => {
        const before = mass;
        if (before < topP) mass += all[token] / total;
        return before < topP;
      });
    for (const token of kept) {
      const [text, p] = [[...output, token], (probability * all[token]) / total / mass];
      if (text.length === length) law.set(text.join(), p);
      else await spread((await lease.extend([{ parent: node, token }]))[0], text, p);
    }
  };
  await spread((await lease.prefill(prompt)).node, [], 1);
  lease.close();
  return law;
}

/** @param {Map<string, number>} counts @param {Map<string, number>} law @param {number} draws probability of a statistic as large or larger */
function pValue(counts, law, draws) {
  let [statistic, cells, rare, found] = [0, 0, 0, 0];
  for (const [text, probability] of law) {
    const [expected, count] = [probability * draws, counts.get(text) ?? 0];
    if (expected < 5) [rare, found] = [rare + expected, found + count];
    else [statistic, cells] = [statistic + (count - expected) ** 2 / expected, cells + 1];
  }
  if (rare > 0) [statistic, cells] = [statistic + (found - rare) ** 2 / rare, cells + 1];
  // Wilson and Hilferty's normal deviate, and the upper tail of the normal law (Abramowitz and Stegun 7.1.26).
  const spread = 2 / (9 * (cells - 1));
  const z = (Math.cbrt(statistic / (cells - 1)) - (1 - spread)) / Math.sqrt(spread);
  const t = 1 / (1 + (0.3275911 * Math.abs(z)) / Math.SQRT2);
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const tail = (series * Math.exp((-z * z) / 2)) / 2;
  return z > 0 ? tail : 1 - tail;
}

const guessed = { budget: 6, estimate: "draft" };
/** @type {Record<string, object>} */
const options = {
  medusa: guessed,
  "prompt-tokens": guessed,
  "hidden-transfer": guessed,
  eagle: { budget: 6, width: 3 },
  "self-speculative": { budget: 4, skip: ["mlp.0", "attention.1"] },
  "lexical-units": { verify: true, pad: config.vocab_size - 1 },
};

/** @param {string} name of a method */
export const lawRow = (name) => ({
  what: `chi-square of 100,000 samples against the enumerated law: ${name}, smallest p value`,
  target: atLeast(1e-3, ""),
  measure: async (/** @type {import("./harness/report.mjs").Settings} */ { quick, progress }) => {
    const { model } = await toy();
    const draws = (quick ? samples / 50 : samples) / shapings.length;
    const runs = [];
    const notes = [];
    let [generated, passes] = [0, 0];
    for (const shaping of shapings) {
      const law = await lawOf(model, shaping);
      /** @type {Map<string, number>} */
      const counts = new Map();
      for (let first = 0; first < draws; first += together) {
        const finals = Array.from({ length: Math.min(together, draws - first) }, (_, i) => {
          const request = {
            ...shaping,
            maxTokens: length,
            seed: 11 + Object.keys(options).indexOf(name),
            request: first + i,
          };
          return model.decode(prompt, { ...request, method: { name, ...options[name] } }).final;
        });
        for (const { tokens, counters } of await Promise.all(finals)) {
          const text = tokens.join();
          if (!law.has(text)) throw new Error(`${name} said ${text}, which the model cannot say`);
          counts.set(text, (counts.get(text) ?? 0) + 1);
          generated += counters.generated - 1;
          passes += (counters.generated - 1) / counters.tokensPerPass;
        }
      }
      const p = pValue(counts, law, draws);
      runs.push(p);
      notes.push(`temperature ${shaping.temperature}, top-p ${shaping.topP}: ${format(p)} over ${law.size} texts`);
      progress(`  ${notes[notes.length - 1]}`);
    }
    const note = `${draws} samples each; ${notes.join("; ")}; ${format(generated / passes)} tokens a pass`;
    return { value: Math.min(...runs), runs, note };
  },
});
