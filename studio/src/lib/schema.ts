/** A form from a JSON Schema: what kind of field an option is, and what is wrong with what was typed. */
import type { JsonSchema } from "./api.ts";

export interface Field {
  readonly name: string;
  readonly schema: JsonSchema;
  readonly kind: "number" | "boolean" | "choice" | "text" | "json";
  readonly integer: boolean;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly choices: readonly string[];
  readonly required: boolean;
}

/** Bounds beyond these are the language's, and no help to a reader. */
const unbounded = 1e12;

export function fieldsOf({ properties = {}, required = [] }: JsonSchema): Field[] {
  return Object.entries(properties).map(([name, schema]) => {
    const { type, enum: choices } = schema;
    const number = type === "number" || type === "integer";
    const bound = (value: number | undefined): number | undefined =>
      value === undefined || Math.abs(value) >= unbounded ? undefined : value;
    return {
      name,
      schema,
      kind: choices
        ? "choice"
        : number
          ? "number"
          : type === "boolean"
            ? "boolean"
            : type === "string"
              ? "text"
              : "json",
      integer: type === "integer",
      minimum: bound(schema.minimum ?? schema.exclusiveMinimum),
      maximum: bound(schema.maximum ?? schema.exclusiveMaximum),
      choices: (choices ?? []).map(String),
      required: required.includes(name) && schema.default === undefined,
    };
  });
}

/** The range for readers: "0 to 1", "at least 1". */
export function rangeOf({ kind, minimum, maximum }: Field): string {
  if (kind !== "number") return "";
  if (minimum !== undefined && maximum !== undefined) return `${minimum} to ${maximum}`;
  return minimum !== undefined ? `at least ${minimum}` : maximum !== undefined ? `at most ${maximum}` : "";
}

/** What a field's text means; `undefined` where it was left empty, so that the default applies. */
export function readField(field: Field, text: string): { value?: unknown; problem?: string } {
  const trimmed = text.trim();
  if (trimmed === "") return field.required ? { problem: "needed" } : {};
  const { schema, integer } = field;
  if (field.kind === "number") {
    const value = Number(trimmed);
    if (!Number.isFinite(value)) return { problem: "not a number" };
    if (integer && !Number.isInteger(value)) return { problem: "a whole number" };
    const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
    if (minimum !== undefined && value < minimum) return { problem: `at least ${minimum}` };
    if (maximum !== undefined && value > maximum) return { problem: `at most ${maximum}` };
    if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) return { problem: `above ${exclusiveMinimum}` };
    if (exclusiveMaximum !== undefined && value >= exclusiveMaximum) return { problem: `below ${exclusiveMaximum}` };
    return { value };
  }
  if (field.kind === "boolean") return { value: trimmed === "true" };
  if (field.kind === "choice")
    return field.choices.includes(trimmed) ? { value: trimmed } : { problem: `one of ${field.choices.join(", ")}` };
  if (field.kind === "text") return { value: text };
  const list = schema.type === "array" ? `[${trimmed}]` : trimmed;
  for (const candidate of [trimmed, list]) {
    try {
      const value = JSON.parse(candidate);
      if (schema.type === "array" && !Array.isArray(value)) continue;
      return { value };
    } catch {
      // the next reading
    }
  }
  if (schema.type === "array" && schema.items?.type === "string")
    return { value: trimmed.split(",").map((one) => one.trim()) };
  if (schema.anyOf?.some(({ type }) => type === "string")) return { value: trimmed };
  return { problem: schema.type === "array" ? "values between commas" : "JSON" };
}
