/**
 * What looks inside models: what neurons stand for and what holding them does, dictionaries of codes that states are made of, measurements of a
 * model as Markov kernels, and transformers whose weights are written by hand.
 */
export * as codebooks from "./insight/codebook/library.ts";
export * as permutations from "./insight/inverse-permutation/library.ts";
export * as markov from "./insight/markov/index.ts";
export * as neurons from "./insight/neurons/index.ts";
