import { expect, test } from "vitest";
import { requestOptions } from "../engine/decoding.ts";
import { parseValue } from "./flags.ts";

test("a name that an option's JSON does not know has its nearest", () => {
  const wrong: [keyof typeof requestOptions.shape, string, string][] = [
    ["xtc", '{"probability":1,"treshold":0.1}', "threshold"],
    ["mirostat", '{"tua":1}', "tau"],
    ["dry", '{"multiplyer":1}', "multiplier"],
  ];
  for (const [name, text, meant] of wrong)
    expect(() => parseValue(requestOptions.shape[name], `--${name}`, text)).toThrow(`did you mean "${meant}"?`);
});
