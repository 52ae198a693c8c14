/** Constraints with the shipped pair: every method that follows plain decoding gives its very text under a constraint, and it is valid. */

import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { methodChoice } from "../src/calls.ts";
import { type ConstraintChoice, createConstraint, isValid, pushAll } from "../src/constraints/index.ts";
import { type MethodChoice, type Model, open } from "../src/index.ts";
import { ensureBuilt, root } from "./build.ts";

let model: Model;
beforeAll(async () => {
  model = await open("knossos", { threads: 1 });
});
afterAll(() => model?.close());

const jsonSchema = {
  type: "object",
  properties: {
    name: { type: "string", pattern: "^[A-Z][a-z]{1,8}$" },
    age: { type: "integer", minimum: 1, maximum: 99 },
    likes: { type: "array", items: { enum: ["cats", "dogs", "trees"] }, maxItems: 2, uniqueItems: true },
  },
  required: ["name", "age"],
  additionalProperties: false,
};
const constraints: Record<string, ConstraintChoice> = {
  schema: { jsonSchema },
  regex: { regex: "(The (cat|dog|king) (sat|ran)\\. ){2}End" },
  choices: { choices: ["yes", "no", "perhaps"] },
  function: (text) => (/[^a-z ]/.test(text) || text.length > 20 ? "never" : text.length > 8),
};
const methods: MethodChoice[] = [
  { name: "chain", length: 4 },
  { name: "prompt-lookup" },
  { name: "spec-infer" },
  { name: "sequoia", budget: 16 },
  { name: "dyspec", budget: 16 },
  { name: "top-k", budget: 16 },
  { name: "aded" },
];
const prompt = "Once upon a time there was a little dog. ";

describe.each(Object.entries(constraints))("%s", (_, constraint) => {
  const decode = (options: object) => model.decode(prompt, { maxTokens: 120, constraint, ...options }).final;

  test("plain sampling is valid, alone and in a batch", async () => {
    const alone = await decode({ seed: 3 });
    expect(alone.finish).toBe("end");
    expect(isValid(createConstraint(constraint), alone.text), alone.text).toBe(true);
    const batch = await Promise.all([3, 4, 5].map((seed) => decode({ seed })));
    expect(batch[0].text).toBe(alone.text);
    for (const { text, finish } of batch)
      expect(finish === "end" && isValid(createConstraint(constraint), text)).toBe(true);
  });

  test.each(methods.map((method) => [(method as { name: string }).name, method] as const))(
    "%s says what plain decoding says",
    async (_name, method) => {
      for (const options of [{ seed: 5, temperature: 0.9 }, { temperature: 0 }]) {
        const plain = await decode(options);
        expect((await decode({ ...options, method })).text).toBe(plain.text);
      }
    },
  );
});

/** Places of the output where one token alone was allowed, by trying all. */
function forcedByTrying(choice: ConstraintChoice, tokens: readonly number[]): number[] {
  const { tokenizer, config } = model;
  const bytes = Array.from({ length: config.vocabularySize }, (_, id) => tokenizer!.tokenBytes(id));
  let state = createConstraint(choice).start;
  return tokens.flatMap((token, i) => {
    const possible = bytes.filter((one) => one.length > 0 && pushAll(state, one)).length + (state.complete ? 1 : 0);
    state = pushAll(state, bytes[token])!;
    return possible === 1 ? [i] : [];
  });
}

test.each([{ name: "sample" }, { name: "dyspec", budget: 8 }] as MethodChoice[])(
  "the trace says where a constraint left no choice: %o",
  async (method) => {
    const constraint = { regex: "Q[0-9]{2}Z!(x|w)\\{[a-c]\\}" };
    const run = model.decode(prompt, { method, constraint, seed: 3, maxTokens: 40 });
    const forced: number[] = [];
    const tokens: number[] = [];
    for await (const event of run) {
      if (event.type !== "tokens") continue;
      forced.push(...(event.forced ?? []).map((at) => tokens.length + at));
      tokens.push(...event.tokens);
    }
    expect(forced).toEqual(forcedByTrying(constraint, tokens));
    expect(forced.length).toBeGreaterThan(1);
    expect(forced.length).toBeLessThan(tokens.length);
  },
);

test("awrs samples what a mask does under options that compare tokens", { timeout: 120_000 }, async () => {
  for (const shaping of [
    { topK: 3 },
    { topP: 0.5 },
    { minP: 0.3 },
    { typicalP: 0.5 },
    { temperature: 1.4, topP: 0.9 },
  ]) {
    for (let seed = 0; seed < 3; seed++) {
      const options = { constraint: { jsonSchema, whitespace: 0 }, maxTokens: 12, seed, ...shaping };
      const masked = await model.generate(prompt, options);
      expect((await model.generate(prompt, { ...options, method: "awrs" })).tokens).toEqual(masked.tokens);
      expect((await model.generate(prompt, { ...options, method: "smc" })).text).not.toBe("");
    }
  }
});

test("what is cut off is incomplete, whatever cut it", async () => {
  const constraint = { jsonSchema, whitespace: 0 };
  for (const method of ["sample", "awrs", "smc", "beam"] as const)
    expect((await model.decode(prompt, { method, constraint, maxTokens: 6 }).final).finish).toBe("incomplete");
  expect((await model.decode(prompt, { constraint, stop: ":" }).final).finish).toBe("incomplete");
  expect((await model.decode(prompt, { constraint: { regex: "[a-z ]*" }, maxTokens: 5 }).final).finish).not.toBe(
    "incomplete",
  );
});

test("a dead end is reported with the text that leads there", async () => {
  // Tight for texts, but this model has no token for every byte sequence a function may ask for.
  const constraint = (text: string) => (text === "" || text === "a" || text === "ab" ? false : ("never" as const));
  await expect(model.decode(prompt, { constraint }).final).rejects.toMatchObject({
    code: "constraint_dead_end",
    message: expect.stringContaining('"ab"'),
  });
  const banned = { constraint: { choices: ["yes"] }, minTokens: 5 };
  for (const method of ["sample", "awrs"] as const)
    await expect(model.decode(prompt, { ...banned, method }).final, method).rejects.toMatchObject({
      code: "constraint_dead_end",
      message: expect.stringMatching(/the stage "minTokens" under the constraint; the text so far is "yes"$/),
    });
});

test("refusals come at once, and a throwing function ends the run", async () => {
  expect(() => model.decode(prompt, { constraint: { regex: "(?=a)" } })).toThrow(/look-ahead/);
  expect(() => model.decode(prompt, { constraint: { jsonSchema: { type: "strng" } } })).toThrow(/strng/);
  expect(() => model.decode(prompt, { constraint: { regex: "a", choices: ["b"] } as never })).toThrow(/exactly one/);
  expect(() => model.decode(prompt, { constraint: { regx: "a" } as never })).toThrow(/exactly one/);
  const broken = () => {
    throw new Error("broken judge");
  };
  await expect(async () => model.decode(prompt, { constraint: broken }).final).rejects.toThrow("broken judge");
});

function runCli(words: readonly string[]): { stdout: string; stderr: string; code: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, [join(root, "dist/cli/main.js"), ...words], {
    encoding: "utf8",
  });
  return { stdout, stderr, code: status };
}

test("on the command line", { timeout: 120_000 }, async () => {
  ensureBuilt();
  const folder = await mkdtemp(join(tmpdir(), "constraint-"));
  try {
    const file = join(folder, "schema.json");
    await writeFile(file, JSON.stringify(jsonSchema));
    const schema = runCli(["run", "--json-schema", file, "--max-tokens", "150", prompt]);
    expect(isValid(createConstraint({ jsonSchema }), schema.stdout.trim()), schema.stderr).toBe(true);
    const choice = runCli(["run", "--choices", "yes,no", prompt]);
    expect(["yes", "no"]).toContain(choice.stdout.trim());
    const both = runCli(["run", "--choices", "a", "--regex", "b", prompt]);
    expect(both.code).toBe(2);
    expect(both.stderr).toContain("--regex and --choices");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("awrs says what masking says with far fewer checks, and smc is valid", { timeout: 240_000 }, async () => {
  for (const constraint of [constraints.schema, constraints.regex]) {
    const options = { constraint, seed: 4, maxTokens: 120 };
    const masked = await model.decode(prompt, options).final;
    for (const estimator of ["adaptive", "improper"]) {
      const drawn = await model.decode(prompt, { ...options, method: methodChoice({ name: "awrs", estimator }) }).final;
      expect(drawn.text).toBe(masked.text);
      expect(drawn.counters.constraintChecks).toBeLessThan(masked.counters.constraintChecks / 20);
    }
    const smc = await model.decode(prompt, { ...options, method: { name: "smc", particles: 4 } }).final;
    expect(smc.finish).toBe("end");
    expect(isValid(createConstraint(constraint), smc.text), smc.text).toBe(true);
  }
});
