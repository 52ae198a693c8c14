import { requireWhole } from "../../numbers.ts";

/**
 * Which answers are valid, as automata over the places pointed to. States are values with the laws of `src/constraints`: a push
 * gives another state, or undefined where no valid answer goes on like this; `complete` says whether stopping here is valid.
 */
export interface RuleState {
  /** Undefined for what is no place, too. */
  push(place: number): RuleState | undefined;
  readonly complete: boolean;
}

/** Name of a rule that answers are held to. */
export type RuleName = keyof typeof rules;

const isPlace = (place: number, places: number): boolean => Number.isInteger(place) && place >= 0 && place < places;

/** Everything is valid, up to a length that no answer of the tasks reaches. */
const anything = (places: number): RuleState => {
  const state = (length: number): RuleState => ({
    push: (place) => (isPlace(place, places) && length < 6 * places ? state(length + 1) : undefined),
    complete: true,
  });
  return state(0);
};

const distinct = (places: number, complete: (count: number) => boolean): RuleState => {
  const state = (used: ReadonlySet<number>): RuleState => ({
    push: (place) => (isPlace(place, places) && !used.has(place) ? state(new Set(used).add(place)) : undefined),
    complete: complete(used.size),
  });
  return state(new Set());
};

/**
 * Triangles of three different places, none twice, at most as many as a triangulation can have; within a triangle indices ascend, as
 * the network is taught.
 */
const triples = (places: number): RuleState => {
  const most = Math.max(1, 2 * places - 5);
  const state = (done: ReadonlySet<string>, open: readonly number[]): RuleState => ({
    push(place) {
      if (done.size >= most || !isPlace(place, places) || (open.length > 0 && place <= open[open.length - 1]))
        return undefined;
      const begun = [...open, place];
      if (begun.length === 3) return done.has(begun.join()) ? undefined : state(new Set(done).add(begun.join()), []);
      // A beginning is allowed while a triangle with it is left.
      const above = places - 1 - place;
      const possible = begun.length === 2 ? above : (above * (above - 1)) / 2;
      let taken = 0;
      for (const key of done) if (key.startsWith(`${begun.join()},`)) taken++;
      return taken < possible ? state(done, begun) : undefined;
    },
    complete: open.length === 0 && done.size > 0,
  });
  return state(new Set(), []);
};

/** A rule for some number of places. Errors: `bad_option` for one that there cannot be. */
const rule =
  (start: (places: number) => RuleState) =>
  (places: number): RuleState => {
    requireWhole({ places }, 0);
    return start(places);
  };

/** The rules by their names: which place may come next in an answer. */
export const rules = {
  none: rule(anything),
  "no-repeat": rule((places) => distinct(places, () => true)),
  /** At least three places, none twice. */
  hull: rule((places) => distinct(places, (count) => count >= 3)),
  /** Every place once. */
  tour: rule((places) => distinct(places, (count) => count === places)),
  triples: rule(triples),
} as const;
