import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { removeModel, type TinyModel, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { requestOptions } from "../../../engine/decoding.ts";
import { softmax } from "../../../engine/distribution.ts";
import { loadModel } from "../../../engine/load.ts";
import { createModel, type DecodingModel } from "../../../engine/model.ts";
import { uniform } from "../../../engine/random.ts";
import { startRun } from "../../../engine/run.ts";
import type { TraceEvent } from "../../../engine/trace.ts";
import { familyOf } from "../../../models/families.ts";
import { checkpointPath } from "../../../training/checkpoint.ts";
import { classCount, compileDistillation, divergences } from "../../../training/distillation.ts";
import { greedy } from "../../plain/index.ts";
import { type Drafts, type DraftsSettings, openDrafts } from "./drafts.ts";
import { decodeOnline, online } from "./index.ts";
import { createLearner, type Learner, type Update } from "./learner.ts";
import { type Example, recordDistribution } from "./record.ts";
import { startLearnerThread } from "./worker.ts";

const draftConfig = { hidden_size: 32, intermediate_size: 32, num_hidden_layers: 1 };
let files: { target: TinyModel; draft: TinyModel; other: TinyModel };
let target: DecodingModel;
let draft: DecodingModel;
const folders: string[] = [];

async function openTiny({ folder }: TinyModel): Promise<DecodingModel> {
  const parts = await loadModel(folder, folder, { threads: 1 });
  return createModel({ ...parts, openCompanion: async (reference) => openTiny({ folder: reference } as TinyModel) });
}

beforeAll(async () => {
  files = {
    target: await writeTinyModel({ seed: 1 }),
    draft: await writeTinyModel({ seed: 2, config: draftConfig }),
    other: await writeTinyModel({ seed: 3, config: { ...draftConfig, vocab_size: 32 } }),
  };
  target = await openTiny(files.target);
  draft = await openTiny(files.draft);
});

afterAll(async () => {
  await target.close();
  await draft.close();
  for (const file of Object.values(files)) await removeModel(file);
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

async function temporaryFolder(): Promise<string> {
  folders.push(await mkdtemp(join(tmpdir(), "ventris-online-")));
  return folders[folders.length - 1];
}

const defaults: DraftsSettings = {
  loss: "forward-kl",
  learningRate: 5e-3,
  clip: 1,
  interval: 1,
  bufferBytes: 2 ** 20,
  afterSwap: "rebuild",
  maxDrafts: 2,
  window: 1000,
  saveBuffer: false,
};

/** The learner without its thread, whose updates can be looked at or replaced. */
const inProcess =
  (change: (learner: Learner) => Partial<Learner> = () => ({})): typeof startLearnerThread =>
  (config, options) => {
    const learner = createLearner(config, options);
    return { ...learner, ...change(learner) };
  };

const drafts = (settings: Partial<DraftsSettings> = {}, start = inProcess()): Promise<Drafts> =>
  openDrafts(draft, { ...defaults, ...settings }, { start });

interface Request {
  prompt?: number[];
  learn?: boolean;
  signal?: AbortSignal;
  lossOn?: "errors" | "round-ends" | "all";
  grow?: "chain" | "dyspec";
  [setting: string]: unknown;
}

/** One request with a learning draft: its result and its events. */
async function request(all: Drafts, { prompt = [0, 5, 9], learn, lossOn, grow, signal, ...settings }: Request = {}) {
  const options = online.options.parse({ draft: files.draft.folder, length: 3, draftTopK: 64, learn, lossOn, grow });
  const learning = await all.route("");
  const run = startRun({
    model: target,
    method: { ...online, decode: (decoding) => decodeOnline(decoding, learning, options) } as typeof greedy,
    methodOptions: {},
    prompt,
    settings: requestOptions.parse({ maxTokens: 12, minTokens: 12, ...settings }),
    signal,
  });
  const events: TraceEvent[] = [];
  for await (const event of run) events.push(event);
  await learning.idle();
  const learned = events.flatMap((event) => (event.type === "learn" ? [event] : []));
  return { ...(await run.final), learned: learned[learned.length - 1] };
}

describe("distillation at recorded positions", () => {
  const { family, config } = familyOf({
    architectures: ["LlamaForCausalLM"],
    vocab_size: 24,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 16,
    tie_word_embeddings: true,
  });
  const noise = (size: number, request: number, scale: number) =>
    Float32Array.from({ length: size }, (_, i) => scale * (uniform({ seed: 4, request }, i, "data") - 0.5));

  test.each(divergences.flatMap((divergence) => [8, 24].map((listed) => ({ divergence, listed }))))(
    "$divergence over $listed of 24 tokens: the gradient is that of central differences",
    async ({ divergence, listed }) => {
      const parameters = family.parameters(config).map(({ name, shape }, i) => {
        const values = noise(
          shape.reduce((a, b) => a * b, 1),
          i,
          1.2,
        );
        return { name, shape, values: shape.length === 1 ? values.map((v) => v + 1) : values, decay: false };
      });
      const recorded = [40, 41].map((seed) => recordDistribution(noise(24, seed, 6), listed));
      expect(recorded[0].logs).toHaveLength(classCount(listed, 24));
      const batch = {
        tokens: [3, 1, 4, 1, 5],
        positions: [1, 4],
        listed: Int32Array.from(recorded.flatMap((r) => [...r.listed])),
        logs: Float32Array.from(recorded.flatMap((r) => [...r.logs])),
        weight: 0.5,
      };
      const shape = { length: 8, positions: 3, listed, divergence, threads: 1 };
      const distillation = await compileDistillation(family, config, shape);
      const objective = distillation.objective(parameters);
      const { loss, gradients } = await objective.gradients(batch);
      expect(loss).toBeGreaterThan(0.1);
      expect(await objective.loss({ ...batch, tokens: [...batch.tokens, 7, 7] })).toBeCloseTo(loss, 5);
      for (const [p, { values }] of parameters.entries()) {
        // Along each parameter's own gradient, where the slope is its norm and rounding matters least.
        const norm = Math.hypot(...gradients[p]);
        const before = values.slice();
        const step = 0.01;
        const losses: number[] = [];
        for (const sign of [1, -1]) {
          values.forEach((_, i) => {
            values[i] = before[i] + (sign * step * gradients[p][i]) / norm;
          });
          losses.push(await objective.loss(batch));
        }
        values.set(before);
        // A sum of absolute values has edges, which a step may cross.
        const near = divergence === "total-variation" ? 3e-2 : 1e-2;
        expect(Math.abs((losses[0] - losses[1]) / (2 * step) - norm) / norm).toBeLessThan(near);
      }
      await distillation.release();
    },
  );
});

describe("alignment", () => {
  // Three tokens from one seed leave room to draft one, whose context is the same in every request.
  async function acceptanceAfter(requests: number, shift: number): Promise<number> {
    const shifted = (example: Example) => ({ ...example, positions: example.positions.map((p) => p + shift) });
    const all = await drafts(
      {},
      inProcess(({ learn }) => ({ learn: (name, examples) => learn(name, examples.map(shifted)) })),
    );
    for (let i = 0; i < requests; i++) await request(all, { maxTokens: 3, minTokens: 3, lossOn: "all" });
    const { learned } = await request(all, { maxTokens: 3, minTokens: 3, learn: false });
    await all.close();
    expect(learned.acceptance!.positions).toBe(1);
    return learned.acceptance!.exact;
  }

  test("a single context is learned to an acceptance above 0.99, and off by one it is not", async () => {
    expect(await acceptanceAfter(0, 0)).toBeLessThan(0.9);
    expect(await acceptanceAfter(150, 0)).toBeGreaterThan(0.99);
    expect(await acceptanceAfter(150, -1)).toBeLessThan(0.95);
  });

  test.each(["errors", "round-ends", "all"] as const)(
    "lossOn %s records the target's own distributions",
    async (lossOn) => {
      const seen: Example[] = [];
      const learn = async (_: string, examples: readonly Example[]): Promise<Update> => {
        seen.push(...examples);
        return { diverged: "only looked at" };
      };
      const all = await drafts(
        {},
        inProcess(() => ({ learn })),
      );
      const { tokens } = await request(all, { lossOn });
      await all.close();
      const [{ tokens: text, positions, logs }] = seen;
      expect([...text]).toEqual([0, 5, 9, ...tokens].slice(0, text.length));
      const reference = files.target.logits([...text]);
      positions.forEach((position, row) => {
        const law = softmax(reference[position]);
        for (let token = 0; token < 64; token++) expect(Math.exp(logs[row * 64 + token])).toBeCloseTo(law[token], 4);
      });
      if (lossOn === "all") expect(positions.length).toBeGreaterThanOrEqual(tokens.length - 2);
    },
  );
});

describe("lossless while learning", () => {
  test.each(["rebuild", "keep"] as const)("greedy output is plain greedy's across swaps (%s)", async (afterSwap) => {
    const all = await drafts({ afterSwap });
    let learned: Awaited<ReturnType<typeof request>>["learned"] | undefined;
    for (let i = 0; i < 8; i++) {
      const prompt = [0, 5 + i, 9];
      const plain = startRun({
        model: target,
        method: greedy,
        methodOptions: {},
        prompt,
        settings: requestOptions.parse({ maxTokens: 20, minTokens: 20, temperature: 0 }),
      });
      const grow = i % 2 ? "chain" : "dyspec";
      const result = await request(all, { prompt, grow, lossOn: "all", maxTokens: 20, minTokens: 20, temperature: 0 });
      expect(result.tokens).toEqual((await plain.final).tokens);
      learned = result.learned;
    }
    expect(learned!.updates).toBeGreaterThanOrEqual(5);
    await all.close();
  });

  test("samples across swaps follow the target's law", async () => {
    const all = await drafts({ interval: 10 });
    const settings = { topK: 3, maxTokens: 3, minTokens: 3 };
    const counts = new Map<string, number>();
    const runs = 300;
    for (let seed = 0; seed < runs; seed++) {
      const { tokens } = await request(all, { ...settings, seed });
      counts.set(tokens.slice(1).join(), (counts.get(tokens.slice(1).join()) ?? 0) + 1);
    }
    expect((await all.route("")).updates).toBeGreaterThanOrEqual(20);
    await all.close();
    const top = (prefix: number[]): [number, number][] => {
      // The end tokens are banned until minTokens.
      const logits = files.target.logits(prefix)[prefix.length - 1].map((x, i) => (i === 1 ? -Infinity : x));
      const best = [...logits.keys()].sort((a, b) => logits[b] - logits[a]).slice(0, 3);
      const law = softmax(best.map((token) => logits[token]));
      return best.map((token, i) => [token, law[i]]);
    };
    const expected = new Map<string, number>();
    for (const [a, pa] of top([0, 5, 9])) {
      for (const [b, pb] of top([0, 5, 9, a])) {
        for (const [c, pc] of top([0, 5, 9, a, b]))
          expected.set(`${b},${c}`, (expected.get(`${b},${c}`) ?? 0) + runs * pa * pb * pc);
      }
    }
    let statistic = 0;
    for (const [key, mean] of expected) statistic += ((counts.get(key) ?? 0) - mean) ** 2 / mean;
    expect([...counts.keys()].every((key) => expected.has(key))).toBe(true);
    const freedom = expected.size - 1;
    expect(statistic).toBeLessThan(freedom + 4 * Math.sqrt(2 * freedom));
  });
});

describe("what is kept", () => {
  /** A recorded position with a distribution of its own. */
  function example(seed: number): Example {
    const logits = Float32Array.from({ length: 64 }, (_, i) => 4 * uniform({ seed, request: 1 }, i, "data"));
    const { listed, logs } = recordDistribution(logits, 64);
    return { tokens: Int32Array.of(0, 5, seed + 2), positions: Int32Array.of(2), listed, logs };
  }
  const acceptance = { positions: 1, exact: 0.5, empirical: 0.5 };

  /** Serves examples, closing and opening again after `restart` of them; gives the last weights. */
  async function weightsAfter(count: number, settings: Partial<DraftsSettings>, restart?: number) {
    let last: Update | undefined;
    const start = inProcess(({ learn }) => ({
      learn: async (name, examples) => {
        last = await learn(name, examples);
        return last;
      },
    }));
    let all = await drafts(settings, start);
    for (let i = 0; i < count; i++) {
      if (i === restart) {
        await all.close();
        all = await drafts(settings, start);
      }
      const learning = await all.route("a/../b");
      learning.served(acceptance, [example(i)]);
      await learning.idle();
    }
    await all.close();
    return (last as { values: Float32Array[] }).values;
  }

  test("a restart changes no bit of what is learned", async () => {
    const whole = await weightsAfter(6, { interval: 2, learningRate: 1e-3 });
    const state = await temporaryFolder();
    expect(await weightsAfter(6, { interval: 2, learningRate: 1e-3, state, saveBuffer: true }, 3)).toEqual(whole);
    const lossy = await weightsAfter(6, { interval: 2, learningRate: 1e-3, state: await temporaryFolder() }, 3);
    expect(lossy).not.toEqual(whole); // without its buffer, one of the texts was not learned from
  });

  test("damaged state is refused and left as it is; a folder in use is refused", async () => {
    const state = await temporaryFolder();
    await weightsAfter(1, { state });
    const path = checkpointPath(join(state, `route-${encodeURIComponent("a/../b")}`));
    const bytes = await readFile(path);
    bytes[bytes.length - 5] ^= 1;
    await writeFile(path, bytes);
    const all = await drafts({ state });
    await expect(all.route("a/../b")).rejects.toMatchObject({ code: "bad_checkpoint" });
    await expect(drafts({ state })).rejects.toMatchObject({ code: "unavailable" });
    await all.close();
    expect(await readFile(path)).toEqual(bytes);
  });

  test("a learner that does not start leaves the state folder free", async () => {
    const state = await temporaryFolder();
    const failing = (): never => {
      throw new Error("no thread");
    };
    await expect(drafts({ state }, failing)).rejects.toThrow("no thread");
    await (await drafts({ state })).close();
  });

  test("an update that diverges is discarded, and serving goes on with the weights before", async () => {
    const all = await drafts();
    const learning = await all.route("");
    const bad = example(1);
    bad.logs[3] = Number.NaN;
    learning.served(acceptance, [bad]);
    await learning.idle();
    expect(learning).toMatchObject({ updates: 0, discarded: 1 });
    expect(learning.takeNotes().join()).toMatch(/discarded.*NaN/);
    learning.served(acceptance, [example(1)]);
    await learning.idle();
    expect(learning).toMatchObject({ updates: 1, discarded: 1 });
    await all.close();
  });

  test("updates that make acceptance fall are undone", async () => {
    const all = await drafts({ window: 2, interval: 2, learningRate: 0.1 });
    const learning = await all.route("");
    const logitsNow = () =>
      learning.round(async (model) => {
        const lease = model.forest.lease();
        const { node } = await lease.prefill([0, 5, 7]);
        const logits = [...node.logits!];
        lease.close();
        return logits;
      });
    const serve = async (exact: number) => {
      learning.served({ ...acceptance, exact }, [example(1)]);
      await learning.idle();
    };
    for (let i = 0; i < 2; i++) await serve(0.8);
    const before = await logitsNow();
    expect(learning.updates).toBe(1); // came after the window that the first weights served
    for (let i = 0; i < 2; i++) await serve(0.75);
    expect(await logitsNow()).not.toEqual(before);
    for (let i = 0; i < 2; i++) await serve(0.6);
    expect(learning.takeNotes().join()).toContain("fell from 0.750 to 0.600");
    expect(learning.discarded).toBeGreaterThanOrEqual(1);
    await all.close();
  });

  test("a learner that dies is started again once; serving goes on either way", async () => {
    const deaths: ((cause: Error) => void)[] = [];
    const all = await drafts({}, (config, options, onDeath) => {
      deaths.push(onDeath);
      return createLearner(config, options);
    });
    const learning = await all.route("");
    for (let i = 0; i < 3; i++) {
      if (i > 0) deaths[i - 1](new Error("killed"));
      await new Promise(setImmediate);
      expect((await request(all, { lossOn: "all" })).tokens).toHaveLength(12);
      if (i < 2) expect(learning.updates).toBe(i + 1);
    }
    expect(learning.updates).toBe(2);
    expect(deaths).toHaveLength(2);
    await all.close();
  });

  test("requests that opt out or are cancelled teach nothing", async () => {
    const all = await drafts();
    const learning = await all.route("");
    await request(all, { learn: false });
    expect(learning.updates).toBe(0);
    const controller = new AbortController();
    const run = request(all, { maxTokens: 80, minTokens: 80, signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    await run;
    expect(learning.updates).toBe(0);
    await all.close();
  });
});

test("the learner works in a thread, and says when it dies", async () => {
  const deaths: Error[] = [];
  const options = { divergence: "forward-kl", learningRate: 1e-3, clip: 1, threads: 1 } as const;
  const learner = startLearnerThread(draft.config, options, (cause) => deaths.push(cause));
  const { family, values, release } = await draft.learnable();
  const arrays = family.parameters(draft.config).map(({ name }) => values.get(name)!);
  await learner.begin("", { values: arrays });
  const { listed, logs } = recordDistribution(new Float32Array(64), 64);
  const update = await learner.learn("", [{ tokens: Int32Array.of(0, 5), positions: Int32Array.of(1), listed, logs }]);
  expect(update).toHaveProperty("loss");
  await expect(learner.learn("unknown", [])).rejects.toMatchObject({ code: "internal" });
  await learner.close();
  await release();
  expect(deaths).toEqual([]);
});

test("drafts of another vocabulary, and too many drafts, are refused", async () => {
  const run = startRun({
    model: target,
    method: online as unknown as typeof greedy,
    methodOptions: online.options.parse({ draft: files.other.folder }),
    prompt: [0, 5],
    settings: requestOptions.parse({}),
  });
  await expect(run.final).rejects.toMatchObject({ code: "bad_option", message: expect.stringContaining("vocabulary") });
  const all = await drafts({ maxDrafts: 1 });
  await all.route("a");
  await expect((async () => all.route("b"))()).rejects.toThrow(/maxDrafts/);
  await all.close();
});
