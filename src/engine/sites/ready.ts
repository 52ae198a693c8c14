/**
 * Ready edits: set, add, scale, clamp or project a site, at some positions or all, with values that a request gives. They are three modules
 * for each site, whose numbers are inputs of the program: x ← scale ⊙ x + shift, x ← min(max(x, low), high), and for projections
 * x ← x + (x · against) along.
 */
import { z } from "zod";
import { ensure } from "../../errors.ts";
import type { Edit } from "../../models/edits.ts";
import { type Site, siteNamed } from "../../models/sites.ts";
import { add, maximum, minimum, multiply, reduceSum, type Tensor } from "../../tensor/index.ts";
import type { AppliedEdit } from "./rows.ts";

const number = z.number().min(-1e15).max(1e15);
/** One number for all entries, or one for each. */
const numbers = z.union([number, z.array(number).min(1)]);

export const readyEdit = z
  .strictObject({
    site: z.string().max(200).describe("the place: a name of `sites`"),
    at: z
      .union([z.literal("all"), z.array(z.int().min(0)).min(1)])
      .default("all")
      .describe("positions of the text whose rows are edited"),
    entries: z.array(z.int().min(0)).min(1).optional().describe("which numbers of a row; all unless given"),
    set: numbers.optional(),
    add: numbers.optional(),
    scale: numbers.optional(),
    clamp: z
      .strictObject({ min: number.optional(), max: number.optional() })
      .refine(({ min, max }) => min !== undefined || max !== undefined, { message: "give min, max or both" })
      .refine(({ min = -Infinity, max = Infinity }) => min <= max, { message: "min must be at most max" })
      .optional(),
    project: z
      .strictObject({
        direction: z.array(number).min(1),
        amount: number.default(1).describe("1 removes the component along the direction, -1 doubles it"),
      })
      .optional(),
  })
  .refine((edit) => kinds.filter((kind) => edit[kind] !== undefined).length === 1, {
    message: "give one of set, add, scale, clamp, project",
  });
const kinds = ["set", "add", "scale", "clamp", "project"] as const;

/** An edit of a request, ready for passes. */
export type ReadyEdit = z.input<typeof readyEdit>;
type Settings = z.output<typeof readyEdit>;

/** An edit of a request: a ready one, or a module with what it needs at run time. */
export const requestEdit = z.union([
  readyEdit,
  z.custom<AppliedEdit>(
    (value) => typeof (value as AppliedEdit | undefined)?.edit?.apply === "function",
    "a module is written { edit: { name, site, apply } }",
  ),
]);

/** Ready edits of one request at one site; each is a module of its own. */
const mostAtSite = 8;

const modules = new Map<string, Edit>();

interface Kind {
  readonly inputs: readonly string[];
  rewrite(value: Tensor, inputs: Readonly<Record<string, Tensor>>): Tensor;
}

const affine: Kind = {
  inputs: ["scale", "shift"],
  rewrite: (value, { scale, shift }) => add(multiply(value, scale), shift),
};
const clamping: Kind = {
  inputs: ["low", "high"],
  rewrite: (value, { low, high }) => minimum(maximum(value, low), high),
};
const projection: Kind = {
  inputs: ["against", "along"],
  rewrite: (value, { against, along }) => add(value, multiply(reduceSum(multiply(value, against), -1, true), along)),
};

/** The module of ready edit number `slot` at a site. Always the same object, so that programs with it serve every request. */
function moduleAt({ name, width }: Site, slot: number, edit: Settings): Edit {
  const [kind, ending] = edit.project ? [projection, ".project"] : edit.clamp ? [clamping, ".clamp"] : [affine, ""];
  const key = `${name}@${slot}${ending}`;
  const known = modules.get(`${key}:${width}`);
  if (known) return known;
  const module: Edit = {
    name: key,
    site: name,
    inputs: Object.fromEntries(kind.inputs.map((input) => [input, { shape: [width] }])),
    apply: (value, { inputs }) => ({ value: kind.rewrite(value, inputs) }),
  };
  modules.set(`${key}:${width}`, module);
  return module;
}

/**
 * Edits as a lease applies them. Errors: `bad_option` for an unknown site (with the nearest name), an entry or a number of values that
 * does not fit it.
 */
export function applyEdits(
  sites: readonly Site[],
  edits: readonly (Settings | AppliedEdit)[],
  contextLength = Infinity,
): AppliedEdit[] {
  const slots = new Map<string, number>();
  return edits.map((edit) => {
    if ("edit" in edit) return edit;
    const site = siteNamed(sites, edit.site);
    const slot = slots.get(site.name) ?? 0;
    slots.set(site.name, slot + 1);
    ensure(slot < mostAtSite, "bad_option", `edits: more than ${mostAtSite} at ${site.name}; join some of them`);
    const inputs = inputsOf(edit, site);
    const beyond = edit.at === "all" ? undefined : edit.at.find((position) => position >= contextLength);
    ensure(beyond === undefined, "bad_option", () => {
      return `edits: position ${beyond} at ${site.name} is outside the context of ${contextLength}`;
    });
    const positions = edit.at === "all" ? undefined : new Set(edit.at);
    return {
      edit: moduleAt(site, slot, edit),
      ...(positions && { at: (position: number) => positions.has(position) }),
      inputs: () => inputs,
      key: JSON.stringify(edit),
    };
  });
}

function inputsOf(edit: Settings, site: Site): Record<string, Float32Array> {
  const { set, add, scale, clamp, project, entries } = edit;
  const { name, width } = site;
  const wrong = entries?.find((entry) => entry >= width);
  ensure(wrong === undefined, "bad_option", `edits: ${name} has ${width} entries, so that there is no entry ${wrong}`);
  const chosen = entries ?? Array.from({ length: width }, (_, i) => i);
  const neutral = (value: number): Float32Array => new Float32Array(width).fill(value);
  const write = (to: Float32Array, values: number | readonly number[]): void => {
    const count = typeof values === "number" ? chosen.length : values.length;
    ensure(count === chosen.length, "bad_option", () => {
      return `edits: ${count} values for ${chosen.length} entries of ${name} (one number stands for all)`;
    });
    for (const [i, entry] of chosen.entries()) to[entry] = typeof values === "number" ? values : values[i];
  };
  if (project) {
    const { direction, amount } = project;
    ensure(direction.length === width, "bad_option", () => {
      return `edits: a direction of ${direction.length} numbers does not fit ${name}, which has ${width}`;
    });
    const length = Math.hypot(...direction);
    ensure(length > 0, "bad_option", `edits: the direction to project ${name} along is zero`);
    const inputs = { against: neutral(0), along: neutral(0) };
    write(
      inputs.against,
      direction.map((x) => x / length),
    );
    write(
      inputs.along,
      direction.map((x) => (-amount * x) / length),
    );
    return inputs;
  }
  if (clamp) {
    const largest = 3e38;
    const inputs = { low: neutral(-largest), high: neutral(largest) };
    if (clamp.min !== undefined) write(inputs.low, clamp.min);
    if (clamp.max !== undefined) write(inputs.high, clamp.max);
    return inputs;
  }
  const inputs = { scale: neutral(1), shift: neutral(0) };
  if (set !== undefined) {
    write(inputs.scale, 0);
    write(inputs.shift, set);
  }
  if (add !== undefined) write(inputs.shift, add);
  if (scale !== undefined) write(inputs.scale, scale);
  return inputs;
}
