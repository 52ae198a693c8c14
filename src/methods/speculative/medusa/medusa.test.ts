/** Heads against a calculation in float64, what is refused, and what happens where heads fail or the context ends. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { someNumbers } from "../../../../test/conformance/entries.ts";
import { removeModel, type TinyModel, vocabularySize, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../../calls.ts";
import { type Model, open } from "../../../open.ts";
import { writeSafetensors } from "../../../weights/index.ts";
import { openHeads } from "./heads.ts";

vi.setConfig({ testTimeout: 180_000 }); // seconds of work at most, but the machine may be busy

const width = 32;
let tiny: TinyModel;
let other: TinyModel;
let model: Model;
beforeAll(async () => {
  [tiny, other] = await Promise.all([
    writeTinyModel({ tokenizer: true, config: { eos_token_id: undefined } }),
    writeTinyModel({ tokenizer: true, seed: 2 }),
  ]);
  model = await open(tiny.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await Promise.all([tiny, other].map(removeModel));
});

type Tensors = Record<string, { shape: number[]; values: Float32Array<ArrayBuffer> }>;
const headTensors = (numbers: (count: number, head: number) => Float32Array<ArrayBuffer>, count = 2): Tensors =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) => [
      [`weight.${i + 1}`, { shape: [width, width], values: numbers(width * width, i) }],
      [`bias.${i + 1}`, { shape: [width], values: numbers(width, i) }],
    ]).flat(),
  );
async function writeHeads(name: string, tensors: Tensors, of = model, folder = tiny.folder): Promise<string> {
  const path = join(folder, "parts", name);
  await of.writePart(path, { kind: "heads", sites: ["layers.1.residual"], tensors: new Map(Object.entries(tensors)) });
  return path;
}

/** x + silu(W x + b), in float64. */
function block(x: ArrayLike<number>, weight: ArrayLike<number>, bias: ArrayLike<number>): Float64Array {
  return Float64Array.from(x, (value, row) => {
    let sum = bias[row];
    for (let i = 0; i < width; i++) sum += weight[row * width + i] * x[i];
    return value + sum / (1 + Math.exp(-sum));
  });
}
const product = (matrix: ArrayLike<number>, x: Float64Array): Float64Array =>
  Float64Array.from({ length: vocabularySize }, (_, row) =>
    x.reduce((sum, v, i) => sum + matrix[row * width + i] * v, 0),
  );
const norm = (x: Float64Array): Float64Array => {
  const gain = tiny.weights.get("model.norm.weight")!.data;
  const scale = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / width + 1e-5);
  return x.map((v, i) => v * scale * gain[i]);
};
const embeddings = (): ArrayLike<number> => tiny.weights.get("model.embed_tokens.weight")!.data;
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);

const text = [5, 9, 2, 33, 14];
const stateAt = (site: string): Float64Array => {
  let state = new Float64Array(width);
  tiny.logits(text, (name, row, value) => {
    if (name === site && row === text.length - 1) state = value.slice();
  });
  return state;
};

describe("heads", () => {
  test("of our own share the model's norm and output matrix", async () => {
    const tensors = headTensors((count, head) => someNumbers(count, 0.2 + 0.1 * head));
    await writeHeads("own", tensors);
    const heads = await openHeads(model, "own");
    expect([heads.count, heads.site]).toEqual([2, "layers.1.residual"]);
    const state = stateAt("layers.1.residual");
    const logits = await heads.logits(Float32Array.from(state));
    for (const k of [1, 2]) {
      const turned = block(state, tensors[`weight.${k}`].values, tensors[`bias.${k}`].values);
      expect(difference(logits[k - 1], product(embeddings(), norm(turned)))).toBeLessThan(1e-4);
    }
  });

  test.each(["", "medusa_head."])("as published load by their names, %j before them", async (prefix) => {
    const folder = join(tiny.folder, `published ${prefix}`);
    const blocks = [0, 1].map((head) =>
      [0, 1].map((at) => ({
        weight: someNumbers(width * width, 0.1 + 0.05 * (2 * head + at)),
        bias: someNumbers(width, 0.3),
      })),
    );
    const outputs = [0, 1].map((head) => someNumbers(vocabularySize * width, 0.5 + head));
    await writePublished(folder, { medusa_num_heads: 2, medusa_num_layers: 2 }, [
      ...blocks.flatMap((own, head) =>
        own.flatMap(({ weight, bias }, at) => [
          { name: `${prefix}${head}.${at}.linear.weight`, shape: [width, width], data: weight },
          { name: `${prefix}${head}.${at}.linear.bias`, shape: [width], data: bias },
        ]),
      ),
      ...outputs.map((data, head) => ({ name: `${prefix}${head}.2.weight`, shape: [vocabularySize, width], data })),
    ]);
    const heads = await openHeads(model, folder);
    expect(heads.site).toBe("final");
    const state = norm(stateAt("layers.1.residual"));
    const logits = await heads.logits(Float32Array.from(state));
    for (const head of [0, 1]) {
      const turned = blocks[head].reduce<Float64Array>((x, { weight, bias }) => block(x, weight, bias), state);
      expect(difference(logits[head], product(outputs[head], turned))).toBeLessThan(1e-3);
    }
    const run = { temperature: 0, maxTokens: 20, frequencyPenalty: 2 };
    const method = methodChoice({ name: "medusa", heads: folder, budget: 6, estimate: "draft" });
    expect((await model.decode(text, { ...run, method }).final).tokens).toEqual(
      (await model.decode(text, run).final).tokens,
    );
  });

  test("are refused where they do not fit", async () => {
    const published = (name: string) => join(tiny.folder, name);
    await writePublished(published("few"), { medusa_num_heads: 2 }, onePublishedHead());
    await expect(openHeads(model, published("few"))).rejects.toThrow(/1\.0\.linear\.weight is missing.*2 heads/);
    await writePublished(published("wide"), { medusa_num_heads: 1 }, onePublishedHead(vocabularySize + 1));
    await expect(openHeads(model, published("wide"))).rejects.toThrow(
      /0\.1\.weight has shape \[65,32\].*asks for \[64,32\]/,
    );
    await writePublished(published("count"), { medusa_num_heads: 99 }, onePublishedHead());
    await expect(openHeads(model, published("count"))).rejects.toThrow(/medusa_num_heads/);
    // What others publish takes no part's place, and files that could run code are not read.
    const taken = published("taken");
    await writePublished(taken, { medusa_num_heads: 1 }, onePublishedHead());
    expect((await openHeads(model, taken)).count).toBe(1);
    await model.writePart(join(tiny.folder, "parts", "of that name"), {
      ...{
        kind: "heads",
        name: `${taken}/`,
        tensors: new Map(Object.entries(headTensors((n) => someNumbers(n, 0.1)))),
      },
    });
    expect((await openHeads(model, `${taken}/`)).count).toBe(2);
    await mkdir(published("pickled"));
    await writeFile(join(published("pickled"), "medusa_lm_head.pt"), "x");
    await expect(openHeads(model, published("pickled"))).rejects.toThrow(
      /medusa_lm_head\.pt is not read, .*: medusa_lm_head\.safetensors is wanted/,
    );
    await writeHeads("short", {
      ...headTensors((n) => someNumbers(n, 0.1)),
      "weight.2": { shape: [2, 2], values: someNumbers(4, 1) },
    });
    await expect(openHeads(model, "short")).rejects.toThrow(/head 2 wants weight\.2 \[32, 32\]/);
    await using second = await open(other.folder, { threads: 1 });
    const path = await writeHeads(
      "foreign",
      headTensors((n) => someNumbers(n, 0.1)),
      second,
      other.folder,
    );
    await expect(openHeads(model, path)).rejects.toThrow(/was trained on another model/);
    const decode = (options: Record<string, unknown>) =>
      model.decode(text, { method: methodChoice({ name: "medusa", ...options }), maxTokens: 4 }).final;
    await expect(decode({ heads: "nobody" })).rejects.toThrow(/no part "nobody"/);
    await writeHeads(
      "two",
      headTensors((n) => someNumbers(n, 0.1)),
    );
    await expect(decode({ heads: "two", levels: 3 })).rejects.toThrow(/levels: 3 tokens ahead.*guesses 2/);
    await expect(decode({ heads: "two", epsilon: 0.1 })).rejects.toThrow(
      /epsilon: means nothing with acceptance "exact"/,
    );
    await expect(decode({ heads: "two", budget: 500 })).rejects.toThrow(/budget: 500 nodes.*do not fit a pass/);
    expect(model.forest.held).toBe(0);
  });
});

const onePublishedHead = (vocabulary = vocabularySize) => [
  { name: "0.0.linear.weight", shape: [width, width], data: someNumbers(width * width, 0.1) },
  { name: "0.0.linear.bias", shape: [width], data: someNumbers(width, 0.1) },
  { name: "0.1.weight", shape: [vocabulary, width], data: someNumbers(vocabulary * width, 0.1) },
];

async function writePublished(
  folder: string,
  config: Record<string, number>,
  tensors: { name: string; shape: number[]; data: Float32Array }[],
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  const entries = tensors.map((tensor) => ({ ...tensor, type: "F32" as const }));
  await writeSafetensors(join(folder, "medusa_lm_head.safetensors"), entries);
}

describe("decoding with heads", () => {
  const method = (heads: string, more = {}) =>
    methodChoice({ name: "medusa", heads, budget: 5, estimate: "draft", ...more });

  test("takes several tokens a pass where heads are right", async () => {
    // Heads of zeros say what the model says next; and this model says one token over and over.
    await writeHeads(
      "zeros",
      headTensors((count) => new Float32Array(count), 3),
    );
    const run = { temperature: 0, maxTokens: 40 };
    const plain = await model.decode(text, run).final;
    for (const more of [{}, { by: "rank", estimate: "measured", budget: undefined }]) {
      const drafted = await model.decode(text, { ...run, method: method("zeros", more) }).final;
      expect(drafted.tokens).toEqual(plain.tokens);
      if (more.budget !== undefined || !("budget" in more)) expect(drafted.counters.tokensPerPass).toBeGreaterThan(2);
    }
    const sampled = { temperature: 0.9, seed: 4, maxTokens: 40 };
    const drafted = await model.decode(text, { ...sampled, method: method("zeros", { estimate: "measured" }) }).final;
    expect(drafted.tokens).toEqual((await model.decode(text, sampled).final).tokens);
    expect(drafted.counters.accepted).toBeGreaterThan(0);
  });

  test("goes on without a draft, and says so, where heads are not finite", async () => {
    const folder = join(tiny.folder, "broken");
    const [weight, bias, output] = onePublishedHead();
    await writePublished(folder, { medusa_num_heads: 1 }, [
      weight,
      bias,
      { ...output, data: output.data.fill(3e38) /* overflows */ },
    ]);
    const run = model.decode(text, { temperature: 0, maxTokens: 10, method: method(folder) });
    const notes: (string | undefined)[] = [];
    for await (const event of run) if (event.type === "draft") notes.push(event.note);
    const { tokens, counters } = await run.final;
    expect(tokens).toEqual((await model.decode(text, { temperature: 0, maxTokens: 10 }).final).tokens);
    expect(notes[0]).toMatch(/guess 1 was not finite/);
    expect(counters.failedDrafts).toBe(8); // the last token needs no draft
    expect(counters.drafted).toBe(0);
  });

  test("typical acceptance is lossy and says so; at temperature 0 it is greedy", async () => {
    const typical = method("zeros", { acceptance: "typical" });
    const run = { temperature: 0, maxTokens: 30 };
    expect((await model.decode(text, { ...run, method: typical }).final).tokens).toEqual(
      (await model.decode(text, run).final).tokens,
    );
    const sampled = model.decode(text, {
      temperature: 1,
      maxTokens: 30,
      method: method("zeros", { acceptance: "typical", epsilon: 0.01, alpha: 0.05 }),
    });
    const reasons: string[] = [];
    for await (const event of sampled) if (event.type === "verify") reasons.push(...event.reasons);
    expect(reasons.some((reason) => /typical acceptance, not lossless/.test(reason))).toBe(true);
  });
});
