/** What memories offer beside their shapers: building and searching datastores. */
export { type BuildOptions, baseOf, buildDatastore, inputSiteOf, keySiteOf, type StateModel } from "./building.ts";
export { type Datastore, type DatastoreCard, openDatastore } from "./datastore.ts";
export { neighbourLaw, type SparseLaw } from "./neighbours.ts";
export { exactSearch, type Hits, type Search } from "./search.ts";
