/** The built command as people call it: what it prints where, and its exit status. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { open } from "../src/open.ts";
import { doubledSigns } from "../src/wrong.fixture.ts";
import { ensureBuilt, root } from "./build.ts";

vi.setConfig({ testTimeout: 180_000 }); // each call is a process of its own, and machines may be busy

const main = join(root, "dist", "cli", "main.js");
const prompt = "Once upon a time";
let folder: string;

beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-cli-"));
  await writeFile(join(folder, "one.csv"), "0.1,0.2\n");
  await writeFile(join(folder, "blank.txt"), "\n\n");
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

function start(words: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [main, ...words], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: "1", VENTRIS_CACHE: folder },
  });
}

function outcome(child: ChildProcessWithoutNullStreams): Promise<Outcome> {
  return new Promise((resolve) => {
    const texts = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        texts[name] += text;
      });
    }
    child.on("close", (status) => resolve({ status, ...texts }));
  });
}

/** Runs to the end; `input` is piped to standard input. */
function ventris(words: readonly string[], input: string | Uint8Array = ""): Promise<Outcome> {
  const child = start(words);
  child.stdin.on("error", () => {}); // a command that reads nothing may be gone before
  child.stdin.end(input);
  return outcome(child);
}

describe("run", () => {
  it("says in a pipe, too, that a method does not gain here, unless it is to be quiet", async () => {
    const words = ["run", "--model", "pylos", "--method", "chain", "--max-tokens", "8", prompt];
    const told = await ventris(words);
    expect(told.stderr).toMatch(
      /^8 tokens [^\n]*\nchain is not expected to gain here \(at best 1\.00×\): the draft pylos is the model itself, [^\n]*the option draft\)\n$/,
    );
    const quiet = await ventris([...words, "--quiet"]);
    expect(quiet).toEqual({ status: 0, stdout: told.stdout, stderr: "" });
  });

  it("holds a neuron before the gate or after it, in capitals, too", async () => {
    const held = (clamp: string) => ventris(["run", "--seed", "7", "-n", "8", "--clamp", clamp, prompt]);
    const [plain, up, capitals, product] = await Promise.all(
      ["3.118=400", "3.118:up=400", "3.118:UP=400", "3.118:product=400"].map(held),
    );
    expect([up.stdout, capitals.stdout]).toEqual([plain.stdout, plain.stdout]);
    expect(product.stdout).not.toBe(plain.stdout);
  });

  it("says where a model that had nothing to say has a chat form", async () => {
    const words = [
      "--model",
      "phaistos",
      "--temperature",
      "0",
      "--max-tokens",
      "40",
      "Start with 5. + 3. What is the result?",
    ];
    const [plain, chat] = await Promise.all([ventris(["run", ...words]), ventris(["run", "--chat", ...words])]);
    expect([plain.stdout.trim(), plain.stderr]).toEqual(["", expect.stringMatching(/ended at once.*--chat\n/)]);
    expect([chat.stdout.trim(), chat.stderr]).toEqual([
      expect.stringContaining("8"),
      expect.not.stringMatching(/--chat/),
    ]);
  });

  it("prints text on stdout and one line of counters on stderr", async () => {
    const { status, stdout, stderr } = await ventris(["run", "--method", "greedy", "--max-tokens", "8", prompt]);
    expect(stderr).toMatch(
      /^8 tokens · 8 passes · 1\.00 tokens per pass after the prompt's · [\d.]+ tokens\/s · ended by --max-tokens\n$/,
    );
    expect(stdout).toMatch(/^.+\n$/s);
    expect(status).toBe(0);
  });

  it("prints one JSON object, the same for arguments, file, pipe and token ids", async () => {
    const file = join(folder, "prompt.txt");
    await writeFile(file, `${prompt}\n`);
    const trace = join(folder, "trace.jsonl");
    const flags = ["run", "--json", "--seed", "5", "--max-tokens", "6", "--logprobs", "2"];
    const first = await ventris([...flags, "--trace", trace, ...prompt.split(" ")]);
    expect(first.stderr).toBe("");
    expect(first.status).toBe(0);
    const result = JSON.parse(first.stdout);
    expect(result).toMatchObject({
      model: "knossos",
      method: "sample",
      prompt,
      text: expect.any(String),
      finish: "length",
      counters: { passes: expect.any(Number), generated: 6, tokensPerPass: 1 },
      seconds: { load: expect.any(Number), prefill: expect.any(Number), decode: expect.any(Number) },
    });
    expect(result.tokens).toHaveLength(6);
    expect(result.logprobs).toHaveLength(6);
    expect(result.logprobs[0].top).toHaveLength(2);

    const events = (await readFile(trace, "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.map(({ type }) => type)).toEqual(["start", "prefill", ...Array(6).fill("tokens"), "finish"]);
    expect(events.map(({ text }) => text ?? "").join("")).toBe(result.text);

    const ids = events[0].prompt.join(",");
    const others = await Promise.all([
      ventris([...flags, "--prompt-file", file]),
      ventris(flags, `${prompt}\n`),
      ventris([...flags, "--prompt-ids", ids]),
    ]);
    for (const other of others) expect(JSON.parse(other.stdout).tokens).toEqual(result.tokens);
    expect(others.map(({ stdout }) => JSON.parse(stdout).prompt)).toEqual([prompt, prompt, events[0].prompt]);
  });

  it("says a prompt in the model's chat form where that is asked for", async () => {
    await using model = await open("phaistos");
    const question = "Tom has 9 books. Tom finds 8 more. How many books does Tom have now?";
    const expected = await model.generate([{ role: "user", content: question }], { temperature: 0 });
    const words = ["--json", "--chat", "--model", "phaistos", "--temperature", "0", question];
    const said = JSON.parse((await ventris(["run", ...words])).stdout);
    expect(said.tokens).toEqual(expected.tokens);
    expect(said.prompt).toEqual([{ role: "user", content: question }]);
    const compared = await ventris(["compare", "--methods", "greedy", "--repeat", "1", ...words]);
    expect(JSON.parse(compared.stdout).methods[0].tokens).toEqual(expected.tokens);
  });

  it("decodes several samples at once and prints them in order, each as it is alone", async () => {
    const flags = ["run", "--json", "--max-tokens", "12", "--seed", "2"];
    const together = JSON.parse((await ventris([...flags, "--samples", "3", prompt])).stdout);
    const alone = JSON.parse((await ventris([...flags, "--request", "2", prompt])).stdout);
    expect(together.samples.map(({ request }: { request: number }) => request)).toEqual([0, 1, 2]);
    expect(together.samples[2].tokens).toEqual(alone.tokens);
    expect(together.samples[0].tokens).not.toEqual(alone.tokens);
    expect(together.samples[1].counters.prefillTokens).toBeLessThan(together.samples[0].counters.prefillTokens);
  });

  it("stops at stop strings", async () => {
    const free = JSON.parse(
      (await ventris(["run", "--json", "--method", "greedy", "--max-tokens", "12", prompt])).stdout,
    );
    const stop = free.text.trim().split(/\s+/).at(-2);
    const { stdout } = await ventris([
      "run",
      "--json",
      "--method",
      "greedy",
      "--stop",
      "\u2603",
      "--stop",
      stop,
      prompt,
    ]);
    const stopped = JSON.parse(stdout);
    expect(stopped).toMatchObject({ finish: "stop", stop });
    expect(stopped.text).toBe(free.text.slice(0, free.text.indexOf(stop)));
  });

  it("reads escapes in stop texts, and refuses what is none", async () => {
    const words = ["run", "--json", "--method", "greedy", "-n", "200", prompt];
    const free = JSON.parse((await ventris(words)).stdout);
    expect(free.text).toContain("\n");
    const stopped = JSON.parse((await ventris([...words, "--stop", "\\n"])).stdout);
    expect(stopped).toMatchObject({ finish: "stop", stop: "\n", text: free.text.slice(0, free.text.indexOf("\n")) });
    const wrong = await ventris([...words, "--stop", "\\d"]);
    expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringMatching(/--stop \\d: \\d is no escape/)]);
  });

  it("is quiet when asked to, but for errors", async () => {
    const { stdout, stderr } = await ventris(["run", "-q", "-n", "4", "-m", "knossos", prompt]);
    expect(stderr).toBe("");
    expect(stdout).not.toBe("");
    expect((await ventris(["run", "--quiet", "--model", "knosos", prompt])).stderr).toMatch(/no model "knosos"/);
  });

  it("says warnings in words of its own", async () => {
    await cp(join(root, "models", "pylos"), join(folder, "strange"), { recursive: true });
    const settings = join(folder, "strange", "tokenizer_config.json");
    const known = JSON.parse(await readFile(settings, "utf8"));
    await writeFile(settings, JSON.stringify({ ...known, eos_token: "<|nowhere|>" }));
    const words = ["run", "-n", "2", "--model", "strange", prompt];
    const { stderr } = await ventris(words);
    expect(stderr).toMatch(/^ventris: .*<\|nowhere\|>/m);
    expect(stderr).not.toMatch(/node:|trace-warnings|VentrisWarning/);
    expect((await ventris([...words, "--quiet"])).stderr).toBe("");
  });

  it("decodes with a method of one's own, in JavaScript and in TypeScript", async () => {
    const body = (types: boolean) => `import { defineMethod } from "ventris";
import { z } from "zod";
export default defineMethod({
  name: "mine",
  family: "plain",
  summary: "the most likely token, so many times",
  lossless: false,
  options: z.strictObject({ tokens: z.number().default(3).describe("how many") }),
  async decode(decoding, { tokens }) {
    const count${types ? ": number" : ""} = tokens;
    let tip = await decoding.prefill();
    for (let i = 0; i < count; i++) {
      const token = decoding.choose(tip);
      decoding.commit([{ token, from: tip }]);
      if (decoding.finished) return;
      [tip] = await decoding.lease.extend([{ parent: tip, token }]);
    }
    decoding.finish("stop");
  },
});
`;
    await writeFile(join(folder, "mine.mjs"), body(false));
    await writeFile(join(folder, "mine.ts"), body(true));
    for (const file of ["./mine.mjs", "./mine.ts"]) {
      const { status, stdout, stderr } = await ventris([
        "run",
        "--json",
        "--method",
        file,
        "--set",
        "tokens=2",
        prompt,
      ]);
      expect([status, stderr]).toEqual([0, ""]);
      expect(JSON.parse(stdout)).toMatchObject({ method: "mine", counters: { generated: 2 } });
    }
    const listed = await ventris(["methods", "./mine.ts"]);
    expect(listed.stdout).toMatch(/^mine: the most likely token[\s\S]*\ntokens +number +How many\. Default: 3\./);
    await writeFile(join(folder, "empty.mjs"), "export const nothing = 1;");
    const empty = await ventris(["run", "--method", "./empty.mjs", prompt]);
    expect([empty.status, empty.stderr]).toEqual([1, expect.stringMatching(/empty\.mjs exports no method/)]);
    const broken = (types: boolean): string => body(types).replace("lossless: false,", "lossless false,");
    await writeFile(join(folder, "broken.mjs"), broken(false));
    await writeFile(join(folder, "broken.ts"), broken(true));
    for (const file of ["broken.mjs", "broken.ts"]) {
      const line =
        1 +
        broken(false)
          .split("\n")
          .findIndex((text) => text.includes("lossless false"));
      const { status, stderr } = await ventris(["methods", `./${file}`]);
      expect([status, stderr]).toEqual([1, expect.stringMatching(`./${file} cannot be loaded: ${file}:${line}: .`)]);
    }
    await writeFile(join(folder, "failing.mjs"), body(false).replace("const count", "undone(); const count"));
    const failing = await ventris(["run", "--debug", "--method", "./failing.mjs", prompt]);
    expect(failing.status).toBe(1);
    expect(failing.stderr).toMatch(/^ventris: the method mine failed: undone is not defined\n/);
    expect(failing.stderr).toMatch(/caused by ReferenceError.*\n +at .*failing\.mjs:\d+/);
    const missing = await ventris(["run", "--method", "./missing.ts", prompt]);
    expect([missing.status, missing.stderr]).toEqual([1, expect.stringMatching(/no file \.\/missing\.ts/)]);
  });

  it("gives back what it has after an interrupt", async () => {
    const child = start(["run", "--temperature", "1", "--max-tokens", "1000", prompt]);
    child.stdin.end();
    child.stdout.once("data", () => child.kill("SIGINT"));
    const { status, stdout, stderr } = await outcome(child);
    expect(stderr).toMatch(/ · interrupted\n/);
    expect(stdout.trim()).not.toBe("");
    expect(status).toBe(130);
  });
});

describe("an interrupt", () => {
  /** Waits for what a first comparison writes when it has begun, and then presses Ctrl-C. */
  async function interruptWhen(child: ChildProcessWithoutNullStreams, cache: string): Promise<void> {
    while (child.exitCode === null && !(await readdir(join(cache, "pass-curves")).catch(() => [])).length)
      await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill("SIGINT");
  }

  it.each([[[]], [["--json"]]])("ends compare with what is done %j", async (flags) => {
    const cache = await mkdtemp(join(folder, "cache-"));
    const words = ["compare", "--methods", "greedy,chain", "--max-tokens", "900", "--repeat", "900", ...flags, prompt];
    const child = spawn(process.execPath, [main, ...words], {
      cwd: folder,
      env: { ...process.env, NO_COLOR: "1", VENTRIS_CACHE: cache },
    });
    child.stdin.end();
    const [{ status, stdout, stderr }] = await Promise.all([outcome(child), interruptWhen(child, cache)]);
    expect(status).toBe(130);
    expect(stderr).not.toMatch(/unexpected|\bat .*\.js/);
    if (flags.length > 0) expect(JSON.parse(stdout)).toMatchObject({ differences: [], methods: expect.any(Array) });
  });

  it("ends start with the story so far, and suggests nothing", async () => {
    const child = start(["start"]);
    child.stdin.end();
    child.stdout.once("data", () => child.kill("SIGINT"));
    const { status, stdout, stderr } = await outcome(child);
    expect(status).toBe(130);
    expect(stdout).toMatch(/^knossos goes on from/);
    expect(stdout).not.toMatch(/Decoded again|Try next/);
    expect(stderr).toBe("");
  });
});

describe("start", () => {
  it("gives one JSON object", async () => {
    const { status, stdout, stderr } = await ventris(["start", "--json", "--seed", "2", prompt]);
    expect([status, stderr]).toEqual([0, ""]);
    const told = JSON.parse(stdout);
    expect(told).toMatchObject({ model: "knossos", prompt, method: "sample", seed: 2, temperature: 0.8 });
    expect(told.text.length).toBeGreaterThan(100);
    if (told.again) expect(told.again).toMatchObject({ sameText: true, speedUp: expect.any(Number) });
    const plain = await ventris(["run", "--seed", "2", "--temperature", "0.8", "-n", "200", "--json", prompt]);
    expect(told.text).toBe(JSON.parse(plain.stdout).text);
  });
});

describe("doctor", () => {
  it("measures passes once, and anew when it is asked to", async () => {
    const cache = await mkdtemp(join(folder, "cache-"));
    const call = async (...words: string[]) => {
      const child = spawn(process.execPath, [main, "doctor", "--json", ...words], {
        cwd: folder,
        env: { ...process.env, NO_COLOR: "1", VENTRIS_CACHE: cache },
      });
      child.stdin.end();
      return outcome(child);
    };
    const passes = async (...words: string[]) => JSON.parse((await call("--model", "pylos", ...words)).stdout).passes;
    const first = await passes();
    expect(first.busy).toBeGreaterThanOrEqual(0);
    expect(first.busy).toBeLessThanOrEqual(1);
    expect(await passes()).toEqual(first);
    expect((await passes("--measure")).seconds).not.toEqual(first.seconds);
    const nameless = await call("--measure");
    expect([nameless.status, nameless.stderr]).toEqual([
      2,
      expect.stringMatching(/--measure is about a model: say which, by --model/),
    ]);
  });
});

it("start works with models that fill a canvas, and with those that have nothing to add", async () => {
  const canvas = await ventris(["start", "--json", "--model", "mycenae"]);
  expect(canvas.status, canvas.stderr).toBe(0);
  const { method, counters, again } = JSON.parse(canvas.stdout);
  expect([method, counters.generated > 0]).toEqual(["low-confidence", true]);
  expect(again?.method).not.toBe("low-confidence");
  const answers = await ventris(["start", "--model", "phaistos"]);
  expect([answers.status, answers.stderr]).toEqual([0, ""]);
  expect(answers.stdout).toMatch(/phaistos ended the text after 1 token: [\s\S]* chat --model phaistos\n/);
  expect(answers.stdout).not.toMatch(/tokens\/s/);
});

describe("misuse and failure", () => {
  it("an option where the prompt stands is told with its flag", async () => {
    const told = async (...words: string[]) => {
      const { status, stderr } = await ventris(words);
      return [status, stderr];
    };
    expect(await told("run", "--method", "chain", "length=2")).toEqual([
      2,
      expect.stringMatching(/^ventris: length=2 stands where the prompt is.*write --set length=2\./),
    ]);
    expect(await told("run", "maxTokens=3")).toEqual([2, expect.stringContaining("write --max-tokens 3.")]);
    expect(await told("compare", "--methods", "greedy,chain", "length=2", prompt)).toEqual([
      2,
      expect.stringContaining(`--methods '[{"name": "chain", "length": 2}]'`),
    ]);
    expect((await told("run", "-n", "2", "the length=2 of it"))[0]).toBe(0);
    expect((await told("run", "-n", "2", "e=2"))[0]).toBe(0);
    expect(await told("models", "remove", "a/b")).toEqual([2, expect.stringMatching(/ventris models --remove a\/b$/m)]);
  });

  const misuse: [string, string[], RegExp][] = [
    ["a model in place of a command", ["inspect", "knossos"], /no command knossos: neurons, codes, markov are there/],
    ["texts before the model", ["train", "finetune", "small.txt", "knossos"], /model stands before its texts/],
    ["plain decoding by that name", ["run", "--method", "plain", prompt], /did you mean "greedy"/],
    ["an unknown command", ["rnu"], /there is no command rnu; did you mean run\?/],
    ["a slip of help", ["hlep"], /there is no command hlep; did you mean help\?/],
    [
      "an unknown flag",
      ["run", "--temprature", "1", prompt],
      /there is no option --temprature; did you mean --temperature\?/,
    ],
    [
      "a flag of another program",
      ["run", "--max-new-tokens", "5", prompt],
      /no option --max-new-tokens; did you mean --max-tokens\?/,
    ],
    [
      "steps where texts are read so many times",
      ["train", "finetune", "knossos", "a.txt", "--steps", "3"],
      /no option --steps; did you mean --epochs\?/,
    ],
    ["a flag cut short", ["run", "--temp", "1", prompt], /no option --temp; did you mean --temperature\?/],
    [
      "a skill",
      ["eval", "skills", "arithmetc", "--model", "pylos"],
      /no skill "arithmetc"; did you mean "arithmetic"\? Skills: /,
    ],
    [
      "a task, before its files",
      ["eval", "lm", "truthfulq", "--model", "pylos"],
      /no task "truthfulq"; did you mean "truthfulqa"\?/,
    ],
    ["a command of another program", ["generate", prompt], /no command generate; did you mean run\?/],
    ["a flag without its value", ["run", "--model"], /^ventris: --model needs a value: --model <name>\n/],
    [
      "a value that is none of the choices",
      ["run", "--device", "gpu", prompt],
      /^ventris: --device must be cpu, webgpu or cuda, not gpu; did you mean webgpu\?\n/,
    ],
    [
      "a method's option as a flag",
      ["run", "--method", "dyspec", "--draft", "pylos", prompt],
      /there is no option --draft; draft is an option of the method dyspec: --set draft=/,
    ],
    [
      "a method's option as a flag that is another's",
      ["run", "--method", "dyspec", "--budget", "48", prompt],
      /--budget must be of the form .*; budget is an option of the method dyspec: --set budget=48\n/,
    ],
    [
      "a slip in a flag that is needed",
      ["eval", "perplexity", "t.txt", "--modle", "knossos"],
      /did you mean --model\?/,
    ],
    [
      "a tokenizer of no text",
      ["train", "tokenizer", "blank.txt", "--out", "tokens"],
      /^ventris: blank\.txt: there is no text/,
    ],
    ["a flag that is needed", ["eval", "perplexity", "texts.txt"], /^ventris: --model <name> is needed\n/],
    ["an argument that is needed", ["pull"], /^ventris: <name> is needed\n/],
    ["a name that ships", ["pull", "knosos"], /\nknossos ships with the package and needs no download: /],
    [
      "a word too many",
      ["chat", "phaistos"],
      /^ventris: chat does not know what to do with "phaistos"; --model names a model\n/,
    ],
    ["a constraint that is a word", ["run", "--constraint", "x", prompt], /--constraint must name a constraint/],
    [
      "one method as JSON",
      ["compare", "--methods", '{"name":"beam","beans":4}', prompt],
      /beam options: there is no option "beans"; did you mean "beams"/,
    ],
    [
      "a text in place of a recipe",
      ["train", "texts.txt"],
      /texts\.txt is a text, and train takes a recipe: ventris train --init/,
    ],
    [
      "a misspelt name of a method's own name",
      ["run", "--method", '{"nam":"dyspec"}', prompt],
      /^ventris: --method: a method is .*; did you mean "name" for "nam"\?\n/,
    ],
    [
      "the same in a list",
      ["compare", "--methods", '["greedy",{"nme":"dyspec"}]', prompt],
      /^ventris: --methods: a method is .*; did you mean "name" for "nme"\?\n/,
    ],
    [
      "the same of a shaper",
      ["run", "--shaper", '{"nmae":"dola"}', prompt],
      /^ventris: --shaper: .*; did you mean "name" for "nmae"\?\n/,
    ],
    ["a point too few", ["point", "hull", "one.csv"], /^ventris: one\.csv has 1 point, and hull needs 3\n/],
    [
      "a token that there is not",
      ["run", "--stop-tokens", "99999999", prompt],
      /^ventris: --stop-tokens: token 99999999/,
    ],
    [
      "a file that is no method",
      ["run", "--method", "one.csv", prompt],
      /--method one\.csv: a file with a method is a/,
    ],
    [
      "texts with nothing in them",
      ["train", "trigrams", "blank.txt", "--model", "knossos", "--out", "none.bin"],
      /^ventris: blank\.txt: there is no text in it\n/,
    ],
    ["no methods", ["compare", "--methods", "", prompt], /^ventris: --methods names no method\n/],
    ["a method too few", ["compare", "--methods", "greedy,,chain", prompt], /between two commas stands no method/],
    [
      "a method twice",
      ["compare", "--methods", "greedy,greedy", prompt],
      /greedy is named twice with the same options/,
    ],
    ["a misspelt shaper", ["methods", "dolla"], /no method or shaper is called "dolla"; did you mean "dola"\?/],
    ["another's name of a method", ["methods", "beamsearch"], /"beamsearch"; did you mean "beam"\?/],
    [
      "a misspelt shaper as a method",
      ["run", "--method", "dolla", prompt],
      /"dolla"; did you mean "dola"\? It is a shaper/,
    ],
    ["an unknown method", ["run", "--method", "gredy", prompt], /did you mean "greedy"/],
    [
      "a method's unknown option",
      ["run", "--method", "greedy", "--set", "budget=3", prompt],
      /greedy has no option "budget"/,
    ],
    [
      "method JSON that is none",
      ["run", "--method", '{"name":', prompt],
      /--method: its JSON cannot be read.*double quotes/,
    ],
    ["an empty stop text", ["run", "--stop", "", prompt], /^ventris: --stop: an empty text/],
    [
      "a site that is none",
      ["run", "--edits", `[{"site":"state.3","set":1}]`, prompt],
      /no site state\.3; it has \d+, such as embed/,
    ],
    [
      "a clamp out of range",
      ["run", "--edits", `[{"site":"embed","add":0}]`, "--clamp", "3.118=1e16", prompt],
      /^ventris: --clamp 3\.118=1e16: the value must be from -1000000000000000 to 1000000000000000, not 10000000000000000\n/,
    ],
    ["an option out of range", ["run", "--top-p", "1.5", prompt], /--top-p.*must be at most 1, not 1.5/],
    [
      "an option of the wrong type",
      ["run", "--top-k", "many", prompt],
      /--top-k must be a whole number from 0, not "many"/,
    ],
    ["an empty prompt", ["run", ""], /^ventris: give a prompt, as in: ventris run "Once upon a time"; /],
    ["no prompt to compare on", ["compare"], /^ventris: give a prompt, as in: ventris compare "Once upon a time"; /],
    ["two prompts", ["run", "--prompt-ids", "1", prompt], /give the prompt once/],
    ["two texts", ["compare", "One day", "Two days"], /"One day" and "Two days" are several texts: .* --prompts/],
    ["token ids outside the vocabulary", ["run", "--prompt-ids", "1,999999"], /999999 is not a token id/],
    ["token ids that are none", ["run", "--prompt-ids", "1,x"], /--prompt-ids/],
    ["ids that would be said", ["run", "--chat", "--prompt-ids", "1,2"], /--chat: what is said is a text/],
    ["a chat form of blanks", ["run", "--chat", "--fill", "a ___"], /--chat and --fill: give one/],
    [
      "greedy with a temperature",
      ["run", "--method", "greedy", "--temperature", "1", prompt],
      /greedy decodes at temperature 0/,
    ],
    ["log-probabilities that nothing shows", ["run", "--logprobs", "1", prompt], /--logprobs needs --json or --trace/],
  ];
  /** Flags that would do nothing, and what is said of them. */
  const idle: [string[], RegExp][] = [
    [["compare", "--methods", "greedy", "--draft", "pylos", prompt], /^ventris: --draft: none of these methods/],
    [["compare", "--logprobs", "2", prompt], /^ventris: --logprobs needs --json\n/],
    [["run", "--taps", "embed", prompt], /^ventris: --taps needs --json or --trace\n/],
    ...["--out x", "--trace x", "--fresh", "--tiny", "--seed 3"].map((flag): [string[], RegExp] => [
      ["reproduce", "--list", ...flag.split(" ")],
      /^ventris: --\w+ has no part in --list/,
    ]),
    ...["--out x", "--fresh", "--full", "--seed 3"].map((flag): [string[], RegExp] => [
      ["reproduce", "dyspec", "--trace", "t.jsonl", ...flag.split(" ")],
      /^ventris: --\w+ has no part in --trace/,
    ]),
    ...["--temperature 1", "--weights int8", "--threads 2", "--draft pylos", "--measure"].map(
      (flag): [string[], RegExp] => [["doctor", ...flag.split(" ")], /^ventris: --\w+ is about a model: .* --model\n/],
    ),
    [
      ["train", "--threads", "2", "finetune", "knossos", "a.txt"],
      /^ventris: --threads stands before finetune, .* behind/,
    ],
    [["choose", "--model", "pylos", "play", "t.csv"], /^ventris: --model stands before play, .*: leave it out\n/],
    [["choose", "--model", "pylos", "--state", "s"], /^ventris: --model has no part in --state/],
    [["eeg", "prepare", "a.jsonl", "--out", "d", "--noise", "3"], /^ventris: --noise belongs to the synthetic corpus/],
    [["eeg", "train", "d", "--out", "m", "--text", "t", "--text-steps", "3"], /^ventris: --text-steps belongs to/],
    [
      ["eeg", "train", "d", "--out", "m", "--published", "--heads", "3"],
      /^ventris: --heads is a size, and --published/,
    ],
    [["eeg", "evaluate", "m", "d", "--no-texts", "--beams", "3"], /^ventris: --beams belongs to the texts/],
    [
      ["diffusion", "collect", "mycenae", "--out", "r", "--prompts", "p.txt", "--seed", "3"],
      /^ventris: --seed is that of the tasks/,
    ],
  ];
  it("what no method decodes with is told what does use it", async () => {
    const { status, stderr } = await ventris([
      "run",
      "-m",
      join(root, "models", "pointing", "hull.safetensors"),
      prompt,
    ]);
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^ventris: no decoding method .*; ventris point answers/),
    ]);
  });

  it("exits with 2 for flags that would have no effect", async () => {
    for (const [words, message] of idle) {
      const { status, stdout, stderr } = await ventris(words);
      expect(stderr, words.join(" ")).toMatch(message);
      expect([status, stdout]).toEqual([2, ""]);
    }
  });

  it.each(misuse)("exits with 2 for %s", async (_, words, message) => {
    const { status, stdout, stderr } = await ventris(words);
    expect(stderr).toMatch(/^ventris: /);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(doubledSigns);
    expect(stdout).toBe("");
    expect(status).toBe(2);
  });

  const longPrompt = Array(1100).fill(20).join(",");
  const failures: [string, string[], string | Uint8Array, RegExp][] = [
    ["an unknown model", ["run", "--model", "knosos", prompt], "", /did you mean "knossos"/],
    ["a prompt longer than the context", ["run", "--prompt-ids", longPrompt], "", /context/],
    [
      "a method that is a folder",
      ["run", "--method", join(root, "docs"), prompt],
      "",
      /docs is a folder: name the file that has the method/,
    ],
    [
      "a prompt file that is missing",
      ["run", "--prompt-file", "missing.txt"],
      "",
      /--prompt-file: cannot read missing\.txt: there is no such file/,
    ],
    [
      "a file of prompts that is missing",
      ["compare", "--prompts", "missing.txt"],
      "",
      /--prompts: cannot read missing\.txt: there is no such file/,
    ],
    [
      "a draft that was given and is not there",
      ["compare", "--methods", "greedy,chain", "--draft", "pylis", "-n", "4", prompt],
      "",
      /no model "pylis".*; did you mean "pylos"/,
    ],
    [
      "a folder that cannot be made",
      ["eeg", "prepare", "synthetic", "--sentences", "10", "--out", join("one.csv", "data")],
      "",
      /^ventris: the system refused it: E\w+: .*one\.csv/,
    ],
    ["input that is not UTF-8", ["run"], Uint8Array.of(0x61, 0xff, 0x62), /standard input: not valid UTF-8/],
    ["a recipe that is missing", ["train", "missing.json"], "", /recipe missing\.json cannot be read/],
  ];
  it.each(failures)("exits with 1 for %s", async (_, words, input, message) => {
    const { status, stdout, stderr } = await ventris(words, input);
    expect(stderr).toMatch(/^ventris: [^\n]+\n$/);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(doubledSigns);
    expect(stdout).toBe("");
    expect(status).toBe(1);
  });

  const readers: readonly ((file: string) => string[])[] = [
    (file) => ["run", "--prompt-file", file],
    (file) => ["compare", "--prompts", file, "--methods", "greedy"],
    (file) => ["eval", "perplexity", file, "--model", "pylos"],
    (file) => ["memory", "build", file, "--model", "pylos", "--out", "none"],
    (file) => ["inspect", "codes", file, "--model", "knossos", "--find", "a"],
    (file) => ["train", "tokenizer", file, "--out", "none"],
    (file) => ["train", "finetune", "pylos", file, "--folder", "none"],
    (file) => ["train", "--init", "none", "--texts", file],
  ];
  const ofOneForm: readonly ((file: string) => string[])[] = [
    ...["--json-schema", "--grammar", "--sql-schema"].map((flag) => (file: string) => ["run", flag, file, prompt]),
    (file) => ["train", file],
    (file) => ["filter", "run", file, "one.csv"],
    (file) => ["eeg", "prepare", file, "--out", "none"],
  ];
  it("has one rule of exit statuses: 1 where a file that is named cannot be read, 2 where it has nothing in it", async () => {
    await writeFile(join(folder, "empty.txt"), "");
    const cases = [
      ...readers.flatMap((of) => [
        { words: of("gone.txt"), expected: 1 },
        { words: of("empty.txt"), expected: 2 },
      ]),
      ...ofOneForm.map((of) => ({ words: of("gone.json"), expected: 1 })),
      { words: ofOneForm[0]("empty.txt"), expected: 2 },
    ];
    const told = [];
    for (let i = 0; i < cases.length; i += 4)
      told.push(
        ...(await Promise.all(
          cases.slice(i, i + 4).map(async (one) => ({ ...one, status: (await ventris(one.words)).status })),
        )),
      );
    expect(told.filter(({ status, expected }) => status !== expected)).toEqual([]);
  });

  const unknown: [string, string[], number, string, RegExp][] = [
    ["of a model", ["run", "--model", "knosos", prompt], 1, "unavailable", /did you mean "knossos"/],
    ["of an option", ["run", "--top-p", "1.5", prompt], 2, "bad_option", /--top-p/],
    ["of a flag", ["methods", "--nothing"], 2, "bad_option", /^there is no option --nothing/],
    ["of a command", ["rnu"], 2, "bad_option", /^there is no command rnu/],
    ["of a name", ["papers", "dispec"], 2, "bad_option", /dyspec/],
    [
      "of the folder of the texts",
      ["train", join(root, "recipes", "knossos.json"), "--data", "nowhere"],
      1,
      "unavailable",
      /there is no folder nowhere/,
    ],
    ["of a file", ["train", "missing.json"], 1, "bad_file", /missing\.json cannot be read/],
    ["of a line of a chat", ["chat"], 2, "bad_option", /no command \/nope/],
    [
      "of all methods of a comparison",
      ["compare", "--model", "mycenae", "--methods", "dyspec", prompt],
      1,
      "unavailable",
      /\(dyspec was skipped: this takes a model that writes from left to right; pass --model/,
    ],
  ];
  it.each(unknown)(
    "is one JSON object on standard output under --json: %s",
    async (_, words, status, code, message) => {
      const told = await ventris([...words, "--json"], "/nope\n");
      expect(told.status).toBe(status);
      expect(told.stderr).toMatch(/^ventris: /m);
      const { error, ...others } = JSON.parse(told.stdout);
      expect(error).toEqual({ code, message: expect.stringMatching(message) });
      expect(told.stderr).not.toMatch(doubledSigns);
      expect(others).toEqual({});
    },
  );

  it("is not taken for one where --json is a word of the prompt", async () => {
    const { status, stdout } = await ventris(["run", "--model", "knosos", "--", "--json"]);
    expect([status, stdout]).toEqual([1, ""]);
  });

  it("shows where an error comes from with --debug", async () => {
    const { stderr } = await ventris(["run", "--debug", "--model", "knosos", prompt]);
    expect(stderr).toMatch(/VentrisError: no model[\s\S]*\n {4}at /);
  });
});

describe("every command", () => {
  /** Those that a help lists, with the words that lead there. */
  const listed = (help: string, before: readonly string[]): string[][] =>
    [...help.split("\n\nTry:")[0].matchAll(/^ {2}([a-z][\w-]*)(?: {2,}|$)/gm)]
      .map(([, name]) => [...before, name])
      .filter(([name]) => name !== "help");
  const commandsIn = (help: string): string => /\nCommands:\n([\s\S]*?)(\n\n|$)/.exec(help)?.[1] ?? "";
  async function below(words: readonly string[], depth = 3): Promise<[words: readonly string[], help: string][]> {
    const { stdout: help } = await ventris([...words, "--help"]);
    const names = words.length === 0 ? listed(help, []) : listed(commandsIn(help), words);
    const inner = depth === 0 ? [] : names.filter((one) => one.at(-1) !== "help");
    const found: [readonly string[], string][] = [[words, help]];
    for (const one of inner) found.push(...(await below(one, depth - 1)));
    return found;
  }

  it("has a help that fits 80 columns, JSON for its results, and one form and status of a wrong call", async () => {
    const all = await below([]);
    expect(all.length).toBeGreaterThan(50);
    const [[, whole], ...others] = all;
    expect(whole).toMatch(/Exit status: 0 done, 1 failed, 2 called wrongly, 130 interrupted/);
    for (const [words, help] of others) {
      const name = words.join(" ");
      expect(Math.max(...help.split("\n").map((line) => line.length)), name).toBeLessThanOrEqual(80);
      expect(help, name).not.toMatch(doubledSigns);
      const leads = commandsIn(help) !== "" && !["train", "choose"].includes(name);
      if (!leads && !["studio", "serve", "bench"].includes(name)) expect(help, name).toMatch(/^ {2}--json /m);
      if (name === "bench") continue; // its flags are those of what it runs
      const { status, stdout, stderr } = await ventris([...words, "--nothing-of-this-name", "--json"]);
      expect([name, status]).toEqual([name, 2]);
      expect(stderr, name).toMatch(/^ventris: there is no option --/);
      expect(JSON.parse(stdout), name).toEqual({
        error: { code: "bad_option", message: expect.stringMatching(/^there is no option --/) },
      });
    }
  });
});

describe("listings", () => {
  it("lists methods, with a JSON Schema of their options", async () => {
    expect((await ventris(["methods"])).stdout).toMatch(/^method +family +lossless +what it does\ngreedy +plain +yes/);
    const able = (await ventris(["methods", "--model", "knossos"])).stdout;
    expect(able).toMatch(/^greedy /m);
    expect(able).not.toMatch(/^localleap /m); // it fills a canvas
    expect((await ventris(["methods", "greedy", "--model", "knossos"])).stderr).toMatch(/--model chooses among all/);
    const listed = JSON.parse((await ventris(["methods", "--json"])).stdout);
    expect(listed.map(({ name }: { name: string }) => name)).toEqual(expect.arrayContaining(["greedy", "sample"]));
    for (const { options } of listed) expect(options).toMatchObject({ type: "object", additionalProperties: false });
  });

  it("lists shipped models and what is wrong with broken ones in the cache", async () => {
    const broken = join(folder, "hub", "owner", "name", "0".repeat(40));
    await mkdir(broken, { recursive: true });
    await writeFile(join(broken, "model.safetensors"), "no weights");
    const entries: { name: string; parameters?: number; contextLength?: number; problem?: string }[] = JSON.parse(
      (await ventris(["models", "--json"])).stdout,
    );
    const named = Object.fromEntries(entries.map((entry) => [entry.name, entry]));
    expect(named.knossos).toMatchObject({ origin: "shipped", architecture: "LlamaForCausalLM" });
    // What the package leaves out does not ship.
    for (const name of ["argos", "knossos-units"]) expect(named[name]).toMatchObject({ origin: "repository" });
    const { stdout: table } = await ventris(["models"]);
    expect(table).toMatch(/^argos +in the repository /m);
    expect(table).toMatch(/^knossos +ships /m);
    expect(named.knossos.parameters).toBeGreaterThan(5e6);
    expect(named.knossos.contextLength).toBe(1024);
    expect(named["owner/name"]).toMatchObject({ origin: "cached", problem: expect.stringContaining(broken) });
  });

  it("lists the models of a name alone, and tells the nearest of one that there is not", async () => {
    const one: { name: string }[] = JSON.parse((await ventris(["models", "knossos", "--json"])).stdout);
    expect(one.map(({ name }) => name)).toEqual(["knossos"]);
    const below = await ventris(["models", join(root, "test", "fixture")]);
    expect(below.stderr.split(/\s+/).join(" ")).toContain(`; did you mean "${join(root, "test", "fixtures")}"?`);
    const none = await ventris(["models", "knosos"]);
    expect([none.status, none.stderr]).toEqual([1, 'ventris: there is no folder knosos; did you mean "knossos"?\n']);
  });

  it("finds models in folders here, and names them as --model takes them", async () => {
    await mkdir(join(folder, "own"), { recursive: true });
    await cp(join(root, "models", "pylos"), join(folder, "own", "small"), { recursive: true });
    const entries: { name: string; origin: string }[] = JSON.parse((await ventris(["models", "own", "--json"])).stdout);
    const [found] = entries.filter(({ origin }) => origin === "here");
    expect(found.name).toBe(join("own", "small"));
    const { status } = await ventris(["run", "-n", "1", "--model", found.name, prompt]);
    expect(status).toBe(0);
    const short = await ventris([
      "run",
      "--context-length",
      "9",
      "--temperature",
      "0",
      "--json",
      "--model",
      found.name,
      "A",
    ]);
    expect(JSON.parse(short.stdout)).toMatchObject({ finish: "context" });
    const long = await ventris(["run", "--context-length", "1000000", "--model", found.name, "A"]);
    expect(long.stderr).toMatch(/contextLength must be/);
    expect((await ventris(["models", "nowhere"])).stderr).toMatch(/no folder nowhere/);
  });

  it("writes the list that a page opens models by, and says where there are none", async () => {
    const own = join(folder, "listed");
    await cp(join(root, "models", "pylos"), join(own, "small"), { recursive: true });
    await writeFile(join(own, "small", "model.safetensors.part"), "half");
    const { status, stdout, stderr } = await ventris(["models", "--files", "listed"]);
    expect([status, stdout]).toEqual([0, `${join("listed", "ventris-files.json")}\n`]);
    expect(stderr).toMatch(/files, 1\.\d MB/);
    const list = JSON.parse(await readFile(join(own, "ventris-files.json"), "utf8"));
    const weights = await readFile(join(own, "small", "model.safetensors"));
    expect(list.format).toBe("ventris files 1");
    expect(list.files["small/model.safetensors"]).toEqual({
      size: weights.length,
      sha256: createHash("sha256").update(weights).digest("hex"),
    });
    expect(Object.keys(list.files)).toContain("small/parts/prompt-tokens/part.json");
    expect(Object.keys(list.files).some((name) => /part$|ventris-files/.test(name))).toBe(false);
    // Its own list is none of its files, the next time either.
    const again = JSON.parse((await ventris(["models", "--files", "listed", "--json"])).stdout);
    expect(again.files).toEqual(Object.keys(list.files));
    await mkdir(join(folder, "bare"));
    for (const [words, said] of [
      [["--files", "bare"], /no model lies in bare/],
      [["--files", "nowhere"], /nowhere is no folder/],
      [["own", "--files", "listed"], /one folder, and no others/],
      [["--files", "listed", "--remove", "owner/name"], /two tasks/],
    ] as const)
      expect((await ventris(["models", ...words])).stderr).toMatch(said);
  });

  it("has no help for a command that there is not, and knows near names", async () => {
    for (const words of [["trian", "--help"], ["help", "trian"], ["trian"]]) {
      const { status, stdout, stderr } = await ventris(words);
      expect([status, stdout]).toEqual([2, ""]);
      expect(stderr).toMatch(/there is no command trian; did you mean train\?/);
    }
    expect((await ventris(["help", "pull"])).stdout).toMatch(/^Usage: ventris pull/);
    for (const words of [
      ["inspect", "nueron", "--help"],
      ["help", "inspect", "nueron"],
    ]) {
      const { status, stdout, stderr } = await ventris(words);
      expect([status, stdout]).toEqual([2, ""]);
      expect(stderr).toMatch(/there is no command nueron; did you mean neurons\?/);
    }
    for (const words of [
      ["inspect", "neurons", "--help"],
      ["help", "inspect", "neurons"],
      ["inspect", "--help", "neurons"],
    ])
      expect((await ventris(words)).stdout).toMatch(/^Usage: ventris inspect/);
  });

  it("refuses gains of a model whose methods draft nothing, with the commands that help", async () => {
    const { status, stderr } = await ventris(["doctor", "--model", "mycenae"]);
    expect([status, stderr]).toEqual([
      2,
      expect.stringMatching(/writes from left to right, and mycenae does not; ventris methods --model mycenae/),
    ]);
  });

  it("examines the machine", async () => {
    const { status, stdout } = await ventris(["doctor", "--json"]);
    const checks: { what: string; state: string; remedy?: string }[] = JSON.parse(stdout).checks;
    const named = Object.fromEntries(checks.map((check) => [check.what, check]));
    for (const what of ["Node", "ONNX Runtime", "cpu", "models", "cache"]) expect(named[what].state).toBe("ok");
    // Whether this machine has a graphics card or not, nothing is wrong with it.
    for (const what of ["webgpu", "cuda"]) expect(["ok", "absent"]).toContain(named[what].state);
    for (const { state, remedy } of checks) if (state !== "ok") expect(remedy).toBeTruthy();
    expect(status).toBe(0);
  });

  it("examines in a line a device, without what its libraries write, and marks only what is wrong", async () => {
    const { stdout, stderr } = await ventris(["doctor"]);
    for (const device of ["cpu", "webgpu", "cuda"]) expect(stdout).toMatch(new RegExp(`^[✓·] ${device} +\\S.*$`, "m"));
    expect(stdout).not.toMatch(/✗|onnxruntime_src|pass times/);
    expect(stderr).toBe("To see what each method can gain here: ventris doctor --model knossos\n");
    // And so does whoever asks for one that is not there.
    for (const [, device] of stdout.matchAll(/^· (webgpu|cuda)/gm)) {
      const { status, ...told } = await ventris(["run", "--device", device, "-n", "4", "Once"]);
      expect([status, told.stdout]).toEqual([1, ""]);
      expect(told.stderr).toMatch(new RegExp(`^ventris: --device ${device} does not work on this machine: .+\n$`));
    }
  });

  it("shows what each method can gain with a model here, from measured pass times and acceptance", async () => {
    const { status, stdout } = await ventris(["doctor", "--model", "knossos", "--json"]);
    const { model, passes, methods } = JSON.parse(stdout);
    expect(model).toBe("knossos");
    expect(passes.seconds).toHaveLength(passes.rows.length);
    const gains: Record<string, { speedUp?: number; most: number; because: string; unfit?: true }> = Object.fromEntries(
      methods.map((gain: { method: string }) => [gain.method, gain]),
    );
    expect(gains.chain.speedUp).toBeGreaterThanOrEqual(1); // it may leave drafting alone
    expect(gains["prompt-lookup"].speedUp).toBeUndefined(); // the text decides
    expect(gains.multimodal).toMatchObject({
      unfit: true,
      because: expect.stringContaining("this needs the part multimodal, which"),
    });
    for (const { most, because, unfit } of Object.values(gains)) {
      if (unfit) continue;
      expect(most).toBeGreaterThan(0);
      expect(because).toMatch(/ms/);
    }
    expect(gains.greedy).toBeUndefined();
    expect(status).toBe(0);
    const table = (await ventris(["doctor", "--model", "knossos"])).stdout;
    expect(table).toMatch(/What methods can gain with knossos[\s\S]*\nmethod +expected +at best +verdict\nchain +~?\d/);
  });
});

it("bench names the nearest benchmark, and its usage fits the screen", () => {
  const env = { ...process.env, COLUMNS: "70" };
  const bench = (...words: string[]) =>
    spawnSync(process.execPath, [main, "bench", ...words], { env, encoding: "utf8" });
  const { status, stderr } = bench("engin");
  expect(status).toBe(2);
  expect(stderr).toMatch(/^ventris: there is no benchmark "engin"; did you mean "engine"\?\nusage: /);
  for (const line of stderr.split("\n")) expect(line.length).toBeLessThanOrEqual(70);
  // Nothing is installed for a slip: the first word that is said is about it.
  const flag = bench("speculation", "--quik", "--json");
  expect(flag.status).toBe(2);
  expect(flag.stderr).toMatch(/^ventris: there is no option --quik; did you mean --quick\?\nusage: /);
  expect(JSON.parse(flag.stdout)).toEqual({ error: { code: "bad_option", message: expect.stringMatching(/--quik;/) } });
});

describe("compare", () => {
  it("runs methods side by side and finds the lossless ones equal", async () => {
    const words = ["compare", "--json", "--methods", "greedy,sample", "--max-tokens", "6", prompt];
    const { status, stdout } = await ventris(words);
    const { prompts, methods, differences } = JSON.parse(stdout);
    expect(prompts).toEqual([prompt]);
    expect(methods.map(({ method }: { method: string }) => method)).toEqual(["greedy", "sample"]);
    expect(methods[1].tokens).toEqual(methods[0].tokens);
    expect(methods[0].speedUp).toBe(1);
    expect(methods[1].verdict).not.toBe("plain");
    expect(methods[1].interval[0]).toBeLessThanOrEqual(methods[1].speedUp);
    expect(differences).toEqual([]);
    expect(status).toBe(0);
  });

  it("measures 200 tokens several times, on several prompts", async () => {
    await writeFile(join(folder, "prompts.txt"), "Once upon a time\n\nThe old king\n");
    const words = [
      "compare",
      "--json",
      "--methods",
      "greedy",
      "--prompts",
      "prompts.txt",
      "--repeat",
      "2",
      "--min-tokens",
      "200",
    ];
    const { methods, repetitions } = JSON.parse((await ventris(words)).stdout);
    expect(repetitions).toBe(2);
    expect(methods[0].counters.generated).toBe(200);
    expect(methods[0].prompts).toHaveLength(2);
    expect(methods[0].prompts[1].text).not.toBe(methods[0].prompts[0].text);
  });

  it("skips what a model lacks with the flag that would help, and goes on", async () => {
    const words = ["compare", "--json", "--methods", "greedy,chain", "--draft", "knossos", "--model", "pylos"];
    const { status, stdout, stderr } = await ventris([...words, "-n", "8", "--repeat", "1", prompt]);
    const { methods, skipped } = JSON.parse(stdout);
    expect(methods.map(({ method }: { method: string }) => method)).toEqual(["greedy"]);
    expect(skipped).toEqual([
      {
        label: "chain",
        flag: "--draft MODEL",
        reason: expect.stringMatching(/larger than its target.*--draft MODEL/),
      },
    ]);
    expect(stderr).toMatch(/^chain was skipped: /m);
    expect(status).toBe(0);
    const filling = ["compare", "--model", "mycenae", "--methods", "random,learn2pd", "-n", "8", "--repeat", "1"];
    expect((await ventris([...filling, prompt])).stderr).toMatch(
      /^learn2pd was skipped: 8 positions cannot be cut into blocks of 32, on which the filter .* was trained; pass -n 32, or train a filter for it$/m,
    );
  });

  it("goes on without plain decoding where the model is of another kind, and gives one reason once", async () => {
    const words = ["compare", "--model", "mycenae", "--methods", "greedy,chain,random", "-n", "8", "--repeat", "1"];
    const { status, stdout, stderr } = await ventris([...words, prompt]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^method.*against random\nrandom /);
    expect(stderr).toMatch(
      /^greedy and chain were skipped: this takes a model that writes from left to right; pass --model MODEL: of the shipped models .*knossos.* can be passed$/m,
    );
    const several = ["compare", "--methods", "greedy,beam,self-consistency", "-n", "8", "--repeat", "1", prompt];
    expect((await ventris(several)).stderr).toMatch(
      /^beam and self-consistency were skipped: temperature 0 leaves one text.*; pass --temperature 1 to let them run$/m,
    );
    const nothing = await ventris(["compare", "--methods", "greedy", "--temperature", "0.8", prompt]);
    expect([nothing.status, nothing.stderr]).toEqual([2, expect.stringMatching(/^ventris: greedy decodes at temp/)]);
  });

  it("prints the text once, names rows by the options that differ, and says when an output is short", async () => {
    const list =
      '["greedy", {"name":"prompt-lookup","length":2,"maximum":3}, {"name":"prompt-lookup","length":8,"maximum":3}]';
    const words = ["compare", "--methods", list, "-n", "12", "--repeat", "1", prompt];
    const { stdout, stderr } = await ventris(words);
    expect(stdout).toMatch(/^method +same text +tokens a pass/);
    expect(stdout).toMatch(/\nprompt-lookup length=2 +✓/);
    expect(stdout).toMatch(/\n\ngreedy, prompt-lookup length=2 and prompt-lookup length=8:\n {2}\S/);
    expect(stdout.match(/:\n {2}\S/g)).toHaveLength(1);
    expect(stderr).toMatch(/the output has only 12 tokens/);
  });

  it("writes a page and a figure that need nothing beside themselves", async () => {
    const words = ["compare", "--methods", "greedy,prompt-lookup", "-n", "8", "--repeat", "2", "--quiet", prompt];
    for (const name of ["compared.html", "compared.svg"]) {
      const { status, stderr } = await ventris([...words, "--out", name]);
      expect([status, stderr]).toEqual([0, ""]);
      const text = await readFile(join(folder, name), "utf8");
      expect(text).toMatch(/<svg[\s\S]*prompt-lookup/);
      expect(text.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:|src=|@import|url\(/);
    }
    const wrong = await ventris([...words, "--out", "compared.png"]);
    expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining("the file must end in .html or .svg")]);
  });

  it("checks the text of a seed at other temperatures too", async () => {
    const words = [
      "compare",
      "--json",
      "--methods",
      "sample,prompt-lookup,aded",
      "--temperature",
      "0.9",
      "--seed",
      "4",
    ];
    const { status, stdout } = await ventris([...words, "--max-tokens", "12", prompt]);
    const { methods, differences } = JSON.parse(stdout);
    expect(methods[0].tokens).toHaveLength(12);
    for (const { tokens } of methods) expect(tokens).toEqual(methods[0].tokens);
    expect(differences).toEqual([]);
    expect(status).toBe(0);
  });

  it("shows drafted trees and why they were accepted", async () => {
    const looped = "the cat sat on the mat. the cat sat on the mat. the cat sat";
    const { stdout } = await ventris([
      "compare",
      "--methods",
      "greedy,prompt-lookup",
      "--rounds",
      "1",
      "--max-tokens",
      "6",
      looped,
    ]);
    expect(stdout).toMatch(/How to read a tree/);
    expect(stdout).toMatch(/\nprompt-lookup, round 1: \d+ tokens drafted, \d+ kept\n/);
    expect(stdout).toMatch(/─ "[^"]*" {2}✓ the target's most likely token\n|─ "[^"]*" {2}✗\n/);
    expect(stdout).toMatch(/\nthen "[^\n]*": the target's most likely token/);
    expect(stdout).not.toMatch(/drew|bonus/);
  });
});

describe("train", () => {
  it("makes a tokenizer, trains on it and goes on where it was interrupted", async () => {
    const lines = Array.from({ length: 1200 }, (_, i) =>
      JSON.stringify({ text: `The cat number ${i} sat on mat ${i * 7}. `.repeat(9) }),
    );
    await writeFile(join(folder, "texts.jsonl"), lines.join("\n"));
    const made = await ventris(["train", "tokenizer", "texts.jsonl", "--size", "300", "--out", "tiny", "--json"]);
    expect(JSON.parse(made.stdout)).toEqual({ out: "tiny", tokens: 300, merges: 36 });

    const recipe = JSON.parse(await readFile(join(root, "recipes", "knossos.json"), "utf8"));
    const shape = { vocab_size: 300, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, head_dim: 4 };
    const small = {
      name: "tiny",
      tokenizer: "tiny",
      data: [{ path: "texts.jsonl" }],
      rows: 2,
      length: 16,
      steps: 1_000_000,
    };
    await writeFile(
      join(folder, "tiny.json"),
      JSON.stringify({ ...recipe, ...small, config: { ...recipe.config, ...shape } }),
    );

    const child = start(["train", "tiny.json", "--data", ".", "--run", "checkpoint", "--json"]);
    // One interrupt only: a second would end it at once.
    child.stderr.on("data", (text) => String(text).includes("step") && !child.killed && child.kill("SIGINT"));
    const interrupted = await outcome(child);
    expect(interrupted.stderr).toMatch(/stopped early \(interrupted\)/);
    expect(interrupted.status).toBe(130);
    const { step } = JSON.parse(interrupted.stdout);

    const seconds = ["--max-minutes", "0.0001"];
    const again = await ventris([
      "train",
      "tiny.json",
      "--data",
      ".",
      "--run",
      "checkpoint",
      "--out",
      "out",
      "--json",
      ...seconds,
    ]);
    expect(JSON.parse(again.stdout)).toMatchObject({ recipe: "tiny", reason: "time", resumedFrom: step });
    const decoded = await ventris(["run", "--model", "out", "--json", "--max-tokens", "3", "The cat"]);
    expect(JSON.parse(decoded.stdout).tokens).toHaveLength(3);

    // Going on from the model with next to no learning rate gives the model itself.
    const still = { kind: "constant", peak: 1e-12 };
    const further = { ...small, steps: 1, schedule: still, continues: { model: "out", tokens: 2e6, minutes: 5 } };
    await writeFile(
      join(folder, "further.json"),
      JSON.stringify({ ...recipe, ...further, config: { ...recipe.config, ...shape } }),
    );
    const gone = await ventris(["train", "further.json", "--data", ".", "--run", "further", "--out", "out2", "--json"]);
    expect(JSON.parse(gone.stdout)).toMatchObject({ step: 1, reason: "steps" });
    const weights = (name: string) => readFile(join(folder, name, "model.safetensors"));
    expect((await weights("out2")).equals(await weights("out"))).toBe(true);
    expect(await readFile(join(folder, "out2", "README.md"), "utf8")).toMatch(
      /after the earlier training, 2\.00 million/,
    );
  });

  it("lets a model write texts, and goes on where an earlier call stopped", async () => {
    await writeFile(join(folder, "openings.txt"), "Once upon a time there was a king. ".repeat(40));
    const words = ["train", "texts", "openings.txt", "--model", "knossos", "--count", "18", "--opening", "6"];
    const call = [...words, "-n", "5", "--json", "--out"];
    const whole = await ventris([...call, "whole.jsonl"]);
    expect(JSON.parse(whole.stdout)).toEqual({ out: "whole.jsonl", texts: 18, complete: true });
    const text = await readFile(join(folder, "whole.jsonl"), "utf8");
    const lines = text.trim().split("\n");
    expect(new Set(lines).size).toBeGreaterThan(9);
    for (const line of lines) expect(JSON.parse(line).text.length).toBeGreaterThan(10);

    await writeFile(join(folder, "again.jsonl.partial"), `${lines.slice(0, 7).join("\n")}\n{"text": "cut o`);
    await ventris([...call, "again.jsonl"]);
    expect(await readFile(join(folder, "again.jsonl"), "utf8")).toBe(text);
    const wrong = await ventris([...words, "--temperatures", "0,-1", "--out", "none.jsonl"]);
    expect(wrong.status).toBe(2);
    expect(wrong.stderr).toMatch(/temperatures/);
  });
});

it("an empty text for a file or folder is not taken for a flag that was not given", async () => {
  const { status, stderr } = await outcome(start(["inspect", "neurons", "--work", ""]));
  expect([status, stderr]).toEqual([2, expect.stringContaining("--work is empty: it must name a file or a folder")]);
});

describe("papers and their reproduction", () => {
  it("lists 24, shows one, and knows near names", async () => {
    const listed = JSON.parse((await outcome(start(["papers", "--json"]))).stdout);
    expect(listed).toHaveLength(24);
    const one = await outcome(start(["papers", "dyspec"]));
    expect(one.stdout).toContain("arXiv 2410.11744");
    expect(one.stdout).toContain("holds when");
    const wrong = await outcome(start(["papers", "dispec"]));
    expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining('did you mean "dyspec"?')]);
    const far = await outcome(start(["papers", "something-else"]));
    expect(far.stderr).toMatch(/^ventris: no paper is called "something-else"\. Papers: dkf, /);
    // Whatever it names is there to be typed; a folder of sources is in no package.
    expect(one.stdout).toMatch(/^method {4}dyspec \(its options: ventris methods dyspec\)$/m);
    expect(one.stdout).toMatch(/^measure {3}ventris reproduce dyspec$/m);
  });

  it("lists which records are there, missing or stale", async () => {
    const states = JSON.parse((await outcome(start(["reproduce", "--list", "--json"]))).stdout);
    expect(states).toHaveLength(24);
    for (const { state } of states) expect(["planned", "missing", "stale", "partial", "current"]).toContain(state);
    expect(states[0]).toMatchObject({ name: "dkf", size: "full", claims: expect.any(Number) });
    const one = await outcome(start(["reproduce", "--list", "dkf"]));
    expect(one.stdout).toMatch(/dkf +(current|stale) +full/);
    expect((await outcome(start(["reproduce"]))).status).toBe(2);
  });

  it("measures at the tiny size, writes the record, and a claim that does not hold is no failure", async () => {
    const file = join(folder, "record.json");
    const { status, stdout } = await outcome(start(["reproduce", "aded", "--tiny", "--json", "--out", file]));
    expect(status).toBe(0);
    const record = JSON.parse(await readFile(file, "utf8"));
    expect(record).toMatchObject({ format: 1, name: "aded", size: "tiny" });
    expect(JSON.parse(stdout).holds.lossless).toBe(true);
    expect(await readFile(join(folder, "record-adapts.svg"), "utf8")).toContain("<svg");
  });

  it("refuses two sizes, and says what is planned", async () => {
    expect((await outcome(start(["reproduce", "aded", "--tiny", "--full"]))).status).toBe(2);
    const planned = listedPlanned(JSON.parse((await outcome(start(["papers", "--json"]))).stdout));
    if (planned === undefined) return;
    const { status, stderr } = await outcome(start(["reproduce", planned, "--tiny"]));
    expect([status, stderr]).toEqual([1, expect.stringContaining("planned")]);
  });
});

const listedPlanned = (papers: { name: string; state: string }[]): string | undefined =>
  papers.find(({ state }) => state === "planned")?.name;
