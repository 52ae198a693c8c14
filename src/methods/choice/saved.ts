/** What policies are saved as, and whether one can go on with it: all of a state is looked at here, before any of it is taken over. */
import { ensure, plural, shown } from "../../errors.ts";
import { isObject } from "../../json.ts";
import { isInstance } from "../../values.ts";

/** What a policy has done so far. */
export interface PolicyCounters {
  rounds: number;
  learnt: number;
  /** Losses that lay outside [0, 1]. */
  clipped: number;
  /** Rounds whose feedback never came while `pending` was full, and those that were given up. */
  forgotten: number;
}

/**
 * JSON apart from the arrays, which are copies: `structuredClone`, messages to workers, IndexedDB and `v8.serialize` of Node keep a state as it
 * is, and `JSON.stringify` does not, as it makes objects of typed arrays. What `auto` has learnt has files of its own (`learntIn`).
 */
export interface PolicyState {
  readonly policy: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly counters: PolicyCounters;
  readonly arrays: Readonly<Record<string, Float64Array<ArrayBuffer>>>;
  readonly pending: readonly (readonly [round: number, context: Float64Array<ArrayBuffer>])[];
  /** What else the policy needs to go on. */
  readonly more?: Readonly<Record<string, number>>;
}

/** What a state must fit. */
export interface Savable {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly width: number;
  /** Arrays that grow with what was learnt. */
  readonly growing?: readonly Growing[];
  save(): Pick<PolicyState, "arrays" | "more">;
}

/** Arrays of as many items each. */
export interface Growing {
  /** Numbers of an item, by the array's name. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Items at most. */
  readonly most: number;
}

/** Squares of what is within it, and sums of them over any number of rounds, are told apart from each other in float64. */
const largestFeature = 1e6;

/** What keeps a context from being one, in words; undefined where nothing does. */
export function contextFault(context: unknown, width: number, of: () => string): string | undefined {
  if (typeof context !== "object" || context === null)
    return `${of()} is ${shown(context)}, not ${plural(width, "number")}`;
  const features = context as ArrayLike<unknown>;
  if (features.length !== width) return `${of()} has ${shown(features.length)} features, not ${width}`;
  for (let i = 0; i < width; i++) {
    const feature = features[i];
    if (!Number.isFinite(feature)) return `feature ${i} of ${of()} is ${shown(feature)}`;
    if (Math.abs(feature as number) > largestFeature)
      return `feature ${i} of ${of()} is ${feature}, and must lie within ±${largestFeature}: scale contexts, best to length 1`;
  }
  return undefined;
}

/** Errors: `bad_file` for a state that is damaged, or of another policy, width or option. */
export function requireSound(rule: Savable, saved: PolicyState, mostPending: number): void {
  ensure(isObject(saved), "bad_file", () => `${rule.name}: the state is ${shown(saved)}, not what save() gives`);
  const { policy, options } = saved;
  ensure(policy === rule.name, "bad_file", () => `this state is of the policy ${policy}, not ${rule.name}`);
  for (const part of ["options", "counters", "arrays"] as const)
    ensure(isObject(saved[part]), "bad_file", () => `${rule.name}: the state has no ${part}`);
  for (const key of new Set([...Object.keys(rule.options), ...Object.keys(options)])) {
    const [wanted, given] = [rule.options[key], options[key]];
    ensure(
      written(wanted) === written(given),
      "bad_file",
      () => `${rule.name}: the state was saved with ${key} ${shown(given)}, not ${shown(wanted)}`,
    );
  }
  requireArrays(rule, saved.arrays);
  requireCounters(rule.name, saved.counters);
  requirePending(rule, saved, mostPending);
}

/** As a file has it, where infinities are null; of values that none can hold, what they are. */
const written = (value: unknown): string =>
  typeof value === "number" && !Number.isFinite(value) ? "null" : shown(value);

function requireArrays(rule: Savable, arrays: PolicyState["arrays"]): void {
  const { name, growing = [] } = rule;
  const grows = new Set(growing.flatMap(({ sizes }) => Object.keys(sizes)));
  for (const [key, { length }] of Object.entries(rule.save().arrays)) {
    const given: unknown = arrays[key];
    ensure(given, "bad_file", `${name}: the state has no ${key}`);
    ensure(
      isInstance<Float64Array>("Float64Array", given),
      "bad_file",
      `${name}: ${key} is no Float64Array, of which JSON makes something else`,
    );
    ensure(
      grows.has(key) || given.length === length,
      "bad_file",
      () => `${name}: ${key} has ${plural(given.length, "number")}, not ${length}`,
    );
    ensure(given.every(Number.isFinite), "bad_file", `${name}: ${key} holds a number that is not finite`);
  }
  for (const { sizes, most } of growing) {
    const counts = Object.entries(sizes).map(([key, size]) => {
      const { length } = arrays[key];
      ensure(
        length % size === 0,
        "bad_file",
        () => `${name}: ${key} has ${plural(length, "number")}, no multiple of ${size}: it is cut off`,
      );
      return [key, length / size] as const;
    });
    for (const [key, count] of counts) {
      const [first, expected] = counts[0];
      ensure(
        count === expected,
        "bad_file",
        () => `${name}: ${key} holds ${plural(count, "round")} and ${first} ${expected}`,
      );
      ensure(count <= most, "bad_file", () => `${name}: ${key} holds ${plural(count, "round")}, at most ${most}`);
    }
  }
}

function requireCounters(name: string, counters: PolicyCounters): void {
  for (const key of ["rounds", "learnt", "clipped", "forgotten"] as const)
    ensure(Number.isSafeInteger(counters[key]) && counters[key] >= 0, "bad_file", () => {
      return `${name}: the state counts ${shown(counters[key])} ${key}, which is no count`;
    });
}

function requirePending({ name, width }: Savable, { pending, counters }: PolicyState, most: number): void {
  ensure(
    Array.isArray(pending) && pending.length <= most,
    "bad_file",
    () => `${name}: pending of the state must list at most ${most} rounds`,
  );
  let last = -1;
  for (const one of pending) {
    const [round, context]: readonly unknown[] = Array.isArray(one) ? one : [];
    // In the order of their choice: the oldest are forgotten first.
    const follows = Number.isSafeInteger(round) && (round as number) > last && (round as number) < counters.rounds;
    ensure(
      follows,
      "bad_file",
      () => `${name}: the state has ${shown(round)} among the rounds that wait for a loss, of ${counters.rounds}`,
    );
    last = round as number;
    const fault = contextFault(context, width, () => `the waiting round ${last}`);
    ensure(fault === undefined, "bad_file", `${name}: ${fault}`);
  }
}
