/** What LocalLeap claims against one token a pass and against one threshold, on tasks that can be checked. */
import type { Canvas } from "../../../engine/canvas/canvas.ts";
import { defineReproduction } from "../../../papers/reproduction.ts";
import { mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { answer, chooseSetting, frontiers, oneToken, showItem, taskSizes, withTasks } from "../measuring.ts";

/** As published for LLaDA. */
const anchor = 0.9;
/** Anchors and relaxed bars, of which one is chosen. */
const settings = [
  { name: "localleap", anchor, relaxed: 0.75 },
  { name: "localleap", anchor: 0.95, relaxed: 0.85 },
  { name: "localleap", anchor: 0.97, relaxed: 0.9 },
  { name: "localleap", anchor: 0.98, relaxed: 0.95 },
  { name: "localleap", anchor: 0.99, relaxed: 0.95 },
  { name: "localleap", anchor: 0.99, relaxed: 0.97 },
  { name: "localleap", anchor: 0.995, relaxed: 0.98 },
];
/** Of the frontier: one bar for all. */
const thresholds = [0.75, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99];
/** Of the ablation: radius and relaxed bar, the others as published. */
const ablated = [
  { radius: 1 },
  { radius: 2 },
  { radius: 8 },
  { radius: 16 },
  { relaxed: 0.5 },
  { relaxed: 0.6 },
  { relaxed: 0.85 },
];

/** Of one prompt; lists in the order of the settings above. */
type Found = {
  readonly passes: readonly number[];
  readonly right: readonly number[];
  /** Predictions of medium confidence that became final, and all of them: near an anchor, and elsewhere. */
  readonly near: readonly number[];
  readonly far: readonly number[];
  readonly waited: number;
  readonly bars: readonly Short[];
  readonly leaps: readonly Short[];
  readonly ablation: readonly Short[];
};
type Short = { readonly passes: number; readonly right: number };

export const reproduction = defineReproduction({
  // Eight settings of each length: fewer prompts than Learn2PD asks for, so that all of them fit an hour.
  sizes: { ...taskSizes, full: { ...taskSizes.full, prompts: 154 } },
  steps: ({ prompts, validation }) => prompts + validation,
  trace: (signal, open) => showItem({ name: "localleap" }, signal, open),
  measure: (context, options) =>
    withTasks(context, options, async (tasks) => {
      const { step, seed, signal } = context;
      const { maskToken } = tasks.model.ability<Canvas>("canvas");
      const { index, note } = await chooseSetting(tasks, context, settings);
      const chosen = settings[index];
      const found: Found[] = [];
      for (const [i, prompt] of tasks.prompts.entries()) {
        const measured = step(`prompt ${i + 1}`, async (): Promise<Found> => {
          // Predictions of medium confidence, near an anchor and elsewhere; and for each position when it was predicted as what.
          const seen: { position: number; token: number; near: boolean }[] = [];
          const predicted = new Map<number, number[]>();
          const plain = await oneToken(tasks, prompt, {
            signal,
            look({ masked, confidence, token }, start) {
              const sure = masked.filter((at) => confidence(at) >= anchor);
              for (const at of masked) {
                predicted.set(at - start, [...(predicted.get(at - start) ?? []), token(at)]);
                if (confidence(at) >= anchor || confidence(at) < 0.5) continue;
                const near = sure.some((other) => Math.abs(other - at) <= 4);
                seen.push({ position: at - start, token: token(at), near });
              }
            },
          });
          const run = (method: { name: string } & Record<string, unknown>, untilText = false) =>
            answer(tasks, prompt, method, { signal, untilText });
          const leap = await run(chosen);
          const bar = await run({ name: "threshold", threshold: chosen.anchor });
          const short = async (method: { name: string } & Record<string, unknown>) => {
            const { passes, right } = await run(method, true);
            return { passes, right };
          };
          const [bars, leaps, ablation] = [[], [], []] as Short[][];
          for (const threshold of thresholds) bars.push(await short({ name: "threshold", threshold }));
          for (const setting of settings) leaps.push(await short(setting));
          for (const change of ablated) ablation.push(await short({ name: "localleap", anchor, ...change }));
          // What is behind the end of a text may never get a token.
          const filled = (position: number): boolean => plain.canvas[position] !== maskToken;
          const count = (near: boolean): [number, number] => {
            const some = seen.filter((one) => one.near === near && filled(one.position));
            return [some.filter(({ position, token }) => plain.canvas[position] === token).length, some.length];
          };
          // How many passes a position waited although its prediction was, and stayed, what it became.
          const became = [...predicted].filter(([position]) => filled(position));
          const waited = became.map(([position, tokens]) => {
            const last = tokens.findLastIndex((token) => token !== plain.canvas[position]);
            return tokens.length - 2 - last;
          });
          return {
            passes: [plain.passes, leap.passes, bar.passes],
            right: [plain.right, leap.right, bar.right],
            near: count(true),
            far: count(false),
            waited: mean(waited),
            bars,
            leaps,
            ablation,
          };
        });
        found.push(await measured);
      }
      const ablation = ablated.map((change, t) => {
        const own = found.map(({ ablation }) => ablation[t]);
        const [passes, right] = [mean(own.map((one) => one.passes)), 100 * mean(own.map((one) => one.right))];
        const [name, value] = Object.entries(change)[0];
        return [`${name} ${value}`, `${passes.toFixed(1)} passes, ${right.toFixed(1)} % right`];
      });
      // A prompt counts where it has predictions of both kinds.
      const share = ([right, all]: readonly number[]): number => right / all;
      const both = found
        .filter(({ near, far }) => near[1] > 0 && far[1] > 0)
        .map(({ near, far }) => share(near) - share(far));
      const points = (a: number, b: number) => found.map(({ right }) => 100 * (right[a] - right[b]));
      return [
        {
          claim: "passes",
          ...ratioOf(
            found.map(({ passes }) => [100 * passes[1], passes[0]]),
            seed,
          ),
          note: `anchor ${chosen.anchor}, relaxed ${chosen.relaxed}, ${note}`,
          details: { "passes a position waits with its final prediction": mean(found.map(({ waited }) => waited)) },
        },
        {
          claim: "against-threshold",
          ...ratioOf(
            found.map(({ passes }) => [passes[1], passes[2]]),
            seed,
          ),
          note: `score against the threshold: ${mean(points(1, 2)).toFixed(1)} points`,
          plot: frontiers({
            "one threshold": thresholds.map((_, t) => found.map(({ bars }) => bars[t])),
            LocalLeap: settings.map((_, t) => found.map(({ leaps }) => leaps[t])),
          }),
          details: Object.fromEntries(ablation),
        },
        { claim: "quality", ...meanOf(points(1, 0), seed) },
        ...(both.length > 0 ? [{ claim: "locality", ...meanOf(both, seed) }] : []),
      ];
    }),
});
