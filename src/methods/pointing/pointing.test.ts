import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { dataPath } from "../../../test/data.ts";
import {
  canonicalTour,
  christofides,
  convexHull,
  delaunay,
  distance,
  drawPointing,
  drawPoints,
  greedyEdges,
  heldKarp,
  isDelaunay,
  isSimplePolygon,
  isTour,
  nearestNeighbour,
  normalise,
  openPointing,
  overlappingTriangles,
  type Point,
  point,
  pointerLogits,
  pointingEvents,
  polygonArea,
  randomTour,
  readLine,
  readTsplib,
  rotateTo,
  rules,
  sameCycle,
  savePointing,
  sortTriangles,
  tasks,
  tourLength,
  trainPointing,
  triangleCoverage,
  turn,
  twoOpt,
} from "./index.ts";
import { createNetwork, initialWeights, type NetworkShape } from "./network.ts";
import { pointAt } from "./search.ts";
import { exactMatching } from "./tours.ts";
import { drawBatch, pointingObjective } from "./training.ts";

const folder = mkdtempSync(join(tmpdir(), "pointing-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// On a grid: three points turn clearly or not at all, and points on one line and equal ones are met often.
const unit = fc.integer({ min: 0, max: 1000 }).map((i) => i / 1000);
const cloud = (minLength: number, maxLength: number) => fc.array(fc.tuple(unit, unit), { minLength, maxLength });
const between = (points: readonly Point[]) => (a: number, b: number) => distance(points[a], points[b]);
const square: Point[] = [
  [0, 0],
  [1, 0],
  [1, 1],
  [0, 1],
];

test("hulls hold every point, turn left everywhere and begin at their lowest index", () => {
  fc.assert(
    fc.property(cloud(3, 20), (points) => {
      let hull: number[];
      try {
        hull = convexHull(points);
      } catch {
        return; // on one line
      }
      expect(hull[0]).toBe(Math.min(...hull));
      for (const [i, index] of hull.entries()) {
        const next = hull[(i + 1) % hull.length];
        for (const other of points) expect(turn(points[index], points[next], other)).toBeGreaterThan(-1e-9);
        expect(turn(points[index], points[next], points[hull[(i + 2) % hull.length]])).toBeGreaterThan(0);
      }
    }),
  );
  expect(convexHull([...square, [0.5, 0], [0.5, 0.5], [0, 0]])).toEqual([0, 1, 2, 3]);
});

test("triangulations: empty circles, the hull's area, Euler's count", () => {
  for (let seed = 0; seed < 20; seed++) {
    const points = drawPoints(5 + seed, seed, 0);
    const triangles = delaunay(points);
    const hull = convexHull(points);
    expect(triangles.length).toBe(2 * points.length - 2 - hull.length);
    expect(isDelaunay(points, triangles)).toBe(true);
    expect(triangleCoverage(points, triangles)).toBe(1);
    // By definition: exactly the triples whose circle is empty.
    let empty = 0;
    for (let a = 0; a < points.length; a++)
      for (let b = a + 1; b < points.length; b++)
        for (let c = b + 1; c < points.length; c++) if (circleIsEmpty(points, a, b, c)) empty++;
    expect(empty).toBe(triangles.length);
  }
});

/** By the circle's centre and radius, written another way than in geometry.ts. */
function circleIsEmpty(points: readonly Point[], a: number, b: number, c: number): boolean {
  const [[ax, ay], [bx, by], [cx, cy]] = [points[a], points[b], points[c]];
  const d = 2 * (ax * (by - cy) + bx * (cy - ay) + cx * (ay - by));
  const x = ((ax ** 2 + ay ** 2) * (by - cy) + (bx ** 2 + by ** 2) * (cy - ay) + (cx ** 2 + cy ** 2) * (ay - by)) / d;
  const y = ((ax ** 2 + ay ** 2) * (cx - bx) + (bx ** 2 + by ** 2) * (ax - cx) + (cx ** 2 + cy ** 2) * (bx - ax)) / d;
  const radius = Math.hypot(ax - x, ay - y);
  return points.every((p, i) => i === a || i === b || i === c || Math.hypot(p[0] - x, p[1] - y) >= radius);
}

test("four points on a circle: the diagonal of the lowest index, and either counts as right", () => {
  expect(delaunay(square)).toEqual(
    expect.arrayContaining([
      [0, 1, 2],
      [0, 2, 3],
    ]),
  );
  expect(
    isDelaunay(square, [
      [0, 1, 3],
      [1, 2, 3],
    ]),
  ).toBe(true);
  expect(
    triangleCoverage(square, [
      [0, 1, 3],
      [1, 2, 3],
    ]),
  ).toBe(1);
  expect(
    isDelaunay(square, [
      [0, 1, 2],
      [1, 2, 3],
    ]),
  ).toBe(false);
});

test("what has no answer is refused by name", () => {
  expect(() =>
    convexHull([
      [0, 0],
      [1, 1],
    ]),
  ).toThrow(/2 points are given, and 3/);
  expect(() =>
    convexHull([
      [0, 0],
      [0.5, 0.5],
      [1, 1],
    ]),
  ).toThrow(/one line/);
  expect(() =>
    delaunay([
      [0, 0],
      [0.5, 0.5],
      [1, 1],
    ]),
  ).toThrow(/one line/);
  expect(() =>
    delaunay([
      [0, 0],
      [1, 0],
      [0, 1],
      [1, 0],
    ]),
  ).toThrow(/points 2 and 4 are equal/);
  expect(() =>
    convexHull([
      [0, 0],
      [Number.NaN, 0],
      [1, 1],
    ]),
  ).toThrow(/point 2 is \(NaN, 0\)/);
  for (const [point, words] of [
    [[Symbol("x"), 0], "(Symbol(x), 0)"],
    [[{}, 0], "({}, 0)"],
    [new Array(2), "(undefined, undefined)"],
  ] as const) {
    const points = [point, [1, 0], [0, 1]] as never;
    expect(() => convexHull(points)).toThrow(`point 1 is ${words}, not two numbers`);
    expect(() => tasks.hull.score(points, [0, 1, 2])).toThrow(`point 1 is ${words}, not two numbers`);
  }
  expect(() => heldKarp(21, () => 1)).toThrow(/21 cities/);
});

test("tours: Held and Karp's is the shortest of all; heuristics are valid and no shorter", () => {
  const permutations = (items: number[]): number[][] =>
    items.length <= 1
      ? [items]
      : items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
  for (let seed = 0; seed < 6; seed++) {
    const points = drawPoints(7, seed, 1);
    const length = (tour: readonly number[]) => tourLength(tour, between(points));
    const shortest = Math.min(...permutations([1, 2, 3, 4, 5, 6]).map((rest) => length([0, ...rest])));
    expect(length(heldKarp(7, between(points)))).toBeCloseTo(shortest, 12);
    const heuristics = [nearestNeighbour, greedyEdges, christofides].map((solve) => solve(7, between(points)));
    for (const tour of [...heuristics, twoOpt(heuristics[0], between(points))]) {
      expect(isTour(tour, 7)).toBe(true);
      expect(length(tour)).toBeGreaterThanOrEqual(shortest - 1e-12);
    }
    expect(length(heuristics[2])).toBeLessThanOrEqual(1.5 * shortest);
  }
  for (const n of [1, 2, 3]) expect(heldKarp(n, () => 1)).toEqual(Array.from({ length: n }, (_, i) => i));
});

test("on larger instances two-opt improves, and Christofides keeps its bound against it", () => {
  const points = drawPoints(60, 3, 0);
  const length = (tour: readonly number[]) => tourLength(tour, between(points));
  const improved = twoOpt(nearestNeighbour(60, between(points)), between(points));
  expect(length(improved)).toBeLessThan(length(nearestNeighbour(60, between(points))));
  for (const tour of [improved, greedyEdges(60, between(points)), christofides(60, between(points))])
    expect(isTour(tour, 60)).toBe(true);
  expect(length(christofides(60, between(points)))).toBeLessThan(1.5 * length(improved));
});

test("the exact matching is the shortest of all pairings", () => {
  const points = drawPoints(8, 5, 0);
  const pairings = (items: number[]): [number, number][][] =>
    items.length === 0
      ? [[]]
      : items
          .slice(1)
          .flatMap((other) =>
            pairings(items.filter((i) => i !== items[0] && i !== other)).map((rest): [number, number][] => [
              [items[0], other],
              ...rest,
            ]),
          );
  const length = (pairs: [number, number][]) => pairs.reduce((sum, [a, b]) => sum + between(points)(a, b), 0);
  expect(length(exactMatching(8, between(points)))).toBeCloseTo(
    Math.min(...pairings([0, 1, 2, 3, 4, 5, 6, 7]).map(length)),
    12,
  );
});

test("canonical tours: one writing for both directions and every start", () => {
  fc.assert(
    fc.property(fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 6 }), fc.nat(5), (tour, shift) => {
      const turned = [...tour.slice(shift), ...tour.slice(0, shift)];
      expect(canonicalTour(turned.toReversed())).toEqual(canonicalTour(tour));
      expect(sameCycle(turned.toReversed(), tour)).toBe(true);
    }),
  );
});

test("polygons: area by the shoelace formula, crossings are seen", () => {
  expect(polygonArea(square, [0, 1, 2, 3])).toBe(1);
  expect(isSimplePolygon(square, [0, 1, 2, 3])).toBe(true);
  expect(isSimplePolygon(square, [0, 2, 1, 3])).toBe(false);
  expect(isSimplePolygon(square, [0, 1, 0, 3])).toBe(false);
});

test("scores: hulls up to rotation and direction, triangles as a set, tours by length", () => {
  const points: Point[] = [...square, [0.4, 0.5]];
  expect(tasks.hull.score(points, [2, 1, 0, 3])).toMatchObject({ exact: true, valid: true, quality: 1 });
  expect(tasks.hull.score(points, [0, 1, 2, 3, 0])).toMatchObject({ exact: true });
  expect(tasks.hull.score(points, [0, 1, 2])).toMatchObject({ exact: false, valid: true, quality: 0.5 });
  expect(tasks.hull.score(points, [0, 2, 1, 3])).toMatchObject({ valid: false, quality: 0 });
  expect(tasks.tour.score(square, [3, 2, 1, 0])).toMatchObject({ exact: true, valid: true, quality: 1 });
  expect(tasks.tour.score(square, [0, 1, 1, 3])).toMatchObject({ valid: false, quality: Number.NaN });
  const triangles = tasks.delaunay.solve(points);
  const shuffled = [...triangles.slice(3), ...triangles.slice(0, 3).reverse()];
  expect(tasks.delaunay.score(points, shuffled)).toMatchObject({ exact: true, quality: 1 });
  expect(tasks.delaunay.score(points, triangles.slice(0, 6))).toMatchObject({ exact: false, quality: 0.5 });
});

test("rules: what they accept is what they promise", () => {
  const accepts = (rule: keyof typeof rules, places: number, answer: number[]): boolean => {
    let state = rules[rule](places) as ReturnType<(typeof rules)["hull"]> | undefined;
    for (const place of answer) state = state?.push(place);
    return state?.complete ?? false;
  };
  expect(accepts("tour", 3, [0, 2, 1])).toBe(true);
  expect(accepts("tour", 3, [0, 2])).toBe(false);
  expect(accepts("tour", 3, [0, 2, 2])).toBe(false);
  expect(accepts("hull", 5, [0, 2, 4])).toBe(true);
  expect(accepts("hull", 5, [0, 2])).toBe(false);
  expect(accepts("triples", 5, [0, 1, 2, 1, 3, 4])).toBe(true);
  expect(accepts("triples", 5, [0, 1, 2, 0, 1, 2])).toBe(false);
  expect(accepts("triples", 5, [0, 1])).toBe(false);
  for (const wrong of [-1, 1.5, Number.NaN, 5]) expect(rules.hull(5).push(wrong)).toBeUndefined();
  // Tight: from every state that exists an answer can be reached.
  const walk = (state: { push(p: number): unknown; complete: boolean }, places: number): void => {
    const next = Array.from({ length: places }, (_, p) => state.push(p)).filter(Boolean);
    expect(next.length > 0 || state.complete).toBe(true);
    for (const one of next) walk(one as typeof state, places);
  };
  walk(rules.tour(4), 4);
  walk(rules.triples(4), 4);
});

test.each(["pointer", "attention", "plain"] as const)(
  "%s: the graph that is trained gives the loss of the numbers by hand, and its gradient",
  async (kind) => {
    const shape: NetworkShape = { kind, hidden: 6, ...(kind !== "pointer" && { largest: 5 }) };
    const weights = initialWeights(shape, 3, "paper");
    for (const { values } of weights.values()) for (let i = 0; i < values.length; i++) values[i] *= 8;
    const objective = await pointingObjective(shape, tasks.hull, weights, { rows: 3, threads: 1 });
    const batch = drawBatch(tasks.hull, [5, 5], 3, 1, 0);
    const byHand = () => {
      const network = createNetwork(shape, weights);
      let [sum, count] = [0, 0];
      for (const { points, answer } of batch.examples) {
        const encoded = network.encode(points);
        let state = encoded.start;
        for (const [step, place] of [...answer, 5].entries()) {
          const result = network.step(encoded, points, state, answer[step - 1]);
          const largest = Math.max(...result.scores);
          sum +=
            largest + Math.log(result.scores.reduce((s, x) => s + Math.exp(x - largest), 0)) - result.scores[place];
          count++;
          state = result.state;
        }
      }
      return sum / count;
    };
    expect(await objective.loss(batch)).toBeCloseTo(byHand(), 5);
    const { gradients } = await objective.gradients(batch);
    for (const [p, { values, name }] of objective.parameters.entries()) {
      const i = (7 * p + 1) % values.length;
      const before = values[i];
      const losses = [1e-2, -1e-2].map((change) => {
        values[i] = before + change;
        return byHand();
      });
      values[i] = before;
      expect(gradients[p][i], name).toBeCloseTo((losses[0] - losses[1]) / 2e-2, 3);
    }
    await objective.release();
  },
);

test("the pointer head and both LSTMs: each parameter's whole gradient is that of float64's central differences", async () => {
  const shape: NetworkShape = { kind: "pointer", hidden: 4 };
  const weights = initialWeights(shape, 6);
  const exact = new Map(
    Array.from(weights, ([name, weight]) => [name, { ...weight, values: Float64Array.from(weight.values) }]),
  );
  const network = createNetwork(shape, exact);
  const batch = drawBatch(tasks.hull, [5, 5], 3, 2, 0);
  const loss = (): number => {
    let [sum, count] = [0, 0];
    for (const { points, answer } of batch.examples) {
      const encoded = network.encode(points);
      let state = encoded.start;
      for (const [step, place] of [...answer, 5].entries()) {
        const answered = network.step(encoded, points, state, answer[step - 1]);
        sum += Math.log(answered.scores.reduce((s, score) => s + Math.exp(score), 0)) - answered.scores[place];
        count++;
        state = answered.state;
      }
    }
    return sum / count;
  };
  const objective = await pointingObjective(shape, tasks.hull, weights, { rows: 3, threads: 1 });
  const { gradients } = await objective.gradients(batch);
  for (const [p, { name }] of objective.parameters.entries()) {
    const { values } = exact.get(name)!;
    const differences = Array.from(values, (before, i) => {
      const [up, down] = [1e-5, -1e-5].map((change) => {
        values[i] = before + change;
        return loss();
      });
      values[i] = before;
      return (up - down) / 2e-5;
    });
    const error = Math.hypot(...differences.map((difference, i) => difference - gradients[p][i]));
    expect(error / Math.hypot(...differences), name).toBeLessThan(1e-4);
  }
  await objective.release();
});

test("the pointer head alone: places that are masked have no chance, and lengths must fit", () => {
  const [keys, query, v] = [
    [0, 0, 1, 1, 2, 0],
    [0, 1],
    [1, 2],
  ];
  const all = pointerLogits(keys, query, undefined, v);
  expect(all[1]).toBeCloseTo(Math.tanh(1) + 2 * Math.tanh(2), 12);
  expect([...pointerLogits(keys, query, [true, false, true], v)]).toEqual([all[0], Number.NEGATIVE_INFINITY, all[2]]);
  expect(() => pointerLogits([1, 2, 3], query, undefined, v)).toThrow(/keys are 3 numbers/);
  expect(() => pointerLogits(keys, query, [true], v)).toThrow(/mask has 1 entries for 3 places/);
  expect(() => pointerLogits(keys, query, undefined, [1])).toThrow(/v has 1 numbers/);
});

test("beams: one is greedy, more never give a less likely answer than greedy; every tour under its rule is valid", async () => {
  const shape: NetworkShape = { kind: "pointer", hidden: 8 };
  const weights = initialWeights(shape, 4);
  for (const { values } of weights.values()) for (let i = 0; i < values.length; i++) values[i] *= 20;
  const network = createNetwork(shape, weights);
  let unconstrained = 0;
  for (let i = 0; i < 20; i++) {
    const points = drawPoints(6, 8, i);
    const [greedy] = await pointAt(network, points, { rule: "tour" });
    const [best, ...others] = await pointAt(network, points, { rule: "tour", beams: 8 });
    expect(isTour(greedy.places, 6)).toBe(true);
    for (const answer of [best, ...others]) expect(isTour(answer.places, 6)).toBe(true);
    expect(best.logprob).toBeGreaterThanOrEqual(greedy.logprob - 1e-9);
    // Greedy by hand.
    const encoded = network.encode(points);
    let state = encoded.start;
    const places: number[] = [];
    while (places.length < 6) {
      const result = network.step(encoded, points, state, places.at(-1));
      const left = [0, 1, 2, 3, 4, 5].filter((place) => !places.includes(place));
      places.push(left.reduce((a, b) => (result.scores[b] > result.scores[a] ? b : a)));
      state = result.state;
    }
    expect(greedy.places).toEqual(places);
    if (!isTour((await pointAt(network, points, { steps: 6 }))[0].places, 6)) unconstrained++;
  }
  expect(unconstrained).toBeGreaterThan(0);
});

test("training learns hulls of five points, resumes exactly, runs on any size, and is kept in a file", {
  timeout: 120_000,
}, async () => {
  const options = { task: "hull", sizes: [5, 6], hidden: 24, rows: 32, rate: 0.02, seed: 1, threads: 1 } as const;
  const run = join(folder, "run");
  await trainPointing({ ...options, steps: 120, folder: run, signal: AbortSignal.timeout(300) }).catch(() => {});
  const resumed = await trainPointing({ ...options, steps: 120, folder: run });
  const whole = await trainPointing({ ...options, steps: 120 });
  expect(resumed.result.history.at(-1)?.loss).toBe(whole.result.history.at(-1)?.loss);
  await expect(trainPointing({ ...options, steps: 130, rate: 0.01, folder: run })).rejects.toThrow(
    /another rate; give/,
  );
  const first = whole.result.history[0].loss;
  expect(whole.result.history.at(-1)?.loss).toBeLessThan(0.85 * first);
  const file = join(folder, "hull.safetensors");
  await savePointing(file, whole);
  const opened = await openPointing(file);
  expect(opened).toMatchObject({ task: "hull", trained: { sizes: [5, 6], steps: 120 } });
  for (const n of [5, 6, 20])
    expect(new Set((await point(opened, drawPoints(n, 2, 0))).places).size).toBeGreaterThanOrEqual(3);
  const outside = await point(
    opened,
    drawPoints(5, 2, 0).map(([x, y]): Point => [100 * x - 7, 100 * y + 900]),
  );
  expect(outside.normalised).toBe(true);
  await expect(point(opened, square.slice(0, 2))).rejects.toThrow(/2 points are given/);
  await expect(point(opened, square, { beams: 0 })).rejects.toThrow(/beams must be at least 1/);

  const damaged = readFileSync(file);
  writeFileSync(join(folder, "cut.safetensors"), damaged.subarray(0, damaged.length - 40));
  await expect(openPointing(join(folder, "cut.safetensors"))).rejects.toMatchObject({ code: "bad_file" });
});

test("the paper's stochastic gradient descent: a step is the clipped gradient times the rate, which is 1", async () => {
  const sizes = [5, 5] as const;
  const options = { task: "hull", sizes, steps: 1, hidden: 4, rows: 8, seed: 2, threads: 1, start: "paper" } as const;
  const shape: NetworkShape = { kind: "pointer", hidden: 4 };
  const before = initialWeights(shape, 2, "paper");
  const objective = await pointingObjective(shape, tasks.hull, before, { rows: 8, threads: 1 });
  const { gradients } = await objective.gradients(drawBatch(tasks.hull, sizes, 8, 2, 0));
  await objective.release();
  const norm = Math.hypot(...gradients.map((gradient) => Math.hypot(...gradient)));
  const { weights } = await trainPointing({ ...options, optimiser: "sgd", clip: norm / 2 });
  for (const [p, [name, { values }]] of [...weights].entries())
    for (const [i, value] of values.entries())
      expect(value, name).toBeCloseTo(before.get(name)!.values[i] - gradients[p][i] / 2, 6);
  await expect(trainPointing({ ...options, optimiser: "adam" as never })).rejects.toThrow(
    /optimiser must be "adamw" or "sgd", not "adam"/,
  );
});

test("random tours are tours, each number's own", () => {
  const drawn = Array.from({ length: 200 }, (_, i) => randomTour(5, 1, i));
  for (const tour of drawn) expect(isTour(tour, 5)).toBe(true);
  expect(new Set(drawn.map(String)).size).toBe(12); // all that there are
  expect(randomTour(5, 1, 3)).toEqual(randomTour(5, 1, 3));
});

test("what cannot be trained is refused by name", async () => {
  await expect(trainPointing({ task: "hull", sizes: [2, 5], steps: 1 })).rejects.toThrow(/at least 3 points/);
  await expect(trainPointing({ task: "tour", sizes: [5, 30], steps: 1 })).rejects.toThrow(/20 points/);
  await expect(trainPointing({ task: "delaunay", sizes: [5, 5], steps: 1, kind: "plain" })).rejects.toThrow(/delaunay/);
  for (const [wrong, message] of [
    [{ sizes: [3, 1e9] }, /the larger size must be a whole number from 3 to 2000, not 1000000000/],
    [{ steps: Number.NaN }, /steps must be a whole number from 1 on, not NaN/],
    [{ rows: -1 }, /rows must be a whole number from 1 to 65536, not -1/],
    [{ rows: Number.POSITIVE_INFINITY }, /rows must be .* not Infinity/],
    [{ rate: Number.NaN }, /rate must be .* not NaN/],
    [{ clip: -1 }, /clip must be .* not -1/],
    [{ seed: 0.5 }, /seed must be a whole number from 0 on, not 0\.5/],
    [{ threads: -1 }, /threads must be/],
  ] as const)
    await expect(
      trainPointing({ task: "hull", sizes: [5, 5], steps: 1, hidden: 2, ...wrong }),
      `${message}`,
    ).rejects.toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }));
});

const { NaN: notANumber, POSITIVE_INFINITY: endless } = Number;
const far = (a: number, b: number) => Math.abs(a - b);
const nowhere: Point[] = [...square.slice(1), [notANumber, 0]];
const threeCorners = [[0, 1, 9]];
const tsplib = "DIMENSION: 2\nEDGE_WEIGHT_TYPE: EUC_2D\nNODE_COORD_SECTION\n1 0 0\n2 3 4\n";
const smallNetwork = () => {
  const shape: NetworkShape = { kind: "pointer", hidden: 2 };
  return createNetwork(shape, initialWeights(shape, 1));
};

test.each<[name: string, call: () => unknown, message: RegExp]>([
  ["heldKarp", () => heldKarp(notANumber, far), /NaN cities/],
  ["heldKarp", () => heldKarp(4.5, far), /4\.5 cities/],
  ["nearestNeighbour", () => nearestNeighbour(-1, far), /cities must be a whole number from 1 to 100000, not -1/],
  ["nearestNeighbour", () => nearestNeighbour(endless, far), /not Infinity/],
  ["greedyEdges", () => greedyEdges(-1, far), /cities must be a whole number from 1 to 5000, not -1/],
  ["greedyEdges", () => greedyEdges(2.5, far), /not 2\.5/],
  ["christofides", () => christofides(notANumber, far), /cities must be a whole number from 1 to 5000, not NaN/],
  ["christofides", () => christofides(5001, far), /not 5001/],
  ["exactMatching", () => exactMatching(3, far), /count is 3, and only an even number/],
  ["exactMatching", () => exactMatching(26, far), /count must be a whole number from 0 to 24, not 26/],
  ["exactMatching", () => exactMatching(-2, far), /not -2/],
  ["twoOpt", () => twoOpt([0, 1, 9], far), /start must have each index from 0 to 2 once, and is \[0,1,9\]/],
  ["twoOpt", () => twoOpt([], far), /start\.length must be a whole number from 1/],
  ["canonicalTour", () => canonicalTour([1, 2]), /tour must have each index/],
  ["tourLength", () => tourLength([0, 1.5], far), /tour\[1\] is 1\.5/],
  ["isTour", () => isTour([0], notANumber), /cities must be a whole number/],
  ["rotateTo", () => rotateTo([0, 1], 9), /first is 9, which the cycle \[0,1\] does not have/],
  ["polygonArea", () => polygonArea(square, [0, 1, 9]), /cycle\[2\] is 9, and must be a whole number from 0 to 3/],
  ["polygonArea", () => polygonArea(nowhere, [0, 1, 2]), /point 4 is \(NaN, 0\)/],
  ["isSimplePolygon", () => isSimplePolygon(square, [0, 1, 9]), /cycle\[2\] is 9/],
  ["isSimplePolygon", () => isSimplePolygon(square, [0, 1, 0.5]), /cycle\[2\] is 0\.5/],
  ["isSimplePolygon", () => isSimplePolygon(nowhere, [0, 1, 2]), /point 4/],
  ["sortTriangles", () => sortTriangles(square, threeCorners), /triangles\[0\]\[2\] is 9/],
  ["sortTriangles", () => sortTriangles(square, [[0, 1]]), /triangles\[0\] has 2 corners/],
  ["sortTriangles", () => sortTriangles(nowhere, [[0, 1, 2]]), /point 4/],
  ["isDelaunay", () => isDelaunay(square, [...threeCorners, [0, 2, 3]]), /triangles\[0\]\[2\] is 9/],
  ["isDelaunay", () => isDelaunay(nowhere, [[0, 1, 2]], [[0, 1, 2]]), /point 4/],
  ["triangleCoverage", () => triangleCoverage(square, threeCorners), /found\[0\]\[2\] is 9/],
  ["triangleCoverage", () => triangleCoverage(square, [[0, 1, 2]], []), /truth is empty/],
  ["normalise", () => normalise(nowhere), /point 4/],
  ["drawPointing", () => drawPointing("hull", square, [0, 1, 9], "t"), /answer\[2\] is 9/],
  ["drawPointing", () => drawPointing("hull", nowhere, [0, 1], "t"), /point 4/],
  [
    "pointingEvents",
    () => pointingEvents(square, { places: [9], logprob: 0, allowed: [1], probabilities: [new Float64Array(5)] }),
    /places\[0\] is 9/,
  ],
  ["drawPoints", () => drawPoints(endless, 0, 0), /count must be a whole number from 0 to 1000000, not Infinity/],
  ["drawPoints", () => drawPoints(-1, 0, 0), /not -1/],
  ["drawPoints", () => drawPoints(notANumber, 0, 0), /not NaN/],
  ["drawPoints", () => drawPoints(1.5, 0, 0), /not 1\.5/],
  ["drawPoints", () => drawPoints(1, notANumber, 0), /seed must be a whole number from 0 on, not NaN/],
  ["drawPoints", () => drawPoints(1, 0, -1), /index must be a whole number from 0 on, not -1/],
  ["tasks.hull.steps", () => tasks.hull.steps(notANumber), /points must be a whole number/],
  ["tasks.hull.score", () => tasks.hull.score(square, [0, 1, 9]), /answer\[2\] is 9/],
  ["tasks.tour.score", () => tasks.tour.score(square, [0, 1, 9, 2]), /answer\[2\] is 9/],
  ["tasks.tour.solve", () => tasks.tour.solve(nowhere), /point 4/],
  ["rules.hull", () => rules.hull(notANumber), /places must be a whole number from 0 on, not NaN/],
  [
    "readTsplib's between",
    () => readTsplib(tsplib, "x").between(0, 9),
    /between's b must be a whole number from 0 to 1/,
  ],
  ["a network's encode", () => smallNetwork().encode(nowhere), /point 4/],
  [
    "a network's step",
    () => smallNetwork().step(smallNetwork().encode(square), square, smallNetwork().encode(square).start, 9),
    /last must be a whole number from 0 to 3, not 9/,
  ],
])("%s refuses a number that is none of its own (%#)", (_, call, message) => {
  expect(call).toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }));
});

describe.each<[name: string, call: (between: (a: number, b: number) => number) => unknown]>([
  ["heldKarp", (d) => heldKarp(5, d)],
  ["nearestNeighbour", (d) => nearestNeighbour(5, d)],
  ["greedyEdges", (d) => greedyEdges(5, d)],
  ["christofides", (d) => christofides(5, d)],
  ["exactMatching", (d) => exactMatching(4, d)],
  ["twoOpt", (d) => twoOpt([0, 1, 2, 3], d)],
  ["tourLength", (d) => tourLength([0, 1, 2, 3], d)],
])("%s", (_, call) => {
  test.each([notANumber, endless, -endless, undefined, null, "1", {}])("refuses %s for a distance", (length) => {
    expect(() => call(() => length as number)).toThrow(
      expect.objectContaining({
        code: "bad_option",
        message: expect.stringMatching(/between\(\d, \d\) gives .+, and/),
      }),
    );
  });
});

test("a promise for a distance is refused, and its own failure ends nothing", () => {
  const later = async () => expect.fail("unheard");
  expect(() => heldKarp(5, later as never)).toThrow(/gives a Promise that was not awaited/);
});

test("a distance below 0 is refused where the method needs the triangle inequality, and taken elsewhere", () => {
  expect(() => christofides(5, () => -1)).toThrow(
    /between\(0, 1\) gives -1, and a distance must be a finite number of at/,
  );
  // The longest tour of a line is the shortest of the negated distances.
  expect(
    tourLength(
      heldKarp(5, (a, b) => -far(a, b)),
      far,
    ),
  ).toBe(12);
  expect(exactMatching(4, () => -1)).toHaveLength(2);
});

test("distances that change with the direction or from call to call end two-opt and Christofides' pairs by an error or a tour", () => {
  let seed = 0;
  const drawn = () => distance(...(drawPoints(2, 1, seed++) as [Point, Point]));
  const cities = 60;
  const start = Array.from({ length: cities }, (_, i) => i);
  expect(() => twoOpt(start, drawn)).toThrow(/between gives other distances/);
  expect(() => christofides(cities, drawn)).toThrow(/between gives other distances/);
  expect(() => twoOpt(start, (a, b) => (a < b ? 1 : 100 + a))).toThrow(/between gives other distances/);
});

test("points without number are moved into the unit square, and drawn", () => {
  const many = Array.from({ length: 200_000 }, (_, i): Point => [i, 2 * i]);
  expect(normalise(many)).toMatchObject({ scale: 399_998, changed: true });
  expect(drawPointing("hull", many, [0], "many")).toContain("<circle");
});

test("pictures have numbers where there is room for them", () => {
  const numbers = (count: number): number => {
    const order = Array.from({ length: count }, (_, i) => i);
    return drawPointing("tour", drawPoints(count, 1, 0), order, "t").split("<text").length - 2;
  };
  expect([numbers(30), numbers(31)]).toEqual([30, 0]);
  expect(drawPointing("hull", drawPoints(200, 1, 0), [0, 1, 2], "t").split("<text")).toHaveLength(5);
});

test("triangles that overlap are counted, and make no triangulation", () => {
  const points: Point[] = [...square, [0.5, 0.25]];
  const count = (...triangles: number[][]) => overlappingTriangles(points, triangles);
  expect(count([0, 1, 2], [0, 2, 3])).toBe(0);
  expect(count([0, 1, 2], [0, 1, 3])).toBe(2);
  expect(count([0, 1, 2], [0, 1, 2], [0, 2, 3])).toBe(2);
  expect(count([0, 1, 2], [0, 1, 4], [0, 2, 3])).toBe(2);
  expect(count([0, 1, 4], [0, 4, 3], [1, 2, 4], [2, 3, 4])).toBe(0);
  expect(count([0, 1, 4], [2, 3, 4], [0, 1, 1])).toBe(0);
  expect(() => count([0, 1, 9])).toThrow(/triangles\[0\]\[2\] is 9/);
  expect(tasks.delaunay.score(square, [0, 1, 2, 0, 1, 3])).toMatchObject({ exact: false, valid: false, quality: 1 });
  expect(tasks.delaunay.score(square, [0, 1, 2, 0, 2, 3])).toMatchObject({ exact: true, valid: true });
  for (let seed = 0; seed < 20; seed++)
    expect(overlappingTriangles(drawPoints(12, seed, 1), delaunay(drawPoints(12, seed, 1)))).toBe(0);
});

test("lines of the authors' files", () => {
  expect(readLine("0 0 1 0 0.5 1 output 1 2 3 1 ", "hull")).toEqual({
    points: [
      [0, 0],
      [1, 0],
      [0.5, 1],
    ],
    answer: [0, 1, 2],
  });
  for (const line of ["", "0 0 1 output 1", "0 0 output 2", "0 x output 1", "0 0"])
    expect(readLine(line, "hull")).toBeUndefined();
  // The last triangle may well end with the point that the first begins with.
  const triangles = "0 0 1 0 1 1 0 1 output 1 2 3 3 4 1";
  expect(readLine(triangles, "delaunay")?.answer).toEqual([0, 1, 2, 2, 3, 0]);
  expect(readLine(triangles, "tour")?.answer).toEqual([0, 1, 2, 2, 3]);
});

test("TSPLIB: every way of writing weights, and the manual's distances", () => {
  const header = "NAME: t\nTYPE: TSP\nDIMENSION: 4\n";
  const full = "0 1 2 3\n1 0 4 5\n2 4 0 6\n3 5 6 0";
  const written = {
    FULL_MATRIX: full,
    UPPER_ROW: "1 2 3 4 5 6",
    LOWER_ROW: "1 2 4 3 5 6",
    UPPER_DIAG_ROW: "0 1 2 3 0 4 5 0 6 0",
    LOWER_DIAG_ROW: "0 1 0 2 4 0 3 5 6 0",
  };
  for (const [form, numbers] of Object.entries(written)) {
    const { between: weight } = readTsplib(
      `${header}EDGE_WEIGHT_TYPE: EXPLICIT\nEDGE_WEIGHT_FORMAT: ${form}\nEDGE_WEIGHT_SECTION\n${numbers}\nEOF\n`,
      form,
    );
    const rows = full.split("\n").map((row) => row.split(" ").map(Number));
    for (let a = 0; a < 4; a++) for (let b = 0; b < 4; b++) expect(weight(a, b), `${form} ${a} ${b}`).toBe(rows[a][b]);
  }
  const planar = (kind: string) =>
    readTsplib(
      `${header}EDGE_WEIGHT_TYPE: ${kind}\nNODE_COORD_SECTION\n1 0 0\n2 3 4.2\n3 10 0\n4 0.1 0.1\n`,
      kind,
    ).between(0, 1);
  expect([planar("EUC_2D"), planar("CEIL_2D"), planar("ATT")]).toEqual([5, 6, 2]);
  expect(() => readTsplib(`${header}EDGE_WEIGHT_TYPE: XRAY1\n`, "x")).toThrow(/XRAY1/);
  expect(() => readTsplib(`${header}EDGE_WEIGHT_TYPE: EUC_2D\nNODE_COORD_SECTION\n1 0 0\n`, "x")).toThrow(
    /1 coordinates for 4 cities/,
  );
  expect(() => readTsplib("DIMENSION: 1e9\n", "x")).toThrow(/DIMENSION/);
});

test("TSPLIB: cities are told by their numbers, and what is another problem is refused", () => {
  const read = (head: string, lines: string) => readTsplib(`${head}\nDIMENSION: 3\n${lines}`, "x.tsp");
  const coordinates = (lines: string) => `EDGE_WEIGHT_TYPE: EUC_2D\nNODE_COORD_SECTION\n${lines}\nEOF`;
  const { points, between } = read("TYPE: TSP (M.~Hofmeister)", coordinates("3 30 0\n1 0 0\n2 10 0"));
  expect(points).toEqual([
    [0, 0],
    [10, 0],
    [30, 0],
  ]);
  expect([between(0, 1), between(0, 2)]).toEqual([10, 30]);
  const explicit = read(
    "TYPE: TSP",
    "EDGE_WEIGHT_TYPE: EXPLICIT\nEDGE_WEIGHT_FORMAT: UPPER_ROW\nEDGE_WEIGHT_SECTION\n1 2 3\nDISPLAY_DATA_SECTION\n2 5 5\n3 9 9\n1 0 0",
  );
  expect(explicit.points?.[1]).toEqual([5, 5]);
  for (const [head, lines, message] of [
    ["TYPE: TSP", coordinates("1 0 0\n2 1 0\n2 2 0"), /the city 2 is there twice/],
    ["TYPE: TSP", coordinates("0 0 0\n1 1 0\n2 2 0"), /0 is no number of a city, which are 1 to 3/],
    ["TYPE: TSP", coordinates("1 0 0\n2 1 0\n4 2 0"), /4 is no number of a city/],
    ["TYPE: TSP", coordinates("1.5 0 0\n2 1 0\n3 2 0"), /1\.5 is no number/],
    ["TYPE: CVRP", coordinates("1 0 0\n2 1 0\n3 2 0"), /type CVRP are not read, only TSP/],
    ["TYPE: ATSP", coordinates("1 0 0\n2 1 0\n3 2 0"), /type ATSP/],
    ["TYPE: TSPX", coordinates("1 0 0\n2 1 0\n3 2 0"), /type TSPX/],
    ["TYPE: TSP", "EDGE_WEIGHT_TYPE: constructor\n", /weights of the kind constructor are not read/],
    ["TYPE: TSP", "EDGE_WEIGHT_TYPE: EXPLICIT\nEDGE_WEIGHT_FORMAT: toString\n", /weights in the form toString/],
    ["TYPE: TSP", `${coordinates("1 0 0\n2 1 0\n3 2 0")}\nNODE_COORD_SECTION\n`, /NODE_COORD_SECTION is there twice/],
  ] as const)
    expect(() => read(head, lines), message.source).toThrow(message);
});

test("TSPLIB: the published optimum goes with the instance of that name and so many cities", () => {
  const cities = (count: number) => Array.from({ length: count }, (_, i) => `${i + 1} ${i} 0`).join("\n");
  const optimum = (name: string, count: number, more = "") =>
    readTsplib(
      `NAME: ${name}\nDIMENSION: ${count}\nEDGE_WEIGHT_TYPE: EUC_2D\n${more}NODE_COORD_SECTION\n${cities(count)}\n`,
      "x",
    ).optimum;
  expect([optimum("burma14", 14), optimum("burma14.tsp", 14), optimum("burma14", 15)]).toEqual([3323, 3323, undefined]);
  expect([optimum("mine14", 14), optimum("burma14", 14, "FIXED_EDGES_SECTION\n1 2\n-1\n")]).toEqual([
    undefined,
    undefined,
  ]);
});

test("TSPLIB's instances: no tour is shorter than the published optimum, two-opt comes near it", (context) => {
  const path = dataPath("tsplib", "optimal.json");
  if (!path) return context.skip("the shared data are not here");
  const optimal: Record<string, number> = JSON.parse(readFileSync(path, "utf8"));
  for (const [name, length] of Object.entries(optimal)) {
    const instance = readTsplib(readFileSync(dataPath("tsplib", `${name}.tsp`)!, "utf8"), name);
    if (name !== "linhp318") expect(instance.optimum, name).toBe(length);
    if (instance.cities > 130) continue;
    const tour = twoOpt(nearestNeighbour(instance.cities, instance.between), instance.between);
    expect(tourLength(tour, instance.between), name).toBeGreaterThanOrEqual(length);
    expect(tourLength(tour, instance.between), name).toBeLessThan(1.25 * length);
  }
});

test.each(["hull", "delaunay", "tour"] as const)("the task %s names the argument that is none", (name) => {
  const task = tasks[name];
  const corners: [number, number][] = [
    [0, 0],
    [1, 0],
    [0, 1],
  ];
  const wrong = (value: unknown) => value as never;
  const calls: [() => unknown, RegExp][] = [
    [() => task.solve(wrong(undefined)), /^points are a list/],
    [() => task.solve(wrong(null)), /^points are a list/],
    [() => task.solve(wrong([[0]])), /^point 1 is/],
    [() => task.score(wrong({}), wrong(null), wrong({})), /^points are a list/],
    [() => task.score(corners, wrong(null)), /^answer must be a list of places of points, not null$/],
    [() => task.score(corners, [0, 1, 3]), /^answer\[2\] is 3/],
    [() => task.score(corners, [0, 1, 2], wrong(null)), /^truth must be a list of places of points, not null$/],
    [() => task.score(corners, [0, 1, 2], wrong(["x"])), /^truth\[0\] is "x"/],
    [() => task.steps(wrong(null)), /^points must be a whole number/],
  ];
  for (const [call, message] of calls)
    expect(call).toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }));
});
