/**
 * Ids of the reference: Hugging Face tokenizers 0.23.2 (Rust), asked for every step of tokenizer.json in its variants, and for the
 * patterns of well-known models, on texts made at random of what steps disagree about.
 */
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { dataPath } from "../../test/data.ts";
import { openTokenizer } from "./open-tokenizer.ts";

interface Configuration {
  name: string;
  base: "byte" | "spm" | "unigram" | "wordpiece";
  normalizer: unknown;
  pre_tokenizer: unknown;
  added: unknown[];
  model: object;
  cases: [text: string, ids: number[]][];
}

const file = fileURLToPath(new URL("reference-ids.json.gz", import.meta.url));
const { vocabularies, configs, decoded } = JSON.parse(gunzipSync(readFileSync(file)).toString()) as {
  vocabularies: {
    byte: { vocab: string[]; merges: string[] };
    spm: { vocab: string[]; merges: (string | [string, string])[] };
    unigram: { vocab: [string, number][] };
    wordpiece: { vocab: string[] };
  };
  configs: Configuration[];
  decoded: [ids: number[], text: string][];
};

const numbered = (vocab: string[]) => Object.fromEntries(vocab.map((token, id) => [token, id]));

function modelOf({ base, model }: Configuration): object {
  if (base === "unigram") return { type: "Unigram", ...vocabularies.unigram, ...model, unk_id: 0 };
  if (base === "wordpiece") return { type: "WordPiece", vocab: numbered(vocabularies.wordpiece.vocab), ...model };
  const { vocab, merges } = vocabularies[base];
  return { type: "BPE", vocab: numbered(vocab), merges, ...model };
}

async function open(json: unknown) {
  const folder = await mkdtemp(join(tmpdir(), "ventris-reference-"));
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(json));
  return openTokenizer(folder);
}

const ids = (tokenizer: Awaited<ReturnType<typeof open>>, texts: string[]) =>
  texts.map((text) => [text, tokenizer.encode(text, { special: false, allowSpecial: true })]);

describe("ids are those of the reference", () => {
  beforeAll(() => {
    vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    return () => vi.restoreAllMocks();
  });

  it.each(configs.map((config) => [config.name, config] as const))("%s", async (_, config) => {
    const decoder =
      config.base === "byte"
        ? { type: "ByteLevel" }
        : { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] };
    const { normalizer, pre_tokenizer, added, cases } = config;
    const tokenizer = await open({ added_tokens: added, normalizer, pre_tokenizer, decoder, model: modelOf(config) });
    expect(
      ids(
        tokenizer,
        cases.map(([text]) => text),
      ),
    ).toEqual(cases);
    // A limit changes no ids, and is met exactly.
    for (const [text, { length: most }] of cases) {
      const encode = (limit: number) => tokenizer.encode(text, { special: false, allowSpecial: true, most: limit });
      expect(encode(most)).toHaveLength(most);
      if (most > 0) expect(() => encode(most - 1)).toThrow(expect.objectContaining({ code: "context_full" }));
    }
  });
});

it("word pieces are put together again as the reference does", async () => {
  const config = configs.find(({ name }) => name === "word pieces, BERT")!;
  const { normalizer, pre_tokenizer, added } = config;
  const decoder = { type: "WordPiece", prefix: "##", cleanup: true };
  const tokenizer = await open({ added_tokens: added, normalizer, pre_tokenizer, decoder, model: modelOf(config) });
  for (const [given, text] of decoded) expect(tokenizer.decode(given)).toBe(text);
});

describe("whole words, as the reference has them", () => {
  const words = { "[UNK]": 0, "[EOS]": 1, the: 2, king: 3, reads: 4, ".": 5, ",": 6, don: 7, "'": 8, t: 9, é: 10 };
  const json = {
    added_tokens: ["[UNK]", "[EOS]"].map((content, id) => ({ id, content, special: true })),
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "Whitespace" },
    decoder: null as unknown,
    model: { type: "WordLevel", vocab: words, unk_token: "[UNK]" },
  };
  const cleaned = { ...json, decoder: { type: "WordPiece", prefix: "##", cleanup: true } };

  it.each<[text: string, ids: number[], plain: string, clean: string]>([
    ["The king reads.", [2, 3, 4, 5], "the king reads .", "the king reads."],
    ["the  king,reads", [2, 3, 6, 4], "the king , reads", "the king, reads"],
    ["Don't", [7, 8, 9], "don ' t", "don ' t"],
    ["é É unknown the", [10, 10, 0, 2], "é é [UNK] the", "é é [UNK] the"],
    ["[EOS]the king[EOS]", [1, 2, 3, 1], "[EOS] the king [EOS]", "[EOS] the king [EOS]"],
    [" ", [], "", ""],
    ["king's", [3, 8, 0], "king ' [UNK]", "king ' [UNK]"],
  ])("%j", async (text, expected, plain, clean) => {
    const tokenizer = await open(json);
    expect(tokenizer.encode(text, { special: false, allowSpecial: true })).toEqual(expected);
    expect(tokenizer.decode(expected, { special: true })).toBe(plain);
    expect((await open(cleaned)).decode(expected, { special: true })).toBe(clean);
  });

  it("without special tokens in the text, and refused where nothing stands for a word", async () => {
    expect((await open(json)).decode([1, 2, 3, 1])).toBe("the king");
    const { "[UNK]": _, ...known } = words;
    const none = await open({ ...json, added_tokens: [], model: { ...json.model, vocab: known } });
    expect(() => none.encode("the queen")).toThrow(/no token stands for "queen"/);
  });
});

const casesFolder = dataPath("..", "cases", "tokenizers");
describe.skipIf(!casesFolder)("cases kept beside the repository", () => {
  it.each(casesFolder ? readdirSync(casesFolder) : [])("%s", async (name) => {
    const { tokenizer, cases } = JSON.parse(readFileSync(join(casesFolder!, name), "utf8"));
    const opened = await open(tokenizer);
    const expected = cases.map(({ text, ids }: { text: string; ids: number[] }) => [text, ids]);
    expect(
      ids(
        opened,
        cases.map(({ text }: { text: string }) => text),
      ),
    ).toEqual(expected);
  });
});
