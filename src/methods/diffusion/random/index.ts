/** Positions in random order: what the forward process of training, run backwards, prescribes (LLaDA, algorithm 4; Dream's `origin`). */
import { z } from "zod";
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import type { CanvasView } from "../../../engine/canvas/policy.ts";
import { uniform } from "../../../engine/random.ts";
import { countsOf, dreamOptions, timeOf } from "../dream.ts";
import { highest, skippedAfter, stepsOfBlock } from "../ranking.ts";

export const random = defineUnmasking({
  name: "random",
  summary: "fills positions in random order",
  source: "Nie et al. 2025, Large Language Diffusion Models",
  options: z.strictObject({
    steps: dreamOptions.shape.steps,
    schedule: z
      .enum(["even", "time", "flip"])
      .default("even")
      .describe(
        "how many positions each pass fills: evenly many; as Dream's schedule says (time); or each position by a coin of its own with that chance (flip), so that the number varies",
      ),
  }),
  policy(request, { steps, schedule }) {
    const draw = ({ pass }: CanvasView, position: number): number =>
      uniform(request.stream, request.place(pass, position), "unmask");
    if (schedule !== "flip") {
      const countFor = countsOf(request, { steps, schedule });
      return {
        decide(view) {
          const { count, skippedSteps } = countFor(view);
          return { positions: highest(view.masked, count, (at) => draw(view, at)), skippedSteps };
        },
      };
    }
    const own = stepsOfBlock(request, steps);
    const skippedBy = skippedAfter(request, steps);
    return {
      patience: own,
      decide(view) {
        if (view.step >= own - 1) return { positions: view.masked };
        const share = 1 - timeOf(view.step + 1, own) / timeOf(view.step, own);
        const positions = view.masked.filter((position) => draw(view, position) < share);
        return { positions, skippedSteps: skippedBy(view, positions.length) };
      },
    };
  },
});
