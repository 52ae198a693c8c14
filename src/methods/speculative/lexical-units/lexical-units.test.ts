/** Units in texts, their packed form, acceptance, and decoding with and without verification. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { removeModel, type TinyModel, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../../calls.ts";
import type { RequestOptions } from "../../../engine/decoding.ts";
import type { ForestNode } from "../../../engine/forest.ts";
import type { Shaper } from "../../../engine/shapers/shaper.ts";
import { type Model, open } from "../../../open.ts";
import { identifyUnits, packUnits } from "../../../training/lexical-units.ts";
import { acceptedLength, isRepetition } from "./index.ts";

describe("units of a text", () => {
  test("are maximal runs above alpha, strictly, and longer ones in parts", () => {
    const sure = [0.9, 0.8, 0.81, 0.95, 0.2, 0.9, 0.99, 0.99, 0.99, 0.99];
    expect(identifyUnits(sure, 0.8)).toEqual([
      [0, 1],
      [2, 4],
      [5, 10],
    ]);
    expect(identifyUnits(sure, 0.8, 3)).toEqual([
      [0, 1],
      [2, 4],
      [5, 8],
      [8, 10],
    ]);
    expect(identifyUnits(sure, 0.95)).toEqual([[6, 10]]);
    expect(identifyUnits([], 0.5)).toEqual([]);
    // As alpha grows there are fewer tokens in units.
    const inUnits = (alpha: number) => identifyUnits(sure, alpha).reduce((sum, [from, to]) => sum + to - from, 0);
    const counts = [0.1, 0.5, 0.85, 0.97].map(inUnits);
    expect(counts).toEqual([...counts].sort((a, b) => b - a));
  });

  test("stand behind the text as placeholders that see what is before them and each other", () => {
    const [length, longest, most] = [6, 3, 2];
    const tokens = Int32Array.from([10, 11, 12, 13, 14, 15, 16]);
    const units = [
      [0, 2],
      [1, 3],
      [3, 6],
    ] as const; // the first has nothing before it that could say it
    const packed = packUnits({ tokens, rows: 1, length }, () => units, { pad: 7, longest, share: 0.5, units: most }, 1);
    expect(packed.whole).toBe(10);
    expect([...packed.tokens]).toEqual([10, 11, 12, 13, 14, 15, 7, 7, 7, 7]);
    // Of [1, 3): one placeholder at position 1 learns token 2. Of [3, 6): at 3 and 4, tokens 4 and 5.
    expect([...packed.positions].slice(6)).toEqual([1, 0, 3, 4]);
    expect([...packed.targets].slice(6)).toEqual([12, 0, 14, 15]);
    const seen = (row: number): number[] =>
      Array.from({ length: 10 }, (_, key) => key).filter((key) => packed.mask[row * 10 + key] === 0);
    expect(seen(2)).toEqual([0, 1, 2]);
    expect(seen(6)).toEqual([0, 6]);
    expect(seen(8)).toEqual([0, 1, 2, 8]);
    expect(seen(9)).toEqual([0, 1, 2, 8, 9]);
    expect(packed.weights.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
    expect(packed.weights[6]).toBeCloseTo(0.5 / 3, 6);
    expect(packed.weights[7]).toBe(0); // not used
    expect(packed.learned).toBe(3);
    // Without units the text has all of the loss.
    const none = packUnits({ tokens, rows: 1, length }, () => [], { pad: 7, longest, share: 0.5, units: most }, 1);
    expect(none.learned).toBe(0);
    expect([...none.weights]).toEqual([...Array(6).fill(Math.fround(1 / 6)), 0, 0, 0, 0]);
  });
});

test("tokens are taken while each is sure enough and none repeats", () => {
  const never = (): boolean => false;
  expect(acceptedLength([1, 2, 3], [0.95, 0.9, 0.89], 0.9, never)).toBe(2);
  expect(acceptedLength([1, 2, 3], [0.1, 1, 1], 0.9, never)).toBe(1);
  expect(acceptedLength([1, 2, 3], [1, 1, 1], 1.5, never)).toBe(1);
  expect(acceptedLength([1, 2, 2], [1, 1, 1], 0.9, (a, b) => a === b)).toBe(2);
  const text = (token: number): string => [" the", " there", " cat", "!"][token];
  expect(isRepetition(0, 0, text)).toBe(true);
  expect(isRepetition(0, 1, text)).toBe(true); // "there" begins with "the"
  expect(isRepetition(1, 0, text)).toBe(false);
  expect(isRepetition(3, 2, text)).toBe(false);
  expect(isRepetition(2, 3, undefined)).toBe(false);
});

describe("decoding", () => {
  let tiny: TinyModel;
  let model: Model;
  beforeAll(async () => {
    tiny = await writeTinyModel({ tokenizer: true, config: { eos_token_id: undefined } });
    model = await open(tiny.folder, { threads: 1 });
  });
  afterAll(async () => {
    await model.close();
    await removeModel(tiny);
  });
  const text = [5, 9, 2, 33, 14];
  const method = (more: object) => methodChoice({ name: "lexical-units", pad: 7, ...more });
  const run = { temperature: 0, maxTokens: 24, frequencyPenalty: 2 };

  test("beta above 1, one token ahead, and verification give greedy's text", async () => {
    const plain = await model.decode(text, run).final;
    for (const more of [{ beta: 1.5 }, { lookAhead: 1 }, { verify: true }, { verify: true, lookAhead: 1 }]) {
      const { tokens, counters } = await model.decode(text, { ...run, method: method(more) }).final;
      expect(tokens, JSON.stringify(more)).toEqual(plain.tokens);
      if (!("verify" in more)) expect(counters.tokensPerPass).toBe(1);
    }
  });

  test("beta 0 takes all, whose first are those of a pass over the placeholders, and leaves nothing behind", async () => {
    const { tokens, counters, finish } = await model.decode(text, {
      temperature: 0,
      maxTokens: 11,
      method: method({ beta: 0, guard: false }),
    }).final;
    expect([tokens.length, finish]).toEqual([11, "length"]);
    expect(counters.tokensPerPass).toBeGreaterThan(3);
    const argmax = (values: ArrayLike<number>): number => Array.from(values).indexOf(Math.max(...Array.from(values)));
    const first = argmax(tiny.logits(text).at(-1)!);
    const behind = tiny
      .logits([...text, first, 7, 7, 7])
      .slice(-4)
      .map(argmax);
    expect(tokens.slice(0, 5)).toEqual([first, ...behind]);
    // What was accepted is a row of its own in the next pass, not its placeholder's.
    expect(argmax(tiny.logits([...text, ...tokens.slice(0, 5)]).at(-1)!)).toBe(tokens[5]);
    expect(model.forest.held).toBe(0);
  });

  test("shapers see before a placeholder what was said before it in the same pass", async () => {
    const all = method({ beta: 0, guard: false });
    const decode = async (options: RequestOptions & { shapers?: readonly never[] } = {}) =>
      (await model.decode(text, { temperature: 0, maxTokens: 32, method: all, ...options }).final).tokens;
    const pairsTwice = (tokens: readonly number[]): number => {
      const pairs = [...text, ...tokens].slice(1).map((token, i) => `${[...text, ...tokens][i]} ${token}`);
      return pairs.length - new Set(pairs).size;
    };
    expect(pairsTwice(await decode())).toBeGreaterThan(5);
    expect(pairsTwice(await decode({ noRepeatNgram: 2 }))).toBe(0);
    expect(pairsTwice(await decode({ noRepeatNgram: 2, temperature: 0.9 }))).toBe(0);
    expect(new Set(await decode({ frequencyPenalty: 100, maxTokens: 16 })).size).toBe(16);

    const repetitionPenalty = 3;
    const [first] = await decode({ repetitionPenalty });
    const wanted = [first];
    for (const row of tiny.logits([...text, first, 7, 7, 7]).slice(-4)) {
      const scores = Array.from(row, (x, token) =>
        [...text, ...wanted].includes(token) ? (x > 0 ? x / repetitionPenalty : x * repetitionPenalty) : x,
      );
      wanted.push(scores.indexOf(Math.max(...scores)));
    }
    expect((await decode({ repetitionPenalty })).slice(0, 5)).toEqual(wanted);

    // A shaper of a caller's own is shown each place once, behind the text as it came to be; so are states that go from token to token.
    const prepared: string[] = [];
    const texts: string[] = [];
    const textOf = (node: ForestNode | undefined): number[] => (node ? [...textOf(node.parent), node.token] : []);
    const shaper: Shaper = {
      name: "watching",
      async prepare(nodes) {
        for (const node of nodes) prepared.push(textOf(node).join());
      },
      logits(node, logits) {
        texts.push(textOf(node).join());
        return logits;
      },
    };
    const said = await decode({ shapers: [(() => shaper) as never] });
    for (const end of said.keys()) {
      const before = [...text, ...said.slice(0, end)].join();
      expect(texts).toContain(before);
      expect(prepared).toContain(before);
    }
    expect(await decode({ mirostat: { version: 2 }, temperature: 0.9 })).toHaveLength(32);
  });

  test("ends with the context, and refuses what it cannot honour by name", async () => {
    const full = Array.from({ length: 93 }, (_, i) => 3 + (i % 40));
    const { finish, tokens } = await model.decode(full, { temperature: 0, method: method({ beta: 0 }) }).final;
    expect(finish).toBe("context");
    expect(tokens.length).toBeLessThanOrEqual(4);
    const decode = (more: object, options = {}) =>
      model.decode(text, { ...run, ...options, method: method(more) }).final;
    await expect(decode({ pad: 64 })).rejects.toThrow(/pad: 64 is outside the vocabulary of 64/);
    await expect(decode({}, { stopTokens: [7] })).rejects.toThrow(/pad: 7 ends the text/);
    await expect(decode({ pad: undefined })).rejects.toThrow(/pad: the tokenizer of .* has no <\|pad\|>/);
    expect(() => decode({ beta: -1 })).toThrow(/beta/);
    expect(() => decode({ lookAhead: 99 })).toThrow(/lookAhead/);
    await expect(decode({ verify: true, beta: 0.5 })).rejects.toThrow(/beta: means nothing with verify: true/);
    await expect(decode({ verify: true, guard: true })).rejects.toThrow(/guard: means nothing with verify: true/);
    await expect(decode({}, { constraint: { regex: "[a-z]+" } })).rejects.toThrow(
      /constraint: lexical-units.*verify: true/,
    );
  });
});
