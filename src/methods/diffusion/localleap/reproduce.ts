/** What LocalLeap claims against one token a pass and against one threshold, on tasks that can be checked. */
import { defineReproduction } from "../../../papers/reproduction.ts";
import { meanOf, ratioOf } from "../../../papers/statistics.ts";
import { answer, taskSizes, watched, withTasks } from "../measuring.ts";

const anchor = 0.9;

export const reproduction = defineReproduction({
  sizes: taskSizes,
  steps: ({ prompts }) => prompts,
  measure: (context, options) =>
    withTasks(context, options, async (tasks) => {
      const { step, seed, signal } = context;
      const passes: [number, number][] = [];
      const against: [number, number][] = [];
      const points: number[] = [];
      const local: { near: [number, number]; far: [number, number] }[] = [];
      for (const [i, prompt] of tasks.prompts.entries()) {
        const found = await step(`prompt ${i + 1}`, async () => {
          const plain = await answer(tasks, prompt, { name: "low-confidence" }, { signal });
          const leap = await answer(tasks, prompt, { name: "localleap", anchor }, { signal });
          const bar = await answer(tasks, prompt, { name: "threshold", threshold: anchor }, { signal });
          // Predictions of medium confidence, near an anchor and elsewhere: how many there were, and how many became final.
          const seen: { position: number; token: number; near: boolean }[] = [];
          const canvas = await watched(tasks, prompt, ({ masked, confidence, token }, start) => {
            const anchors = masked.filter((at) => confidence(at) >= anchor);
            for (const at of masked) {
              if (confidence(at) >= anchor || confidence(at) < 0.5) continue;
              const near = anchors.some((other) => Math.abs(other - at) <= 4);
              seen.push({ position: at - start, token: token(at), near });
            }
          });
          const count = (near: boolean): [number, number] => {
            const some = seen.filter((one) => one.near === near);
            return [some.filter(({ position, token }) => canvas[position] === token).length, some.length];
          };
          return {
            passes: [plain.passes, leap.passes, bar.passes],
            right: [plain.right, leap.right],
            near: count(true),
            far: count(false),
          };
        });
        passes.push([100 * found.passes[1], found.passes[0]]);
        against.push([found.passes[1], found.passes[2]]);
        points.push(100 * (found.right[1] - found.right[0]));
        local.push({ near: [found.near[0], found.near[1]], far: [found.far[0], found.far[1]] });
      }
      // A prompt counts where it has predictions of both kinds.
      const share = ([right, all]: [number, number]): number => right / all;
      const both = local
        .filter(({ near, far }) => near[1] > 0 && far[1] > 0)
        .map(({ near, far }) => share(near) - share(far));
      return [
        { claim: "passes", ...ratioOf(passes, seed) },
        { claim: "against-threshold", ...ratioOf(against, seed) },
        { claim: "quality", ...meanOf(points, seed) },
        ...(both.length > 0 ? [{ claim: "locality", ...meanOf(both, seed) }] : []),
      ];
    }),
});
