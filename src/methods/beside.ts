/** Options of methods that somebody gave to the request, beside `method`: how they are given. */
import type { Method } from "../engine/method.ts";
import { plural, shown } from "../errors.ts";
import { meantBy, plainName, type Ways } from "../names.ts";
import { methods } from "./index.ts";

/** Where a name is an option that a method or shaper has not, which it was given to: of the request itself, or of others of its kind. */
export const elsewhere =
  (
    all: readonly { readonly name: string; readonly options: Method["options"] }[],
    what: "method" | "shaper",
    request: readonly string[],
  ) =>
  (name: string): string | undefined => {
    if (name === "options") return `options stand beside the name, as in { name: "…", length: 4 }`;
    if (request.includes(name)) return `it is an option of the request, beside ${what === "method" ? what : "shapers"}`;
    const having = all.flatMap((one) => (Object.hasOwn(one.options.shape, name) ? [one.name] : []));
    if (having.length === 0) return undefined;
    const [few, more] = [having.slice(0, fewNamed), having.length - fewNamed];
    const names =
      more > 1 ? `${few.join(", ")} and ${more} others` : having.join(", ").replace(/, ([^,]*)$/, " and $1");
    return `it is an option of the ${having.length === 1 ? what : `${what}s`} ${names}`;
  };

/** So many names of those that have an option say what it is for. */
const fewNamed = 4;

/** What a request knows: its options, and ways of what it has otherwise. */
interface Asked {
  readonly known: readonly string[];
  readonly ways: Ways;
  readonly chosen: Method | undefined;
}

/**
 * The ways of a request, and one for each name that it has not and some method has: the chosen one, also with a slip, before others. What
 * others call an option of requests is that.
 */
export function waysBeside(given: object, asked: Asked): Ways {
  const ways = Object.entries(given).flatMap(([name, value]) => {
    if (asked.known.includes(name)) return [];
    const way = wayOf(name, value, asked);
    return way === undefined ? [] : [[plainName(name), way]];
  });
  return ways.length === 0 ? asked.ways : { ...asked.ways, ...Object.fromEntries(ways) };
}

function wayOf(name: string, value: unknown, { known, ways, chosen }: Asked): string | undefined {
  const certain = (names: readonly string[]): string | undefined =>
    names.find((option) => plainName(option) === plainName(name));
  const own = chosen && Object.keys(chosen.options.shape);
  const option = own && (certain(own) ?? (meantBy(name, known) === undefined ? meantBy(name, own) : undefined));
  if (chosen && option !== undefined) {
    const fields = `${option}: ${shown(value)}`;
    const written = methods.includes(chosen)
      ? `{ name: ${shown(chosen.name)}, ${fields} }`
      : `{ method, options: { ${fields} } }`;
    return `${option} is an option of the method ${chosen.name}, which is given as method: ${written}`;
  }
  if (Object.hasOwn(ways, plainName(name)) || meantBy(name, known, 0) !== undefined) return undefined;
  const having = methods.filter(({ options }) => certain(Object.keys(options.shape)) !== undefined);
  if (having.length === 0) return undefined;
  const [{ name: first, options }] = having;
  const which = having.length === 1 ? `the method ${first}` : `${plural(having.length, "method")}, such as ${first}`;
  const exact = certain(Object.keys(options.shape));
  return `${exact} is an option of ${which}: method: { name: ${shown(first)}, ${exact}: ${shown(value)} }`;
}
