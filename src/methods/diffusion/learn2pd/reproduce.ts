/** What Learn2PD claims against one token a pass and against one threshold for all, on tasks that can be checked. */
import { defineReproduction } from "../../../papers/reproduction.ts";
import { mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { agreement, answer, taskSizes, withTasks } from "../measuring.ts";
import { filterKind, filterOfPart } from "./filter.ts";

const bars = [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

export const reproduction = defineReproduction({
  sizes: taskSizes,
  steps: ({ prompts }) => prompts,
  measure: (context, options) =>
    withTasks(context, options, async (tasks) => {
      const { step, seed, signal } = context;
      const filter = await tasks.filter();
      const { size } = filterOfPart(await tasks.model.part(filter, filterKind));
      const ends = tasks.model.config.endTokens;
      const learned = { name: "learn2pd", filter, threshold: 0.9 };
      const passes: [number, number][] = [];
      const endings: [number, number][] = [];
      const points: number[] = [];
      const agreements: { filter: number; passes: number; bars: number[]; barPasses: number[] }[] = [];
      for (const [i, prompt] of tasks.prompts.entries()) {
        const found = await step(`prompt ${i + 1}`, async () => {
          const plain = await answer(tasks, prompt, { name: "low-confidence" }, { signal });
          const off = await answer(tasks, prompt, { ...learned, eotp: "off" }, { signal });
          const repo = await answer(tasks, prompt, learned, { signal });
          const fixed = [];
          for (const threshold of bars)
            fixed.push(await answer(tasks, prompt, { name: "threshold", threshold }, { signal }));
          const agrees = ({ canvas }: typeof plain): number => agreement(canvas, plain.canvas, ends);
          return {
            passes: [plain.passes, off.passes, repo.passes],
            right: [plain.right, repo.right],
            agrees: agrees(off),
            bars: fixed.map(agrees),
            barPasses: fixed.map((one) => one.passes),
          };
        });
        passes.push([found.passes[0], found.passes[1]]);
        endings.push([found.passes[1], found.passes[2]]);
        points.push(100 * (found.right[1] - found.right[0]));
        agreements.push({
          filter: found.agrees,
          passes: found.passes[1],
          bars: [...found.bars],
          barPasses: [...found.barPasses],
        });
      }
      // The best threshold that needs no more passes than the filter; where none does, the one with the fewest.
      const budget = mean(agreements.map((one) => one.passes));
      const scored = bars.map((_, b) => ({
        b,
        passes: mean(agreements.map((one) => one.barPasses[b])),
        agrees: mean(agreements.map((one) => one.bars[b])),
      }));
      const fitting = scored.filter((one) => one.passes <= budget);
      const best = (fitting.length > 0 ? fitting : [scored.reduce((a, b) => (b.passes < a.passes ? b : a))]).reduce(
        (a, b) => (b.agrees > a.agrees ? b : a),
      );
      return [
        { claim: "passes", ...ratioOf(passes, seed) },
        { claim: "quality", ...meanOf(points, seed) },
        { claim: "end-of-text", ...ratioOf(endings, seed) },
        {
          claim: "frontier",
          ...meanOf(
            agreements.map((one) => one.filter - one.bars[best.b]),
            seed,
          ),
          note: `against a threshold of ${bars[best.b]}: ${best.passes.toFixed(1)} passes, the filter ${budget.toFixed(1)}`,
        },
        { claim: "filter-size", value: size },
      ];
    }),
});
