/** `ventris methods`: what the registry holds: methods, and shapers that work inside them. */
import type { Command } from "commander";
import { z } from "zod";
import type { Method, ShaperKind } from "../engine/method.ts";
import type { Capability } from "../engine/model.ts";
import { ensure } from "../errors.ts";
import { findMethodOrShaper, methods, shapers } from "../methods/index.ts";
import { describeOption, placeholder } from "./flags.ts";
import { examples } from "./help.ts";
import { decodesNothing } from "./method-choice.ts";
import { print, printJson, say } from "./output.ts";
import { isModulePath, loadMethod } from "./own-method.ts";
import { openShown } from "./progress.ts";
import { formatTable } from "./table.ts";
import { widthOf, wrap } from "./terminal.ts";

export function define(command: Command): void {
  command
    .argument("[name]", "a method or shaper, whose options are then shown; or a file with a method of your own")
    .option("-m, --model <name>", "list only methods that this model can run")
    .option("--json", "print a JSON list, each method with the JSON Schema of its options")
    .addHelpText("after", examples("ventris methods", "ventris methods dyspec", "ventris methods --model phaistos"))
    .action(async (name: string | undefined, { json, model }: { json?: true; model?: string }) => {
      if (name !== undefined) {
        ensure(model === undefined, "bad_option", "--model chooses among all methods: leave it out, or the name");
        const chosen = await find(name);
        if (json) printJson([toJson(chosen)]);
        else print(details(chosen, name));
        return;
      }
      const able = model === undefined ? undefined : await abilitiesOf(model);
      const listed = methods.filter(({ needs = ["forest"] }) => !able || needs.every((need) => able.has(need)));
      // Lists of methods alone have been read by programs since before there were shapers.
      if (json) printJson(listed.map(toJson));
      else if (able && listed.length === 0) say(decodesNothing({ name: model!, capabilities: able }));
      else print(overview(listed, able?.has("forest") === false ? [] : shapers));
    });
}

async function abilitiesOf(reference: string): Promise<ReadonlySet<Capability>> {
  await using model = await openShown(reference);
  return new Set(model.capabilities);
}

type Entry = Method | ShaperKind;

async function find(name: string): Promise<Entry> {
  return isModulePath(name) ? loadMethod(name) : findMethodOrShaper(name);
}

const isMethod = (entry: Entry): entry is Method => "decode" in entry;

const toJson = (entry: Entry): object => ({
  name: entry.name,
  family: isMethod(entry) ? entry.family : "shaper",
  ...(isMethod(entry) && {
    lossless: typeof entry.lossless === "function" ? "depends on the options" : entry.lossless,
  }),
  summary: entry.summary,
  ...(entry.source !== undefined && { source: entry.source }),
  options: z.toJSONSchema(entry.options, { io: "input", unrepresentable: "any" }),
});

const losslessness = ({ lossless }: Method): string =>
  typeof lossless === "function" ? "by options" : lossless ? "yes" : "no";

function overview(methods: readonly Method[], shapers: readonly ShaperKind[]): string {
  const list = formatTable(
    ["method", "family", "lossless", "what it does"],
    methods.map((method) => [method.name, method.family, losslessness(method), method.summary]),
  );
  const others = formatTable(
    ["shaper", "what it does"],
    shapers.map(({ name, summary }) => [name, summary]),
  );
  const closing = "Lossless: the output is that of plain decoding. ventris methods NAME lists the options.";
  return [list, ...(shapers.length > 0 ? ["", others] : []), "", lines(closing)].join("\n");
}

const lines = (text: string): string => wrap(text, widthOf(process.stdout)).join("\n");

/** `name`: what it is called by: a method of a file by its file. */
function details(entry: Entry, name: string): string {
  const options = Object.entries<z.ZodType>(entry.options.shape);
  const table = formatTable(
    ["option", "value", "meaning"],
    options.map(([name, schema]) => [name, placeholder(schema), describeOption(schema)]),
  );
  const [first] = options.map(([name]) => name);
  const use = isMethod(entry)
    ? `ventris run --method ${name}${first ? ` --set ${first}=…` : ""} "…"`
    : `ventris run --shaper "${entry.name}${first ? ` ${first}=…` : ""}" "…"`;
  return [
    lines(`${entry.name}: ${entry.summary}`),
    ...(entry.source === undefined ? [] : [lines(`source: ${entry.source}`)]),
    isMethod(entry)
      ? `family: ${entry.family} · lossless: ${losslessness(entry)}`
      : "a shaper: it works inside every method",
    "",
    options.length === 0 ? "It has no options." : table,
    "",
    use,
  ].join("\n");
}
