/** The papers: all 24 systems, built or planned, in the order of their numbers. */

import { VentrisError } from "../errors.ts";
import { paper as neuralBandit } from "../methods/choice/neural-bandit/paper.ts";
import { paper as awrs } from "../methods/constrained/awrs/paper.ts";
import { paper as lol } from "../methods/contrast/lol/paper.ts";
import { paper as learn2pd } from "../methods/diffusion/learn2pd/paper.ts";
import { paper as localleap } from "../methods/diffusion/localleap/paper.ts";
import { paper as hyperfit } from "../methods/finetuning/hyperfit/paper.ts";
import { paper as codebook } from "../methods/insight/codebook/paper.ts";
import { paper as inversePermutation } from "../methods/insight/inverse-permutation/paper.ts";
import { paper as markov } from "../methods/insight/markov/paper.ts";
import { paper as neurons } from "../methods/insight/neurons/paper.ts";
import { paper as keyValueBottleneck } from "../methods/memory/key-value-bottleneck/paper.ts";
import { paper as mlpMemory } from "../methods/memory/mlp-memory/paper.ts";
import { paper as pointing } from "../methods/pointing/paper.ts";
import { paper as aStar } from "../methods/search/a-star/paper.ts";
import { paper as diverseBeam } from "../methods/search/diverse-beam/paper.ts";
import { paper as dkf } from "../methods/signals/dkf/paper.ts";
import { paper as glim } from "../methods/signals/glim/paper.ts";
import { paper as aded } from "../methods/speculative/aded/paper.ts";
import { paper as dyspec } from "../methods/speculative/dyspec/paper.ts";
import { paper as hiddenTransfer } from "../methods/speculative/hidden-transfer/paper.ts";
import { paper as lexicalUnits } from "../methods/speculative/lexical-units/paper.ts";
import { paper as multimodal } from "../methods/speculative/multimodal/paper.ts";
import { paper as online } from "../methods/speculative/online/paper.ts";
import { paper as promptTokens } from "../methods/speculative/prompt-tokens/paper.ts";
import { didYouMean } from "../names.ts";
import type { Paper } from "./paper.ts";

export const papers: readonly Paper[] = [
  dkf,
  online,
  learn2pd,
  keyValueBottleneck,
  diverseBeam,
  aded,
  neurons,
  dyspec,
  mlpMemory,
  neuralBandit,
  promptTokens,
  lexicalUnits,
  hiddenTransfer,
  markov,
  codebook,
  awrs,
  lol,
  pointing,
  localleap,
  hyperfit,
  multimodal,
  glim,
  inversePermutation,
  aStar,
];
export const isBuilt = (paper: Paper): boolean => paper.reproduction !== undefined;

/** Errors: `bad_option` with the nearest name. */
export function findPaper(name: string): Paper {
  const found = papers.find((paper) => paper.name === name);
  if (found) return found;
  const names = papers.map((paper) => paper.name);
  throw new VentrisError(
    "bad_option",
    `no paper is called "${name}"${didYouMean(name, names)} Papers: ${names.join(", ")}`,
  );
}
