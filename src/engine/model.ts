/** A loaded model: weights in compiled programs, a tokenizer, a forest, and whatever methods keep with it. */
import { ensure } from "../errors.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { findPart, listParts, type Part, type PartCard, readPart, writePart } from "../models/parts.ts";
import { type Site, sitesOf } from "../models/sites.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { Forest } from "./forest.ts";
import type { Forward } from "./forward/index.ts";
import type { Learnable } from "./learnable.ts";

export interface Model {
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
  /** Another model beside this one (a draft), opened once, with the same threads, closed with this one. */
  companion(reference: string): Promise<Model>;
  /**
   * Something a method keeps for this model across requests (tables, measured curves, learners), made once for each key. Closed with
   * the model when it has a `close`.
   */
  state<T>(key: string, make: () => T | Promise<T>): Promise<T>;
  /** Marks the model as in use until the returned function is called: closing waits for it. */
  use(): () => void;
  close(): Promise<void>;
}

export interface ModelParts {
  name: string;
  folder: string;
  config: ModelConfig;
  family: Family;
  tokenizer: Tokenizer | undefined;
  forest: Forest;
  forward: Forward;
  secondsToLoad: number;
  parameterCount: number;
  identity: string;
  learnable(): Promise<Learnable>;
  fingerprint(): Promise<string>;
  openCompanion(reference: string): Promise<Model>;
}

export function createModel({ openCompanion, ...parts }: ModelParts): Model {
  const companions = new Map<string, Promise<Model>>();
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
    known ??= sitesOf(parts.family, parts.config);
    return known;
  };
  const fingerprint = (): Promise<string> => once(states, "fingerprint", () => parts.fingerprint()) as Promise<string>;
  const base = async () => ({ name: parts.name, fingerprint: await fingerprint(), sites: sites() });
  return {
    ...parts,
    sites,
    fingerprint,
    parts: () => listParts(parts.folder),
    part: async (reference, kind) => readPart(await findPart(parts.folder, reference), await base(), kind),
    writePart: async (folder, part) => writePart(folder, await base(), part),
    companion: (reference) => once(companions, reference, () => openCompanion(reference)),
    state: <T>(key: string, make: () => T | Promise<T>) => once(states, key, async () => make()) as Promise<T>,
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
        for (const companion of await Promise.allSettled(companions.values())) {
          if (companion.status === "fulfilled") await companion.value.close();
        }
        await parts.forward.release();
        await parts.forest.close();
      })();
      return closing;
    },
  };
}
