import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkpointPath } from "./checkpoint.ts";
import { lossCurvePath } from "./history.ts";
import { type TrainOptions, train } from "./loop.ts";
import type { Parameter } from "./objective.ts";
import { type Examples, examples, regression, schedule } from "./regression.fixture.ts";

const base: string = await mkdtemp(join(tmpdir(), "ventris-loop-"));
afterAll(() => rm(base, { recursive: true, force: true }));
const newFolder = () => mkdtemp(join(base, "run-"));

/** Trains a fresh model; gives back every step's loss and the final parameters beside the result. */
async function trained(options: Partial<TrainOptions<Examples>> = {}) {
  const objective = options.objective ?? regression();
  const losses: number[] = [];
  const result = await train({
    objective,
    batches: (index) => examples(3, index),
    steps: 40,
    schedule,
    ...options,
    onProgress: (progress) => {
      losses[progress.step] = progress.loss;
      options.onProgress?.(progress);
    },
  });
  return { ...result, losses, parameters: objective.parameters.map(({ values }) => [...values]) };
}

/** Trains until `step` steps are done and aborts there. */
async function abortedAt(step: number, options: Partial<TrainOptions<Examples>>) {
  const controller = new AbortController();
  return trained({
    ...options,
    signal: controller.signal,
    onProgress: (progress) => progress.step === step && controller.abort(),
  });
}

const failure = (code: string, message = /./) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });

const boo = (): never => {
  throw new Error("boo");
};

describe("training", () => {
  it("learns, and reports what it does", async () => {
    const reports: unknown[] = [];
    const heldOut = [examples(4, 0, 64), examples(4, 1, 64)];
    const { history, reason, step } = await trained({
      evaluation: { batches: heldOut, every: 20 },
      steps: 45,
      countTokens: ({ labels }) => labels.length,
      onProgress: (progress) => reports.push(progress),
    });
    expect([reason, step]).toEqual(["steps", 45]);
    expect(history.map((entry) => entry.step)).toEqual([10, 20, 30, 40, 45]);
    const measured = history.filter((entry) => entry.heldOutLoss !== undefined);
    expect(measured.map((entry) => entry.step)).toEqual([20, 40, 45]);
    expect(measured[2].heldOutLoss).toBeLessThan(0.8 * measured[0].heldOutLoss!);
    expect(reports).toHaveLength(45);
    expect(reports[9]).toMatchObject({ step: 10, totalSteps: 45, tokens: 80, learningRate: schedule(9) });
    expect(reports[44]).toMatchObject({ secondsLeft: 0 });
  });

  it("takes the mean of accumulated batches for one bigger batch", async () => {
    const bigger = (index: number): Examples => {
      const parts = [0, 1, 2].map((part) => examples(3, 3 * index + part));
      return {
        inputs: Float32Array.from(parts.flatMap(({ inputs }) => [...inputs])),
        labels: Int32Array.from(parts.flatMap(({ labels }) => [...labels])),
      };
    };
    // A large epsilon, since Adam would otherwise hide a wrong scale of the gradient.
    const options = { clip: 0.1, optimiser: { epsilon: 0.1 } };
    const whole = await trained({ ...options, batches: bigger });
    const accumulated = await trained({ ...options, accumulate: 3 });
    expect(accumulated.history[0].gradientNorm).toBeCloseTo(whole.history[0].gradientNorm, 6);
    expect(whole.history[0].gradientNorm).toBeGreaterThan(0.1);
    expect((await trained({ ...options, batches: bigger, clip: undefined })).losses[40]).not.toBe(whole.losses[40]);
    for (const step of [1, 20, 40]) expect(accumulated.losses[step]).toBeCloseTo(whole.losses[step], 6);
    for (const [p, values] of whole.parameters.entries()) {
      for (const [i, value] of values.entries()) expect(accumulated.parameters[p][i]).toBeCloseTo(value, 5);
    }
  });

  it("stops when its time is over, counting earlier sessions", async () => {
    const checkpointFolder = await newFolder();
    const first = await trained({ checkpointFolder, steps: undefined, maxSeconds: 0.15 });
    expect(first.reason).toBe("time");
    expect(first.history.at(-1)?.seconds).toBeGreaterThanOrEqual(0.15);
    const second = await trained({ checkpointFolder, steps: undefined, maxSeconds: 0.15 });
    expect([second.reason, second.step]).toEqual(["time", first.step]);
  });

  it("tells of a short run the loss of its last steps, and not that where it began", async () => {
    const { history } = await trained({ recordEvery: 1 });
    const whole = history.reduce((sum, { loss }) => sum + loss, 0) / history.length;
    expect(history.at(-1)!.smoothedLoss).toBeLessThan(0.9 * whole);
  });

  it("refuses options that make no sense", async () => {
    const wrong: Partial<TrainOptions<Examples>>[] = [
      { steps: undefined },
      { steps: 1.5 },
      { accumulate: 0 },
      { clip: 0 },
      { maxSeconds: -1 },
      { checkpointEvery: { steps: 0 } },
      { evaluation: { batches: [], every: 5 } },
    ];
    for (const options of wrong) await expect(trained(options)).rejects.toEqual(failure("bad_option"));
  });

  it("refuses numbers, parameters and records that nothing can be done with, naming them", async () => {
    const cyclic: Record<string, unknown> = {};
    cyclic.itself = cyclic;
    const [weight, bias] = regression().parameters;
    const having = (...parameters: readonly Parameter[]) => ({ ...regression(), parameters });
    const wrong: [Partial<TrainOptions<Examples>>, RegExp][] = [
      [{ seed: Number.NaN }, /train: seed .* not NaN/],
      [{ seed: -1 }, /train: seed/],
      [{ clip: Number.NaN }, /train: clip/],
      [{ steps: undefined, maxSeconds: Number.POSITIVE_INFINITY }, /train: maxSeconds/],
      [{ checkpointEvery: { steps: 2.5 } }, /train: checkpointEvery.steps .* not 2.5/],
      [{ checkpointEvery: { seconds: Number.NaN } }, /train: checkpointEvery.seconds/],
      [{ optimiser: { epsilon: Number.POSITIVE_INFINITY } }, /epsilon/],
      [{ optimiser: { weightDecay: Number.NaN } }, /weightDecay/],
      [{ config: cyclic }, /train: config must be JSON/],
      [{ config: () => {} }, /train: config must be JSON, .* not a function/],
      [{ objective: having() }, /objective.parameters is empty/],
      [{ objective: having(weight, { ...bias, name: weight.name }) }, /parameters\[1\] has the name "weight"/],
      [{ objective: having({ ...weight, shape: [2, 2] }, bias) }, /parameters\[0\] \(weight\) has the shape \[2,2\]/],
      [{ objective: having(weight, { ...bias, values: new Float32Array(4).fill(Number.NaN) }) }, /not finite/],
    ];
    for (const [options, message] of wrong)
      await expect(trained(options)).rejects.toEqual(failure("bad_option", message));
  });

  it("refuses what its functions give that is none of what they must give, naming them", async () => {
    const answering = (answers: object) => ({ ...regression(), ...answers });
    const gradients = regression().parameters.map(({ values }) => new Float32Array(values.length));
    const throwing = (field: string, of: object = {}) =>
      new Proxy(of, { get: (at, name) => (name === field ? boo() : Reflect.get(at, name)) });
    const heldOut = { evaluation: { batches: [examples(4, 0)], every: 1 } };
    const wrong: [object, RegExp, string?][] = [
      [{ schedule: () => Number.NaN }, /schedule\(0\) gave NaN/],
      [{ schedule: () => undefined }, /schedule\(0\) gave undefined, and must give a learning rate/],
      [{ schedule: () => -0.1 }, /schedule\(0\) gave -0.1/],
      [{ schedule: async () => 0.1 }, /schedule\(0\) gave a Promise/],
      [{ batches: () => undefined }, /batches\(0\) gave undefined/],
      [{ batches: async () => null }, /batches\(0\) gave null/],
      [{ countTokens: () => Number.NaN }, /countTokens gave NaN/],
      [{ countTokens: () => "8" }, /countTokens gave "8"/],
      [{ objective: answering({ gradients: () => undefined }) }, /objective.gradients gave undefined/],
      [{ objective: answering({ gradients: () => ({ gradients }) }) }, /gradients gave .*, and must give \{ loss/],
      [
        { objective: answering({ gradients: () => ({ loss: 1, gradients: [] }) }) },
        /gave 0 gradients for 2 parameters/,
      ],
      [
        { objective: answering({ gradients: () => ({ loss: 1, gradients: [gradients[0], new Float32Array(3)] }) }) },
        /for bias a Float32Array of 3, and must give a Float32Array of 4/,
      ],
      [{ objective: answering({ loss: () => "low" }), ...heldOut }, /objective.loss gave "low"/],
      [{ objective: answering({ loss: async () => Number.NaN }), ...heldOut }, /loss .* is NaN/, "runtime_failed"],
      [{ objective: answering({ gradients: boo }) }, /train: objective.gradients failed: boo/],
      [{ objective: answering({ gradients: async () => boo() }) }, /train: objective.gradients failed: boo/],
      [{ objective: answering({ loss: boo }), ...heldOut }, /train: objective.loss failed: boo/],
      [{ objective: answering({ gradients: () => throwing("loss", { loss: 1 }) }) }, /: its answer\.loss failed: boo$/],
      [
        { objective: answering({ gradients: () => ({ loss: 1, gradients: throwing("1", gradients) }) }) },
        /gradients: its answer\.gradients\[1\] failed: boo$/,
      ],
      [{ objective: answering({ gradients: () => throwing("gradients") }) }, /objective\.gradients failed: boo$/],
      [{ objective: answering({ gradients: () => throwing("then") }) }, /objective\.gradients failed: boo$/],
      [{ objective: answering({ loss: () => throwing("then") }), ...heldOut }, /objective\.loss failed: boo$/],
      [{ basis: () => 7, checkpointFolder: await newFolder() }, /basis gave 7/],
      [{ basis: () => ({ many: 7n }), checkpointFolder: await newFolder() }, /what basis gave must be JSON/],
    ];
    for (const [options, message, code = "bad_option"] of wrong)
      await expect(trained(options)).rejects.toEqual(failure(code, message));
  });
});

describe("resuming", () => {
  it("repeats an uninterrupted run bit by bit, wherever it was aborted", async () => {
    const options = { clip: 0.2, accumulate: 2, optimiser: { weightDecay: 0.1 } };
    const whole = await trained(options);
    for (const step of [1, 2, 9, 10, 39]) {
      const checkpointFolder = await newFolder();
      const first = await abortedAt(step, { ...options, checkpointFolder });
      expect([first.reason, first.step]).toEqual(["aborted", step]);
      const second = await trained({ ...options, checkpointFolder });
      expect([second.reason, second.resumedFrom]).toEqual(["steps", step]);
      expect(second.parameters).toEqual(whole.parameters);
      expect(second.losses.slice(step + 1)).toEqual(whole.losses.slice(step + 1));
      expect(second.history.at(-1)?.smoothedLoss).toBe(whole.history.at(-1)?.smoothedLoss);
    }
  }, 30_000);

  it("drops the step under way when aborted between accumulated batches", async () => {
    const whole = await trained({ accumulate: 2 });
    const checkpointFolder = await newFolder();
    const controller = new AbortController();
    const batches = (index: number) => {
      if (index === 10) controller.abort();
      return examples(3, index);
    };
    const first = await trained({ accumulate: 2, checkpointFolder, batches, signal: controller.signal });
    expect([first.reason, first.step]).toEqual(["aborted", 5]);
    const second = await trained({ accumulate: 2, checkpointFolder });
    expect(second.resumedFrom).toBe(5);
    expect(second.parameters).toEqual(whole.parameters);
  });

  it("does nothing but return when the run is already complete", async () => {
    const checkpointFolder = await newFolder();
    const first = await trained({ checkpointFolder });
    const second = await trained({ checkpointFolder });
    expect([second.resumedFrom, second.losses.length]).toEqual([40, 0]);
    expect(second.history).toEqual(JSON.parse(JSON.stringify(first.history)));
    expect(second.parameters).toEqual(first.parameters);
  });

  it("keeps the loss curve as JSON lines without entries of lost steps", async () => {
    const checkpointFolder = await newFolder();
    await trained({ checkpointFolder, steps: 20 });
    const path = lossCurvePath(checkpointFolder);
    await writeFile(path, `${await readFile(path, "utf8")}{"step":25,"loss":1}\n{"torn`); // as a killed process leaves it
    const { history } = await trained({ checkpointFolder, steps: 30 });
    const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual(JSON.parse(JSON.stringify(history)));
    expect(history.map((entry) => entry.step)).toEqual([10, 20, 30]);
  });

  it("refuses another seed, and a folder in which a run is going on", async () => {
    const checkpointFolder = await newFolder();
    await trained({ checkpointFolder, steps: 3, seed: 1 });
    await expect(trained({ checkpointFolder, seed: 2 })).rejects.toEqual(failure("bad_checkpoint"));
    const basis = { rate: 0.1, data: ["a", "b"] };
    const folder = await newFolder();
    await trained({ checkpointFolder: folder, steps: 3, basis: () => basis });
    const other = { ...basis, rate: 0.2 };
    await expect(trained({ checkpointFolder: folder, basis: () => other })).rejects.toEqual(
      failure("bad_checkpoint", /trained with another rate;/),
    );
    await expect(trained({ checkpointFolder: folder, steps: 2, basis: () => basis })).rejects.toEqual(
      failure("bad_checkpoint", /3 steps behind it, more than the 2/),
    );
    expect((await trained({ checkpointFolder: folder, steps: 5, basis: () => basis })).resumedFrom).toBe(3);
    const both = await Promise.allSettled([1, 1].map((seed) => trained({ checkpointFolder, seed })));
    const refused = both.filter((outcome) => outcome.status === "rejected");
    expect(refused.map(({ reason }) => reason)).toEqual([failure("unavailable")]);
  });
});

describe("divergence", () => {
  const poisoned = (change: (result: { loss: number; gradients: readonly Float32Array[] }) => void) => {
    const objective = regression();
    let calls = 0;
    return {
      ...objective,
      gradients: async (batch: Examples) => {
        const result = await objective.gradients(batch);
        if (++calls === 17) change(result);
        return result;
      },
    };
  };

  it("ends with an error that keeps the last good checkpoint", async () => {
    const cases = [
      poisoned((result) => Object.assign(result, { loss: Number.NaN })),
      poisoned(({ gradients }) => gradients[1].set([Infinity], 2)),
    ];
    for (const objective of cases) {
      const checkpointFolder = await newFolder();
      const options = { checkpointFolder, checkpointEvery: { steps: 5 } };
      await expect(trained({ ...options, objective })).rejects.toThrow(/diverged at step 16.*checkpoint of step 15/);
      const resumed = await trained(options);
      expect(resumed.resumedFrom).toBe(15);
      expect(resumed.parameters).toEqual((await trained()).parameters);
    }
  });

  it("does not replace a good checkpoint by parameters that are no longer finite", async () => {
    const checkpointFolder = await newFolder();
    await trained({ checkpointFolder, steps: 4 });
    const objective = regression();
    const onProgress = () => objective.parameters[0].values.fill(Infinity);
    const broken = trained({ checkpointFolder, objective, onProgress, steps: 5 });
    await expect(broken).rejects.toEqual(failure("runtime_failed"));
    expect((await trained({ checkpointFolder, steps: 5 })).resumedFrom).toBe(4);
  });
});

describe("a killed process", () => {
  const program = join(base, "compiled", "training", "regression.fixture.js");

  beforeAll(async () => {
    const root = fileURLToPath(new URL("..", import.meta.url));
    const outDir = join(base, "compiled");
    ts.createProgram([join(root, "training", "regression.fixture.ts")], {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.NodeNext,
      rewriteRelativeImportExtensions: true,
      verbatimModuleSyntax: true,
      noCheck: true,
      noLib: true, // the types are checked elsewhere; here only the output matters, and soon
      types: [],
      rootDir: root,
      outDir,
    }).emit();
    await writeFile(join(outDir, "package.json"), '{"type":"module"}');
  }, 60_000);

  const start = (folder: string) =>
    spawn(process.execPath, [program, folder, "60"], { stdio: ["ignore", "pipe", "inherit"] });

  async function* reported(child: ChildProcess): AsyncGenerator<{ step: number; loss: number }> {
    for await (const line of createInterface({ input: child.stdout! })) yield JSON.parse(line);
  }

  it("resumes to the same losses after kill -9", async () => {
    const whole = await trained({ steps: 60 });
    const folder = await newFolder();
    const killed = start(folder);
    for await (const { step } of reported(killed)) if (step >= 25) killed.kill("SIGKILL");
    if (killed.exitCode === null && killed.signalCode === null) await once(killed, "exit");
    expect(killed.signalCode).toBe("SIGKILL");

    const losses: number[] = [];
    for await (const { step, loss } of reported(start(folder))) losses[step] = loss;
    const first = losses.findIndex((loss) => loss !== undefined);
    expect(first).toBeGreaterThan(21); // resumed from a checkpoint, and not anew
    expect(losses.slice(first)).toEqual(whole.losses.slice(first));
    expect(existsSync(checkpointPath(folder))).toBe(true);
    expect((await readdir(folder)).filter((name) => name.endsWith(".lock"))).toEqual([]);
  }, 60_000);
});
