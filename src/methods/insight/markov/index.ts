/**
 * Measurements of the Markov categorical framework (Zhang 2025): a language model as kernels k_head ∘ k_backbone ∘ k_embedding, and numbers on them. The paper is theory; estimators are
 * ours, each a plain function, in float64 where it is small: `entropy.ts` (how stochastic the head is, what states tell of the next token, whose uncertainty a loss is), `surplus.ts` (what
 * states know of later tokens), `fisher.ts` (which directions predictions depend on), `alignment.ts` (how states lie to the predictive kernel), `coherence.ts`, and `sources.ts`, where all is known.
 * `measureMarkov` takes them of an open model at every layer.
 */
export { checkLayers } from "../layers.ts";
export * from "./alignment.ts";
export * from "./coherence.ts";
export * from "./entropy.ts";
export * from "./fisher.ts";
export * from "./head.ts";
export * from "./measure.ts";
export * from "./rows.ts";
export * from "./sources.ts";
export * from "./surplus.ts";
