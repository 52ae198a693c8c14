/** Neurons decoded through the output matrix, against the definition in float64; planted features; clamps; bad input. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gpt2Config, removeModel, type TinyModel, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { normal } from "../../../engine/random.ts";
import { type Model, open } from "../../../open.ts";
import {
  checkComparable,
  clampNeuron,
  compareNeurons,
  conceptTokens,
  doseResponse,
  type Matrix,
  mapNeurons,
  type NeuronCheckpoint,
  type NeuronMap,
  neuronAt,
  neuronPicture,
  openNeurons,
  rankNeurons,
} from "./index.ts";

const written: Record<string, TinyModel> = {};
const checkpoints: Record<string, NeuronCheckpoint> = {};
beforeAll(async () => {
  written.llama = await writeTinyModel();
  written.untied = await writeTinyModel({ config: { tie_word_embeddings: false }, type: "BF16", shards: 3 });
  written.gpt2 = await writeTinyModel({ config: gpt2Config });
  for (const [name, { folder }] of Object.entries(written)) checkpoints[name] = await openNeurons(folder);
});
afterAll(async () => {
  for (const checkpoint of Object.values(checkpoints)) await checkpoint.close();
  for (const model of Object.values(written)) await removeModel(model);
});

const width = 32;
const tensor = (model: string, name: string): ArrayLike<number> => {
  const found = [...written[model].weights].find(([key]) => key.endsWith(name));
  expect(found, name).toBeDefined();
  return found![1].data as ArrayLike<number>;
};

/** Softmax of U · w by the definition. */
function lawOf(output: ArrayLike<number>, w: readonly number[]): { scores: number[]; law: number[] } {
  const scores = Array.from({ length: output.length / width }, (_, v) =>
    w.reduce((sum, x, i) => sum + x * output[v * width + i], 0),
  );
  const most = Math.max(...scores);
  const total = scores.reduce((sum, s) => sum + Math.exp(s - most), 0);
  return { scores, law: scores.map((s) => Math.exp(s - most) / total) };
}

const rowOf = (values: ArrayLike<number>, row: number): number[] =>
  Array.from({ length: width }, (_, i) => values[row * width + i]);

const closeTo = (map: NeuronMap, place: number, { scores, law }: ReturnType<typeof lawOf>): void => {
  const reading = neuronAt(map, place);
  const order = scores.map((_, v) => v).sort((a, b) => scores[b] - scores[a] || a - b);
  expect(reading.tokens.map(({ token }) => token)).toEqual(order.slice(0, map.settings.top));
  for (const { token, probability, score } of reading.tokens) {
    expect(Math.abs(score - scores[token])).toBeLessThan(1e-5);
    if (probability !== undefined) expect(Math.abs(probability - law[token])).toBeLessThan(1e-5);
  }
};

describe("against the definition", () => {
  test.each([64, 17, 16])("tiles of %i tokens", async (tile) => {
    const map = await mapNeurons(checkpoints.llama, { tile, top: 7, wanted: [3, 63] });
    expect(map.normaliser.length).toBe(128);
    for (const place of [0, 63, 64, 127]) {
      const up = tensor("llama", `layers.${Math.floor(place / 64)}.mlp.up_proj.weight`);
      const law = lawOf(tensor("llama", "embed_tokens.weight"), rowOf(up, place % 64));
      closeTo(map, place, law);
      expect(neuronAt(map, place)).toMatchObject({ layer: Math.floor(place / 64), neuron: place % 64 });
      expect(neuronAt(map, place).wanted).toBeCloseTo(law.law[3] + law.law[63], 6);
    }
  });

  test("an output matrix of its own, in halves and shards; gate rows; gamma; the opposite direction", async () => {
    const output = tensor("untied", "lm_head.weight");
    const gain = tensor("untied", "layers.1.post_attention_layernorm.weight");
    const map = await mapNeurons(checkpoints.untied, { matrix: "gate", input: "gamma", sign: "-", layers: [1] });
    const row = rowOf(tensor("untied", "layers.1.mlp.gate_proj.weight"), 5);
    closeTo(
      map,
      5,
      lawOf(
        output,
        row.map((x, i) => -x * gain[i]),
      ),
    );
  });

  test("what a neuron writes is a column", async () => {
    const map = await mapNeurons(checkpoints.llama, { matrix: "down", layers: [0] });
    const down = tensor("llama", "layers.0.mlp.down_proj.weight");
    const column = Array.from({ length: width }, (_, i) => down[i * 64 + 9]);
    closeTo(map, 9, lawOf(tensor("llama", "embed_tokens.weight"), column));
  });

  test("the final norm, of RMSNorm and of LayerNorm with its bias", async () => {
    const rms = (x: number[], gain: ArrayLike<number>): number[] => {
      const scale = Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / width + 1e-5);
      return x.map((v, i) => (v / scale) * gain[i]);
    };
    const llama = await mapNeurons(checkpoints.llama, { norm: "final" });
    const up = rowOf(tensor("llama", "layers.0.mlp.up_proj.weight"), 2);
    const output = tensor("llama", "embed_tokens.weight");
    closeTo(llama, 2, lawOf(output, rms(up, tensor("llama", "model.norm.weight"))));

    const gpt2 = await mapNeurons(checkpoints.gpt2, { norm: "final" });
    const inner = checkpoints.gpt2.config.feedForward;
    const stored = tensor("gpt2", "h.1.mlp.c_fc.weight");
    const row = Array.from({ length: width }, (_, i) => stored[i * inner + 4]);
    const mean = row.reduce((a, b) => a + b, 0) / width;
    const [gain, bias] = ["ln_f.weight", "ln_f.bias"].map((name) => tensor("gpt2", name));
    const normal = rms(
      row.map((x) => x - mean),
      gain,
    ).map((x, i) => x + bias[i]);
    closeTo(gpt2, inner + 4, lawOf(tensor("gpt2", "wte.weight"), normal));
  });

  test("cosines, and no probability with them", async () => {
    const map = await mapNeurons(checkpoints.llama, { metric: "cosine", tile: 16, wanted: [5] });
    const up = rowOf(tensor("llama", "layers.0.mlp.up_proj.weight"), 0);
    const output = tensor("llama", "embed_tokens.weight");
    const { scores } = lawOf(output, up);
    const length = (v: number[]): number => Math.hypot(...v);
    const cosines = scores.map((s, v) => s / (length(up) * length(rowOf(output, v))));
    closeTo(map, 0, { scores: cosines, law: [] });
    expect(neuronAt(map, 0).tokens[0].probability).toBeUndefined();
    expect(neuronAt(map, 0).wanted).toBeCloseTo(cosines[5], 5);
  });

  test("ties go to the lowest id, over tiles too", async () => {
    const model = await writeTinyModel({
      tensors(tensors) {
        const { data } = tensors.get("model.embed_tokens.weight")!;
        (data as Float32Array).fill(0.5);
      },
    });
    const checkpoint = await openNeurons(model.folder);
    const map = await mapNeurons(checkpoint, { tile: 16, top: 5, layers: [0] });
    expect(neuronAt(map, 1).tokens.map(({ token }) => token)).toEqual([0, 1, 2, 3, 4]);
    await checkpoint.close();
    await removeModel(model);
  });
});

describe("planted", () => {
  const [token, neuron] = [42, 7];
  let model: TinyModel;
  let opened: Model;
  const plant = (strength: number) =>
    writeTinyModel({
      config: { tie_word_embeddings: false },
      tensors(tensors) {
        const direction = rowOf(tensors.get("lm_head.weight")!.data as Float32Array, token);
        const up = tensors.get("model.layers.1.mlp.up_proj.weight")!.data as Float32Array;
        const gate = tensors.get("model.layers.1.mlp.gate_proj.weight")!.data as Float32Array;
        const down = tensors.get("model.layers.1.mlp.down_proj.weight")!.data as Float32Array;
        for (let i = 0; i < width; i++) {
          up[neuron * width + i] = strength * direction[i];
          down[i * 64 + neuron] = direction[i];
          gate[neuron * width + i] *= 4; // open for some rows, shut for others
        }
      },
    });
  beforeAll(async () => {
    model = await plant(1000);
    opened = await open(model.folder, { threads: 1 });
  });
  afterAll(async () => {
    await opened.close();
    await removeModel(model);
  });

  test("the token comes back, the surer the longer the row", async () => {
    const shares: number[] = [];
    for (const strength of [1, 30, 1000]) {
      const other = await plant(strength);
      const checkpoint = await openNeurons(other.folder);
      const map = await mapNeurons(checkpoint, { wanted: [token] });
      const place = 64 + neuron;
      shares.push(neuronAt(map, place).wanted!);
      if (strength === 1000) {
        expect(neuronAt(map, place).tokens[0]).toMatchObject({ token });
        expect(rankNeurons(map, "wanted", 1)[0]).toMatchObject({ layer: 1, neuron });
        expect(rankNeurons(map, "specialised", 1)[0]).toMatchObject({ layer: 1, neuron });
      }
      await checkpoint.close();
      await removeModel(other);
    }
    expect(shares[0]).toBeLessThan(shares[1]);
    expect(shares[2]).toBeGreaterThan(0.99);
  });

  test("held after the gate it makes the token the most likely, under two methods; and leaves no trace", async () => {
    const edits = [clampNeuron({ layer: 1, neuron, value: 5000, drive: "product" })];
    const plain = await opened.generate([3, 9, 11], { maxTokens: 6, temperature: 0 });
    for (const method of ["greedy", "prompt-lookup"] as const) {
      const { tokens } = await opened.generate([3, 9, 11], { maxTokens: 6, temperature: 0, method, edits });
      expect([...tokens]).toEqual(new Array(6).fill(token));
    }
    expect((await opened.generate([3, 9, 11], { maxTokens: 6, temperature: 0 })).tokens).toEqual(plain.tokens);
  });

  test("a clamp of the up-projection acts through the gate", async () => {
    const [up, product] = (["up", "product"] as const).map((drive) =>
      clampNeuron({ layer: 1, neuron, value: 50, drive }),
    );
    expect([up.site, product.site]).toEqual(["layers.1.mlp.up", "layers.1.mlp.neurons"]);
    const taps = ["layers.1.mlp.gate", "layers.1.mlp.neurons"];
    const { taps: read } = await opened.forward([3, 9, 11], { edits: [up], taps });
    const gate = read["layers.1.mlp.gate"].values;
    for (let row = 0; row < 3; row++) {
      const g = gate[row * 64 + neuron];
      expect(read["layers.1.mlp.neurons"].values[row * 64 + neuron]).toBeCloseTo((50 * g) / (1 + Math.exp(-g)), 3);
    }
  });

  test("the response to doses rises where the gate is open, and fluency falls", async () => {
    const texts = [
      [3, 9, 11, 5, 8],
      [1, 2, 3, 4],
    ];
    const options = { layer: 1, neuron, drive: "product" as const, prompts: [[3, 9]], concept: [token], texts };
    const { doses, unclamped, deviation } = await doseResponse(opened, { ...options, multiples: [1, 4, 16] });
    expect(deviation).toBeGreaterThan(0);
    const probabilities = [unclamped, ...doses].map(({ probability }) => probability);
    expect(probabilities).toEqual([...probabilities].sort((a, b) => a - b));
    expect(doses[2].value).toBeCloseTo(16 * deviation);
    expect(doses[2].perplexity).toBeGreaterThan(unclamped.perplexity);
    await expect(doseResponse(opened, { ...options, concept: [64] })).rejects.toThrow(/64 tokens: 64 is none/);
    const masked = {
      ...opened,
      config: { ...opened.config, diffusion: { maskToken: 1, padToken: undefined, shift: false } },
    };
    await expect(doseResponse(masked, options)).rejects.toThrow(/a masked diffusion model has no next token/);
  });

  test("is ended between two doses", async () => {
    const stop = new AbortController();
    let passes = 0;
    const counting = {
      ...opened,
      config: opened.config,
      forward: (...given: Parameters<typeof opened.forward>) => {
        if (++passes === 3) stop.abort();
        return opened.forward(...given);
      },
    };
    const options = { layer: 1, neuron, prompts: [[3, 9]], concept: [token], texts: [[3, 9, 11]], signal: stop.signal };
    await expect(doseResponse(counting as never, options)).rejects.toMatchObject({ code: "aborted" });
    expect(passes).toBe(3);
  });

  test("decoding is ended within a layer", async () => {
    const stop = new AbortController();
    const { llama } = checkpoints;
    const stopping = {
      ...llama,
      output(from: number, to: number) {
        stop.abort();
        return llama.output(from, to);
      },
    };
    const layers: number[] = [];
    const onProgress = (done: number): unknown => layers.push(done);
    const options = { signal: stop.signal, tile: 16, top: 4, onProgress };
    await expect(mapNeurons(stopping, options)).rejects.toMatchObject({ code: "aborted" });
    expect(layers).toEqual([]);
  });
});

describe("comparison", () => {
  test("a copy agrees, one of other weights by chance, a slightly changed one in between", async () => {
    const changed = async (share: number) => {
      const model = await writeTinyModel({
        tensors(tensors) {
          for (const [name, { data }] of tensors) {
            if (!name.endsWith("up_proj.weight")) continue;
            const values = data as Float32Array;
            const deviation = Math.hypot(...values) / Math.sqrt(values.length);
            for (let i = 0; i < values.length; i++)
              values[i] += share * deviation * normal({ seed: 9, request: 0 }, i, "initialise");
          }
        },
      });
      const checkpoint = await openNeurons(model.folder);
      const map = await mapNeurons(checkpoint);
      await checkpoint.close();
      await removeModel(model);
      return map;
    };
    const base = await mapNeurons(checkpoints.llama);
    const [same, near, far] = [await changed(0), await changed(0.2), await changed(20)].map((map) =>
      compareNeurons(base, map),
    );
    expect(same.agreement).toBe(1);
    expect(near.agreement).toBeGreaterThan(0.5);
    expect(near.agreement).toBeLessThan(1);
    expect(near.withinTop).toBeGreaterThanOrEqual(near.agreement);
    expect(far.agreement).toBeLessThan(0.2);
    expect(near.byLayer.map(({ layer }) => layer)).toEqual([0, 1]);
    expect(near.byLayer[0].agreement + near.byLayer[1].agreement).toBeCloseTo(2 * near.agreement);
    // What shuffling gives on average, from the two distributions of best tokens.
    const shares = new Map<number, number>();
    for (let i = 0; i < 128; i++) shares.set(base.tokens[10 * i], (shares.get(base.tokens[10 * i]) ?? 0) + 1 / 128);
    expect(same.expected).toBeCloseTo([...shares.values()].reduce((sum, f) => sum + f * f, 0));
    expect(Math.abs(same.shuffled - same.expected)).toBeLessThan(0.1);
  });
});

describe("bad input", () => {
  test("layers, neurons, values, settings, tokens", async () => {
    const { llama, gpt2 } = checkpoints;
    await expect(mapNeurons(llama, { layers: [2] })).rejects.toThrow(/no layer 2: the model has layers 0 to 1/);
    await expect(mapNeurons(llama, { layers: [1, 0, 1] })).rejects.toThrow(/layer 1 is asked for twice/);
    await expect(mapNeurons(llama, { tile: 0 })).rejects.toThrow(/tile must be a whole number/);
    await expect(mapNeurons(llama, { top: 0 })).rejects.toThrow(/top must be/);
    await expect(mapNeurons(llama, { wanted: [64] })).rejects.toThrow(/64 tokens: 64 is none/);
    await expect(mapNeurons(llama, { work: "" })).rejects.toThrow(/work is empty/);
    await expect(mapNeurons(llama, { wanted: [3, 5, 3] })).rejects.toThrow(/token 3 is asked for twice/);
    await expect(mapNeurons(llama, { metric: "dot" as never })).rejects.toThrow(
      /metric must be one of softmax, cosine/,
    );
    await expect(mapNeurons(gpt2, { matrix: "gate" })).rejects.toThrow(/no gate matrix \(it has up, down\)/);
    await expect(mapNeurons(llama, { matrix: "down", input: "gamma" })).rejects.toThrow(/give up or gate/);
    expect(() => clampNeuron({ layer: 0, neuron: 0, value: Number.NaN })).toThrow(/finite number, not NaN/);
    const model = await open(written.llama.folder, { threads: 1 });
    const run = (clamp: Parameters<typeof clampNeuron>[0]) =>
      model.generate([1], { maxTokens: 2, edits: [clampNeuron(clamp)] });
    await expect(async () => run({ layer: 0, neuron: 64, value: 1 })).rejects.toThrow(/64 entries.*no entry 64/);
    await expect(async () => run({ layer: 5, neuron: 0, value: 1 })).rejects.toThrow(
      /no site layers.5.mlp.up: it has \d layers/,
    );
    await model.close();
  });

  test("checkpoints of different shapes are not compared", async () => {
    const { llama, gpt2 } = checkpoints;
    expect(() => checkComparable(llama, gpt2)).toThrow(/architecture "LlamaForCausalLM" and "GPT2LMHeadModel"/);
    const other = await writeTinyModel({ config: { intermediate_size: 48 } });
    const narrow = await openNeurons(other.folder);
    expect(() => checkComparable(llama, narrow)).toThrow(/neurons of a layer 64 and 48/);
    const [a, b] = [await mapNeurons(llama, { layers: [0] }), await mapNeurons(narrow, { layers: [0] })];
    expect(() => compareNeurons(a, a, Number.NaN)).toThrow(/seed must be a whole number from 0 on, not NaN/);
    for (const place of [-1, 0.5, a.normaliser.length])
      expect(() => neuronAt(a, place)).toThrow(/place must be a whole number from 0 to \d+, not /);
    expect(() => rankNeurons(a, "specialised", -1)).toThrow(/limit must be a whole number from 0 on, not -1/);
    expect(() => compareNeurons(a, b)).toThrow(/neurons of a layer 64 and 48/);
    await narrow.close();
    await removeModel(other);
  });

  test("an abort ends within a layer, and layers that are kept are not decoded again", async () => {
    const signal = AbortSignal.abort();
    await expect(mapNeurons(checkpoints.llama, { signal })).rejects.toMatchObject({ code: "aborted" });

    const work = await mkdtemp(join(tmpdir(), "ventris-neurons-"));
    const options = { tile: 16, top: 5, wanted: [5], work };
    const { llama } = checkpoints;
    const abort = new AbortController();
    const cut = mapNeurons(llama, {
      ...options,
      signal: abort.signal,
      onProgress: (done) => done > 64 && abort.abort(), // in the second layer, which has 64 neurons as well
    });
    await expect(cut).rejects.toMatchObject({ code: "aborted" });
    expect(await readdir(work)).toEqual(["layer-0000.safetensors"]);

    const read: number[] = [];
    const watched = {
      ...llama,
      vectors(layer: number, matrix: Matrix) {
        read.push(layer);
        return llama.vectors(layer, matrix);
      },
    };
    const whole = await mapNeurons(llama, { ...options, work: undefined });
    const { seconds, ...resumed } = await mapNeurons(watched, options);
    expect(read).toEqual([1]);
    expect({ ...resumed, seconds: whole.seconds }).toEqual(whole);
    expect(seconds).toBeGreaterThan(0);

    await expect(mapNeurons(llama, { ...options, top: 4 })).rejects.toThrow(
      /made of another model or with other settings/,
    );
    const file = join(work, "layer-0001.safetensors");
    const bytes = await readFile(file);
    await writeFile(file, bytes.subarray(0, bytes.length - 8));
    await expect(mapNeurons(llama, options)).rejects.toMatchObject({ code: "bad_file" });
    await rm(work, { recursive: true });
  });

  test("a word that no token spells", async () => {
    const checkpoint = await openNeurons("models/knossos");
    const words = conceptTokens(checkpoint.tokenizer, "Dog").map((id) =>
      checkpoint.tokenizer!.decode([id], { continued: true }),
    );
    expect(new Set(words.map((word) => word.trim().toLowerCase()))).toEqual(new Set(["dog", "dogs"]));
    expect(words).toContain(" dog");
    expect(() => conceptTokens(checkpoint.tokenizer, "prinzess")).toThrow(/no token .* did you mean "princess"/);
    expect(() => conceptTokens(undefined, "dog")).toThrow(/no tokenizer/);
    expect(() => conceptTokens(checkpoint.tokenizer, " ")).toThrow(/the word to look for is empty/);
    await checkpoint.close();
  });
});

test("a picture with a row for each layer, whose texts are escaped", async () => {
  const map = await mapNeurons(checkpoints.llama);
  const svg = neuronPicture(map, (token) => `<${token}&`, "tiny & small");
  expect(svg).toContain("tiny &#38; small");
  expect(svg).not.toMatch(/<\d+&/);
  expect(svg.match(/<rect /g)!.length).toBeGreaterThan(20);
});
