import { Command } from "commander";
import { expect, test } from "vitest";
import { z } from "zod";
import { requestOptions } from "../engine/decoding.ts";
import { remoteOptions } from "../engine/remote/model.ts";
import { VentrisError } from "../errors.ts";
import { describeIssues } from "../issues.ts";
import { methods, shapers } from "../methods/index.ts";
import { filters } from "../methods/signals.ts";
import { describeOption, meantFlag, parseValue, placeholder } from "./flags.ts";

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
  expect(() => parseValue(stop, "--edits", '[{"site":"embed","set":NaN}]')).not.toThrow(); // a text may begin so
  expect(() => parseValue(requestOptions.shape.edits, "--edits", '[{"site":"embed","set":NaN}]')).toThrow(
    /^--edits: its JSON cannot be read: /,
  );
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
    [distances, "1,two", /^x\[1\] must be a whole number from 1, not "two"$/],
    [distances, '{"a":1}', /^x must be a list/],
  ];
  for (const [schema, text, message] of refused) expect(() => parseValue(schema, "x", text), text).toThrow(message);
});

test("an option of several kinds says all of them, with the nearest word, in its help and in errors", () => {
  const { order, penaltyWindow, mirostat, xtc } = requestOptions.shape;
  const refused: [z.ZodType, string, RegExp][] = [
    [
      order,
      "temperature,topk",
      /^x must be "hf", "llamacpp", "vllm" or a list of stages, .*; as a list: x\[1\]: .*"topK"\?/,
    ],
    [order, "hff", /^x must be "hf", "llamacpp", "vllm" or a list of stages, not "hff"; did you mean "hf"\?$/],
    [order, "topK,topK", /as a list: x: every stage may stand there only once$/],
    [penaltyWindow, "al", /^x must be a whole number from 1 or "all", not "al"; did you mean "all"\?$/],
    [penaltyWindow, "0", /^x must be a whole number from 1 or "all", not 0$/],
    [mirostat, '{"version":7}', /^x\.version must be 1 or 2, not 7$/],
    [xtc, "on", /^x must be of the form \{"probability":0\.5,"threshold":0\.1\}, not "on"$/],
  ];
  for (const [schema, text, message] of refused) expect(() => parseValue(schema, "x", text), text).toThrow(message);
  expect(describeOption(penaltyWindow)).toContain('A whole number from 1 or "all".');
  expect(describeOption(order)).toContain('"hf", "llamacpp", "vllm" or a list of stages.');
  expect(describeOption(mirostat)).toContain("(1 or 2, default 2)");
});

/** Every option that a command line can set, of whom, and its schema. */
const settable = [{ name: "run", options: requestOptions }, ...methods, ...shapers, ...filters].flatMap(
  ({ name, options }) =>
    Object.entries<z.ZodType>(options.shape).map(([option, schema]) => [name, option, schema] as const),
);

test.each(settable)(
  "%s, %s: whatever it is set to by mistake, the error names it and says what it must be",
  (_, option, schema) => {
    for (const nonsense of ["?;", "-1e9", "1.5", "1e9", "null", "{}", "[[]]", '{"lenght":1}', "1,?;"]) {
      let message = "";
      try {
        parseValue(schema, option, nonsense);
      } catch (error) {
        expect(error).toBeInstanceOf(VentrisError);
        message = (error as Error).message;
      }
      if (message === "") continue;
      expect(message, nonsense).toMatch(new RegExp(`^${option}\\b|^there is no option .* in ${option}\\b`));
      expect(message, nonsense).not.toMatch(/object|undefined|Invalid|expected|received|Too (big|small)/);
    }
  },
);

test("what is given as JSON has an example in its help", () => {
  const shapes = { ...requestOptions.shape, ...remoteOptions };
  for (const [name, schema] of Object.entries<z.ZodType>(shapes))
    if (placeholder(schema).includes("json") || schema.meta()?.examples)
      expect(describeOption(schema), name).toContain("Example: '");
  expect(describeOption(shapes.edits)).toContain("Each needs site and one of set, add, scale, clamp and project");
  expect(describeOption(shapes.edits)).toContain("Example: '");
});

test("a misspelt field is told once, and not as a missing one too", () => {
  const files = z.object({ data: z.array(z.strictObject({ path: z.string(), share: z.number() })) });
  const told = (value: unknown): string =>
    describeIssues(files.safeParse(value, { reportInput: true }).error!.issues, files);
  expect(told({ data: [{ pth: "a", share: 1 }] })).toBe('there is no option "pth" in data[0]; did you mean "path"?');
  expect(told({ data: [{ pth: "a" }] })).toBe(
    'there is no option "pth" in data[0]; did you mean "path"? data[0].share is missing: it must be a number',
  );
  expect(told({ data: [{ pth: "a", path: 3, share: 1 }] })).toContain("data[0].path must be a text, not 3");
});

test("a flag cut short is the one that it begins, before one that is as short", () => {
  const command = new Command()
    .option("--body <json>")
    .option("--bad-tokens <list>")
    .option("--top-k <k>")
    .option("--top-p <p>");
  expect(meantFlag("--bad", command)).toBe("; did you mean --bad-tokens?");
  expect(meantFlag("--bady", command)).toBe("; did you mean --body?");
  expect(meantFlag("--top-j", command)).toBe("; did you mean --top-k?");
  for (const flag of ["--top_k", "--topK", "--TopK"]) expect(meantFlag(flag, command)).toBe("; did you mean --top-k?");
  expect(meantFlag("--prompt", command)).toBe("");
  command.argument("[prompt...]");
  expect(meantFlag("--prompt", command)).toMatch(/^: the prompt stands by itself, in quotes, as in ventris run /);
  expect(meantFlag("--system", command)).toBe(": it is an option of ventris chat");
});

test("a list between commas may mix texts and numbers", () => {
  const lengths = z.array(z.union([z.literal("found"), z.int()]));
  expect(parseValue(lengths, "--fill-lengths", "3,found")).toEqual([3, "found"]);
  expect(parseValue(lengths, "--fill-lengths", "found")).toEqual(["found"]);
  expect(parseValue(z.array(z.string()), "--stop", "1,two")).toEqual(["1", "two"]);
  expect(() => parseValue(lengths, "--fill-lengths", "3,fund")).toThrow(/fund/);
});
