/** Module hooks for `loadMethod`: run by Node in a thread of their own, so that nothing of ours may be imported here. */
import { readFile } from "node:fs/promises";
import type { InitializeHook, LoadHook, ResolveHook } from "node:module";
import { fileURLToPath } from "node:url";

export interface LoaderData {
  /** URL of a file of this package. */
  readonly own: string;
  /** URL of the TypeScript compiler, where Node itself reads no TypeScript. */
  readonly typescript: string | undefined;
}

let own: LoaderData["own"];
let typescript: LoaderData["typescript"];

export const initialize: InitializeHook<LoaderData> = (data) => {
  ({ own, typescript } = data);
};

export const resolve: ResolveHook = async (specifier, context, next) => {
  if (/^ventris($|\/)/.test(specifier)) return next(specifier, { ...context, parentURL: own });
  try {
    return await next(specifier, context);
  } catch (error) {
    // A file that lies outside every project still finds what options are written with.
    if (!/^zod($|\/)/.test(specifier)) throw error;
    return next(specifier, { ...context, parentURL: own });
  }
};

export const load: LoadHook = async (url, context, next) => {
  if (!typescript || !/\.[cm]?ts$/.test(url)) return next(url, context);
  const { default: ts } = (await import(typescript)) as { default: typeof import("typescript") };
  if (typeof ts?.transpileModule !== "function")
    throw new Error(
      `TypeScript ${ts?.version ?? "7"} cannot be called by a program, and Node ${process.versions.node} reads none itself: install typescript@6 beside the file, use Node 22.18 or newer, or give it as JavaScript`,
    );
  const file = fileURLToPath(url);
  const { outputText: source, diagnostics = [] } = ts.transpileModule(await readFile(file, "utf8"), {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, inlineSourceMap: true },
    fileName: file,
    reportDiagnostics: true,
  });
  const [wrong] = diagnostics;
  if (wrong) {
    const line = wrong.file?.getLineAndCharacterOfPosition(wrong.start ?? 0).line ?? 0;
    const error = new SyntaxError(ts.flattenDiagnosticMessageText(wrong.messageText, " "));
    error.stack = `${url}:${line + 1}`; // where Node, too, says it
    throw error;
  }
  return { format: "module", source, shortCircuit: true };
};
