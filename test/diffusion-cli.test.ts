/** Diffusion on the command line: blanks of a text, records of the oracle, and a filter that is trained on them. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { ensureBuilt, root } from "./build.ts";

vi.setConfig({ testTimeout: 180_000 });

const main = join(root, "dist", "cli", "main.js");
let folder: string;
beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-diffusion-"));
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

function ventris(...words: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  const env = { ...process.env, NO_COLOR: "1", VENTRIS_CACHE: folder };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...words], { cwd: folder, env }, (error, stdout, stderr) => {
      resolve({ status: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}
const fill = (text: string, ...more: string[]) =>
  ventris("run", "--model", "mycenae", "--fill", text, "--method", "threshold", ...more);

test.each([
  ["The old king ___ and then ___.", /^The old king\b.+ and then\b.*\.\n$/s],
  ["___ was a little girl named Lily.", /^.+ was a little girl named Lily\.\n$/s],
  ["Lily has a red ___", /^Lily has a red.+\n$/s],
])("blanks in the middle, at the beginning and at the end: %s", async (text, filled) => {
  const { status, stdout } = await fill(text);
  expect(status).toBe(0);
  expect(stdout).toMatch(filled);
  expect(stdout).not.toContain("_");
});

test("what is no template, and what does not go with one", async () => {
  expect(await fill("No blank here.")).toMatchObject({ status: 2, stderr: expect.stringContaining("no blank in it") });
  const both = await fill("The ___.", "a prompt");
  expect(both.status).toBe(2);
  const causal = await ventris("run", "--model", "knossos", "--fill", "The ___.");
  expect(causal).toMatchObject({ status: 2, stderr: expect.stringContaining("canvas") });
});

test("what is learnt from a canvas is refused of a model that has none, with one that has", async () => {
  for (const words of [
    ["collect", "knossos", "--out", "none.safetensors"],
    ["collect", "knossos", "--prompts", "gone.txt", "--out", "none.safetensors"],
  ]) {
    const { status, stdout, stderr } = await ventris("diffusion", ...words);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^ventris: knossos is no diffusion model: .*; of the shipped models mycenae has one\n$/);
  }
});

test("records are collected, a filter is trained on them, and decodes; neither goes with another model", async () => {
  const records = join(folder, "records.safetensors");
  const [out, own] = [join(folder, "filter"), join(folder, "own")];
  const collected = await ventris(
    ...["diffusion", "collect", "mycenae", "--out", records, "--each", "1", "--length", "32", "--json"],
  );
  expect(collected.status).toBe(0);
  const { prompts, records: count, passesPerBlock } = JSON.parse(collected.stdout);
  expect(prompts).toBe(7);
  expect(passesPerBlock).toBeCloseTo(count / 7, 10);
  expect(passesPerBlock).toBeLessThan(16); // the oracle

  const training = ["--records", records, "--steps", "50"];
  const trained = await ventris("diffusion", "train-filter", "mycenae", ...training, "--out", out, "--json");
  expect(JSON.parse(trained.stdout)).toMatchObject({ numbers: 2112 });
  const decoded = await ventris(
    ...["run", "--model", "mycenae", "--method", "learn2pd", "--set", `filter=${out}`, "--max-tokens", "32", "--json"],
    "Once upon a time",
  );
  expect(decoded.status).toBe(0);
  expect(JSON.parse(decoded.stdout).counters.passes).toBeLessThanOrEqual(32);

  // The same shape with another value in it is another model.
  await cp(join(root, "models", "mycenae"), own, { recursive: true });
  const weights = join(own, "model.safetensors");
  const bytes = await readFile(weights);
  bytes[bytes.length - 2] ^= 1;
  await writeFile(weights, bytes);
  const wrong = await ventris("diffusion", "train-filter", own, ...training, "--out", join(folder, "other"));
  expect(wrong).toMatchObject({ status: 2, stderr: expect.stringContaining("collected with another model") });
  const stranger = await ventris(
    ...["run", "--model", own, "--method", "learn2pd", "--set", `filter=${out}`, "--max-tokens", "32", "Once"],
  );
  expect(stranger).toMatchObject({ status: 2, stderr: expect.stringContaining("trained on another model") });
});
