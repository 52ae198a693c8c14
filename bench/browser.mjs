/** The library in a page of Chromium beside Node's: how fast it decodes, and what a visitor downloads before the first token. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { chromiumPath } from "../scripts/chromium.mjs";
import { alternate, ratio } from "./harness/measure.mjs";
import { atLeast, atMost } from "./harness/report.mjs";
import { openRaw, shippedModel } from "./ours.mjs";
import { exportGguf } from "./weights/gguf.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const types = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};
const threads = 2;

/** Why there is no page to measure, or undefined; builds it first. */
function missing() {
  spawnSync(process.execPath, [join(root, "scripts", "build.mjs")], { cwd: root, stdio: ["ignore", 2, 2] });
  if (!existsSync(join(root, "dist", "browser", "bundle", "studio.js"))) return "dist/browser was not built";
  return chromiumPath ? undefined : "no chromium (set CHROMIUM)";
}

/** The static studio's folder, which has engine, runtime and models by their places, with a bare page; and what was asked for. */
async function serve() {
  const { writeSite } = await import("../dist/server/site.js");
  const temporary = await mkdtemp(join(tmpdir(), "ventris-bench-"));
  const site = join(temporary, "site");
  await writeSite(site);
  await writeFile(
    join(site, "bare.html"),
    '<!doctype html><meta charset="utf-8"><script type="module">globalThis.ventris = { page: await import("./engine/index.js"), worker: await import("./engine/worker.js") };</script>',
  );
  exportGguf(/** @type {string} */ (shippedModel("knossos")), join(site, "models", "knossos-int8.gguf"), "Q8_0");
  /** @type {Set<string>} */
  const asked = new Set();
  const server = createServer((request, response) => {
    const path = join(site, decodeURIComponent(new URL(request.url ?? "/", "http://page").pathname));
    const found = existsSync(path) && statSync(path).isFile();
    if (!found) {
      response.writeHead(404).end();
      return;
    }
    if (request.method === "GET") asked.add(path);
    response.writeHead(200, {
      "content-type": types[/** @type {keyof typeof types} */ (extname(path))] ?? "application/octet-stream",
      "content-length": statSync(path).size,
      etag: `"${statSync(path).mtimeMs}"`,
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
    });
    response.end(request.method === "HEAD" ? undefined : readFileSync(path));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const { chromium } = await import("../node_modules/playwright-core/index.mjs");
  const browser = await chromium.launch({ executablePath: chromiumPath, args: ["--no-sandbox"] });
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${port}/bare.html`);
  await page.waitForFunction("globalThis.ventris");
  return {
    page,
    asked,
    async close() {
      await browser.close();
      server.close();
      server.closeAllConnections();
      await rm(temporary, { recursive: true, force: true });
    },
  };
}

const request = { prompt: "Once upon a time there was an old king.", tokens: 96 };
const options = (/** @type {number} */ seed) => ({
  seed,
  temperature: 0.8,
  maxTokens: request.tokens,
  minTokens: request.tokens,
});

/** Tokens a second while decoding, in turns with Node; `where`: in the page's own thread, or in a worker. @param {"page" | "worker"} where @param {import("./harness/report.mjs").Settings} settings */
async function compare(where, { runs, progress }) {
  const skipped = missing();
  if (skipped) return { skipped };
  const { page, close } = await serve();
  const model = await openRaw("knossos", { threads });
  try {
    await page.evaluate(
      `ventris.${where}.open("knossos", { threads: ${threads} }).then((model) => { globalThis.model = model; })`,
    );
    let [a, b] = [0, 0];
    /** @type {string[][]} */
    const texts = [[], []];
    const measured = await alternate(
      async () => {
        const { text, counters, seconds } = /** @type {any} */ (
          await page.evaluate(`model.generate(${JSON.stringify(request.prompt)}, ${JSON.stringify(options(a++))})`)
        );
        texts[0].push(text);
        return counters.generated / seconds.decode;
      },
      async () => {
        const { text, counters, seconds } = await model.generate(request.prompt, options(b++));
        texts[1].push(text);
        return counters.generated / seconds.decode;
      },
      2 * runs,
      progress,
    );
    const same = texts[0].filter((text, i) => text === texts[1][i]).length;
    return { ...ratio(measured), note: `the same text in ${same} of ${texts[0].length}` };
  } finally {
    await model.close();
    await close();
  }
}

/** Megabytes of all that the page asked for until a model's first token, each file compressed. @param {string} reference @param {object} opening */
async function toFirstToken(reference, opening) {
  const skipped = missing();
  if (skipped) return { skipped };
  const { page, asked, close } = await serve();
  try {
    await page.evaluate(`(async () => {
      const model = await ventris.worker.open(${JSON.stringify(reference)}, ${JSON.stringify(opening)});
      await model.generate("Once", { maxTokens: 1 });
    })()`);
    const sizes = [...asked].map((path) => ({
      name: path.slice(path.lastIndexOf("/") + 1),
      bytes: gzipSync(readFileSync(path)).length,
    }));
    const value = sizes.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6;
    const largest = sizes.sort((a, b) => b.bytes - a.bytes).slice(0, 3);
    const told = largest.map(({ name, bytes }) => `${name} ${(bytes / 1e6).toFixed(1)}`).join(", ");
    return { value, runs: [value], note: `MB, ${sizes.length} files: ${told}` };
  } finally {
    await close();
  }
}

/** @type {import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  {
    what: "tokens/s of knossos in Chromium (WebAssembly, 2 threads) over Node's",
    target: atLeast(0.35),
    measure: (settings) => compare("page", settings),
  },
  {
    what: "the same in a worker of the page",
    target: atLeast(0.35),
    measure: (settings) => compare("worker", settings),
  },
  {
    what: "bytes to the first token, compressed: scripts, runtime, knossos in 8 bits (Q8_0)",
    target: atMost(15, " MB"),
    measure: () => toFirstToken("./models/knossos-int8.gguf", {}),
  },
  {
    what: "bytes to the first token, compressed: scripts, runtime, knossos as it ships (F16), run in 8 bits",
    target: atMost(15, " MB"),
    measure: () => toFirstToken("knossos", { weights: "int8" }),
  },
];
