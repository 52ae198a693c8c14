/** The registry: every method, listed once. */
import { encoderDecoderKind } from "../engine/encoder-decoder/kind.ts";
import type { Method, ModelKind, ShaperKind } from "../engine/method.ts";
import { createRemoteKind } from "../engine/remote/kind.ts";
import { ensure, shown, VentrisError } from "../errors.ts";
import { didYouMean, meantBy, methodSuggestion } from "../names.ts";
import type { PartKind } from "../training/parts.ts";
import { createAuto } from "./choice/auto/index.ts";
import { makeEndpointChooser } from "./choice/endpoints.ts";
import { awrs } from "./constrained/awrs/index.ts";
import { smc } from "./constrained/smc/index.ts";
import { cd } from "./contrast/cd/index.ts";
import { dola } from "./contrast/dola/index.ts";
import { icd } from "./contrast/icd/index.ts";
import { lol } from "./contrast/lol/index.ts";
import { diffusionMethods } from "./diffusion/index.ts";
import { codebook } from "./insight/codebook/index.ts";
import { codebookPart } from "./insight/codebook/recipe-part.ts";
import { knnLm } from "./memory/knn-lm/index.ts";
import { mlpMemory } from "./memory/mlp-memory/index.ts";
import { greedy, sample } from "./plain/index.ts";
import { pointingKind } from "./pointing/kind.ts";
import { aStar } from "./search/a-star/index.ts";
import { beam } from "./search/beam/index.ts";
import { bestOfN } from "./search/best-of-n/index.ts";
import { diverseBeam } from "./search/diverse-beam/index.ts";
import { particleFiltering } from "./search/particle-filtering/index.ts";
import { rewardBeam } from "./search/reward-beam/index.ts";
import { selfConsistency } from "./search/self-consistency/index.ts";
import { filterKind } from "./signals/kind.ts";
import { aded } from "./speculative/aded/index.ts";
import { chain } from "./speculative/chain/index.ts";
import { dyspec } from "./speculative/dyspec/index.ts";
import { eagle } from "./speculative/eagle/index.ts";
import { eaglePart } from "./speculative/eagle/training.ts";
import { earlyExitPart } from "./speculative/hidden-transfer/early-exit.ts";
import { hiddenTransfer } from "./speculative/hidden-transfer/index.ts";
import { hiddenTransferPart } from "./speculative/hidden-transfer/training.ts";
import { lexicalUnits } from "./speculative/lexical-units/index.ts";
import { medusa } from "./speculative/medusa/index.ts";
import { multimodal } from "./speculative/multimodal/index.ts";
import { online } from "./speculative/online/index.ts";
import { promptLookup } from "./speculative/prompt-lookup/index.ts";
import { promptTokens } from "./speculative/prompt-tokens/index.ts";
import { promptTokensPart } from "./speculative/prompt-tokens/training.ts";
import { selfSpeculative } from "./speculative/self-speculative/index.ts";
import { sequoia } from "./speculative/sequoia/index.ts";
import { specInfer } from "./speculative/spec-infer/index.ts";
import { topK } from "./speculative/top-k/index.ts";

/** What `auto` can choose among: all others. */
const decoders: readonly Method[] = [
  greedy,
  sample,
  chain,
  promptLookup,
  specInfer,
  sequoia,
  dyspec,
  topK,
  aded,
  online,
  medusa,
  promptTokens,
  hiddenTransfer,
  eagle,
  multimodal,
  selfSpeculative,
  lexicalUnits,
  awrs,
  smc,
  beam,
  diverseBeam,
  aStar,
  bestOfN,
  selfConsistency,
  particleFiltering,
  rewardBeam,
  ...diffusionMethods,
];

/** All decoding methods, in the order of listings. */
export const methods: readonly Method[] = [...decoders, createAuto(decoders)];

/** Models that are no transformer checkpoints, in the order in which they are asked whether a reference is theirs. */
export const modelKinds: readonly ModelKind[] = [
  createRemoteKind(makeEndpointChooser),
  pointingKind,
  filterKind,
  encoderDecoderKind,
];

/** Shapers that work inside every method. */
export const shapers: readonly ShaperKind[] = [dola, cd, icd, lol, knnLm, mlpMemory, codebook];

/** Errors: `bad_option` with the nearest name. */
export const findMethod = (name: string): Method => named(methods, name, "method", shapers);

/** Errors: `bad_option` with the nearest name. */
export const findShaper = (name: string): ShaperKind => named(shapers, name, "shaper", methods);

/** Errors: `bad_option` with the nearest name of either. */
export function findMethodOrShaper(name: string): Method | ShaperKind {
  const all = [...methods, ...shapers];
  const found = all.find((entry) => entry.name === name);
  const names = namesOf(all);
  ensure(found, "bad_option", () => {
    return `no method or shaper is called "${name.slice(0, 200)}"${methodSuggestion(name, names)} There are: ${names.join(", ")}`;
  });
  return found;
}

const namesOf = (list: readonly { readonly name: string }[]): string[] => list.map((entry) => entry.name);

function named<T extends { readonly name: string }>(
  list: readonly T[],
  name: string,
  what: "method" | "shaper",
  others: readonly { readonly name: string }[],
): T {
  ensure(typeof name === "string", "bad_option", () => `the name of a ${what} must be a text, not ${shown(name)}`);
  const found = list.find((entry) => entry.name === name);
  if (found) return found;
  const names = namesOf(list);
  const meant = what === "method" ? methodSuggestion(name, names) : didYouMean(name, names);
  const other = others.some((entry) => entry.name === name) && elsewhere[what];
  // Of a name that is like none of its kind, the other kind's may be meant.
  const misspelt = meant === "." ? meantBy(name, namesOf(others)) : undefined;
  const ofOthers = misspelt && `; did you mean "${misspelt}"${elsewhere[what].replace(/^: it/, "? It")}`;
  throw new VentrisError(
    "bad_option",
    `no ${what} is called "${name.slice(0, 200)}"${other || ofOthers || meant} ${what === "method" ? "Methods" : "Shapers"}: ${names.join(", ")}`,
  );
}

/** Of a name that is the other kind's: how that is asked for. */
const elsewhere = {
  method: ": it is a shaper, which works inside every method, by the option shapers (--shaper).",
  shaper: ": it is a method, by the option method (--method).",
};

/** Kinds of parts that methods train, beside those of `src/training/parts.ts`. */
export const partKinds: readonly PartKind[] = [
  promptTokensPart,
  hiddenTransferPart,
  earlyExitPart,
  eaglePart,
  codebookPart,
];

/** What methods offer beside decoding. */
export * as choice from "./choice/index.ts";
export * as learn2pd from "./diffusion/learn2pd/library.ts";
export * as codebooks from "./insight/codebook/library.ts";
export * as markov from "./insight/markov/index.ts";
export * as neurons from "./insight/neurons/index.ts";
export { type OwnTextsOptions, ownTexts, type Writing } from "./insight/own-texts.ts";
export * as memory from "./memory/library.ts";
export * as pointing from "./pointing/index.ts";
export * as rewardHeads from "./search/reward-head.ts";
export { trainTable } from "./speculative/aded/corpus.ts";
