/** Methods as the command line names them: by name, as JSON with options, or as a module of one's own. */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import type { MethodChoice } from "../calls.ts";
import { requestOptions } from "../engine/decoding.ts";
import type { Method } from "../engine/method.ts";
import type { Capability, DecodingModel } from "../engine/model.ts";
import { ensure, shown, VentrisError } from "../errors.ts";
import { findMethod, methods } from "../methods/index.ts";
import { meantBy, meantField, plainName } from "../names.ts";
import { addElsewhere, kebab, parseAssignments } from "./flags.ts";
import { readTypedJson } from "./json.ts";
import { say } from "./output.ts";
import { isModulePath, loadMethod } from "./own-method.ts";

export interface ChosenMethod {
  readonly method: Method;
  /** Those that were given. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** As `decode` takes it. */
export const choiceOf = ({ method, options }: ChosenMethod): MethodChoice => ({ method, options });

/** Where each of these is used instead. */
const usedBy: Readonly<Record<string, string>> = {
  pointing: "ventris point answers with it",
  filter: "ventris filter run follows signals with it",
  "encoder-decoder": 'programs write with it, model.ability("encoder-decoder").write(text)',
};

/** Of a model that no method decodes with. */
export function decodesNothing({ name, capabilities }: Pick<DecodingModel, "name" | "capabilities">): string {
  const uses = [...capabilities].flatMap((one) => usedBy[one] ?? []);
  const has = [...capabilities].join(", ") || "nothing";
  return `no decoding method works with the model ${name}, which has: ${has}${uses.map((use) => `; ${use}`).join("")}`;
}

/** Errors: `unavailable` for a model that no method decodes with, and says what does use it. */
export function requireDecodes(model: Pick<DecodingModel, "name" | "capabilities">): void {
  const has = (names: readonly Capability[]): boolean => names.every((name) => model.capabilities.has(name));
  const some = methods.some(({ needs = ["forest"], suffices }) => has(needs) || (suffices && has(suffices)));
  ensure(some, "unavailable", () => decodesNothing(model));
}

/** Where an option of a method is given as a flag, how it is set is said: of the chosen method, or of any that has it. */
export function addMethodHints(command: Command): void {
  addElsewhere(command, (flag, value, { method: given }) => {
    const name = typeof given === "string" ? (/^\s*\{.*?"name":\s*"([^"]*)"/s.exec(given)?.[1] ?? given) : undefined;
    const flags = command.options.flatMap(({ long }) => long?.slice(2) ?? []);
    const isFlag = flags.some((one) => plainName(one) === plainName(flag));
    // What a file's method has is known when it is loaded, which this cannot wait for.
    if (name !== undefined && isModulePath(name))
      return isFlag || meantBy(flag, flags) !== undefined
        ? undefined
        : `options of ${name} are given by --set, as --set ${flag}=${value}; ventris methods ${name} lists them`;
    const chosen = methods.find((method) => method.name === name);
    const among = chosen ? [chosen] : isFlag ? [] : methods;
    const having = among.flatMap((method) => {
      const options = Object.keys(method.options.shape);
      const same = options.find((one) => plainName(one) === plainName(flag));
      // What others call so may as well be a flag.
      const option = same ?? (meantBy(flag, flags) === undefined ? meantBy(flag, options, 0) : undefined);
      return option === undefined ? [] : [{ method: method.name, option }];
    });
    if (having.length === 0) return undefined;
    const [{ method, option }] = having;
    const whose = having.length === 1 ? `the method ${method}` : `methods such as ${method}`;
    return `${option} is an option of ${whose}: ${chosen ? "" : `--method ${method} `}--set ${option}=${value}`;
  });
}

const oneMethod = '{"name": "prompt-lookup", "length": 8}';

/** `name`, a module's path, or JSON with options beside the name; `assignments` are further options as `name=value`. */
export async function readMethod(
  text: string | undefined,
  assignments: readonly string[] = [],
): Promise<ChosenMethod | undefined> {
  if (text === undefined) {
    ensure(assignments.length === 0, "bad_option", "--set gives options of a method: name it with --method");
    return undefined;
  }
  const { method, options } = await chosen(
    text.trimStart().startsWith("{") ? readTypedJson(text, "--method", oneMethod) : text,
    "--method",
  );
  return { method, options: { ...options, ...parseAssignments(method.options.shape, assignments, method.name) } };
}

/** Several methods: names between commas, or a JSON list of names and objects. */
export async function readMethods(text: string): Promise<ChosenMethod[]> {
  const json = /^\s*[[{]/.test(text) ? readTypedJson(text, "--methods", `["greedy", ${oneMethod}]`) : undefined;
  const list: readonly unknown[] = Array.isArray(json)
    ? json
    : json !== undefined
      ? [json]
      : text.split(",").map((name) => name.trim());
  ensure(list.length > 0 && text.trim() !== "", "bad_option", "--methods names no method");
  ensure(!list.includes(""), "bad_option", `--methods ${text}: between two commas stands no method`);
  const methods = await Promise.all(list.map((entry) => chosen(entry, "--methods")));
  const written = methods.map(({ method, options }) => JSON.stringify([method.name, options]));
  const twice = written.findIndex((one, i) => written.indexOf(one) < i);
  ensure(twice < 0, "bad_option", () => {
    return `--methods: ${methods[twice].method.name} is named twice with the same options: leave one out, or give them different ones`;
  });
  return methods;
}

/** The end of a sentence about what is no method: the field that was meant by the name of one. */
export const meantName = (entry: unknown): string =>
  (typeof entry === "object" && entry !== null && meantField(entry, ["name"])) || "";

async function chosen(entry: unknown, flag: string): Promise<ChosenMethod> {
  const { name, ...options } = (typeof entry === "string" ? { name: entry } : (entry ?? {})) as { name?: unknown };
  ensure(
    typeof name === "string",
    "bad_option",
    () => `${flag}: a method is a name, a file or {"name": …, options}, not ${shown(entry)}${meantName(entry)}`,
  );
  ensure(isModulePath(name) || !/\.\w+$/.test(name) || !existsSync(name), "bad_option", () => {
    return `${flag} ${name}: a file with a method is a module in JavaScript or TypeScript (.js, .mjs, .ts) that exports what defineMethod made, as default`;
  });
  return { method: isModulePath(name) ? await loadMethod(name) : findMethod(name), options };
}

/**
 * Words of a prompt that nobody wants continued: an option of the method or of the request, as name=value. Within a longer text, in a file or
 * in a pipe they are a prompt like any other. One that is nearly such an option may be a text: it is said, and continued. Errors: `bad_option`
 * with the flag that sets it.
 */
export function requireNoOptions(
  words: readonly string[],
  chosen: readonly ChosenMethod[],
  flag: "--set" | "--methods",
): void {
  for (const word of words) {
    const [, name, value] = /^-{0,2}([a-z][\w-]*)=(\S*)$/i.exec(word) ?? [];
    if (name === undefined) continue;
    const found = optionNamed(name, chosen);
    if (!found) continue;
    const { option, owner } = found;
    const way =
      owner === undefined
        ? `--${kebab(option)} ${value}`
        : !chosen.some(({ method }) => method.name === owner)
          ? `--method ${owner} --set ${option}=${value}`
          : flag === "--set"
            ? `--set ${option}=${value}`
            : `--methods '[{"name": "${owner}", "${option}": ${/^[\d.]+$/.test(value) ? value : JSON.stringify(value)}}]'`;
    const has = owner ? `the method ${owner} has an option ${option}` : `there is an option ${option}`;
    if (found.certain)
      throw new VentrisError(
        "bad_option",
        `${word} stands where the prompt is, and ${has}: write ${way}. If it is the prompt, give it by --prompt-file or through a pipe`,
      );
    say(`${word} is taken for the prompt; ${has}: if that is meant, write ${way}`);
  }
  if (chosen.length > 0 || words.length === 0 || !words.every((word) => methods.some(({ name }) => name === word)))
    return;
  const way = flag === "--set" ? `--method ${words[0]}` : `--methods ${words.join(",")}`;
  const names = words.length > 1 ? "methods have these names" : "a method has this name";
  say(`${words.join(" ")} is taken for the prompt; ${names}: if that is meant, write ${way}`);
}

/** Shorter names are near to too much. */
const leastAlike = 4;

/** The option that a name stands for, and the method that has it; certain where it is spelt so, of the request or of a chosen method. */
function optionNamed(
  name: string,
  chosen: readonly ChosenMethod[],
): { option: string; owner?: string; certain: boolean } | undefined {
  const ofRequest = { names: Object.keys(requestOptions.shape), owner: undefined };
  const named = chosen.map(({ method }) => ({ names: Object.keys(method.options.shape), owner: method.name }));
  const others = methods.map((method) => ({ names: Object.keys(method.options.shape), owner: method.name }));
  for (const { names, owner } of [...named, ofRequest]) {
    const option = names.find((one) => kebab(one) === kebab(name).replaceAll("_", "-"));
    if (option !== undefined) return { option, owner, certain: true };
  }
  if (name.length < leastAlike) return undefined;
  for (const { names, owner } of [...named, ofRequest, ...(chosen.length === 0 ? others : [])]) {
    const option = alike(name, names);
    if (option !== undefined) return { option, owner, certain: false };
  }
  return undefined;
}

/** Another's name for one of ours, or one that is a slip or two away: a swap counts as two. */
const alike = (name: string, names: readonly string[]): string | undefined =>
  meantBy(name, names, name.length < 6 ? 1 : 2);

/** How tables name methods: those that occur several times, by the options in which they differ. */
export function labelsOf(list: readonly ChosenMethod[]): string[] {
  return list.map(({ method, options }) => {
    const same = list.filter((other) => other.method.name === method.name);
    const names = [...new Set(same.flatMap((other) => Object.keys(other.options)))];
    const differing = names.filter(
      (name) =>
        new Set(same.map((other) => JSON.stringify(other.options[name]))).size > 1 && options[name] !== undefined,
    );
    const shown = differing.map((name) => `${name}=${textOf(options[name])}`);
    return [method.name, ...shown].join(" ");
  });
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
