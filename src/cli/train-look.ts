/** `ventris train status` and `ventris train sample`: a look into a run, whether it goes on or not; and samples while it does. */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensure } from "../errors.ts";
import { parseJson } from "../json.ts";
import { familyOf } from "../models/families.ts";
import { loraSites } from "../models/lora.ts";
import { readParameters } from "../models/parameters.ts";
import { type Model, open } from "../open.ts";
import { loadCheckpoint } from "../training/checkpoint.ts";
import { readNote, type TrainedModel, writeModel } from "../training/export.ts";
import { type HistoryEntry, lossCurvePath } from "../training/history.ts";
import { initialLora, loraParameters } from "../training/lora.ts";
import { modelParameters } from "../training/next-token.ts";
import { initialValues, type RecipeOptions } from "../training/recipe.ts";
import { openWeights } from "../weights/index.ts";
import { say } from "./output.ts";

export interface RunStatus {
  readonly name: string;
  readonly running: boolean;
  readonly step: number;
  readonly steps: number;
  readonly loss: number | undefined;
  readonly heldOutLoss: number | undefined;
  readonly tokens: number;
  /** Over the last entries of the curve. */
  readonly tokensPerSecond: number | undefined;
  readonly secondsLeft: number | undefined;
  readonly seconds: number;
}

/** Errors: `unavailable` for a folder that is no run. */
export async function runStatus(folder: string): Promise<RunStatus> {
  const { recipe } = await readNote(folder);
  const path = lossCurvePath(folder);
  const lines = existsSync(path) ? (await readFile(path, "utf8")).split("\n").filter((line) => line.trim() !== "") : [];
  const history = lines.map((line, i) => parseJson(line, `${path}, line ${i + 1}`) as HistoryEntry);
  const last = history.at(-1);
  const before = history.at(-6) ?? history[0];
  const seconds = last && before ? last.seconds - before.seconds : 0;
  const [speed, pace] =
    last && before && seconds > 0 ? [(last.tokens - before.tokens) / seconds, (last.step - before.step) / seconds] : [];
  return {
    name: recipe.name,
    running: await holdsLock(join(folder, "training.lock")),
    step: last?.step ?? 0,
    steps: recipe.steps,
    loss: last?.smoothedLoss,
    heldOutLoss: history.findLast((entry) => entry.heldOutLoss !== undefined)?.heldOutLoss,
    tokens: last?.tokens ?? 0,
    tokensPerSecond: speed,
    secondsLeft: pace ? (recipe.steps - last!.step) / pace : undefined,
    seconds: last?.seconds ?? 0,
  };
}

/** Whether the process that wrote a run's lock is still there. */
async function holdsLock(path: string): Promise<boolean> {
  try {
    const { pid } = JSON.parse(await readFile(path, "utf8"));
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The model of a run's last checkpoint, written to a folder. Errors: `unavailable` before the first one; as `loadCheckpoint`. */
export async function writeRunModel(run: string, folder: string): Promise<void> {
  const { recipe, tokenizer, base } = await readNote(run);
  const { family, config } = familyOf(recipe.config);
  const { lora: stated, seed } = recipe;
  ensure(!recipe.part, "bad_option", `${run} trains a part (${recipe.part?.kind}), which writes no texts by itself`);
  const readBase = async () => {
    const source = await openWeights(base!);
    return readParameters(source, family, config).finally(() => source.close());
  };
  const values = stated ? await readBase() : initialValues(family, config, seed);
  const adapter = stated && {
    rank: stated.r,
    alpha: stated.alpha,
    targets: stated.targets,
    rankStabilised: stated.rankStabilised,
  };
  const sites = adapter && loraSites(family, config, adapter);
  const lora = sites && { config: adapter, sites, values: initialLora(sites, adapter.rank, seed) };
  const parameters = lora ? loraParameters(lora) : modelParameters(family, config, values);
  const checkpoint = await loadCheckpoint(run, parameters);
  ensure(checkpoint, "unavailable", `${run} has no checkpoint yet`);
  for (const [i, { values: stored }] of parameters.entries()) stored.set(checkpoint.values[i]);
  const model: TrainedModel = { recipe, family, config, values, lora, tokenizer, base };
  await writeModel(model, folder);
}

export interface SampleOptions {
  readonly prompts: readonly string[];
  readonly maxTokens: number;
  readonly temperature: number;
  readonly seed: number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

/** What a model goes on with after each prompt. `write` writes it to a folder, which is removed afterwards. */
export async function sample(write: (folder: string) => Promise<void>, options: SampleOptions): Promise<string[]> {
  const { prompts, maxTokens, temperature, seed, threads, signal } = options;
  const folder = await mkdtemp(join(tmpdir(), "ventris-sample-"));
  let model: Model | undefined;
  try {
    await write(folder);
    model = await open(folder, { threads });
    const texts: string[] = [];
    for (const [request, prompt] of prompts.entries()) {
      const run = model.decode(prompt, { maxTokens, temperature, seed, request, signal });
      texts.push((await run.final).text);
    }
    return texts;
  } finally {
    await model?.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** What is done with the model while it is trained: samples of it, and copies that are kept. */
export function lookingOn(
  run: string,
  { sampleEvery, keepEvery }: { readonly sampleEvery?: number; readonly keepEvery?: number },
  threads: number | undefined,
  signal: AbortSignal,
): RecipeOptions["samples"] {
  if (sampleEvery === undefined && keepEvery === undefined) return undefined;
  const sampled = samplesOf(run, threads, signal);
  return {
    every: 1,
    async take(write, step) {
      if (keepEvery !== undefined && step % keepEvery === 0) await write(join(run, "kept", `step-${step}`));
      if (sampleEvery !== undefined && step % sampleEvery === 0) await sampled(write, step);
    },
  };
}

/** What people are told before samples. */
export const marked = "the sign | stands between what was given and what the model wrote";

/** Two openings of held-out texts, continued by the model as it is. */
function samplesOf(run: string, threads: number | undefined, signal: AbortSignal) {
  let told = false;
  return async (write: (folder: string) => Promise<void>, step: number): Promise<void> => {
    const { openings } = await readNote(run);
    const prompts = openings.slice(0, 2);
    const texts = await sample(write, { prompts, maxTokens: 80, temperature: 0.7, seed: step, threads, signal });
    if (!told) say(`\n${marked}`);
    told = true;
    for (const [i, text] of texts.entries()) say(`\nstep ${step}: ${prompts[i]}|${text}`);
  };
}
