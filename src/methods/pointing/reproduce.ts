/** The paper's claims at a small scale: networks are trained here, on generated examples, and scored on others. */
import { existsSync } from "node:fs";
import { defineReproduction, type Measurement, type Step } from "../../papers/reproduction.ts";
import { bootstrap, mean, meanOf } from "../../papers/statistics.ts";
import {
  christofides,
  type Distances,
  distance,
  drawPoints,
  heldKarp,
  mostExact,
  nearestNeighbour,
  openPointing,
  type PointingModel,
  type PointingTraining,
  type PointOptions,
  point,
  pointingEvents,
  shippedNetwork,
  tasks,
  tourLength,
  trainPointing,
  twoOpt,
} from "./index.ts";

/** Test examples are drawn from numbers that no training batch reaches. */
const firstTest = 2 ** 31;

/** A score as JSON: exact and valid as 0 or 1; the quality of a hull or a tour that is not valid is 0. */
type Row = [exact: number, valid: number, quality: number];

async function scores(
  model: PointingModel,
  size: number,
  count: number,
  seed: number,
  how?: PointOptions,
): Promise<Row[]> {
  const task = tasks[model.task];
  const rows: Row[] = [];
  for (let i = 0; i < count; i++) {
    const points = drawPoints(size, seed + 1, firstTest + i);
    const { places } = await point(model, points, how);
    const { exact, valid, quality } = task.score(points, places, task.solve(points));
    rows.push([Number(exact), Number(valid), valid || task.name === "delaunay" ? quality : 0]);
  }
  return rows;
}

/** One after the other. */
async function inOrder<Item, Made>(items: readonly Item[], make: (item: Item) => Promise<Made>): Promise<Made[]> {
  const made: Made[] = [];
  for (const item of items) made.push(await make(item));
  return made;
}

const column = (rows: readonly Row[], at: 0 | 1 | 2, scale = 1): number[] => rows.map((row) => scale * row[at]);
const percent = (rows: readonly Row[], at: 0 | 1 | 2): number => mean(column(rows, at, 100));
const larger = [5, 10, 20, 40];

/** What the network's tours are put beside, as the paper does with three solvers of others: these stand in for them. */
const solvers = {
  "A1, nearest neighbour": (cities: number, between: Distances) => nearestNeighbour(cities, between),
  "A2, two-opt": (cities: number, between: Distances) => twoOpt(nearestNeighbour(cities, between), between),
  "A3, Christofides": (cities: number, between: Distances) => christofides(cities, between),
};

/** Tours that are scored by a network trained on 5 to 20 cities. */
const mixedTours = [5, 10, 20, 25, 30, 40, 50];

/** Mean lengths by who found the tours, and of each instance the network's over the shortest: of all tours up to 20 cities, of the solvers' above. */
type TourScores = {
  readonly size: number;
  readonly ratios: readonly number[];
  readonly lengths: Readonly<Record<string, number>>;
};

async function tourScores(model: PointingModel, size: number, count: number, seed: number): Promise<TourScores> {
  const ratios: number[] = [];
  const lengths: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const points = drawPoints(size, seed + 1, firstTest + i);
    const between: Distances = (a, b) => distance(points[a], points[b]);
    const { places } = await point(model, points);
    const known = Object.entries({ ...solvers, ...(size <= mostExact && { "the shortest": heldKarp }) });
    const found = known.map(([name, solve]): [string, number] => [name, tourLength(solve(size, between), between)]);
    const own = tourLength(places, between);
    for (const [name, length] of [["the network", own] as const, ...found])
      lengths[name] = (lengths[name] ?? 0) + length / count;
    ratios.push(own / Math.min(...found.map(([, length]) => length)));
  }
  return { size, ratios, lengths };
}

/** Rows of the paper's tables that the networks that ship are put beside. */
const rows = [
  { claim: "table-hull-5", task: "hull", size: 5 },
  { claim: "table-hull-10", task: "hull", size: 10 },
  { claim: "table-hull-50", task: "hull", size: 50 },
  { claim: "table-delaunay-5", task: "delaunay", size: 5 },
  { claim: "table-delaunay-10", task: "delaunay", size: 10 },
  { claim: "table-tour-5", task: "tour", size: 5 },
  { claim: "table-tour-10", task: "tour", size: 10 },
] as const;

export const reproduction = defineReproduction({
  sizes: {
    tiny: { steps: 40, mixedSteps: 8, hidden: 24, rate: 0.01, count: 20 },
    quick: { steps: 600, mixedSteps: 400, hidden: 64, rate: 0.008, count: 200 },
    full: { steps: 4000, mixedSteps: 2000, hidden: 128, rate: 0.004, count: 1000 },
  },
  steps: () => 6,
  async measure({ step, signal, seed }, { steps: most, mixedSteps, hidden, rate, count }) {
    const train = (
      work: Step,
      { steps = most, ...options }: Pick<PointingTraining, "task" | "sizes" | "kind" | "rows"> & { steps?: number },
    ): Promise<PointingModel> =>
      trainPointing({
        ...options,
        steps,
        hidden,
        rate,
        seed,
        folder: work.folder,
        signal,
        onProgress: (progress) => work.progress(progress.step / steps),
      });
    const hulls = await step("hulls of 5", async (work) =>
      scores(await train(work, { task: "hull", sizes: [5, 5] }), 5, count, seed),
    );
    const plains = await step("hulls of 5, LSTM", async (work) =>
      scores(await train(work, { task: "hull", sizes: [5, 5], kind: "plain" }), 5, count, seed),
    );
    const mixed = await step("hulls of 5 to 10", async (work) => {
      const model = await train(work, { task: "hull", sizes: [5, 10] });
      return inOrder(larger, (size) => scores(model, size, Math.min(count, 200), seed));
    });
    const [tours, free] = await step("tours of 5", async (work) => {
      const model = await train(work, { task: "tour", sizes: [5, 5] });
      return [await scores(model, 5, count, seed), await scores(model, 5, count, seed, { rule: "none" })];
    });
    const mixedTable = await step("tours of 5 to 20", async (work) => {
      // Shortest tours of 20 cities take as long to find as to learn from: batches are half as large.
      const model = await train(work, { task: "tour", sizes: [5, 20], rows: 64, steps: mixedSteps });
      return inOrder(mixedTours, (size) => tourScores(model, size, Math.ceil(count / 5), seed));
    });
    const table = await step("the paper's tables, by the networks that ship", async (work) => {
      const measured = [];
      for (const [i, { claim, task, size }] of rows.entries()) {
        work.progress(i / rows.length);
        if (!existsSync(shippedNetwork(task))) continue;
        const model = await openPointing(shippedNetwork(task));
        measured.push({ claim, task, trained: model.trained, scored: await scores(model, size, count, seed) });
      }
      return measured;
    });
    const measurements: Measurement[] = [
      ...mixedTable.map(({ size, ratios, lengths }) => ({
        claim: `table-tour-mixed-${size}`,
        ...meanOf(ratios, seed),
        note: `mean lengths: ${Object.entries(lengths)
          .map(([name, length]) => `${name} ${length.toFixed(2)}`)
          .join("; ")}`,
        details: { "trained on points": "5 to 20", "training steps": mixedSteps, ...lengths },
      })),
      ...table.map(({ claim, task, trained, scored }) => ({
        claim,
        ...meanOf(task === "tour" ? column(scored, 2) : column(scored, 0, 100), seed),
        details: {
          "trained on points": trained.sizes.join(" to "),
          "training steps": trained.steps,
          "exact, %": percent(scored, 0),
          "valid, %": percent(scored, 1),
          ...(task === "hull" && { "area, %": percent(scored, 2) }),
          ...(task === "delaunay" && { "triangles found, %": percent(scored, 2) }),
        },
      })),
      {
        claim: "hull",
        ...meanOf(column(hulls, 2, 100), seed),
        details: { "exact, %": percent(hulls, 0), "simple polygons, %": percent(hulls, 1) },
      },
      {
        claim: "against-lstm",
        ...bootstrap(
          hulls.map(([exact], i) => [exact, plains[i][0]] as const),
          (pairs) => mean(pairs.map(([a]) => a)) / Math.max(1 / count, mean(pairs.map(([, b]) => b))),
          seed,
        ),
        details: { "exact, LSTM, %": percent(plains, 0), "area, LSTM, %": percent(plains, 2) },
      },
      {
        claim: "tour",
        ...meanOf(column(tours, 2), seed),
        details: { "answers that are no tour without the rule, %": 100 - percent(free, 1) },
      },
      {
        claim: "generalises",
        ...meanOf(
          mixed[2].map(([exact, , quality]) => quality - exact),
          seed,
        ),
        plot: {
          title: "Hulls by a network trained on 5 to 10 points",
          x: { label: "points" },
          y: { label: "%" },
          series: [
            { name: "area", points: larger.map((size, i) => [size, percent(mixed[i], 2)] as const) },
            { name: "exact", points: larger.map((size, i) => [size, percent(mixed[i], 0)] as const) },
          ],
        },
      },
    ];
    return measurements;
  },
  /** A hull and a tour, by the networks that ship. */
  async trace(signal) {
    const shown = (
      [
        ["hull", 12],
        ["tour", 10],
      ] as const
    ).filter(([task]) => existsSync(shippedNetwork(task)));
    const answers = shown.map(async ([task, count]) => {
      const points = drawPoints(count, 5, firstTest);
      return pointingEvents(points, await point(await openPointing(shippedNetwork(task)), points, { signal }));
    });
    return (await Promise.all(answers)).flat();
  },
});
