/** What an answer must be, as OpenAI's fields say it: `response_format`, tools and the choice among them. */
import { z } from "zod";
import type { ConstraintChoice } from "../../constraints/index.ts";
import { shown } from "../../errors.ts";
import { isObject } from "../../json.ts";
import { meantBy, suggestion } from "../../names.ts";
import type { Tool, ToolRules } from "../../tool-calls.ts";
import { RequestError } from "../errors.ts";

const schema = z.union([z.record(z.string(), z.json()), z.boolean()]);
const name = z.string().regex(/^[\w-]{1,64}$/, "1 to 64 letters, digits, _ and -");
const named = { name, description: z.string().max(10_000).optional(), schema, strict: z.boolean().nullish() };

/** Of chats; `strict` or not, an answer is held to its schema. */
export const responseFormat = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({ type: z.literal("json_schema"), json_schema: z.strictObject(named) }),
]);

/** Of responses, where the schema stands beside the type. */
export const textFormat = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({ type: z.literal("json_schema"), ...named }),
]);

const toolChoices = ["none", "auto", "required"] as const;
/** What others say as the type of an object is a text here. */
function otherChoice({ input }: { input?: unknown }): string | undefined {
  const type = isObject(input) ? input.type : undefined;
  const meant = typeof type === "string" && type !== "function" ? meantBy(type, toolChoices) : undefined;
  return meant && `must be the text ${shown(meant)}`;
}

export const toolFields = {
  tools: z
    .array(
      z.strictObject({
        type: z.literal("function"),
        function: z.strictObject({
          name,
          description: z.string().max(10_000).optional(),
          parameters: z.record(z.string(), z.json()).optional(),
          strict: z.boolean().nullish(),
        }),
      }),
    )
    .min(1)
    .max(128)
    .optional(),
  tool_choice: z
    .union([z.enum(toolChoices), z.strictObject({ type: z.literal("function"), function: z.strictObject({ name }) })], {
      error: otherChoice,
    })
    .optional(),
  /** An answer is one call at most, which both values permit. */
  parallel_tool_calls: z.boolean().optional(),
};

type Format = z.output<typeof responseFormat> | z.output<typeof textFormat>;

export function constraintOf(format: Format | undefined): ConstraintChoice | undefined {
  if (format === undefined || format.type === "text") return undefined;
  if (format.type === "json_object") return { jsonSchema: { type: "object" } };
  return { jsonSchema: "json_schema" in format ? format.json_schema.schema : format.schema };
}

interface ToolFields {
  readonly tools?: z.output<typeof toolFields.tools>;
  readonly tool_choice?: z.output<typeof toolFields.tool_choice>;
  readonly parallel_tool_calls?: boolean;
}

/** The tools that the model is told of, and the rules that its answer obeys; undefined without tools. Errors: `bad_option`. */
export function readTools(fields: ToolFields): ToolRules | undefined {
  const { tools: given, tool_choice: choice, parallel_tool_calls: parallel } = fields;
  if (!given) {
    const idle =
      choice !== undefined && choice !== "none"
        ? "tool_choice"
        : parallel !== undefined
          ? "parallel_tool_calls"
          : undefined;
    if (idle) throw new RequestError("bad_option", `${idle} is about tools, and none are given`, { param: idle });
    return undefined;
  }
  const tools = given.map(({ function: { strict: _, ...tool } }): Tool => tool);
  const twice = tools.find((tool, i) => tools.findIndex((other) => other.name === tool.name) < i);
  if (twice) throw new RequestError("bad_option", `tools: two are called ${twice.name}`, { param: "tools" });
  const rules = { tools, field: "function.parameters" } as const;
  if (typeof choice !== "object") return { ...rules, mode: choice ?? "auto" };
  const chosen = choice.function.name;
  const names = tools.map((tool) => tool.name);
  if (!names.includes(chosen))
    throw new RequestError("bad_option", `tool_choice: there is no tool ${chosen}${suggestion(chosen, names)}`, {
      param: "tool_choice",
    });
  return { ...rules, mode: "required", chosen };
}
