/** What `run` and `compare` share: the model, the prompt and the method as flags and arguments name them. */
import { open as openFile } from "node:fs/promises";
import { type Command, Option } from "commander";
import { z } from "zod";
import type { NamedMethod } from "../calls.ts";
import { requestOptions } from "../engine/decoding.ts";
import { cacheFormats, type LoadOptions, weightFormats } from "../engine/load.ts";
import { ensure, VentrisError } from "../errors.ts";
import { decodeUtf8 } from "../json.ts";
import { findMethod } from "../methods/index.ts";
import { addConstraintFlags, type ConstraintFlags } from "./constraint.ts";
import { addSchemaFlags, parseAssignments, parseValue } from "./flags.ts";
import { murmur } from "./output.ts";
import { addShaperFlag, type ShaperFlags } from "./shapers.ts";

export interface RequestFlags extends Record<string, unknown>, ConstraintFlags, ShaperFlags {
  model: string;
  promptFile?: string;
  promptIds?: number[];
  threads?: number;
  device?: LoadOptions["device"];
  weights?: LoadOptions["weights"];
  keyValues?: LoadOptions["keyValues"];
  json?: true;
}

const promptIds = z.array(z.int().min(0)).min(1);
const threads = z.int().min(1).max(256);

/** Longest prompt in bytes; far beyond any context. */
const longestPrompt = 16 * 2 ** 20;

export function addRequestFlags(command: Command): void {
  const parse = (schema: z.ZodType, flag: string) => (text: string) => parseValue(schema, flag, text);
  command
    .option("--model <name>", "a shipped model, a checkpoint folder or a weight file", "knossos")
    .option("--prompt-file <path>", "read the prompt from a file (one newline at its end is left out)")
    .addOption(
      new Option("--prompt-ids <list>", "token ids between commas instead of text").argParser(
        parse(promptIds, "--prompt-ids"),
      ),
    )
    .addOption(new Option("--weights <format>", "precision of the matrices").choices(weightFormats))
    .addOption(new Option("--key-values <format>", "precision of keys and values").choices(cacheFormats))
    .addOption(new Option("--device <name>", "where to run").choices(["cpu", "webgpu", "cuda"]))
    .addOption(
      new Option("--threads <number>", "threads within an operation (default: all cores, at most 8)").argParser(
        parse(threads, "--threads"),
      ),
    );
  addSchemaFlags(command, requestOptions.shape);
  addConstraintFlags(command);
  addShaperFlag(command);
  command.option("--json", "print one JSON object");
}

export const loadOptions = ({ threads, device, weights, keyValues }: RequestFlags): LoadOptions => ({
  threads,
  device,
  weights,
  keyValues,
});

/** The prompt from exactly one place: arguments, --prompt-file, --prompt-ids, or else standard input where it is no terminal. */
export async function readPrompt(words: readonly string[], flags: RequestFlags): Promise<string | number[]> {
  const { promptFile, promptIds: ids } = flags;
  const given = [words.length > 0, promptFile !== undefined, ids !== undefined].filter(Boolean).length;
  ensure(given <= 1, "bad_option", "give the prompt once: as arguments, with --prompt-file or with --prompt-ids");
  if (ids) return ids;
  if (words.length > 0) return words.join(" ");
  if (promptFile === undefined) {
    ensure(
      !process.stdin.isTTY,
      "bad_option",
      "no prompt: give one as an argument, with --prompt-file, or through a pipe",
    );
    return promptText(await readBounded(process.stdin, "standard input"), "standard input");
  }
  try {
    await using file = await openFile(promptFile);
    return promptText(await readBounded(file.createReadStream(), promptFile), promptFile);
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("unavailable", `cannot read the prompt: ${(cause as Error).message}`, { cause });
  }
}

async function readBounded(stream: AsyncIterable<Uint8Array>, origin: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    ensure(size <= longestPrompt, "bad_option", `${origin}: a prompt of more than ${longestPrompt} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The newline that editors and `echo` put at the end is not meant. */
const promptText = (bytes: Uint8Array, origin: string): string => decodeUtf8(bytes, origin).replace(/\r?\n$/, "");

/** `name`, or JSON with options beside the name; `assignments` are further options as `name=value`. */
export function readMethod(text: string | undefined, assignments: readonly string[] = []): NamedMethod | undefined {
  if (text === undefined) {
    ensure(assignments.length === 0, "bad_option", "--set gives options of a method: name it with --method");
    return undefined;
  }
  const choice = text.trimStart().startsWith("{") ? checkChoice(parseChoices(`[${text}]`)[0]) : { name: text };
  const { options } = findMethod(choice.name);
  return { ...choice, ...parseAssignments(options.shape, assignments, choice.name) };
}

/** Several methods: names between commas, or a JSON list of names and objects. */
export function readMethods(text: string): NamedMethod[] {
  const list = /^\s*\[/.test(text) ? parseChoices(text) : text.split(",").map((name) => name.trim());
  const choices = list.map((entry) => checkChoice(typeof entry === "string" ? { name: entry } : entry));
  ensure(choices.length > 0, "bad_option", "--methods: names no method");
  for (const { name } of choices) findMethod(name);
  return choices;
}

function parseChoices(json: string): unknown[] {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new VentrisError("bad_option", `a method's JSON cannot be read: ${(cause as Error).message}`, { cause });
  }
}

function checkChoice(value: unknown): { name: string } & Record<string, unknown> {
  const named = typeof value === "object" && value !== null && "name" in value && typeof value.name === "string";
  ensure(named, "bad_option", `a method is a name or {"name": …, options}, not ${JSON.stringify(value)}`);
  return value as { name: string } & Record<string, unknown>;
}

/** The prompt in front of a terminal, where the text that follows would otherwise begin in the middle. */
export function showPrompt(prompt: string | readonly number[]): void {
  if (process.stdout.isTTY && typeof prompt === "string") murmur(prompt);
}
