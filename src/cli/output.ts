/** Where words go: stdout carries the result alone, stderr the talk. */

/** A line of the result. */
export const print = (text: string): boolean => process.stdout.write(`${text}\n`);

/** The result as one line of JSON. */
export const printJson = (value: unknown): boolean => print(JSON.stringify(value));

/** A line of talk that belongs to the outcome: shown whether or not anybody watches. */
export const say = (text: string): boolean => process.stderr.write(`${text}\n`);

/** What only somebody who watches wants to read: silent where stderr is not a terminal. */
export function murmur(text: string): void {
  if (process.stderr.isTTY) say(`\x1b[2m${text}\x1b[22m`);
}
