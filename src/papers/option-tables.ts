/** Tables of the options of a method or shaper for its README, made of its schema. */
import type { Method, ShaperKind } from "../engine/method.ts";
import { type Described, describeSchema, rangeOf } from "./option-types.ts";

/** The mark of a method's table, wherever a README has it. */
export const optionsMark = (method: string): string => `options of ${method}`;

/** One row an option: values, default, meaning. */
export function optionsTable({ options }: Pick<Method | ShaperKind, "options">): string {
  const { properties = {}, required = [] } = describeSchema(options);
  const rows = Object.entries(properties).map(([name, field]) => {
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
