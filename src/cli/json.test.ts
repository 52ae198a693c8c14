import { expect, test } from "vitest";
import { parseJson } from "../json.ts";
import { readTypedJson } from "./json.ts";
import { readMethods } from "./method-choice.ts";

/** Why it fails. */
const told = (read: () => unknown): string => {
  try {
    read();
  } catch (error) {
    return (error as Error).message;
  }
  return "";
};

test("what is no JSON is told by where it goes wrong, in words of ours", () => {
  const typed = (text: string): string => told(() => readTypedJson(text, "--x"));
  const says = (fault: string) =>
    `--x: its JSON cannot be read: ${fault}; names and texts stand in double quotes, as in {"tau":3}`;
  expect(typed("[greedy")).toBe(says('"g" cannot stand where it does'));
  expect(typed('["a",\n "b" "c"]')).toBe(says("it goes wrong at line 2, column 6"));
  expect(typed('["a')).toBe(says("it ends too early"));
  expect(typed('["a"')).toMatch(/it ends too early|it goes wrong at column 5/);
});

test("a file's JSON names the line once", () => {
  const read = (text: string): string => told(() => parseJson(text, "x.json"));
  expect(read('["a",\n "b" "c"]')).toBe("x.json, line 2: not valid JSON: it goes wrong at column 6");
  expect(read('["b" "c"]')).toBe("x.json: not valid JSON: it goes wrong at column 6");
});

test("the example of a list of methods is one", async () => {
  const message = await readMethods("[greedy").catch((error: Error) => error.message);
  const [, example] = /as in (.*)$/.exec(message as string)!;
  expect((await readMethods(example)).map(({ method }) => method.name)).toEqual(["greedy", "prompt-lookup"]);
});
