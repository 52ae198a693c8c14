/** Formats of strings, as regular expressions made from the grammars of their standards. */
import { intersect, ofLength, type TextState, union } from "../automaton.ts";
import { compileRegex } from "../regex/compile.ts";

const year = "[0-9]{4}";
const leapYear = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
const date =
  `(?:${year}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))` +
  `|${leapYear}-02-29)`;
const hour = "(?:[01][0-9]|2[0-3])";
const minute = "[0-5][0-9]";
const offset = `(?:[Zz]|[+-]${hour}:?${minute}|[+-]${hour})`;
const clock = `${hour}:${minute}:[0-5][0-9](?:\\.[0-9]+)?`;
/**
 * Leap seconds exist at 23:59:60 UTC alone: of each local time there is one offset to the east and one to the west. Offsets are quarters of an
 * hour here, as all are that were ever in use beside leap seconds: others would make the automaton fifteen times as large.
 */
const leapSecond = (() => {
  const two = (value: number): string => `${value}`.padStart(2, "0");
  const range = (size: number): number[] => Array.from({ length: size }, (_, i) => i);
  const offsets = (local: number): string => {
    const east = (local + 1) % 1440;
    const west = 1439 - local;
    const written = (minutes: number): string => {
      const [hours, rest] = [two(Math.floor(minutes / 60)), two(minutes % 60)];
      return rest === "00" ? `${hours}(?::?00)?` : `${hours}:?${rest}`;
    };
    return `(?:\\+${written(east)}|-${written(west)}${east === 0 ? "|[Zz]" : ""})`;
  };
  const minutes = (hours: number): string =>
    [14, 29, 44, 59].map((rest) => `${two(rest)}:60(?:\\.[0-9]+)?${offsets(60 * hours + rest)}`).join("|");
  return `(?:${range(24)
    .map((hours) => `${two(hours)}:(?:${minutes(hours)})`)
    .join("|")})`;
})();
const time = `(?:${clock}${offset}|${leapSecond})`;

const octet = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
const ipv4 = `${octet}(?:\\.${octet}){3}`;
const group = "[0-9a-fA-F]{1,4}";
const last32 = `(?:${group}:${group}|${ipv4})`;
const ipv6 = [
  `(?:${group}:){6}${last32}`,
  `::(?:${group}:){5}${last32}`,
  `(?:${group})?::(?:${group}:){4}${last32}`,
  `(?:(?:${group}:){0,1}${group})?::(?:${group}:){3}${last32}`,
  `(?:(?:${group}:){0,2}${group})?::(?:${group}:){2}${last32}`,
  `(?:(?:${group}:){0,3}${group})?::${group}:${last32}`,
  `(?:(?:${group}:){0,4}${group})?::${last32}`,
  `(?:(?:${group}:){0,5}${group})?::${group}`,
  `(?:(?:${group}:){0,6}${group})?::`,
].join("|");

const label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const labels = `${label}(?:\\.${label})*`;
/** Of 253 characters at most, without a point at its end. */
const hostname = (): TextState | undefined =>
  union(intersect(compileRegex(labels), ofLength(1, 253)), intersect(compileRegex(`${labels}\\.`), ofLength(2, 254)));

// RFC 3986, appendix A.
const escaped = "%[0-9A-Fa-f]{2}";
const unreserved = "A-Za-z0-9\\-._~";
const delimiters = "!$&'()*+,;=";
const character = `(?:[${unreserved}${delimiters}:@]|${escaped})`;
const query = `(?:\\?(?:${character}|[/?])*)?(?:#(?:${character}|[/?])*)?`;
const host = `(?:\\[(?:${ipv6}|[vV][0-9A-Fa-f]+\\.[${unreserved}${delimiters}:]+)\\]|(?:[${unreserved}${delimiters}]|${escaped})*)`;
const authority = `//(?:(?:[${unreserved}${delimiters}:]|${escaped})*@)?${host}(?::[0-9]*)?(?:/${character}*)*`;
const absolutePath = `/(?:${character}+(?:/${character}*)*)?`;
const rootless = `${character}+(?:/${character}*)*`;
const noColon = `(?:[${unreserved}${delimiters}@]|${escaped})+(?:/${character}*)*`;
const uri = `[A-Za-z][A-Za-z0-9+\\-.]*:(?:${authority}|${absolutePath}|${rootless})${query}`;
const reference = `(?:[A-Za-z][A-Za-z0-9+\\-.]*:(?:${authority}|${absolutePath}|${rootless}|)|${authority}|${absolutePath}|${noColon}|)${query}`;

const atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const domainLabel = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
const email = `${atom}(?:\\.${atom})*@(?:${domainLabel}\\.)+${domainLabel}`;
const hexadecimal = "[0-9a-fA-F]";
const uuid = `(?:[uU][rR][nN]:[uU][uU][iI][dD]:)?${hexadecimal}{8}(?:-${hexadecimal}{4}){3}-${hexadecimal}{12}`;
const pointer = "(?:/(?:[^~/]|~[01])*)*";
const units = (letters: string): string => [...letters].map((letter) => `(?:[0-9]+${letter})?`).join("");
const some = (letters: string): string =>
  [...letters].map((letter, i) => `[0-9]+${letter}${units(letters.slice(i + 1))}`).join("|");
const durations = `P(?:[0-9]+W|(?:${some("YMD")})(?:T(?:${some("HMS")}))?|T(?:${some("HMS")}))`;

const patterns: Readonly<Record<string, string | (() => TextState | undefined)>> = {
  date,
  time,
  "date-time": `${date}[Tt ]${time}`,
  duration: durations,
  email,
  hostname,
  ipv4,
  ipv6,
  uri,
  "uri-reference": reference,
  uuid,
  "json-pointer": pointer,
  "relative-json-pointer": `(?:0|[1-9][0-9]*)(?:#|${pointer})`,
};

const compiled = new Map<string, TextState | undefined>();

export const formatNames: readonly string[] = Object.keys(patterns);

/** Texts of a format; undefined for a format that is not known. */
export function formatOf(name: string): TextState | undefined {
  if (!Object.hasOwn(patterns, name)) return undefined;
  const pattern = patterns[name];
  if (!compiled.has(name)) compiled.set(name, typeof pattern === "string" ? compileRegex(pattern) : pattern());
  return compiled.get(name);
}
