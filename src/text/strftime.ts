/** C's `strftime` in the C locale, with what glibc adds: flags (`-` no padding, `_` spaces, `0` zeros, `^` and `#` case) and widths. */

const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const months = "January February March April May June July August September October November December".split(" ");
const dayMilliseconds = 86_400_000;
const widest = 100;

/** Local time of `date`. Errors: an `Error` naming a conversion that there is not. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([-_0^#]*)(\d{0,3})([EO]?)([\s\S]?)/gu, (whole, flags: string, width: string, _, letter) => {
    const convert: Conversion | undefined = Object.hasOwn(conversions, letter) ? conversions[letter] : undefined;
    if (!convert) throw new Error(`strftime does not know ${whole}`);
    const [value, digits = 0, filler = "0"] = convert(date);
    const padding = flags.includes("_") ? " " : flags.includes("0") ? "0" : filler;
    const least = flags.includes("-") ? 0 : Math.min(widest, Number(width) || digits);
    let text = String(value);
    if (typeof value === "number") text = text.padStart(least, padding);
    else if (width !== "") text = text.padStart(least, flags.includes("0") ? "0" : " ");
    if (flags.includes("^")) return text.toUpperCase();
    return flags.includes("#") ? (letter === "p" || letter === "Z" ? text.toLowerCase() : text.toUpperCase()) : text;
  });
}

/** A text, or a number with its usual width and what fills it up. */
type Conversion = (date: Date) => [value: string | number, digits?: number, filler?: string];

const composed =
  (format: string): Conversion =>
  (date) => [strftime(date, format)];

const conversions: Readonly<Record<string, Conversion>> = {
  a: (date) => [days[date.getDay()].slice(0, 3)],
  A: (date) => [days[date.getDay()]],
  b: (date) => [months[date.getMonth()].slice(0, 3)],
  B: (date) => [months[date.getMonth()]],
  c: composed("%a %b %e %H:%M:%S %Y"),
  C: (date) => [Math.floor(date.getFullYear() / 100), 2],
  d: (date) => [date.getDate(), 2],
  D: composed("%m/%d/%y"),
  e: (date) => [date.getDate(), 2, " "],
  f: (date) => [date.getMilliseconds() * 1000, 6], // Python's: microseconds
  F: composed("%Y-%m-%d"),
  g: (date) => [isoWeek(date).year % 100, 2],
  G: (date) => [isoWeek(date).year],
  h: composed("%b"),
  H: (date) => [date.getHours(), 2],
  I: (date) => [date.getHours() % 12 || 12, 2],
  j: (date) => [dayOfYear(date) + 1, 3],
  k: (date) => [date.getHours(), 2, " "],
  l: (date) => [date.getHours() % 12 || 12, 2, " "],
  m: (date) => [date.getMonth() + 1, 2],
  M: (date) => [date.getMinutes(), 2],
  n: () => ["\n"],
  p: (date) => [date.getHours() < 12 ? "AM" : "PM"],
  P: (date) => [date.getHours() < 12 ? "am" : "pm"],
  r: composed("%I:%M:%S %p"),
  R: composed("%H:%M"),
  s: (date) => [Math.floor(date.getTime() / 1000)],
  S: (date) => [date.getSeconds(), 2],
  t: () => ["\t"],
  T: composed("%H:%M:%S"),
  u: (date) => [date.getDay() || 7],
  U: (date) => [Math.floor((dayOfYear(date) + 7 - date.getDay()) / 7), 2],
  V: (date) => [isoWeek(date).week, 2],
  w: (date) => [date.getDay()],
  W: (date) => [Math.floor((dayOfYear(date) + 7 - weekday(date)) / 7), 2],
  x: composed("%m/%d/%y"),
  X: composed("%H:%M:%S"),
  y: (date) => [((date.getFullYear() % 100) + 100) % 100, 2],
  Y: (date) => [date.getFullYear()],
  z: (date) => {
    const minutes = -date.getTimezoneOffset();
    const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
    return [`${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}${two(Math.abs(minutes) % 60)}`];
  },
  Z: (date) => [
    new Intl.DateTimeFormat("en-US", { timeZoneName: "short" })
      .formatToParts(date)
      .find(({ type }) => type === "timeZoneName")?.value ?? "",
  ],
  "%": () => ["%"],
};

/** Days since Monday. */
const weekday = (date: Date): number => (date.getDay() + 6) % 7;

/** Days since the first of January, by the calendar: hours that clocks are put forward do not count. */
function dayOfYear(date: Date): number {
  const year = date.getFullYear();
  return Math.round((utcDay(year, date.getMonth(), date.getDate()) - utcDay(year, 0, 1)) / dayMilliseconds);
}

function utcDay(year: number, month: number, day: number): number {
  const date = new Date(0);
  date.setUTCFullYear(year, month, day);
  return date.getTime();
}

/** ISO 8601: a week belongs to the year that has its Thursday. */
function isoWeek(date: Date): { year: number; week: number } {
  const thursday = new Date(utcDay(date.getFullYear(), date.getMonth(), date.getDate() - weekday(date) + 3));
  const year = thursday.getUTCFullYear();
  return { year, week: 1 + Math.floor((thursday.getTime() - utcDay(year, 0, 1)) / dayMilliseconds / 7) };
}
