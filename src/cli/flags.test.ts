import { expect, test } from "vitest";
import { z } from "zod";
import { requestOptions } from "../engine/decoding.ts";
import { parseValue, placeholder } from "./flags.ts";

test("a name that an option's JSON does not know has its nearest", () => {
  const wrong: [keyof typeof requestOptions.shape, string, string][] = [
    ["xtc", '{"probability":1,"treshold":0.1}', "threshold"],
    ["mirostat", '{"tua":1}', "tau"],
    ["dry", '{"multiplyer":1}', "multiplier"],
  ];
  for (const [name, text, meant] of wrong)
    expect(() => parseValue(requestOptions.shape[name], `--${name}`, text)).toThrow(`did you mean "${meant}"?`);
});

test("a token can be banned as the help says, and what is no JSON is called so", () => {
  const { logitBias, stop } = requestOptions.shape;
  expect(parseValue(logitBias, "--logit-bias", '{"42":-Infinity, "7": 2}')).toEqual({ 42: -Infinity, 7: 2 });
  expect(parseValue(stop, "--stop", '["-Infinity", "\\"Infinity"]')).toEqual(["-Infinity", '"Infinity']);
  expect(() => parseValue(logitBias, "--logit-bias", '{"42":no}')).toThrow(/^--logit-bias: its JSON cannot be read: /);
});

test("an option that is given as JSON says so, though a function could stand there in a program", () => {
  expect(placeholder(requestOptions.shape.constraint)).toBe("json");
});

test("of a list it is said which entry is wrong, and a text that is no list is called so", () => {
  const what = z.array(z.enum(["entropy", "surplus"])).min(1);
  const distances = z.array(z.int().min(1)).min(1);
  expect(parseValue(what, "--what", "surplus")).toEqual(["surplus"]);
  expect(parseValue(distances, "--distances", "1,2")).toEqual([1, 2]);
  const refused: [z.ZodType, string, RegExp][] = [
    [what, "surplsu", /^x\[0\] .* not "surplsu"; did you mean "surplus"\?$/],
    [what, "entropy,no", /^x\[1\] .* not "no"$/],
    [distances, "0", /^x\[0\] must be at least 1, not 0$/],
    [distances, "1,two", /^x\[1\] must be a number, not "two"$/],
    [distances, '{"a":1}', /^x must be a list/],
  ];
  for (const [schema, text, message] of refused) expect(() => parseValue(schema, "x", text), text).toThrow(message);
});
