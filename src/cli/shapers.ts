/** Shapers as a flag: what has a say in the distributions beside the options, in the order in which they are given. */
import { type Command, Option } from "commander";
import { ensure, shown } from "../errors.ts";
import { findShaper, shapers } from "../methods/index.ts";
import type { ShaperWithOptions } from "../options.ts";
import { parseAssignments } from "./flags.ts";
import { readTypedJson } from "./json.ts";
import { meantName } from "./method-choice.ts";

export interface ShaperFlags {
  shaper?: string[];
}

export function addShaperFlag(command: Command): void {
  command.addOption(
    new Option(
      "--shaper <name>",
      `let a shaper change the distributions, inside whatever method: ${shapers.map(({ name }) => name).join(", ")} (ventris methods NAME lists its options). With options as "name option=value", or as JSON. May be given several times.`,
    ).argParser((text: string, previous: string[] | undefined) => [...(previous ?? []), text]),
  );
}

/** Errors: `bad_option` for a shaper that nobody knows and for options that it has not. */
export const readShapers = ({ shaper = [] }: ShaperFlags): ShaperWithOptions[] => shaper.map(readShaper);

function readShaper(text: string): ShaperWithOptions {
  if (text.trimStart().startsWith("{")) {
    const choice = readTypedJson(text, "--shaper");
    ensure(
      typeof choice === "object" && choice !== null && "name" in choice && typeof choice.name === "string",
      "bad_option",
      () => `--shaper: write it as {"name": …, options}, not ${shown(choice)}${meantName(choice)}`,
    );
    findShaper(choice.name);
    return choice as ShaperWithOptions;
  }
  const [name, ...assignments] = text.trim().split(/\s+/);
  return { name, ...parseAssignments(findShaper(name).options.shape, assignments, name) } as ShaperWithOptions;
}
