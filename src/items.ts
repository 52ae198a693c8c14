/** What callers give to be iterated, such as the texts that something is made of: read once, and each item looked at before it is used. */
import { ensure, requireAnswer, shown, telling } from "./errors.ts";
import { isObject } from "./json.ts";

/** What each item must be, in words. */
export interface ItemKind<T> {
  readonly wanted: string;
  holds(item: unknown): item is T;
}

export const textItems: ItemKind<string> = {
  wanted: "a text",
  holds: (item) => typeof item === "string",
};

/**
 * The items of what is iterated, one after another. An iterator of a caller's own may give anything for a step, which the language would tell
 * as its own error. Errors: `bad_option` naming the iterable, and the place of an item that is none; of what is thrown in it, those of `failureOf`.
 */
export async function* itemsOf<T>(
  iterable: AsyncIterable<T> | Iterable<T>,
  name: string,
  { wanted, holds }: ItemKind<T>,
): AsyncGenerator<T, void> {
  const iterator = iteratorOf(iterable, name);
  const next = telling(name, () => iterator.next());
  const itemOf = telling(name, (step: IteratorYieldResult<T>) => step.value);
  let open = false;
  try {
    for (let place = 0; ; place++) {
      open = false; // a step that fails ends the iterator
      const step = await next();
      requireAnswer(isObject(step), step, `${name}: next of its iterator`, "{ value, done }");
      if (step.done) return;
      open = true;
      const item: unknown = await itemOf(step);
      ensure(holds(item), "bad_option", () => `${name}[${place}] must be ${wanted}, not ${shown(item)}`);
      yield item;
    }
  } finally {
    if (open) await telling(name, () => iterator.return?.())();
  }
}

/** The same of what is read at once and looked at by its reader. */
export function* stepsOf<T>(iterable: Iterable<T>, name: string): Generator<T, void> {
  const iterator = iteratorOf(iterable, name) as Iterator<T>;
  const next = telling(name, () => iterator.next());
  let open = false;
  try {
    for (;;) {
      open = false;
      const step = next();
      requireAnswer(isObject(step), step, `${name}: next of its iterator`, "{ value, done }");
      if (step.done) return;
      open = true;
      yield step.value;
    }
  } finally {
    if (open) iterator.return?.();
  }
}

function iteratorOf<T>(iterable: AsyncIterable<T> | Iterable<T>, name: string): AsyncIterator<T> | Iterator<T> {
  const given = iterable as Partial<AsyncIterable<T> & Iterable<T>> | null | undefined;
  const make: unknown = given?.[Symbol.asyncIterator] ?? given?.[Symbol.iterator];
  // A text would be taken letter by letter.
  ensure(typeof given === "object" && typeof make === "function", "bad_option", () => {
    return `${name} must be something to iterate, not ${shown(iterable)}`;
  });
  const iterator: AsyncIterator<T> | Iterator<T> = telling(name, () => make.call(given))();
  const sound = isObject(iterator) && typeof iterator.next === "function";
  requireAnswer(sound, iterator, `${name}: its iterator`, "an object with the function next");
  return iterator;
}
