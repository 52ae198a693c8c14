// Builds the documentation site into docs/site/dist. `--watch` serves it to authors and follows their changes; `--preview` serves what was built;
// `--base /PATH/` is where on its host it will stand; `--no-api` leaves the pages of the library out. What it needs beyond the project is a package
// of its own, installed the first time.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { transpile } from "./build.mjs";
import { sitePages, writePages } from "./site/pages.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const site = join(root, "docs", "site");
const pages = join(site, "pages");

/** What the pages are made of, from the compiled sources. */
export async function loadTables() {
  const [{ papers }, { readRecord }, { judge }, { methods, shapers }, options, tables] = await Promise.all(
    ["papers/index", "papers/records", "papers/judge", "methods/index", "papers/option-tables", "papers/tables"].map(
      (name) => import(`../dist/${name}.js`),
    ),
  );
  const { optionsMark, optionsTable } = options;
  const { claimsMark, claimsTable } = tables;
  return { papers, readRecord, judge, methods, shapers, optionsMark, optionsTable, claimsMark, claimsTable };
}

function run(command, args, cwd) {
  const { status } = spawnSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) process.exit(status ?? 1);
}

/** The site's own package, as its lock file says. */
function install() {
  const lock = readFileSync(join(site, "package-lock.json"), "utf8");
  const stamp = join(site, "node_modules", ".installed");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  console.error("docs: installing what builds the site, this once");
  run("npm", ["ci", "--no-audit", "--no-fund"], site);
  writeFileSync(stamp, lock);
}

const bin = (name, path) => join(site, "node_modules", name, path);

/** The library's pages, from the docstrings of what package.json exports. */
function libraryPages() {
  run(process.execPath, [bin("typedoc", "bin/typedoc"), "--options", join(site, "typedoc.mjs")], root);
}

async function main() {
  const { values } = parseArgs({
    options: {
      watch: { type: "boolean" },
      preview: { type: "boolean" },
      base: { type: "string" },
      port: { type: "string" },
      api: { type: "boolean" },
      "no-api": { type: "boolean" },
    },
  });
  install();
  const vitepress = (command, ...more) => [bin("vitepress", "bin/vitepress.js"), command, site, ...more];
  const base = values.base ? ["--base", values.base] : [];
  const port = values.port ? ["--port", values.port] : [];
  if (values.preview) return run(process.execPath, vitepress("preview", ...base, ...port), root);
  transpile();
  const tables = await loadTables();
  const write = () => writePages(root, pages, sitePages(root, tables));
  write();
  const hasApi = existsSync(join(pages, "api", "index.md"));
  if (!values["no-api"] && !(values.watch && hasApi && !values.api)) libraryPages();
  if (!values.watch) {
    run(process.execPath, vitepress("build", ...base), root);
    console.error(`docs: built in ${join(site, "dist")}; npm run docs -- --preview serves it`);
    return;
  }
  let soon;
  for (const folder of ["docs", "src", "models", "bench", "examples", "reproductions"]) {
    watch(join(root, folder), { recursive: statSync(join(root, folder)).isDirectory() }, (_, name) => {
      if (!/\.(md|svg|png|html)$/.test(name ?? "") || name.startsWith("site")) return;
      clearTimeout(soon);
      soon = setTimeout(() => {
        try {
          write();
        } catch (error) {
          console.error(error.message);
        }
      }, 100);
    });
  }
  spawn(process.execPath, vitepress("dev", ...base, ...port), { cwd: root, stdio: "inherit" }).on("close", (status) =>
    process.exit(status ?? 0),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main();
