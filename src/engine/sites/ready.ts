/**
 * Ready edits: set, add, scale, clamp or project a site, at some positions or all, with values that a request gives. They are three modules
 * for each site, whose numbers are inputs of the program: x ← scale ⊙ x + shift, x ← min(max(x, low), high), and for projections
 * x ← x + (x · against) along.
 */
import { z } from "zod";
import { ensure, shown } from "../../errors.ts";
import { withNames } from "../../issues.ts";
import { isObject } from "../../json.ts";
import type { Edit } from "../../models/edits.ts";
import { type Site, siteNamed } from "../../models/sites.ts";
import { suggestion } from "../../names.ts";
import { add, maximum, minimum, multiply, reduceSum, type Tensor } from "../../tensor/index.ts";
import type { AppliedEdit } from "./rows.ts";

const isFloats = (value: unknown): value is Floats => value instanceof Float32Array || value instanceof Float64Array;

type Floats = Float32Array | Float64Array;

/** Numbers of an edit lie between this and its opposite. */
export const largestNumber = 1e15;

const number = z.number().min(-largestNumber).max(largestNumber);

/** A schema that is chosen by the value, so that what is wrong is said of that one alone. */
const chosen = <Output, Input>(choose: (value: unknown) => z.ZodType<Output>): z.ZodType<Output, Input> =>
  z.unknown().transform((value, context) => {
    const schema = choose(value);
    const parsed = schema.safeParse(value, { reportInput: true });
    if (parsed.success) return parsed.data;
    context.issues.push(...(withNames(parsed.error.issues, schema) as typeof context.issues));
    return z.NEVER;
  }) as unknown as z.ZodType<Output, Input>;

/** One number for each entry; what a tap read is taken as it is. */
const vector = z.preprocess(
  (value) => (isFloats(value) ? Array.from(value) : value),
  z.array(number).min(1),
) as z.ZodType<number[], readonly number[] | Floats>;

type Numbers<Vector> = number | Vector | readonly Vector[];

/** One number for all entries, one for each, or such a list for each position of `at`. */
const numbers = chosen<Numbers<number[]>, Numbers<readonly number[] | Floats>>((value) => {
  if (isFloats(value)) return vector;
  if (!Array.isArray(value)) return numberOrList;
  return Array.isArray(value[0]) || isFloats(value[0]) ? z.array(vector) : vector;
});
const numberOrList = z.union([number, z.array(number)]);

const indices = z.array(z.int().min(0)).min(1) as unknown as z.ZodType<number[], readonly number[]>;

export const readyEdit = z
  .strictObject({
    site: z.string().max(200).describe("the place: a name of `sites`"),
    at: z
      .union([z.literal("all"), indices])
      .default("all")
      .describe("positions of the text whose rows are edited"),
    entries: indices.optional().describe("which numbers of a row; all unless given"),
    heads: indices.optional().describe("which heads, of a site that has them"),
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
        direction: vector,
        amount: number.default(1).describe("1 removes the component along the direction, -1 doubles it"),
      })
      .optional(),
  })
  .refine((edit) => kinds.filter((kind) => edit[kind] !== undefined).length === 1, {
    message: "give one of set, add, scale, clamp, project",
  })
  .refine(({ entries, heads }) => !entries || !heads, { message: "give entries or heads, not both" });
const kinds = ["set", "add", "scale", "clamp", "project"] as const;

/** An edit of a request: where it acts, and one of `set`, `add`, `scale`, `clamp` and `project`. */
export interface ReadyEdit {
  /** The place: a name of the model's `sites`, such as "layers.2.residual". */
  site: string;
  /** Positions of the text whose rows are edited, counted from 0, or "all". Default "all". */
  at?: "all" | readonly number[];
  /** Which numbers of a row, counted from 0; not with `heads`. Default: all. */
  entries?: readonly number[];
  /** Which heads, counted from 0, of a site that has them; not with `entries`. Default: all. */
  heads?: readonly number[];
  /** Values that stand there instead: a number for all entries, one for each, or such a list for each position of `at`. Default: nothing is set. */
  set?: Numbers<readonly number[] | Floats>;
  /** Values that are added, of the forms of `set`. Default: nothing is added. */
  add?: Numbers<readonly number[] | Floats>;
  /** Factors on what is there, of the forms of `set`; 0 switches it off. Default: nothing is scaled. */
  scale?: Numbers<readonly number[] | Floats>;
  /** Bounds of what is there: `min`, `max` or both. Default: none. */
  clamp?: {
    /** Smaller values become this one. Default: no bound. */
    min?: number;
    /** Larger values become this one. Default: no bound. */
    max?: number;
  };
  /** Takes away, or strengthens, what lies along a direction. Default: nothing is projected. */
  project?: {
    /** As many numbers as a row has; its length counts for nothing. */
    direction: readonly number[] | Floats;
    /** How much is taken away: 1 removes the component along the direction, -1 doubles it. Default 1. */
    amount?: number;
  };
}
type Settings = z.output<typeof readyEdit>;

const moduleKeys = ["edit", "at", "inputs", "key"];

const appliedEdit = z.custom<AppliedEdit>().superRefine((value, context) => {
  const { edit, at, inputs, key, ...others } = value;
  const [other] = Object.keys(others);
  const wrong =
    typeof edit?.apply !== "function"
      ? "a module is written { edit: { name, site, apply } }"
      : other !== undefined
        ? `there is no ${shown(other)} beside a module${suggestion(other, moduleKeys)} (known: ${moduleKeys.join(", ")})`
        : at !== undefined && typeof at !== "function"
          ? "at of a module is a function of the position, such as (position) => position === 3"
          : inputs !== undefined && typeof inputs !== "function"
            ? "inputs of a module is a function of the row, such as () => ({ strength: [2] })"
            : key !== undefined && typeof key !== "string" && "key of a module is a text";
  if (wrong) context.addIssue({ code: "custom", message: wrong });
});

const bareEdit = z.custom<Edit>().transform((edit): AppliedEdit => ({ edit }));

/** An edit of a request: a ready one, or a module, with what it needs at run time where it needs something. */
export const requestEdit = chosen<Settings | AppliedEdit, ReadyEdit | AppliedEdit | Edit>((value) => {
  if (!isObject(value)) return readyEdit;
  return "edit" in value ? appliedEdit : "apply" in value && typeof value.apply === "function" ? bareEdit : readyEdit;
}).meta({ examples: [{ site: "layers.2.residual", scale: 0.5 } as unknown as Settings] });

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
  const sets: SetEdit[] = [];
  return edits.map((edit) => {
    if ("edit" in edit) return edit;
    const site = siteNamed(sites, edit.site);
    const slot = slots.get(site.name) ?? 0;
    slots.set(site.name, slot + 1);
    ensure(slot < mostAtSite, "bad_option", `edits: more than ${mostAtSite} at ${site.name}; join some of them`);
    const positions = edit.at === "all" ? [] : edit.at;
    requireOnce(positions, contextLength, (position, twice) => {
      return `position ${position} at ${site.name} is ${twice ? "given twice" : `outside the context of ${contextLength}`}`;
    });
    // One for all positions, unless each has values of its own: they are as many as the context is long.
    const shared = edit.at === "all" || !hasLists(edit) ? inputsOf(edit, site) : undefined;
    const inputs = new Map(
      positions.map((position, i) => [position, shared ?? inputsOf(edit, site, { i, of: positions.length })]),
    );
    const valuesAt = (position: number) => shared ?? inputs.get(position)!;
    if (edit.set !== undefined) {
      const now = { site, at: edit.at, entries: entriesOf(edit, site), shiftAt: (p: number) => valuesAt(p).shift };
      for (const before of sets) requireAgreement(before, now);
      sets.push(now);
    }
    return {
      edit: moduleAt(site, slot, edit),
      ...(edit.at !== "all" && { at: (position: number) => inputs.has(position) }),
      inputs: ({ position }) => valuesAt(position),
      key: JSON.stringify(edit),
    };
  });
}

/** What is set to which values, and where. */
interface SetEdit {
  readonly site: Site;
  readonly at: "all" | readonly number[];
  readonly entries: readonly number[];
  shiftAt(position: number): Float32Array;
}

/**
 * Edits follow one another, so that of two values the later one counts. A narrower one after a wider is an exception from it, and meant. Errors:
 * `bad_option` for any other number that is set to two values.
 */
function requireAgreement(before: SetEdit, now: SetEdit): void {
  if (before.site.name !== now.site.name) return;
  const had = new Set(before.entries);
  const entries = now.entries.filter((entry) => had.has(entry));
  const at = now.at === "all" ? before.at : now.at.filter((p) => before.at === "all" || before.at.includes(p));
  const inside =
    entries.length === now.entries.length && (now.at === "all" ? at === "all" : at.length === now.at.length);
  const narrower =
    entries.length < before.entries.length || (before.at === "all" ? at !== "all" : at.length < before.at.length);
  if (inside && narrower) return;
  for (const position of at === "all" ? [0] : at) {
    const [first, second] = [before, now].map(({ shiftAt }) => shiftAt(position));
    const entry = entries.find((one) => first[one] !== second[one]);
    ensure(entry === undefined, "bad_option", () => {
      const { name } = now.site;
      const layer = /^layers\.(\d+)\.mlp\.(up|neurons)$/.exec(name)?.[1];
      const which = `entry ${entry} of ${name}${layer === undefined ? "" : ` (neuron ${layer}.${entry})`}`;
      return `edits: ${which} is set to ${first[entry!]} and to ${second[entry!]}${at === "all" ? "" : ` at position ${position}`}: give it one value`;
    });
  }
}

/** Errors: `bad_option` for a number that is not below the limit, or is there twice. */
function requireOnce(
  numbers: readonly number[],
  limit: number,
  what: (number: number, twice: boolean) => string,
): void {
  const beyond = numbers.find((number) => number >= limit);
  ensure(beyond === undefined, "bad_option", () => `edits: ${what(beyond!, false)}`);
  const seen = new Set<number>();
  for (const number of numbers) {
    ensure(!seen.has(number), "bad_option", () => `edits: ${what(number, true)}`);
    seen.add(number);
  }
}

/** Whether an edit has a list of values for each position. */
const hasLists = ({ set, add, scale }: Settings): boolean =>
  [set, add, scale].some((given) => Array.isArray(given) && typeof given[0] !== "number");

/** The entries of a row that an edit is about. */
function entriesOf({ entries, heads }: Settings, { name, width, heads: count }: Site): readonly number[] {
  const all = Array.from({ length: width }, (_, i) => i);
  if (heads) {
    ensure(
      count !== undefined,
      "bad_option",
      () => `edits: ${name} has no heads; attention's queries, keys, values and heads have`,
    );
    requireOnce(heads, count, (head, twice) => {
      return twice
        ? `head ${head} of ${name} is given twice`
        : `${name} has ${count} heads, so that there is no head ${head}`;
    });
    const size = width / count;
    return heads.flatMap((head) => all.slice(head * size, (head + 1) * size));
  }
  requireOnce(entries ?? [], width, (entry, twice) => {
    return twice
      ? `entry ${entry} of ${name} is given twice`
      : `${name} has ${width} entries, so that there is no entry ${entry}`;
  });
  return entries ?? all;
}

/** What an edit's module gets in a row: at one of the positions, where it says which. */
function inputsOf(edit: Settings, site: Site, place?: { i: number; of: number }): Record<string, Float32Array> {
  const { set, add, scale, clamp, project } = edit;
  const { name, width } = site;
  const chosen = entriesOf(edit, site);
  const neutral = (value: number): Float32Array => new Float32Array(width).fill(value);
  const write = (to: Float32Array, given: Numbers<number[]>): void => {
    const values = here(given);
    const count = typeof values === "number" ? chosen.length : values.length;
    ensure(count === chosen.length, "bad_option", () => {
      return `edits: ${count} values for ${chosen.length} entries of ${name} (one number stands for all)`;
    });
    for (const [i, entry] of chosen.entries()) to[entry] = typeof values === "number" ? values : values[i];
  };
  function here(given: Numbers<number[]>): number | readonly number[] {
    if (typeof given === "number" || typeof given[0] === "number") return given as number | number[];
    const count = place?.of ?? 0;
    ensure(given.length === count, "bad_option", () => {
      const positions = place ? `${count} positions` : "all positions; say at which";
      return `edits: ${given.length} lists of values for ${positions} at ${name}`;
    });
    return given[place!.i] as number[];
  }
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
