import { describe, expect, it } from "vitest";
import { isValid, pushAll } from "../contract.ts";
import { obeysTheLaws } from "../laws.fixture.ts";
import { grammarConstraint } from "./index.ts";

const arithmetic = `
root ::= expr # an expression
expr ::= expr "+" term | expr "-" term | term
term ::= term ("*" | "/") factor
       | factor
factor ::= "(" expr ")" | [0-9]+ ("." [0-9]{1,3})?
`;
const ambiguous = 'root ::= e\ne ::= e "+" e | e e | "a" | "(" e ")"';
const lark = `
start: statement+
statement: "let"i NAME "=" sum ";"   // white space may stand anywhere
?sum: [sum ("+" | "-")] product -> add
product: product "*" atom | atom
atom: INT | NAME | "(" sum ")" | /0x[0-9a-f]{2}/i
NAME: /[a-z_]+/
%import common.INT
%import common.WS -> SPACE
%ignore SPACE
`;

describe("grammars", () => {
  obeysTheLaws("left recursion", {
    constraint: () => grammarConstraint(arithmetic),
    valid: ["1", "1+2*3", "(1-2.5)/(3)", "((7))*1+1"],
    invalid: ["", "1+", "(1", "1.2345", "*1", "1 + 2"],
    alphabet: "0123456789+-*/().",
  });
  obeysTheLaws("ambiguity", {
    constraint: () => grammarConstraint(ambiguous),
    valid: ["a", "aa+aa", "(a+a)a+a", "aaaaaaaa"],
    invalid: ["", "a+", "+a", "(a", "b"],
    alphabet: "a+()",
  });
  obeysTheLaws("in Lark's style", {
    constraint: () => grammarConstraint(lark),
    valid: ["let a = 1 + b*2;", "LET x=0xFF ; let y=(x - 3)*z;\n"],
    invalid: ["let a = ;", "let 1 = 2;", "let a = 1", "a = 1;"],
    alphabet: "let =+-*();12 0x",
  });
  obeysTheLaws("indirect left recursion, repetition of recursive parts, empty rules", {
    constraint: () =>
      grammarConstraint('root ::= a end{2,3}\na ::= b "x" | "y"\nb ::= a "z" | b "w"\nend ::= "[" root? "]" | "."'),
    valid: ["y..", "yzx...", "yzwwx[y..].", "yzxzx[][]"],
    invalid: ["y.", "y....", "yx..", "yz..", "yzwx"],
    alphabet: "xyzw[].",
  });

  it("ambiguity costs little, even where readings are exponentially many", () => {
    const twins = grammarConstraint('root ::= "a" p | "a" q\np ::= "b" root "x" | "c"\nq ::= "b" root "y" | "c"');
    const started = performance.now();
    const half = pushAll(twins.start, Buffer.from(`${"ab".repeat(300)}ac`))!;
    expect(half).toBeDefined();
    expect(pushAll(half, Buffer.from("xy".repeat(150)))?.complete).toBe(true);
    const long = pushAll(grammarConstraint(ambiguous).start, Buffer.from("a+a".repeat(60)));
    expect(long?.complete).toBe(true);
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it("says what is wrong, and where", () => {
    for (const [text, message] of [
      ["", /start is missing|root is missing/],
      ['x ::= "a"', /root is missing/],
      ['root ::= "a', /line 1: a literal does not end/],
      ["root ::= ther\nthere ::= [a-z]", /line 1: there is no rule ther; did you mean "there"/],
      ["root ::= (a", /does not end/],
      ['root ::= "a" root', /root never ends/],
      ['root ::= "a"{5,2}', /wrong way/],
      ['root ::= "a"\nroot ::= "b"', /given twice/],
      ["start: /a(?=b)/", /look-ahead/],
      ["%declare X\nstart: X", /directives/],
      ['start.2: "a"', /priorities/],
      ["start: NOTHING", /no rule NOTHING/],
    ] as const) {
      expect(() => grammarConstraint(text), text).toThrow(message);
    }
  });

  it("reads rules within a thousand others, and says so of deeper ones", () => {
    const chain = (length: number): string =>
      `root ::= r0\n${Array.from({ length }, (_, i) => `r${i} ::= "a" r${i + 1}`).join("\n")}\nr${length} ::= "z"`;
    const long = grammarConstraint(chain(990));
    expect([isValid(long, `${"a".repeat(990)}z`), isValid(long, "az")]).toEqual([true, false]);
    expect(() => grammarConstraint(chain(5_000))).toThrow(/stands within more than 1000 other rules/);
  });

  it("reads Lark's ranges of characters", () => {
    const ranges = grammarConstraint('start: A+ "\\n".."\\n"?\nA: "x".."z" | "à".."é"');
    expect(["x", "yz\n", "éà"].every((text) => isValid(ranges, text))).toBe(true);
    expect(["a", "x..z", "\n", "ê"].some((text) => isValid(ranges, text))).toBe(false);
    expect(() => grammarConstraint('start: "ab".."c"')).toThrow(/a range has one character at each end/);
    expect(() => grammarConstraint('start: "c".."a"')).toThrow(/wrong way round/);
  });

  it("hidden left recursion is refused by name or read", () => {
    expect(() => grammarConstraint('root ::= n? root "b" | "c"\nn ::= "a" root "d" | "e"')).toThrow(
      /left-recursive behind/,
    );
  });

  it("JSON itself", () => {
    const json = grammarConstraint(`
root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\\"" ([^"\\\\\\x7F\\x00-\\x1F] | "\\\\" (["\\\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,15})? ws
ws ::= [ \\t\\n]{0,20}`);
    for (const value of [{ a: [1, -2.5e3, { b: "é\n" }], c: null }, [], {}, "x", [[[]]]]) {
      expect(isValid(json, JSON.stringify(value)), JSON.stringify(value)).toBe(true);
      expect(isValid(json, JSON.stringify(value).slice(0, -1))).toBe(false);
    }
  });
});
