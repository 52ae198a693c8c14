/** Two `ventris serve` that share what they learn through a real Redis or Valkey server. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { ensureBuilt, root } from "./build.ts";
import { noRedis, type RedisServer, startRedis } from "./fixtures/redis.ts";

vi.setConfig({ testTimeout: 300_000 });

const prompt = "Once upon a time";
const children: ChildProcess[] = [];
let redis: RedisServer | undefined;
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await redis?.stop();
});

it.skipIf(noRedis)(`one of two processes learns for both${noRedis ? ` (${noRedis})` : ""}`, async () => {
  ensureBuilt();
  redis = await startRedis();
  const { url } = redis;
  const serve = async (env: Record<string, string>, ...words: string[]): Promise<URL> => {
    const method = ["--method", "aded", "--set", "table=empty"];
    const args = ["serve", "--port", "0", "--model", "knossos", "--threads", "1", ...method, ...words];
    const child = spawn(process.execPath, [join(root, "dist", "cli", "main.js"), ...args], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    const [line] = await once(child.stdout.setEncoding("utf8"), "data");
    return new URL(String(line).trim());
  };
  const [a, b] = await Promise.all([serve({}, "--share", url), serve({ VENTRIS_SHARE: url })]);
  const ask = async (at: URL) => {
    const body = JSON.stringify({ model: "knossos", prompt, max_tokens: 60, temperature: 0 });
    const answer = await fetch(new URL("/v1/completions", at), { method: "POST", body });
    return ((await answer.json()) as { choices: { text: string }[] }).choices[0].text;
  };
  const metric = async (at: URL, name: string): Promise<number> =>
    Number(
      new RegExp(`^ventris_${name}(?:\\{.*\\})? (.*)$`, "m").exec(
        await (await fetch(new URL("/metrics", at))).text(),
      )?.[1],
    );
  const warm = JSON.stringify({ model: "knossos", prompt: "A", max_tokens: 2 });
  await fetch(new URL("/v1/completions", b), { method: "POST", body: warm });
  const text = await ask(a);
  await expect.poll(() => metric(b, "sharing_received_bytes"), { timeout: 30_000 }).toBeGreaterThan(100);
  const passes = async (at: URL): Promise<number> => {
    const before = await metric(at, "engine_passes");
    expect(await ask(at)).toBe(text);
    return (await metric(at, "engine_passes")) - before;
  };
  expect(await passes(b)).toBeLessThan(45); // of 60 tokens; a table that knows nothing saves few of them
  expect(await (await fetch(new URL("/health", b))).json()).toMatchObject({ ok: true, sharing: "shared" });
  expect(await metric(b, "sharing_up")).toBe(1);
  await redis.stop();
  redis = undefined;
  expect(await ask(b)).toBe(text);
  await expect
    .poll(async () => (await fetch(new URL("/health", b))).json(), { timeout: 30_000 })
    .toMatchObject({ ok: true, sharing: "alone" });
});
