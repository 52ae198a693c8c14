/** `forward` against the float64 reference: any mask, positions, vectors, batches, given keys and values. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Model, open } from "../src/open.ts";
import { gpt2Config, removeModel, type TinyModel, writeTinyModel } from "./fixtures/tiny-model.ts";

let tiny: TinyModel;
let model: Model;
beforeAll(async () => {
  tiny = await writeTinyModel();
  model = await open(tiny.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await removeModel(tiny);
});

const tokens = [5, 9, 2, 33, 14, 7, 7, 21];
const other = [50, 1, 4];
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
};
const flat = (rows: readonly Float64Array[]): number[] => rows.flatMap((row) => [...row]);
const everything = { sees: () => true };

test("bidirectional: every row is the reference's, and differs from the causal one", async () => {
  const { logits, taps } = await model.forward(tokens, { mask: "bidirectional", taps: ["layers.1.residual"] });
  const rows: number[] = [];
  const wanted = tiny.logits(
    tokens,
    (site, _, value) => void (site === "layers.1.residual" && rows.push(...value)),
    everything,
  );
  expect(difference(logits, flat(wanted))).toBeLessThan(1e-4);
  expect(difference(taps["layers.1.residual"].values, rows)).toBeLessThan(1e-4);
  expect(difference(logits, flat(tiny.logits(tokens)))).toBeGreaterThan(1e-2);
});

test("causal by default, for GPT-2 too, and the same as the forest's", async () => {
  const { logits } = await model.forward(tokens);
  expect(difference(logits, flat(tiny.logits(tokens)))).toBeLessThan(1e-4);
  const gpt2 = await writeTinyModel({ config: gpt2Config });
  await using second = await open(gpt2.folder, { threads: 1 });
  expect(difference((await second.forward(tokens)).logits, flat(gpt2.logits(tokens)))).toBeLessThan(1e-4);
  await removeModel(gpt2);
});

test("a window of the model's own", async () => {
  const mistral = await writeTinyModel({
    config: { architectures: ["MistralForCausalLM"], sliding_window: 3, model_type: "mistral" },
  });
  await using second = await open(mistral.folder, { threads: 1 });
  expect(difference((await second.forward(tokens)).logits, flat(mistral.logits(tokens)))).toBeLessThan(1e-4);
  await removeModel(mistral);
});

test("blocks, and positions of any order", async () => {
  const sees = (row: number, column: number): boolean => Math.floor(column / 3) <= Math.floor(row / 3) && column !== 1;
  const mask = tokens.flatMap((_, row) => tokens.map((_, column) => (sees(row, column) || row === column ? 1 : 0)));
  const positions = [7, 3, 3, 0, 90, 11, 12, 2];
  const { logits } = await model.forward(tokens, { mask, positions, logits: [6, 2] });
  const wanted = tiny.logits(tokens, undefined, { sees: (r, c) => sees(r, c) || r === c, positions });
  expect(difference(logits, [...wanted[6], ...wanted[2]])).toBeLessThan(1e-4);
});

test("a batch of sequences of different lengths and masks, with edits, is what each is alone", async () => {
  const edits = [{ site: "layers.0.residual", at: [1, 2], scale: 0.5 }];
  const [a, b, c] = await model.forward(
    [{ tokens, mask: "bidirectional" }, { tokens: other }, { tokens: [3], logits: "none" }],
    { taps: ["final", "layers.0.mlp.up"], edits },
  );
  const change = (site: string, row: number, value: Float64Array): void => {
    if (site === "layers.0.residual" && (row === 1 || row === 2)) value.set(value.map((x) => x * 0.5));
  };
  expect(difference(a.logits, flat(tiny.logits(tokens, change, everything)))).toBeLessThan(1e-4);
  expect(difference(b.logits, flat(tiny.logits(other, change)))).toBeLessThan(1e-4);
  expect(b.taps.final).toMatchObject({ width: 32, rows: 3 });
  expect(c.logits.length).toBe(0);
  expect(c.taps["layers.0.mlp.up"]).toMatchObject({ width: 64, rows: 1 });
  expect(c.taps.final.rows).toBe(0);
});

test("vectors instead of tokens", async () => {
  const table = tiny.weights.get("model.embed_tokens.weight")!;
  const row = (token: number) => Float32Array.from(table.data).subarray(token * 32, (token + 1) * 32);
  const all = Float32Array.from(tokens.flatMap((token) => [...row(token)]));
  const plain = (await model.forward(tokens)).logits;
  expect(difference((await model.forward(tokens, { embeddings: all })).logits, plain)).toBeLessThan(1e-6);
  const some = new Map([[2, row(40)]]);
  const replaced = (await model.forward(tokens, { embeddings: some })).logits;
  expect(difference(replaced, flat(tiny.logits(tokens.with(2, 40))))).toBeLessThan(1e-4);
});

test("given keys and values stand for rows that are not computed again", async () => {
  const { kept } = await model.forward(tokens.slice(0, 5), { keep: true, logits: "none" });
  const { kept: short } = await model.forward(other.slice(0, 2), { keep: true, logits: "none" });
  const [a, b] = await model.forward([
    { tokens: tokens.slice(5), past: kept },
    { tokens: other.slice(2), past: short },
  ]);
  expect(difference(a.logits, flat(tiny.logits(tokens).slice(5)))).toBeLessThan(1e-4);
  expect(difference(b.logits, flat(tiny.logits(other).slice(2)))).toBeLessThan(1e-4);
  // Of several calls, one after the other.
  const { kept: further } = await model.forward(tokens.slice(5, 7), { past: kept, keep: true, logits: "none" });
  const c = await model.forward(tokens.slice(7), { past: [kept!, further!] });
  expect(difference(c.logits, tiny.logits(tokens)[7])).toBeLessThan(1e-4);
});

test("a text is its tokens", async () => {
  await using knossos = await open("knossos", { threads: 1 });
  const { logits } = await knossos.forward("Once upon", { logits: "last" });
  expect(logits).toEqual((await knossos.forward(knossos.tokenizer!.encode("Once upon"), { logits: "last" })).logits);
});

describe("bad input", () => {
  test.each([
    [[], {}, /no rows/],
    [[64], {}, /token 64 is outside the vocabulary of 64/],
    [tokens, { mask: [1, 1] }, /the mask has 2 entries, and \[8, 8\] has 64/],
    [[1, 2], { mask: [1, 0, 0, 0] }, /row 1 sees nothing/],
    [tokens, { positions: [1] }, /1 positions for 8 rows/],
    [[1], { positions: [96] }, /position 96 is outside the context of 96/],
    [new Array(97).fill(1), {}, /outside the context/],
    [tokens, { embeddings: new Float32Array(3) }, /3 numbers of embeddings/],
    [tokens, { embeddings: new Map([[1, new Float32Array(3)]]) }, /row 1 must be a Float32Array of 32 numbers/],
    [tokens, { embeddings: [1, 2] as never }, /embeddings must be a Float32Array .* or a Map/],
    [tokens, { embeddings: new Map([[0.5, new Float32Array(32)]]) }, /no row 0\.5/],
    [tokens, { mask: "sideways" as never }, /mask must be "causal", "bidirectional" or a table .*not "sideways"/],
    [tokens, { mask: null as never }, /mask must be a list of numbers, not null/],
    [tokens, { positions: "01234567" as never }, /positions must be a list of numbers/],
    [tokens, { past: { length: 1 } as never }, /past must be \{ length, keys, values \}/],
    [tokens, { embeddings: new Map([[8, new Float32Array(32)]]) }, /no row 8/],
    [tokens, { logits: [8] }, /row 8, and it has 8/],
    [tokens, { past: { length: 1, keys: [], values: [] } }, /2 layers of keys and values \[2, length, 8\]/],
    [tokens, { taps: ["embd"] }, /did you mean "embed/],
    [tokens, { logits: "none" as const }, /nothing is asked for/],
    [
      tokens,
      { logits: "none" as const, taps: ["final"] },
      /final: of rows whose logits are wanted, and logits is "none"/,
    ],
    [[1, 2], { mask: [0, -1e9, 0, 0] }, /1 where a row looks and 0 elsewhere, not -1000000000 \(row 0, column 1\)/],
    [[1, 2], { mask: [true, false, true, true] as never }, /and 0 elsewhere, not true \(row 0, column 0\)/],
    [[1], { positions: [0.5] }, /position 0\.5 is no whole number/],
    [
      tokens,
      { embeddings: new Map([[1, new Float32Array(32).fill(Number.NaN)]]) },
      /embedding of row 1 has values .*not finite/,
    ],
    [
      tokens,
      { edits: [{ site: "embed", at: [8], scale: 2 }] },
      /embed.* acts nowhere: the rows have the positions 0 to 7/,
    ],
  ])("%j %j", async (given, options, message) => {
    await expect(model.forward(given, options)).rejects.toThrow(message);
  });

  test("a model that was closed computes nothing", async () => {
    const closed = await open(tiny.folder, { threads: 1 });
    await closed.close();
    await expect(closed.forward(tokens)).rejects.toMatchObject({ code: "aborted" });
  });

  test("values of an edit that are not finite are its error, by name", async () => {
    const edits = [1, 2].map(() => ({ site: "layers.0.mlp.up", at: [3], scale: 1e15 }));
    await expect(model.forward(tokens, { edits })).rejects.toThrow(/layers.0.mlp.up.*not finite.*position 3/);
  });
});
