import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { accepts } from "../automaton.ts";
import { isValid, pushAll } from "../contract.ts";
import { obeysTheLaws } from "../laws.fixture.ts";
import { compileRegex } from "./compile.ts";
import { choicesConstraint, regexConstraint } from "./index.ts";
import { parseRegex } from "./parse.ts";

describe("regular expressions", () => {
  obeysTheLaws("words and numbers", {
    constraint: () => regexConstraint("[a-z]+(-[0-9]{2,3})?|é{2}|\\p{Lu}\\p{Ll}*"),
    valid: ["abc", "abc-12", "a-123", "éé", "Émile", "Ωμ"],
    invalid: ["", "abc-1", "abc-1234", "é", "ÉM", "abc "],
  });
  obeysTheLaws("a choice", {
    constraint: () => choicesConstraint(["yes", "no", "not yet", "naïve", ""]),
    valid: ["yes", "no", "not yet", "naïve", ""],
    invalid: ["ye", "not", "yes ", "naive"],
  });
  obeysTheLaws("anchors and borders", {
    constraint: () => regexConstraint(/^(?:foo|\bbar\b) ?(\w+\b,?\B ?)*$/),
    valid: ["foo", "bar", "foo a, b, c, "],
    invalid: ["barx", "fo"],
    alphabet: " ,",
  });

  const patterns = [
    "^a(b|c)*d$",
    "a|^b$|c$",
    "(^a|b)c",
    "x{2,4}y?",
    "\\bcat\\b",
    "[^a-c]+",
    "a.c",
    "(a*)*b",
    "^(?:a|ab)(?:c|bcd)(d*)$",
    "\\d+\\.\\d",
    "a\\Bb",
    "^\\w+@\\w+\\.com$",
    "^$",
    "$^|a",
    "[\\w-]+c",
    "[]|a",
    "[^]b",
    "\\u0061\\x62|\\cA",
    "a^b|$c|\\Ba",
    "(^)?a(?:\\b)*(?:$){1,2}",
  ];
  it.each(patterns)("finds what JavaScript finds: %s", (pattern) => {
    const automaton = compileRegex(pattern, { search: true });
    const reference = compiled(pattern);
    const text = fc.string({ unit: fc.constantFrom(..."abcdxyt@.com 1-\n", "é", "😀", "\u0001"), maxLength: 9 });
    fc.assert(
      fc.property(text, (sample) => {
        expect(accepts(automaton, sample)).toBe(reference!.test(sample));
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it("has JavaScript's cases, dots and Unicode properties", () => {
    for (const [pattern, samples] of [
      [/^[a-kß]+$/iu, ["AK", "\u212a", "ẞ", "k", "l"]],
      [/^\w$/iu, ["ſ", "s", "K", "é"]],
      [/^.$/su, ["\n", "😀", "ab"]],
      [/^\p{Script=Greek}+\P{L}$/u, ["Ωμ1", "Ωμ", "ab1"]],
      [/^[^k]$/iu, ["K", "\u212a", "x"]],
      [/^[^\W]$/iu, ["K", "\u212a", "s", "é"]],
      [/^a\b.$/iu, ["aſ", "a\u212a", "aé", "a "]],
      [/^a\b.$/u, ["aſ", "ab"]],
    ] as const) {
      for (const sample of samples) {
        const constraint = regexConstraint(pattern);
        expect(isValid(constraint, sample), `${pattern} ${sample}`).toBe(pattern.test(sample));
      }
    }
  });

  it("refuses by name what has no automaton", () => {
    for (const [pattern, message] of [
      ["a(?=b)", /look-ahead/],
      ["(?<!a)b", /look-behind/],
      ["(a)\\1", /back-reference/],
      ["(?<x>a)\\k<x>", /back-reference/],
      ["a**", /nothing to repeat/],
      ["(a", /does not end/],
      ["[z-a]", /wrong way/],
      ["a{3,2}", /wrong way/],
      ["[\\d--5]", /hyphen beside one is written \\-, at character 4/],
      ["[a-\\w]", /hyphen beside one is written/],
      ["a{,3}", /"\{" begins no count .* at character 2/],
      ["{a", /"\{" begins no count .* at character 1/],
      ["a]", /"\]" closes nothing, .* at character 2/],
      ["a}", /"\}" closes nothing, .* at character 2/],
      ["a\\_", /\\_ is no escape: "_" stands for itself, at character 3/],
      ["a\\-", /\\- is no escape/],
      ["\\q", /\\q is no escape at character 2/],
      ["\\x4", /\\x is no escape/],
      ["\\u{110000}", /no such code point/],
      ["\\p", /no property in braces/],
      ["(?<n>a)(?:b|(?<n>c))", /two groups are called n/],
      ["(?<1>a)", /a name that is none/],
      ["(?i:a)", /this kind of group/],
      ["a)", /unexpected/],
      ["\\p{Nothing}", /property/],
      ["(?:a{1,1000}b){1,1000}", /larger than/],
      ["(?:a{1,1000}){1,1000}", /more than 100000 repetitions/],
      ["a{1000000000}", /repetitions/],
      ["a^b", /no text/],
    ] as const) {
      expect(() => regexConstraint(pattern), pattern).toThrow(message);
    }
    expect(() => regexConstraint(/a/m)).toThrow(/flag m/);
    expect(() => regexConstraint("(".repeat(2000))).toThrow(/nested deeper/);
    expect(() => choicesConstraint([])).toThrow(/empty/);
  });

  it("takes what JavaScript takes with its u flag, and nothing else", () => {
    const pieces = [
      ..."ab-]}{[()\\_01,^$.*+?|/xupkcdwnWB<>:=!é😀 ",
      ..."\\d \\p{L} \\P{Lu} (?<n> (?<m> (?<é1> (?: (?= (?<! [\\d- {2} {,3} {1, {1,2} \\u{61} \\u{0000061} \\u0061 \\ud83d\\ude00 \\x4 \\x41 \\cA \\c \\0 \\1 \\- \\_ \\k<n> \\b [^ -- a-z ) ] (a) [a] | \\/ \\. \\] \\}".split(
        " ",
      ),
    ];
    // Which of them lack an automaton is said by name, and Node's later versions know names that are given in several alternatives.
    const unsupported = /look-ahead|look-behind|back-reference/;
    let taken = 0;
    const pattern = fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(pattern, (source) => {
        const theirs = compiled(source) !== undefined;
        let ours = true;
        let why = "";
        try {
          parseRegex(source);
        } catch (error) {
          ours = false;
          why = (error as Error).message;
        }
        if (ours) taken += 1;
        if (ours !== theirs && !unsupported.test(why) && !/(\(\?<(.)>).*\|.*\1/.test(source))
          expect({ source, ours, why }).toEqual({ source, ours: theirs });
      }),
      { numRuns: 10_000, seed: 3 },
    );
    expect(taken).toBeGreaterThan(1_000);
  });

  it("takes names that are given in several alternatives, and in grammars marks that stand for themselves", () => {
    expect(isValid(regexConstraint("(?<y>a)|(?<y>b)"), "b")).toBe(true);
    for (const source of ['\\-\\_\\"', "a]}", "{a}", "[\\_]"]) {
      expect(() => parseRegex(source)).toThrow(/at character/);
      expect(() => parseRegex(source, { lenient: true })).not.toThrow();
    }
    expect(() => parseRegex("a{,3}", { lenient: true })).toThrow(/begins no count/);
  });

  it("finds an end however far away it is", () => {
    for (const pattern of [".*a.{200}", "(?:^|x)(?:.*a.{200}|b\\b)"]) {
      const { start } = regexConstraint(pattern);
      expect(pushAll(start, new TextEncoder().encode("ab".repeat(150)))).toBeDefined();
    }
    expect(isValid(regexConstraint("[]x|y[]|z"), "z")).toBe(true);
    expect(() => regexConstraint("[]x|y[]")).toThrow(/no text/);
  });

  it("takes linear time where backtracking would take for ever", () => {
    for (const pattern of ["(a*)*b", "(a|a)*b", "(a|aa)+$b?", "(.*)*(.*)*x", "(a|b)*a(a|b){14}"]) {
      const constraint = regexConstraint(pattern);
      const started = performance.now();
      pushAll(constraint.start, new Uint8Array(5_000).fill(97));
      expect(performance.now() - started, pattern).toBeLessThan(2_000);
    }
  });

  it("reads repetitions of repetitions as one, or refuses those that spread, before anything is decoded", () => {
    for (const inner of ["{2,3}", "{3}", "?", "{0,2}", "+", "*", "{0}", "{2,}"]) {
      for (const outer of ["{0,3}", "{2,3}", "{1,2}", "{2}", "*", "+", "?", "{0}"]) {
        const pattern = `(?:(?:a${inner})${outer}){0,2}b`;
        const known = new RegExp(`^${pattern}$`);
        const constraint = regexConstraint(pattern);
        for (let count = 0; count < 24; count++) {
          const text = `${"a".repeat(count)}b`;
          expect(isValid(constraint, text), `${pattern} ${text}`).toBe(known.test(text));
        }
      }
    }
    const started = performance.now();
    const { start } = regexConstraint("(?:(?:a{0,20}){0,20}){0,20}b");
    expect(pushAll(start, new TextEncoder().encode(`${"a".repeat(8_000)}b`))?.complete).toBe(true);
    expect(pushAll(start, new TextEncoder().encode("a".repeat(8_001)))).toBeUndefined();
    for (const pattern of ["(?:(?:a{0,20}|c){0,20}){0,20}b", "(?:a{0,200}b?){0,200}c"]) {
      expect(() => regexConstraint(pattern), pattern).toThrow(/repetitions within repetitions/);
    }
    // What spreads only far behind the beginning is refused where it does.
    const late = regexConstraint("x{100}(?:a{0,100}b?){0,100}c").start;
    const text = new TextEncoder().encode("x".repeat(100) + "a".repeat(100));
    expect(() => pushAll(late, text)).toThrow(/more than 2000 ways/);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

/** Undefined for what JavaScript refuses. */
function compiled(pattern: string): RegExp | undefined {
  try {
    return new RegExp(pattern, "u");
  } catch {
    return undefined;
  }
}
