/** LLaDA's sampler (Nie et al. 2025, arXiv 2502.09992, section 2.4 and appendix A): the surest predictions stay, the rest is masked again. */
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import { evenSchedule, highest, skippedAfter, stepsOptions } from "../ranking.ts";

export const lowConfidence = defineUnmasking({
  name: "low-confidence",
  summary: "fills the positions that a diffusion model is surest of, so many a pass",
  source: "Nie et al. 2025, Large Language Diffusion Models",
  options: stepsOptions,
  policy(request, { steps }) {
    const countFor = evenSchedule(request, steps);
    const skippedBy = skippedAfter(request, steps);
    return {
      decide(view) {
        const positions = highest(view.masked, countFor(view), view.confidence);
        return { positions, skippedSteps: skippedBy(view, positions.length) };
      },
    };
  },
});
