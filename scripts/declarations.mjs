// What the compiler's declarations still need to be understood by TypeScript 5.4 to 7, with no types of a browser or of Node: arrays of
// numbers without a parameter, which TypeScript knows since 5.7, and the few global names that are used, as empty interfaces: where
// somebody has declared them, the two merge.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";

const globals = ["AbortSignal", "AsyncDisposable", "URL"];
export const ambientFile = "globals.d.ts";
/** What `await using` wants beside them, as the standard library declares it, so that the two merge. */
const disposal = `interface SymbolConstructor {
  readonly dispose: unique symbol;
  readonly asyncDispose: unique symbol;
}
interface Disposable {
  [Symbol.dispose](): void;
}
interface AsyncDisposable {
  [Symbol.asyncDispose](): PromiseLike<void>;
}
`;

const arrays = /\b((?:Big)?(?:Int|Uint|Float)\d+(?:Clamped)?Array)<ArrayBuffer(?:Like)?>/g;
const named = new RegExp(`\\b(?:${globals.join("|")})\\b|from "zod"`);

/** A declaration file as it ships; `toGlobals` is the path from its folder to the declared globals. */
export function portable(text, toGlobals) {
  const plain = text.replace(arrays, "$1");
  const reference = `/// <reference path="${toGlobals}" />\n`;
  return named.test(plain) && !plain.startsWith(reference) ? reference + plain : plain;
}

/** Rewrites every declaration below a folder. What is rewritten already stays as it is. */
export function makePortable(folder) {
  const ambient = join(folder, ambientFile);
  writeFileSync(ambient, globals.map((name) => `interface ${name} {}\n`).join("") + disposal);
  for (const name of readdirSync(folder, { recursive: true })) {
    const path = join(folder, name);
    if (!name.endsWith(".d.ts") || path === ambient) continue;
    const text = readFileSync(path, "utf8");
    const rewritten = portable(text, relative(dirname(path), ambient).split(sep).join("/"));
    if (rewritten !== text) writeFileSync(path, rewritten);
  }
}
