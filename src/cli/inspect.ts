/** `ventris inspect`: looks inside a model. A system is a file `inspect-NAME.ts` that defines its command; here is the list of them. */
import type { Command } from "commander";
import { examples } from "./help.ts";
import { defineCodes } from "./inspect-codes.ts";
import { defineMarkov } from "./inspect-markov.ts";
import { defineNeurons } from "./inspect-neurons.ts";

const systems: readonly ((command: Command) => void)[] = [defineNeurons, defineCodes, defineMarkov];

export function define(command: Command): void {
  command.addHelpText(
    "after",
    examples(
      "ventris inspect neurons --word dog",
      'ventris inspect codes stories.jsonl --find "dragon"',
      "ventris inspect markov stories.jsonl",
    ),
  );
  for (const add of systems) add(command);
}
