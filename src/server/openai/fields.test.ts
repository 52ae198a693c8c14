import { expect, it } from "vitest";
import { z } from "zod";
import { OptionError } from "../errors.ts";
import { readDecoding, readFields, samplingFields, textsField } from "./fields.ts";
import { readTools, responseFormat, toolFields } from "./format.ts";

const fields = z.strictObject({ ...samplingFields, prompt: textsField(z.string().max(100), 128) });
const read = (body: object) => readFields(fields, { model: "m", prompt: "a", ...body });

it.each([["a"], [[1, 2]], [["a", "b"]], [[[1], [2, 3]]]])("takes the prompt %j", (prompt) =>
  expect(read({ prompt }).prompt).toEqual(prompt),
);

it.each<[object, string, string]>([
  [{ prompt: 5 }, "prompt", "prompt must be a text, not 5"],
  [{ prompt: null }, "prompt", "prompt is missing: it must be a text"],
  [{ prompt: [] }, "prompt", "prompt must have at least 1 entry"],
  [{ prompt: [1, -1, 2.5] }, "prompt[1]", "prompt[1] must be at least 0, not -1"],
  [{ prompt: ["a", 3] }, "prompt[1]", "prompt[1] must be a text, not 3"],
  [{ prompt: [[1], ["x"]] }, "prompt[1][0]", 'prompt[1][0] must be a number, not "x"'],
  [{ prompt: Array(200).fill("a") }, "prompt", "prompt must have at most 128 entries"],
  [{ stop: [1] }, "stop[0]", "stop[0] must be a text, not 1"],
  [{ stop: Array(10_000).fill("x") }, "stop", "stop must have at most 64 entries"],
  [{ stop: 5 }, "stop", "stop must be a text or a list of texts, not 5"],
  [{ temperature: Infinity }, "temperature", "temperature must be a number from 0 to 1000, not Infinity"],
  [{ stream: "yes" }, "stream", 'stream must be true or false, not "yes"'],
])("says of %j what it must be, and once", (body, param, message) => {
  expect(() => read(body)).toThrow(expect.objectContaining({ param, message }));
});

it("is not held up by long lists of wrong values", () => {
  const began = process.cpuUsage();
  for (const prompt of [Array(300_000).fill(-1), Array(300_000).fill("a"), [Array(300_000).fill("x")]])
    expect(() => read({ prompt })).toThrow(/^prompt/);
  expect(() => read({ stop: Array(300_000).fill(1) })).toThrow(/more like these|at most 64/);
  const { user, system } = process.cpuUsage(began);
  expect((user + system) / 1e6).toBeLessThan(3);
});

const chat = z.strictObject({ ...samplingFields, ...toolFields, response_format: responseFormat.optional() });
const format = (response_format: unknown) => () => readFields(chat, { model: "m", response_format });
const choice = (tool_choice: unknown) => () => readFields(chat, { model: "m", tools: [lookup], tool_choice });
it.each<[object, string]>([
  [{ tool_choice: { type: "function", function: {} } }, "tool_choice.function.name"],
  [{ tool_choice: { type: "tool", name: "x" } }, "tool_choice.name"],
  [{ tool_choice: "any" }, "tool_choice"],
  [{ temperature: "x", temprature: 1 }, "temprature"],
  [{ stream_options: { usage: true } }, "stream_options.usage"],
  [
    { response_format: { type: "json_schema", json_schema: { nme: "a", schema: {} } } },
    "response_format.json_schema.nme",
  ],
])("blames in %j the field that the message names: %s", (body, param) => {
  expect(() => readFields(chat, { model: "m", ...body })).toThrow(expect.objectContaining({ param }));
});
const lookup = { type: "function" as const, function: { name: "look_up" } };
it.each<[string, () => unknown, RegExp]>([
  ["a form's first word", format({ type: "json" }), /not "json"; did you mean "json_object"\?$/],
  ["a form's name", format({ type: "jsonschema" }), /; did you mean "json_schema"\?$/],
  ["a form's field", format({ tpe: "text" }), /^response_format\.type must be .*; did you mean "type" for "tpe"\?$/],
  ["no form", format({}), /^response_format\.type must be "text", "json_object" or "json_schema"$/],
  [
    "a tool",
    () => readTools({ tools: [lookup], tool_choice: { type: "function", function: { name: "lookup" } } }),
    /^tool_choice: there is no tool lookup; did you mean "look_up"\?$/,
  ],
  [
    "a choice that others call otherwise",
    choice("any"),
    /^tool_choice must be .*, not "any"; did you mean "required"\?$/,
  ],
  ["a choice with a slip", choice("nnoe"), /; did you mean "none"\?$/],
  [
    "a choice as others' object",
    choice({ type: "any" }),
    /^tool_choice must be the text "required", not \{"type":"any"\}$/,
  ],
  ["another", choice({ type: "auto" }), /^tool_choice must be the text "auto", not /],
  ["the method", () => readDecoding({ mthod: "greedy" }), /; did you mean "method"\?$/],
  ["the shapers", () => readDecoding({ shaper: ["dola"] }), /; did you mean "shapers"\?$/],
  ["a shaper", () => readDecoding({ shapers: "dola" }), /^decoding\.shapers: must be a list of names.*, not "dola"$/],
  [
    "a stage",
    () => readDecoding({ order: ["topk"] }),
    /^decoding\.order\[0\]: no stage is called "topk"; did you mean/,
  ],
])("names what was meant by %s", (_, call, message) => expect(call).toThrow(message));

it("of several wrong options none ends as a question and goes on", () => {
  const fields = ["a", "b"].map((option) => ({ where: "method" as const, option, message: 'no; did you mean "c"?' }));
  expect(new OptionError(fields).message).toBe('a: no; did you mean "c"? b: no; did you mean "c"?');
});
