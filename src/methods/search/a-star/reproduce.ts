/** What A*-decoding claims: fewer tokens and fewer calls of the reward than best-of-n for the same accuracy, on multi-step arithmetic. */

import type { TimedEvent } from "../../../engine/trace.ts";
import { defineReproduction, type Measurement } from "../../../papers/reproduction.ts";
import { bootstrap, mean, meanOf } from "../../../papers/statistics.ts";
import { rankCorrelation } from "../../speculative/measuring.ts";
import { costAt, drawProblem, type Search, search, solve } from "./measuring.ts";

/** Next steps enough for a right one to be among them. */
const sure = 16;

/** right, tokens, reward calls, expansions. */
type Row = [number, number, number, number];
type Problem = Record<string, Row>;
const key = (search: Search, width: number, noise: number): string => `${search} ${width} ${noise}`;

export const reproduction = defineReproduction({
  sizes: {
    tiny: { problems: 2, steps: 2, error: 0.3, stars: [2, 3], samples: [4], at: 4, noises: [0, 0.3] },
    quick: {
      problems: 60,
      steps: 5,
      error: 0.25,
      stars: [2, 3, 4, 6],
      samples: [4, 8, 16],
      at: 16,
      noises: [0, 0.1, 0.3],
    },
    full: {
      problems: 200,
      steps: 6,
      error: 0.25,
      stars: [2, 3, 4, 6, 8],
      samples: [2, 4, 8, 16, 32],
      at: 16,
      noises: [0, 0.05, 0.1, 0.2, 0.3],
    },
  },
  steps: ({ problems }) => problems,
  async measure({ open, step, signal, seed }, { problems: count, steps, error, stars, samples, at, noises }) {
    const model = await open("pylos");
    const noisy = noises[1];
    const middle = stars[Math.min(2, stars.length - 1)];
    const all: Problem[] = [];
    for (let i = 0; i < count; i++) {
      all.push(
        (await step(`problem ${i + 1}`, async () => {
          const item = drawProblem(steps, seed, i);
          const rows: Problem = {};
          const run = async (search: Search, width: number, noise: number): Promise<void> => {
            const { right, tokens, rewardCalls, expansions } = await solve(model, item, search, width, {
              error,
              noise,
              seed: seed + i,
              signal,
            });
            rows[key(search, width, noise)] = [right, tokens, rewardCalls, expansions];
          };
          // All at once: they share passes.
          await Promise.all([
            ...noises.flatMap((noise) => [
              ...(noise === noisy ? stars : [middle]).map((width) => run("a-star", width, noise)),
              ...samples.map((width) => run("best-of-n", width, noise)),
            ]),
            ...stars.map((width) => run("a-star rise", width, noisy)),
            run("particle-filtering", at, noisy),
            run("self-consistency", at, noisy),
            run("a-star", sure, 0),
          ]);
          return rows;
        })) as Problem,
      );
    }

    const curve = (
      sample: readonly Problem[],
      search: Search,
      widths: readonly number[],
      noise: number,
      cost: 1 | 2 = 1,
    ): [number, number][] =>
      widths
        .map((width): [number, number] => {
          const rows = sample.map((one) => one[key(search, width, noise)]);
          return [mean(rows.map((row) => row[cost])), mean(rows.map((row) => row[0]))];
        })
        .sort((a, b) => a[0] - b[0]);
    /** Cost of best-of-n over that of A* at its accuracy; where A* never reaches it, at what it does reach. */
    const ratio = (sample: readonly Problem[], cost: 1 | 2, search: Search = "a-star"): number => {
      const [[theirs, accuracy]] = curve(sample, "best-of-n", [at], noisy, cost);
      const ours = curve(sample, search, stars, noisy, cost);
      const reached = costAt(ours, accuracy);
      if (reached !== undefined) return theirs / reached;
      const [last, best] = ours.reduce((a, b) => (b[1] > a[1] ? b : a));
      return (costAt(curve(sample, "best-of-n", samples, noisy, cost), best) ?? theirs) / last;
    };
    const advantages = noises.map((noise): [number, number] => {
      const [[tokens, accuracy]] = curve(all, "a-star", [middle], noise);
      const others = curve(all, "best-of-n", samples, noise);
      return [noise, accuracy - accuracyAt(others, tokens)];
    });
    const points = (search: Search, widths: readonly number[]) => ({
      name: search,
      points: curve(all, search, widths, noisy).map(([tokens, accuracy]) => [tokens, accuracy] as const),
    });
    const summary = (search: Search, width: number) => {
      const [[tokens, accuracy]] = curve(all, search, [width], noisy);
      return { accuracy, tokens };
    };
    const note = `a solver that errs in ${100 * error} % of its steps, a reward that judges wrongly in ${100 * noisy} %, ${steps} steps, best-of-${at}, rewards of steps multiplied in both, edge cost drop`;
    const measurements: Measurement[] = [
      {
        claim: "tokens",
        ...bootstrap(all, (sample) => ratio(sample, 1), seed),
        note,
        plot: {
          title: "Accuracy on multi-step arithmetic by tokens drawn",
          x: { label: "tokens a problem", scale: "log" },
          y: { label: "share right" },
          series: [
            points("a-star", stars),
            points("a-star rise", stars),
            points("best-of-n", samples),
            points("particle-filtering", [at]),
            points("self-consistency", [at]),
          ],
        },
        details: {
          "best-of-n": summary("best-of-n", at),
          "a-star, drop": summary("a-star", middle),
          "a-star, rise": summary("a-star rise", middle),
          "tokens of best-of-n over those of a-star, rise": ratio(all, 1, "a-star rise"),
          "particle filtering": summary("particle-filtering", at),
          "self-consistency": summary("self-consistency", at),
        },
      },
      {
        claim: "reward-passes",
        ...bootstrap(all, (sample) => 100 * (1 - 1 / ratio(sample, 2)), seed),
        note,
      },
      {
        claim: "oracle",
        ...meanOf(
          all.map((one) => one[key("a-star", sure, 0)][3] / (steps + 1)),
          seed,
        ),
      },
      {
        claim: "noise",
        value: rankCorrelation(advantages),
        count: advantages.length,
        details: { "accuracy of A* over best-of-n at its tokens, by noise": Object.fromEntries(advantages) },
      },
    ];
    return measurements;
  },
  async trace(signal, open) {
    await using model = await open("pylos");
    const events: TimedEvent[] = [];
    const started = performance.now();
    for await (const event of search(model, drawProblem(5, 3, 1), "a-star", 3, {
      error: 0.35,
      noise: 0.15,
      seed: 2,
      signal,
    })) {
      events.push({ ...event, at: (performance.now() - started) / 1000 });
    }
    return events;
  },
});

/** Accuracy of a curve at a cost, between its points; beyond them, that of the nearest. */
function accuracyAt(curve: readonly (readonly [number, number])[], cost: number): number {
  const after = curve.findIndex(([at]) => at >= cost);
  if (after < 0) return curve[curve.length - 1][1];
  if (after === 0) return curve[0][1];
  const [[low, from], [high, to]] = [curve[after - 1], curve[after]];
  return from + ((to - from) * (cost - low)) / (high - low);
}
