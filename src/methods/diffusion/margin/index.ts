/** Dream's sampler (Ye et al. 2025) by the margin between the two likeliest tokens. */
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import { byMeasure, dreamOptions } from "../dream.ts";

export const margin = defineUnmasking({
  name: "margin",
  summary: "fills the positions whose likeliest token is furthest ahead of the second",
  source: "Ye et al. 2025, Dream 7B: Diffusion Large Language Models",
  options: dreamOptions,
  policy: (request, options) => byMeasure(request, options, (view) => view.margin),
});
