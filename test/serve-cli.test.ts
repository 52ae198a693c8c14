/** `ventris serve` as a process: its address, its end at a signal, what it refuses. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, expect, it, vi } from "vitest";
import { ensureBuilt, root } from "./build.ts";

vi.setConfig({ testTimeout: 120_000 });
beforeAll(() => ensureBuilt(), 300_000);

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** A server that has said where it is. */
async function serve(words: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [join(root, "dist", "cli", "main.js"), "serve", "--port", "0", ...words], {
    env: { ...process.env, ...env },
  });
  children.push(child);
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const exited = once(child, "exit").then(([code]) => code as number | null);
  const first = await Promise.race([once(child.stdout.setEncoding("utf8"), "data"), exited]);
  const url = Array.isArray(first) ? String(first[0]).trim() : "";
  return { child, url, exited, stderr: () => stderr };
}

const post = (url: string, path: string, body: object): Promise<Response> =>
  fetch(new URL(path, url), { method: "POST", body: JSON.stringify(body) });

it("answers at the address that it prints, and lets a request end when it is told to stop", async () => {
  const { child, url, exited, stderr } = await serve(["--model", "knossos"]);
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
  const many = { n: 3, max_tokens: 100, stream: true, decoding: { minTokens: 100 } };
  const body = { model: "knossos", prompt: "The", ...many }; // three texts, and one request
  const response = await post(url, "/v1/completions", body);
  const reading = response.text();
  child.kill("SIGTERM");
  expect(await reading).toContain("[DONE]");
  expect(await exited).toBe(0);
  expect(stderr()).toContain("stopping: 1 request under way");
  expect(stderr()).toContain("stopped: 1 finished, 0 aborted");
});

it("takes its key from the environment, and serves the studio's page where that is asked for", async () => {
  const { url } = await serve(["--studio"], { VENTRIS_API_KEY: "pylos" });
  expect((await fetch(url)).status).toBe(401);
  const authorization = `Basic ${btoa(":pylos")}`;
  expect(await (await fetch(url, { headers: { authorization } })).text()).toContain("<html");
  expect((await fetch(new URL("/api/methods", url), { headers: { authorization } })).status).toBe(200);
});

it("decodes requests that name no method with its own, auto learning from each, and the text stays plain decoding's", async () => {
  const state = await mkdtemp(join(tmpdir(), "ventris-served-auto-"));
  const arms = JSON.stringify(["sample", { name: "prompt-lookup", length: 4 }]);
  const { url, child, exited } = await serve([
    "--model",
    "knossos",
    "--method",
    "auto",
    "--set",
    `state=${state}`,
    "--set",
    `arms=${arms}`,
  ]);
  const textOf = async (decoding?: object) => {
    const body = { model: "knossos", prompt: "The cat", max_tokens: 24, seed: 5, temperature: 0.9, decoding };
    const answer = (await (await post(url, "/v1/completions", body)).json()) as { choices: { text: string }[] };
    return answer.choices[0].text;
  };
  const plain = await textOf({ method: "sample" });
  expect(await textOf()).toBe(plain);
  expect(await textOf()).toBe(plain);
  child.kill("SIGTERM");
  expect(await exited).toBe(0);
  const [file] = (await readdir(state)).filter((name) => name.endsWith(".json"));
  const { arms: learnt } = JSON.parse(await readFile(join(state, file), "utf8"));
  expect(learnt.reduce((sum: number, { requests }: { requests: number }) => sum + requests, 0)).toBe(2);
});

it.each([
  ["a method that is not there", ["--method", "quick"], 2, /quick/],
  ["a method whose text is one", ["--method", "beam"], 2, /finds one text/],
  ["a method of another kind of model", ["--method", "localleap"], 2, /diffusion model/],
  ["options without a method", ["--set", "length=4"], 2, /--method/],
  ["a model that is not there", ["--model", "minos"], 1, /no model "minos"/],
  ["an origin that is none", ["--cors", "localhost"], 2, /--cors localhost: write an origin/],
  ["a key that is empty", ["--api-key", ""], 2, /--api-key is empty/],
  ["an address that is not here", ["--host", "nowhere.invalid"], 1, /--host nowhere.invalid is no address/],
  ["a limit out of range", ["--max-concurrent", "0"], 2, /max-concurrent/],
])("refuses %s", async (_, words, status, says) => {
  const { exited, stderr } = await serve(words);
  expect(await exited).toBe(status);
  expect(stderr()).toMatch(says);
});

it("warns where anybody can reach it", async () => {
  const { stderr, url } = await serve(["--host", "0.0.0.0"]);
  expect(url).toContain("0.0.0.0");
  await vi.waitFor(() => expect(stderr()).toContain("no --api-key is set"));
});
