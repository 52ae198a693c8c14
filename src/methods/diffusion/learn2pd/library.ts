/** What Learn2PD offers beside decoding: collecting labels and training filters. */
export { type Depth, depths, filterKind, publishedThreshold } from "./filter.ts";
export { collectRecords, type FilterRecords, joinRecords, readRecords, writeRecords } from "./records.ts";
export { type FilterScores, trainFilter } from "./train.ts";
