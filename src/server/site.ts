/**
 * The studio as a static site, `ventris studio --static`: a folder that any web server serves, also below a path, and whose pages decode in the
 * visitor's browser. What the studio's server would say once and for all lies there in files, asked of that very server.
 */
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ensure } from "../errors.ts";
import { resolveModel } from "../references.ts";
import { writeFileList } from "../weights/index.ts";
import { listen, studioGroups } from "./listen.ts";

/** What a page can run in seconds: the language model, its draft, and the diffusion model. */
export const siteModels = ["knossos", "mycenae", "pylos"] as const;

const packageFolder = fileURLToPath(new URL("../../", import.meta.url));
const [studio, modules] = ["studio", "browser/bundle"].map((name) => join(packageFolder, "dist", name));

/** The runtime's files that pages need: its script, which is also its threads', and its program. */
const [runtimeScript, runtimeProgram] = ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"];
/** Many servers do not know `.mjs`, and a script that is not called one by its server is not run. */
const sitesScript = runtimeScript.replace(/mjs$/, "js");

/** By this file a site is known that may be written over. */
const mark = "data/site.json";

const policy = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

export interface SiteWriting {
  readonly signal?: AbortSignal;
  /** What is being done, as a line of progress. */
  readonly onStep?: (what: string) => void;
}

/**
 * Writes the site, as a whole or not at all, over one that this wrote before. Errors: `bad_option` for a folder that holds something else,
 * `unavailable` where the package was not built, `aborted`.
 */
export async function writeSite(folder: string, { signal, onStep = () => {} }: SiteWriting = {}): Promise<string> {
  for (const needed of [join(studio, "index.html"), join(modules, "studio.js")])
    ensure(existsSync(needed), "unavailable", "the studio was not built: run `npm run build` in the checkout");
  const target = resolve(folder);
  const there = await stat(target).catch(() => undefined);
  const empty = !there || (there.isDirectory() && (await readdir(target)).length === 0);
  ensure(
    empty || existsSync(join(target, mark)),
    "bad_option",
    `--static: ${folder} holds something else than a site of this command: name a new folder, or an empty one`,
  );
  const step = (what: string): void => {
    ensure(!signal?.aborted, "aborted", `writing ${folder} was aborted: nothing was changed`);
    onStep(what);
  };
  await mkdir(dirname(target), { recursive: true });
  const making = await mkdtemp(join(dirname(target), ".ventris-site-"));
  try {
    await chmod(making, 0o755); // a server may be another user
    step("copying the studio and its engine");
    await cp(studio, making, { recursive: true });
    await writeEngine(making);
    for (const name of siteModels) {
      step(`copying ${name}`);
      await cp(await resolveModel(name), join(making, "models", name), { recursive: true });
      await writeFileList(join(making, "models", name), { signal });
    }
    const version = await writeAnswers(making, step);
    await writePage(making, version);
    step("putting it in its place");
    if (there) await rm(target, { recursive: true });
    await rename(making, target);
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return target;
}

/** The package's form for pages, and the runtime by its place in the site: no bundler and no import map resolves names for a worker. */
async function writeEngine(site: string): Promise<void> {
  const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));
  await mkdir(join(site, "engine"));
  await mkdir(join(site, "runtime"));
  await cp(join(runtime, runtimeProgram), join(site, "runtime", runtimeProgram));
  const script = await readFile(join(runtime, runtimeScript), "utf8");
  await writeFile(join(site, "runtime", sitesScript), script.replaceAll(runtimeScript, sitesScript));
  for (const name of await readdir(modules)) {
    const text = await readFile(join(modules, name), "utf8");
    const placed = text.replace(/(["'`])onnxruntime-web\/wasm\1/g, `"../runtime/${sitesScript}"`);
    await writeFile(join(site, "engine", name), placed);
  }
}

/** What the studio's server answers, at the names that its page asks for in a site. Returns the version. */
async function writeAnswers(site: string, step: (what: string) => void): Promise<string> {
  step("asking the studio what it shows");
  const server = await listen({ port: 0, groups: studioGroups() });
  try {
    const ask = async (path: string): Promise<string> => {
      const response = await fetch(new URL(path, server.url));
      const text = await response.text();
      ensure(response.ok, "internal", `${path} answers ${response.status}: ${text.slice(0, 500)}`);
      return text;
    };
    const keep = async (name: string, text: string): Promise<void> => {
      const path = join(site, "data", name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, text);
    };
    for (const name of ["methods", "measurements"]) await keep(`${name}.json`, await ask(`/api/${name}`));
    const papers: { name: string; trace: boolean }[] = JSON.parse(await ask("/api/papers"));
    await keep("papers.json", JSON.stringify(papers));
    for (const { name } of papers.filter(({ trace }) => trace))
      await keep(`papers/${name}/trace.jsonl`, await ask(`/api/papers/${name}/trace`));
    const listed: { name: string }[] = JSON.parse(await ask("/api/models"));
    const ours = listed.filter(({ name }) => siteModels.some((one) => one === name));
    await keep("models.json", JSON.stringify(ours));
    for (const { name } of ours) {
      step(`asking the studio about ${name}`);
      for (const what of ["card", "facts", "vocabulary"])
        await keep(`models/${name}/${what}.json`, await ask(`/api/models/${name}/${what}`));
      const { lossCurve } = JSON.parse(await ask(`/api/models/${name}/card`));
      if (lossCurve) await keep(`models/${name}/loss.svg`, await ask(`/api/models/${name}/loss.svg`));
    }
    const { version } = JSON.parse(await ask("/health"));
    await keep("site.json", JSON.stringify({ version, models: siteModels }));
    return version;
  } finally {
    await server.close();
  }
}

/** The page knows by a mark in its head that it has no server, and what to say where it is not served at all. */
async function writePage(site: string, version: string): Promise<void> {
  const path = join(site, "index.html");
  const known = JSON.stringify({ version, models: siteModels }).replaceAll('"', "&quot;");
  const head = `<meta http-equiv="Content-Security-Policy" content="${policy}" />
    <meta name="ventris-site" content="${known}" />`;
  const unserved = `<p>This page needs a web server, also on your own machine: python3 -m http.server, or npx serve, in its folder.</p>`;
  const page = await readFile(path, "utf8");
  const marked = page.replace(/(<meta charset="utf-8" ?\/?>)/, `$1\n    ${head}`);
  const said = marked.replace('<div id="app"></div>', `<div id="app">${unserved}</div>`);
  ensure(marked !== page && said !== marked, "internal", "the studio's page is not as it was built");
  await writeFile(path, said);
}
