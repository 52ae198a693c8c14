import { Help } from "commander";
import { afterEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { plural } from "../errors.ts";
import { describeOption, placeholder, readEscapes } from "./flags.ts";
import { helpStyle, rewrapped } from "./help.ts";
import { complain } from "./output.ts";
import { formatTable } from "./table.ts";
import { displayWidth, styled, widthOf, wordWriter, wrap, wrapCommand, wrapLines } from "./terminal.ts";

afterEach(() => vi.unstubAllEnvs());

describe("a terminal", () => {
  it("has its own width, COLUMNS where it is none, and no bound in a file", () => {
    vi.stubEnv("COLUMNS", "");
    expect(widthOf({ isTTY: true, columns: 97, write() {} })).toBe(97);
    expect(widthOf({ isTTY: true, write() {} })).toBe(80);
    expect(widthOf({ write() {} })).toBe(Infinity);
    vi.stubEnv("COLUMNS", "64");
    expect(widthOf({ write() {} })).toBe(64);
  });

  it("wraps lines below their own text, behind what labels them", () => {
    const lines = [
      "✓ It holds for all of them, and for others.",
      "    here   1.92 times, n = 8, of eight prompts",
      "short",
    ].join("\n");
    expect(wrapLines(lines, 40).split("\n")).toEqual([
      "✓ It holds for all of them, and for",
      "  others.",
      "    here   1.92 times, n = 8, of eight",
      "           prompts",
      "short",
    ]);
    expect(wrapLines(lines, 80)).toBe(lines);
  });

  it("keeps a number and its unit together", () => {
    expect(wrap("programs used 50 % of it, and 12.5 MB in 3 ms", 15)).toEqual([
      "programs used",
      "50 % of it, and",
      "12.5 MB in 3 ms",
    ]);
    expect(wrap("of 58 samples", 5)).toEqual(["of 58", "samples"]);
    const help = new Help();
    help.minWidthToWrap = 10;
    expect(Object.assign(help, helpStyle).boxWrap("it is at 95 % now", 12)).toBe("it is at\n95 % now");
    expect(formatTable(["name", "value"], [["a", "one of 58 % and another one of 60 %"]], 20)).not.toMatch(/\d\s*\n/);
  });

  it("leaves a flag and its value together, unless the value is long", () => {
    expect(wrap("more: ventris train finetune knossos --folder mine", 45)).toEqual([
      "more: ventris train finetune knossos",
      "--folder mine",
    ]);
    expect(wrap("give --tree --rounds 3", 17)).toEqual(["give --tree", "--rounds 3"]);
    const path = "/home/someone/models/of/their/own";
    expect(wrap(`at --model ${path}`, 20)).toEqual(["at --model", path]);
  });

  it("wraps messages where COLUMNS says how wide it is, too", () => {
    vi.stubEnv("COLUMNS", "30");
    const written = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    complain("one word after another, in a line that is long");
    expect(written.mock.calls.join("")).toBe("one word after another, in a\nline that is long\n");
    written.mockRestore();
  });

  it("wraps the paragraphs of help anew where they do not fit, and leaves what is indented", () => {
    const text =
      "All of them run in turn, after one run that is not counted. Speeds are relative\nto plain decoding.\n\nExamples:\n  ventris compare --methods greedy,chain,dyspec --tree";
    expect(rewrapped(text, 80)).toBe(text);
    expect(rewrapped(text, 50)).toBe(
      "All of them run in turn, after one run that is not\ncounted. Speeds are relative to plain decoding.\n\nExamples:\n  ventris compare --methods greedy,chain,dyspec \\\n      --tree",
    );
  });

  it("breaks a command between its words, so that a shell takes it as one", () => {
    const line = "  ventris run --stop '\\n' --method dyspec \"Once upon a time\"";
    expect(wrapCommand(line, 40, "linux")).toBe(
      "  ventris run --stop '\\n' --method \\\n      dyspec \"Once upon a time\"",
    );
    expect(wrapCommand(line, 40, "win32")).toBe(line);
    expect(wrapCommand(line, 80, "linux")).toBe(line);
  });

  it("wraps the lists of help anew, below what they say", () => {
    const list =
      "Commands:\n  /method NAME  decode by another method, with options as NAME=VALUE behind it;\n                alone: show it\n  /quit         end\n\n  ventris chat --system 'You answer in one sentence' --load talk.json";
    expect(rewrapped(list, 80)).toBe(list);
    expect(rewrapped(list, 60)).toBe(
      "Commands:\n  /method NAME  decode by another method, with options as\n                NAME=VALUE behind it; alone: show it\n  /quit         end\n\n  ventris chat --system 'You answer in one sentence' \\\n      --load talk.json",
    );
  });

  it("has colours unless NO_COLOR is set or it has none", () => {
    const screen = { isTTY: true, hasColors: () => true, write() {} };
    for (const name of ["NO_COLOR", "FORCE_COLOR"]) vi.stubEnv(name, "");
    expect(styled(screen, "bold", "x")).toBe("\x1b[1mx\x1b[22m");
    expect(styled({ ...screen, hasColors: () => false }, "bold", "x")).toBe("x");
    expect(styled({ ...screen, isTTY: false }, "bold", "x")).toBe("x");
    vi.stubEnv("FORCE_COLOR", "1");
    expect(styled({ write() {} }, "red", "x")).toBe("\x1b[31mx\x1b[39m");
    vi.stubEnv("NO_COLOR", "1");
    expect(styled(screen, "bold", "x")).toBe("x");
    vi.stubEnv("NO_COLOR", "");
    vi.stubEnv("FORCE_COLOR", "0");
    expect(styled(screen, "bold", "x")).toBe("x");
  });

  it("counts columns, not characters", () => {
    expect(["abc", "é", "e\u0301", "漢字", "✓"].map(displayWidth)).toEqual([3, 1, 1, 4, 1]);
  });
});

describe("text", () => {
  const story = "Once upon a time there was an old king\nwho could read extraordinarily forgotten scripts.";

  it("is wrapped between words", () => {
    const lines = wrap(story, 16);
    expect(lines.join(" ")).toBe(story.replace("\n", " "));
    for (const line of lines) if (line.includes(" ")) expect(line.length).toBeLessThanOrEqual(16);
    expect(lines).toContain("Once upon a time");
  });

  it("is wrapped the same when it comes in pieces, and none of it is held back in the end", () => {
    for (const size of [1, 2, 5, 100]) {
      let shown = "";
      const writer = wordWriter({
        isTTY: true,
        columns: 20,
        write: (text) => {
          shown += text;
        },
      });
      for (let i = 0; i < story.length; i += size) writer.write(story.slice(i, i + size));
      writer.end();
      expect(shown).toBe(`${wrap(story, 20).join("\n")}\n`);
    }
  });
});

describe("tables", () => {
  const header = ["method", "speed", "what it does"];
  const rows = [
    ["greedy", "1.00×", "takes the most likely token at each step"],
    ["prompt-lookup", "12.50×", "proposes what followed the last tokens when they occurred before"],
  ];

  it("are as wide as their cells where there is room, with numbers on the right", () => {
    expect(formatTable(header, rows, Infinity)).toBe(
      [
        "method          speed  what it does",
        "greedy          1.00×  takes the most likely token at each step",
        "prompt-lookup  12.50×  proposes what followed the last tokens when they occurred before",
      ].join("\n"),
    );
  });

  it.each([80, 60, 44])("fit %i columns, with every word whole and every column aligned", (width) => {
    const text = formatTable(header, rows, width);
    const lines = text.split("\n");
    for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width);
    const words = (all: string): string[] => all.split(/\s+/).filter(Boolean).sort();
    expect(words(text)).toEqual(words([header, ...rows].flat().join(" ")));
    const start = lines[0].indexOf("what it");
    for (const line of lines.slice(1)) expect(line.slice(start - 2, start).trim()).toBe("");
  });

  it("break titles before cells, those above numbers too", () => {
    const titles = ["method", "tokens a pass", "against plain"];
    expect(formatTable(titles, [["greedy", "1.00", "no clear difference"]], 36)).toBe(
      ["method   tokens  against plain", "         a pass", "greedy     1.00  no clear difference"].join("\n"),
    );
  });

  it("put a name that is too long on a line of its own", () => {
    const text = formatTable(
      ["model", "parameters", "size"],
      [
        ["models/a-folder-with-a-very-long-name", "5.48 M", "16.3 MB"],
        ["pylos", "0.72 M", "1.6 MB"],
      ],
      40,
    );
    expect(text).toBe(
      [
        "model     parameters     size",
        "models/a-folder-with-a-very-long-name",
        "              5.48 M  16.3 MB",
        "pylos         0.72 M   1.6 MB",
      ].join("\n"),
    );
  });

  it("become blocks where a text would be a narrow column of many lines", () => {
    const long = "proposes what followed the last tokens when they occurred before and needs no draft model at all";
    const text = formatTable(
      ["#", "paper", "state of it all here", "claims", "what it does"],
      [["1", "prompt-lookup", "runs wherever text runs", "11 of 12 hold", long]],
      60,
    );
    expect(text).toMatch(
      /^1 prompt-lookup\n {2}state of it all here {2}runs wherever text runs\n {2}claims +11 of 12 hold\n {2}what/,
    );
  });

  it("become blocks where no column can give", () => {
    const text = formatTable(["a", "b", "c"], [["x".repeat(9), "y".repeat(19), "z".repeat(19)]], 30);
    expect(text).toBe(`${"x".repeat(9)}\n  b  ${"y".repeat(19)}\n  c  ${"z".repeat(19)}`);
  });
});

it("says one pass and two passes", () => {
  expect([plural(1, "token"), plural(0, "token"), plural(1, "pass", "passes"), plural(2, "pass", "passes")]).toEqual([
    "1 token",
    "0 tokens",
    "1 pass",
    "2 passes",
  ]);
});

describe("flags", () => {
  it("read escapes", () => {
    expect(readEscapes("a\\nb\\t\\\\n\\u{1f600}\\u00e9\\x41", "--stop")).toBe("a\nb\t\\n😀éA");
    expect(() => readEscapes("\\d+", "--stop")).toThrow(/--stop \\d\+: \\d is no escape/);
    expect(() => readEscapes("end\\", "--stop")).toThrow(/no escape/);
    expect(() => readEscapes("\\u{ffffff}", "--stop")).toThrow(/no escape/);
  });

  it("name the kind of value, functions only where nothing else can be given", () => {
    const own = z.custom<() => void>((value) => typeof value === "function");
    expect(placeholder(own.optional())).toBe("function");
    expect(placeholder(z.union([z.literal("arithmetic"), own]).optional())).toBe("arithmetic");
    expect(placeholder(z.record(z.string(), z.number()))).toBe("json");
  });

  it("explain options as sentences, with range, fields, default and example", () => {
    expect(describeOption(z.int().min(0).default(3).describe("keep this many"))).toBe(
      "Keep this many. From 0. Default: 3.",
    );
    const nested = z
      .strictObject({
        rate: z.number().gt(0).max(1).describe("how much"),
        on: z.boolean().default(true).describe("whether"),
      })
      .optional()
      .describe("something")
      .meta({ examples: [{ rate: 0.5 }] });
    expect(describeOption(nested)).toBe(
      `Something. Fields: rate: how much (above 0 up to 1, needed); on: whether (default true). Example: '{"rate":0.5}'`,
    );
  });
});

it("braces are not parted from what they hold", () => {
  expect(wrap("A text or { name }.", 13)).toEqual(["A text or", "{ name }."]);
});
