/**
 * Shapers: what has a say in a request's distributions beside the options of the standard chain: contrast with a layer or a model, a
 * memory, a constraint. They work inside every method, drafts being verified against the shaped distribution.
 */
import { checked, type Kind } from "../../arguments.ts";
import { ensure, type Failing, leaveUnheard, shown, telling } from "../../errors.ts";
import { isObject } from "../../json.ts";
import { didYouMean } from "../../names.ts";
import { tellingReads } from "../../reads.ts";
import { isListOf } from "../../values.ts";
import type { ForestNode, Lease } from "../forest.ts";
import { requireRun } from "../hooks.ts";
import type { DecodingModel } from "../model.ts";
import type { Stream } from "../random.ts";
import { requireTaps } from "../sites/request.ts";
import type { AppliedEdit } from "../sites/rows.ts";
import type { Counters, TraceEvent } from "../trace.ts";
import type { StageDefinition } from "./stages.ts";

/** Maps a next-token distribution to another, inside every method. */
export interface Shaper {
  /** For messages. */
  readonly name: string;
  /** Sites and readings that it finds in `node.taps` of nodes with logits, and edits (readings, as a rule) that it brings. */
  readonly taps?: readonly string[];
  readonly edits?: readonly AppliedEdit[];
  /** Stages for the chain by their names, which run before the standard ones unless `order` places them: as `name.stage`, with the shaper's own name before the point. */
  readonly stages?: Readonly<Record<string, StageDefinition>>;
  /**
   * Shown nodes whose logits have just been computed, all those of a call at once and each once, before anyone asks for their
   * distributions: the place for a pass of another model. Parents come before children. Errors end the run.
   */
  prepare?(nodes: readonly ForestNode[]): Promise<void>;
  /**
   * The logits [vocabulary] to go on with at a node, given those that the shaper before left (the model's own at first). A new array, or
   * the same unchanged. Asked when a distribution is wanted, once for a node. `allowed` tells what may follow it, for a shaper that rules tokens
   * out and must leave some of these.
   */
  logits?(node: ForestNode, logits: Float32Array, allowed: () => Uint32Array | undefined): Float32Array;
  /** The tokens that may follow a node, 32 to a word; undefined: all. Several shapers allow what all of them allow. Asked once for a node. */
  allowed?(node: ForestNode): Uint32Array | undefined;
  /** Told of every token that became output, with the node that it followed: what the trace should know of a choice is said here. */
  chosen?(node: ForestNode, token: number): void;
  /** The longest text that it can follow, where that may be less than the model's own. */
  readonly contextLength?: number;
  /** Lets go of everything; calls under way end. May be called again. */
  close?(): void | Promise<void>;
}

/** What a shaper may know of its request. */
export interface ShaperHost {
  readonly model: DecodingModel;
  readonly prompt: readonly number[];
  readonly stream: Stream;
  readonly signal: AbortSignal | undefined;
  readonly counters: Counters;
  emit(event: TraceEvent): void;
}

/** Makes a shaper for a request. */
export type MakeShaper = (host: ShaperHost) => Shaper | Promise<Shaper>;

const stage: Kind = {
  fields: {
    changes: { values: ["scores", "support"] },
    ...{ keepsBest: "boolean", readsHistory: "boolean", create: "function" },
  },
};
const requireStages = checked("shaper", (_?: unknown): void => {}, [["stages?", { record: stage }]], {});

const hooks = ["prepare", "logits", "allowed", "chosen", "close"] as const;
const says = ["taps", "edits", "stages", "contextLength"] as const;
const fields: readonly string[] = ["name", ...says, ...hooks];

/**
 * A request's shaper, as its maker gives it, whose hooks fail with errors that name them.
 * Errors: `bad_option` where that is no shaper; `internal` for what the maker throws.
 */
export async function makeShaper(make: MakeShaper, host: ShaperHost): Promise<Shaper> {
  const maker = make.name ? `the shaper function ${make.name}` : "a shaper function";
  const failing = { code: "internal", signal: host.signal } as const;
  // Awaited in it, as what is awaited is looked at.
  const made: unknown = await telling(maker, async () => make(host), failing)();
  return telling(maker, tellingReads(maker, ["its shaper"], shaperIn), failing)(made, maker, failing);
}

/** What was made, each of its fields read once. Errors: `bad_option`. */
function shaperIn(made: unknown, maker: string, failing: Failing): Shaper {
  requireShaper(made, maker);
  const own = hooks.filter((hook) => made[hook] !== undefined);
  return Object.fromEntries<unknown>([
    ["name", made.name],
    ...says.filter((field) => made[field] !== undefined).map((field) => [field, made[field]] as const),
    ...own.map((hook) => {
      const call = (made[hook] as (...given: unknown[]) => unknown).bind(made);
      return [hook, telling(`the shaper ${made.name}: ${hook}`, call, failing)] as const;
    }),
  ]) as unknown as Shaper;
}

/** Now, so that what reading one of them throws is told of the shaper: later others read them. */
const readFields = (value: object): unknown[] => Object.values(value);

const isApplied = (item: unknown): item is AppliedEdit => isObject(item) && isObject(item.edit);

function requireShaper(made: unknown, maker: string): asserts made is Shaper {
  ensure(
    typeof made === "object" && made !== null && !Array.isArray(made) && typeof (made as Shaper).name === "string",
    "bad_option",
    () => `${maker} returned ${shown(made)}: it returns an object { name, logits(node, logits) … }`,
  );
  const { name } = made as Shaper;
  for (const hook of hooks) {
    const given: unknown = (made as Shaper)[hook];
    ensure(
      given === undefined || typeof given === "function",
      "bad_option",
      () => `the shaper ${name}: ${hook} is a function, not ${shown(given)}`,
    );
  }
  requireStages((made as Shaper).stages);
  for (const stage of Object.values((made as Shaper).stages ?? {})) readFields(stage);
  const { taps, edits, contextLength } = made as Shaper;
  if (taps !== undefined) requireTaps(taps, `the shaper ${name}`);
  ensure(edits === undefined || isListOf(edits, isApplied), "bad_option", () => {
    return `the shaper ${name}: edits must be a list of modules, each as { edit: { name, site, apply } }, not ${shown(edits)}`;
  });
  for (const applied of edits ?? []) for (const field of readFields(applied)) if (isObject(field)) readFields(field);
  const isLength = contextLength === undefined || (typeof contextLength === "number" && !Number.isNaN(contextLength));
  ensure(
    isLength,
    "bad_option",
    () => `the shaper ${name}: contextLength must be a number, not ${shown(contextLength)}`,
  );
  // An instance of a class may have fields of its own; in a plain object nobody would read them.
  const plain = Object.getPrototypeOf(Object.getPrototypeOf(made) ?? {}) === null;
  const extra = plain ? Object.keys(made).find((field) => !fields.includes(field)) : undefined;
  ensure(extra === undefined, "bad_option", () => {
    return `the shaper ${name} has a field ${shown(extra)} that shapers have not${didYouMean(extra!, fields)} Fields: ${fields.join(", ")}`;
  });
  // A plain object with a name alone is meant so: a memory of weight 0. An instance without hooks has misspelt them.
  const idle = !plain && [...says, ...hooks].every((field) => (made as Shaper)[field] === undefined);
  ensure(!idle, "bad_option", `the shaper ${name} does nothing: it has none of ${fields.slice(1).join(", ")}`);
}

/** All shapers of a request as one: what they leave of a node's logits, and what they allow there. */
export interface Shaped {
  logits(node: ForestNode): Float32Array | undefined;
  allowed(node: ForestNode): Uint32Array | undefined;
  /** Has the shapers see nodes before anyone asks what may follow them. */
  prepare(nodes: readonly ForestNode[]): Promise<void>;
  /** A lease whose nodes are prepared before anyone gets them. */
  watch(lease: Lease): Lease;
}

export function joinShapers(shapers: readonly Shaper[]): Shaped {
  const preparing = shapers.filter((shaper) => shaper.prepare);
  const logits = once((node: ForestNode) =>
    shapers.reduce(
      (left, shaper) => (left && shaper.logits ? logitsOf(shaper, node, left, () => allowed(node)) : left),
      node.logits,
    ),
  );
  const allowed = once((node: ForestNode) =>
    shapers.reduce<Uint32Array | undefined>((left, shaper) => intersect(left, allowedBy(shaper, node)), undefined),
  );
  const prepared = new WeakSet<ForestNode>();
  async function prepare(nodes: readonly ForestNode[]): Promise<void> {
    const fresh = [...new Set(nodes)].filter((node) => node.logits && !prepared.has(node));
    if (preparing.length === 0 || fresh.length === 0) return;
    fresh.sort((a, b) => a.depth - b.depth);
    for (const shaper of preparing) requireRun(await shaper.prepare!(fresh), `the shaper ${shaper.name}: prepare`);
    for (const node of fresh) prepared.add(node);
  }
  return {
    logits: shapers.some((shaper) => shaper.logits) ? logits : (node) => node.logits,
    allowed: shapers.some((shaper) => shaper.allowed) ? allowed : () => undefined,
    prepare,
    watch: (lease) => (preparing.length === 0 ? lease : watched(lease, prepare)),
  };
}

function logitsOf(
  shaper: Shaper,
  node: ForestNode,
  left: Float32Array,
  allowed: () => Uint32Array | undefined,
): Float32Array {
  const made: unknown = shaper.logits!(node, left, allowed);
  leaveUnheard(made);
  ensure(
    made instanceof Float32Array && made.length === left.length,
    "bad_option",
    () => `the shaper ${shaper.name}: logits returned ${shown(made)}, not a Float32Array of ${left.length} values`,
  );
  let sum = 0; // one look at all of them: NaN stays NaN, and so does an infinity beside one of the other sign
  for (let token = 0; token < made.length; token++) sum += made[token];
  ensure(!Number.isNaN(sum) && sum !== Infinity, "runtime_failed", () => {
    const token = made.findIndex((value) => Number.isNaN(value) || value === Infinity);
    return `the shaper ${shaper.name}: logits returned ${made[token]} for token ${token}`;
  });
  return made;
}

function allowedBy(shaper: Shaper, node: ForestNode): Uint32Array | undefined {
  const made: unknown = shaper.allowed?.(node);
  leaveUnheard(made);
  const words = node.logits && Math.ceil(node.logits.length / 32);
  ensure(
    made === undefined || (made instanceof Uint32Array && (words === undefined || made.length === words)),
    "bad_option",
    () =>
      `the shaper ${shaper.name}: allowed returned ${shown(made)}, not a Uint32Array of ${words} words or undefined`,
  );
  return made;
}

/** What all of them rewrite and read. Two may read the same: a module that both bring with the same key acts once. */
export function editsOfShapers(shapers: readonly Shaper[]): AppliedEdit[] {
  const all = shapers.flatMap((shaper) => shaper.edits ?? []);
  const first = ({ edit, key }: AppliedEdit): number =>
    all.findIndex((other) => other.edit === edit && other.key === key);
  return all.filter((one, i) => one.key === undefined || first(one) === i);
}

/** A function of nodes that is asked once for each; what it gave goes with the node. */
function once<T>(make: (node: ForestNode) => T): (node: ForestNode) => T {
  const known = new WeakMap<ForestNode, { value: T }>();
  return (node) => {
    let found = known.get(node);
    if (!found) {
      found = { value: make(node) };
      known.set(node, found);
    }
    return found.value;
  };
}

function watched(lease: Lease, prepare: (nodes: readonly ForestNode[]) => Promise<void>): Lease {
  return {
    async extend(extensions) {
      const nodes = await lease.extend(extensions);
      await prepare(nodes.filter((_, i) => extensions[i].logits !== false && !extensions[i].ahead));
      return nodes;
    },
    async prefill(tokens, visit) {
      const result = await lease.prefill(tokens, visit);
      await prepare([result.node]);
      return result;
    },
    use: lease.use,
    release: lease.release,
    close: lease.close,
    get passes() {
      return lease.passes;
    },
    get rows() {
      return lease.rows;
    },
  };
}

/** Tokens of both sets; undefined stands for all tokens. */
export function intersect(a: Uint32Array | undefined, b: Uint32Array | undefined): Uint32Array | undefined {
  if (!a || !b) return a ?? b;
  return a.map((word, i) => word & b[i]);
}
