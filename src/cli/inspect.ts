/** `ventris inspect`: looks inside a model. A system is a file `inspect-NAME.ts` that defines its command; here is the list of them. */
import type { Command } from "commander";
import { defineNeurons } from "./inspect-neurons.ts";

const systems: readonly ((command: Command) => void)[] = [defineNeurons];

export function define(command: Command): void {
  for (const add of systems) add(command);
}
