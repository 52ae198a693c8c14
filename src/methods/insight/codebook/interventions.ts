/**
 * Codes read and set while a model runs: the bottlenecks as edits of a request, with codes that are forced, added, forbidden or silenced at some positions
 * or all. The same edits serve every method, `forward` and `trace`.
 */

import { z } from "zod";
import type { AppliedEdit } from "../../../engine/sites/rows.ts";
import { ensure, plural, VentrisError } from "../../../errors.ts";
import { describeIssues } from "../../../issues.ts";
import type { Edit } from "../../../models/edits.ts";
import { suggestion } from "../../../names.ts";
import { type Bottleneck, bottleneckEdit, mostChanges } from "./bottleneck.ts";
import type { Codebook } from "./part.ts";

const place = {
  site: z.string().max(200).describe("site that has a codebook, for example layers.2.attention.heads"),
  group: z.int().min(0).default(0).describe("which of the site's codebooks, a number for each attention head"),
};
const code = z.int().min(0);
const positions = {
  at: z
    .union([z.literal("all"), z.array(z.int().min(0)).min(1)])
    .default("all")
    .describe("positions of the text at which the change acts, counted from 0 with the prompt; or all of them"),
};

/**
 * `slot`: which of the k codes is replaced, best first; from -1, the weakest. `add`: a further code beside the k. `disable`: the code cannot fire, another
 * one does in its place (`forbid`), or its part is left out (`silence`).
 */
export const codeChange = z.union([
  z.strictObject({ ...place, patch: code, slot: z.int().default(-1), ...positions }),
  z.strictObject({ ...place, add: code, ...positions }),
  z.strictObject({ ...place, disable: code, how: z.enum(["forbid", "silence"]).default("forbid"), ...positions }),
  z.strictObject({
    ...place,
    ids: z.array(code).min(1).describe("all codes of a codebook, best first, as another run had them"),
    ...positions,
  }),
]);
export type CodeChange = z.input<typeof codeChange>;
type Change = z.output<typeof codeChange>;

/** One edit for each codebook, whatever is changed: requests that run at the same time share programs and passes. */
const edits = new WeakMap<Codebook, Edit>();

function editOf(codebook: Codebook): Edit {
  const { bottleneck, parameters } = codebook;
  const edit = edits.get(codebook) ?? bottleneckEdit(bottleneck, parameters, { changes: true });
  edits.set(codebook, edit);
  return edit;
}

/** What is said of a site without codebooks. */
export const noCodebook = (site: string, sites: readonly string[]): string =>
  `there is no codebook at ${site.trim() === "" ? "an empty site" : site}${suggestion(site, sites) || `; there are ${sites.join(", ")}`}`;

/**
 * The edits of a request: all bottlenecks, with these changes. Errors: `bad_option` naming the change for a site without codebook (with the nearest),
 * a codebook, code, slot or position (of the model's context) that is not there, more changes of one kind in a codebook than fit, and fewer codes left than fire.
 */
export function codebookEdits(
  codebooks: readonly Codebook[],
  given: readonly CodeChange[] = [],
  contextLength = Infinity,
): AppliedEdit[] {
  const { data: changes, error } = z.array(codeChange).safeParse(given, { reportInput: true });
  if (error) throw new VentrisError("bad_option", `codes: ${describeIssues(error.issues, undefined, ["changes"])}`);
  const sites = codebooks.map(({ bottleneck }) => bottleneck.site);
  for (const change of changes) {
    ensure(sites.includes(change.site), "bad_option", () => `codes: ${noCodebook(change.site, sites)}`);
  }
  return codebooks.map((codebook) => {
    const { bottleneck } = codebook;
    const own = changes.filter(({ site }) => site === bottleneck.site);
    for (const change of own) checkChange(change, bottleneck, contextLength);
    const all = inputsFor(bottleneck, own); // what does not fit is refused now, not in the middle of a text
    const everywhere = own.every(({ at }) => at === "all");
    return {
      edit: editOf(codebook),
      key: own.length === 0 ? "" : JSON.stringify(own),
      inputs: ({ position }) => {
        if (everywhere) return all;
        const here = own.filter(({ at }) => at === "all" || at.includes(position));
        return inputsFor(bottleneck, here);
      },
    };
  });
}

function checkChange(change: Change, { site, groups, codes, k }: Bottleneck, contextLength: number): void {
  const where = `codes: ${site}, codebook ${change.group}`;
  const beyond = change.at === "all" ? undefined : change.at.find((position) => position >= contextLength);
  ensure(beyond === undefined, "bad_option", `${where}: position ${beyond} is outside the context of ${contextLength}`);
  ensure(
    change.group < groups,
    "bad_option",
    `codes: ${site} has ${groups} codebooks: there is no codebook ${change.group}`,
  );
  const named =
    "ids" in change ? change.ids : ["patch" in change ? change.patch : "add" in change ? change.add : change.disable];
  const strange = named.find((id) => id >= codes);
  ensure(strange === undefined, "bad_option", `${where}: it has codes 0 to ${codes - 1}: there is no code ${strange}`);
  if ("patch" in change) {
    const there = change.slot >= -k && change.slot < k;
    ensure(
      there,
      "bad_option",
      `${where}: ${firing(k)}: there is no slot ${change.slot} (0 to ${k - 1}, or -1 to -${k})`,
    );
  }
  if ("ids" in change)
    ensure(change.ids.length === k, "bad_option", `${where}: ${firing(k)}, but given are ${change.ids.length}`);
}

/** Numbers for one row; -1 stands for none. */
function inputsFor({ site, groups, codes, k }: Bottleneck, changes: readonly Change[]): Record<string, number[]> {
  const forced = new Array<number>(groups * k).fill(-1);
  const empty = (): number[] => new Array<number>(groups * mostChanges).fill(-1);
  const lists = { added: empty(), banned: empty(), silenced: empty() };
  const counts: Record<string, number> = {};
  for (const change of changes) {
    const { group } = change;
    if ("ids" in change) {
      for (const [slot, id] of change.ids.entries()) forced[group * k + slot] = id;
      continue;
    }
    if ("patch" in change) {
      const { slot } = change;
      forced[group * k + (slot < 0 ? k + slot : slot)] = change.patch;
      continue;
    }
    const [list, id] =
      "add" in change
        ? (["added", change.add] as const)
        : ([change.how === "forbid" ? "banned" : "silenced", change.disable] as const);
    const index = `${list} ${group}`;
    const count = counts[index] ?? 0;
    ensure(
      count < mostChanges,
      "bad_option",
      `codes: ${site}, codebook ${group}: more than ${mostChanges} codes are ${list}`,
    );
    ensure(list !== "banned" || codes - count > k, "bad_option", () => {
      return `codes: ${site}, codebook ${group}: ${firing(k)}, and forbidding leaves fewer of ${codes}`;
    });
    lists[list][group * mostChanges + count] = id;
    counts[index] = count + 1;
  }
  return { forced, ...lists };
}

const firing = (k: number): string => `${plural(k, "code")} ${k === 1 ? "fires" : "fire"}`;
