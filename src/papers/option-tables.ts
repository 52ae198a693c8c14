/** Tables of the options of methods and shapers for their READMEs, made of their schemas. */
import type { Method, ShaperKind } from "../engine/method.ts";
import { type Described, describeSchema, rangeOf } from "./option-types.ts";

/** The mark of a method's table, wherever a README has it. */
export const optionsMark = (method: string): string => `options of ${method}`;

/** Families whose methods share so many options that these have a table of their own. */
const together: readonly Method["family"][] = ["diffusion"];

/** The tables by their marks: one for each method, shaper and filter of signals with options, and one for what a family shares. */
export function optionTables(
  methods: readonly Method[],
  shapers: readonly ShaperKind[],
  filters: readonly Pick<Method, "name" | "options">[],
): Map<string, string> {
  const tables = new Map<string, string>();
  const add = (name: string, table: string) => tables.set(optionsMark(name), table);
  const alone = [...methods.filter(({ family }) => !together.includes(family)), ...shapers, ...filters];
  for (const entry of alone) if (Object.keys(entry.options.shape).length > 0) add(entry.name, optionsTable(entry));
  for (const family of together) {
    const members = methods.filter((method) => method.family === family);
    const shared = sharedOptions(members);
    add(
      `all ${family} methods`,
      optionsTable(members[0], (name) => shared.has(name)),
    );
    for (const member of members)
      add(
        member.name,
        optionsTable(member, (name) => !shared.has(name)),
      );
  }
  return tables;
}

/** Names of the options that are the same in all of them. */
function sharedOptions(members: readonly Pick<Method, "options">[]): Set<string> {
  const [first, ...others] = members.map(({ options }) => describeSchema(options).properties ?? {});
  const said = (field: Described | undefined) => JSON.stringify(field);
  return new Set(Object.keys(first).filter((name) => others.every((one) => said(one[name]) === said(first[name]))));
}

/** One row an option: values, default, meaning. */
export function optionsTable(
  { options }: Pick<Method | ShaperKind, "options">,
  shows: (option: string) => boolean = () => true,
): string {
  const { properties = {}, required = [] } = describeSchema(options);
  const shown = Object.entries(properties).filter(([name]) => shows(name));
  const rows = shown.map(([name, field]) => {
    const { description = "", default: usual, hostOnly } = field;
    const preset = required.includes(name) ? "required" : usual === undefined ? "" : `\`${plainly(usual)}\``;
    const meaning = [description, hostOnly && "the host's alone: refused in a server's requests"]
      .filter(Boolean)
      .join("; ");
    return [`\`${name}\``, values(field), preset, meaning];
  });
  return [["option", "values", "default", "meaning"], ["---", "---", "---", "---"], ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`)
    .join("\n");
}

const plainly = (value: unknown): string =>
  value === Number.MAX_SAFE_INTEGER ? "unlimited" : typeof value === "string" ? value : JSON.stringify(value);

/** In words: `race` or `published`; whole numbers from 1 to 64; lists of … */
function values(field: Described): string {
  const choices = field.const !== undefined ? [field.const] : field.enum;
  if (choices) return choices.map((one) => `\`${plainly(one)}\``).join(", ");
  if (field.anyOf) return [...new Set(field.anyOf.map(values))].join(", or ");
  const range = rangeOf(field).toLowerCase().replace(/\.$/, "");
  switch (field.type) {
    case "integer":
      return `whole number ${range}`.trim();
    case "number":
      return `number ${range}`.trim();
    case "string":
      return "text";
    case "boolean":
      return "true, false";
    case "array":
      return `list: ${field.items ? values(field.items) : "anything"}`;
    case "object":
      return field.properties ? `{ ${Object.keys(field.properties).join(", ")} }` : "object";
    default:
      return "–";
  }
}
