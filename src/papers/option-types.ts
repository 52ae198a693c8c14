/** The text of `src/options.ts`: options of requests and methods as interfaces with docstrings, made of their schemas. */
import { z } from "zod";
import type { Method, ShaperKind } from "../engine/method.ts";
import { presetNames } from "../engine/shapers/options.ts";
import { type Range, rangeWords } from "../forms.ts";

/** What JSON Schema says of one option. */
export interface Described extends Range {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Described[];
  items?: Described;
  properties?: Record<string, Described>;
  additionalProperties?: Described | boolean;
  required?: string[];
  hostOnly?: boolean;
  /** Values that may be copied, for options whose form is not obvious. */
  examples?: unknown[];
}

export const describeSchema = (schema: z.ZodType): Described =>
  z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as unknown as Described;

/** Fields whose types are functions or values that JSON cannot say; their TypeScript types are given by hand. */
const byHand: Readonly<Record<string, string>> = {
  stop: "string | readonly string[]",
  edits: "readonly (ReadyEdit | AppliedEdit | Edit)[]",
  constraint: "ConstraintChoice",
  reward: '"arithmetic" | Reward',
  order: `${presetNames.map((name) => JSON.stringify(name)).join(" | ")} | readonly StageName[]`,
};

/** Errors: none; names that two entries share would give two interfaces of one name, which does not compile. */
export function renderOptionTypes(
  request: z.ZodObject,
  methods: readonly Method[],
  shapers: readonly ShaperKind[],
): string {
  const own = [...methods, ...shapers].filter(hasOptions);
  return `/**
 * Options of requests and of every method. Made of their schemas by \`node scripts/option-types.mjs\`: change those, not this.
 */
import type { ConstraintChoice } from "./constraints/index.ts";
import type { StageName } from "./engine/shapers/options.ts";
import type { ReadyEdit } from "./engine/sites/ready.ts";
import type { AppliedEdit } from "./engine/sites/rows.ts";
import type { Reward } from "./methods/search/rewards.ts";
import type { Edit } from "./models/edits.ts";

/** What every request takes, whatever its method. */
export interface RequestOptions ${interfaceBody(describeSchema(request), 0)}
${own
  .map(
    ({ name, summary, options }) =>
      `\n/** Options of \`${name}\`: ${summary}. */\nexport interface ${interfaceName(name)} ${interfaceBody(describeSchema(options), 0)}\n`,
  )
  .join("")}
${choiceTypes(methods, "Method", "method")}
${choiceTypes(shapers, "Shaper", "shaper")}`;
}

const hasOptions = ({ options }: Method | ShaperKind): boolean => Object.keys(options.shape).length > 0;

/** The union of names, and that of objects with a name and its options. */
function choiceTypes(entries: readonly (Method | ShaperKind)[], type: string, word: string): string {
  const own = entries.filter(hasOptions);
  const plain = entries.filter((entry) => !hasOptions(entry));
  return `/** Names of the ${word}s. */
export type ${type}Name = ${entries.map(({ name }) => JSON.stringify(name)).join(" | ") || "never"};

/** A ${word} with its options beside its name. */
export type ${type}WithOptions =
${
  [
    ...own.map(({ name }) => `  | ({ name: ${JSON.stringify(name)} } & ${interfaceName(name)})`),
    ...plain.map(({ name }) => `  | { name: ${JSON.stringify(name)} }`),
  ].join("\n") || "  never"
};
`;
}

export const interfaceName = (name: string): string =>
  `${name.replace(/(^|-)(\w)/g, (_, _dash: string, letter: string) => letter.toUpperCase())}Options`;

function interfaceBody({ properties = {}, required = [] }: Described, depth: number): string {
  const indent = "  ".repeat(depth + 1);
  const fields = Object.entries(properties).map(([name, field]) => {
    const type = (depth === 0 && byHand[name]) || typeOf(field, depth + 1);
    const needed = required.includes(name);
    const words = docstring(field, needed);
    const mark = needed ? "" : "?";
    return `${words ? `${indent}/** ${words} */\n` : ""}${indent}${name}${mark}: ${type};`;
  });
  return fields.length === 0 ? "{}" : `{\n${fields.join("\n")}\n${"  ".repeat(depth)}}`;
}

/** Words that say what happens without an option that has no default value. */
const saysWithout = /\bdefault\b|\bpublished\b|without it|\bneeded\b|instead of/i;

/** Effect, range and default, as sentences. */
export function docstring(field: Described, needed = false): string {
  const { description, hostOnly } = field;
  const sentences = [
    description && sentence(description),
    rangeOf(field),
    field.default !== undefined && !/default/i.test(description ?? "") && `Default ${JSON.stringify(field.default)}.`,
    field.default === undefined && !needed && !saysWithout.test(description ?? "") && "Default: none.",
    hostOnly && "Of the host alone: a server refuses it in requests.",
  ];
  return sentences.filter(Boolean).join(" ").replaceAll("*/", "*\\/");
}

/** A description as a sentence: its first letter large, a stop at its end. */
export const sentence = (text: string): string =>
  `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** `From 0 to 1.`; empty where there is none. */
export function rangeOf(range: Range): string {
  const words = rangeWords(range);
  return words && sentence(words);
}

function typeOf(field: Described, depth: number): string {
  // An infinite number has no constant in JSON: it is a number here.
  if (field.const === null && field.type === "number") return "number";
  if (field.const !== undefined) return JSON.stringify(field.const);
  if (field.enum) return field.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (field.anyOf) return [...new Set(field.anyOf.map((one) => typeOf(one, depth)))].join(" | ");
  switch (field.type) {
    case "integer":
    case "number":
      return "number";
    case "string":
      return "string";
    case "boolean":
      return "boolean";
    case "array": {
      const item = field.items ? typeOf(field.items, depth) : "unknown";
      return `readonly ${/[|&]/.test(item) ? `(${item})` : item}[]`;
    }
    case "object":
      // An object that may hold more: what is known of it, and anything beside.
      if (field.properties && typeof field.additionalProperties === "object")
        return `${interfaceBody(field, depth)} & Readonly<Record<string, unknown>>`;
      if (field.properties) return interfaceBody(field, depth);
      return `Readonly<Record<string, ${typeof field.additionalProperties === "object" ? typeOf(field.additionalProperties, depth) : "unknown"}>>`;
    default:
      return "unknown";
  }
}
