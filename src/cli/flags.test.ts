import { expect, test } from "vitest";
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
