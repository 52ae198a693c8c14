import { ensure, shown } from "../errors.ts";
import type { Edit } from "./edits.ts";

const lenses = new Map<string, Edit>();

/**
 * The logit lens (nostalgebraist 2020): the model's own final norm and output matrix on a site of the residual stream. A reading
 * "lens@SITE.logits" [vocabulary] of every row whose logits are wanted; the site stays as it is. Always the same object for a site.
 */
export function logitLens(site: string): Edit {
  requireSite(site, "logitLens");
  const known = lenses.get(site);
  if (known) return known;
  const lens: Edit = {
    name: `lens@${site}`,
    site,
    apply: (value, { readout, select }) => ({ readings: { logits: readout(select(value)) } }),
  };
  lenses.set(site, lens);
  return lens;
}

/** Name of the reading under which the logit lens of a site is found. */
export function lensReading(site: string): string {
  requireSite(site, "lensReading");
  return `lens@${site}.logits`;
}

/** Errors: `bad_option`. */
function requireSite(site: unknown, call: string): void {
  ensure(
    typeof site === "string" && site !== "",
    "bad_option",
    () => `${call} takes the name of a site, not ${shown(site)}`,
  );
}
