/**
 * Early exits: what a model would say after its first layers, by its own final norm and output matrix. Exit 0 is the embedding, exit k what
 * stands after k layers; the exit after the last layer is the ordinary output and no lower exit.
 */
import { z } from "zod";
import type { ForestNode } from "../../engine/forest.ts";
import type { DecodingModel } from "../../engine/model.ts";
import type { AppliedEdit } from "../../engine/sites/rows.ts";
import { ensure } from "../../errors.ts";
import { lensReading, logitLens } from "../../models/lens.ts";
import { type Divergence, divergence, type View, viewOf } from "./view.ts";

/** Every second exit of the lower or of the upper half, all below the last, or these. */
export const exitsOption = z.union([
  z.enum(["lower", "upper", "all"]),
  z.array(z.int().min(0).max(1000)).min(1).max(64),
]);
export type ExitChoice = z.output<typeof exitsOption>;

/** Exits of a choice, ascending. Errors: `bad_option` for one that the model does not have. */
export function exitsOf(choice: ExitChoice, { name, config: { layers } }: DecodingModel): number[] {
  const all = Array.from({ length: layers }, (_, exit) => exit);
  const half = Math.floor(layers / 2);
  // Ranges of two halves as the authors of DoLa take them; a model of one layer has its embedding alone.
  if (choice === "lower") return all.filter((exit) => exit % 2 === 0 && exit < Math.max(1, half));
  if (choice === "upper") return all.filter((exit) => (exit - half) % 2 === 0 && exit >= half);
  if (choice === "all") return all;
  const wrong = choice.find((exit) => exit >= layers);
  ensure(wrong === undefined, "bad_option", () => {
    const last = wrong === layers ? `; ${layers} is its ordinary output, which is contrasted anyhow` : "";
    return `layers: ${name} has lower exits 0 to ${layers - 1}, not ${wrong}${last}`;
  });
  ensure(new Set(choice).size === choice.length, "bad_option", "layers: an exit may stand there only once");
  return [...choice].sort((a, b) => a - b);
}

const siteOf = (exit: number): string => (exit === 0 ? "embed" : `layers.${exit - 1}.residual`);

/** Readings of these exits, for a shaper or a lease. */
export function exitReadings(exits: readonly number[]): { taps: string[]; edits: AppliedEdit[] } {
  const sites = exits.map(siteOf);
  return { taps: sites.map(lensReading), edits: sites.map((site) => ({ edit: logitLens(site), key: "" })) };
}

/** What a node's row said at an exit. */
export function exitView({ taps }: Pick<ForestNode, "taps">, exit: number, whose: string): View {
  const logits = taps?.[lensReading(siteOf(exit))];
  ensure(logits, "internal", `a row of ${whose} has no reading of exit ${exit}`);
  return viewOf(logits, `${whose}, exit ${exit},`);
}

/** The exit whose law is farthest from the expert's, the lowest among equals (Chuang et al. 2024, equation 4). */
export function mostDifferent(
  expert: View,
  exits: readonly number[],
  read: (exit: number) => View,
  kind: Divergence,
): { exit: number; view: View } {
  let best = { exit: exits[0], view: read(exits[0]) };
  let farthest = exits.length > 1 ? divergence(expert, best.view, kind) : 0;
  for (const exit of exits.slice(1)) {
    const view = read(exit);
    const distance = divergence(expert, view, kind);
    if (distance > farthest) [farthest, best] = [distance, { exit, view }];
  }
  return best;
}
