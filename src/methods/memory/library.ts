/** What memories offer beside their shapers: building and searching datastores, training memories, and measuring both. */
export { type BuildOptions, baseOf, buildDatastore, inputSiteOf, keySiteOf, type StateModel } from "./building.ts";
export { type Datastore, type DatastoreCard, openDatastore, readCard } from "./datastore.ts";
export { type InvertedSearch, invertedSearch, recallOf, usualLists } from "./inverted.ts";
export * as bottleneck from "./key-value-bottleneck/index.ts";
export { openMemory, recollection } from "./mlp-memory/index.ts";
export { isMade, type MadeMemory, type MakeMemoryOptions, makeMemory } from "./mlp-memory/making.ts";
export { neighbourLaw, neighbourRecollection, type SparseLaw } from "./neighbours.ts";
export { bestLambda, natsOf, type ReadDocument, type Reader, readTextsWith, usualLambdas } from "./reading.ts";
export { exactSearch, type Hits, type Search } from "./search.ts";
