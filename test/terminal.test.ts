/** The command in a terminal: what a person sees, in a pseudo-terminal of a given width. */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ensureBuilt, root } from "./build.ts";

vi.setConfig({ testTimeout: 180_000 });

/** util-linux's: makes a pseudo-terminal. Other systems have another `script`, or none. */
const has =
  process.platform === "linux" &&
  spawnSync("script", ["--version"], { encoding: "utf8" }).stdout?.includes("util-linux");
const main = join(root, "dist", "cli", "main.js");
let cache: string;

beforeAll(async () => {
  ensureBuilt();
  cache = await mkdtemp(join(tmpdir(), "ventris-terminal-"));
}, 300_000);
afterAll(() => rm(cache, { recursive: true, force: true }));

/** By these Node decides how many colours and columns a terminal has: the tests' own surroundings must not. */
const decides = new Set(
  "COLUMNS NO_COLOR NODE_DISABLE_COLORS FORCE_COLOR COLORTERM TERM_PROGRAM TMUX CI TEAMCITY_VERSION TF_BUILD".split(
    " ",
  ),
);

/** Everything that reaches the terminal. Models take one thread here: two that wait for each other take minutes where many programs run. */
function inTerminal(columns: number, words: readonly string[], env: Record<string, string> = {}): string {
  const quoted = [process.execPath, main, ...words].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  const others = Object.fromEntries(Object.entries(process.env).filter(([name]) => !decides.has(name)));
  const { stdout } = spawnSync("script", ["-qec", `stty cols ${columns} rows 40; ${quoted}`, "/dev/null"], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
    env: { ...others, TERM: "xterm-256color", VENTRIS_CACHE: cache, ...env },
  });
  return stdout.replaceAll("\r\n", "\n");
}

/** The lines that are left on the screen: what was written over is gone. */
const screen = (text: string): string[] =>
  text.split("\n").map((line) =>
    line
      .slice(line.lastIndexOf("\r") + 1)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's codes
      .replace(/\x1b\[[\d;]*[A-Za-z]/g, ""),
  );

describe.skipIf(!has)("a terminal", () => {
  it("shows a line of progress and takes it away", () => {
    const text = inTerminal(60, [
      "run",
      "-n",
      "40",
      "--threads",
      "1",
      "--seed",
      "3",
      "Once upon a time there was a king who",
    ]);
    expect(text).toContain("loading knossos");
    const lines = screen(text);
    expect(lines.join("\n")).not.toContain("loading");
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(60);
    expect(lines.at(-3)).toMatch(/^40 tokens · 40 passes · /);
    expect(lines.at(-2)).toMatch(/ended by --max-tokens$/);
  });

  it("shows colours, and none where NO_COLOR is set", () => {
    const colour = "\x1b[32m✓";
    expect(inTerminal(80, ["doctor"])).toContain(colour);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's codes
    expect(inTerminal(80, ["doctor"], { NO_COLOR: "1" })).not.toMatch(/\x1b\[\d+m/);
  });

  it.each([60, 80, 120])("fits tables and devices into %i columns", (columns) => {
    const trees = [
      "compare",
      "--methods",
      "greedy,dyspec",
      "--rounds",
      "1",
      "-n",
      "16",
      "--repeat",
      "1",
      "--threads",
      "1",
      "Once",
    ];
    for (const words of [["methods"], ["models"], ["papers"], ["doctor"], ["methods", "chain"], trees]) {
      const lines = screen(inTerminal(columns, words));
      expect(lines.length).toBeGreaterThan(3);
      for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(columns);
    }
  });

  it.each([60, 80])("breaks no word of claims, errors and help in %i columns", (columns) => {
    const fits = (line: string): boolean => line.length <= columns;
    for (const words of [
      ["papers", "dyspec"],
      ["run", "--method", "gredy", "Once"],
      ["reproduce", "--help"],
      ["filter", "--help"],
      ["run", "--help"],
      ["compare", "--help"],
      ["train", "--help"],
    ]) {
      const lines = screen(inTerminal(columns, words));
      expect(lines.length).toBeGreaterThan(3);
      for (const line of lines) expect(fits(line), line).toBe(true);
    }
    const claims = screen(inTerminal(columns, ["papers", "dyspec"]));
    const here = claims.findIndex((line) => line.startsWith("    here"));
    expect(claims[here + 1]).toMatch(/^ {11}\S/);
  });

  it("begins with a story, decodes it again, and says what to try", () => {
    const lines = screen(inTerminal(72, ["start", "--threads", "1", "--seed", "2"]));
    const text = lines.join("\n");
    expect(lines[0]).toMatch(/^knossos goes on from “Once upon a time/);
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(72);
    expect(text).not.toMatch(/\ufffd|undefined|trying/);
    const flowing = text.replace(/\s+/g, " ");
    expect(flowing).toMatch(/\d+ tokens in [\d.]+ s, \d+ tokens\/s in this first run: plain decoding/);
    expect(flowing).toMatch(
      /Decoded again by [\w-]+, .*the same text, token for token, at \d+ tokens\/s beside \d+ of plain decoding|none of \d+ methods .* is expected to be faster/,
    );
    const commands = text.slice(text.indexOf("Try next:")).match(/^ {2}npm run --silent ventris -- \w+/gm);
    expect(commands).toHaveLength(3);
    // Where nothing was faster, or nothing clearly, one says why.
    expect(commands!.at(-1)).toMatch(/none of \d+ methods/i.test(flowing) ? / doctor$/ : / (studio|doctor)$/);
  });
});
