/** Options of methods that somebody gave to the request, beside `method`: how they are given. */
import type { Method } from "../engine/method.ts";
import { plural, shown } from "../errors.ts";
import { meantBy, plainName, type Ways } from "../names.ts";
import { methods } from "./index.ts";

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
