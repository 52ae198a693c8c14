/** Options of a tokenizer's calls, held to their kinds: a text counts as true, and nothing is more than NaN. */
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { isSaid } from "../wrong.fixture.ts";
import { createDetokenizer } from "./detokenizer.ts";
import { openTokenizer } from "./open-tokenizer.ts";
import type { ChatMessage, Tokenizer } from "./tokenizer.ts";

const phaistos = fileURLToPath(new URL("../../models/phaistos", import.meta.url));
let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await openTokenizer(phaistos);
});

const messages = [{ role: "user", content: "Hello" }];
const calls: Record<string, { call: (options: never) => unknown; flags: string[]; most?: true }> = {
  encode: { call: (options) => tokenizer.encode("a", options), flags: ["special", "allowSpecial"], most: true },
  decode: { call: (options) => tokenizer.decode([1, 2], options), flags: ["special", "continued"] },
  applyChatTemplate: {
    call: (options) => tokenizer.applyChatTemplate!(messages, options),
    flags: ["addGenerationPrompt"],
    most: true,
  },
  encodeChat: {
    call: (options) => tokenizer.encodeChat!(messages, options),
    flags: ["addGenerationPrompt"],
    most: true,
  },
  createDetokenizer: { call: (options) => createDetokenizer(tokenizer, options), flags: ["continued"] },
};

describe.each(Object.entries(calls))("%s", (name, { call, flags, most }) => {
  test.each(flags)("%s is true or false", (flag) => {
    for (const given of ["no", null, 0, {}])
      expect(() => call({ [flag]: given } as never)).toThrow(
        isSaid("bad_option", new RegExp(`^${name}: ${flag} must be true or false, not `)),
      );
    expect(() => call({ [flag]: undefined } as never)).not.toThrow();
  });

  if (most)
    test("most is a whole number", () => {
      for (const given of [{}, Number.NaN, -1, 1.5, "9", null])
        expect(() => call({ most: given } as never)).toThrow(
          isSaid("bad_option", new RegExp(`^${name}: most must be a whole number from 0 on, not `)),
        );
      expect(() => call({ most: 1000 } as never)).not.toThrow();
    });

  test("there is no other", () => {
    expect(() => call({ sepcial: true } as never)).toThrow(isSaid("bad_option", /there is no option "sepcial"/));
  });
});

test("tools are a list", () => {
  const given = { tools: 5 } as never;
  for (const call of [
    () => tokenizer.encodeChat!(messages, given),
    () => tokenizer.applyChatTemplate!(messages, given),
  ])
    expect(call).toThrow(isSaid("bad_option", /: tools must be a list, not 5$/));
});

test("ids that are left out of a list are no ids", () => {
  expect(() => tokenizer.decode(new Array(2))).toThrow(isSaid("bad_option", /^token id undefined is outside/));
});

test.each<[object, RegExp]>([
  [{ outputs: -1 }, /^openTokenizer: outputs must be a whole number from 1 on, not -1$/],
  [{ outputs: Number.NaN }, /outputs must be a whole number from 1 on, not NaN$/],
  [{ outputs: "9" }, /outputs must be a whole number from 1 on, not "9"$/],
  [{ metadata: 5 }, /^openTokenizer: metadata must be an object, not 5$/],
  [{ output: 5 }, /there is no option "output"; did you mean "outputs"\?/],
])("openTokenizer with %o", async (options, message) => {
  await expect(openTokenizer(phaistos, options as never)).rejects.toThrow(isSaid("bad_option", message));
});

test("a gap between messages is no message", () => {
  const messages: ChatMessage[] = [{ role: "user", content: "Hi" }];
  messages[2] = messages[0];
  const said = isSaid("bad_option", /: messages\[1\] must be a message, such as .*, not undefined$/);
  expect(() => tokenizer.encodeChat!(messages)).toThrow(said);
  expect(() => tokenizer.applyChatTemplate!(messages)).toThrow(said);
});

test.each<[unknown, RegExp]>([
  [{ role: "user", content: 5 }, /^messages\[0\]\.content must be text, a list of parts, or null, not 5$/],
  [{ role: "user" }, /^messages\[0\]\.content is missing, and there is nothing else to say$/],
  [{ role: "user", content: null }, /content is null, and there is nothing else to say$/],
  [{ role: "user", content: ["a"] }, /^messages\[0\]\.content\[0\] is no part: it has no type$/],
  [{ role: "user", content: [{ type: "text" }] }, /is of type text and has no text$/],
  [{ role: "", content: "a" }, /^messages\[0\]\.role is empty/],
  [{ role: "user", content: "a", toolCallId: "x" }, /toolCallId is given; .*; did you mean "tool_call_id"\?$/],
  [{ role: "user", content: "a", toolCallId: undefined }, /has no field "toolCallId"; did you mean "tool_call_id"\?$/],
  [{ role: "user", content: "a", nmae: "" }, /^messages\[0\] has no field "nmae"; did you mean "name"\?$/],
  [{ role: "user", content: "a", nmae: "x" }, /nmae is given; .*; did you mean "name"\?$/],
  [{ role: "user", content: [{ type: "input_text", text: "a" }] }, /"input_text"; .*; did you mean "text"\?$/],
  [{ role: "user", content: [{ type: "imageurl" }] }, /"imageurl"; .*; did you mean "image_url"\?$/],
  [{ role: "user", content: [{ type: "input_image" }] }, /"input_image"; .*; did you mean "image"\?$/],
])("the message %o", (message, said) => {
  const given = [message as ChatMessage];
  expect(() => tokenizer.encodeChat!(given)).toThrow(isSaid("bad_option", said));
  expect(() => tokenizer.applyChatTemplate!(given)).toThrow(isSaid("bad_option", said));
});

test("fields of other programs' messages that say nothing are no slips", () => {
  const theirs = { refusal: null, annotations: [], audio: null, function_call: null, reasoning_content: "" };
  expect(() => tokenizer.encodeChat!([{ role: "assistant", content: "a", ...theirs }])).not.toThrow();
});
