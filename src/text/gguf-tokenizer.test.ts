import { readFileSync } from "node:fs";
import { copyFile, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { dataPath, noData } from "../../test/data.ts";
import { VentrisError } from "../errors.ts";
import { type GgufMetadata, ggufBytes } from "../weights/gguf.fixture.ts";
import { ggufSplits } from "./gguf-splits.ts";
import { readGgufTokenizer } from "./gguf-tokenizer.ts";
import { openTok512 } from "./llama2c.ts";
import { openTokenizer } from "./open-tokenizer.ts";

beforeEach(() => void vi.spyOn(process, "emitWarning").mockImplementation(() => {}));
afterEach(() => vi.restoreAllMocks());

const keyed = <T>(values: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [`tokenizer.ggml.${key}`, value]));

async function folderWith(metadata: GgufMetadata, files: Record<string, unknown> = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ventris-gguf-tokenizer-"));
  await writeFile(join(folder, "model.gguf"), ggufBytes(metadata, []));
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), JSON.stringify(content));
  return folder;
}

const reference = JSON.parse(
  gunzipSync(readFileSync(fileURLToPath(new URL("reference-ids.json.gz", import.meta.url)))).toString(),
);
const { vocab, merges } = reference.vocabularies.byte as { vocab: string[]; merges: string[] };
const bytes = keyed<GgufMetadata[string]>({
  model: "gpt2",
  tokens: vocab,
  merges,
  token_type: { int32s: vocab.map((_, id) => (id < 2 ? 3 : 1)) },
  bos_token_id: 0,
  eos_token_id: 1,
});

describe("byte-level tokenizers", () => {
  it.each([
    ["gpt-2", "bytelevel"],
    ["qwen2", "split qwen2"],
    ["llama-bpe", "ignore merges"],
    ["gpt-4o", "split o200k"],
    ["starcoder", "digits True"],
    ...[
      "qwen35",
      "deepseek-v3",
      "bloom",
      "viking",
      "bailingmoe",
      "seed-coder",
      "exaone-moe",
      "jais-2",
      "superbpe",
      "deepseek-llm",
    ].map((pre) => [pre, `pre ${pre}`]),
    ...["tiny_aya", "kimi-k2", "chameleon"].map((pre) => [pre, `pre ${pre}`]),
  ])("cut texts by their pre name: %s gives the reference's ids of %s", async (pre, name) => {
    const { cases } = reference.configs.find((config: { name: string }) => config.name === name);
    const tokenizer = await openTokenizer(await folderWith({ ...bytes, "tokenizer.ggml.pre": pre }));
    for (const [text, ids] of cases) expect([text, tokenizer.encode(text, { special: false })]).toEqual([text, ids]);
    expect([tokenizer.beginToken, tokenizer.endTokens]).toEqual([0, [1]]);
    expect(tokenizer.encode("a").length).toBe(["llama-bpe", "chameleon"].includes(pre) ? 2 : 1);
  });

  it("read with every name that is known, and any text back", async () => {
    for (const pre of Object.keys(ggufSplits)) {
      const tokenizer = (await readGgufTokenizer(
        {
          "tokenizer.ggml.model": "gpt2",
          "tokenizer.ggml.tokens": vocab,
          "tokenizer.ggml.merges": merges,
          "tokenizer.ggml.pre": pre,
        },
        "x.gguf",
      ))!;
      fc.assert(
        fc.property(fc.string({ unit: "grapheme" }), (text) => {
          expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
        }),
        { numRuns: 20 },
      );
    }
  });

  it("have kinds of tokens, flags and a chat template", async () => {
    const tokens = [...vocab, "<|user|>", "<tool>", "[PAD]"];
    const tokenizer = await openTokenizer(
      await folderWith({
        ...bytes,
        ...keyed<GgufMetadata[string]>({
          tokens,
          token_type: {
            int32s: tokens.map((_, id) =>
              id < 2 || id === vocab.length ? 3 : id === vocab.length + 1 ? 4 : id > vocab.length ? 5 : 1,
            ),
          },
          pre: "gpt-2",
          eot_token_id: vocab.length,
          add_bos_token: true,
        }),
        "tokenizer.chat_template": "{{ bos_token }}{% for m in messages %}<|user|>{{ m.content }}{% endfor %}",
      }),
    );
    expect(tokenizer.endTokens).toEqual([1, vocab.length]);
    expect([...tokenizer.specialTokens!.keys()]).toEqual(["<s>", "</s>", "<|user|>"]);
    expect(tokenizer.encode("<tool>")).toEqual([0, vocab.length + 1]);
    const ids = tokenizer.encodeChat!([{ role: "user", content: "<|user|>" }]);
    expect(ids.slice(0, 2)).toEqual([0, vocab.length]);
    expect(ids.slice(2)).not.toContain(vocab.length);
  });
});

const stories = dataPath("stories260k");
describe.skipIf(!stories)(`SentencePiece by scores${stories ? "" : `: ${noData}`}`, () => {
  async function metadata(change: Record<string, GgufMetadata[string]> = {}): Promise<GgufMetadata> {
    const file = readFileSync(join(stories!, "tok512.bin"));
    const tokens: string[] = [];
    const scores: number[] = [];
    for (let at = 4; at < file.length; at += 8 + file.readInt32LE(at + 4)) {
      scores.push(file.readFloatLE(at));
      tokens.push(file.toString("utf8", at + 8, at + 8 + file.readInt32LE(at + 4)).replaceAll(" ", "▁"));
    }
    for (const [id, content] of ["<unk>", "<s>", "</s>"].entries()) tokens[id] = content;
    return keyed({
      model: "llama",
      tokens,
      scores: { float32s: scores },
      token_type: { int32s: tokens.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1)) },
      unknown_token_id: 0,
      bos_token_id: 1,
      eos_token_id: 2,
      ...change,
    });
  }

  it("gives the ids of llama2.c's own file, and any text back", async () => {
    const own = await openTokenizer(await folderWith(await metadata()));
    const other = await openTok512(join(stories!, "tok512.bin"));
    // The sign that stands for a space is one to the file, as it is to SentencePiece.
    const texts = fc.oneof(fc.string({ unit: "grapheme" }), fc.lorem()).filter((text) => !text.includes("▁"));
    fc.assert(
      fc.property(texts, (text) => {
        expect(own.encode(text)).toEqual(other.encode(text));
        expect(own.decode(own.encode(text))).toBe(text);
      }),
    );
    expect([own.beginToken, own.endTokens, own.dropsLeadingSpace]).toEqual([1, [2], true]);
    expect(own.encode("<s>", { special: false })).not.toContain(1);
  });

  it("merges a character that is no piece into one that holds it, and prepends no space where the file says so", async () => {
    const tokenizer = (await readGgufTokenizer(
      {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "a", "日a", "<0xE6>", "<0x97>", "<0xA5>"],
        "tokenizer.ggml.scores": [0, -1, -2, 0, 0, 0],
        "tokenizer.ggml.token_type": [2, 1, 1, 6, 6, 6],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_space_prefix": false,
        "tokenizer.ggml.add_bos_token": false,
      },
      "x.gguf",
    ))!;
    expect(tokenizer.encode("a日aa日x")).toEqual([1, 2, 1, 3, 4, 5, 0]);
  });
});

describe("a tokenizer beside the file", () => {
  const json = (change: object = {}) => ({
    added_tokens: [0, 1].map((id) => ({ id, content: vocab[id], special: true })),
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab: Object.fromEntries(vocab.map((token, id) => [token, id])), merges },
    ...change,
  });
  const gpt2 = { ...bytes, "tokenizer.ggml.pre": "gpt-2" };

  it("is used with its settings when it is the same", async () => {
    const folder = await folderWith(gpt2, {
      "tokenizer.json": json(),
      "generation_config.json": { eos_token_id: [7] },
    });
    expect((await openTokenizer(folder)).endTokens).toEqual([7]);
    expect((await openTokenizer(join(folder, "model.gguf"))).endTokens).toEqual([7]);
  });

  it.each<[string, object, RegExp]>([
    [
      "cuts otherwise",
      { pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: false } },
      /encode .* differently/,
    ],
    [
      "has other tokens",
      {
        model: { type: "BPE", vocab: Object.fromEntries([...vocab].reverse().map((token, id) => [token, id])), merges },
      },
      /the token 0 is "<s>" and/,
    ],
  ])("is refused when it %s", async (_, change, message) => {
    const folder = await folderWith(gpt2, { "tokenizer.json": json(change) });
    for (const path of [folder, join(folder, "model.gguf")]) {
      await expect(openTokenizer(path)).rejects.toMatchObject({
        code: "bad_file",
        message: expect.stringMatching(message),
      });
    }
  });

  const cases = dataPath("..", "cases", "gguf-own-tokenizer");
  it.skipIf(!cases)("is refused in the case kept beside the repository; alone, the file's own is read", async () => {
    await expect(openTokenizer(cases!)).rejects.toMatchObject({ code: "bad_file" });
    const alone = await mkdtemp(join(tmpdir(), "ventris-gguf-alone-"));
    await copyFile(join(cases!, "model.gguf"), join(alone, "model.gguf"));
    const tokenizer = await openTokenizer(alone);
    expect([tokenizer.vocabularySize, tokenizer.beginToken, tokenizer.endTokens]).toEqual([258, 0, [1]]);
    expect(tokenizer.decode(tokenizer.encode("hello ½"))).toBe("hello ½");
  });
});

describe("unsound headers", () => {
  const sound: Record<string, unknown> = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "a", "b"],
    "tokenizer.ggml.scores": [0, -1, -2],
    "tokenizer.ggml.token_type": [2, 1, 1],
  };
  it.each<[object, RegExp]>([
    [{ model: "t5" }, /model "t5" is not supported/],
    [{ model: 5 }, /model 5 is not supported/],
    [{ model: "gpt2", pre: "unheard", merges: [] }, /pre = "unheard" is not supported/],
    [{ model: "gpt2", pre: "toString", merges: [] }, /pre = "toString" is not supported/],
    [{ model: "gpt2", pre: "gpt-2" }, /merges is not a list/],
    [{ tokens: undefined }, /tokens is not a list/],
    [{ tokens: [1] }, /tokens is not a list/],
    [{ scores: [0] }, /scores does not give/],
    [{ scores: [0, 1, Number.NaN] }, /scores does not give/],
    [{ token_type: [1] }, /token_type does not give/],
    [{ token_type: [1, 1, 6] }, /"b", stands for no byte/],
    [{ bos_token_id: 3 }, /bos_token_id = 3 is no token/],
    [{ add_bos_token: "yes" }, /add_bos_token = "yes" is neither/],
  ])("are refused: %j", async (change, message) => {
    await expect(
      readGgufTokenizer({ ...sound, ...keyed(change as Record<string, unknown>) }, "x.gguf"),
    ).rejects.toMatchObject({
      code: "bad_file",
      message: expect.stringMatching(message),
    });
  });

  it("give our error or a tokenizer that works, whatever they hold", async () => {
    const value = fc.oneof(fc.anything(), fc.array(fc.oneof(fc.string(), fc.integer(), fc.double())));
    const keys = [
      "model",
      "tokens",
      "scores",
      "token_type",
      "merges",
      "pre",
      "bos_token_id",
      "add_bos_token",
      "add_space_prefix",
    ];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...keys), value, fc.boolean(), async (key, replaced, bpe) => {
        const base = bpe ? { ...sound, ...keyed<unknown>({ model: "gpt2", merges: ["a b"], pre: "gpt-2" }) } : sound;
        try {
          const tokenizer = await readGgufTokenizer({ ...base, [`tokenizer.ggml.${key}`]: replaced }, "x.gguf");
          tokenizer?.decode(tokenizer.encode("ab"));
        } catch (error) {
          expect(error).toBeInstanceOf(VentrisError);
        }
      }),
      { numRuns: 300 },
    );
  });
});
