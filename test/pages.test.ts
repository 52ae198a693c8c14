/**
 * Every code block of the README, of the pages in docs/ and of the methods' READMEs, run as it stands: TypeScript against the built package,
 * commands in an empty folder. docs/methods.md has a test of its own (methods-page.test.ts), and so have the lines of docs/trace.md
 * (trace-page.test.ts) and the programs of the site's generated pages (site.test.ts).
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, delimiter, join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { open } from "../src/index.ts";
import { type Listening, listen, serveGroups } from "../src/server/listen.ts";
import { ensureBuilt, root } from "./build.ts";
import { tinyGguf } from "./fixtures/gguf.ts";
import { serveModel } from "./fixtures/hub.ts";

interface Block {
  readonly language: string;
  readonly text: string;
}

const read = (page: string): string => readFileSync(join(root, page), "utf8");
const blocksOf = (page: string): Block[] =>
  [...read(page).matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)].map(([, language, text]) => ({ language, text }));
const programOf = (page: string): string[] =>
  blocksOf(page).flatMap(({ language, text }) => (language === "ts" ? text : []));
/** Commands without what is said behind them. */
const linesOf = (page: string): string[] =>
  blocksOf(page)
    .filter(({ language }) => language === "")
    .flatMap(({ text }) => text.split("\n"))
    .concat([...read(page).matchAll(/^ {4}(ventris .*)$/gm)].map(([, line]) => line))
    .map((line) => line.replace(/\s+#.*$/, "").trim())
    .filter(Boolean);

let folder: string;
let hub: Server;
let env: NodeJS.ProcessEnv;
let story: string;

beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-pages-"));
  const bin = join(folder, "bin");
  await mkdir(bin);
  await writeFile(join(bin, "ventris"), `#!/bin/sh\nexec "${process.execPath}" "${root}/dist/cli/main.js" "$@"\n`);
  await chmod(join(bin, "ventris"), 0o755);
  await mkdir(join(folder, "node_modules"));
  await symlink(root, join(folder, "node_modules", "ventris"), "junction");
  await writeFile(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  const animals = ["fox", "hen", "bear", "mouse", "owl", "goat", "frog", "cat"];
  const stories = Array.from({ length: 700 }, (_, i) => {
    const [one, other] = [animals[i % 8], animals[(i * 5 + 3) % 8]];
    return `Day ${i}: the ${one} met the ${other} by the river, and they shared ${i % 7} apples before it was dark.`;
  });
  story = stories.join("\n\n");
  // A hub in this process has the names that the pages use: what it gives for them is pylos.
  hub = createServer(serveModel(join(root, "models", "pylos")));
  await new Promise<void>((resolve) => hub.listen(0, "127.0.0.1", resolve));
  env = {
    ...process.env,
    NO_COLOR: "1",
    PATH: `${bin}${delimiter}${process.env.PATH}`,
    VENTRIS_CACHE: join(folder, "cache"),
    HF_ENDPOINT: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`,
  };
}, 300_000);
afterAll(async () => {
  hub?.close();
  await rm(folder, { recursive: true, force: true });
});

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}
/** `until`: ends the command (as Ctrl-C does) when it has said this. */
function call(command: string, words: readonly string[], cwd: string, until?: RegExp): Promise<Outcome> {
  const child = spawn(command, words, { cwd, env, detached: until !== undefined });
  child.stdin.end();
  const texts = { stdout: "", stderr: "" };
  let ended = false; // a second Ctrl-C would not wait
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
      if (ended || !until?.test(texts[name])) return;
      ended = true;
      process.kill(-child.pid!, "SIGINT");
    });
  }
  return new Promise((resolve) => child.on("close", (status) => resolve({ status, ...texts })));
}

/** Blocks of a page as one program, each in a scope of its own but for what the first declares. */
function joined(blocks: readonly string[]): string {
  const imports = /^import [\s\S]*?;\n/gm;
  const head = new Set(blocks.flatMap((block) => block.match(imports) ?? []));
  const [body, ...bodies] = blocks.map((block) => block.replace(imports, "").replace(/^export /gm, ""));
  return `${[...head].join("")}${body}${bodies.map((text) => `{\n${text}}\n`).join("")}`;
}
async function writeProgram(name: string, blocks: readonly string[], place = folder): Promise<void> {
  const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  await writeFile(join(place, `${name}.mjs`), ts.transpile(joined(blocks), options));
}
async function runProgram(name: string, blocks: readonly string[], place = folder): Promise<Outcome> {
  await writeProgram(name, blocks, place);
  await writeFile(
    join(place, `${name}-run.mjs`),
    `await import("./${name}.mjs");\nprocess.exit(process.exitCode ?? 0);\n`,
  );
  return call(process.execPath, [`${name}-run.mjs`], place);
}

describe("programs", () => {
  it("README.md", { timeout: 300_000 }, async () => {
    const { status, stdout, stderr } = await runProgram("readme", programOf("README.md"));
    expect(stderr).toBe("");
    expect(stdout).toMatch(/\n(length|end): \d+ tokens in \d+ passes, \d+\.\d\d s\n/);
    expect(status).toBe(0);
  });

  it("docs/library.md", { timeout: 300_000 }, async () => {
    const { status, stdout, stderr } = await runProgram("library", programOf("docs/library.md"));
    expect(stderr).toMatch(/^load\n/);
    expect(stdout).toMatch(/Answer: 22[\s\S]*\d+ tokens of the prompt/);
    const clamped = /\nclasses 0,0,0,1,1,1\ndog (0\.\d+) entropy \d\.\d+\ndog (0\.\d+) entropy \d\.\d+\n/.exec(stdout);
    expect(clamped, stdout).not.toBeNull();
    expect(Number(clamped![2]) / Number(clamped![1])).toBeGreaterThan(30); // as the page says
    expect(stdout).toMatch(/bad_option decode options: topP must be at most 1, not 3\n$/);
    expect(status).toBe(0);
  });

  it("docs/engine.md", { timeout: 300_000 }, async () => {
    const { status, stdout, stderr } = await runProgram("engine", programOf("docs/engine.md"));
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^0 \d+ \d+\n/);
  });

  it("docs/papers.md", { timeout: 300_000 }, async () => {
    const from = (block: string): string =>
      block.replaceAll("../../../papers/", `${root}/dist/papers/`).replaceAll('.ts"', '.js"');
    const [paper, reproduction] = programOf("docs/papers.md").map(from);
    const run = `import { reproduce } from "${root}/dist/papers/run.js";
      const { measurements } = await reproduce({ ...paper, reproduction: async () => reproduction }, { size: "tiny", folder: "steps" });
      console.log(JSON.stringify(measurements));`;
    const { status, stdout, stderr } = await runProgram("papers", [
      paper.replace('(await import("./reproduce.js")).reproduction', "undefined"),
      `${reproduction}${run}`,
    ]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toMatchObject([{ claim: "against-sequoia", value: expect.any(Number), count: 2 }]);
  });
});

/** What the programs of the tutorial and of "How do I" print, each run as a page's blocks in order. */
const guides: Readonly<Record<string, RegExp>> = {
  "docs/tutorial/2-first-run": /\n(length|end): \d+ tokens in \d+ passes, \d+\.\d\d s\n.*\S/,
  "docs/tutorial/3-method":
    /^(\d+) passes alone, \d+ with a draft\nthe same text\n(drafted \[[\s\S]*\n {2}kept \d+ and then: .*)+/,
  "docs/tutorial/4-own": /^\{ name: '.*', age: \d+ \}\nfinish: (stop|end), after so many sure tokens: \d+\n$/,
  "docs/how/stream": /^[\s\S]+\n(length|end) after \d+ tokens\n(\[[ \d,]+\] .*\n){8}/,
  "docs/how/stop": /^"[^.!]+" stop [.!]\naborted true\n$/,
  "docs/how/json": /^end \{ animal: '(fox|hen|bear)', friends: \[.*\] \}\n$/,
  "docs/how/chat": /^[\s\S]*22\n[\s\S]*\n5 messages\n[\s\S]*22\ntrue\n$/,
  "docs/how/concurrent": /\n3 different texts\n$/,
  "docs/how/faster": /^[\d.]+ tokens a pass, the same text\n[1-9]\d* of \d+ drafted tokens accepted\n$/,
  "docs/how/gguf": /^\d+ parameters, 128 tokens of context\n\[[\d\s,]+\]\n$/,
  "docs/how/hub": /^.*model\.safetensors.*\n[\s\S]*\S\n$/,
  "docs/how/embeddings": /^\d+ true\n$/,
  "docs/how/tokens": /^\d tokens of at most \d+\nOnce upon a time\ncontext_full\n$/,
  "docs/how/logprobs": /^(".*" -?\d\.\d\d.*\n){4}\d+\.\d \d+\ntrue\n$/,
  "docs/how/seeds": /^true true false\n$/,
  "docs/how/look-inside":
    /layers\.0\.attention\.keys 128 4\n[\s\S]*layers\.5\.residual {2}time\nking 7\.\d+ queen 5\.\d+\n0 5\.\d+\n1 5\.\d+\n2 7\.\d+\n[\s\S]+\n11 rows/,
  "docs/how/memory": /\S/,
  "docs/how/gpu": /^(no such device here: unavailable|[\s\S]*\S)\n$/,
  "docs/how/serve": /61/,
  "docs/how/ai-sdk": /19[\s\S]*\n\{"number":\d+\}\n$/,
  "docs/how/tools": /^multiply number number\n$/,
  "docs/how/signals": /^wider true\nnRMSE 0\.[0-4]\d\n1,2,x 19 2 \[ 2, 0 \]\n$/,
  "docs/how/unmask":
    /^low-confidence (\d\d) passes ".*"\nlocalleap \d passes ".*"\nOnce upon a time there was a .* who lived in the .*\.\n(\d+ [\d ]+ ".*"\n)+$/,
  "docs/how/images": /^The square is at the right\.\n$/,
};

describe("the tutorial's programs and those of the answers", () => {
  let server: Listening;
  let said: Map<string, string>;
  beforeAll(async () => {
    server = await listen({ port: 0, groups: serveGroups(false) });
    const place = await mkdtemp(join(folder, "guides-"));
    for (const name of ["openai", "ai", "zod"])
      await symlink(join(root, "node_modules", name), join(folder, "node_modules", name), "junction");
    await writeFile(join(place, "model.gguf"), tinyGguf());
    await symlink(join(root, "models"), join(place, "models"), "junction"); // as in a checkout
    // In one process, one after the other: each opens its models, and the runtime is loaded once.
    for (const page of Object.keys(guides)) {
      const blocks = programOf(`${page}.md`).map((block) => block.replaceAll("http://127.0.0.1:8080/", server.url));
      await writeProgram(basename(page), blocks, place);
    }
    const names = Object.keys(guides).map((page) => basename(page));
    await writeFile(
      join(place, "all.mjs"),
      `for (const name of ${JSON.stringify(names)}) {
        console.log("<<" + name + ">>");
        try { await import("./" + name + ".mjs"); } catch (error) { console.log("failed", error); }
      }
      process.exit(0);`,
    );
    const { stdout } = await call(process.execPath, ["all.mjs"], place);
    said = new Map(stdout.split(/^<</m).map((text) => text.split(">>\n", 2) as [string, string]));
  }, 600_000);
  afterAll(() => server?.close());

  it.each(Object.entries(guides))("%s.md", (page, expected) => {
    expect(said.get(basename(page))).toMatch(expected);
    expect(said.get(basename(page))).not.toContain("failed");
  });

  it("are all there", () => {
    const withPrograms = pages.filter((page) => /^docs\/(tutorial|how)\//.test(page) && programOf(page).length > 0);
    expect(
      Object.keys(guides)
        .map((page) => `${page}.md`)
        .sort(),
    ).toEqual(withPrograms.sort());
    for (const page of pages.filter((one) => /^docs\/(tutorial|how)\//.test(one)))
      for (const { language } of blocksOf(page)) expect(["ts", "", "html"], page).toContain(language); // html: browser.test.ts
  });
});

/** Commands that would take minutes, or go on until Ctrl-C: what is run instead, and what ends it. */
const otherwise: readonly [RegExp, { readonly line?: (line: string) => string; readonly until?: RegExp }][] = [
  [/^ventris studio --static\b/, {}],
  [/^ventris (studio|serve)\b/, { line: (line) => `${line} --port 0`, until: /http:\/\/\S+/ }],
  [/^ventris train (mine|finetune)\b/, { line: (line) => `${line} --max-minutes 0.05` }],
  [/^ventris train --init\b/, { line: (line) => `${line} --minutes 1` }],
  [/^ventris compare\b/, { line: (line) => `${line} --methods greedy,dyspec --max-tokens 8 --repeat 1` }],
  [/^ventris eval perplexity\b/, { line: (line) => `${line} --limit 20` }],
  // The one that takes least stands for all.
  [
    /^ventris reproduce \w+ --trace/,
    { line: (line) => line.replace("reproductions/", "").replace("dyspec ", "aded ") },
  ],
  [/^ventris reproduce\b/, { line: () => "ventris reproduce aded --tiny" }],
  // Trainings: a step or two each.
  [/^ventris train reward\b/, { line: () => "ventris train reward phaistos --out reward --count 5 --rollouts 1" }],
  [/^ventris point train\b/, { line: (line) => line.replace(/--steps \d+/, "--steps 2") }],
  [/^ventris point eval\b/, { line: (line) => `${line} --count 4` }],
  [/^ventris memory train\b/, { line: (line) => `${line} --passes 1 --blocks 1` }],
  [/^ventris diffusion collect\b/, { line: (line) => `${line} --each 1 --length 32` }],
  [/^ventris diffusion train-filter\b/, { line: (line) => `${line} --steps 2` }],
  [/^ventris eeg prepare synthetic\b/, { line: (line) => `${line} --sentences 24` }],
  [/^ventris eeg train\b/, { line: (line) => `${line} --steps 2 --text-steps 2 --batch 4` }],
  [/^ventris eeg evaluate\b/, { line: (line) => `${line} --limit 8 --no-texts` }],
  // A checkpoint of one's own to compare with, which the one that ships stands for.
  [/^ventris inspect neurons --compare\b/, { line: (line) => line.replace("runs/mine/model", "knossos") }],
];
/** Lines that other tests run, or that need what no test may: which file says so. */
const elsewhere: readonly [RegExp, string][] = [
  [/^npm ci && npm (start|test)$/, "test/terminal.test.ts"],
  [/^(npm init -y && )?npm install --ignore-scripts ventris$/, "test/package.test.ts"],
  [/^node scripts\/tables\.mjs$/, "src/papers/tables.test.ts"],
  [/^npm run --silent bench -- (\w+)/, "bench/README.md"], // minutes, and peers
  [/^curl http/, "test/serving-page.test.ts"],
  [/^(redis-server|VENTRIS_SHARE=\S+ ventris serve) /, "test/sharing-processes.test.ts"], // servers that are not ended
  [/^lm_eval /, "test/serving.test.ts"], // by the shape of its calls
  [/^ventris inspect markov\b/, "src/cli/inspect.test.ts"], // thousands of contexts, and checkpoints of one training
  [/^ventris memory bottleneck\b/, "test/memory-cli.test.ts"], // tables of a week and labelled topics
  [/^ventris filter (fit|run|compare) \S*(FEATURES|hand\.filter)/, "test/filter-cli.test.ts"], // recordings that do not ship
  [/^ventris eeg (prepare readings\.jsonl|words ZUCO-WORDS)/, "src/methods/signals/glim/glim.test.ts"], // likewise
];

const methodPages = readdirSync(join(root, "src", "methods"), { recursive: true, encoding: "utf8" })
  .filter((path) => basename(path) === "README.md")
  .map((path) => `src/methods/${path.replaceAll("\\", "/")}`)
  .sort();
/** What the programs of the methods' READMEs may use, and what ends them. */
const given = `import { open } from "ventris";
const opened = await open("knossos");
const runs = [];
const model = { decode(prompt, options) { runs.push(opened.generate(prompt, { maxTokens: 8, ...options })); } };
const prompt = "Once upon a time";
const judge = (text) => 1 / (1 + text.length);
const contexts = Array.from({ length: 3 }, () => new Float64Array(10).fill(0.3));
const loss = 0.5;
`;
const finish = `for (const { text } of await Promise.all(runs)) console.log(text);
console.log("done");
`;
/** Programs that need what does not ship: which file runs the like. */
const programsElsewhere: Readonly<Record<string, string>> = {
  "src/methods/insight/codebook/README.md": "src/methods/insight/codebook/codebook.test.ts",
};

const strictly = {
  strict: true,
  exactOptionalPropertyTypes: true,
  module: "nodenext",
  target: "es2022",
  lib: ["es2023", "esnext.disposable", "dom"], // the page in a browser writes into its document
  types: ["node"],
  noEmit: true,
  skipLibCheck: true, // package.test.ts checks the declarations
};
const pages = [
  ...methodPages,
  "README.md",
  ...["docs", "docs/tutorial", "docs/how"].flatMap((place) =>
    readdirSync(join(root, place))
      .filter((name) => name.endsWith(".md"))
      .map((name) => `${place}/${name}`),
  ),
];
it("questions and blanks that are shown get answers that read well", { timeout: 120_000 }, async () => {
  const shown = ["README.md", "docs/cli.md", "models/mycenae/README.md", "src/methods/diffusion/README.md"];
  const texts = [...shown, "src/cli/run.ts", "src/cli/start.ts"].map(read).join("\n");
  const questions = [...texts.matchAll(/(?:chat\.send\(|--chat )"([^"]*)"/g)].map(([, question]) => question);
  const blanks = [...texts.matchAll(/--fill "([^"]*)"(?: --fill-lengths ([\d,]+))?/g)];
  expect([questions.length, blanks.length]).toEqual([2, 5]);
  await using phaistos = await open("phaistos");
  for (const question of questions) {
    expect(await phaistos.chat({ system: "Answer briefly." }).send(question).reply, question).toMatch(/Answer: 23$/);
    const { text } = await phaistos.generate([{ role: "user", content: question }]); // as run --chat asks
    expect(text, question).toMatch(/Answer: 23$/);
  }
  await using mycenae = await open("mycenae");
  for (const [, fill, given] of blanks) {
    const lengths = given?.split(",").map(Number);
    const { text } = await mycenae.generate({ fill, ...(lengths && { lengths }) });
    expect(text, fill).not.toMatch(/[.,!?]\s*[.,!?]|\. \p{Ll}/u);
  }
});

it("every program compiles as it stands, as strictly as a reader's project may", { timeout: 300_000 }, async () => {
  const place = await mkdtemp(join(folder, "types-"));
  for (const name of ["openai", "ai", "zod", "@types"]) {
    const link = join(folder, "node_modules", name);
    if (!existsSync(link)) await symlink(join(root, "node_modules", name), link, "junction");
  }
  /** What lines that are no whole program take from around them. */
  const around = `import { open } from "ventris";
    const model = await open("knossos");
    declare const prompt: string, jsonSchema: object, loss: number, contexts: Float64Array[];
    declare const isGood: (text: string) => boolean, judge: (text: string) => number;\n`;
  // Pages for who works on the project itself import from its sources; methods.md has one program a block.
  const programs = [...pages, "src/constraints/README.md"].flatMap((page) => {
    const blocks = programOf(page);
    if (blocks.length === 0 || page === "docs/papers.md") return [];
    if (page === "docs/methods.md") return blocks.map((block, i) => ({ page: `${page} ${i}`, text: block }));
    const whole = blocks.some((block) => /^import .*"ventris/m.test(block)) && !/neural-bandit/.test(page);
    return [{ page, text: joined(whole ? blocks : [around, ...blocks]) }];
  });
  expect(programs.length).toBeGreaterThan(30);
  const names = new Map(programs.map(({ page }, i) => [`page-${i}.ts`, page]));
  for (const [i, { text }] of programs.entries()) await writeFile(join(place, `page-${i}.ts`), `${text}\nexport {};\n`);
  await writeFile(join(place, "tsconfig.json"), JSON.stringify({ compilerOptions: strictly, include: ["*.ts"] }));
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  const { stdout } = await call(process.execPath, [compiler, "-p", "."], place);
  expect(stdout.replace(/page-\d+\.ts/g, (file) => names.get(file) ?? file)).toBe("");
});

describe.skipIf(process.platform === "win32")("commands", () => {
  for (const page of pages) {
    const lines = linesOf(page).filter((line) => !elsewhere.some(([pattern]) => pattern.test(line)));
    const program = methodPages.includes(page) && !Object.hasOwn(programsElsewhere, page) ? programOf(page) : [];
    if (lines.length + program.length === 0) continue;
    // One after another: later ones use what earlier ones wrote.
    it(page, { timeout: 900_000 }, async () => {
      const place = await mkdtemp(join(folder, "page-"));
      await writeFile(join(place, "story.txt"), story);
      await symlink(join(root, "models"), join(place, "models"), "junction"); // as in a checkout
      await writeFile(join(place, "tales.txt"), story.slice(0, 1500));
      await writeFile(join(place, "later.txt"), story.slice(1500, 3000));
      await writeFile(join(place, "asked.jsonl"), '{"question": "The girl was called", "answer": "Lily"}\n');
      const others = story.split("\n\n").slice(0, 12);
      await writeFile(join(place, "other.jsonl"), others.map((text) => `${JSON.stringify({ text })}\n`).join(""));
      await writeFile(join(place, "points.csv"), "0.1,0.2\n0.9,0.1\n0.8,0.9\n0.2,0.7\n0.5,0.5\n");
      const cities = "NAME: four\nTYPE: TSP\nDIMENSION: 4\nEDGE_WEIGHT_TYPE: EUC_2D\nNODE_COORD_SECTION\n";
      await writeFile(join(place, "cities.tsp"), `${cities}1 0 0\n2 9 1\n3 8 9\n4 1 7\nEOF\n`);
      for (const line of lines) {
        const { line: change = (same: string) => same, until } =
          otherwise.find(([pattern]) => pattern.test(line))?.[1] ?? {};
        const { status, stdout, stderr } = await call(
          "bash",
          ["-c", `set -o pipefail; ${until ? "exec " : ""}${change(line)}`],
          place,
          until,
        );
        expect(status, `${line}\n${stdout}${stderr}`).toBe(0);
        expect(stdout + stderr, line).not.toBe("");
      }
      if (program.length === 0) return;
      const { status, stdout, stderr } = await runProgram("program", [given, ...program, finish], place);
      expect([status, stderr], stdout).toEqual([0, ""]);
      expect(stdout).toMatch(/done\n$/);
    });
  }

  it("those that are left to others are there", () => {
    const all = pages.flatMap(linesOf);
    for (const [pattern, file] of elsewhere) {
      expect(
        all.some((line) => pattern.test(line)),
        String(pattern),
      ).toBe(true);
      expect(read(file).length).toBeGreaterThan(0);
    }
    for (const [page, file] of Object.entries(programsElsewhere)) {
      expect(programOf(page)).not.toEqual([]);
      expect(read(file).length).toBeGreaterThan(0);
    }
    for (const line of all) {
      const [, name] = /^npm run --silent bench -- (\w+)/.exec(line) ?? [];
      if (name) expect(read("bench/README.md"), line).toContain(`bench -- ${name}`);
    }
  });
});
