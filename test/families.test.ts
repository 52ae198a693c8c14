/**
 * Families beyond Llama and GPT-2 against their definitions in float64: texts in chunks, trees of drafts, batches and reused prefixes, whole
 * sequences with every site, matrices in 8 and 4 bits, and the gradients of training.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ForestNode, Lease } from "../src/engine/forest.ts";
import { loadModel } from "../src/engine/load.ts";
import { familyOf } from "../src/models/families.ts";
import { findParameters } from "../src/models/parameters.ts";
import { type Model, open } from "../src/open.ts";
import { nextTokenObjective } from "../src/training/next-token.ts";
import { dequantizeMatrix, openWeights, quantizeMatrix } from "../src/weights/index.ts";
import { families } from "./fixtures/families.ts";
import { logSoftmax, type ReferenceTensor, referenceLogits } from "./fixtures/reference.ts";
import { type Json, removeModel, type TinyModel, vocabularySize, writeTinyModel } from "./fixtures/tiny-model.ts";

const tokensOf = (length: number, seed = 0): number[] =>
  Array.from({ length }, (_, i) => (i * i * 7 + 3 * i + 5 + seed * (i + 11)) % vocabularySize);

const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
};

const textOf = (node: ForestNode): number[] => {
  const tokens: number[] = [];
  for (let at: ForestNode | undefined = node; at; at = at.parent) tokens.unshift(at.token);
  return tokens;
};

describe.each(Object.entries(families))("%s", (_, config) => {
  let tiny: TinyModel;
  let model: Model;
  beforeAll(async () => {
    tiny = await writeTinyModel({ config: config as Json });
    model = await open(tiny.folder, { threads: 1, maxRows: 32 });
  });
  afterAll(async () => {
    await model.close();
    await removeModel(tiny);
  });

  /** Compares the logits of nodes, leaves first, with the reference's after their texts. */
  function check(nodes: readonly ForestNode[]): void {
    const left = new Set<ForestNode | undefined>(nodes);
    for (const leaf of [...nodes].reverse()) {
      if (!left.has(leaf)) continue;
      const logits = tiny.logits(textOf(leaf));
      for (let at: ForestNode | undefined = leaf; left.delete(at); at = at!.parent)
        expect(difference(at!.logits!, logits[at!.depth])).toBeLessThan(1e-4);
    }
  }

  test("texts in chunks, trees of drafts over the border of a page, batches and reused prefixes", async () => {
    const { forest } = model;
    const text = tokensOf(90);
    const first = forest.lease();
    const wanted = tiny.logits(text);
    for (const length of [1, 2, 33, 90]) {
      const { node } = await first.prefill(text.slice(0, length));
      expect(difference(node.logits!, wanted[length - 1])).toBeLessThan(1e-4);
    }
    const grow = async (lease: Lease, start: readonly number[], seed: number): Promise<ForestNode[]> => {
      const { node, cached } = await lease.prefill(start);
      expect(cached).toBeGreaterThan(0);
      // Two stems with branches, one of them eight deep: rows of one pass see each other, and their windows begin in other rows.
      const chain = Array.from({ length: 8 }, (_, i) => ({
        parent: i === 0 ? node : i - 1,
        token: (seed + 5 * i) % 60,
      }));
      const branches = [
        { parent: node, token: 61 },
        { parent: 3, token: 62 },
        { parent: 9, token: 63 },
        { parent: 8, token: 7 },
      ];
      const tree = await lease.extend([...chain, ...branches]);
      const [deeper] = await lease.extend([{ parent: tree[10], token: 9 }]);
      return [...tree, deeper];
    };
    const second = forest.lease();
    const grown = await Promise.all([
      grow(first, text.slice(0, 60), 1),
      grow(second, [...text.slice(0, 40), ...tokensOf(30, 1)], 2),
    ]);
    for (const nodes of grown) check(nodes);
    first.close();
    second.close();
    expect(forest.held).toBe(0);
  });

  test("whole sequences: every site of every row", async () => {
    const tokens = tokensOf(14);
    const values = new Map<string, Float64Array[]>();
    tiny.logits(tokens, (site, row, value) => {
      values.set(site, [...(values.get(site) ?? []), value.slice()]);
      expect(values.get(site)!.length).toBe(row + 1);
    });
    const sites = model.sites().map(({ name }) => name);
    expect([...sites].sort()).toEqual([...values.keys()].sort());
    const [{ logits, taps }] = await model.forward([{ tokens }], { taps: sites });
    expect(
      difference(
        logits,
        values.get("logits")!.flatMap((row) => [...row]),
      ),
    ).toBeLessThan(1e-4);
    for (const site of sites) {
      expect(
        difference(
          taps[site].values,
          values.get(site)!.flatMap((row) => [...row]),
        ),
        site,
      ).toBeLessThan(1e-4);
    }
  });

  test("gradients of the training graph are those of the definition", async () => {
    const { family, config: read } = familyOf(tiny.config);
    const source = await openWeights(tiny.folder);
    const found = findParameters(source, family, read);
    const values = new Map<string, Float32Array<ArrayBuffer>>();
    for (const [name, parameter] of found) values.set(name, await parameter.read());
    await source.close();
    const length = 12;
    const text = tokensOf(length + 1, 3);
    const objective = await nextTokenObjective(family, read, values, { rows: 1, length, threads: 1 });
    const { loss, gradients } = await objective.gradients({ tokens: Int32Array.from(text), rows: 1, length });
    /** The mean loss, with one tensor of the checkpoint moved along a direction. */
    const lossOf = (name?: string, direction?: Float64Array, step = 0): number => {
      const weights = new Map(tiny.weights);
      if (name) {
        const { shape, data } = weights.get(name) as ReferenceTensor;
        weights.set(name, { shape, data: Float64Array.from(data, (x, i) => x + step * direction![i]) });
      }
      const logits = referenceLogits(tiny.config, weights, text.slice(0, length));
      return logits.reduce((sum, row, i) => sum - logSoftmax(row)[text[i + 1]], 0) / length;
    };
    expect(Math.abs(loss - lossOf())).toBeLessThan(1e-4);
    const checked = objective.parameters.map(({ name }, i) => {
      const [stored] = found.get(name)!.specification.sources.filter((source) => tiny.weights.has(source));
      const direction = Float64Array.from(gradients[i], (_, at) => Math.sin(12.9898 * (at + 1) * (i + 1)));
      const ours = gradients[i].reduce((sum, g, at) => sum + g * direction[at], 0);
      const step = 1e-5;
      const wanted = (lossOf(stored, direction, step) - lossOf(stored, direction, -step)) / (2 * step);
      expect(Math.abs(ours - wanted), name).toBeLessThan(1e-4 * Math.max(1, Math.abs(wanted)));
      return Math.abs(wanted);
    });
    expect(checked.filter((slope) => slope > 1e-4).length).toBeGreaterThan(checked.length / 2);
  });
});

test("LongRoPE turns by the factors of the context that the model is opened for", async () => {
  const config = families["phi3 with LongRoPE, turned in part"] as Json;
  const tiny = await writeTinyModel({ config });
  const text = tokensOf(12);
  const [short, long] = [false, true].map((long) => referenceLogits({ ...config, long }, tiny.weights, text).at(-1)!);
  expect(difference(short, long)).toBeGreaterThan(0.01);
  for (const [contextLength, wanted, positions] of [
    [undefined, short, 100],
    [60, short, 60],
    [101, long, 101],
    [160, long, 160],
  ] as const) {
    await using model = await open(tiny.folder, { threads: 1, contextLength });
    expect(model.forest.contextLength).toBe(positions);
    const lease = model.forest.lease();
    expect(difference((await lease.prefill(text)).node.logits!, wanted)).toBeLessThan(1e-4);
    const tooLong = lease.prefill(tokensOf(positions + 1));
    await expect(tooLong).rejects.toMatchObject({ code: "context_full" });
    lease.close();
  }
  await expect(open(tiny.folder, { contextLength: 161 })).rejects.toThrow(
    /contextLength must be .* from 1 to the model's 160/,
  );
  await removeModel(tiny);
});

// Kinds, not every variant: matrices do not know of windows and rotations.
const kinds = Object.entries(families).filter(([name]) => !name.includes(" "));
test.each(kinds)("%s with matrices in 8 and 4 bits is the reference on what the codes stand for", async (_, config) => {
  const wide = { ...config, hidden_size: 64, intermediate_size: 64 } as Json;
  const tiny = await writeTinyModel({ config: wide });
  const text = tokensOf(9);
  const exact = tiny.logits(text).at(-1)!;
  for (const [weights, bits] of [
    ["int8", 8],
    ["int4", 4],
  ] as const) {
    const rounded = new Map(tiny.weights);
    for (const [name, { shape, data }] of rounded) {
      if (shape.length !== 2) continue;
      const matrix = quantizeMatrix(data as Float32Array, shape[0], shape[1], bits);
      rounded.set(name, { shape, data: dequantizeMatrix(matrix) });
    }
    const wanted = referenceLogits(tiny.config, rounded, text).at(-1)!;
    const { forest } = await loadModel(tiny.folder, "tiny", { threads: 1, weights });
    const lease = forest!.lease();
    const { node } = await lease.prefill(text);
    const near = difference(node.logits!, wanted);
    const size = Math.max(...exact.map(Math.abs));
    expect(near).toBeLessThan(0.05 * size); // activations are rounded to 8 bits
    expect(near).toBeGreaterThan(0);
    if (bits === 4) expect(near).toBeLessThan(0.5 * difference(node.logits!, exact));
    lease.close();
    await forest!.close();
  }
  await removeModel(tiny);
});
