// Compiles src to dist and the studio to dist/studio, each only when a source is newer than its last build: `npm start` works
// right after `npm ci`, which runs no scripts, and costs nothing afterwards.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

export function build() {
  const stamp = join(root, "dist", ".tsbuildinfo");
  const sources = join(root, "src");
  if (!existsSync(sources)) return; // an installed package ships dist alone
  const built = existsSync(stamp) ? statSync(stamp).mtimeMs : 0;
  const stale = readdirSync(sources, { recursive: true }).some(
    (name) => name.endsWith(".ts") && statSync(join(sources, name)).mtimeMs > built,
  );
  if (!stale) return;
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  if (!existsSync(compiler)) {
    console.error("ventris: dist is missing or out of date and typescript is not installed; run `npm ci` first");
    process.exit(1);
  }
  const { status } = spawnSync(process.execPath, [compiler, "-p", "tsconfig.build.json"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (status !== 0) process.exit(status ?? 1);
  utimesSync(stamp, new Date(), new Date()); // an incremental build without changes leaves the stamp alone
}

/** The studio's page. */
export async function buildStudio() {
  const [page, sources] = [join(root, "dist", "studio", "index.html"), join(root, "studio")];
  if (!existsSync(sources)) return;
  const built = existsSync(page) ? statSync(page).mtimeMs : 0;
  const stale = readdirSync(sources, { recursive: true }).some((name) => statSync(join(sources, name)).mtimeMs > built);
  if (!stale) return;
  const { build } = await import("vite");
  await build({ configFile: join(sources, "vite.config.ts") });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  build();
  await buildStudio();
}
