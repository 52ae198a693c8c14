/**
 * A loaded model: what it can do (its capabilities), a tokenizer, and whatever methods keep with it. Most models are transformers with a forest;
 * a filter of signals or a model behind a network is a model with other capabilities.
 */

import { ensure, requireFunction, shown } from "../errors.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { listParts, type Part, type PartCard, readPart, writePart } from "../models/parts.ts";
import { findPart, shippedWith } from "../models/shipping.ts";
import { type Site, sitesOf } from "../models/sites.ts";
import { suggestion } from "../names.ts";
import type { Sharing } from "../sharing/index.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { Forest } from "./forest.ts";
import type { Forward } from "./forward/index.ts";
import type { Learnable, ParameterValues } from "./learnable.ts";

/**
 * What a method may need of a model: `forest` (trees of tokens over a key-value arena), `forward` (whole sequences under any mask), `sites`
 * (named places to read and rewrite), `learning` (its parameters, and forests on others), `fingerprint` (parts are bound to it), or what a kind
 * of model brings under a name of its own (see `ability`).
 */
export type Capability = "forest" | "forward" | "sites" | "learning" | "fingerprint" | (string & {});

/** All that a model may have. */
export const capabilityNames: readonly string[] = [
  ...["forest", "forward", "sites", "learning", "fingerprint", "canvas", "vision"],
  ...["pointing", "filter", "encoder-decoder", "remote", "top-logprobs"],
];

/** What the capabilities that methods ask for mean, for people. */
export const capabilityWords: Readonly<Record<string, string>> = {
  forest: "a model that writes from left to right",
  canvas: "a model that fills texts in any order (a diffusion model)",
};

/** A loaded model as methods see it; what `open` gives is a `Model`. */
export interface DecodingModel {
  readonly capabilities: ReadonlySet<Capability>;
  /** What the model brings under a name of its own: a canvas, a filter. Errors: `unavailable` where it has it not. */
  ability<T>(name: Capability): T;
  /** Name or path it was opened by. */
  readonly name: string;
  /** Folder it was loaded from, where methods may keep tables beside the weights. */
  readonly folder: string;
  readonly config: ModelConfig;
  readonly family: Family;
  /** Its named places, in the order in which they are computed: what can be tapped and edited. See docs/engine.md. */
  sites(): readonly Site[];
  /** Absent for checkpoints without one: then prompts are token ids and stop strings are refused. */
  readonly tokenizer: Tokenizer | undefined;
  readonly forest: Forest;
  /** Whole sequences at once, under any mask: see `forward` of an open model. */
  readonly forward: Forward;
  readonly secondsToLoad: number;
  readonly parameterCount: number;
  /** Names checkpoint, precision, device and threads: what measurements of this model depend on. */
  readonly identity: string;
  /** Its parameters in float32 by the program's names, read anew: all, or those wanted. */
  parameterValues(wanted?: (name: string) => boolean): Promise<ParameterValues>;
  /** Its parameters in float32, and forests on other values of them: for methods that train while they serve. */
  learnable(): Promise<Learnable>;
  /** Names the checkpoint by its contents; computed when first asked for. Parts are bound to it. */
  fingerprint(): Promise<string>;
  /** Cards of the parts that lie beside the model. */
  parts(): Promise<{ card: PartCard; folder: string }[]>;
  /**
   * A part by its name or path, read once. Errors: `unavailable`, `bad_file`, and `bad_option` for one of another kind or trained on
   * another model.
   */
  part(reference: string, kind?: string): Promise<Part>;
  /** Writes a part of this model. */
  writePart(folder: string, part: Parameters<typeof writePart>[2]): Promise<void>;
  /**
   * Another model beside this one, opened once and closed with this one: a draft, small and fast; or a peer, whose numbers count, in this
   * one's precision. The folder of a LoRA adapter as a peer is this very model with that adapter.
   */
  companion(reference: string, role?: CompanionRole): Promise<DecodingModel>;
  /**
   * Something a method keeps for this model across requests (tables, measured curves, learners), made once for each key. Closed with
   * the model when it has a `close`; others, of which requests may ask for any number, are forgotten when they are many, the longest unused first.
   */
  state<T>(key: string, make: () => T | Promise<T>): Promise<T>;
  /** With other replicas, where it was opened with `share`: what methods learn while they serve goes through it. */
  readonly sharing: Sharing | undefined;
  /** Marks the model as in use until the returned function is called: closing waits for it. */
  use(): () => void;
  close(): Promise<void>;
}

/** What is left out, the model cannot do: asking for it is an error that names it. */
export interface ModelParts {
  name: string;
  folder: string;
  config?: ModelConfig;
  family?: Family;
  tokenizer: Tokenizer | undefined;
  forest?: Forest;
  forward?: Forward;
  /** Further capabilities by name. Closed with the model where they have a `close`. */
  abilities?: Readonly<Record<string, unknown>>;
  secondsToLoad: number;
  parameterCount: number;
  identity: string;
  parameterValues?: DecodingModel["parameterValues"];
  learnable?(): Promise<Learnable>;
  fingerprint?(): Promise<string>;
  /** Closed with the model. */
  sharing?: Sharing;
  openCompanion(reference: string, role: CompanionRole): Promise<DecodingModel>;
}

/** What another model beside this one is for: a small fast draft, or a peer whose numbers count. */
export type CompanionRole = "draft" | "peer";

/** The parts of a transformer, which can do all of this. */
export type TransformerParts = Omit<ModelParts, "openCompanion"> &
  Required<Pick<ModelParts, "config" | "family" | "forward" | "learnable" | "fingerprint">>;

/** Memos kept for a model, beyond those that are closed with it; and other models open beside one. */
const mostMemos = 256;
const mostCompanions = 8;

export function createModel({ openCompanion, ...others }: ModelParts): DecodingModel {
  const parts: Omit<ModelParts, "openCompanion"> = others;
  const companions = new Map<string, Promise<DecodingModel>>();
  const states = new Map<string, Promise<unknown>>();
  let users = 0;
  let closing: Promise<void> | undefined;
  let idle: () => void = () => {};

  const once = <T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> => {
    ensure(!closing, "aborted", `the model ${parts.name} was closed`);
    const existing = known.get(key);
    if (existing) return existing;
    const made = make();
    known.set(key, made);
    made.catch(() => known.delete(key)); // a failure may be mended: the next request tries again
    return made;
  };

  let known: readonly Site[] | undefined;
  const sites = (): readonly Site[] => {
    known ??= sitesOf(need("family", "sites"), need("config", "sites"));
    return known;
  };
  const fingerprint = (): Promise<string> =>
    once(states, "fingerprint", async () => need("fingerprint")()) as Promise<string>;
  const base = async () => ({ name: parts.name, fingerprint: await fingerprint(), sites: sites() });
  const { forest, forward, family, learnable, abilities = {} } = parts;
  const has = { forest, forward, sites: family, learning: learnable, fingerprint: parts.fingerprint };
  const capabilities = new Set([
    ...Object.entries(has).flatMap(([name, part]) => (part ? [name] : [])),
    ...Object.keys(abilities),
  ]);

  function need<Key extends keyof typeof parts>(key: Key, what: string = key): NonNullable<(typeof parts)[Key]> {
    const part = parts[key];
    ensure(part !== undefined, "unavailable", () => lacking(what));
    return part as NonNullable<(typeof parts)[Key]>;
  }
  const lacking = (what: string): string =>
    `the model ${parts.name} has no ${what}; what it has: ${[...capabilities].join(", ") || "nothing"}${shippedWith([what])}`;

  /** What makes and keeps itself for the model, at most so many of the kind that may be forgotten. */
  async function state<T>(key: string, make: () => T | Promise<T>): Promise<T> {
    const made = once(states, key, async () => make());
    states.delete(key);
    states.set(key, made); // the one asked for last comes last
    const value = await made;
    if (states.size > mostMemos) {
      for (const [name, old] of states) {
        if (states.size <= mostMemos) break;
        const kept = (await old.catch(() => undefined)) as { close?: unknown } | undefined;
        if (!kept?.close && name !== key) states.delete(name);
      }
    }
    return value as T;
  }

  const model: DecodingModel = {
    name: parts.name,
    folder: parts.folder,
    tokenizer: parts.tokenizer,
    secondsToLoad: parts.secondsToLoad,
    parameterCount: parts.parameterCount,
    identity: parts.identity,
    sharing: parts.sharing,
    capabilities,
    ability<T>(name: string): T {
      ensure(typeof name === "string", "bad_option", () => {
        return `ability takes the name of a capability, not ${shown(name)}`;
      });
      const found = Object.hasOwn(abilities, name)
        ? abilities[name]
        : Object.hasOwn(has, name)
          ? has[name as keyof typeof has]
          : undefined;
      ensure(found !== undefined, "unavailable", () => {
        const meant = suggestion(name, [...capabilities, ...capabilityNames]);
        return meant ? `the model ${parts.name} has no ${shown(name)}${meant}` : lacking(name);
      });
      return found as T;
    },
    get config() {
      return need("config", "configuration of a transformer");
    },
    get family() {
      return need("family", "sites");
    },
    get forest() {
      return need("forest");
    },
    get forward() {
      return need("forward");
    },
    parameterValues: async (wanted) => {
      if (wanted !== undefined) requireFunction(wanted, "parameterValues", "the first argument");
      return need("parameterValues", "parameters")(wanted);
    },
    learnable: async () => need("learnable", "learning")(),
    sites,
    fingerprint,
    parts: () => listParts(parts.folder),
    part: async (reference, kind) => readPart(await findPart(parts.folder, reference, kind), await base(), kind),
    writePart: async (folder, part) => writePart(folder, await base(), part),
    companion(reference, role = "draft") {
      const key = role === "draft" ? reference : `${role} ${reference}`;
      ensure(companions.has(key) || companions.size < mostCompanions, "bad_option", () => {
        return `${mostCompanions} other models are open beside ${parts.name} already: ${[...companions.keys()].join(", ")}`;
      });
      return once(companions, key, () => openCompanion(reference, role));
    },
    state,
    use() {
      ensure(!closing, "aborted", `the model ${parts.name} was closed`);
      users += 1;
      return () => {
        users -= 1;
        if (users === 0) idle();
      };
    },
    close() {
      closing ??= (async () => {
        if (users > 0) {
          await new Promise<void>((resolve) => {
            idle = resolve;
          });
        }
        for (const state of await Promise.allSettled(states.values())) {
          const value =
            state.status === "fulfilled" ? (state.value as { close?: () => unknown } | undefined) : undefined;
          await value?.close?.();
        }
        await parts.sharing?.close();
        for (const companion of await Promise.allSettled(companions.values())) {
          if (companion.status === "fulfilled") await companion.value.close();
        }
        for (const ability of Object.values(abilities))
          await (ability as { close?: () => unknown } | undefined)?.close?.();
        await forward?.release();
        await forest?.close();
      })();
      return closing;
    },
  };
  // What it lacks is an error when it is asked for, and not when the model is copied.
  for (const name of ["config", "family", "forest", "forward"] as const)
    if (parts[name] === undefined) Object.defineProperty(model, name, { enumerable: false });
  return model;
}
