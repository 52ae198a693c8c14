/** What one request wants read and rewritten, checked and made ready for a lease. */
import { ensure, shown } from "../../errors.ts";
import { checkInstruments } from "../../models/edits.ts";
import type { Site } from "../../models/sites.ts";
import { isListOf, isText } from "../../values.ts";
import { type AppliedEdit, type LeaseSites, noSites } from "./rows.ts";

const numbers = new WeakMap<object, number>();
let counted = 0;

/** A number that stands for an object. */
function numberOf(object: object): number {
  const known = numbers.get(object);
  if (known !== undefined) return known;
  counted += 1;
  numbers.set(object, counted);
  return counted;
}

/** Whose inputs or parameters are not told apart by a key may differ from call to call: nobody else shares their texts. */
function keyOf(applied: AppliedEdit): string {
  const { key, at, inputs, edit } = applied;
  const varies = at ?? inputs ?? edit.parameters;
  return key ?? (varies ? `#${numberOf(applied)}` : "");
}

/** Errors: `bad_option` for what are no names of sites. */
export function requireTaps(taps: unknown, call: string): asserts taps is readonly string[] {
  ensure(isListOf(taps, isText), "bad_option", () => `${call}: taps must be a list of sites, not ${shown(taps)}`);
}

/**
 * `taps` are read in every row, `beside` only where logits are wanted. Errors: `bad_option` for an unknown site (with the nearest name) and two edits
 * of one name.
 */
export function leaseSites(
  sites: readonly Site[],
  taps: readonly string[],
  edits: readonly AppliedEdit[] = [],
  beside: readonly string[] = [],
): LeaseSites {
  const scored = [...new Set([...taps, ...beside])];
  if (scored.length === 0 && edits.length === 0) return noSites;
  checkInstruments(sites, { taps: scored, edits: edits.map(({ edit }) => edit) });
  for (const { edit, inputs } of edits) {
    ensure(!inputs || edit.inputs, "bad_option", () => `the edit ${edit.name} takes no inputs, and is given some`);
  }
  const after = new Set(sites.filter(({ rows }) => rows === "selected").map(({ name }) => name));
  const everywhere = [...new Set(taps)];
  return {
    taps: everywhere,
    scored: scored.length === everywhere.length ? everywhere : scored,
    edits,
    world: edits.map((applied) => `${numberOf(applied.edit)}:${keyOf(applied)}`).join("|"),
    // A reading may lie after the selection, too; only sites that surely do not are cheaper.
    selected: taps.some((tap) => after.has(tap) || !sites.some(({ name }) => name === tap)),
  };
}
