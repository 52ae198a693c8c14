/** Constructed weights against the definition in float64, every permutation of short lists, the lemma, what a mask leaves, training, bad input. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { normal, permutation } from "../../../engine/random.ts";
import { open } from "../../../open.ts";
import {
  changedBefore,
  checkPermutation,
  construct,
  type DisentangledWeights,
  disentangled,
  drawList,
  inputOf,
  type Layout,
  layoutOf,
  orderingExample,
  permutationOf,
  randomWeights,
  reachable,
  rowErrors,
  trainInverse,
  trainOrdering,
  unreachableChanges,
  writtenAccuracy,
} from "./index.ts";
import { readingEvents } from "./picture.ts";

vi.setConfig({ testTimeout: 120_000 }); // seconds of work, but the machine may be busy

const layouts = {
  "no mask": { causal: false, of: (n: number) => layoutOf(n) },
  "scratch behind": { causal: true, of: (n: number) => layoutOf(n, { after: n }) },
  "scratch before and behind": { causal: true, of: (n: number) => layoutOf(n, { before: n, after: n }) },
};

/** h⁰ to h^L and the output, by the definition in float64. */
function reference(
  { n, rows, read }: Layout,
  { attention, output }: DisentangledWeights,
  x: Float32Array,
  causal: boolean,
) {
  let h = Array.from({ length: rows }, (_, t) => [
    ...x.subarray(t * n, (t + 1) * n),
    ...Array.from({ length: rows }, (_, p) => (p === t ? 1 : 0)),
  ]);
  for (const a of attention) {
    const width = h[0].length;
    h = h.map((row, i) => {
      const left = Array.from({ length: width }, (_, c) => row.reduce((sum, v, r) => sum + v * a[r * width + c], 0));
      const scores = h.map((key, j) =>
        causal && j > i ? Number.NEGATIVE_INFINITY : key.reduce((sum, v, c) => sum + v * left[c], 0),
      );
      const most = Math.max(...scores);
      const shares = scores.map((s) => Math.exp(s - most));
      const total = shares.reduce((sum, s) => sum + s, 0);
      const mixed = Array.from({ length: width }, (_, c) =>
        h.reduce((sum, key, j) => sum + (shares[j] / total) * key[c], 0),
      );
      return [...row, ...mixed];
    });
  }
  return h
    .slice(read, read + n)
    .flatMap((row) => Array.from({ length: n }, (_, c) => row.reduce((sum, v, r) => sum + v * output[r * n + c], 0)));
}

const errorOf = (output: Float32Array, list: readonly (readonly number[])[]): number =>
  Math.max(...list.flat().map((value, i) => Math.abs(value - output[i])));

const normalList = (n: number, seed: number): number[][] =>
  Array.from({ length: n }, (_, row) =>
    Array.from({ length: n }, (_, column) => normal({ seed, request: 0 }, row * n + column, "data")),
  );

function* all(n: number, chosen: number[] = []): Generator<number[]> {
  if (chosen.length === n) yield chosen;
  for (let next = 0; next < n; next++) if (!chosen.includes(next)) yield* all(n, [...chosen, next]);
}

describe("the transformer", () => {
  test.each([true, false])("is the definition's, with a mask: %s", async (causal) => {
    const layout = layoutOf(3, { after: 2 });
    const weights = randomWeights(layout, 2, 5);
    const x = inputOf(layout, [2, 0, 1], normalList(3, 1), (row, column) => Math.sin(row + 2 * column));
    const model = await disentangled(layout, weights, { causal });
    const { output } = await model.run(x);
    await model.release();
    const wanted = reference(layout, weights, x, causal);
    for (const [i, value] of wanted.entries()) expect(Math.abs(value - output[i])).toBeLessThan(1e-4);
  });
});

describe.each(Object.entries(layouts))("constructed weights, %s", (_, { causal, of }) => {
  test("restore every permutation of up to 5", async () => {
    for (let n = 1; n <= 5; n++) {
      const layout = of(n);
      const model = await disentangled(layout, construct(layout), { causal });
      const list = normalList(n, n);
      for (const order of all(n)) {
        const { output } = await model.run(inputOf(layout, order, list));
        expect(errorOf(output, list), String(order)).toBeLessThan(1e-5);
      }
      await model.release();
    }
  });

  test("restore random permutations of up to 64", async () => {
    for (const n of [6, 7, 11, 20, 33, 64]) {
      const layout = of(n);
      const model = await disentangled(layout, construct(layout, { largest: 5 }), { causal });
      for (let i = 0; i < 3; i++) {
        const list = normalList(n, i);
        const { output } = await model.run(inputOf(layout, permutation(n, { seed: n, request: i }), list));
        expect(errorOf(output, list), `${n}`).toBeLessThan(1e-5);
      }
      await model.release();
    }
  });

  test("large entries need only a larger bound", async () => {
    const layout = of(4);
    const list = normalList(4, 2).map((row) => row.map((value) => 1000 * value));
    const model = await disentangled(layout, construct(layout, { sharpness: 30, largest: 5000 }), { causal });
    const { output } = await model.run(inputOf(layout, [2, 0, 3, 1], list));
    await model.release();
    expect(errorOf(output, list)).toBeLessThan(1e-2);
  });
});

test("the direction is Y = Pᵀ (P·Y): a cycle of three tells it from its inverse", () => {
  const list = [
    [1, 0, 0],
    [0, 2, 0],
    [0, 0, 3],
  ];
  const x = inputOf(layoutOf(3), [1, 2, 0], list);
  expect([...x.slice(0, 9)]).toEqual([0, 1, 0, 0, 0, 1, 1, 0, 0]);
  expect([...x.slice(9)]).toEqual([0, 2, 0, 0, 0, 3, 1, 0, 0]);
});

test("what scratch rows hold does not matter", async () => {
  const layout = layoutOf(6, { after: 6 });
  const list = normalList(6, 3);
  const order = [3, 0, 5, 1, 4, 2];
  const model = await disentangled(layout, construct(layout), { causal: true });
  const plain = inputOf(layout, order, list);
  const fillings = [
    undefined,
    (r: number, c: number) => normal({ seed: 1, request: r }, c, "data"),
    (r: number, c: number) => plain[(r - 12) * 6 + c],
  ];
  for (const fill of fillings)
    expect(errorOf((await model.run(inputOf(layout, order, list, fill))).output, list)).toBeLessThan(1e-5);
  await model.release();
});

describe("the mask", () => {
  test("keeps every row from what comes later, bit by bit, at depths 1 to 6; without it all rows change", async () => {
    for (let layers = 1; layers <= 6; layers++) {
      const layout = layoutOf(2, { after: 1 });
      const weights = randomWeights(layout, layers, layers);
      expect(await changedBefore(layout, weights, { causal: true, trials: 8, seed: 1 })).toBe(0);
      expect(await changedBefore(layout, weights, { causal: false, trials: 8, seed: 1 })).toBe(1);
    }
  });

  test("makes unreachable rows wrong for constructed, random and trained weights", async () => {
    const layout = layoutOf(3, { read: "values" });
    const { weights: trained } = await trainInverse({ layout, causal: true, batch: 8, steps: 20, seed: 1 });
    for (const weights of [construct(layout), randomWeights(layout, 3, 1), trained]) {
      const found = await unreachableChanges(layout, weights, { causal: true, trials: 6, seed: 2 });
      expect(found.changed).toBe(0);
      expect(found.error).toBeGreaterThanOrEqual(0.5);
    }
    expect((await unreachableChanges(layout, construct(layout), { causal: false, trials: 6, seed: 2 })).changed).toBe(
      1,
    );
    const scratch = layoutOf(3, { after: 3 });
    const every = unreachableChanges(scratch, construct(scratch), { causal: true, trials: 1, seed: 2 });
    await expect(every).rejects.toMatchObject({ code: "bad_option", message: expect.stringMatching(/can be reached/) });
  });

  test("leaves (n + 1) / 2n of the rows of P·Y, all with scratch rows, and none in the rows of P", () => {
    for (const n of [1, 4, 5]) {
      const share = (layout: Layout): number => {
        const orders = [...all(n)];
        return (
          orders.reduce((sum, order) => sum + reachable(layout, order).filter(Boolean).length, 0) / orders.length / n
        );
      };
      expect(share(layoutOf(n, { read: "values" }))).toBeCloseTo((n + 1) / (2 * n), 12);
      expect(share(layoutOf(n, { after: n }))).toBe(1);
      expect(share(layoutOf(n))).toBe(0);
    }
  });

  test("lets the identity through", async () => {
    const layout = layoutOf(5, { read: "values" });
    const list = normalList(5, 4);
    const model = await disentangled(layout, construct(layout), { causal: true });
    expect(errorOf((await model.run(inputOf(layout, [0, 1, 2, 3, 4], list))).output, list)).toBeLessThan(1e-5);
    await model.release();
  });

  test("each scratch row restores more rows, just those that can be reached", async () => {
    let before = 0;
    for (let after = 0; after < 4; after++) {
      const layout = layoutOf(4, { after, read: "last" });
      const found = await rowErrors(layout, construct(layout), { causal: true, trials: 30, seed: 3 });
      expect(found.worst).toBeLessThan(1e-5);
      expect(found.right).toBeGreaterThanOrEqual(found.reachable - 1e-12);
      expect(found.reachable).toBeGreaterThan(before);
      before = found.reachable;
    }
    expect(before).toBe(1);
  });
});

describe("training", () => {
  test("lowers the loss from zeros where there is no mask, and stays at chance where P's rows cannot see Y", async () => {
    const options = { batch: 32, steps: 150, seed: 2, heldOut: 128 };
    const free = await trainInverse({ layout: layoutOf(2), causal: false, ...options });
    const masked = await trainInverse({ layout: layoutOf(2), causal: true, ...options });
    expect(free.curve[0].loss).toBeCloseTo(1, 0); // zeros against fair bits: n / 2
    expect(free.curve.at(-1)!.loss).toBeLessThan(0.4);
    expect(masked.curve.at(-1)!.loss).toBeGreaterThan(0.45); // n / 4 is what a constant reaches
  });

  test("ends when it is told to", async () => {
    const signal = AbortSignal.abort();
    const run = trainInverse({ layout: layoutOf(2), causal: true, batch: 2, steps: 5, seed: 1, signal });
    await expect(run).rejects.toMatchObject({ code: "aborted" });
  });
});

describe("a language model that orders items", () => {
  const folders: string[] = [];
  afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

  test("sees the order, then the items; the answer is where the place says", () => {
    const shared = { n: 3, items: 4 };
    const inPlace = orderingExample({ ...shared, place: "in-place" }, 1, 7);
    const written = orderingExample({ ...shared, place: "written" }, 1, 7);
    const filler = orderingExample({ ...shared, place: "filler" }, 1, 7);
    const order = inPlace.tokens.slice(0, 3);
    for (const [i, to] of order.entries()) expect(inPlace.answer[to]).toBe(inPlace.tokens[3 + i]);
    expect(written.tokens.slice(6)).toEqual(written.answer.slice(0, 2));
    expect(filler.tokens.slice(6)).toEqual([7, 7, 7]);
    expect([inPlace.from, written.from, filler.from]).toEqual([3, 5, 6]);
  });

  test("is a model folder that opens and writes", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-ordering-"));
    folders.push(folder);
    const task = { n: 2, items: 2, place: "written" } as const;
    const training = { width: 16, layers: 1, batch: 16, steps: 60, rate: 0.01, seed: 1, heldOut: 64 };
    expect(await trainOrdering(task, folder, training)).toBeGreaterThan(0.6);
    await using model = await open(folder, { threads: 1 });
    expect(await writtenAccuracy(model, task, 12, 1)).toBeGreaterThan(0.5);
  });
});

test("what is no permutation, no list or no layout is refused by name", async () => {
  const refused: [() => unknown, RegExp][] = [
    [() => checkPermutation([0, 0, 2]), /0 is in it twice, at entry 1/],
    [() => checkPermutation([0, 3, 1]), /entry 1 is 3.*0 to 2/],
    [() => checkPermutation([0.5, 1]), /entry 0 is 0.5/],
    [() => checkPermutation([]), /empty/],
    [
      () =>
        permutationOf([
          [0, 1],
          [0, 1],
        ]),
      /1 is in it twice/,
    ],
    [
      () =>
        permutationOf([
          [0, 0.5],
          [1, 0],
        ]),
      /row 0/,
    ],
    [
      () =>
        permutationOf([
          [1, 1],
          [0, 1],
        ]),
      /row 0/,
    ],
    [() => layoutOf(0), /n must be .* not 0/],
    [() => layoutOf(3, { after: -1 }), /after must be .* not -1/],
    [() => layoutOf(2000), /more than 1024/],
    [() => randomWeights(layoutOf(64), 20, 1), /20 layers over 128 rows would make the stream 201326592 wide/],
    [() => randomWeights(layoutOf(3), Number.NaN, 1), /layers are a whole number/],
    [() => drawList(0, 1, 1), /n must be a whole number/],
    [() => drawList(2, Number.NaN, 1), /seed must be a whole number from 0 on, not NaN/],
    [() => drawList(2, 1, 1.5), /index must be a whole number from 0 on, not 1\.5/],
    [() => orderingExample({ n: 2, items: 4, place: "written" }, -1, 0), /seed must be .* not -1/],
    [() => randomWeights({ ...layoutOf(2), n: -1 }, 1, 1), /n must be a whole number from 1 to 1024, not -1/],
    [() => randomWeights({ ...layoutOf(2), rows: 3 }, 1, 1), /rows must be a whole number from 4 to 1024, not 3/],
    [() => randomWeights(layoutOf(2), 1, Number.NaN), /seed must be/],
    [() => construct({ ...layoutOf(2), read: 9 }), /read must be a whole number from 0 to 2, not 9/],
    [() => inputOf({ ...layoutOf(2), values: Number.NaN }, [1, 0], normalList(2, 1)), /values must be .* not NaN/],
    [() => reachable(layoutOf(2), [0, 9]), /entry 1 is 9/],
    [() => orderingExample({ n: 0, items: 4, place: "written" }, 1, 0), /0 of 4 items/],
    [() => construct(layoutOf(2), { sharpness: Number.NaN }), /sharpness must be .* not NaN/],
    [() => inputOf(layoutOf(2), [1, 0, 2], normalList(2, 1)), /3 entries, the layout 2/],
    [
      () =>
        inputOf(
          layoutOf(2),
          [1, 0],
          [
            [1, Number.NaN],
            [0, 0],
          ],
        ),
      /finite/,
    ],
  ];
  for (const [attempt, message] of refused) expect(attempt).toThrow(message);
  expect(
    permutationOf([
      [0, 1, 0],
      [0, 0, 1],
      [1, 0, 0],
    ]),
  ).toEqual([1, 2, 0]);
  const other = disentangled(layoutOf(4), construct(layoutOf(3)), { causal: true });
  await expect(other).rejects.toMatchObject({
    code: "bad_shape",
    message: expect.stringMatching(/tied to the length/),
  });
  const training = { layout: layoutOf(2), causal: true, batch: 2, steps: 1, seed: 1 };
  await expect(trainInverse({ ...training, batch: 0 })).rejects.toThrow(/batch must be a whole number/);
  await expect(trainInverse({ ...training, rate: Number.NaN })).rejects.toThrow(/rate must be .* not NaN/);
  await expect(disentangled(layoutOf(2), construct(layoutOf(2)), { batch: -1, causal: true })).rejects.toThrow(
    /batch must be a whole number from 1 on, not -1/,
  );
  const trials = { causal: false, trials: 0, seed: 1 };
  for (const measure of [rowErrors, changedBefore, unreachableChanges])
    await expect(measure(layoutOf(2), construct(layoutOf(2)), trials)).rejects.toThrow(/trials must be/);
  const model = await disentangled(layoutOf(2), construct(layoutOf(2)), { causal: true });
  await expect(model.run(new Float32Array(7))).rejects.toMatchObject({ code: "bad_shape" });
  await model.release();
});

test.each([
  ["no mask", false, layoutOf(6)],
  ["scratch behind", true, layoutOf(6, { after: 6 })],
  ["scratch before and behind", true, layoutOf(6, { before: 6, after: 6 })],
  ["mask", true, layoutOf(6, { read: "values" })],
] as const)("its picture points at the row of P·Y that attention reads: %s", async (says, causal, layout) => {
  const events = await readingEvents(layout, { causal, says, seed: 3 });
  const { order } = drawList(6, 3, 0);
  const seen = causal ? reachable(layout, order) : order.map(() => true);
  expect(seen.includes(false)).toBe(says === "mask");
  for (const [j, event] of events.entries()) {
    if (event.type !== "point") throw new Error(event.type);
    expect(event.of).toMatch(seen[j] ? new RegExp(`^${says}: row ${j + 1} of the list$`) : /is not seen$/);
    if (seen[j])
      expect(event).toMatchObject({ chosen: order.indexOf(j), probabilities: order.map((to) => Number(to === j)) });
    else expect(event.probabilities![order.indexOf(j)]).toBe(0);
  }
  expect(events[0]).toMatchObject({ inputs: order.map((to, i) => [i / 5, to / 5]) });
});

test("an option that a construction has not is no passing matter", () => {
  expect(() => construct(layoutOf(4), { beta: 20 } as object)).toThrow(/construct: there is no option "beta"/);
});
