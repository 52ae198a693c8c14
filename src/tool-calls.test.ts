import { describe, expect, it } from "vitest";
import { createVocabulary, hasBit, pushAll, tryTokens } from "./constraints/index.ts";
import { VentrisError } from "./errors.ts";
import type { ChatMessage } from "./text/tokenizer.ts";
import { chatTokens, createCallReader, toolConstraint } from "./tool-calls.ts";

const tree = {
  $schema: "http://json-schema.org/draft-07/schema#",
  type: "object",
  properties: { children: { type: "array", items: { $ref: "#" }, maxItems: 2 }, $ref: { const: "#/not/a/reference" } },
  additionalProperties: false,
};
const tools = [
  { name: "plant", parameters: tree },
  {
    name: "count",
    parameters: {
      type: "object",
      properties: { n: { $ref: "#/$defs/n" } },
      required: ["n"],
      $defs: { n: { enum: [1, 2] } },
    },
  },
  { name: "clock" },
];
const field = "function.parameters";
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const accepts = (mode: "auto" | "required", text: string): boolean =>
  pushAll(toolConstraint({ tools, field, mode })!.start, bytes(text))?.complete ?? false;

describe("the constraint", () => {
  it.each([
    ['{"name": "clock", "arguments": {}}', true],
    ['{"name": "clock", "arguments": {"zone": 1}}', false],
    ['{"name": "count", "arguments": {"n": 2}}', true],
    ['{"name": "count", "arguments": {"n": 3}}', false],
    ['{"name": "plant", "arguments": {"children": [{"children": []}, {}]}}', true],
    ['{"name": "plant", "arguments": {"children": [{"child": 1}]}}', false],
    ['{"name": "plant", "arguments": {"$ref": "#/not/a/reference"}}', true],
    ['{"name": "plant", "arguments": {"n": 1}}', false],
    ['{"name": "fell", "arguments": {}}', false],
    ['{"name": "clock"}', false],
  ])("keeps every tool's own references: %s is %s", (text, holds) => {
    expect(accepts("required", text)).toBe(holds);
    expect(accepts("auto", text)).toBe(holds);
  });

  it("takes the tag that many models write around a call", () => {
    const call = '\n{"name": "count", "arguments": {"n": 1}}\n';
    expect(accepts("auto", `<tool_call>${call}</tool_call>`)).toBe(true);
    for (const text of [
      `<tool_call>${call}`,
      `<tool_call>${call}</tool_call> `,
      "<tool_call>noon</tool_call>",
      '<tool_call>{"name": 1',
    ])
      expect(accepts("auto", text)).toBe(false);
  });

  it("lets text be text only where a call may be left out", () => {
    for (const text of ["It is noon.", " {", ""]) {
      expect(accepts("auto", text)).toBe(true);
      expect(accepts("required", text)).toBe(false);
    }
    expect(accepts("auto", '{"name": "cl')).toBe(false);
    expect(accepts("auto", "<b>noon</b>")).toBe(true);
  });

  it("allows the very tokens that can be pushed", () => {
    const texts = [
      "",
      "{",
      '{"',
      "name",
      " ",
      "a{",
      '{"name": "clock"',
      "é",
      "}",
      '{"x',
      "<",
      "<tool_call>",
      "<tool_call>\n{",
      "</tool_call>",
      "}<",
      "}}</",
      "<t",
    ];
    const vocabulary = createVocabulary(texts.length, (id) => bytes(texts[id]));
    const { start } = toolConstraint({ tools, field, mode: "auto" })!;
    const places = [
      "",
      "a",
      "{",
      "<",
      "<tool_call>",
      '<tool_call>{"name": "clock", "arguments": {',
      '<tool_call>{"name": "clock", "arguments": {}}',
      '<tool_call>{"name": "clock", "arguments": {}}</tool',
    ];
    for (const place of places) {
      const state = pushAll(start, bytes(place))!;
      const allowed = state.allowed?.(vocabulary) ?? tryTokens(state, vocabulary);
      texts.forEach((text, id) => {
        const can = text !== "" && pushAll(state, bytes(text)) !== undefined;
        expect([place, text, hasBit(allowed, id)]).toEqual([place, text, can]);
      });
    }
  });

  it("refuses what it cannot enforce, by its name", () => {
    const bad = (parameters: object) => () =>
      toolConstraint({ tools: [{ name: "f", parameters }], field, mode: "auto" });
    expect(bad({ unevaluatedItems: false })).toThrow("unevaluatedItems");
    expect(bad({ $ref: "https://example.com/schema" })).toThrow("$ref");
    expect(bad({ $id: "https://example.com/schema" })).toThrow("$id");
    const two = [tools[0], { name: "g", parameters: { $schema: "https://json-schema.org/draft/2020-12/schema" } }];
    expect(() => toolConstraint({ tools: two, field, mode: "auto" })).toThrow("different drafts");
  });

  it.each([
    [
      { properties: { a: { type: "strng" } } },
      /^tools\[1\]\.function\.parameters: JSON schema #\/properties\/a: type: .*"strng"/,
    ],
    [
      { properties: { a: { $ref: "#/$defs/b" } } },
      /^tools\[1\]\.function\.parameters: JSON schema #\/properties\/a: \$ref "#\/\$defs\/b" leads nowhere/,
    ],
    [{ type: "object", required: ["a"], properties: { a: false } }, /^tools\[1\]\.function\.parameters: JSON schema #/],
    [{ type: "array" }, /^tools\[1\].*an object, and this schema allows none: its type is "array"$/],
    [{ type: ["array", "null"] }, /^tools\[1\].*its type is \["array","null"\]$/],
    [{ enum: [1, 2] }, /^tools\[1\].*an object, and this schema allows none$/],
  ])("refuses at its place, whatever is to be called: %o", (parameters, message) => {
    const given = [...tools.slice(1, 2), { name: "f", parameters }];
    for (const rules of [
      { mode: "none" },
      { mode: "auto" },
      { mode: "required" },
      { mode: "required", chosen: "count" },
      { mode: "required", chosen: "f" },
    ] as const)
      expect(() => toolConstraint({ tools: given, field, ...rules })).toThrow(message);
  });

  it("holds arguments to objects, and the call to the chosen tool", () => {
    const given = [{ name: "any", parameters: {} }, ...tools];
    const says = (text: string, chosen?: string): boolean =>
      pushAll(toolConstraint({ tools: given, field, mode: "required", chosen })!.start, bytes(text))?.complete ?? false;
    expect(says('{"name": "any", "arguments": {"a": [1]}}')).toBe(true);
    expect(says('{"name": "any", "arguments": [1]}')).toBe(false);
    expect(says('{"name": "clock", "arguments": {}}', "clock")).toBe(true);
    expect(says('{"name": "any", "arguments": {}}', "clock")).toBe(false);
    expect(toolConstraint({ tools, field, mode: "none" })).toBeUndefined();
  });
});

describe("the reader", () => {
  const read = (mode: "auto" | "required" | undefined, pieces: readonly string[]) => {
    const reader = createCallReader(mode);
    return { texts: pieces.map((piece) => reader.push(piece)), end: reader.end() };
  };

  it("tells calls from text in whatever pieces they come", () => {
    const call = { name: "count", arguments: { n: 1 } };
    const pieces = ["", "{", '"name": "count", "argu', 'ments": {"n": 1}}'];
    const held = pieces.map(() => undefined);
    expect(read("auto", pieces)).toEqual({ texts: held, end: { call } });
    expect(read("auto", ["<tool", "_call>\n", ...pieces, "\n</tool_call>"]).end).toEqual({ call });
    expect(read("required", ["\n", ...pieces]).end).toEqual({ call });
    expect(read("auto", ["", "No", ", {"])).toEqual({ texts: [undefined, "No", ", {"], end: {} });
    expect(read(undefined, ["{", "}"])).toEqual({ texts: ["{", "}"], end: {} });
    expect(read("auto", ["<", "b"]).texts).toEqual([undefined, "<b"]);
  });

  it("gives back text that only might have become a call, and no half of a call", () => {
    expect(read("auto", ["<tool"]).end).toEqual({ text: "<tool" });
    expect(read("auto", ["{", '"name": "cl']).end).toEqual({});
    expect(read("auto", ['<tool_call>{"name": "clock", "arguments": {}}']).end).toEqual({});
    expect(read("required", ['{"name"']).end).toEqual({});
  });
});

describe("a template that knows no tools", () => {
  const written: ChatMessage[][] = [];
  const encodeChat = (messages: readonly ChatMessage[], options?: { tools?: readonly unknown[] }): number[] => {
    if (options?.tools || messages.some((message) => message.tool_calls))
      throw new VentrisError("bad_option", "not written");
    written.push([...messages]);
    return [1];
  };
  const call = { function: { name: "count", arguments: '{"n": 1}' } };

  it("gets them in words: descriptions in the system message, calls as JSON", () => {
    const user = { role: "user", content: "How many?" };
    chatTokens(
      { encodeChat },
      [{ role: "system", content: "Be brief." }, user, { role: "assistant", content: null, tool_calls: [call] }],
      tools,
    );
    const [system, , assistant] = written.at(-1)!;
    expect(system.content).toMatch(/^Be brief\.\n\n.*"name":"clock"/s);
    expect(assistant).toEqual({ role: "assistant", content: '{"name": "count", "arguments": {"n": 1}}' });
    chatTokens({ encodeChat }, [user], tools);
    expect(written.at(-1)![0]).toMatchObject({ role: "system" });
  });

  it("is not asked twice where there are none", () => {
    expect(chatTokens({ encodeChat: () => [7] }, [{ role: "user", content: "a" }])).toEqual([7]);
    expect(() => chatTokens({}, [{ role: "user", content: "a" }])).toThrow("no chat template");
  });
});
