/** `ventris choose` as people call it: what `run --method auto` learnt, shown and forgotten. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { ensureBuilt, root } from "./build.ts";
import { removeModel, type TinyModel, writeTinyModel } from "./fixtures/tiny-model.ts";

vi.setConfig({ testTimeout: 180_000 });
let folder: string;
let model: TinyModel;
beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-choose-"));
  model = await writeTinyModel({ tokenizer: true });
}, 300_000);
afterAll(() => Promise.all([removeModel(model), rm(folder, { recursive: true, force: true })]));

function ventris(words: readonly string[]) {
  const env = { ...process.env, VENTRIS_CACHE: join(folder, "cache") };
  return spawnSync(process.execPath, [join(root, "dist", "cli", "main.js"), ...words], { encoding: "utf8", env });
}

it("shows what auto learnt beside a model, as a table and as JSON, and forgets it", () => {
  const arms = JSON.stringify(["sample", { name: "prompt-lookup", length: 3 }]);
  for (const seed of ["1", "2", "3"]) {
    const run = ["run", "--model", model.folder, "--method", "auto", "--set", `arms=${arms}`, "--max-tokens", "12"];
    expect(ventris([...run, "--seed", seed, "the cat"]).stderr).toMatch(/12 tokens/);
    if (seed === "1") expect(ventris(["choose", "--model", model.folder]).stderr).toMatch(/: LinUCB, 1 request\n/);
  }
  const shown = ventris(["choose", "--model", model.folder]);
  expect(shown.stdout).toMatch(/^arm +requests .*\nsample +\d.*\nprompt-lookup \{"length":3\} +\d/);
  const { states } = JSON.parse(ventris(["choose", "--model", model.folder, "--json"]).stdout);
  expect(states).toHaveLength(1);
  expect(states[0]).toMatchObject({ policy: "LinUCB", requests: 3 });
  for (const kind of Object.keys(states[0].arms[0].outlook))
    expect(states[0].arms[0].outlook[kind] + states[0].arms[1].outlook[kind]).toBeCloseTo(1, 9);
  expect(ventris(["choose", "forget", "--model", model.folder]).stdout.trim()).toBe(states[0].path);
  const after = ventris(["choose", "--model", model.folder, "--json"]);
  expect(JSON.parse(after.stdout).states).toEqual([]);
  expect(ventris(["choose", "--model", model.folder]).stderr).toMatch(
    /: the method auto learns with every run, as in /,
  );
  expect(ventris(["choose", "--model", join(folder, "nowhere")])).toMatchObject({ status: 1 });
});

it("looks at names of policies and their options before the table, which must hold something", async () => {
  const empty = join(folder, "empty.csv");
  await writeFile(empty, "");
  const wrong: [string[], number, RegExp][] = [
    [["none.csv", "--policy", "LinUC"], 2, /did you mean "LinUCB"\?/],
    [["none.csv", "--policy", "LinUCB", "--set", "alhpa=1"], 2, /did you mean "alpha"\?/],
    [["none.csv", "--out", "regret.png"], 2, /--out regret\.png: the picture is an \.svg/],
    [["none.csv"], 1, /cannot read none\.csv/],
    [[empty], 2, /empty is empty/],
  ];
  for (const [words, status, message] of wrong) {
    const told = ventris(["choose", "play", ...words]);
    expect([told.status, told.stderr]).toEqual([status, expect.stringMatching(message)]);
  }
});

it("plays policies on a table beside the best fixed arm, and hears Ctrl-C in the middle of a play", async () => {
  const table = join(folder, "table.csv");
  const rows = Array.from({ length: 90 }, (_, i) => `${Math.sin(i)},${["no", "no", "yes"][i % 3]}`);
  await writeFile(table, ["x,label", ...rows].join("\n"));
  const playing = ["choose", "play", table, "--rounds", "270"];
  const shown = ventris([...playing, "--policy", "LinUCB", "--set", "alpha=0.5"]);
  expect(shown.stdout).toMatch(/^LinUCB +\d+ .*\nbest fixed arm in hindsight: 0 +90 +0\.333 +0\.\d+$/m);
  const { plays, bestFixed } = JSON.parse(
    ventris([...playing, "--policy", "Fixed", "--set", "arm=0", "--json"]).stdout,
  );
  const [{ policy, ...fixed }] = plays;
  expect(bestFixed).toEqual({ arm: 0, ...fixed });
  expect(policy).toBe("Fixed");
  for (const json of [[], ["--json"]])
    expect(ventris([...playing, "--policy", "Fixed", ...json]).stderr).toMatch(/Fixed has no arm/);

  // A pipe tells when the table is read, and so when the play begins.
  const pipe = join(folder, "pipe.csv");
  spawnSync("mkfifo", [pipe]);
  const words = ["choose", "play", pipe, "--policy", "NeuSquareCB", "--rounds", "1000000"];
  const child = spawn(process.execPath, [join(root, "dist", "cli", "main.js"), ...words]);
  await writeFile(pipe, await readFile(table));
  await new Promise((resolve) => setTimeout(resolve, 2000));
  child.kill("SIGINT");
  let said = "";
  for await (const piece of child.stderr) said += piece;
  expect(said).toMatch(/playing the bandit was interrupted/);
  expect(child.exitCode ?? (await new Promise((resolve) => child.once("exit", resolve)))).toBe(130);
});
