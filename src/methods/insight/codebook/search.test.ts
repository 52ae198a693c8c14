/** Searching codes: which token a match ends in, precision and recall by counting, the best neuron by brute force, places as marked text. */
import { describe, expect, test } from "vitest";
import { llamaConfig } from "../../../../test/fixtures/tiny-model.ts";
import { uniform } from "../../../engine/random.ts";
import { familyOf } from "../../../models/families.ts";
import { sitesOf } from "../../../models/sites.ts";
import type { Tokenizer } from "../../../text/index.ts";
import { idsReading } from "./bottleneck.ts";
import { codedText, commonCodes } from "./browse.ts";
import { codeExamples } from "./examples.ts";
import {
  bestNeuron,
  type CodeCache,
  cacheCodes,
  findCodes,
  firedAt,
  matchedTokens,
  type Reading,
  searchCodes,
  tokensBefore,
} from "./search.ts";
import { steerStories, topicCodes } from "./steering.ts";
import { initialCodebooks } from "./train.ts";

/** Two bytes a token: letters of more than one byte are cut between tokens. */
const encoder = new TextEncoder();
const tokenizer = {
  encode: (text: string) => {
    const bytes = encoder.encode(text);
    return Array.from({ length: Math.ceil(bytes.length / 2) }, (_, i) => bytes[2 * i] * 256 + (bytes[2 * i + 1] ?? 0));
  },
  tokenBytes: (id: number) => Uint8Array.of(id >> 8, ...(id & 255 ? [id & 255] : [])),
  dropsLeadingSpace: false,
} as unknown as Tokenizer;

const { family, config } = familyOf(llamaConfig);
const codebooks = initialCodebooks(family, config, {
  sites: [{ site: "layers.0.mlp.output", groups: 2 }],
  codes: 8,
  k: 2,
  similarity: "inner",
  aggregate: "sum",
});
const site = "layers.0.mlp.output";

/** Codes by the token alone: code 3 of codebook 1 fires just at tokens that begin with "d". */
const idsOf = (token: number, place: number): number[] => {
  const first = String.fromCharCode(token >> 8);
  return [place % 8, (place + 1) % 8, first === "d" ? 3 : 5, first === "d" ? 6 : 7];
};
const read: number[][] = [];
const model: Reading = {
  tokenizer,
  sites: () => sitesOf(family, config),
  forward: async (sequences) => {
    read.push(...sequences.map(({ tokens }) => Array.from(tokens)));
    return sequences.map(({ tokens }) => ({
      logits: new Float32Array(),
      taps: {
        [idsReading(site)]: {
          rows: tokens.length,
          width: 4,
          values: Float32Array.from(Array.from(tokens).flatMap((token, place) => idsOf(token, place))),
        },
        "layers.0.mlp.neurons": {
          rows: tokens.length,
          width: 3,
          values: Float32Array.from(
            Array.from(tokens).flatMap((token) => [token % 7, token >> 8 === 100 ? -5 : token % 3, 1]),
          ),
        },
      },
    }));
  },
};
const texts = ["a dog ran. the dog sat", "no animal here", "ädäg dog"];
const cached = (): Promise<CodeCache> => cacheCodes(model, codebooks, texts, { more: ["layers.0.mlp.neurons"] });

describe("searching codes", () => {
  test("a text is read to its end where so many stretches may be, and what is left over is counted", async () => {
    const text = "a dog ran. the dog sat";
    const ids = Array.from(tokenizer.encode(text));
    read.length = 0;
    const beginning = await cacheCodes(model, codebooks, [text], { longest: 4 });
    expect([beginning.tokens, beginning.cut, read]).toEqual([4, 1, [ids.slice(0, 4)]]);

    read.length = 0;
    const begun = { ...model, tokenizer: { ...tokenizer, beginToken: 9 } };
    const cache = await cacheCodes(begun, codebooks, [text, text], { longest: 4, most: 4 });
    const pieces = [ids.slice(0, 4), [9, ...ids.slice(4, 7)], [9, ...ids.slice(7, 10)], [9, ...ids.slice(10)]];
    expect([cache.tokens, cache.cut, read]).toEqual([ids.length, 1, pieces]);
    // Of a stretch behind the first the begin token's row is no token of the text.
    expect([...cache.sites[0].ids.subarray(4 * 4, 5 * 4)]).toEqual(idsOf(ids[4], 1));
    expect(matchedTokens(cache, "sat")).toEqual([ids.length - 1]);
    const whole = await cacheCodes(begun, codebooks, [text, text], { longest: 4, most: 8 });
    expect([whole.texts.map(({ from }) => from), whole.cut]).toEqual([[0, ids.length], 0]);
  });

  test("what would fill the memory is refused before anything is read", async () => {
    read.length = 0;
    const name = "layers.0.mlp.neurons";
    const wide = { ...model, sites: () => [...model.sites(), { name: "wide", width: 2 ** 28, rows: "all" as const }] };
    await expect(cacheCodes(wide, codebooks, texts, { more: ["wide"] })).rejects.toMatchObject({
      code: "out_of_memory",
      message: expect.stringMatching(/those of \d+ tokens would take \d+ GiB of memory, more than 4: give fewer texts/),
    });
    expect(read).toEqual([]);
    await expect(cacheCodes(model, codebooks, texts, { more: [`${name}s`] })).rejects.toThrow(/did you mean/);
  });

  test("numbers that mean nothing are refused", async () => {
    for (const options of [{ longest: 0 }, { longest: Number.NaN }, { most: -1 }])
      await expect(cacheCodes(model, codebooks, texts, options)).rejects.toThrow(/whole number from 1 on/);
    await expect(cacheCodes(model, [], texts)).rejects.toThrow(/no codebooks were given/);
    const cache = await cached();
    const values = { width: 1, values: new Float32Array(3) };
    const refused: [() => unknown, RegExp][] = [
      [() => searchCodes(cache, [0], { precision: Number.NaN }), /precision must be a number in \[0, 1\], not NaN/],
      [() => searchCodes(cache, [0], { limit: -1 }), /limit must be a whole number/],
      [() => commonCodes(cache, site, 0, { words: 0 }), /words must be a whole number/],
      [() => firedAt(cache, site, 0.5, 0), /no codebook 0.5/],
      [() => firedAt(cache, site, 0, 0.5), /no code 0.5: codes are 0 to 7/],
      [() => codeExamples(cache, [cache.tokens]), /tokens: \d+ is none/],
      [() => codeExamples(cache, [0], { limit: -1 }), /limit must be a number from 0 on/],
      [() => bestNeuron(values, [], 1), /none were given/],
      [() => bestNeuron(values, [0], 2), /recall must be/],
      [() => bestNeuron(values, [3], 1), /tokens\[0\] is 3, and must be a whole number from 0 to 2/],
      [() => bestNeuron({ ...values, width: -1 }, [0], 1), /width must be a whole number from 1 on, not -1/],
      [() => bestNeuron({ ...values, width: 2 }, [0], 1), /3 values are no rows of a width of 2/],
      [() => searchCodes(cache, [cache.tokens]), /tokens\[0\] is \d+/],
    ];
    for (const [call, message] of refused) expect(call).toThrow(message);
    const options = { texts, samples: 1, topics: ["constructor"] };
    await expect(steerStories(model as never, codebooks, options)).rejects.toThrow(/no topic constructor/);
  });

  test("a match is the token in which group 1, or the whole, ends, between bytes of a letter too", async () => {
    const cache = await cached();
    const textOf = (place: number): string => {
      const own = cache.texts.findLast(({ from }) => from <= place)!;
      return own.text.slice(place === own.from ? 0 : own.ends[place - own.from - 1], own.ends[place - own.from]);
    };
    expect(matchedTokens(cache, "dog").map(textOf)).toEqual(["g ", "og", "og"]);
    expect(matchedTokens(cache, "(d)og").map(textOf)).toEqual(["d", "d", "d"].map(() => expect.stringContaining("d")));
    // "ä" is two bytes: [ä][dä's first …]; a token that ends within a letter ends where the letter begins.
    const third = cache.texts[2];
    expect(third.ends.at(-1)).toBe(third.text.length);
    expect([...third.ends].sort((a, b) => a - b)).toEqual([...third.ends]);
    expect(matchedTokens(cache, "g(?= dog)").map(textOf)).toEqual([expect.stringContaining("g")]);
    expect(matchedTokens(cache, "x*")).toEqual([]); // of no length
    expect(() => matchedTokens(cache, "(")).toThrow(/cannot be read/);
  });

  test("the token before a match, or before its group 1, is the one of the same text whose prediction it is", async () => {
    const cache = await cached();
    const firsts = new Set(cache.texts.map(({ from }) => from));
    for (const expression of ["dog", "(og)", "ran"]) {
      const before = tokensBefore(cache, expression);
      const begun = cache.texts.flatMap(({ text, ends, from }) =>
        [...text.matchAll(new RegExp(expression, "dg"))].map(
          ({ indices }) => from + ends.findIndex((end) => end > (indices![1] ?? indices![0])![0]),
        ),
      );
      expect(before).toEqual(begun.filter((at) => !firsts.has(at)).map((at) => at - 1));
      expect(before.length).toBeGreaterThan(0);
    }
    expect(tokensBefore(cache, "^a dog")).toEqual([]); // nothing stands before it
  });

  test("precision and recall are shares of where it fires and of what matched", async () => {
    const cache = await cached();
    const places = firedAt(cache, site, 1, 3);
    const matched = [...places.slice(0, 2), ...[0, 2].filter((place) => !places.includes(place))].sort((a, b) => a - b);
    const found = searchCodes(cache, matched, { precision: 0, recall: 0, limit: 100 });
    for (const { group, code, precision, recall, count } of found) {
      const fired = firedAt(cache, site, group, code);
      const both = fired.filter((place) => matched.includes(place)).length;
      expect([precision, recall, count]).toEqual([both / fired.length, both / matched.length, fired.length]);
    }
    expect(searchCodes(cache, places)[0]).toMatchObject({ group: 1, code: 3, precision: 1, recall: 1 });
    expect(searchCodes(cache, [], { precision: 0 })).toEqual([]);
  });

  test("a codebook is listed by how often its codes fire, each with the tokens it fires on", async () => {
    const cache = await cached();
    const { alive, codes } = commonCodes(cache, site, 1);
    const begins = (letter: string): number =>
      cache.texts.flatMap(({ ids }) => ids.filter((id) => String.fromCharCode(id >> 8) === letter)).length;
    const d = begins("d");
    expect(alive).toBe(4);
    expect(codes.map(({ code, count }) => [code, count])).toEqual([
      [5, cache.tokens - d],
      [7, cache.tokens - d],
      [3, d],
      [6, d],
    ]);
    const { tokens } = codes[2];
    expect(tokens.reduce((sum, { count }) => sum + count, 0)).toBe(d);
    for (const { text } of tokens) expect(text).toMatch(/^d/);
    expect(commonCodes(cache, site, 1, { limit: 1 }).codes).toHaveLength(1);
    expect(() => commonCodes(cache, site, 2)).toThrow(/no codebook 2/);
  });

  test("a text is shown token by token, with the codes of one codebook", async () => {
    const pieces = await codedText(model, codebooks, "a dog", { site, group: 1 });
    expect(pieces.map(({ text }) => text)).toEqual(["a ", "do", "g"]);
    expect(pieces.map(({ codes }) => codes)).toEqual([
      [5, 7],
      [3, 6],
      [5, 7],
    ]);
  });

  test("an expression's codes come the most precise first, over all sites; what matches nothing finds none", async () => {
    const cache = await cached();
    const { matched, codes } = findCodes(cache, "(d)og", { precision: 0 });
    expect(matched).toEqual(matchedTokens(cache, "(d)og"));
    expect(codes.map(({ precision }) => precision)).toEqual(
      codes.map(({ precision }) => precision).sort((a, b) => b - a),
    );
    expect(findCodes(cache, "xyz")).toEqual({ matched: [], codes: [] });
  });

  test("the best neuron at a recall is that of brute force over thresholds of both signs", () => {
    const [rows, width] = [60, 4];
    const values = Float32Array.from({ length: rows * width }, (_, i) => uniform({ seed: 2, request: 0 }, i, "data"));
    const tokens = [3, 8, 9, 20, 41, 59];
    for (const recall of [1, 0.5]) {
      let best = 0;
      for (let neuron = 0; neuron < width; neuron++)
        for (const sign of [1, -1])
          for (let at = 0; at < rows; at++) {
            const value = (row: number): number => sign * values[row * width + neuron];
            const hits = tokens.filter((token) => value(token) >= value(at)).length;
            if (hits !== Math.round(recall * tokens.length)) continue;
            let fired = 0;
            for (let row = 0; row < rows; row++) if (value(row) >= value(at)) fired++;
            best = Math.max(best, hits / fired);
          }
      expect(bestNeuron({ width, values }, tokens, recall).precision).toBeCloseTo(best, 12);
    }
  });

  test("places are shown as text, with everything that fires marked, of different texts first", async () => {
    const cache = await cached();
    const places = firedAt(cache, site, 1, 3);
    const examples = codeExamples(cache, places, { limit: 2, around: 3 });
    expect(new Set(examples.map(({ document }) => document)).size).toBe(2);
    for (const { document, pieces } of examples) {
      expect(texts[document]).toContain(pieces.map(({ text }) => text).join(""));
      expect(pieces.some(({ fired }) => fired)).toBe(true);
      for (const { text, fired } of pieces) if (fired) expect(text).toContain("d");
    }
    expect(codeExamples(cache, [])).toEqual([]);
    expect(codeExamples(cache, places, { limit: 0 })).toEqual([]);
  });

  test("a topic's codes go into the weakest slots, one after another, and never the strongest of several", async () => {
    const cache = await cached();
    const changes = topicCodes(cache, "dog", { precision: 0, recall: 0 });
    expect(changes.length).toBeGreaterThan(0);
    for (const change of changes) expect(change).toMatchObject({ site, slot: -1 });
    expect(new Set(changes.map(({ group }) => group)).size).toBe(changes.length); // k is 2: one slot of each
    expect(topicCodes(cache, "dragon")).toEqual([]);
  });

  test("steering compares texts with the topic's codes, with none and with random ones", async () => {
    const asked: number[] = [];
    const writer = {
      ...model,
      tokenizer: { ...tokenizer, beginToken: 0 } as Tokenizer,
      decode: (_: unknown, { request, edits }: { request: number; edits: { key?: string }[] }) => {
        asked.push(request);
        const patched = edits.some(({ key }) => key);
        return { final: Promise.resolve({ text: patched ? "A Dragon came." : "A dragonfly came." }) };
      },
    };
    const texts = ["a dragon", "the dragon ran"];
    const [found] = await steerStories(writer, codebooks, { texts, samples: 4, topics: ["dragon"] });
    expect(asked).toHaveLength(12);
    expect(found).toMatchObject({ topic: "dragon", free: 0 });
    if (found.codes > 0) expect(found.patched).toBe(1);
    await expect(steerStories(writer, codebooks, { texts, samples: 1, topics: ["dargon"] })).rejects.toThrow(
      /no topic/,
    );
  });

  test("what is not there is refused by name", async () => {
    const cache = await cached();
    expect(() => firedAt(cache, "layers.9.mlp.output", 0, 0)).toThrow(/no codebook at layers.9.mlp.output/);
    expect(() => firedAt(cache, site, 2, 0)).toThrow(/2 codebooks: there is no codebook 2/);
    expect(() => firedAt(cache, site, 0, 8)).toThrow(/no code 8/);
    await expect(cacheCodes(model, codebooks, [])).rejects.toThrow(/no texts/);
    await expect(cacheCodes(model, codebooks, [""])).rejects.toThrow(/empty/);
    await expect(cacheCodes({ ...model, tokenizer: undefined }, codebooks, texts)).rejects.toThrow(/no tokenizer/);
    const signal = AbortSignal.abort();
    await expect(cacheCodes(model, codebooks, texts, { signal })).rejects.toMatchObject({ code: "aborted" });
  });
});
