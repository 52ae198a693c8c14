/** The bottleneck by its definition: locality, keys by moving averages, the toy stream, and what is refused. */
import { mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { normal } from "../../../engine/random.ts";
import {
  type Bottleneck,
  createBottleneck,
  type Features,
  fetchPairs,
  initialiseKeys,
  logitsOf,
  queriesOf,
} from "./bottleneck.ts";
import { readBottleneck, writeBottleneck } from "./file.ts";
import { createHead, nearestMean, nearestNeighbours } from "./heads.ts";
import { beginLearner, standardise } from "./learner.ts";
import { accuracy, classesOf, decide, type Labelled, learn, rowsOf, stepOn } from "./learning.ts";
import { splitsOf } from "./streams.ts";
import { toyBottleneck, toyClasses, toyTask, toyTasks } from "./toy.ts";

const shape = { codebooks: 4, pairs: 16, keyWidth: 3, valueWidth: 5, featureWidth: 8 };
function features(count: number, width: number, seed: number): Features {
  const values = Float32Array.from({ length: count * width }, (_, i) => normal({ seed, request: 7 }, i, "data"));
  return { count, width, values };
}
const labelled = (count: number, seed: number): Labelled => ({
  ...features(count, 8, seed),
  labels: Int32Array.from({ length: count }, (_, i) => i % 5),
});
async function placed(seed = 1): Promise<Bottleneck> {
  const bottleneck = createBottleneck(shape, { seed });
  await initialiseKeys(bottleneck, features(400, 8, 2), { epochs: 4, batch: 50, seed });
  return bottleneck;
}

describe("by definition", () => {
  test("columns of a projection have length one; queries are z R", () => {
    const bottleneck = createBottleneck(shape, { seed: 1 });
    const { projections } = bottleneck;
    for (let c = 0; c < 4; c++) {
      for (let j = 0; j < 3; j++) {
        let sum = 0;
        for (let i = 0; i < 8; i++) sum += projections[(c * 8 + i) * 3 + j] ** 2;
        expect(sum).toBeCloseTo(1, 6);
      }
    }
    const given = features(3, 8, 5);
    const queries = queriesOf(bottleneck, given);
    for (let at = 0; at < queries.length; at++) {
      const [n, c, j] = [Math.floor(at / 12), Math.floor(at / 3) % 4, at % 3];
      let sum = 0;
      for (let i = 0; i < 8; i++) sum += given.values[n * 8 + i] * projections[(c * 8 + i) * 3 + j];
      expect(queries[at]).toBeCloseTo(sum, 5);
    }
  });

  test.each([1, 3])("the %i nearest pairs, and the mean over codebooks of the sums of their values", async (top) => {
    const bottleneck = await placed();
    bottleneck.values.forEach((_, i) => {
      bottleneck.values[i] = normal({ seed: 3, request: 0 }, i, "data");
    });
    const queries = queriesOf(bottleneck, features(20, 8, 6));
    const fetched = fetchPairs(bottleneck, queries, { top });
    const logits = logitsOf(bottleneck, fetched, top);
    for (let n = 0; n < 20; n++) {
      const wanted = new Float64Array(5);
      for (let c = 0; c < 4; c++) {
        const near = Array.from({ length: 16 }, (_, p) => {
          let distance = 0;
          for (let j = 0; j < 3; j++)
            distance += (queries[(n * 4 + c) * 3 + j] - bottleneck.keys[(c * 16 + p) * 3 + j]) ** 2;
          return { p, distance };
        }).sort((a, b) => a.distance - b.distance || a.p - b.p);
        const chosen = near.slice(0, top).map(({ p }) => p);
        expect([...fetched.subarray((n * 4 + c) * top, (n * 4 + c + 1) * top)]).toEqual(chosen);
        for (const p of chosen) for (let v = 0; v < 5; v++) wanted[v] += bottleneck.values[(c * 16 + p) * 5 + v] / 4;
      }
      for (let v = 0; v < 5; v++) expect(logits[n * 5 + v]).toBeCloseTo(wanted[v], 12);
    }
  });

  test("a step is the slope of the smoothed loss, and changes nothing but what was fetched", async () => {
    const bottleneck = await placed();
    const stream = labelled(6, 9);
    const fetched = fetchPairs(bottleneck, queriesOf(bottleneck, stream));
    const before = {
      values: bottleneck.values.slice(),
      keys: bottleneck.keys.slice(),
      projections: bottleneck.projections.slice(),
    };
    const loss = (): number =>
      stepOn({ ...bottleneck, values: bottleneck.values.slice() }, fetched, stream.labels, { learningRate: 0 });
    const start = loss();
    expect(start).toBeCloseTo(Math.log(5), 6); // zeros are uniform
    const probes = [0, 1, 2].map((n) => (0 * 16 + fetched[n * 4]) * 5 + stream.labels[n]);
    const slopes = probes.map((at) => {
      const own = bottleneck.values[at];
      bottleneck.values[at] = own + 1e-3;
      const up = loss();
      bottleneck.values[at] = own;
      return (up - start) / 1e-3;
    });
    stepOn(bottleneck, fetched, stream.labels, { learningRate: 0.5, clip: 1e9 });
    for (const [i, at] of probes.entries())
      expect((before.values[at] - bottleneck.values[at]) / 0.5).toBeCloseTo(slopes[i], 3);
    const touched = new Set(Array.from(fetched, (p, i) => (i % 4) * 16 + p));
    for (let pair = 0; pair < 64; pair++) {
      const same =
        bottleneck.values.subarray(pair * 5, pair * 5 + 5).join() ===
        before.values.subarray(pair * 5, pair * 5 + 5).join();
      expect(same).toBe(!touched.has(pair));
    }
    expect(bottleneck.keys).toEqual(before.keys);
    expect(bottleneck.projections).toEqual(before.projections);
  });

  test("clipping bounds a step's length", async () => {
    const bottleneck = await placed();
    const stream = labelled(6, 9);
    stepOn(bottleneck, fetchPairs(bottleneck, queriesOf(bottleneck, stream)), stream.labels, {
      learningRate: 1,
      clip: 0.01,
    });
    expect(Math.hypot(...bottleneck.values)).toBeCloseTo(0.01, 6);
  });
});

describe("keys", () => {
  test("the error falls to a plateau, and no key is dead but where none may move", async () => {
    const errors: number[] = [];
    const bottleneck = createBottleneck(shape, { seed: 1 });
    const given = features(800, 8, 2);
    await initialiseKeys(bottleneck, given, { epochs: 12, batch: 50, seed: 1, onBatch: (error) => errors.push(error) });
    const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
    expect(mean(errors.slice(-20))).toBeLessThan(0.6 * mean(errors.slice(0, 5)));
    expect(Math.abs(mean(errors.slice(-20)) - mean(errors.slice(-60, -40)))).toBeLessThan(
      0.1 * mean(errors.slice(-20)),
    );
    const used = (one: Bottleneck): number =>
      new Set(Array.from(fetchPairs(one, queriesOf(one, given)), (p, i) => (i % 4) * 16 + p)).size;
    expect(used(bottleneck)).toBe(64);
    const lost = createBottleneck({ ...shape, pairs: 200 }, { seed: 1 });
    await initialiseKeys(lost, given, { epochs: 1, batch: 20, dead: 0, seed: 1 });
    expect(Math.max(...lost.keys)).toBeGreaterThan(1000); // as follows from the update: unused keys are flung away
    expect(bottleneck.usage.every((count) => count === 0)).toBe(true);
  });
});

describe("work that takes long", () => {
  test.each([
    ["placing keys", (signal: AbortSignal) => beginLearner(labelled(300, 3), 5, { ...long, keyWidth: 3, signal })],
    ["projecting", (signal: AbortSignal) => beginLearner(labelled(9000, 3), 5, { ...long, keyWidth: 3, signal })],
    [
      "learning",
      async (signal: AbortSignal) =>
        learn(createBottleneck(shape), labelled(300, 3), { epochs: 100, batch: 50, signal }),
    ],
  ])("%s hears a signal that comes while it runs", async (_, work) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort()); // as Ctrl-C: another turn of the event loop
    await expect(work(controller.signal)).rejects.toMatchObject({ code: "aborted" });
  });
  const long = { codebooks: 4, pairs: 64, seed: 1 };
});

describe("the toy stream of figure 2", () => {
  const learnt = async (kind: "one" | "many") => {
    const bottleneck = await toyBottleneck(kind, 1);
    const after: number[] = [];
    const tests = toyTasks.map((_, task) => toyTask(task, 60, 100));
    for (const task of toyTasks.keys()) {
      await learn(bottleneck, toyTask(task, 100, 1), { epochs: 100, batch: 100, learningRate: 3 });
      after.push(accuracy(classesOf(decide(bottleneck, tests[task]), toyClasses), tests[task]));
    }
    const final = tests.map((test) => accuracy(classesOf(decide(bottleneck, test), toyClasses), test));
    return { after, final };
  };

  test.each(["one", "many"] as const)("earlier tasks stay known: %s", async (kind) => {
    const { after, final } = await learnt(kind);
    expect(Math.min(...after)).toBeGreaterThan(0.9);
    final.forEach((share, task) => {
      expect(share).toBeGreaterThan(after[task] - 0.05);
    });
  });

  test("a linear head and a network forget them", () => {
    for (const hidden of [0, 32]) {
      const head = createHead(2, { classes: toyClasses, hidden, seed: 1 });
      for (const task of toyTasks.keys())
        head.learn(toyTask(task, 100, 1), { epochs: 300, batch: 100, learningRate: 0.5 });
      const shares = toyTasks.map((_, task) => {
        const test = toyTask(task, 60, 100);
        return accuracy(classesOf(head.decide(test), toyClasses), test);
      });
      expect(shares[3]).toBeGreaterThan(0.9);
      expect((shares[0] + shares[1] + shares[2]) / 3).toBeLessThan(0.2);
    }
  });
});

describe("deciding", () => {
  test("before anything was learned it is undecided; use is not counted; the mask keeps unused values out", async () => {
    const bottleneck = await placed();
    const given = features(30, 8, 11);
    expect([...decide(bottleneck, given)].every((x) => x === 0)).toBe(true);
    expect([...classesOf(decide(bottleneck, given), 5)]).toEqual(Array(30).fill(-1));
    await learn(bottleneck, labelled(10, 3), { epochs: 2, batch: 5 });
    const usage = bottleneck.usage.slice();
    expect(usage.reduce((a, b) => a + b, 0)).toBe(2 * 10 * 4);
    const masked = fetchPairs(bottleneck, queriesOf(bottleneck, given), { used: true });
    masked.forEach((p, i) => {
      expect(usage[(i % 4) * 16 + p]).toBeGreaterThan(0);
    });
    decide(bottleneck, given);
    expect(bottleneck.usage).toEqual(usage);
    expect(decide(bottleneck, given, { mask: false })).not.toEqual(decide(bottleneck, given));
  });

  test("nearest mean and nearest neighbours", async () => {
    const data = toyTask(0, 40, 1);
    const test = toyTask(0, 30, 2);
    expect(accuracy(nearestMean(data, test, toyClasses), test)).toBe(1);
    expect(accuracy(await nearestNeighbours(data, test, 5, 1), test)).toBe(1);
  });
});

describe("of features of any scale", () => {
  test("what standardises them is part of the bottleneck: units and offsets change no decision", async () => {
    const stream = toyTask(1, 60, 3);
    const scales = [1000, 0.01];
    const moved = { ...stream, values: stream.values.map((x, i) => 5 * scales[i % 2] + scales[i % 2] * x) };
    const settings = { codebooks: 8, pairs: 16, keyWidth: 2, seed: 1 };
    const decided = async (rows: typeof stream) => {
      const bottleneck = await beginLearner(rows, toyClasses, settings);
      await learn(bottleneck, rows, { epochs: 20, batch: 60, learningRate: 3 });
      return classesOf(decide(bottleneck, rows), toyClasses);
    };
    const [plain, scaled] = [await decided(stream), await decided(moved)];
    expect(accuracy(plain, stream)).toBe(1);
    expect(scaled).toEqual(plain);
  });

  test("a feature that is always the same is no division by nothing; none at all is refused", async () => {
    const values = Float32Array.from({ length: 80 }, (_, i) => (i % 2 === 0 ? 7 : i));
    const bottleneck = await beginLearner({ count: 40, width: 2, values }, 3, {
      codebooks: 2,
      pairs: 4,
      keyWidth: 2,
      seed: 1,
    });
    expect(bottleneck.keys.every(Number.isFinite)).toBe(true);
    const nothing = { count: 0, width: 2, values: new Float32Array(0) };
    const one = { codebooks: 1, pairs: 1, keyWidth: 1, seed: 0 };
    await expect(beginLearner(nothing, 3, one)).rejects.toThrow(/no features/);
  });

  test("an odd number of classes leaves none out of the stream", () => {
    expect(splitsOf(5, 2, 0).flat().sort()).toEqual([0, 1, 2, 3, 4]);
  });
});

describe("refused by name", () => {
  test("empty streams, labels never seen, features that do not fit", async () => {
    const bottleneck = await placed();
    const nothing = { count: 0, width: 8, values: new Float32Array(0), labels: new Int32Array(0) };
    await expect(learn(bottleneck, nothing, { epochs: 1, batch: 1 })).rejects.toThrow(/stream is empty/);
    await expect(initialiseKeys(bottleneck, nothing, { epochs: 1, batch: 1 })).rejects.toThrow(/no features/);
    const wrong = labelled(4, 1);
    wrong.labels[2] = 5;
    await expect(learn(bottleneck, wrong, { epochs: 1, batch: 2 })).rejects.toThrow(
      /sample 2 has the label 5, and there are 5 classes/,
    );
    expect(() => createHead(8, { classes: 5 }).learn(wrong, { epochs: 1, batch: 2, learningRate: 1 })).toThrow(
      /label 5/,
    );
    expect(() => queriesOf(bottleneck, features(2, 7, 1))).toThrow(/7 wide, and 8/);
    const broken = features(3, 8, 1);
    broken.values[13] = Number.NaN;
    expect(() => queriesOf(bottleneck, broken)).toThrow(/feature 5 of row 1 is NaN/);
    expect(() => fetchPairs(bottleneck, new Float32Array(12), { top: 17 })).toThrow(/top must be .* not 17/);
  });

  test("shapes that cannot be", () => {
    expect(() => createBottleneck({ ...shape, pairs: 0 })).toThrow(/pairs must be .* not 0/);
    // Refused before anything is made: it would take gigabytes, and no file of it could be read.
    const vast = { ...shape, codebooks: 4096, pairs: 65536 };
    expect(() => createBottleneck(vast)).toThrow(/4096 codebooks of 65536 pairs, .* give fewer/);
    expect(() => createBottleneck(shape, { splitter: "slices" })).toThrow(/need 12 features, not 8/);
    expect(() => createBottleneck(shape, { splitter: "identity" })).toThrow(/as wide as features, 8, not 3/);
  });

  test("a file of another encoder, damaged, or of something else", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-bottleneck-"));
    const path = join(folder, "one.safetensors");
    const bottleneck = await placed();
    await learn(bottleneck, labelled(10, 3), { epochs: 1, batch: 5 });
    await writeBottleneck(path, bottleneck, "sketches");
    expect(await readBottleneck(path, "sketches")).toEqual(bottleneck);
    await expect(readBottleneck(path, "digits")).rejects.toThrow(/another encoder \(sketches\), not digits/);
    await truncate(path, 900);
    await expect(readBottleneck(path, "sketches")).rejects.toMatchObject({ code: "bad_file" });
    await rm(folder, { recursive: true });
  });
});

test("numbers out of their range, rows that are not there: refused by name", async () => {
  const bottleneck = createBottleneck({ codebooks: 2, pairs: 3, keyWidth: 2, valueWidth: 2, featureWidth: 4 });
  const values = Float32Array.from({ length: 32 }, (_, i) => Math.sin(i));
  const rows = { count: 8, width: 4, values, labels: Int32Array.from({ length: 8 }, (_, i) => i % 2) };
  const few = { epochs: 1, batch: 4 };
  for (const [name, value] of Object.entries({ epochs: 0, batch: 0, decay: 2, epsilon: -1, dead: -1 }))
    await expect(initialiseKeys(bottleneck, rows, { ...few, [name]: value })).rejects.toThrow(`${name} must be`);
  for (const [name, value] of Object.entries({
    epochs: 0.5,
    batch: 0,
    smoothing: 2,
    learningRate: -1,
    clip: Number.NaN,
    seed: Number.NaN,
  }))
    await expect(learn(bottleneck, rows, { ...few, [name]: value })).rejects.toThrow(`${name} must be`);
  expect(() => decide(bottleneck, { ...rows, count: 9 })).toThrow(/9 rows of 4 features, but 32 numbers/);
  expect(() => logitsOf(bottleneck, Int32Array.of(0, 3))).toThrow(/1 of 3 pairs in each of 2 codebooks/);
  expect(() => logitsOf(bottleneck, Int32Array.of(0))).toThrow(/1 of 3 pairs in each of 2 codebooks/);
  expect(() => accuracy(new Int32Array(2), rows)).toThrow(/2 classes for 8 labels/);
  expect(() => rowsOf(rows, [1, 8])).toThrow(/no row 8 among 8/);
  expect(() => standardise(rows, { count: 0, width: 4, values: new Float32Array(0) })).toThrow(/0 rows of 4 features/);
  expect(() => splitsOf(4, 0, 1)).toThrow(/perSplit must be/);
  expect(() => createHead(4, { classes: 0 })).toThrow(/classes must be/);
});
