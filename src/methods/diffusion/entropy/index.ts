/** Dream's sampler (Ye et al. 2025) by the entropy of their distribution. */
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import { byMeasure, dreamOptions } from "../dream.ts";

export const entropy = defineUnmasking({
  name: "entropy",
  summary: "fills the positions whose distribution has the least entropy",
  source: "Ye et al. 2025, Dream 7B: Diffusion Large Language Models",
  options: dreamOptions,
  policy: (request, options) => byMeasure(request, options, (view) => view.negentropy),
});
