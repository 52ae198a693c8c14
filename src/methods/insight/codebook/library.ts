/** What codebooks offer beside decoding: training, the automaton's task, search. */
export * from "./automaton.ts";
export * from "./automaton-model.ts";
export * from "./browse.ts";
export * from "./examples.ts";
export * from "./finetune.ts";
export * from "./index.ts";
export * from "./patching.ts";
export * from "./search.ts";
export * from "./steering.ts";
export * from "./train.ts";
