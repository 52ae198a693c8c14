/** `ventris methods`: what the registry holds. */
import type { Command } from "commander";
import { z } from "zod";
import type { Method } from "../engine/method.ts";
import { findMethod, methods } from "../methods/index.ts";
import { describeOption, placeholder } from "./flags.ts";
import { print, printJson } from "./output.ts";
import { isModulePath, loadMethod } from "./own-method.ts";
import { formatTable } from "./table.ts";

export function define(command: Command): void {
  command
    .argument("[name]", "a method, whose options are shown; also a file with one of your own")
    .option("--json", "print a JSON list, each method with the JSON Schema of its options")
    .action(async (name: string | undefined, { json }: { json?: true }) => {
      const chosen = name === undefined ? methods : [isModulePath(name) ? await loadMethod(name) : findMethod(name)];
      if (json) printJson(chosen.map(toJson));
      else print(name === undefined ? overview(chosen) : details(chosen[0]));
    });
}

const toJson = ({ name, family, lossless, summary, source, options }: Method): object => ({
  name,
  family,
  lossless: typeof lossless === "function" ? "depends on the options" : lossless,
  summary,
  ...(source !== undefined && { source }),
  options: z.toJSONSchema(options, { io: "input", unrepresentable: "any" }),
});

const losslessness = ({ lossless }: Method): string =>
  typeof lossless === "function" ? "depends" : lossless ? "yes" : "no";

const overview = (listed: readonly Method[]): string =>
  formatTable(
    ["method", "family", "lossless", "summary"],
    listed.map((method) => [method.name, method.family, losslessness(method), method.summary]),
  );

function details(method: Method): string {
  const options = Object.entries<z.ZodType>(method.options.shape);
  const table = formatTable(
    ["option", "value", "meaning"],
    options.map(([name, schema]) => [name, placeholder(schema), describeOption(schema)]),
  );
  return [
    `${method.name}: ${method.summary}`,
    ...(method.source === undefined ? [] : [`source: ${method.source}`]),
    `family: ${method.family} · lossless: ${losslessness(method)}`,
    "",
    options.length === 0 ? "It has no options." : table,
    ...(options.length === 0
      ? []
      : ["", `ventris run --method ${method.name} --set ${options[0][0]}=… "…" sets an option.`]),
  ].join("\n");
}
