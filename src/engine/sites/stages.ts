/**
 * Rows that begin after a layer: up to there a pass has fewer rows, so that they cost what they are. The rows of a lane stand in the order in
 * which they begin; stage 0 has those that begin as tokens, each further stage those that have joined, too.
 */
import type { Edit } from "../../models/edits.ts";
import { layerEndedBy, layerOf } from "../../models/sites.ts";

/** Rows of each lane in every stage. */
export interface Stages {
  readonly lanes: number;
  readonly rows: readonly number[];
}

/** The layers after which rows begin under these edits, in order. */
export const beginnings = (edits: readonly Edit[]): number[] =>
  [...new Set(edits.flatMap(({ begins, site }) => (begins ? layerEndedBy(site)! : [])))].sort((a, b) => a - b);

/** The stage whose rows a layer has. */
export const stageOfLayer = (layer: number, after: readonly number[]): number =>
  after.filter((ended) => ended < layer).length;

/** The stage whose rows a site has. */
export function stageOfSite(site: string, after: readonly number[]): number {
  const layer = layerOf(site);
  if (layer !== undefined) return stageOfLayer(layer + (layerEndedBy(site) === undefined ? 0 : 1), after);
  return site.startsWith("embed") ? 0 : after.length;
}

/** Where a row stands among those of a stage, given its place among all; undefined: it begins later. */
export function placeInStage(at: number, { rows }: Stages, stage: number): number | undefined {
  const all = rows[rows.length - 1];
  const lane = Math.floor(at / all);
  const row = at - lane * all;
  return row < rows[stage] ? lane * rows[stage] + row : undefined;
}
