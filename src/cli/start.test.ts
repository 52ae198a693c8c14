import { expect, test, vi } from "vitest";
import type { RunResult } from "../engine/run.ts";
import { findMethod } from "../methods/index.ts";
import {
  type Again,
  figuresOf,
  type Search,
  stepTeller,
  suggestions,
  wordsFor,
  wordsForCanvas,
  wordsForShort,
} from "./start.ts";

const result = (decode: number, passes: number): RunResult =>
  ({ text: "a story", seconds: { decode }, counters: { generated: 200, passes } }) as RunResult;

const again = (decode: number): Again => ({
  method: findMethod("dyspec"),
  plain: result(1, 200),
  fast: result(decode, 90),
});
const search = (decode: number, hopeless = 0): Search => ({ candidates: 14, hopeless, best: again(decode) });

test("a method that was faster is named as the fastest, and is the first to try", () => {
  expect(wordsFor(result(1, 200), search(0.5), "knossos")).toBe(
    "Decoded again by dyspec, in a short trial the fastest of 14 methods that change nothing but the speed: the same text, token for token, at 400 tokens/s beside 200 of plain decoding (2.00×), one run after the other, with 90 passes instead of 200.",
  );
  expect(wordsFor(result(1, 200), search(0.5, 3), "knossos")).toMatch(
    /instead of 200\. 3 of them were not tried: by the pass times that were measured on this machine they are not expected to gain\.$/,
  );
  expect(wordsFor(result(0.5, 200), search(0.5), "knossos")).toMatch(
    /\. Plain decoding had written the story at 400 tokens\/s: other programs use this machine now\.$/,
  );
  expect(suggestions(again(0.5), "knossos")).toMatch(/^.*run --method dyspec "The fox said"/);
});

test("one that was not is said to be none with its figure, and is not recommended", () => {
  for (const decode of [0.97, 1.3]) {
    const words = wordsFor(result(1, 200), search(decode), "knossos");
    expect(words).toMatch(/^None of 14 methods that change nothing but the speed was clearly faster here and now\. /);
    expect(wordsFor(result(1, 200), search(decode, 3), "knossos")).toMatch(
      /^None of 14 .* here and now; of 3 of them that was not expected, and they were not tried\. Decoded again by dyspec, /,
    );
    expect(words).toContain(`(${(1 / decode).toFixed(2)}×)`);
    expect(words).not.toContain("fastest");
    expect(words).toContain(", one run after the other.");
    expect(suggestions(again(decode), "knossos")).not.toContain("--method");
    expect(suggestions(again(decode), "knossos")).toMatch(/ compare [\s\S]* doctor --model knossos\n/);
  }
  expect(suggestions(undefined, "knossos")).not.toContain("--method");
});

test("what rests on pass times alone is said to, with the command that takes them anew", () => {
  const expected =
    /^By the pass times that were measured .*, none of 14 methods .* is expected to be faster than plain decoding/;
  const anew = /; npm run --silent ventris -- doctor --model pylos --measure takes the pass times anew\.$/;
  const untried = wordsFor(result(1, 200), { candidates: 14, hopeless: 14 }, "pylos");
  const slower = wordsFor(result(1, 200), search(1.3, 14), "pylos");
  for (const words of [untried, slower])
    expect([words, words]).toEqual([expect.stringMatching(expected), expect.stringMatching(anew)]);
  expect(slower).toMatch(
    /Decoded again by dyspec, the most promising of them: the same text, token for token, at 154 /,
  );
  // A decoding is better known than what was expected of it.
  expect(wordsFor(result(1, 200), search(0.5, 14), "pylos")).toMatch(
    /^Decoded again by dyspec, the most promising of 14 /,
  );
  expect(wordsFor(result(1, 200), { candidates: 0, hopeless: 0 }, "pylos")).toMatch(
    /^No method that changes nothing but/,
  );
});

test("there are three commands to try next, in every case", () => {
  for (const kind of ["text", "canvas", "chat"] as const)
    for (const found of [undefined, again(0.5), again(1.3)]) {
      const lines = suggestions(found, "knossos", kind).split("\n");
      expect(
        lines.filter((line) => /^ {2}np[mx] /.test(line)),
        kind,
      ).toHaveLength(3);
      expect(
        lines.filter((line) => /^ {6}\S/.test(line)),
        kind,
      ).toHaveLength(3);
    }
});

test("the speed of the story is that of a first run, which the second beside it need not equal", () => {
  expect(figuresOf(result(0.5, 200), findMethod("sample"))).toBe(
    "200 tokens in 0.5 s, 400 tokens/s in this first run: plain decoding, one token with every pass of the model.",
  );
});

test("commands are of the model that was started, and of its kind", () => {
  const commands = suggestions(undefined, "pylos").match(/ventris(?: --)? (run|compare|doctor) .*/g) ?? [];
  expect(commands).toHaveLength(3);
  for (const command of commands) expect(command).toContain(" --model pylos");
  expect(suggestions(undefined, "knossos")).toMatch(/ run "The fox said"/);
  expect(suggestions(undefined, "mycenae", "canvas")).toMatch(/ run --model mycenae -n 64 [\s\S]* --fill /);
  expect(suggestions(undefined, "mycenae", "canvas")).not.toMatch(/doctor|--tree/);
  expect(suggestions(undefined, "phaistos", "chat")).toMatch(/ chat --model phaistos\n/);
});

test("a model that ends at once is said to, with no speed; methods of a canvas promise no text", () => {
  const said = (generated: number, encodeChat?: unknown): string =>
    wordsForShort({ counters: { generated } } as RunResult, { name: "it", tokenizer: { encodeChat } as never });
  expect(said(1, () => [])).toBe(
    "it ended the text after 1 token: too few to measure a speed on. It was made to answer, and may have nothing to add to a text that is whole.",
  );
  expect(said(2)).toMatch(/after 2 tokens: .* Another --seed or another beginning may give more\.$/);
  const words = wordsForCanvas({ ...result(1, 200), text: "another" }, search(0.5));
  expect(words).toMatch(
    /^Decoded again by dyspec, in a short trial the fastest of 14 other methods of such models: another text/,
  );
  expect(words).not.toContain("token for token");
});

test("where the story goes into a file, each step is one line, and none beside JSON", () => {
  const written: string[] = [];
  const spy = vi.spyOn(process.stderr, "write").mockImplementation((text) => written.push(String(text)) > 0);
  const { isTTY } = process.stdout;
  process.stdout.isTTY = false;
  try {
    for (const json of [false, true]) {
      const tell = stepTeller(json);
      for (const name of ["chain", "dyspec", "aded"]) tell("looking for a faster method", `trying ${name}`);
      tell("decoding the same again");
    }
  } finally {
    process.stdout.isTTY = isTTY;
    spy.mockRestore();
  }
  expect(written.filter((text) => !text.startsWith("\r"))).toEqual([
    "looking for a faster method\n",
    "decoding the same again\n",
  ]);
});

test("what to try next fits a narrow screen", () => {
  vi.stubEnv("COLUMNS", "40");
  try {
    for (const kind of ["text", "canvas", "chat"] as const)
      for (const line of suggestions(undefined, "knossos", kind).split("\n"))
        expect(line.replace(/"[^"]*"/, "").length).toBeLessThanOrEqual(40); // a prompt in quotes is one word
  } finally {
    vi.unstubAllEnvs();
  }
});
