/** What Learn2PD claims against one token a pass and against one threshold for all, on tasks that can be checked. */
import { defineReproduction, type Measurement } from "../../../papers/reproduction.ts";
import { mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { agreement, answer, chooseSetting, frontiers, oneToken, showItem, taskSizes, withTasks } from "../measuring.ts";
import { filterKind, filterOfPart } from "./filter.ts";

const bars = [0.75, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995];
/** Of the filter; published for LLaDA: 0.96. */
const thresholds = [0.9, 0.96, 0.98, 0.99, 0.997, 0.999, 0.9997, 0.9999];

/** Of one prompt: one token a pass, the filter, the filter with end-of-text prediction, that alone; and the settings above. */
type Found = {
  readonly passes: readonly number[];
  readonly right: readonly number[];
  readonly changed: number;
  readonly filtered: readonly Short[];
  readonly fixed: readonly Short[];
};
type Short = { readonly passes: number; readonly right: number; readonly agrees: number };

export const reproduction = defineReproduction({
  sizes: taskSizes,
  steps: ({ prompts, validation }) => 2 * (prompts + validation),
  trace: (signal, open) => showItem({ name: "learn2pd" }, signal, open),
  measure: (context, options) =>
    withTasks(context, options, async (tasks): Promise<Measurement[]> => {
      const { step, seed, signal } = context;
      const filter = await tasks.filter();
      const { size } = filterOfPart(await tasks.model.part(filter, filterKind));
      const ends = tasks.model.config.endTokens;
      const settings = thresholds.map((threshold) => ({ name: "learn2pd", filter, threshold }));
      const { index, note, plain } = await chooseSetting(tasks, context, settings);
      const learned = settings[index];
      // Without end-of-text prediction the filter has to be surer: a threshold of its own, chosen as the filter then works.
      const alone = settings.map((setting) => ({ ...setting, eotp: "off" }));
      const chosenAlone = await chooseSetting(tasks, context, alone, { called: "filter alone", plain });
      const byFilter: { passes: number; right: number }[] = [];
      for (const [i, prompt] of tasks.prompts.entries())
        byFilter.push(
          await step(`filter alone, prompt ${i + 1}`, async () => {
            const { passes, right } = await answer(tasks, prompt, alone[chosenAlone.index], { signal });
            return { passes, right };
          }),
        );
      const found: Found[] = [];
      for (const [i, prompt] of tasks.prompts.entries()) {
        const measured = step(`prompt ${i + 1}`, async (): Promise<Found> => {
          const plain = await oneToken(tasks, prompt, { signal });
          const run = (method: { name: string } & Record<string, unknown>, untilText = false) =>
            answer(tasks, prompt, method, { signal, untilText });
          const off = await run({ ...learned, eotp: "off" });
          const repo = await run(learned);
          const alone = await run({ name: "learn2pd", filter: "none" });
          const short = async (method: Parameters<typeof run>[0]) => {
            const { passes, right, canvas } = await run(method, true);
            return { passes, right, agrees: agreement(canvas, plain.canvas, ends) };
          };
          const [filtered, fixed] = [[], []] as Short[][];
          for (const setting of settings) filtered.push(await short({ ...setting, eotp: "off" }));
          for (const threshold of bars) fixed.push(await short({ name: "threshold", threshold }));
          return {
            passes: [plain.passes, off.passes, repo.passes, alone.passes],
            right: [plain.right, off.right, repo.right, alone.right],
            // End-of-text prediction changes an answer where the same filter without it gives another one.
            changed: agreement(repo.canvas, off.canvas, ends) < 1 ? 1 : 0,
            filtered,
            fixed,
          };
        });
        found.push(await measured);
      }
      const pairs = (a: number, b: number) =>
        ratioOf(
          found.map(({ passes }) => [passes[a], passes[b]]),
          seed,
        );
      const points = (a: number, b: number) => found.map(({ right }) => 100 * (right[a] - right[b]));
      /** Of a way to decode, whose passes are those of the whole canvas: passes saved and points won, against one token a pass. */
      const both = (which: number) =>
        `${pairs(0, which).value.toFixed(1)} times fewer passes, ${signed(mean(points(which, 0)))} points`;
      const pointsAlone = found.map(({ right }, i) => 100 * (byFilter[i].right - right[0]));
      // The threshold that agrees most of those that need no more passes than the filter; where none does, the one with the fewest.
      const own = found.map(({ filtered }) => filtered[chosenAlone.index]);
      const budget = mean(own.map(({ passes }) => passes));
      const others = bars.map((bar, b) => ({ bar, runs: found.map(({ fixed }) => fixed[b]) }));
      const passesOf = (runs: readonly { passes: number }[]): number => mean(runs.map(({ passes }) => passes));
      const agreesOf = (runs: readonly { agrees: number }[]): number => mean(runs.map(({ agrees }) => agrees));
      const fitting = others.filter(({ runs }) => passesOf(runs) <= budget);
      const fewest = others.reduce((a, b) => (passesOf(b.runs) < passesOf(a.runs) ? b : a));
      const best = (fitting.length > 0 ? fitting : [fewest]).reduce((a, b) =>
        agreesOf(b.runs) > agreesOf(a.runs) ? b : a,
      );
      const [thresholdAlone, threshold] = [thresholds[chosenAlone.index], thresholds[index]];
      const there = `filter alone, threshold ${thresholdAlone}`;
      return [
        {
          claim: "passes",
          ...ratioOf(
            found.map(({ passes }, i) => [passes[0], byFilter[i].passes]),
            seed,
          ),
          note: `${there}, ${chosenAlone.note}`,
        },
        { claim: "passes-quality", ...meanOf(pointsAlone, seed), note: there },
        {
          claim: "quality",
          ...meanOf(points(2, 0), seed),
          note: `both, threshold ${threshold}, ${note}; ${both(2)}; ${found.reduce((sum, { changed }) => sum + changed, 0)} of ${found.length} answers are others with end-of-text prediction than without`,
          details: { "end-of-text prediction alone, points": mean(points(3, 0)) },
        },
        {
          claim: "end-of-text",
          ...pairs(1, 2),
          note: `threshold ${threshold} for both; filter alone there: ${both(1)}; end-of-text prediction alone: ${both(3)}`,
          details: { "both, times fewer passes": pairs(0, 2).value, "end-of-text prediction alone": pairs(0, 3).value },
        },
        {
          claim: "frontier",
          ...meanOf(
            own.map(({ agrees }, i) => agrees - best.runs[i].agrees),
            seed,
          ),
          note: `filter alone, threshold ${thresholdAlone}: ${budget.toFixed(1)} passes; against a threshold of ${best.bar}: ${passesOf(best.runs).toFixed(1)}`,
          plot: frontiers({
            filter: thresholds.map((_, t) => found.map(({ filtered }) => filtered[t])),
            "one threshold": others.map(({ runs }) => runs),
          }),
        },
        { claim: "filter-size", value: size },
      ];
    }),
});

const signed = (value: number): string => `${value >= 0 ? "+" : ""}${value.toFixed(1)}`;
