/** The package in a page of a real Chromium, bundled as a user's. Skipped, with a reason, where there is no browser. */
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { chromiumPath as executablePath } from "../scripts/chromium.mjs";
import type { Model } from "../src/index.ts";
import { methods, open } from "../src/index.ts";
import * as signals from "../src/methods/signals.ts";
import * as modelArea from "../src/models/index.ts";
import * as tensor from "../src/tensor/index.ts";
import * as training from "../src/training/index.ts";
import { writeFileList } from "../src/weights/index.ts";
import { fitAll, trainHead } from "./browser/learning.ts";
import { decodeAll, cases as methodCases, without } from "./browser/methods.ts";
import { ensureBuilt, root } from "./build.ts";
import { type PageServer, servePages } from "./fixtures/page-server.ts";

const works = executablePath !== undefined && spawnSync(executablePath, ["--version"]).status === 0;

/** What the tests call in the page. */
interface Scope {
  open: typeof open;
  openInWorker: typeof open;
  models: Record<string, Model>;
}

const prompt = "Once upon a time";
const sampled = { temperature: 0.8, seed: 7, maxTokens: 24 };
const cases = {
  greedy: { temperature: 0, maxTokens: 24 },
  sample: sampled,
  dyspec: { ...sampled, method: { name: "dyspec" as const, draft: "pylos", budget: 16 } },
  aded: { ...sampled, method: "aded" as const },
  constrained: { ...sampled, constraint: { regex: "[a-z ]{1,40}\\." } },
  schema: {
    ...sampled,
    constraint: {
      jsonSchema: { type: "object", properties: { born: { type: "string", format: "date" } }, required: ["born"] },
    },
  },
  grammar: { ...sampled, constraint: { grammar: 'root ::= "a" | "b" root' } },
  choices: { ...sampled, constraint: { choices: ["a red fox", "a grey one"] } },
  sql: { ...sampled, constraint: { sqlSchema: { cats: ["name", "age"] } } },
  molecule: { ...sampled, constraint: { smiles: true as const } },
};

describe.skipIf(!works)(`a page${works ? "" : " (no chromium: apt-get install chromium, or set CHROMIUM)"}`, () => {
  let folder: string;
  let server: PageServer;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    ensureBuilt();
    folder = await mkdtemp(join(tmpdir(), "ventris-page-"));
    await mkdir(join(folder, "node_modules"));
    await symlink(root, join(folder, "node_modules", "ventris"), "junction");
    await cp(join(root, "examples", "browser", "index.html"), join(folder, "example.html"));
    const [, copied] = /```html\n([\s\S]*?)```/.exec(await readFile(join(root, "docs", "how", "browser.md"), "utf8"))!;
    await writeFile(join(folder, "how.html"), `<!doctype html><body>${copied}</body>`);
    await writeFile(join(folder, "index.html"), `<!doctype html><script type="module" src="./main.js"></script>`);
    await writeFile(
      join(folder, "main.js"),
      `import { methods, open } from "ventris"; import { open as openInWorker } from "ventris/worker"; import * as signals from "ventris/signals";
      import * as modelArea from "ventris/models"; import * as tensor from "ventris/tensor"; import * as training from "ventris/training";
      Object.assign(globalThis, { ventris: { open, openInWorker, methods, signals, areas: { models: modelArea, tensor, training }, models: {} } });`,
    );
    // The models with a list of their files, by which a page finds their parts.
    await mkdir(join(folder, "listed-models"));
    for (const name of ["knossos", "mycenae"])
      await symlink(join(root, "models", name), join(folder, "listed-models", name), "junction");
    await writeFileList(join(folder, "listed-models"));
    const { build } = await import("vite");
    await build({
      root: folder,
      configFile: false,
      logLevel: "error",
      build: {
        emptyOutDir: true,
        reportCompressedSize: false,
        minify: false,
        rollupOptions: { input: ["index.html", "example.html", "how.html"].map((name) => join(folder, name)) },
      },
    });
    server = await servePages({
      "/": join(folder, "dist"),
      "/models/": join(root, "models"),
      "/other/": folder,
      "/listed-models/": join(folder, "listed-models"),
      "/below/a/path/": join(folder, "site"),
    });
    browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    page = await browser.newPage();
    await page.goto(server.url);
  }, 600_000);
  afterAll(async () => {
    await browser?.close();
    await server?.close();
    await rm(folder, { recursive: true, force: true });
  });
  beforeEach(() => {
    server.instead = () => false;
    server.isolates = true;
  });

  /** Runs in the page, with the scope's models. */
  const inPage = <Result, Given = undefined>(action: (scope: Scope, given: Given) => Promise<Result>, given?: Given) =>
    page.evaluate(`(${action})(globalThis.ventris, ${JSON.stringify(given ?? null)})`) as Promise<Result>;

  /** The error of opening something. */
  const refused = (reference: string) =>
    inPage(async ({ open }, name) => {
      try {
        await (await open(name)).close();
        return undefined;
      } catch (error) {
        const { name: kind, code, message } = error as Error & { code: string };
        return { kind, code, message };
      }
    }, reference);

  it("decodes the very texts of Node by every kind of method, from logits that are Node's to 1e-4", {
    timeout: 300_000,
  }, async () => {
    const wanted: Record<string, string> = {};
    const model = await open("knossos");
    const tokens = model.tokenizer!.encode(prompt);
    const { logits } = await model.forward(tokens);
    for (const [name, options] of Object.entries(cases)) wanted[name] = (await model.generate(prompt, options)).text;
    await model.close();
    const found = await inPage(
      async ({ open, models }, { cases, prompt, tokens }) => {
        models.knossos = await open("knossos");
        const texts: Record<string, string> = {};
        for (const [name, options] of Object.entries(cases))
          texts[name] = (await models.knossos.generate(prompt, options)).text;
        const { logits } = await models.knossos.forward(tokens);
        return {
          texts,
          logits: [...logits!],
          isolated: (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated,
        };
      },
      { cases, prompt, tokens },
    );
    expect(found.isolated).toBe(true);
    expect(found.texts).toEqual(wanted);
    expect(new Set(Object.values(wanted)).size).toBeGreaterThan(2);
    expect(found.logits.length).toBe(logits!.length);
    expect(Math.max(...found.logits.map((value, i) => Math.abs(value - logits![i])))).toBeLessThan(1e-4);
  });

  it("fills blanks with a diffusion model as Node does", { timeout: 300_000 }, async () => {
    const options = { temperature: 0, maxTokens: 16 };
    const model = await open("mycenae");
    const wanted = (await model.generate(prompt, options)).text;
    await model.close();
    const found = await inPage(
      async ({ open }, { prompt, options }) => {
        const model = await open("mycenae");
        const { text } = await model.generate(prompt, options);
        await model.close();
        return text;
      },
      { prompt, options },
    );
    expect(found).toBe(wanted);
  });

  it("ends a run that is aborted, and holds no more memory after 200 generations", { timeout: 300_000 }, async () => {
    const { finish, generated, growth } = await inPage(async ({ models: { knossos } }) => {
      const run = knossos.decode("Once upon a time", { maxTokens: 200, temperature: 1 });
      for await (const _ of run.text) break;
      const result = await run.final;
      const used = () => (performance as unknown as { memory: { usedJSHeapSize: number } }).memory.usedJSHeapSize;
      const some = async (count: number) => {
        for (let seed = 0; seed < count; seed++)
          await knossos.generate("The cat", { maxTokens: 3, temperature: 1, seed });
      };
      await some(40);
      const before = used();
      await some(200);
      return { finish: result.finish, generated: result.counters.generated, growth: used() - before };
    });
    expect(finish).toBe("aborted");
    expect(generated).toBeLessThan(20);
    expect(growth).toBeLessThan(30 * 2 ** 20);
  });

  it("says what is wrong with an address, a file, or a device, and what to do", { timeout: 120_000 }, async () => {
    expect(await refused("knosos")).toMatchObject({
      kind: "VentrisError",
      code: "unavailable",
      message: expect.stringMatching(/models\/knosos: nothing of a model is there.*config\.json/),
    });
    for (const file of ["./nowhere/model.gguf", `${server.url}nowhere/model.gguf`]) {
      expect(await refused(file)).toMatchObject({
        code: "unavailable",
        message: expect.stringMatching(/nowhere\/model\.gguf: there is no such file/),
      });
    }
    expect(await refused(`${server.url}models/pylos/model.safetensors`)).toBeUndefined();
    await mkdir(join(folder, "odd"), { recursive: true });
    await cp(join(root, "models", "pylos", "config.json"), join(folder, "odd", "config.json"));
    await writeFile(join(folder, "odd", "model.safetensors"), "this is no model, but a text of some length");
    expect(await refused("./other/odd")).toMatchObject({
      code: "bad_file",
      message: expect.stringContaining("model.safetensors"),
    });
    // A list of files that promises another hash.
    const bytes = await readFile(join(folder, "odd", "model.safetensors"));
    const files = Object.fromEntries(
      ["config.json", "model.safetensors"].map((name) => [name, { size: bytes.length, sha256: "0".repeat(64) }]),
    );
    await mkdir(join(folder, "listed"), { recursive: true });
    await cp(join(folder, "odd"), join(folder, "listed"), { recursive: true });
    await writeFile(
      join(folder, "listed", "ventris-files.json"),
      JSON.stringify({ format: "ventris files 1", files: { "model.safetensors": files["model.safetensors"] } }),
    );
    expect(await refused("./other/listed")).toMatchObject({
      code: "bad_file",
      message: expect.stringMatching(/does not match the hash/),
    });
    expect(
      await inPage(async ({ open }) =>
        open("knossos", { device: "cuda" }).then(String, ({ code, message }) => [code, message]),
      ),
    ).toEqual(["unavailable", expect.stringContaining("webgpu")]);
  });

  it("runs every method of the registry, with the texts of Node", { timeout: 300_000 }, async () => {
    const registry = methods.map(({ name, needs }) => ({ name, needs }));
    expect([...Object.keys(methodCases), ...Object.keys(without)].sort()).toEqual(
      registry.map(({ name }) => name).sort(),
    );
    const given = { registry, cases: methodCases, folder: join(folder, "written") };
    const own = { forest: await open("knossos"), canvas: await open("mycenae") };
    const wanted = await decodeAll(own, given);
    for (const model of Object.values(own)) await model.close();
    const found = await page.evaluate(`(async () => {
      const own = { forest: await ventris.open("./listed-models/knossos"), canvas: await ventris.open("./listed-models/mycenae") };
      const registry = ventris.methods.map(({ name, needs }) => ({ name, needs }));
      const texts = await (${decodeAll})(own, { registry, cases: ${JSON.stringify(methodCases)}, folder: "written" });
      for (const model of Object.values(own)) await model.close();
      return texts;
    })()`);
    expect(found).toEqual(wanted);
    expect(Object.values(wanted).filter((text) => text.startsWith("FAILED"))).toEqual([]);
    // Lossless ones write what plain sampling writes: so do drafts from parts, also from one that the page wrote itself.
    for (const name of ["dyspec", "medusa", "eagle", "multimodal"]) expect(wanted[name]).toBe(wanted.sample);
  });

  it("fits filters and trains a head on a frozen model as Node does, and keeps both", {
    timeout: 300_000,
  }, async () => {
    const model = await open("pylos");
    const wanted = {
      filters: await fitAll(signals, folder),
      head: await trainHead(model, { models: modelArea, tensor, training }, folder),
    };
    await model.close();
    const found = (await page.evaluate(`(async () => {
      const model = await ventris.open("pylos");
      const filters = await (${fitAll})(ventris.signals, "fitted");
      const head = await (${trainHead})(model, ventris.areas, "trained");
      await model.close();
      return { filters, head, table: await ventris.signals.readTable("x.csv").catch(({ code, message }) => [code, message]) };
    })()`)) as typeof wanted & { table: string[] };
    expect(Object.keys(found.filters).sort()).toEqual(signals.filters.map(({ name }) => name).sort());
    for (const [name, means] of Object.entries(wanted.filters)) {
      expect(Array.isArray(means), `${name}: ${means}`).toBe(true);
      const difference = (found.filters[name] as number[]).map((value, i) => Math.abs(value - (means as number[])[i]));
      expect(Math.max(...difference), name).toBeLessThan(1e-3);
    }
    expect(found.table).toEqual(["unavailable", expect.stringContaining("give numbers")]);
    expect(wanted.head.losses.at(-1)!).toBeLessThan(wanted.head.losses[0] - 0.5);
    for (const [i, loss] of wanted.head.losses.entries()) expect(found.head.losses[i]).toBeCloseTo(loss, 3);
    expect([found.head.kept, found.head.kind]).toEqual([true, "medusa"]);
  });

  it("says what to do when the browser gives no more room, and goes on once it gives some", {
    timeout: 120_000,
  }, async () => {
    const context = await browser.newContext();
    const shown = await context.newPage();
    await shown.goto(server.url);
    const session = await context.newCDPSession(shown);
    const origin = new URL(server.url).origin;
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 500_000 });
    const opening = `ventris.open("pylos").then(({ name }) => name, ({ code, message }) => [code, message])`;
    expect(await shown.evaluate(opening)).toEqual([
      "disk_full",
      expect.stringMatching(/gives this site no more room.*remove models that are no longer needed/),
    ]);
    await session.send("Storage.overrideQuotaForOrigin", { origin });
    expect(await shown.evaluate(opening)).toMatch(/pylos$/);
    await context.close();
  });

  it("keeps models in memory where the browser keeps no files, and says so", { timeout: 120_000 }, async () => {
    const context = await browser.newContext();
    await context.addInitScript("StorageManager.prototype.getDirectory = () => Promise.reject(new Error('none here'))");
    const shown = await context.newPage();
    const said: string[] = [];
    shown.on("console", (message) => said.push(message.text()));
    await shown.goto(server.url);
    const text = await shown.evaluate(
      `ventris.open("pylos").then((model) => model.generate("Once upon a time", { temperature: 0, maxTokens: 4 })).then(({ text }) => text)`,
    );
    expect(text).not.toBe("");
    expect(said.filter((line) => line.startsWith("ventris:"))).toEqual([
      expect.stringMatching(/models stay in memory, and are downloaded anew/),
    ]);
    await context.close();
  });

  it("tells of a worker that was killed, and opens the model again", { timeout: 120_000 }, async () => {
    const found = await inPage(
      async ({ openInWorker }, { prompt }) => {
        const scope = globalThis as unknown as { Worker: new (...given: never[]) => { terminate(): void } };
        const Own = scope.Worker;
        const started: { terminate(): void }[] = [];
        scope.Worker = class extends Own {
          constructor(...given: never[]) {
            super(...given);
            started.push(this);
          }
        };
        const model = await openInWorker("pylos");
        scope.Worker = Own;
        const run = model.decode(prompt, { maxTokens: 900, minTokens: 900, temperature: 1 });
        await run.text[Symbol.asyncIterator]().next();
        started[0].terminate();
        const why = ({ code, message }: { code: string; message: string }) => [code, message];
        const during = await run.final.then(() => "it ended well", why);
        const after = await model.generate(prompt).then(() => "it answered", why);
        const again = await openInWorker("pylos");
        const { text } = await again.generate(prompt, { temperature: 0, maxTokens: 4 });
        await again.close();
        return { during, after, text };
      },
      { prompt },
    );
    for (const error of [found.during, found.after])
      expect(error).toEqual(["runtime_failed", expect.stringMatching(/has ended.*Open the model again/)]);
    expect(found.text).not.toBe("");
  });

  it("goes on with a download that was cut off, also after the page was gone", { timeout: 120_000 }, async () => {
    const context = await browser.newContext();
    const first = await context.newPage();
    await first.goto(server.url);
    const whole = await readFile(join(root, "models", "phaistos", "model.safetensors"));
    const half = 9 * 2 ** 20;
    server.instead = (path, { method }, response) => {
      if (path !== "/models/phaistos/model.safetensors" || method !== "GET") return false;
      response.writeHead(200, { "content-length": whole.length, etag: `"${whole.length}"` });
      response.write(whole.subarray(0, half)); // and then nothing more
      return true;
    };
    await first.evaluate(
      `ventris.open("phaistos", { onProgress: ({ done }) => { globalThis.done = done; } }).catch(() => {}), undefined`,
    );
    await expect.poll(() => first.evaluate("globalThis.done"), { timeout: 60_000 }).toBeGreaterThan(half - 2 ** 18);
    await first.close();
    server.instead = () => false;
    server.asked.length = 0;
    const second = await context.newPage();
    await second.goto(server.url);
    const text = await second.evaluate(`(async () => {
      const model = await ventris.open("phaistos");
      return (await model.generate("Once upon a time", { temperature: 0, maxTokens: 4 })).text;
    })()`);
    await context.close();
    expect(text).not.toBe("");
    const rest = server.asked.filter((line) => line.startsWith("GET /models/phaistos/model.safetensors"));
    expect(rest).toEqual([expect.stringMatching(/bytes=\d{7}/)]);
  });

  it("downloads a model once, when pages and workers of the site open it at the same time", {
    timeout: 120_000,
  }, async () => {
    const context = await browser.newContext();
    const pages = await Promise.all([context.newPage(), context.newPage()]);
    for (const one of pages) await one.goto(server.url);
    server.asked.length = 0;
    const texts = await Promise.all(
      pages.map((one) =>
        one.evaluate(`Promise.all([ventris.open, ventris.openInWorker].map(async (open) => {
          const model = await open("pylos");
          const { text } = await model.generate("Once upon a time", { temperature: 0, maxTokens: 4 });
          await model.close();
          return text;
        })).catch(({ message }) => message)`),
      ),
    );
    await context.close();
    expect(new Set(texts.flat() as string[]).size, JSON.stringify(texts)).toBe(1);
    expect(server.asked.filter((line) => line.startsWith("GET /models/pylos/model.safetensors"))).toHaveLength(1);
  });

  it("decodes in a worker, where the page stays free, a run is aborted, and functions are refused", {
    timeout: 300_000,
  }, async () => {
    const found = await inPage(
      async ({ openInWorker, models: { knossos } }, { prompt, options }) => {
        const model = await openInWorker("knossos");
        const wanted = (await knossos.generate(prompt, options)).text;
        let turns = 0;
        const timer = setInterval(() => turns++, 5);
        const run = model.decode(prompt, options);
        let text = "";
        for await (const piece of run.text) text += piece;
        clearInterval(timer);
        const types = new Set<string>();
        for await (const { type } of run) types.add(type);
        const long = model.decode(prompt, { maxTokens: 200, temperature: 1 });
        for await (const _ of long.text) break;
        const { finish } = await long.final;
        const refusal = await model
          .generate(prompt, { constraint: (() => true) as never })
          .catch(({ code, message }) => [code, message]);
        const unknown = await model.generate(prompt, { method: "nothing" as never }).catch(({ code }) => code);
        await model.close();
        const after = await model.generate(prompt).catch(({ code }) => code);
        return { same: text === wanted, turns, types: [...types], finish, refusal, unknown, after };
      },
      { prompt, options: sampled },
    );
    expect(found).toMatchObject({ same: true, finish: "aborted", unknown: "bad_option", after: "bad_option" });
    expect(found.turns).toBeGreaterThan(3);
    expect(found.types).toEqual(expect.arrayContaining(["start", "finish"]));
    expect(found.refusal).toEqual(["bad_option", expect.stringContaining("cannot cross to the worker")]);
  });

  it("needs at most 15 MB, compressed, to its first token: scripts, runtime and the shipped knossos", async () => {
    const assets = join(folder, "dist", "assets");
    const names = (await readdir(assets)).filter((name) => !/asyncify|webgpu|^thread/.test(name)); // of the device WebGPU, and of workers
    const models = ["config.json", "model.safetensors", "tokenizer.json"].map((name) =>
      join(root, "models/knossos", name),
    );
    const files = [...names.map((name) => join(assets, name)), ...models];
    const sizes = await Promise.all(files.map(async (file) => gzipSync(await readFile(file)).length));
    expect(names.some((name) => name.endsWith(".wasm"))).toBe(true);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(15e6);
  });

  it("writes on WebGPU what it writes on the processor, on the software driver", { timeout: 120_000 }, async () => {
    const args = [
      "--no-sandbox",
      "--enable-unsafe-webgpu",
      "--use-webgpu-adapter=swiftshader",
      "--enable-features=Vulkan",
    ];
    const other = await chromium.launch({ executablePath, args });
    try {
      const shown = await other.newPage();
      await shown.goto(server.url);
      // A page of keys and values is full after 192 tokens; then the same again, when the prefix is kept.
      const found = (await shown.evaluate(`(async () => {
        const { createBuffer } = GPUDevice.prototype;
        const seen = { copies: 0, bytes: 0 };
        GPUDevice.prototype.createBuffer = function (description) {
          const made = createBuffer.call(this, description);
          if (description.usage === 0x8c) seen.copies += 1;
          return made;
        };
        const { writeBuffer } = GPUQueue.prototype;
        GPUQueue.prototype.writeBuffer = function (...given) {
          seen.bytes += given[4] ?? 0;
          return writeBuffer.apply(this, given);
        };
        const texts = [];
        for (const device of ["cpu", "webgpu"]) {
          const model = await ventris.open("pylos", { device });
          const said = [];
          const prompt = model.tokenizer.encode("The old king had a horse and a dog. ".repeat(30)).slice(0, 186);
          for (const seed of [7, 8])
            said.push((await model.generate(prompt, { temperature: 0.8, seed, maxTokens: 20 })).text);
          texts.push(said);
          await model.close();
        }
        return { texts, seen };
      })()`)) as { texts: string[][]; seen: { copies: number; bytes: number } };
      // Keys and values lie on the device, and only what is new is sent there: in every pass anew it would be more than 5 MB.
      expect(found.seen.copies).toBeGreaterThan(0);
      expect(found.seen.bytes).toBeLessThan(1e6);
      expect(found.texts[1]).toEqual(found.texts[0]);
    } finally {
      await other.close();
    }
  });

  it("runs the studio as a static site, below a path, on a server that knows nothing of it", {
    timeout: 300_000,
  }, async () => {
    const write = () =>
      spawnSync(process.execPath, [join(root, "dist/cli/main.js"), "studio", "--static", "site"], {
        cwd: folder,
        encoding: "utf8",
      });
    await mkdir(join(folder, "site"));
    await writeFile(join(folder, "site", "mine.txt"), "no site");
    expect(write()).toMatchObject({ status: 2, stdout: "", stderr: expect.stringMatching(/holds something else/) });
    await rm(join(folder, "site", "mine.txt"));
    expect(write()).toMatchObject({ status: 0, stdout: `${join(folder, "site")}\n` });
    const model = await open("knossos");
    const options = { temperature: 0.8, seed: 7, maxTokens: 24 };
    const { tokens } = await model.generate(prompt, {
      ...options,
      method: { name: "dyspec", draft: "pylos", budget: 24 },
    });
    const wanted = tokens.map((token) => model.tokenizer!.decode([token], { continued: true, special: true }));
    await model.close();

    server.isolates = false;
    const place = `${server.url}below/a/path/`;
    /** The site in a visitor's browser, and what it did that it should not. */
    async function visit(serviceWorkers: "allow" | "block") {
      const context = await browser.newContext({ serviceWorkers, reducedMotion: "reduce" });
      const shown = await context.newPage();
      const faults: string[] = [];
      shown.on("pageerror", (error) => faults.push(error.message));
      shown.on("console", (message) => message.type() === "error" && faults.push(message.text()));
      context.on("request", (request) => request.url().startsWith(place) || faults.push(`asked for ${request.url()}`));
      await shown.goto(place);
      return { context, shown, faults };
    }
    async function run(shown: Page, count: number) {
      await shown.getByLabel("maxTokens", { exact: true }).fill(String(count));
      await shown.getByRole("button", { name: "run", exact: true }).click();
      await shown.getByText("ended by").first().waitFor({ timeout: 90_000 });
      return shown.locator("[data-token]").allTextContents();
    }
    const { context, shown, faults } = await visit("allow");
    await shown.getByText(/^no server: .* on \d threads$/).waitFor({ timeout: 30_000 });
    expect(await shown.evaluate("crossOriginIsolated")).toBe(true);
    await shown.locator(".tablet").nth(23).waitFor();
    await shown.goto(`${place}#/playground`);
    await shown.getByLabel("prompt", { exact: true }).fill(prompt);
    expect(await run(shown, 24)).toEqual(wanted);
    expect(await shown.locator("[data-token].accepted").count()).toBeGreaterThan(2);
    // What is wrong is said at its field, as by the server.
    await shown
      .getByText(/^\+? ?options/)
      .first()
      .click();
    await shown.getByLabel("draft", { exact: true }).fill("phaistos");
    await shown.getByRole("button", { name: "run", exact: true }).click();
    await shown
      .getByText(/no model "phaistos" is listed here/)
      .first()
      .waitFor();
    await shown.getByLabel("model", { exact: true }).selectOption("mycenae");
    expect((await run(shown, 8)).length).toBeGreaterThan(3);
    await shown.goto(`${place}#/trace/dyspec`);
    await shown
      .getByText(/^\d+ of \d+$/)
      .first()
      .waitFor();
    await shown.goto(`${place}#/models/pylos`);
    await shown.getByText(/\d+ tokens, [\d.]+ characters a token/).waitFor();
    await shown.getByRole("img", { name: "loss curve of pylos over its training" }).waitFor();
    await context.close();
    expect(faults).toEqual([]);

    const alone = await visit("block");
    await alone.shown.getByText(/on one thread, as its server does not isolate the page$/).waitFor();
    await alone.shown.goto(`${place}#/playground`);
    expect((await run(alone.shown, 4)).length).toBe(4);
    expect(alone.faults).toEqual([]);
    await alone.shown.goto(`${place}#/trace/dispec`);
    await alone.shown.getByText("dispec: nothing is kept under this name").waitFor();
    await alone.context.close();
  });

  it("runs the answer of docs/how as it is copied", { timeout: 120_000 }, async () => {
    const other = await browser.newPage();
    await other.goto(`${server.url}how.html`);
    await using model = await open("knossos");
    const { text } = await model.generate(prompt, { seed: 7, maxTokens: 40 });
    const body = other.locator("body");
    await expect.poll(() => body.textContent(), { timeout: 60_000 }).toContain(text.trim());
    expect((await body.textContent())!.trim()).toBe(text.trim());
    await other.close();
  });

  it("shows the example as it is copied", { timeout: 120_000 }, async () => {
    const other = await browser.newPage();
    await other.goto(`${server.url}example.html`);
    await other.getByText(/^ready: knossos, 5\.5 million/).waitFor({ timeout: 60_000 });
    await other.getByRole("button", { name: "go on" }).click();
    await other.getByText(/^(length|end): \d+ tokens, \d+ a second/).waitFor({ timeout: 60_000 });
    expect((await other.locator("#story").textContent())!.length).toBeGreaterThan(60);
    await other.close();
  });
});
