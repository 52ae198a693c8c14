/** `ventris train --init` and `ventris train finetune`: a folder with a recipe that fits texts, machine and model, to look at and to run. */
import { existsSync } from "node:fs";
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { ensure, plural, VentrisError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { partKinds } from "../methods/index.ts";
import { familyOf } from "../models/index.ts";
import { makeFolder } from "../node-folders.ts";
import { resolveModel } from "../references.ts";
import { documents, openTokenizer, trainTokenizer } from "../text/index.ts";
import { loadCorpus } from "../training/data.ts";
import { heldOutShare, leastTokens, type Plan, planTraining, productRate } from "../training/plan.ts";
import { amount } from "../training/progress.ts";
import { requireTrainable } from "../training/trainable.ts";
import { fileFormat, readConfig, writeFileAtomically } from "../weights/index.ts";
import { showProgress } from "./output.ts";

export interface BeginOptions {
  readonly folder: string;
  readonly texts: readonly string[];
  /** What stands between the documents of `.txt` files; undefined: of a single one its blank lines; empty: they are documents as they are. */
  readonly separator?: string;
  /** Which field of the lines of `.jsonl` files is the text; undefined: text. */
  readonly field?: string;
  readonly minutes: number;
  readonly threads?: number;
  readonly signal: AbortSignal;
}

/** Runs an action in a folder that is made for it, and taken away again where the action fails. Errors: `unavailable`. */
async function inNewFolder<T>(folder: string, action: () => Promise<T>): Promise<T> {
  const made = await makeFolder(folder).catch((cause) => {
    throw new VentrisError("unavailable", `cannot make the folder ${folder}: ${cause.message}`, { cause });
  });
  try {
    return await action();
  } catch (error) {
    if (made !== undefined) await rm(made, { recursive: true, force: true });
    throw error;
  }
}

/** Bytes of the files as they lie there; a compressed one counts three times. Errors: `unavailable`. */
async function sizeOf(texts: readonly string[]): Promise<number> {
  let bytes = 0;
  for (const path of texts) {
    const found = await stat(path).catch((cause) => {
      throw new VentrisError("unavailable", `cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
    });
    bytes += found.size * (path.endsWith(".gz") ? 3 : 1);
  }
  return bytes;
}

/** As it is typed in a command. */
const asWord = (path: string): string => (/[\s"']/.test(path) ? JSON.stringify(path) : path);

const nameOf = (path: string): string =>
  basename(resolve(path))
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "") || "model";

/** Where a model is trained further on texts, unless another folder is given. */
export const folderFor = (model: string, [text]: readonly string[]): string =>
  join("runs", `${nameOf(model)}-${nameOf(text.replace(/\.(txt|jsonl)(\.gz)?$/, ""))}`);

/** The texts as a recipe names them, and how many documents they are. */
interface Documents {
  readonly files: readonly { readonly path: string; readonly field?: string; readonly separator?: string }[];
  readonly count: number;
  /** What to know about how they were cut; undefined where nobody had a choice. */
  readonly note?: string;
}

const blankLines = "\n\n";

/** Errors: `bad_option` for a separator or a field where no text takes one; those of `documents`. */
async function documentsOf(options: Pick<BeginOptions, "texts" | "separator" | "field">): Promise<Documents> {
  const { texts, separator, field } = options;
  const plain = (path: string): boolean => /\.txt(\.gz)?$/.test(path);
  ensure(
    separator === undefined || texts.some(plain),
    "bad_option",
    "--separator tells the documents of .txt files apart, and none is given: the lines of a .jsonl file are documents",
  );
  ensure(
    field === undefined || !texts.every(plain),
    "bad_option",
    "--field names the text among the fields of .jsonl files, and none is given",
  );
  const alone = texts.length === 1 && plain(texts[0]);
  const between = separator ?? (alone ? blankLines : "");
  const files: Documents["files"] = texts.map((path) => ({
    path: resolve(path),
    ...(plain(path) && between && { separator: between }),
    ...(!plain(path) && field !== undefined && { field }),
  }));
  const count = await countDocuments(files);
  if (separator !== undefined) {
    const nowhere =
      separator !== "" && count <= texts.length ? `: ${JSON.stringify(separator)} separates nothing in them` : "";
    return { files, count, note: `${plural(count, "document")} in the texts${nowhere}` };
  }
  if (!alone || count === 1) return { files: files.map(({ separator: _, ...file }) => file), count };
  const note = `${texts[0]}: ${plural(count, "document")}, told apart by blank lines; --separator '' keeps it whole, and --separator TEXT cuts it at another text`;
  return { files, count, note };
}

async function countDocuments(files: Documents["files"]): Promise<number> {
  let count = 0;
  for await (const _ of allDocuments(files)) count += 1;
  return count;
}

async function* allDocuments(files: Documents["files"]): AsyncGenerator<string> {
  for (const file of files) yield* documents(file);
}

/** What a beginning leads to. */
export interface Begun {
  /** The recipe's path. */
  readonly recipe: string;
  readonly documents: number;
  /** What people should hear about it. */
  readonly notes: readonly string[];
}

/** Trains a tokenizer, measures the machine, and writes a recipe with its reasons. */
export async function beginTraining(options: BeginOptions): Promise<Begun> {
  const { folder, texts } = options;
  const path = join(folder, "recipe.json");
  ensure(!existsSync(path), "bad_option", `${path} is there already: run it, or give another folder`);
  const bytes = await sizeOf(texts);
  const found = await documentsOf(options);
  const plan = await inNewFolder(folder, () => writePlan(path, bytes, found, options));
  const size = `a model of ${amount(plan.parameters)} parameters, trained for ${plural(plan.steps, "step")}`;
  const time = `${timeOf(plan)} on this machine when nothing else runs`;
  const notes = [`${size}: ${time}; --minutes sets the most that a plan may take`];
  return { recipe: path, documents: found.count, notes: found.note ? [found.note, ...notes] : notes };
}

const timeOf = ({ minutes }: Plan): string =>
  minutes < 1 ? "less than a minute" : `about ${plural(Math.ceil(minutes), "minute")}`;

async function writePlan(path: string, bytes: number, found: Documents, options: BeginOptions): Promise<Plan> {
  const { folder, minutes, threads, signal } = options;
  const vocabularySize = bytes < 300_000 ? 512 : bytes < 3_000_000 ? 2048 : 4096;
  const tokenizerFolder = join(folder, "tokenizer");
  await makeFolder(tokenizerFolder);
  showProgress(`training a tokenizer of up to ${vocabularySize} tokens`);
  await trainTokenizer({
    texts: allDocuments(found.files),
    size: vocabularySize,
    atMost: true,
    out: tokenizerFolder,
    signal,
  });
  const tokenizer = await openTokenizer(tokenizerFolder);
  const corpus = await loadCorpus({ files: found.files, tokenizer, signal });
  const tokens = corpus.train.tokens.length;
  if (tokens < leastTokens) throw await tooSmall(tokens, found, options);
  showProgress("measuring the machine");
  const rate = await productRate(threads);
  const plan = planTraining(tokens, tokenizer.vocabularySize, rate, minutes);
  const decay = Math.floor(plan.steps * 0.4);
  const recipe = `{
  "name": ${JSON.stringify(nameOf(folder))},
  "description": "A language model trained from scratch.",
  "licence": "unknown: say here what the texts allow",
  // ${amount(plan.parameters)} parameters: what ${tokens} tokens of text and ${plural(minutes, "minute")} at half of this machine's
  // ${rate.toFixed(0)} GFLOP/s can train. Larger models need more of both.
  "config": {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": ${tokenizer.vocabularySize},
    "hidden_size": ${plan.width},
    "num_hidden_layers": ${plan.layers},
    "num_attention_heads": ${plan.heads},
    "num_key_value_heads": ${plan.keyValueHeads},
    "head_dim": ${plan.width / plan.heads},
    "intermediate_size": ${plan.feedForward},
    "max_position_embeddings": ${Math.max(512, plan.length)},
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000,
    "hidden_act": "silu",
    "tie_word_embeddings": true,
    "bos_token_id": ${tokenizer.beginToken},
    "eos_token_id": ${tokenizer.endTokens[0]}
  },
  "tokenizer": "tokenizer",
  // ${plural(found.count, "document")} in all. A "separator" is what stands between the documents of a .txt file ("\\n\\n": blank lines); a file
  // without one is one document. A "weight" for every file says how often it is drawn from; without weights, by size.
  "data": [
${found.files
  .map(
    (file) =>
      `    ${JSON.stringify(file)
        .replace(/([{,:])(?=")/g, "$1 ")
        .replace(/}$/, " }")}`,
  )
  .join(",\n")}
  ],
  "heldOut": ${plan.heldOut},
  "rows": ${plan.rows},
  "length": ${plan.length},
  // ${plan.epochs.toFixed(1)} passes over the text, ${timeOf(plan)}.
  "steps": ${plan.steps},
  "seed": 1,
  // The rate rises, stays, and falls over the last two fifths, where most is learned.
  "schedule": { "kind": "warmupStableDecay", "peak": ${(0.0025 * Math.sqrt(256 / plan.width)).toPrecision(2)}, "warmup": ${Math.min(200, Math.ceil(plan.steps / 20))}, "decay": ${decay}, "final": 0.00002 },
  "optimiser": { "beta1": 0.9, "beta2": 0.95, "weightDecay": 0.1 },
  "clip": 1
}
`;
  await writeFileAtomically(path, recipe);
  return plan;
}

/** What can be done with texts that are too small for a model of their own: to train a shipped one further, if they suffice for that. */
async function tooSmall(
  tokens: number,
  { files }: Documents,
  { folder, texts, signal }: BeginOptions,
): Promise<VentrisError> {
  const tokenizer = await openTokenizer(await resolveModel("knossos"));
  const corpus = await loadCorpus({ files, tokenizer, signal });
  const further =
    corpus.train.tokens.length < leastForFinetuning
      ? `, or ${leastForFinetuning} or more to train a shipped model further (ventris train finetune)`
      : `, or train a shipped model further on these: ventris train finetune knossos ${texts.map(asWord).join(" ")} --folder ${asWord(folder)}`;
  return new VentrisError(
    "bad_option",
    `the texts have about ${plural(tokens, "token")}, and a model of their own needs ${leastTokens} or more: give more text${further}`,
  );
}

export interface FinetuneOptions extends Omit<BeginOptions, "minutes"> {
  readonly model: string;
  readonly epochs: number;
  readonly learningRate?: number;
  readonly length?: number;
  readonly lora?: { readonly r: number; readonly alpha: number; readonly targets: readonly string[] };
  /** A part of the model instead, which stays as it is. */
  readonly part?: { readonly kind: string; readonly settings: Readonly<Record<string, unknown>> };
}

/** Where in its folder the result goes. */
export const resultOf = ({ lora, part }: Pick<FinetuneOptions, "lora" | "part">): string =>
  lora ? "adapter" : part ? "part" : "model";

/** Rows of a batch and their length, and from how many tokens of text on: so many batches must fit. */
const [leastBatches, shortest] = [10, 16];
/** One row of the shortest length in a batch. */
const leastForFinetuning = leastBatches * shortest;

/** Small texts are read in smaller batches. Errors: `bad_option`. */
function batchFor(tokens: number, length: number, mayShrink: boolean): { rows: number; length: number } {
  let [rows, long] = [4, length];
  while (tokens < leastBatches * rows * long && (rows > 1 || (mayShrink && long > shortest))) {
    if (rows > 1) rows /= 2;
    else long = Math.max(shortest, Math.floor(long / 2));
  }
  ensure(
    tokens >= leastBatches * rows * long,
    "bad_option",
    () =>
      `the texts have ${plural(tokens, "token")}, and training needs ${leastBatches * rows * long} or more: give more text${mayShrink ? "" : ", or a smaller --length"}`,
  );
  return { rows, length: long };
}

/** What files are that no fine-tuning takes, by the second word of what they say that they hold ("ventris filter 1"). */
const otherFiles: Readonly<Record<string, string>> = {
  pointing: "a pointer network, which ventris point train makes",
  filter: "a filter of signals, which ventris filter fit makes",
};

/** Errors: `bad_option` for what is no folder with a language model's weights, and says what it is. */
async function requireCheckpoint(model: string, path: string): Promise<void> {
  const needed = "fine-tuning needs a folder with config.json, weights as safetensors and tokenizer.json";
  if (!(await stat(path)).isDirectory()) {
    const gguf = path.endsWith(".gguf") ? "a GGUF file, whose weights are packed for decoding" : undefined;
    const what = gguf ?? otherFiles[(await fileFormat(path))?.split(" ")[1] ?? ""] ?? "a file";
    throw new VentrisError("bad_option", `${model} is ${what}: ${needed}`);
  }
  if (!existsSync(join(path, "config.json"))) {
    const gguf = (await readdir(path)).some((name) => name.endsWith(".gguf"));
    const what = gguf ? "holds a GGUF file, whose weights are packed for decoding" : "has no config.json";
    throw new VentrisError("bad_option", `${model} ${what}: ${needed}`);
  }
  const { is_encoder_decoder: decodes, model_type: type } = await readConfig(path);
  ensure(decodes !== true && type !== "t5", "bad_option", () => {
    return `${model} is an encoder–decoder, which is not fine-tuned here: it serves ventris eeg train as its text model (--text)`;
  });
}

/**
 * Writes a recipe that trains a model further on texts, or finds the same one there, whose run then goes on.
 * Errors: `bad_option` where another one is there.
 */
export async function beginFinetuning(options: FinetuneOptions): Promise<Begun> {
  const { folder, model, texts, epochs, lora, part, signal } = options;
  ensure(!/\.(txt|jsonl)(\.gz)?$/.test(model), "bad_option", () => {
    return `${model} is a text: the model stands before its texts, as in ventris train finetune knossos ${model}`;
  });
  await sizeOf(texts);
  const base = await resolveModel(model);
  await requireCheckpoint(model, base);
  const config = await readConfig(base);
  requireTrainable(model, familyOf(config), { lora, part, partKinds });
  const tokenizer = await openTokenizer(base);
  const path = join(folder, "recipe.json");
  const found = await documentsOf(options);
  const corpus = await loadCorpus({ files: found.files, tokenizer, signal });
  const tokens = corpus.train.tokens.length;
  const context = Number(config.max_position_embeddings ?? config.n_positions ?? 1024);
  const { rows, length } = batchFor(tokens, Math.min(options.length ?? 256, context), options.length === undefined);
  const heldOut = heldOutShare(tokens, rows * length);
  const steps = Math.max(1, Math.ceil((epochs * tokens * (1 - heldOut)) / (rows * length)));
  const rate = options.learningRate ?? (part ? 2e-3 : lora ? 2e-4 : 2e-5);
  const recipe = {
    name: nameOf(folder),
    description: `${part ? `A part of ${basename(base)} (${part.kind}), trained` : `${basename(base)}, trained further`} on ${texts.map((file) => basename(file)).join(", ")}.`,
    licence: "that of the base, and what the texts allow",
    config,
    tokenizer: base,
    data: found.files,
    heldOut,
    rows,
    length,
    ...(!part && { separateDocuments: tokenizer.beginToken !== undefined }),
    steps,
    seed: 1,
    schedule: { kind: "cosine", peak: rate, warmup: Math.ceil(steps / 20), final: rate / 10 },
    optimiser: { beta1: 0.9, beta2: 0.95, weightDecay: lora || part ? 0 : 0.01 },
    clip: 1,
    continues: { model: base, tokens: 0, minutes: 0 },
    ...(lora && { lora }),
    ...(part && { part }),
  };
  const written = `${JSON.stringify(recipe, null, 2)}\n`;
  const there = await readFile(path, "utf8").catch(() => undefined);
  ensure(
    there === undefined || there === written,
    "bad_option",
    `${path} is there already and says something else: give another folder, or run it by ventris train ${path} --run ${join(folder, "run")} --out ${join(folder, resultOf(options))}`,
  );
  if (there === undefined) await inNewFolder(folder, () => writeFileAtomically(path, written));
  return { recipe: path, documents: found.count, notes: found.note ? [found.note] : [] };
}
