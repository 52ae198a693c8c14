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
  /** What "run" in the gallery opens. */
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

export type Showcase = PromptShowcase | LookShowcase | LiveShowcase;

/** A prompt in the playground, for `lives.method`, or for plain sampling where the system is a shaper. */
export interface PromptShowcase {
  readonly prompt: string;
  /** Whether the prompt is what the user says in the model's chat form. */
  readonly chat?: boolean;
  readonly model?: string;
  /** As `decode` takes them, `method` and `shapers` aside. */
  readonly options?: Readonly<Record<string, unknown>>;
  readonly methodOptions?: Readonly<Record<string, unknown>>;
  readonly shapers?: readonly ({ readonly name: string } & Readonly<Record<string, unknown>>)[];
  /** A picture before the prompt, which is a question about it: this scene of the test split, drawn with so many pixels a side. */
  readonly scene?: { readonly seed: number; readonly number: number; readonly size: number };
}

/** A look inside a model, in the studio's room for that. */
export interface LookShowcase {
  readonly look: "neurons" | "layers";
  readonly model?: string;
  /** What is asked for there, as the room's address has it. */
  readonly asking: Readonly<Record<string, string>>;
}

/** For systems that decode no text: the reproduction's own short run, computed anew while one waits. */
export interface LiveShowcase {
  /** What is computed, as a sentence that says for how long. */
  readonly live: string;
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
  /** Significant digits of its figures, such as ratios that differ in the fourth. Default 3. */
  readonly digits?: number;
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
