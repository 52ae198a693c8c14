/** `ventris serve` as an engine behind a network: what the same model says there and here. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Model, open } from "../src/open.ts";
import { type Listening, listen, serveGroups } from "../src/server/listen.ts";
import { ensureBuilt, root } from "./build.ts";
import { families } from "./fixtures/families.ts";
import { type Json, removeModel, writeTinyModel } from "./fixtures/tiny-model.ts";

let server: Listening;
let [near, far, talker]: Model[] = [];
beforeAll(async () => {
  ensureBuilt();
  server = await listen({ port: 0, groups: serveGroups(false), maxConcurrent: 32 });
  const url = `${server.url}v1`;
  [near, far, talker] = [await open("knossos"), await open(url, { model: "knossos" }), await open(`${url}#phaistos`)];
}, 300_000);
afterAll(async () => {
  for (const model of [near, far, talker]) await model?.close();
  await server?.close();
});

const prompt = "Once upon a time";

it("is the library's text for a seed, with its log-probabilities", async () => {
  const options = { maxTokens: 24, seed: 7, temperature: 0.8, logprobs: 2 };
  const [here, there] = [await near.generate(prompt, options), await far.generate(prompt, options)];
  expect(there.text).toBe(here.text);
  expect(there.finish).toBe(here.finish);
  expect(there.logprobs!.map(({ text }) => text)).toEqual(here.logprobs!.map(({ text }) => text));
  for (const [i, { raw, top }] of there.logprobs!.entries()) {
    expect(raw).toBeCloseTo(here.logprobs![i].raw, 5);
    // The alternatives there may have the chosen token among them.
    for (const other of here.logprobs![i].top!) {
      const found = top!.find(({ text }) => text === other.text);
      if (found) expect(found.raw).toBeCloseTo(other.raw, 5);
    }
  }
});

it("ends at a text, and streams until then", async () => {
  const options = { maxTokens: 60, temperature: 0, stop: "." };
  const run = far.decode(prompt, options);
  const pieces: string[] = [];
  for await (const piece of run.text) pieces.push(piece);
  const { text, finish, stop } = await run.final;
  expect({ text, finish, stop }).toEqual({
    text: (await near.generate(prompt, options)).text,
    finish: "stop",
    stop: ".",
  });
  expect(pieces.join("")).toBe(text);
  expect(pieces.length).toBeGreaterThan(2);
});

it("scores and embeds given texts", async () => {
  const text = "Once upon a time there was a fox. The fox said nothing.";
  const [here, there] = [await near.score(text, { top: 2 }), await far.score(text, { top: 2 })];
  expect(there.tokens.map((token) => token.text)).toEqual(here.tokens.map((token) => token.text));
  expect(there.logprob).toBeCloseTo(here.logprob, 4);
  expect(there.perplexity).toBeCloseTo(here.perplexity, 4);
  const [a, b] = [await near.embed(text), await far.embed(text)];
  expect(a.length).toBe(b.length);
  expect(a.reduce((sum, x, i) => sum + x * b[i], 0)).toBeCloseTo(1, 5);
});

describe("searches", () => {
  /** Short sentences are best: what a search finds has to be better than what is drawn at first. */
  const reward = ({ text }: { text: string }): number => 1 / (1 + text.length / text.split(".").length);

  it("best-of-n's solutions are whole, the first is plain sampling's, and the best is the answer", async () => {
    const method = { name: "best-of-n", reward, samples: 5, delimiters: ["."] } as const;
    const { text, hypotheses, counters } = await far.generate(prompt, { method, maxTokens: 40, seed: 3 });
    expect(hypotheses).toHaveLength(5);
    expect(hypotheses!.map((one) => one.text)).toContain(
      (await near.generate(prompt, { maxTokens: 40, seed: 3 })).text,
    );
    const rewards = hypotheses!.map((one) => reward(one));
    expect(reward({ text })).toBe(Math.max(...rewards));
    expect(hypotheses!.map(({ score }) => score)).toEqual(rewards);
    expect(counters.passes).toBe(5);
    expect(counters.search!.tokens).toBe(5 * 40);
  });

  it.each([
    ["a-star", { budget: 240, children: 3, until: "generated" }],
    ["particle-filtering", { particles: 3 }],
    ["reward-beam", { samples: 4, children: 2 }],
  ])("%s goes on from steps, and repeats itself", async (name, own) => {
    const method = { name, reward, delimiters: ["."], maxStepTokens: 24, ...own } as never;
    const events: { type: string }[] = [];
    const run = far.decode(prompt, { method, maxTokens: 48, seed: 3 });
    for await (const event of run) events.push(event);
    const { text, counters } = await run.final;
    expect(text.length).toBeGreaterThan(20);
    expect(counters.passes).toBeGreaterThan(3);
    expect(events.filter(({ type }) => type === "explore").length).toBeGreaterThan(3);
    expect((await far.generate(prompt, { method, maxTokens: 48, seed: 3 })).text).toBe(text);
  });

  it("self-consistency votes over answers to a chat", async () => {
    const question = [{ role: "user", content: "Start with 14. * 5, - 9. What is the result?" }];
    const method = { name: "self-consistency", samples: 5, answer: "Answer: *(-?\\d+)", delimiters: ["\n"] } as const;
    const { text, hypotheses } = await talker.generate(question, { method, maxTokens: 100, seed: 3 });
    expect(text).toContain("Answer: 61");
    expect(hypotheses!.reduce((sum, { score }) => Math.max(sum, score), 0)).toBeGreaterThan(0.5);
  });
});

it("smc over what the server lists follows the law of the very model, opened here", async () => {
  // Scaled so that its law is flat enough for particles to meet every text.
  const tiny = await writeTinyModel({ tokenizer: true, config: { ...families.granite, logits_scaling: 6 } as Json });
  const own = await listen({ port: 0, groups: serveGroups(false), serve: [tiny.folder] });
  const options = { ends: ["<end>"], topLogprobs: 100 }; // of 64 tokens
  const [here, there] = [await open(tiny.folder), await open(`${own.url}v1`, options)];
  try {
    const [start, form, longest] = ["the cat", /^( ?[act]){2}$/, 4];
    // Everything that may be said, by the model here: the law after a text is that of the text as it is cut.
    const exact = new Map<string, number>();
    const visit = async (text: string, tokens: number, mass: number): Promise<void> => {
      const ids = here.tokenizer!.encode(start + text);
      const { logits } = await here.forward(ids, { logits: "last" });
      const most = Math.max(...logits);
      const total = logits.reduce((sum, x) => sum + Math.exp(x - most), 0);
      for (const [id, logit] of logits.entries()) {
        const p = (mass * Math.exp(logit - most)) / total;
        const more = here.tokenizer!.decode([id], { continued: true });
        if (here.tokenizer!.endTokens.includes(id)) {
          if (form.test(text)) exact.set(text, (exact.get(text) ?? 0) + p);
        } else if (more !== "" && tokens + 1 < longest && /^( ?[act]?){2}$/.test(text + more))
          await visit(text + more, tokens + 1, p);
      }
    };
    await visit("", 0, 1);
    const evidence = [...exact.values()].reduce((a, b) => a + b, 0);
    const method = { name: "smc", particles: 512, threshold: 0, mostMissed: 0 } as const;
    const found = new Map<string, number>();
    const request = { method, maxTokens: longest, constraint: { regex: "( ?[act]){2}" } };
    let mean = 0;
    const runs = 10;
    for (let seed = 0; seed < runs; seed++) {
      const run = there.decode(start, { ...request, seed });
      let logEvidence = 0;
      for await (const event of run) if (event.type === "particles") logEvidence = event.logEvidence!;
      const { hypotheses, counters } = await run.final;
      expect(counters.missed).toEqual({ places: 0, largest: 0, share: 0 });
      mean += Math.exp(logEvidence) / runs;
      for (const { text, score } of hypotheses!)
        found.set(text, (found.get(text) ?? 0) + (score * Math.exp(logEvidence)) / runs);
    }
    for (const [text, mass] of found) found.set(text, mass / mean);
    expect(Math.abs(mean / evidence - 1)).toBeLessThan(0.1);
    expect(found.size).toBeGreaterThan(5);
    let distance = 0;
    for (const text of new Set([...exact.keys(), ...found.keys()]))
      distance += Math.abs((exact.get(text) ?? 0) / evidence - (found.get(text) ?? 0)) / 2;
    expect(distance).toBeLessThan(0.08);
    // And with fewer listed than there are valid ones it says so.
    const few = await open(`${own.url}v1`, { ...options, topLogprobs: 20 });
    const { counters: of20 } = await few.generate(start, { ...request, method: { ...method, mostMissed: 1 } });
    expect(of20.missed!.share).toBeGreaterThan(0);
    await few.close();
  } finally {
    await here.close();
    await there.close();
    await own.close();
    await removeModel(tiny);
  }
});

describe("on the command line", () => {
  const call = promisify(execFile);
  const ventris = (...words: string[]) =>
    call(process.execPath, [join(root, "dist/cli/main.js"), "run", "--json", ...words, prompt]).catch((error) => error);
  const said = ["--temperature", "0.8", "--seed", "7", "--max-tokens", "8"];

  it("several engines are given, and the trace says which was asked", async () => {
    const address = `${server.url}v1#knossos`;
    const other = `${server.url}v1`.replace("127.0.0.1", "localhost");
    const folder = await mkdtemp(join(tmpdir(), "ventris-remote-"));
    const trace = join(folder, "trace.jsonl");
    const policy = ["--endpoint-policy", '{"name": "LinUCB", "alpha": 0.5}', "--timeout", "30", "--retries", "1"];
    const run = ["--model", address, "--endpoints", other, ...policy, "--samples", "2", "--trace", trace, ...said];
    const { stdout, stderr } = await ventris(...run);
    expect(stderr).toBe("");
    const { samples } = JSON.parse(stdout);
    const wanted = await near.generate(prompt, { temperature: 0.8, seed: 7, maxTokens: 8 });
    expect(samples[0].text).toBe(wanted.text);
    expect(samples[1].text).not.toBe(wanted.text);
    const choices = (await readFile(trace, "utf8")).split("\n").filter((line) => line.includes('"type":"choice"'));
    expect(choices).toHaveLength(2);
    for (const line of choices) expect(JSON.parse(line).arms.sort()).toEqual([`${server.url}v1`, other]);
    await rm(folder, { recursive: true });
  });

  it("what belongs to an engine is refused of a model that is loaded here, and a budget ends", async () => {
    const near = await ventris("--endpoints", `${server.url}v1`, ...said);
    expect([near.code, near.stdout]).toEqual([2, expect.stringMatching(/endpoints: .*behind a network.*knossos/)]);
    const spent = ["--model", `${server.url}v1#knossos`, "--budget", '{"requests": 1}', "--samples", "2"];
    expect((await ventris(...spent, ...said)).stdout).toMatch(/budget/);
    const unknown = ["--model", `${server.url}v1#knossos`, "--endpoints", "http://localhost:1/v1"];
    expect((await ventris(...unknown, "--endpoint-policy", "LinUBC", ...said)).stdout).toMatch(/LinUCB/);
  });
});

it("holds nothing there once it was left", async () => {
  const run = far.decode(prompt, { maxTokens: 900 });
  for await (const piece of run.text) if (piece) break;
  expect((await run.final).finish).toBe("aborted");
  const deadline = Date.now() + 5000;
  while ((await server.engine.call("held")) > 0 && Date.now() < deadline) await delay(20);
  expect(await server.engine.call("held")).toBe(0);
});

it("is refused in the engine's own words", async () => {
  await expect(far.generate("word ".repeat(3000))).rejects.toMatchObject({
    code: "bad_option",
    message: expect.stringMatching(/400: .*context/),
  });
});
