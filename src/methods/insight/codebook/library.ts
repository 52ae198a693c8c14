/** What codebooks offer beside decoding: reading and changing codes, training, search, and the finite-state task. */
export {
  type Automaton,
  automatonEntropy,
  automatonVocabulary,
  beginToken,
  digitsOf,
  randomAutomaton,
  transitionAccuracy,
  walk,
  walkTokens,
} from "./automaton.ts";
export { type AutomatonModelOptions, automatonScale, trainAutomatonModel } from "./automaton-model.ts";
export type { Bottleneck, BottleneckParameters, CodebookLoss } from "./bottleneck.ts";
export { aggregates, idsReading, losses, similarities } from "./bottleneck.ts";
export { type CodedPiece, type CommonCode, codedText, commonCodes } from "./browse.ts";
export { type CodeExample, codeExamples, type ExampleOptions, type TextPiece } from "./examples.ts";
export { type CodebookFinetuning, type FinetunedCodebooks, finetuneCodebooks, statesOf } from "./finetune.ts";
export { openCodebooks } from "./index.ts";
export { type CodeChange, codebookEdits } from "./interventions.ts";
export { type Codebook, codebookKind, codebooksOf, partOfCodebooks } from "./part.ts";
export { type Patching, patchingOf } from "./patching.ts";
export {
  type BestNeuron,
  bestNeuron,
  type CachedSite,
  type CachedText,
  type CodeCache,
  type CodeSearchOptions,
  cacheCodes,
  type FoundCode,
  findCodes,
  firedAt,
  matchedTokens,
  patternOf,
  placeAmong,
  type Reading,
  searchCodes,
  tokensBefore,
} from "./search.ts";
export {
  type ForcingOptions,
  forcingCodes,
  openings,
  type Steerable,
  type Steering,
  type SteeringOptions,
  steerStories,
  topicCodes,
  topics,
} from "./steering.ts";
export {
  bottlenecksOf,
  type CodebookShape,
  type CodebookSites,
  type CodebookTask,
  codebookSites,
  codebooksFromStates,
  initialCodebooks,
} from "./train.ts";
