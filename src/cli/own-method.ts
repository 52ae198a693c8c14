/** A method of one's own for the command line: a module whose default export was made by `defineMethod`. */
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { createRequire, register } from "node:module";
import { relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Method } from "../engine/method.ts";
import { ensure, reasonOf, VentrisError } from "../errors.ts";
import type { LoaderData } from "./module-loader.ts";

/** Whether a method is named by a file: `./my-method.ts`, `C:\methods\mine.mjs`. */
export const isModulePath = (name: string): boolean => /\.[cm]?[jt]s$/.test(name) || /^(\.{0,2}[\\/])/.test(name);

/** Imports a module and takes its method. Errors: `unavailable`, `bad_file`. */
export async function loadMethod(path: string): Promise<Method> {
  const file = resolve(path);
  const there = statSync(file, { throwIfNoEntry: false });
  ensure(there, "unavailable", `--method: there is no file ${path}`);
  ensure(!there.isDirectory(), "unavailable", `--method: ${path} is a folder: name the file that has the method`);
  prepareImports(file);
  let module: Record<string, unknown>;
  try {
    module = await import(pathToFileURL(file).href);
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    const place = placeOf(cause) ?? (cause instanceof SyntaxError ? placeOfSyntax(file) : undefined);
    const reason = `${place === undefined ? "" : `${place}: `}${reasonOf(cause)}`;
    throw new VentrisError("bad_file", `${path} cannot be loaded: ${reason}`, { cause });
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

const ourFolder = fileURLToPath(new URL("..", import.meta.url));

/** `my-method.ts:12`, where what was thrown says where it comes from; no place of ours, of the platform's or in packages. */
function placeOf(thrown: unknown): string | undefined {
  const stack = thrown instanceof Error ? (thrown.stack ?? "") : "";
  for (const [, at, line] of stack.matchAll(/(?:^|[\s(])(file:\/\/[^\s)]+?|(?:[A-Z]:)?[\\/][^:)\n]+):(\d+)/gm)) {
    const path = at.startsWith("file:") ? fileURLToPath(at) : at;
    if (!path.startsWith(ourFolder) && !path.includes("node_modules")) return `${relative(".", path)}:${line}`;
  }
  return undefined;
}

/** The same of a module that is no JavaScript: Node says where to the terminal alone, so that another Node reads the module for it. */
function placeOfSyntax(file: string): string | undefined {
  const data = JSON.stringify(loaderData([file]));
  const program = `
    import { register } from "node:module";
    register(${JSON.stringify(loader)}, { parentURL: ${JSON.stringify(import.meta.url)}, data: ${data} });
    await import(${JSON.stringify(pathToFileURL(file).href)});`;
  const { stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", program], {
    encoding: "utf8",
    timeout: 10_000,
  });
  return placeOf(Object.assign(new Error(), { stack: stderr }));
}

function isMethod(value: unknown): value is Method {
  if (typeof value !== "object" || value === null) return false;
  const { name, decode, options } = value as Partial<Method>;
  return typeof name === "string" && typeof decode === "function" && typeof options?.safeParse === "function";
}

let prepared = false;

const loader = "./module-loader.js";

const native = "typescript" in process.features && Boolean(process.features.typescript);

const loaderData = (files: readonly string[]): LoaderData => ({
  own: import.meta.url,
  typescript: native ? undefined : findTypeScript([...files, import.meta.url]),
});

/** "ventris" is this very package in such a module, wherever it lies; and TypeScript is read where Node does not do so itself. */
function prepareImports(file: string): void {
  if (prepared) return;
  prepared = true;
  const data = loaderData([file]);
  ensure(
    native || data.typescript !== undefined || !/\.[cm]?ts$/.test(file),
    "unavailable",
    `${file}: Node ${process.versions.node} does not read TypeScript; use Node 22.18 or newer, install typescript@6 beside the file, or give it as JavaScript`,
  );
  process.setSourceMapsEnabled(true); // errors then name the lines of the file as it was written
  register(loader, { parentURL: import.meta.url, data });
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
