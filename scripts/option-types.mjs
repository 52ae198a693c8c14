// Writes src/options.ts: the options of requests and of every method as plain interfaces with docstrings (effect, range, default), made
// of the schemas, so that an editor shows them and a misspelt name does not compile. `--check` only says whether it is stale.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
// Whatever the checker says: a method that was just added is not among the types yet, and code that names it does not compile.
spawnSync(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.build.json"], {
  cwd: root,
});
const { methods, shapers } = await import("../dist/methods/index.js");
const { requestOptions } = await import("../dist/engine/decoding.js");
const { renderOptionTypes } = await import("../dist/papers/option-types.js");

const path = join(root, "src", "options.ts");
const text = renderOptionTypes(requestOptions, methods, shapers);
const current = readFileSync(path, "utf8");
if (text !== current) {
  if (process.argv.includes("--check")) {
    console.error("src/options.ts is stale: run node scripts/option-types.mjs");
    process.exitCode = 1;
  } else {
    writeFileSync(path, text);
    console.error("wrote src/options.ts");
  }
}
