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

/** A rule of one's own: the state at the start of an answer about so many places. */
export type OwnRule = (places: number) => RuleState;

const isPlace = (place: number, places: number): boolean => Number.isInteger(place) && place >= 0 && place < places;

/** Everything is valid, up to a length that no answer of the tasks reaches. */
const anything = (places: number): RuleState => {
  const state = (length: number): RuleState => ({
    push: (place) => (isPlace(place, places) && length < 6 * places ? state(length + 1) : undefined),
    complete: true,
  });
  return state(0);
};

/** Made when it is first asked for: a search asks of every place whether it may come next, and goes on with few of the states. */
function lazily<T>(make: () => T): () => T {
  let todo: (() => T) | undefined = make;
  let made: T | undefined;
  return () => {
    if (todo) made = todo();
    todo = undefined; // it holds the state before
    return made as T;
  };
}

const distinct = (places: number, complete: (count: number) => boolean): RuleState => {
  const state = (count: number, used: () => Uint8Array): RuleState => ({
    push(place) {
      if (!isPlace(place, places) || used()[place] === 1) return undefined;
      return state(
        count + 1,
        lazily(() =>
          used()
            .slice()
            .fill(1, place, place + 1),
        ),
      );
    },
    complete: complete(count),
  });
  return state(
    0,
    lazily(() => new Uint8Array(places)),
  );
};

/** How many triangles there are that begin with these indices, one to three of them with commas between. */
type Counts = ReadonlyMap<string, number>;

/**
 * Triangles of three different places, none twice, at most as many as a triangulation can have; within a triangle indices ascend, as
 * the network is taught.
 */
const triples = (places: number): RuleState => {
  const most = Math.max(1, 2 * places - 5);
  const state = (done: number, open: readonly number[], counts: () => Counts): RuleState => ({
    push(place) {
      if (done >= most || !isPlace(place, places) || (open.length > 0 && place <= open[open.length - 1]))
        return undefined;
      const begun = [...open, place];
      const taken = counts().get(begun.join()) ?? 0;
      if (begun.length === 3) {
        const more = lazily(() => withOne(counts(), begun));
        return taken > 0 ? undefined : state(done + 1, [], more);
      }
      // A beginning is allowed while a triangle with it is left.
      const above = places - 1 - place;
      const possible = begun.length === 2 ? above : (above * (above - 1)) / 2;
      return taken < possible ? state(done, begun, counts) : undefined;
    },
    complete: open.length === 0 && done > 0,
  });
  return state(0, [], () => new Map());
};

function withOne(counts: Counts, triangle: readonly number[]): Counts {
  const more = new Map(counts);
  for (let length = 1; length <= triangle.length; length++) {
    const key = triangle.slice(0, length).join();
    more.set(key, (more.get(key) ?? 0) + 1);
  }
  return more;
}

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
