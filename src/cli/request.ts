/** What `run`, `compare` and their like share: prompt, model and options as flags and arguments name them. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { type DecodeOptions, isCanvas, type Text } from "../calls.ts";
import { requestOptions } from "../engine/decoding.ts";
import { cacheFormats, type LoadOptions } from "../engine/load.ts";
import type { DecodingModel } from "../engine/model.ts";
import { type RemoteOptions, remoteOptions } from "../engine/remote/model.ts";
import { largestNumber, type ReadyEdit } from "../engine/sites/ready.ts";
import { weightFormats } from "../engine/weight-plan.ts";
import { ensure, shown } from "../errors.ts";
import { decodeUtf8 } from "../json.ts";
import { neurons } from "../methods/index.ts";
import { addConstraintFlags, type ConstraintFlags, readConstraint } from "./constraint.ts";
import { devices, ensureDevice } from "./devices.ts";
import { addSchemaFlags, parseValue, pickFlags, readEscapes } from "./flags.ts";
import { readBounded, readGiven } from "./given-file.ts";
import { groups } from "./help.ts";
import { addShaperFlag, readShapers, type ShaperFlags } from "./shapers.ts";

export interface RequestFlags extends Record<string, unknown>, ConstraintFlags, ShaperFlags, ModelFlags {
  promptFile?: string;
  promptIds?: number[];
  chat?: true;
  clamp?: ReadyEdit[];
  json?: true;
}

export interface ModelFlags {
  model: string;
  threads?: number;
  device?: LoadOptions["device"];
  weights?: LoadOptions["weights"];
  keyValues?: LoadOptions["keyValues"];
  contextLength?: number;
}

const promptIds = z.array(z.int().min(0)).min(1);
const threads = z.int().min(1).max(256);
const contextLength = z.int().min(1);

/** Longest prompt in bytes; far beyond any context. */
const longestPrompt = 16 * 2 ** 20;

const parse = (schema: z.ZodType, flag: string) => (text: string) => parseValue(schema, flag, text);

export function addPromptFlags(command: Command): void {
  command
    .optionsGroup(groups.prompt)
    .option("--prompt-file <path>", "read the prompt from a file; one newline at its end is left out")
    .addOption(
      new Option("--prompt-ids <list>", "give the prompt as token ids between commas").argParser(
        parse(promptIds, "--prompt-ids"),
      ),
    )
    .option("--chat", "give the prompt in the model's chat form, as what the user says");
}

/** What `--model` may be, as every command explains it. */
export const modelHelp =
  "a model that ships with the package (ventris models lists them), a folder or weight file on this machine, or a name on the Hugging Face hub such as HuggingFaceTB/SmolLM2-135M, which is downloaded the first time";
/** Where it may also be behind a network. */
const nearOrFar = `${modelHelp}; or an engine that is already running, as http://host:port/v1#name`;

export function addModelFlags(command: Command): void {
  command.optionsGroup(groups.model).option("-m, --model <name>", modelHelp, "knossos");
  addLoadFlags(command);
}

/** `--model`, loaded here or behind a network, with what belongs to either. */
export function addOpenFlags(command: Command, standard = "knossos"): void {
  command.optionsGroup(groups.model).option("-m, --model <name>", nearOrFar, standard);
  addLoadFlags(command);
  addSchemaFlags(command, engineShape, { group: groups.engine });
}

/** The name is in the address, and keys are in a variable; log-probabilities are the request's. */
const { model: _, apiKey: __, logprobs: ___, ...engineShape } = remoteOptions;

/** How a model is loaded, whichever it is. */
export function addLoadFlags(command: Command): void {
  command
    .addOption(
      new Option(
        "--weights <format>",
        "precision of the weights: auto keeps quantised files as they are, and stores models above 200 million parameters in 8 bits",
      )
        .choices(weightFormats)
        .default(undefined, "auto"),
    )
    .addOption(
      new Option(
        "--key-values <format>",
        "precision of the key-value cache: auto takes f16 where that makes long contexts faster",
      )
        .choices(cacheFormats)
        .default(undefined, "auto"),
    )
    .addOption(
      new Option(
        "--context-length <tokens>",
        "how many tokens prompt and output may have together: fewer than the model was made for, or, of models with LongRoPE, more",
      )
        .default(undefined, "all that the model has; ventris models says how many")
        .argParser(parse(contextLength, "--context-length")),
    )
    .addOption(
      new Option("--device <name>", "where the model runs; ventris doctor says what works here")
        .choices(devices)
        .default(undefined, "cpu"),
    )
    .addOption(
      new Option("--threads <number>", "how many threads compute at once")
        .default(undefined, "all cores, at most 8")
        .argParser(parse(threads, "--threads")),
    );
}

/** Options of the request that shape distributions; the others say what the output is. */
const outputNames = ["maxTokens", "minTokens", "stop", "stopTokens", "constraint", "logprobs"] as const;
const insideNames = ["taps", "edits"] as const;

/** Defaults of a command that are not the library's. */
type Defaults = Readonly<Record<string, unknown>>;

export function addSamplingFlags(command: Command, defaults: Defaults = {}): void {
  const { shape } = requestOptions;
  const others = Object.entries(shape).filter(([name]) => ![...outputNames, ...insideNames].includes(name as never));
  addSchemaFlags(command, Object.fromEntries(others), { group: groups.sampling, defaults });
  command.optionsGroup(groups.sampling);
  addShaperFlag(command);
}

export function addOutputFlags(
  command: Command,
  { json = true, defaults = {} }: { json?: boolean; defaults?: Defaults } = {},
): void {
  const { constraint, stop, ...output } = requestOptions.pick(
    Object.fromEntries(outputNames.map((name) => [name, true])) as Record<(typeof outputNames)[number], true>,
  ).shape;
  const stopText = stop.describe(
    `${stop.description}; \\n, \\t, \\\\ and \\u{…} stand for a newline, a tab, a backslash and a character's code`,
  );
  addSchemaFlags(
    command,
    { maxTokens: output.maxTokens, minTokens: output.minTokens, stop: stopText },
    {
      group: groups.output,
      short: { maxTokens: "n" },
      defaults,
    },
  );
  addSchemaFlags(command, { stopTokens: output.stopTokens }, { group: groups.output });
  command.optionsGroup(groups.output);
  addConstraintFlags(command);
  addSchemaFlags(command, { constraint, logprobs: output.logprobs }, { group: groups.output });
  if (json) command.option("--json", "print one JSON object");
}

/** Taps and edits belong to the model's help, as they name its places. */
export function addInsideFlags(command: Command): void {
  const { taps, edits } = requestOptions.shape;
  addSchemaFlags(command, { taps, edits }, { group: groups.model });
  command.addOption(
    new Option(
      "--clamp <layer.neuron=value>",
      "hold a neuron's up-projection at a value in every row, as 3.118=8; 3.118:product=8 holds it after the gate. May be given several times.",
    )
      .argParser((text, before: ReadyEdit[] = []) => [...before, readClamp(text)])
      .helpGroup(groups.model),
  );
}

/** Errors: `bad_option`. */
function readClamp(text: string): ReadyEdit {
  const [, layer, neuron, drive = "up", value] =
    /^(\d{1,6})\.(\d{1,9})(?::(up|product))?=([-+\d.e]+)$/i.exec(text) ?? [];
  ensure(
    layer !== undefined && Number.isFinite(Number(value)),
    "bad_option",
    `--clamp ${text}: write it as LAYER.NEURON=VALUE or LAYER.NEURON:product=VALUE, such as 3.118=8`,
  );
  // The request would say it of an edit, which nobody wrote.
  ensure(Math.abs(Number(value)) <= largestNumber, "bad_option", () => {
    return `--clamp ${text}: the value must be from ${-largestNumber} to ${largestNumber}, not ${Number(value)}`;
  });
  return neurons.clampNeuron({
    layer: Number(layer),
    neuron: Number(neuron),
    value: Number(value),
    drive: drive.toLowerCase() as "up" | "product",
  });
}

/** The request's options that flags gave. Errors: `bad_option`. */
export async function readRequest(flags: RequestFlags): Promise<DecodeOptions> {
  const options = pickFlags(flags, requestOptions.shape) as DecodeOptions;
  if (Array.isArray(options.stop)) {
    ensure(!options.stop.includes(""), "bad_option", "--stop: an empty text would end every text at once");
    options.stop = options.stop.map((text) => readEscapes(text, "--stop"));
  }
  if (flags.clamp) options.edits = [...(options.edits ?? []), ...flags.clamp];
  options.constraint = await readConstraint(flags);
  options.shapers = readShapers(flags);
  return options;
}

/** Errors: `unavailable` for a device that this machine has not. */
export function loadOptions({ threads, device, weights, keyValues, contextLength }: ModelFlags): LoadOptions {
  ensureDevice(device);
  return { threads, device, weights, keyValues, contextLength };
}

/** Options of `open` for `addOpenFlags`. */
export const openOptions = (flags: ModelFlags & Readonly<Record<string, unknown>>): LoadOptions & RemoteOptions => ({
  ...loadOptions(flags),
  ...pickFlags(flags, engineShape),
});

/** A prompt as `--chat` wants it. */
export function inForm(prompt: string | number[], { chat }: RequestFlags): Text {
  if (!chat) return prompt;
  ensure(typeof prompt === "string", "bad_option", "--chat: what is said is a text, not --prompt-ids");
  return [{ role: "user", content: prompt }];
}

/** What `readPrompt` reads for; its name is in the example. */
type Asking = "run" | "compare";

const noPrompt = (command: Asking): string =>
  `give a prompt, as in: ventris ${command} "Once upon a time"; or give it by --prompt-file, or through a pipe`;

/** Errors: `bad_option` for an empty prompt, but of a canvas, which can be filled without one. */
export function requirePrompt(prompt: unknown, model: Pick<DecodingModel, "capabilities">, command: Asking): void {
  ensure(prompt !== "" || isCanvas(model), "bad_option", () => noPrompt(command));
}

/** The prompt from exactly one place: arguments, --prompt-file, --prompt-ids, or else standard input where it is no terminal. */
export async function readPrompt(
  words: readonly string[],
  flags: RequestFlags,
  command: Asking,
): Promise<string | number[]> {
  const { promptFile, promptIds: ids } = flags;
  const given = [words.length > 0, promptFile !== undefined, ids !== undefined].filter(Boolean).length;
  ensure(given <= 1, "bad_option", "give the prompt once: as arguments, with --prompt-file or with --prompt-ids");
  if (ids) return ids;
  const [whole, further] = words.filter((word) => /\s/.test(word));
  ensure(
    words.length < 2 || whole === undefined,
    "bad_option",
    () =>
      `${further === undefined ? `${shown(whole)} and other words` : `${shown(whole)} and ${shown(further)}`} are several texts: put one prompt in quotes (compare takes several as the lines of a file, with --prompts)`,
  );
  if (words.length > 0) return words.join(" ");
  if (promptFile === undefined) {
    ensure(!process.stdin.isTTY, "bad_option", () => noPrompt(command));
    return promptText(
      await readBounded(process.stdin, "standard input", longestPrompt, "the prompt"),
      "standard input",
    );
  }
  return readPromptFile(promptFile, "--prompt-file");
}

/** The text of a file that a flag names. */
export async function readPromptFile(path: string, flag: string): Promise<string> {
  const wanted = { what: flag, mostBytes: longestPrompt, mayBeEmpty: true } as const;
  return promptText(await readGiven(path, wanted), path);
}

/** The newline that editors and `echo` put at the end is not meant. */
const promptText = (bytes: Uint8Array, origin: string): string => decodeUtf8(bytes, origin).replace(/\r?\n$/, "");
