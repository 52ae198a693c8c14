import { describe, expect, test } from "vitest";
import {
  drawPoints,
  isTour,
  openPointing,
  type Point,
  type PointingModel,
  point,
  type RuleState,
  rules,
  shippedNetwork,
  type TaskName,
  tasks,
} from "./index.ts";
import { createNetwork, initialWeights, type Network, type NetworkShape } from "./network.ts";
import { pointAt } from "./search.ts";

/** Of weights so large that it is sure of what it says, whatever that is. */
function randomNetwork(seed: number, hidden = 6): Network {
  const shape: NetworkShape = { kind: "pointer", hidden };
  const weights = initialWeights(shape, seed);
  for (const { values } of weights.values()) for (let i = 0; i < values.length; i++) values[i] *= 3;
  return createNetwork(shape, weights);
}

const taskNames = Object.keys(tasks) as TaskName[];

test.each(taskNames)(
  "%s: a wider beam has the slots of the narrower one, so that its answer is no less likely",
  async (name) => {
    const task = tasks[name];
    const shipped = await openPointing(shippedNetwork(name));
    const trials: [Network, number][] = [
      ...Array.from({ length: 8 }, (_, i): [Network, number] => [shipped.network, 5 + (i % 2)]),
      ...Array.from({ length: 40 }, (_, i): [Network, number] => [randomNetwork(i), 4 + (i % 3)]),
    ];
    for (const [trial, [network, size]] of trials.entries())
      for (const rule of [task.rule, "none"] as const) {
        const points = drawPoints(size, 11, trial);
        const steps = task.stops ? undefined : task.steps(size);
        let before = Number.NEGATIVE_INFINITY;
        for (let beams = 1; beams <= 10; beams++) {
          const answers = await pointAt(network, points, { beams, rule, steps });
          expect(answers.length).toBeLessThanOrEqual(beams);
          expect(answers[0].logprob, `${name} ${trial} ${rule} ${beams}`).toBeGreaterThanOrEqual(before);
          before = answers[0].logprob;
        }
      }
  },
  120_000,
);

test("answers of a beam are different, sorted, and as likely as their steps say", async () => {
  for (let seed = 0; seed < 10; seed++) {
    const points = drawPoints(6, seed, 3);
    const answers = await pointAt(randomNetwork(seed), points, { beams: 8, rule: "hull" });
    expect(new Set(answers.map(({ places }) => places.join())).size).toBe(answers.length);
    for (const [i, { places, logprob, allowed, probabilities }] of answers.entries()) {
      if (i > 0) expect(logprob).toBeLessThanOrEqual(answers[i - 1].logprob);
      expect([allowed.length, probabilities.length]).toEqual([places.length + 1, places.length + 1]);
      const sum = [...places, 6].reduce(
        (s, place, step) => s + Math.log(probabilities[step][place] / allowed[step]),
        0,
      );
      expect(logprob).toBeCloseTo(sum, 9);
    }
  }
});

test("tours end after as many pointers as there are cities: without a rule some have cities again, and leave others out", async () => {
  const model = await openPointing(shippedNetwork("tour"));
  let tours = 0;
  let others = 0;
  for (let i = 0; i < 40; i++) {
    const points = drawPoints(8, 5, i);
    const { places, probabilities } = await point(model, points, { rule: "none", beams: 1 });
    expect(places).toHaveLength(8);
    expect(probabilities).toHaveLength(8);
    if (isTour(places, 8)) tours++;
    else others++;
  }
  expect(tours).toBeGreaterThan(0);
  expect(others).toBeGreaterThan(0);
});

describe("rules of one's own", () => {
  /** One place after the other, upwards, and three of them. */
  const rising = (places: number): RuleState => {
    const state = (count: number, last: number): RuleState => ({
      push: (place) => (place > last && place <= places - 3 + count && count < 3 ? state(count + 1, place) : undefined),
      complete: count === 3,
    });
    return state(0, -1);
  };

  test("are kept to like ours", async () => {
    const { places } = await point(await openPointing(shippedNetwork("hull")), drawPoints(7, 1, 0), { rule: rising });
    expect(places).toHaveLength(3);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
  });

  test("are told of by name where they fail, or give what is no state", async () => {
    const model = await openPointing(shippedNetwork("hull"));
    const ask = (rule: unknown) => point(model, drawPoints(5, 1, 0), { rule: rule as never });
    const throwing = () => ({ complete: false, push: () => expect.fail("mine") });
    await expect(ask(throwing)).rejects.toThrow(/^rule's push failed: mine$/);
    await expect(ask(() => expect.fail("mine"))).rejects.toThrow(/^rule failed: mine$/);
    await expect(ask(() => ({}))).rejects.toThrow(/^rule gave {}, and must give a state/);
    await expect(ask(() => ({ complete: true, push: () => 3 }))).rejects.toThrow(/^rule's push gave 3/);
    await expect(ask("tours")).rejects.toThrow(/rule must be "none", .* or a function/);
  });
});

test("where every choice is masked the search says so, and no number comes to nothing", async () => {
  const closed = (): RuleState => ({ push: () => undefined, complete: false });
  await expect(pointAt(randomNetwork(1), drawPoints(4, 1, 0), { rule: closed, beams: 3 })).rejects.toMatchObject({
    code: "constraint_dead_end",
  });
  // Under the rule of tours a place is masked once it is used: the last choice is sure.
  const [{ logprob, allowed }] = await pointAt(randomNetwork(1), drawPoints(4, 1, 0), { rule: "tour" });
  expect(Number.isFinite(logprob)).toBe(true);
  expect(allowed.every((share) => share > 0 && share <= 1)).toBe(true);
});

const model = async (task: TaskName): Promise<PointingModel> => openPointing(shippedNetwork(task));
const inner: Point[] = [
  [0.1, 0.1],
  [0.9, 0.1],
  [0.9, 0.1],
  [0.5, 0.9],
  [0.1, 0.1],
  [0.5, 0.3],
];

test("points that have no answer are refused before the network is asked", async () => {
  const line = [0, 0.2, 0.4, 0.6].map((x): Point => [x, x]);
  await expect(point(await model("hull"), line)).rejects.toMatchObject({ code: "bad_option", message: /one line/ });
  await expect(point(await model("delaunay"), line)).rejects.toThrow(/one line/);
  await expect(point(await model("delaunay"), inner)).rejects.toThrow(/points 2 and 3 are equal/);
  expect((await point(await model("tour"), line)).places).toHaveLength(4);
});

test("of equal points a hull's network is shown the first, and the answer is about all", async () => {
  const asked = await point(await model("hull"), inner);
  expect(asked.dropped).toEqual([2, 4]);
  const alone = await point(await model("hull"), [inner[0], inner[1], inner[3], inner[5]]);
  expect(asked.places).toEqual(alone.places.map((place) => [0, 1, 3, 5][place]));
  for (const [step, { length }] of asked.probabilities.entries()) {
    expect(length).toBe(7);
    expect(asked.probabilities[step][2]).toBe(0);
    expect(asked.probabilities[step][3]).toBe(alone.probabilities[step][2]);
    expect(asked.probabilities[step][6]).toBe(alone.probabilities[step][4]);
  }
  expect(alone.dropped).toEqual([]);
});

test("a search hears its signal while it works, and takes no more points than it may", async () => {
  const tours = await model("tour");
  const points = drawPoints(400, 1, 0);
  await expect(point(tours, points, { most: 399 })).rejects.toThrow(/400 points are given, and 1 to 399/);
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 100);
  const started = performance.now();
  await expect(point(tours, points, { beams: 10, signal: controller.signal })).rejects.toMatchObject({
    code: "aborted",
  });
  expect(performance.now() - started).toBeLessThan(4000);
});

test("rules of many places go on without copying what is not kept", () => {
  let state: RuleState = rules.tour(2000);
  for (let step = 0; step < 200; step++) {
    const next = Array.from({ length: 2000 }, (_, place) => state.push(place));
    expect(next.filter(Boolean)).toHaveLength(2000 - step);
    state = next[step] as RuleState;
  }
});
