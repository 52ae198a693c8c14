/** The discrete key-value bottleneck as a library: tables of keys and values, learning on streams, and the heads it is compared with. */
export {
  type Bottleneck,
  type BottleneckShape,
  createBottleneck,
  type Features,
  fetchPairs,
  initialiseKeys,
  type KeyOptions,
  logitsOf,
  queriesOf,
  type Splitter,
} from "./bottleneck.ts";
export {
  bottleneckLearner,
  type DomainLearner,
  type DomainResult,
  type DomainSettings,
  headLearner,
  type Positions,
  readPositions,
  twoDomains,
} from "./domains.ts";
export { type BottleneckFile, openBottleneck, readBottleneck, writeBottleneck } from "./file.ts";
export { createHead, type Head, type HeadOptions, type HeadTraining, nearestMean, nearestNeighbours } from "./heads.ts";
export { beginLearner, type LearnerSettings, standardise } from "./learner.ts";
export { accuracy, classesOf, decide, type Labelled, type LearnOptions, learn, ofClasses, rowsOf } from "./learning.ts";
export { gridOf, type Plane, planeOf, type RegionsPanel, regionsSvg } from "./regions-svg.ts";
export { labelledTable, labelledTexts, type NamedRows, type TextFeatureOptions, textFeatures } from "./sources.ts";
export { runStream, type StreamData, type StreamResult, type StreamSettings, splitsOf } from "./streams.ts";
