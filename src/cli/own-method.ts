/** A method of one's own for the command line: a module whose default export was made by `defineMethod`. */
import { existsSync } from "node:fs";
import { createRequire, register } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Method } from "../engine/method.ts";
import { ensure, VentrisError } from "../errors.ts";
import type { LoaderData } from "./module-loader.ts";

/** Whether a method is named by a file: `./my-method.ts`, `C:\methods\mine.mjs`. */
export const isModulePath = (name: string): boolean => /\.[cm]?[jt]s$/.test(name) || /^(\.{0,2}[\\/])/.test(name);

/** Imports a module and takes its method. Errors: `unavailable`, `bad_file`. */
export async function loadMethod(path: string): Promise<Method> {
  const file = resolve(path);
  ensure(existsSync(file), "unavailable", `--method: there is no file ${path}`);
  prepareImports(file);
  let module: Record<string, unknown>;
  try {
    module = await import(pathToFileURL(file).href);
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("bad_file", `${path} cannot be loaded: ${(cause as Error).message}`, { cause });
  }
  const found = isMethod(module.default) ? [module.default] : Object.values(module).filter(isMethod);
  ensure(
    found.length > 0,
    "bad_file",
    `${path} exports no method: make one with defineMethod and export it as default`,
  );
  ensure(
    found.length === 1,
    "bad_file",
    `${path} exports several methods (${found.map(({ name }) => name).join(", ")}): export the one that is meant as default`,
  );
  return found[0];
}

function isMethod(value: unknown): value is Method {
  if (typeof value !== "object" || value === null) return false;
  const { name, decode, options } = value as Partial<Method>;
  return typeof name === "string" && typeof decode === "function" && typeof options?.safeParse === "function";
}

let prepared = false;

/** "ventris" is this very package in such a module, wherever it lies; and TypeScript is read where Node does not do so itself. */
function prepareImports(file: string): void {
  if (prepared) return;
  prepared = true;
  const native = "typescript" in process.features && Boolean(process.features.typescript);
  const data: LoaderData = {
    own: import.meta.url,
    typescript: native ? undefined : findTypeScript([file, import.meta.url]),
  };
  ensure(
    native || data.typescript !== undefined || !/\.[cm]?ts$/.test(file),
    "unavailable",
    `${file}: Node ${process.versions.node} does not read TypeScript; use Node 22.18 or newer, install typescript beside the file, or give it as JavaScript`,
  );
  register("./module-loader.js", { parentURL: import.meta.url, data });
}

function findTypeScript(from: readonly string[]): string | undefined {
  for (const place of from) {
    try {
      return pathToFileURL(createRequire(place).resolve("typescript")).href;
    } catch {
      // not there: the next place
    }
  }
  return undefined;
}
