/** The studio: how heavy its page is, how soon it is there, what serving costs a run, and whether the serving process stays awake. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { chromiumPath } from "../scripts/chromium.mjs";
import { alternate, median, ratio } from "./harness/measure.mjs";
import { atMost } from "./harness/report.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const page = join(root, "dist", "studio");

/** Why the page is not there, or undefined; builds it first. */
function unbuilt() {
  spawnSync(process.execPath, [join(root, "scripts", "build.mjs")], { cwd: root, stdio: ["ignore", 2, 2] });
  return existsSync(join(page, "index.html")) ? undefined : "dist/studio was not built";
}

async function started() {
  const { listen, studioGroups } = await import("../dist/server/listen.js");
  return listen({ port: 0, groups: studioGroups() });
}

const request = {
  prompt: "Once upon a time there was an old king who could read a forgotten script.",
  tokens: 200,
  temperature: 0.8,
};

/** A run of 200 tokens through HTTP; seconds from asking to the last event. @param {string} url @param {number} seed */
async function serve(url, seed) {
  const begin = performance.now();
  const response = await fetch(new URL("/api/runs", url), {
    method: "POST",
    body: JSON.stringify({
      model: "knossos",
      prompt: request.prompt,
      method: { name: "sample" },
      // As the playground asks: with the alternatives of every token.
      options: {
        seed,
        temperature: request.temperature,
        maxTokens: request.tokens,
        minTokens: request.tokens,
        logprobs: 5,
      },
    }),
  });
  const text = await response.text();
  if (!text.includes('"type":"finish"')) throw new Error(`the run failed: ${text.slice(-300)}`);
  return (performance.now() - begin) / 1000;
}

/** @type {import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  {
    what: "bytes of script and style, compressed",
    target: atMost(250, " KB"),
    measure: async () => {
      const missing = unbuilt();
      if (missing) return { skipped: missing };
      const files = readdirSync(join(page, "assets")).filter((name) => /\.(js|css)$/.test(name));
      const value =
        files.reduce((sum, name) => sum + gzipSync(readFileSync(join(page, "assets", name))).length, 0) / 1000;
      return { value, runs: [value] };
    },
  },
  {
    what: "first useful paint on loopback: from asking to 24 cards",
    target: atMost(1, " s"),
    measure: async ({ runs, progress }) => {
      const missing = unbuilt() ?? (chromiumPath ? undefined : "no chromium (set CHROMIUM)");
      if (missing) return { skipped: missing };
      const { chromium } = await import("../node_modules/playwright-core/index.mjs");
      const server = await started();
      const browser = await chromium.launch({ executablePath: chromiumPath, args: ["--no-sandbox"] });
      try {
        const times = [];
        for (let i = 0; i <= runs; i++) {
          const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
          const tab = await context.newPage();
          const begin = performance.now();
          await tab.goto(server.url, { waitUntil: "commit" });
          await tab.locator(".tablet h2").nth(23).waitFor();
          times.push((performance.now() - begin) / 1000);
          await context.close();
        }
        const counted = times.slice(1); // the first one starts the browser's own processes
        progress(`  first of all ${times[0].toFixed(2)} s`);
        return { value: median(counted), runs: counted };
      } finally {
        await browser.close();
        await server.close();
      }
    },
  },
  {
    what: "a run of 200 tokens through the playground's route over the same run by the library",
    target: atMost(1.15),
    measure: async ({ runs }) => {
      const { open } = await import("../dist/index.js");
      const server = await started();
      const model = await open("knossos");
      try {
        let [a, b] = [0, 0];
        const measured = await alternate(
          () => serve(server.url, a++),
          async () => {
            const begin = performance.now();
            const { prompt, tokens, temperature } = request;
            await model.decode(prompt, { seed: b++, temperature, maxTokens: tokens, minTokens: tokens, logprobs: 5 })
              .final;
            return (performance.now() - begin) / 1000;
          },
          2 * runs,
        );
        return ratio(measured);
      } finally {
        await model.close();
        await server.close();
      }
    },
  },
  {
    what: "event-loop delay of the serving process while the engine runs, 99th percentile",
    target: atMost(50, " ms"),
    measure: async ({ runs }) => {
      // A process of its own serves, and this one asks, so that asking does not count.
      const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "serve"], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      try {
        const lines = child.stdout[Symbol.asyncIterator]();
        const url = String((await lines.next()).value).trim();
        await serve(url, 0); // opens the model
        child.stdin.write("begin\n");
        for (let i = 0; i < runs; i++) await Promise.all([1, 2, 3, 4].map((seed) => serve(url, 10 * i + seed)));
        child.stdin.write("end\n");
        const value = Number((await lines.next()).value);
        return { value, runs: [value], note: `${4 * runs} runs, four at a time` };
      } finally {
        child.kill();
      }
    },
  },
];

if (process.argv[1] === fileURLToPath(import.meta.url) && process.argv[2] === "serve") {
  const server = await started();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  console.log(server.url);
  for await (const chunk of process.stdin) {
    if (String(chunk).includes("begin")) delay.enable();
    if (String(chunk).includes("end")) console.log(delay.percentile(99) / 1e6);
  }
}
