/** Both theorems by constructed weights, the impossibility by the lemma on random and trained weights, training curves, scratch rows one by one, and answers of a language model. */
import { join } from "node:path";
import type { TimedEvent } from "../../../engine/trace.ts";
import { defineReproduction, type Measurement } from "../../../papers/reproduction.ts";
import { bootstrap, mean, meanWithin } from "../../../papers/statistics.ts";
import {
  answerPlaces,
  changedBefore,
  construct,
  type Layout,
  layoutOf,
  randomWeights,
  rowErrors,
  trainInverse,
  trainOrdering,
  unreachableChanges,
  writtenAccuracy,
} from "./index.ts";
import { readingEvents } from "./picture.ts";

type Sizes = {
  lengths: number[];
  trials: number;
  depths: number;
  /** Of the trained lists. */
  n: number;
  batch: number;
  steps: number;
  /**
   * At the paper's 1 the reading matrix overshoots where the rows that are read hold something themselves: errors stay far above chance until the cosine has brought the
   * rate down, and too few steps are left. Its runs are twenty times as long.
   */
  rate: number;
  seeds: number;
  /** Of the language models. */
  ordered: number;
  orderingSteps: number;
  width: number;
};

/** What is trained: where Y is read, and whether there is a mask. */
const settings = [
  { name: "no mask", causal: false, layout: (n: number) => layoutOf(n) },
  { name: "mask, scratch", causal: true, layout: (n: number) => layoutOf(n, { after: n }) },
  { name: "mask", causal: true, layout: (n: number) => layoutOf(n) },
  { name: "mask, read in the rows of P·Y", causal: true, layout: (n: number) => layoutOf(n, { read: "values" }) },
] as const;

/** The lists of the depth test are short: the stream's width doubles with every layer. */
const deepLength = 3;

export const reproduction = defineReproduction<Sizes>({
  sizes: {
    tiny: {
      lengths: [2, 5],
      trials: 4,
      depths: 3,
      n: 3,
      batch: 16,
      steps: 40,
      rate: 0.3,
      seeds: 2,
      ordered: 3,
      orderingSteps: 10,
      width: 16,
    },
    quick: {
      lengths: [2, 5, 10, 20, 64],
      trials: 20,
      depths: 8,
      n: 4,
      batch: 64,
      steps: 6000,
      rate: 0.3,
      seeds: 2,
      ordered: 3,
      orderingSteps: 2000,
      width: 64,
    },
    full: {
      lengths: [2, 3, 5, 8, 10, 15, 20, 40, 64],
      trials: 100,
      depths: 8,
      n: 6,
      batch: 128,
      steps: 24_000,
      rate: 0.3,
      seeds: 3,
      ordered: 5,
      orderingSteps: 6000,
      width: 64,
    },
  },
  steps: ({ seeds }) => 2 + settings.length * seeds + answerPlaces.length * seeds,
  async measure(
    { step, signal, seed, open },
    { lengths, trials, depths, n, batch, steps, rate, seeds, ordered, orderingSteps, width },
  ): Promise<Measurement[]> {
    const built = await step("construction", async () => {
      const worst = async (causal: boolean, layout: (n: number) => Layout): Promise<number> => {
        let largest = 0;
        for (const length of lengths) {
          const own = layout(length);
          largest = Math.max(largest, (await rowErrors(own, construct(own), { causal, trials, seed })).worst);
        }
        return largest;
      };
      const ablation: number[][] = [];
      for (let after = 0; after <= 2 * n; after++) {
        const own = layoutOf(2 * n, { after, read: "last" });
        const { right, reachable } = await rowErrors(own, construct(own), { causal: true, trials, seed });
        ablation.push([after, right, reachable]);
      }
      return {
        open: await worst(false, (length) => layoutOf(length)),
        scratch: await worst(true, (length) => layoutOf(length, { after: length })),
        framed: await worst(true, (length) => layoutOf(length, { before: length, after: length })),
        ablation,
      };
    });
    const outcomes: Record<string, { accuracy: number; curve: number[][]; changed: number }[]> = {};
    for (const { name, causal, layout } of settings) {
      outcomes[name] = [];
      for (let i = 0; i < seeds; i++)
        outcomes[name].push(
          await step(`${name}, seed ${seed + i}`, async ({ progress }) => {
            const own = layout(n);
            const { weights, curve } = await trainInverse({
              layout: own,
              causal,
              batch,
              steps,
              rate,
              seed: seed + i,
              signal,
              onProgress: (done) => progress(done / steps),
            });
            const blind = causal && name !== "mask, scratch";
            return {
              accuracy: curve[curve.length - 1].accuracy,
              curve: curve.map((point) => [point.step, point.loss, point.accuracy]),
              changed: blind ? (await unreachableChanges(own, weights, { causal, trials, seed })).changed : 0,
            };
          }),
        );
    }
    const lemma = await step("lemma", async () => {
      let [changed, control] = [0, 1];
      for (let layers = 1; layers <= depths; layers++) {
        const own = layoutOf(deepLength);
        const weights = randomWeights(own, layers, seed + layers);
        changed += await changedBefore(own, weights, { causal: true, trials, seed });
        for (const read of ["order", "values"] as const)
          changed += (await unreachableChanges(layoutOf(deepLength, { read }), weights, { causal: true, trials, seed }))
            .changed;
        control = Math.min(control, await changedBefore(own, weights, { causal: false, trials, seed }));
      }
      return { changed, control };
    });
    const answers: Record<string, number[]> = {};
    for (const place of answerPlaces) {
      answers[place] = [];
      for (let i = 0; i < seeds; i++)
        answers[place].push(
          await step(`${place}, seed ${seed + i}`, async ({ folder, progress }) => {
            const task = { n: ordered, items: 8, place };
            const own = join(folder, "model");
            const read = await trainOrdering(task, own, {
              width,
              layers: 2,
              batch,
              steps: orderingSteps,
              rate: 3e-3,
              seed: seed + i,
              signal,
              onProgress: (done) => progress(done / orderingSteps),
            });
            return place === "written" ? writtenAccuracy(await open(own), task, trials, seed + i) : read;
          }),
        );
    }
    const trainedChanges = Object.values(outcomes).flatMap((runs) => runs.map(({ changed }) => changed));
    const accuracies = (name: string): number[] => outcomes[name].map(({ accuracy }) => accuracy);
    const [free, masked] = [accuracies("no mask"), accuracies("mask")];
    const gain = meanWithin(free.map((value, i) => value - masked[i]));
    const emitted = bootstrap(
      answers.written.map((value, i) => value - answers["in-place"][i]),
      mean,
      seed,
    );
    return [
      { claim: "construction", value: built.open, count: lengths.length * trials },
      {
        claim: "scratch",
        value: Math.max(built.scratch, built.framed),
        count: 2 * lengths.length * trials,
        plot: {
          title: `Rows restored by constructed weights under a mask, lists of ${2 * n}`,
          x: { label: "scratch rows" },
          y: { label: "share of rows" },
          series: [
            { name: "restored", points: built.ablation.map(([after, right]) => [after, right] as const) },
            { name: "reachable", points: built.ablation.map(([after, , could]) => [after, could] as const) },
          ],
        },
      },
      {
        claim: "impossible",
        value: lemma.changed + trainedChanges.reduce((a, b) => a + b, 0),
        note: `without the mask ${(100 * lemma.control).toFixed(0)} % of the same trials change`,
        count: (3 * depths + trainedChanges.length) * trials,
      },
      {
        claim: "training",
        ...gain,
        details: Object.fromEntries(settings.map(({ name }) => [name, mean(accuracies(name))])),
        plot: {
          title: `Training, lists of ${n}`,
          x: { label: "step" },
          y: { label: "squared error of a row", scale: "log" },
          series: settings.map(({ name }) => ({
            name,
            points: outcomes[name][0].curve
              .filter(([at]) => at > 0)
              .map(([at, loss]) => [at, Math.max(loss, 1e-6)] as const),
          })),
        },
      },
      {
        claim: "decoding",
        ...emitted,
        details: Object.fromEntries(answerPlaces.map((place) => [place, mean(answers[place])])),
      },
    ];
  },
  /** A list restored without a mask and with scratch rows, and what a mask alone leaves of it. */
  async trace() {
    const told = [
      ["no mask", false, layoutOf(shownLength)],
      ["mask, scratch rows", true, layoutOf(shownLength, { after: shownLength })],
      ["mask", true, layoutOf(shownLength, { read: "values" })],
    ] as const;
    const events: TimedEvent[] = [];
    for (const [says, causal, layout] of told) events.push(...(await readingEvents(layout, { causal, says, seed: 0 })));
    return events;
  },
});

/** Of the list that the trace shows: the paper's. */
const shownLength = 10;
