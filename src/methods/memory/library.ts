/** What memories offer beside their shapers: building and searching datastores, training memories, and measuring both. */
export {
  type AskedModel,
  type AskOptions,
  askQuestions,
  type Question,
  readQuestions,
  type Said,
  type Way,
} from "./asking.ts";
export { indexPassages, type Passage, type PassageIndex } from "./bm25.ts";
export { type BuildOptions, baseOf, buildDatastore, inputSiteOf, keySiteOf, type StateModel } from "./building.ts";
export {
  completeCard,
  type Datastore,
  type DatastoreBase,
  type DatastoreCard,
  type DatastoreOptions,
  openDatastore,
  readCard,
  textsOf,
} from "./datastore.ts";
export {
  type InvertedOptions,
  type InvertedSearch,
  invertedSearch,
  measuredSearch,
  recallOf,
  usualLists,
} from "./inverted.ts";
export * as bottleneck from "./key-value-bottleneck/index.ts";
export { type MemoryWeights, type OpenMemory, openMemory, recollection } from "./mlp-memory/index.ts";
export { isMade, type MadeMemory, type MakeMemoryOptions, makeMemory } from "./mlp-memory/making.ts";
export type { MemoryShape } from "./mlp-memory/network.ts";
export type { TrainedMemory } from "./mlp-memory/training.ts";
export { neighbourLaw, neighbourRecollection, type SparseLaw } from "./neighbours.ts";
export {
  bestLambda,
  natsOf,
  type ReadDocument,
  type Reader,
  type ReadTextsOptions,
  readTextsWith,
  usualLambdas,
} from "./reading.ts";
export type { Recollection } from "./recalling.ts";
export { exactSearch, type Hits, type KeyTable, type Search } from "./search.ts";
