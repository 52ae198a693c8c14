// Compiles src to dist and the studio to dist/studio, each only when a source is newer than its last build: `npm start` works
// right after `npm ci`, which runs no scripts, and costs nothing afterwards.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ambientFile, makePortable } from "./declarations.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

const source = join(root, "src");
const output = join(root, "dist");
/** Written by the compiler when it has checked and compiled everything, and by `transpile`. */
const [compiled, transpiled] = [".tsbuildinfo", ".transpiled"].map((name) => join(output, name));

const timeOf = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);
const isSource = (name) => name.endsWith(".ts") && !/\.(test|fixture)\.ts$/.test(name);
const sources = () => readdirSync(source, { recursive: true }).filter(isSource);

/** Outputs of what is no source any more would be packed, and imports of them would go on working here alone. */
function removeOrphans() {
  if (!existsSync(output)) return;
  const known = new Set(sources().map((name) => name.replace(/\.ts$/, "")));
  for (const name of readdirSync(output, { recursive: true })) {
    const [, module] = /^(.*?)(?:\.d)?\.[jt]s$/.exec(name) ?? [];
    const isMade = name === ambientFile || /^(?:studio|browser[\\/]bundle)[\\/]/.test(name);
    if (module !== undefined && !isMade && !known.has(module)) rmSync(join(output, name));
  }
}

/** The whole: types checked, declarations written. */
export function build() {
  if (!existsSync(source)) return; // an installed package ships dist alone
  removeOrphans();
  if (sources().every((name) => timeOf(join(source, name)) <= timeOf(compiled))) return;
  process.stderr.write("ventris: compiling the source with its types, for up to a minute\n");
  const { status } = spawnSync(process.execPath, [compiler("bin/tsc"), "-p", "tsconfig.build.json"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (status !== 0) process.exit(status ?? 1);
  makePortable(output);
  utimesSync(compiled, new Date(), new Date()); // an incremental build without changes leaves the stamp alone
}

/**
 * What running needs: every file that is newer than the last build, its types left out unchecked. Seconds where the whole takes a
 * minute, and a file each where little has changed.
 */
export function transpile() {
  if (!existsSync(source)) return;
  const last = Math.max(timeOf(compiled), timeOf(transpiled));
  const outputOf = (name) => join(output, name.replace(/\.ts$/, ".js"));
  const stale = sources().filter((name) => timeOf(join(source, name)) > last || !existsSync(outputOf(name)));
  if (stale.length === 0) return;
  const ts = createRequire(import.meta.url)(compiler("lib/typescript.js"));
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { target } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root).options;
  const options = {
    target,
    module: ts.ModuleKind.ESNext,
    verbatimModuleSyntax: true,
    rewriteRelativeImportExtensions: true,
  };
  const started = performance.now();
  const say = (text) => process.stderr.write(text);
  const begun = `ventris: compiling ${stale.length} source ${stale.length === 1 ? "file" : "files"}`;
  say(process.stderr.isTTY ? `${begun} …` : `${begun}\n`);
  for (const name of stale) {
    const { outputText } = ts.transpileModule(readFileSync(join(source, name), "utf8"), {
      compilerOptions: options,
      fileName: name,
    });
    mkdirSync(dirname(outputOf(name)), { recursive: true });
    writeFileSync(outputOf(name), outputText);
  }
  writeFileSync(transpiled, "");
  if (process.stderr.isTTY)
    say(`\r\x1b[K${begun}: ${((performance.now() - started) / 1000).toFixed(1)} s, this once\n`);
}

function compiler(file) {
  const path = join(root, "node_modules", "typescript", file);
  if (existsSync(path)) return path;
  console.error("ventris: dist is missing or out of date and typescript is not installed; run `npm ci` first");
  process.exit(1);
}

/** The studio's page. */
export async function buildStudio() {
  const [page, pages] = [join(root, "dist", "studio", "index.html"), join(root, "studio")];
  if (!existsSync(pages)) return;
  const built = existsSync(page) ? statSync(page).mtimeMs : 0;
  const stale = readdirSync(pages, { recursive: true }).some((name) => statSync(join(pages, name)).mtimeMs > built);
  if (!stale) return;
  const { build } = await import("vite");
  await build({ configFile: join(pages, "vite.config.ts") });
}

/** The package as pages get it. */
export async function buildBrowser() {
  const made = join(output, "browser", "bundle", "LICENSES.txt"); // written last
  if (!existsSync(source) || sources().every((name) => timeOf(join(source, name)) <= timeOf(made))) return;
  const { bundle } = await import("./browser.mjs");
  await bundle(root);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  build();
  await buildBrowser();
  await buildStudio();
}
