/** The papers: all 24 systems, built or planned, in the order of their numbers. */
import { nearest, VentrisError } from "../errors.ts";
import { paper as aded } from "../methods/speculative/aded/paper.ts";
import { paper as dyspec } from "../methods/speculative/dyspec/paper.ts";
import { paper as online } from "../methods/speculative/online/paper.ts";
import type { Paper } from "./paper.ts";

export const papers: readonly Paper[] = [online, aded, dyspec].sort((a, b) => a.number - b.number);

export const isBuilt = (paper: Paper): boolean => paper.reproduction !== undefined;

/** Errors: `bad_option` with the nearest name. */
export function findPaper(name: string): Paper {
  const found = papers.find((paper) => paper.name === name);
  if (found) return found;
  const names = papers.map((paper) => paper.name);
  const meant = nearest(name, names);
  throw new VentrisError(
    "bad_option",
    `no paper is called "${name}"${meant ? `; did you mean "${meant}"?` : ""} Papers: ${names.join(", ")}`,
  );
}
