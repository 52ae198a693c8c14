import { describe, expect, test } from "vitest";
import { isSaid } from "../wrong.fixture.ts";
import {
  type Constraint,
  type ConstraintState,
  createConstraint,
  createVocabulary,
  describeConstraint,
  hasBit,
  isValid,
  pushAll,
  tryTokens,
  wordsFor,
} from "./index.ts";

const vocabulary = createVocabulary(3, (token) => Uint8Array.of(0x61 + token));

/** A constraint whose first state is this, with what is wrong in it. */
const own = (wrong: object): Constraint =>
  ({ name: "mine", tight: true, start: { push: () => undefined, complete: false, ...wrong } }) as Constraint;

const fail = (): never => {
  throw new Error("mine");
};

describe("what a constraint of one's own gives in place of a state", () => {
  test.each<[string, () => unknown]>([
    ["null", () => null],
    ["a number", () => 5],
    ["an object", () => ({})],
    ["a list, which has a push of its own", () => []],
    ["a promise", async () => undefined],
    ["a promise that fails", async () => fail()],
  ])("%s", (_, push) => {
    const wrong = own({ push });
    const calls = {
      state: () => createConstraint(wrong).start.push(0x61),
      mask: () => tryTokens(createConstraint(wrong).start, vocabulary),
      tryTokens: () => tryTokens(wrong.start, vocabulary),
      pushAll: () => pushAll(wrong.start, [0x61]),
      isValid: () => isValid(wrong, "a"),
    };
    for (const [name, call] of Object.entries(calls))
      expect(call, name).toThrow(
        isSaid("bad_option", /^constraint( mine)?: push\(97\) gave .*, and must give the next/),
      );
  });

  test("what it throws is told with its name, and is the cause", () => {
    const wrong = own({ push: fail });
    const said = isSaid("bad_option", /push\(97\) failed: mine$/, new Error("mine"));
    expect(() => createConstraint(wrong).start.push(0x61)).toThrow(said);
    expect(() => tryTokens(wrong.start, vocabulary)).toThrow(said);
    expect(() => pushAll(wrong.start, [0x61])).toThrow(said);
  });
});

describe("what a constraint of one's own has in place of", () => {
  const computed = (complete: () => unknown): Constraint => ({
    ...own({}),
    start: {
      push: () => undefined,
      get complete() {
        return complete() as boolean;
      },
    },
  });

  test.each<[string, Constraint, RegExp]>([
    ["complete: a text", own({ complete: "x" }), /start.complete must be true or false, not "x"$/],
    ["complete: nothing", own({ complete: undefined }), /complete must be true or false, not undefined$/],
    ["complete: computed wrongly", computed(() => 1), /^constraint mine: complete must be true or false, not 1$/],
    ["complete: computed with a throw", computed(fail), /^constraint mine: complete failed: mine$/],
    ["start", { ...own({}), start: 5 } as never, /start must be an object, not 5$/],
    ["tight", { ...own({}), tight: "x" } as never, /tight must be true or false, not "x"$/],
    ["tight: nothing", { name: "mine", start: own({}).start } as never, /tight is missing/],
    ["name", { ...own({}), name: 5 } as never, /name must be a text, not 5$/],
    ["the whole: a state", own({}).start as never, /a state is given/],
  ])("%s", (_, wrong, message) => {
    expect(() => createConstraint(wrong)).toThrow(isSaid("bad_option", message));
  });

  test("complete, of a later state", () => {
    const { start } = createConstraint(own({ push: () => ({ push: () => undefined, complete: "x" }) }));
    const said = isSaid("bad_option", /^constraint mine: complete must be true or false, not "x"$/);
    expect(() => start.push(0x61)?.complete).toThrow(said);
  });

  test.each<[string, unknown, RegExp]>([
    ["a number", 5, /allowed must be a function, not 5$/],
    ["a function that gives a number", () => 5, /^constraint mine: allowed gave 5, and must give a Uint32Array of 1,/],
    ["that gives another length", () => new Uint32Array(2), /allowed gave a Uint32Array of 2, and must give/],
    ["that gives a promise", () => Promise.reject(new Error("unheard")), /allowed gave a Promise/],
    [
      "that gives tokens that are none",
      () => Uint32Array.of(0xff),
      /allowed gave the bit of token 3, and there are 3$/,
    ],
    [
      "that gives tokens that push refuses",
      () => Uint32Array.of(0b111),
      /gave the bit of token 0, whose bytes push refuses$/,
    ],
    ["that throws", fail, /^constraint mine: allowed failed: mine$/],
  ])("allowed: %s", (_, allowed, message) => {
    expect(() => createConstraint(own({ allowed })).start.allowed?.(vocabulary)).toThrow(isSaid("bad_option", message));
  });
});

test("of a large mask some tokens are tried, the same for a vocabulary of any size", () => {
  const sizeOf = (size: number) => createVocabulary(size, (token) => Uint8Array.of(token % 256));
  const pushesOf = (size: number): number => {
    let count = 0;
    const state: ConstraintState = {
      push() {
        count++;
        return state;
      },
      complete: true,
      allowed: ({ size }) => new Uint32Array(size / 32).fill(0xffffffff),
    };
    createConstraint({ name: "all", tight: true, start: state }).start.allowed?.(sizeOf(size));
    return count;
  };
  expect([32, 64, 256, 4096, 65_536].map(pushesOf)).toEqual([1, 2, 8, 8, 8]);
});

test("a guarded constraint says what its own says, and is made once", () => {
  const state = (rest: string): ConstraintState => ({
    push: (byte) => (byte === rest.charCodeAt(0) ? state(rest.slice(1)) : undefined),
    complete: rest === "",
    allowed: () => Uint32Array.of(rest === "" ? 0 : 1 << (rest.charCodeAt(0) - 0x61)),
  });
  const word: Constraint = { name: "word", tight: true, start: state("cab") };
  const guarded = createConstraint(word);
  expect(createConstraint(word)).toBe(guarded);
  expect(createConstraint(guarded)).toBe(guarded);
  expect([isValid(guarded, "cab"), isValid(guarded, "ca"), isValid(guarded, "x")]).toEqual([true, false, false]);
  expect(guarded.start.allowed?.(vocabulary)).toEqual(tryTokens(guarded.start, vocabulary));
  const { allowed: _, ...without } = word.start;
  expect(createConstraint({ ...word, start: without }).start).not.toHaveProperty("allowed");
});

describe("what names a constraint names one", () => {
  test.each<[string, object, RegExp]>([
    ["two kinds", { regex: "a", choices: ["b"] }, /give exactly one of .*; given: regex, choices$/],
    ["a made one and a kind", { ...own({}), regex: "a" }, /"mine" is a constraint of one's own, and regex beside it/],
    ["none, misspelt", { regx: "a" }, /given: regx; did you mean "regex"\?$/],
    ["nothing", {}, /given: nothing$/],
  ])("%s", (_, choice, message) => {
    expect(() => createConstraint(choice as never)).toThrow(isSaid("bad_option", message));
    expect(() => describeConstraint(choice as never)).toThrow(isSaid("bad_option", message));
  });

  test("a kind that is undefined is not given", () => {
    expect(createConstraint({ regex: "a", choices: undefined } as never).name).toBe("regex");
  });
});

test.each<[string, () => unknown, RegExp]>([
  [
    "bytes that fail",
    () => pushAll(own({}).start, { [Symbol.iterator]: fail } as never),
    /^pushAll: bytes failed: mine$/,
  ],
  [
    "an iterator of bytes that is none",
    () => pushAll(own({}).start, { [Symbol.iterator]: () => ({ next: () => 5 }) } as never),
    /^pushAll: bytes: next of its iterator gave 5/,
  ],
  ["bytes", () => pushAll(own({}).start, [300]), /^pushAll: bytes are whole numbers from 0 to 255, not 300$/],
  ["tokens", () => hasBit(Uint32Array.of(1), Number.NaN), /^hasBit: token must be a whole number from 0 on, not NaN$/],
  ["sizes", () => wordsFor(1.5), /^wordsFor: size must be a whole number from 0 to/],
])("%s are whole numbers", (_, call, message) => {
  expect(call).toThrow(isSaid("bad_option", message));
});
