/**
 * What a published system is to the gallery, the tables and `ventris reproduce`: who wrote what, where it lives here, and what was
 * claimed, as data. A method's folder has one of these in `paper.ts`; this module imports nothing of ours but types.
 */
import type { Reproduction } from "./reproduction.ts";

export interface Paper {
  /** 1 to 24, the order of all listings. */
  readonly number: number;
  /** What `ventris reproduce` takes. */
  readonly name: string;
  /** The system's name for readers. */
  readonly system: string;
  readonly title: string;
  readonly authors: readonly string[];
  readonly year: number;
  /** As in "2410.11744". */
  readonly arxiv?: string;
  readonly venue?: string;
  /** For cards and lists; no full stop. */
  readonly line: string;
  /** What it does, in three sentences of ours. */
  readonly what: readonly [string, string, string];
  readonly lives: Home;
  readonly claims: readonly Claim[];
  /** Absent while the system is planned: then nothing of it can be run. */
  readonly reproduction?: () => Promise<Reproduction>;
  /** What "run" in the gallery opens; needs `lives.method`. */
  readonly showcase?: Showcase;
  /** What does not work yet, in a sentence or two: shown in FEATURES.md beside what was measured. */
  readonly missing?: string;
}

export interface Home {
  /** Below `src/`, as in "methods/speculative/dyspec". */
  readonly folder: string;
  /** Name in the registry of methods, where `decode` runs it. */
  readonly method?: string;
  /** A line to type. */
  readonly command?: string;
  /** What to import and call. */
  readonly function?: string;
}

export interface Showcase {
  readonly prompt: string;
  /** Whether the prompt is what the user says in the model's chat form. */
  readonly chat?: boolean;
  readonly model?: string;
  /** As `decode` takes them, `method` with its options aside. */
  readonly options?: Readonly<Record<string, unknown>>;
  readonly methodOptions?: Readonly<Record<string, unknown>>;
}

export interface Claim {
  /** In kebab case, unique within the paper. Measurements refer to it. */
  readonly id: string;
  /** One sentence. */
  readonly says: string;
  /** Where the paper has no number, what it states. Without `value` the paper (as far as we could read it) states no figure. */
  readonly paper: { readonly value?: number | string; readonly setting: string };
  /** How we measure it at our scale. */
  readonly ours: string;
  /** Written behind values: "×", "tokens a pass", "nats". */
  readonly unit?: string;
  readonly holds: Condition;
}

/** When a measured value confirms a claim; all that are given must be met. */
export interface Condition {
  readonly above?: number;
  readonly below?: number;
  readonly atLeast?: number;
  readonly atMost?: number;
  /** The whole interval must lie there, not the value alone. A measurement without an interval then never does. */
  readonly surely?: boolean;
}
