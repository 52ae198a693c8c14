/** `ventris train` and its words as people call them: begun from texts alone, watched, interrupted, sampled, trained further, and misused. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { open } from "../src/open.ts";
import { ensureBuilt, root } from "./build.ts";

vi.setConfig({ testTimeout: 180_000 }); // each call is a process of its own, and machines may be busy

let folder: string;
const animals = ["fox", "hen", "bear", "mouse", "owl", "goat", "frog", "cat"];
const stories = Array.from({ length: 900 }, (_, i) => {
  const [one, other] = [animals[i % 8], animals[(i * 5 + 3) % 8]];
  return `Day ${i}: the ${one} met the ${other} by the river, and they shared ${i % 7} apples before it was dark.`;
});
beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-train-"));
  await writeFile(join(folder, "stories.jsonl"), stories.map((text) => JSON.stringify({ text })).join("\n"));
  await writeFile(join(folder, "more.txt"), stories.slice(0, 300).join("\n\n"));
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}
const start = (words: readonly string[]): ChildProcessWithoutNullStreams =>
  spawn(process.execPath, [join(root, "dist", "cli", "main.js"), ...words], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: "1", VENTRIS_CACHE: join(folder, "cache"), HF_ENDPOINT: "http://127.0.0.1:9" },
  });
function outcome(child: ChildProcessWithoutNullStreams): Promise<Outcome> {
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
    });
  return new Promise((resolve) => child.on("close", (status) => resolve({ status, ...texts })));
}
const ventris = (...words: string[]): Promise<Outcome> => outcome(start(words));
async function json(...words: string[]) {
  const { status, stdout, stderr } = await ventris(...words, "--json");
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout);
}
async function refused(words: string[], message: RegExp): Promise<void> {
  const { status, stdout, stderr } = await ventris(...words);
  expect(stderr).toMatch(message);
  expect([status === 0, stdout]).toEqual([false, ""]);
}
const path = (...parts: string[]): string => join(folder, ...parts);
/** The begun recipe with other fields and a constant rate, beside it. */
async function variant(name: string, change: (recipe: Record<string, unknown>) => object): Promise<string> {
  const source = (await readFile(path("begun", "recipe.json"), "utf8")).replace(/^\s*\/\/.*$/gm, "");
  const recipe = JSON.parse(source);
  await writeFile(
    path("begun", `${name}.json`),
    JSON.stringify({ ...recipe, schedule: { kind: "constant", peak: 0.003 }, ...change(recipe) }),
  );
  return join("begun", `${name}.json`);
}

it("--init writes a recipe that fits the texts; it is trained, and its samples go on with held-out texts", async () => {
  const { recipe } = await json("train", "--init", "begun", "--texts", "stories.jsonl", "--minutes", "0.05");
  expect(recipe).toBe(join("begun", "recipe.json"));
  expect(existsSync(path("begun", "tokenizer", "tokenizer.json"))).toBe(true);
  await refused(["train", "--init", "begun", "--texts", "stories.jsonl"], /recipe\.json is there already/);
  await refused(["train", recipe, "--texts", "stories.jsonl"], /--texts belongs to --init/);
  await refused(["train", "--init", "other", "--texts", "gone.txt"], /cannot read gone\.txt/);

  const short = await variant("short", () => ({ steps: 6 }));
  const trained = await json("train", short, "--run", "run", "--out", "model");
  expect(trained).toMatchObject({ recipe: "begun", reason: "steps", step: 6, steps: 6, resumedFrom: 0 });
  const state = await json("train", "status", "run");
  const { loss, heldOutLoss } = trained; // the same figures wherever they are told
  expect(state).toMatchObject({ name: "begun", running: false, step: 6, steps: 6, loss, heldOutLoss });
  const told = await ventris("train", "status", "run");
  expect(told.stdout).toMatch(/state +finished *\nstep +6 of 6 *\nloss +\d\.\d{3} nats a token/);

  await refused(["train", "statu", "run"], /no command "statu".*did you mean "status"/);
  await refused(["train", short, "further"], /train takes one recipe; what else is further/);
  await refused(["train", "begun"], /recipe begun cannot be read: it is not a file; did you mean "begun.recipe\.json/);
  await refused(["train", "gone.json"], /recipe gone\.json cannot be read: there is no such file$/m);
  const relative = await variant("relative", () => ({ data: [{ path: "here.txt" }] }));
  await refused(["train", relative], /data\[0\]\.path: where is here\.txt\? Give its folder by --data/);
  const long = await variant("too-long", () => ({ length: 5000 }));
  await refused(["train", long], /length is 5000, and the model reads at most 512 tokens/);

  const samples = await json("train", "sample", "run", "-n", "5", "--temperature", "0", "Day", "The fox");
  expect(samples.map(({ prompt }: { prompt: string }) => prompt)).toEqual(["Day", "The fox"]);
  const shown = await ventris("train", "sample", "run", "-n", "5", "--temperature", "0", "Day");
  expect(shown.stderr).toMatch(/^the sign \| stands between what was given and what the model wrote\n/);
  expect(shown.stdout.trim()).toBe(`Day|${samples[0].text}`.trim());
  const own = await json("train", "sample", "run", "--max-tokens", "3");
  expect(own).toHaveLength(4);
  for (const { prompt } of own) expect(stories.some((text) => text.startsWith(prompt))).toBe(true);
});

it("a single .txt is cut at its blank lines, or as --separator says, and the recipe and the command tell it", async () => {
  const tellings = stories.slice(0, 300);
  await writeFile(path("tales.txt"), tellings.join("\r\n \r\n\r\n"));
  const planned = async (folder: string, ...flags: string[]) => {
    const words = ["train", "--init", folder, "--texts", "tales.txt", "--minutes", "0.05"];
    const told = await ventris(...words, ...flags, "--json");
    return {
      ...JSON.parse(told.stdout),
      stderr: told.stderr,
      recipe: await readFile(path(folder, "recipe.json"), "utf8"),
    };
  };
  const cut = await planned("cut");
  expect(cut.documents).toBe(300);
  expect(cut.stderr).toMatch(/^tales\.txt: 300 documents, told apart by blank lines; --separator '' keeps it whole/m);
  expect(cut.stderr).toMatch(
    /^a model of [\d.]+ (?:thousand|million) parameters.* on this machine when nothing else runs; --minutes/m,
  );
  expect(cut.recipe).toMatch(/300 documents in all[\s\S]*tales\.txt", "separator": "\\n\\n" }/);
  const whole = await planned("undivided", "--separator", "");
  expect([whole.documents, whole.recipe]).toEqual([1, expect.not.stringContaining('"separator": ')]);
  const other = await planned("other", "--separator", "\\r\\n \\r\\n");
  expect(other.documents).toBe(300);
  const nowhere = await planned("nowhere", "--separator", "§");
  expect(nowhere.stderr).toMatch(/^1 document in the texts: "§" separates nothing in them$/m);
  await refused(
    ["train", "--init", "no", "--texts", "stories.jsonl", "--separator", "x"],
    /--separator tells the documents of \.txt/,
  );
  await refused(["train", join("cut", "recipe.json"), "--separator", "x"], /--separator belongs to --init/);
  await writeFile(join(folder, "bodies.jsonl"), '{"body":"a tale"}\n');
  const bodies = ["train", "--init", "no", "--texts", "bodies.jsonl"];
  await refused(bodies, /\(the line has body\): call "body" "text", or give --field "body"$/m);
  await refused([...bodies, "--field", "bdoy"], /no text in the field "bdoy" .*; did you mean "body"\?$/m);
  await refused([...bodies, "--field", "body"], /tokens|bytes|too (small|short|little)/);
  await refused(["train", "--init", "no", "--texts", "tales.txt", "--field", "body"], /--field names the text among/);
  await refused(["train", join("cut", "recipe.json"), "--minutes", "5"], /--minutes belongs to --init; --max-minutes/);
  await refused(["train", "--init", "no", "--texts", "tales.txt", "--out", "model"], /--out belongs to a training/);

  const tuned = ["train", "finetune", "knossos", "tales.txt", "--max-minutes", "0.00001"];
  expect((await ventris(...tuned)).stderr).toMatch(/^tales\.txt: 300 documents/m);
  expect(JSON.parse(await readFile(path("runs", "knossos-tales", "recipe.json"), "utf8")).data).toEqual([
    { path: path("tales.txt"), separator: "\n\n" },
  ]);
});

it("a recipe that ships is found by its name and by the end of its path", async () => {
  for (const name of ["knossos", "recipes/knossos.json"])
    await refused(["train", name], /recipes.knossos\.json: data\[0\]\.path: where is stories\.jsonl\?/);
  await refused(["train", "knosos"], /did you mean "knossos"/);
});

it("a run is watched and interrupted: it is saved, and goes on", async () => {
  const long = await variant("long", () => ({ steps: 100_000 }));
  const child = start(["train", long, "--run", "watched", "--sample-every", "2", "--json"]);
  let seen = "";
  child.stderr.on("data", (text) => {
    seen += text;
  });
  const done = outcome(child);
  let state: { running: boolean; step: number } | undefined;
  for (let i = 0; i < 200 && !(state?.running && state.step >= 10); i++) {
    await wait(200);
    if (existsSync(path("watched", "run.json"))) state = await json("train", "status", "watched");
  }
  expect(state).toMatchObject({ running: true, steps: 100_000 });
  await refused(["train", long, "--run", "watched"], /watched.*(in use|another process|lock)/s);
  child.kill("SIGINT");
  const { status, stdout } = await done;
  const stopped = JSON.parse(stdout);
  expect([status, stopped.reason]).toEqual([130, "aborted"]);
  expect(seen).toMatch(/the sign \| stands between what was given and what the model wrote\s+step 2: .+\|/);
  expect(seen).toMatch(/stopped early \(interrupted\); .* the same command goes on from it/);
  expect(seen).not.toContain("aborted");
  expect(await json("train", "status", "watched")).toMatchObject({ running: false, step: stopped.step });
  expect((await ventris("train", "status", "watched")).stdout).toMatch(/stopped; the same command goes on/);

  const one = await variant("long", () => ({ steps: stopped.step + 1 }));
  expect(await json("train", one, "--run", "watched")).toMatchObject({
    resumedFrom: stopped.step,
    step: stopped.step + 1,
  });
});

describe("finetune", () => {
  it("all weights, or a LoRA in PEFT's files, which evaluation reads", async () => {
    const before = await json("eval", "perplexity", "more.txt", "--model", "model", "--limit", "20");
    const words = ["train", "finetune", "model", "more.txt", "--length", "32"];
    const rates = ["--learning-rate", "0.005", "--epochs", "1"];
    const { stdout, stderr } = await ventris(...words, ...rates, "--folder", "whole", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ recipe: "whole", reason: "steps" });
    const { steps, rows, length } = JSON.parse(await readFile(path("whole", "recipe.json"), "utf8"));
    // One epoch reads what is not held out once, but for a batch.
    const read = Number(/(\d+) training tokens/.exec(stderr)![1]);
    expect(Math.abs(steps * rows * length - read)).toBeLessThanOrEqual(rows * length);
    // The folder of the finetuning stands for the run that it holds.
    expect(await json("train", "status", "whole")).toEqual(await json("train", "status", path("whole", "run")));
    await refused(["run", "--model", "whole", "Day"], /no weights in .*did you mean ".*whole.model/);
    await refused(
      ["run", "--model", "whole/modl", "Day"],
      /there is no such folder here; did you mean "whole.model"\? Of the hub/,
    );
    const whole = await json("eval", "perplexity", "more.txt", "--model", path("whole", "model"), "--limit", "20");
    expect(whole.perToken.value).toBeLessThan(0.8 * before.perToken.value);

    await json(...words, ...rates, "--folder", "thin", "--lora", "2", "--targets", "q_proj,down_proj");
    const stated = JSON.parse(await readFile(path("thin", "adapter", "adapter_config.json"), "utf8"));
    expect(stated).toMatchObject({ peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q_proj", "down_proj"] });
    const lora = ["--lora", path("thin", "adapter")];
    const thin = await json("eval", "perplexity", "more.txt", "--model", "model", ...lora, "--limit", "20");
    expect(thin.perToken.value).toBeLessThan(before.perToken.value);
    expect(thin.perToken.value).not.toBe(whole.perToken.value);
  });

  it("a page of text is enough; what was stopped goes on with the same command, and another recipe is not overwritten", async () => {
    await writeFile(path("page.txt"), stories.slice(0, 12).join("\n\n"));
    const words = ["train", "finetune", "model", "page.txt", "--folder", "page"];
    const stopped = await ventris(...words, "--max-minutes", "0.00001");
    expect(stopped.stderr).toMatch(/measured on .* batch(es)? of 1 x \d+ tokens, which is little/);
    expect(stopped.stderr).toMatch(
      /stopped early \(its --max-minutes are over\).*the same command with more --max-minutes goes on from it/,
    );
    const { resumedFrom, step, steps } = await json(...words);
    expect([resumedFrom > 0, step]).toEqual([true, steps]);
    await refused([...words, "--epochs", "9"], /page.recipe\.json is there already and says something else/);
    await writeFile(path("line.txt"), "A fox.");
    await refused(
      ["train", "finetune", "model", "line.txt", "--folder", "line"],
      /the texts have \d+ tokens, and training needs 160 or more/,
    );
    const beginning = ["train", "--init", "line", "--texts", "line.txt"];
    await refused(
      beginning,
      /a model of their own needs 2000 or more: give more text, or 160 or more to train a shipped/,
    );
    expect(existsSync(path("line"))).toBe(false); // and the tokenizer that was made for it
    // What it advises can be done as it stands there.
    const { stderr } = await ventris("train", "--init", "begun page", "--texts", "page.txt");
    const advice = /train a shipped model further on these: ventris (.*)$/m.exec(stderr)?.[1] ?? "";
    const advised = advice.match(/"[^"]*"|\S+/g)!.map((word) => word.replaceAll('"', ""));
    expect(advised).toEqual(["train", "finetune", "knossos", "page.txt", "--folder", "begun page"]);
    expect((await json(...advised, "--max-minutes", "0.00001")).recipe).toBe("begun-page");
  });

  it("a part of the model, which stays as it is", async () => {
    const before = await readFile(path("model", "model.safetensors"));
    const words = ["train", "finetune", "model", "more.txt", "--length", "32", "--epochs", "1", "--folder", "soft"];
    const result = await json(...words, "--part", "soft-prompt", "--set", "vectors=2");
    expect(result).toMatchObject({ recipe: "soft", reason: "steps", out: join("soft", "part") });
    expect(await readFile(path("model", "model.safetensors"))).toEqual(before);
    await using model = await open(path("model"), { threads: 1 });
    const part = await model.part(path("soft", "part"), "soft-prompt");
    expect(part.card.settings).toEqual({ vectors: 2 });
    expect(part.tensors.get("vectors")!.shape).toEqual([2, model.config.hiddenSize]);
  });

  it("what cannot be is said, and nothing is begun", async () => {
    const words = ["train", "finetune", "model", "more.txt", "--folder", "never"];
    await refused([...words, "--set", "vectors=4"], /--set belongs to --part/);
    await refused([...words, "--part", "soft-promt"], /no kind soft-promt .*did you mean "soft-prompt"/);
    await refused([...words, "--part", "soft-prompt", "--set", "vector=4"], /did you mean "vectors"/);
    await refused([...words, "--part", "soft-prompt", "--lora", "2"], /--lora and --part: train one of them/);
    await refused([...words, "--alpha", "4"], /--alpha belongs to --lora/);
    await refused([...words, "--targets", "q_proj"], /--targets belongs to --lora/);
    await refused(["train", "finetune", "model", "gone.txt", "--folder", "never"], /cannot read gone\.txt/);
    const knossos = ["train", "finetune", "knossos", "more.txt", "--folder", "never"];
    await refused(
      [...knossos, "--lora", "2", "--targets", "q_prj"],
      /^(ventris: )?--targets: the model has no matrix "q_prj" .*did you mean "q_proj"/m,
    );
    await refused([...knossos, "--part", "heads"], /part: settings: heads is missing/);
    expect(existsSync(path("never"))).toBe(false);
  });

  it("a model that cannot be trained so is called what it is, before anything is written", async () => {
    const models = join(root, "models");
    await cp(join(models, "pointing", "hull.safetensors"), path("hull.safetensors"));
    await mkdir(path("bare"), { recursive: true });
    await writeFile(path("packed.gguf"), "GGUF");
    await mkdir(path("t5"), { recursive: true });
    await writeFile(path("t5", "config.json"), '{"model_type":"t5"}');
    const cases: [string[], RegExp][] = [
      [["argos"], /^ventris: argos is a model that sees: .*--part prompt-tokens/],
      [["argos", "--lora", "2"], /^ventris: argos is a model that sees/],
      [["mycenae", "--lora", "2"], /^ventris: mycenae is a masked diffusion model: .* no LoRA/],
      [["hull.safetensors"], /^ventris: hull\.safetensors is a pointer network, .*: fine-tuning needs a folder/],
      [["packed.gguf"], /^ventris: packed\.gguf is a GGUF file, .*: fine-tuning needs a folder/],
      [["bare"], /^ventris: bare has no config\.json: fine-tuning needs a folder/],
      [["t5"], /^ventris: t5 is an encoder–decoder/],
    ];
    for (const [[model, ...flags], message] of cases) {
      await refused(["train", "finetune", model, "more.txt", "--folder", "never", ...flags], message);
      expect(existsSync(path("never")), model).toBe(false);
    }
  });
});

describe("what is wrong is named, and what is saved stays", () => {
  const train = (recipe: string, run: string) => ["train", recipe, "--run", run];

  it("texts: empty, binary, gone before or while training", async () => {
    await writeFile(path("empty.txt"), " \n");
    await writeFile(path("binary.txt"), Uint8Array.of(80, 0, 81, 0));
    for (const [name, message] of [
      ["empty.txt", /empty\.txt: there is no text in it/],
      ["binary.txt", /binary\.txt: .*not text/],
      ["gone.txt", /gone\.txt/],
    ] as const)
      await refused(train(await variant("texts", () => ({ data: [{ path: path(name) }] })), "texts"), message);

    await writeFile(path("passing.txt"), stories.join("\n\n"));
    const recipe = await variant("passing", () => ({ data: [{ path: path("passing.txt") }], steps: 100_000 }));
    const child = start(train(recipe, "passing"));
    const done = outcome(child);
    for (let i = 0; i < 300 && !existsSync(path("passing", "loss.jsonl")); i++) await wait(100);
    await unlink(path("passing.txt"));
    await wait(500);
    child.kill("SIGINT");
    expect((await done).status).toBe(130); // it has all texts already
    const { step } = await json("train", "status", "passing");
    await refused(train(recipe, "passing"), /cannot read .*passing\.txt/);
    expect(await json("train", "status", "passing")).toMatchObject({ step });
  });

  it("a recipe: misspelt fields, weights of 0, another shape than the checkpoint's, sites that are not there", async () => {
    await refused(train(await variant("wrong", () => ({ stepz: 5 })), "wrong"), /stepz.*did you mean "steps"/s);
    const unweighted = await variant("wrong", () => ({ data: [{ path: path("stories.jsonl"), weight: 0 }] }));
    await refused(train(unweighted, "wrong"), /weights sum to 0/);
    const lora = await variant("wrong", () => ({
      lora: { r: 2, alpha: 4, targets: ["q_porj"] },
      continues: { model: "../model", tokens: 0, minutes: 0 },
    }));
    await refused(train(lora, "wrong"), /q_porj.*q_proj/s);

    const checkpoint = () => readFile(path("run", "checkpoint.safetensors"));
    const before = await checkpoint();
    const wider = await variant("wrong", ({ config }) => ({
      steps: 9,
      config: { ...(config as object), intermediate_size: 64 },
    }));
    await refused(
      train(wider, "run"),
      /the checkpoint in run, after 6 steps, was trained with another recipe: config\.intermediate_size \(\d+, now 64\); give another run folder/,
    );
    expect((await checkpoint()).equals(before)).toBe(true);
  });

  it("a loss that is not finite stops the run with step and batch, and leaves the checkpoint", async () => {
    const rising = (steps: number) => ({
      steps,
      schedule: { kind: "constant", peak: 1e30 },
      clip: undefined,
    });
    const { status, stderr } = await ventris(...train(await variant("rising", () => rising(8)), "rising"));
    expect(stderr).toMatch(/training diverged at step \d+, batch \d+: loss .*lower the learning rate/);
    expect(status).not.toBe(0);
    await refused(["train", "sample", "rising"], /has no checkpoint yet/);
    await refused(["train", "status", "absent"], /there is no folder absent\n$/);
    await refused(["train", "status", "risng"], /there is no folder risng; did you mean "(\.\/)?rising"\?\n$/);
  });
});
