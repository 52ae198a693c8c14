/** What an object says of itself where people print it by mistake or to look: in template literals, in Node's console and in those of browsers. */

/** Node's console asks for it, and nothing else does; registered, so that no module of Node is needed. */
const inspected = Symbol.for("nodejs.util.inspect.custom");

/** The same object with a sentence about it, which is no field of it: copies, comparisons and JSON know nothing of it. */
export function describing<T extends object>(value: T, kind: string, describe: () => string): T {
  const hidden = (shown: unknown) => ({ value: shown, configurable: true, writable: true, enumerable: false });
  return Object.defineProperties(value, {
    toString: hidden(describe),
    [inspected]: hidden(describe),
    [Symbol.toStringTag]: hidden(kind),
  });
}

/** A result that reads as its text in a template literal; not enumerable, so that JSON and comparisons know nothing of it. */
export const readAsText = <T extends { readonly text: string }>(result: T): T =>
  Object.defineProperty(result, "toString", { value: ownText, configurable: true, writable: true });

function ownText(this: { readonly text: string }): string {
  return this.text;
}

/**
 * What events have in common, lent and not written into each of thousands: in a template literal one of text reads as its text and any other as
 * nothing, so that all of them put together are the run's text. The class it names is the one that consoles leave out.
 */
export const eventWords: object = Object.defineProperties(
  {},
  {
    constructor: { value: Object },
    toString: {
      value(this: { readonly type?: string; readonly text?: string }) {
        return (this.type === "tokens" && this.text) || "";
      },
    },
  },
);

/** A run that says how it is read, and its text, too: both are easily taken for the text itself. */
export function describedRun<T extends { readonly text: object }>(run: T, what: string): T {
  describing(run.text, "TextStream", () => {
    return "the text of a run, piece by piece: for await (const piece of run.text), or (await run.final).text";
  });
  return describing(run, "Run", () => what);
}
