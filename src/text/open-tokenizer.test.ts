import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dataPath, noData } from "../../test/data.ts";
import { VentrisError } from "../errors.ts";
import { byteCharacters } from "./byte-level.ts";
import { openTok512 } from "./llama2c.ts";
import { openTokenizer } from "./open-tokenizer.ts";

// biome-ignore lint/suspicious/noExplicitAny: tests bend the file in every direction
type Json = Record<string, any>;

const knossos = fileURLToPath(new URL("../../models/knossos", import.meta.url));
const gpt2 = dataPath("gpt2-tokenizer");
const stories = dataPath("stories260k");

/** A folder with the given files: bytes and strings as they are, everything else as JSON. */
async function folderOf(files: Record<string, unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ventris-tokenizer-"));
  for (const [name, content] of Object.entries(files)) {
    const plain = typeof content === "string" || content instanceof Uint8Array;
    await writeFile(join(folder, name), plain ? content : JSON.stringify(content));
  }
  return folder;
}

const openJson = async (json: Json, files: Record<string, unknown> = {}) =>
  openTokenizer(await folderOf({ "tokenizer.json": json, ...files }));

/** A byte-level tokenizer with the merges of "hello", two special tokens and an ordinary added one. */
function helloJson(change: (json: Json) => void = () => {}): Json {
  const merges = ["h e", "l l", "he ll", "hell o", "Ġ hello"];
  const tokens = [...byteCharacters, ...merges.map((merge) => merge.replace(" ", "")), "<s>", "</s>", "<think>"];
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const added = (content: string, special: boolean) => ({ id: vocab[content], content, special });
  const json = {
    added_tokens: [added("<s>", true), added("</s>", true), added("<think>", false)],
    normalizer: null as unknown,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true } as Json,
    post_processor: null as unknown,
    decoder: { type: "ByteLevel" } as unknown,
    model: { type: "BPE", vocab, merges: merges as unknown[], unk_token: null } as Json,
  };
  change(json);
  return json;
}

describe("the shipped tokenizer", () => {
  it("starts texts with its begin token and gives any text back", async () => {
    const tokenizer = await openTokenizer(knossos);
    expect([tokenizer.vocabularySize, tokenizer.beginToken, tokenizer.endTokens]).toEqual([4096, 0, [1]]);
    expect(tokenizer.encode("")).toEqual([0]);
    expect(tokenizer.encode("Once upon a time").length).toBe(5);
    expect(tokenizer.encode("Once", { special: false })).toEqual(tokenizer.encode("Once").slice(1));
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
    );
    expect(tokenizer.decode(tokenizer.encode("a\ud800b"))).toBe("a\u{fffd}b");
  });

  it("reaches special tokens by id, not by user text unless asked", async () => {
    const tokenizer = await openTokenizer(knossos);
    const smuggled = tokenizer.encode("a<|end|>b<|mask|>", { special: false });
    for (const id of tokenizer.specialTokens!.values()) expect(smuggled).not.toContain(id);
    expect(tokenizer.decode(smuggled)).toBe("a<|end|>b<|mask|>");
    const asked = tokenizer.encode("a<|end|>b<|mask|>", { special: false, allowSpecial: true });
    expect(asked).toEqual([
      ...tokenizer.encode("a", { special: false }),
      1,
      ...tokenizer.encode("b", { special: false }),
      2,
    ]);
    expect(tokenizer.decode(asked)).toBe("ab");
    expect(tokenizer.decode(asked, { special: true })).toBe("a<|end|>b<|mask|>");
    expect(tokenizer.tokenBytes(1)).toEqual(new Uint8Array(0));
    expect(() => tokenizer.tokenBytes(4096)).toThrow(/4096 is outside/);
  });
});

describe.skipIf(!gpt2)(`GPT-2${gpt2 ? "" : `: ${noData}`}`, () => {
  const unzipped = async (name: string) => gunzipSync(await readFile(join(gpt2!, name)));
  const vectors = async (): Promise<{ text: string; ids: number[] }[]> =>
    (await unzipped("vectors.jsonl.gz"))
      .toString()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  const json = async (change: (json: Json) => void = () => {}): Promise<Json> => {
    const merges = (await unzipped("vocab.bpe.gz")).toString().split("\n").slice(1).filter(Boolean);
    const vocab = JSON.parse((await unzipped("encoder.json.gz")).toString());
    return helloJson((result) => {
      result.added_tokens = [{ id: 50256, content: "<|endoftext|>", special: true }];
      result.model = { type: "BPE", vocab, merges };
      change(result);
    });
  };

  it("encodes the reference vectors from vocab.json and merges.txt", async () => {
    const folder = await folderOf({
      "vocab.json": await unzipped("encoder.json.gz"),
      "merges.txt": await unzipped("vocab.bpe.gz"),
      "config.json": { bos_token_id: 50256, eos_token_id: 50256 },
    });
    const tokenizer = await openTokenizer(folder);
    expect([tokenizer.vocabularySize, tokenizer.beginToken, tokenizer.endTokens]).toEqual([50257, 50256, [50256]]);
    for (const { text, ids } of await vectors()) {
      expect(tokenizer.encode(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(text);
    }
    const ends = { "config.json": { bos_token_id: 50256, eos_token_id: 50256 } };
    const same = await openJson(await json(), ends);
    expect(same.fingerprint).toBe(tokenizer.fingerprint);
    const pairs = await openJson(
      await json(({ model }) => (model.merges = model.merges.map((merge: string) => merge.split(" ")))),
      ends,
    );
    expect(pairs.fingerprint).toBe(tokenizer.fingerprint);
    const fewer = await openJson(await json(({ model }) => model.merges.pop()));
    expect(fewer.fingerprint).not.toBe(tokenizer.fingerprint);
  });

  const llama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const plainBytes = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
  const split = { type: "Split", pattern: { Regex: llama3 }, behavior: "Isolated", invert: false };
  const variants: Record<string, (json: Json) => void> = {
    "Llama 3": (json) => {
      json.pre_tokenizer = { type: "Sequence", pretokenizers: [split, plainBytes] };
      json.model.ignore_merges = true;
    },
    Qwen: (json) => {
      json.normalizer = { type: "NFC" };
      json.pre_tokenizer = { type: "Sequence", pretokenizers: [split, plainBytes] };
    },
    SmolLM: (json) => {
      const pretokenizers = [
        { type: "Digits", individual_digits: true },
        { ...plainBytes, use_regex: true },
      ];
      json.pre_tokenizer = { type: "Sequence", pretokenizers };
    },
    RoBERTa: (json) => {
      json.pre_tokenizer.add_prefix_space = true;
    },
  };
  it.each(Object.entries(variants))("agrees with the library in the style of %s", async (_, change) => {
    const written = await json(change);
    const ours = await openJson(written);
    const library = new LibraryTokenizer(written, {});
    for (const { text } of await vectors()) expect(ours.encode(text)).toEqual(library.encode(text).ids);
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (text) => {
        expect(ours.encode(text)).toEqual(library.encode(text).ids);
      }),
    );
  });
});

describe.skipIf(!stories)(`SentencePiece style${stories ? "" : `: ${noData}`}`, () => {
  /** tok512.bin as Llama 2's tokenizer.json: merges are all ways to cut a piece in two, best score first. */
  async function llama2Json(): Promise<Json> {
    const source = await openTok512(join(stories!, "tok512.bin"));
    const text = new TextDecoder();
    const pieces = Array.from({ length: 512 }, (_, id) => {
      if (id < 3) return ["<unk>", "<s>", "</s>"][id];
      const hexadecimal = (id - 3).toString(16).toUpperCase().padStart(2, "0");
      return id < 259 ? `<0x${hexadecimal}>` : text.decode(source.tokenBytes(id)).replaceAll(" ", "▁");
    });
    const known = new Set(pieces.slice(259));
    const cuts = (piece: string) =>
      [...piece]
        .slice(1)
        .map((_, i, rest) => [piece.slice(0, piece.length - rest.slice(i).join("").length), rest.slice(i).join("")]);
    const merges = pieces
      .slice(259)
      .flatMap((piece) => cuts(piece).filter((pair) => pair.every((part) => known.has(part))));
    return {
      added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({ id, content, special: true, normalized: false })),
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Prepend", prepend: "▁" },
          { type: "Replace", pattern: { String: " " }, content: "▁" },
        ],
      },
      pre_tokenizer: null,
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
        special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
      },
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "▁" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          { type: "Strip", content: " ", start: 1, stop: 0 },
        ],
      },
      model: {
        type: "BPE",
        vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
        merges,
        unk_token: "<unk>",
        fuse_unk: true,
        byte_fallback: true,
      },
    };
  }

  it("reads Llama 2's form and agrees with llama2.c and with the library", async () => {
    const json = await llama2Json();
    const [ours, reference, library] = [
      await openJson(json),
      await openTok512(join(stories!, "tok512.bin")),
      new LibraryTokenizer(json, {}),
    ];
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "grapheme" }), fc.lorem()), (text) => {
        const ids = ours.encode(text);
        expect(ids).toEqual(reference.encode(text));
        if (text !== "") expect(ids).toEqual(library.encode(text).ids);
        expect(ours.decode(ids)).toBe(text);
      }),
    );
    expect(ours.encode("<s>", { special: false })).not.toContain(1);
  });

  it("prepends a space to the first section only where the file says so", async () => {
    const json = await llama2Json();
    json.normalizer = null;
    json.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false };
    json.decoder = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false };
    const tokenizer = await openJson(json);
    const library = new LibraryTokenizer(json, {});
    const ids = tokenizer.encode("once</s>once", { allowSpecial: true });
    expect(ids).toEqual(library.encode("once</s>once").ids);
    expect(tokenizer.decode(ids)).toBe("onceonce");
  });
});

describe("Unigram", () => {
  const json = {
    added_tokens: [{ id: 1, content: "</s>", special: true }],
    normalizer: null,
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
    post_processor: null,
    decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
    model: {
      type: "Unigram",
      unk_id: 0,
      vocab: [
        ["<unk>", 0],
        ["</s>", 0],
        ["▁", -3],
        ["▁hello", -1],
        ["h", -4],
        ["e", -4],
        ["<", -4],
        ["/", -4],
        ["s", -4],
        [">", -4],
      ],
    },
  };

  it("goes through the library, with special tokens out of reach", async () => {
    const tokenizer = await openJson(json, { "tokenizer_config.json": { eos_token: "</s>" } });
    expect(tokenizer.encode("hello he")).toEqual([3, 2, 4, 5]);
    expect(tokenizer.decode([3, 2, 4, 5])).toBe("hello he");
    expect(tokenizer.encode("hello</s>")).toEqual([3, 6, 7, 8, 9]);
    expect(tokenizer.encode("hello</s>", { allowSpecial: true })).toEqual([3, 1]);
    expect(tokenizer.endTokens).toEqual([1]);
  });
});

describe("settings of a folder", () => {
  const [begin, end, think] = [261, 262, 263];

  it("finds added tokens: special ones when asked, ordinary ones always, the longest first", async () => {
    const tokenizer = await openJson(helloJson());
    expect(tokenizer.encode("hello<think> hello")).toEqual([259, think, 260]);
    expect(tokenizer.encode("</s><s>", { allowSpecial: true })).toEqual([end, begin]);
    expect(tokenizer.decode([259, think])).toBe("hello<think>");
    expect(tokenizer.specialTokens).toEqual(
      new Map([
        ["<s>", begin],
        ["</s>", end],
      ]),
    );
    const flags = await openJson(
      helloJson(({ added_tokens }) =>
        Object.assign(added_tokens[2], { lstrip: true, rstrip: true, single_word: true }),
      ),
    );
    expect(flags.encode("hello  <think>\n hello")).toEqual([259, think, 259]);
    expect(flags.encode("hello<think>")).not.toContain(think);
  });

  it("takes begin and end from the configuration files", async () => {
    const tokenizer = await openJson(helloJson(), {
      "tokenizer_config.json": { bos_token: { content: "<s>" }, eos_token: "</s>", add_bos_token: true },
      "generation_config.json": { eos_token_id: [7, end] },
      "config.json": { bos_token_id: 3, eos_token_id: 7 },
    });
    expect([tokenizer.beginToken, tokenizer.endTokens, tokenizer.encode("hello")]).toEqual([
      begin,
      [7, end],
      [begin, 259],
    ]);
    const none = await openJson(helloJson(), {
      "tokenizer_config.json": { bos_token: null },
      "config.json": { bos_token_id: 3 },
    });
    expect([none.beginToken, none.encode("hello")]).toEqual([undefined, [259]]);
    const template = (json: Json) => {
      json.post_processor = { type: "RobertaProcessing", cls: ["<s>", begin], sep: ["</s>", end] };
    };
    const off = await openJson(helloJson(template), {
      "tokenizer_config.json": { bos_token: "<s>", add_bos_token: false },
    });
    expect(off.encode("hello")).toEqual([259]);
    expect((await openJson(helloJson(template))).encode("hello")).toEqual([begin, 259]);
  });

  it("has another fingerprint when anything that encodes, begins or ends texts is another", async () => {
    const ends = { "tokenizer_config.json": { bos_token: "<s>", eos_token: "</s>" } };
    const plain = (await openJson(helloJson(), ends)).fingerprint;
    const written = helloJson((json) => {
      json.pre_tokenizer = { use_regex: true, type: "ByteLevel", trim_offsets: false, add_prefix_space: false };
      json.added_tokens[2].normalized = true;
    });
    expect((await openJson(written, ends)).fingerprint).toBe(plain);
    const changes: ((json: Json) => void)[] = [
      (json) => (json.pre_tokenizer.use_regex = false),
      (json) => (json.pre_tokenizer.add_prefix_space = true),
      (json) => (json.pre_tokenizer = { type: "Sequence", pretokenizers: [{ type: "Digits" }, json.pre_tokenizer] }),
      (json) => (json.normalizer = { type: "NFC" }),
      (json) => (json.added_tokens[2].lstrip = true),
      (json) => (json.added_tokens[2].single_word = true),
      (json) => (json.added_tokens[2].normalized = false),
      (json) => (json.added_tokens[2].special = true),
      (json) => (json.model.ignore_merges = true),
      (json) => json.model.merges.reverse(),
      (json) => (json.post_processor = { type: "RobertaProcessing", cls: ["<s>", begin], sep: ["</s>", end] }),
    ];
    const others = await Promise.all(
      changes.map(async (change) => (await openJson(helloJson(change), ends)).fingerprint),
    );
    const otherEnd = { "tokenizer_config.json": { bos_token: "<s>", eos_token: "<s>" } };
    const otherBegin = { "tokenizer_config.json": { bos_token: null, eos_token: "</s>" } };
    for (const files of [otherEnd, otherBegin]) others.push((await openJson(helloJson(), files)).fingerprint);
    expect(new Set([plain, ...others]).size).toBe(1 + others.length);
  });

  it("treats a token with a role as special even where the file forgot to say so", async () => {
    const tokenizer = await openJson(
      helloJson((json) => (json.added_tokens = [])),
      { "tokenizer_config.json": { eos_token: "</s>" } },
    );
    expect(tokenizer.endTokens).toEqual([end]);
    expect(tokenizer.decode([259, end])).toBe("hello");
  });

  it("merges nothing into a special token", async () => {
    const tokenizer = await openJson(
      helloJson((json) => {
        json.model.merges.push("< s", "<s >");
        json.model.vocab["<s"] = 264;
        json.model.ignore_merges = true;
        json.pre_tokenizer.use_regex = false;
      }),
    );
    expect(tokenizer.encode("<s>")).toEqual([264, byteCharacters.indexOf(">")]);
  });

  it("opens llama2.c's files, and names what it looked for when there is nothing", async () => {
    const missing = openTokenizer(await folderOf({ "config.json": {}, "tokenizer.model": "x" }));
    await expect(missing).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/tokenizer\.json.*merges\.txt.*tok512\.bin.*SentencePiece/),
    });
    await expect(openTokenizer("/nowhere")).rejects.toMatchObject({ code: "unavailable" });
    if (stories) expect((await openTokenizer(stories)).vocabularySize).toBe(512);
  });
});

describe("vocab.json and merges.txt", () => {
  const merges = ["h e", "l l", "he ll", "hell o", "Ġ hello"];
  const tokens = [...byteCharacters, ...merges.map((merge) => merge.replace(" ", ""))];
  const base = {
    "vocab.json": Object.fromEntries(tokens.map((token, id) => [token, id])),
    "merges.txt": `#version: 0.2\n${merges.join("\n")}\n`,
  };
  const [end, pad, start, close] = [261, 262, 263, 264];
  const added = { "<|endoftext|>": end, "<|pad|>": pad, "<|im_start|>": start, "<|im_end|>": close };
  const roles = { bos_token: "<|endoftext|>", eos_token: "<|im_end|>", pad_token: "<|pad|>" };
  const open = async (files: Record<string, unknown>) => openTokenizer(await folderOf({ ...base, ...files }));

  it.each<[string, Record<string, unknown>]>([
    ["added_tokens.json and special_tokens_map.json", { "added_tokens.json": added, "special_tokens_map.json": roles }],
    [
      "tokenizer_config.json alone",
      {
        "tokenizer_config.json": {
          ...Object.fromEntries(Object.entries(roles).map(([role, content]) => [role, { content, lstrip: false }])),
          added_tokens_decoder: Object.fromEntries(
            Object.entries(added).map(([content, id]) => [id, { content, special: id !== start, lstrip: false }]),
          ),
          tokenizer_class: "GPT2TokenizerFast",
        },
      },
    ],
  ])("have begin, end and added tokens from %s", async (_, files) => {
    const tokenizer = await open(files);
    expect([tokenizer.vocabularySize, tokenizer.beginToken, tokenizer.endTokens]).toEqual([265, end, [close]]);
    expect(tokenizer.encode("<|im_start|>hello<|im_end|>", { allowSpecial: true })).toEqual([start, 259, close]);
    expect(tokenizer.encode("hello<|im_end|>")).not.toContain(close);
    expect(tokenizer.decode([start, 259, close, pad])).toBe("<|im_start|>hello");
  });

  const casesFolder = dataPath("..", "cases", "added-tokens-folder");
  it.skipIf(!casesFolder)("are read in the case kept beside the repository", async () => {
    const tokenizer = await openTokenizer(casesFolder!);
    expect([tokenizer.beginToken, tokenizer.endTokens]).toEqual([end, [close]]);
    expect([...tokenizer.specialTokens!.values()].sort()).toEqual([end, pad, close]);
    expect(tokenizer.encode("hello<|im_end|><|im_start|>", { allowSpecial: true })).toEqual([259, close, start]);
  });

  it("are cut as the class or the model says", async () => {
    const config = (fields: object) => open({ "config.json": fields });
    for (const fields of [{ model_type: "gpt2" }, {}]) expect((await config(fields)).encode("12")).toHaveLength(2);
    const prefixed = await open({
      "tokenizer_config.json": { tokenizer_class: "GPT2Tokenizer", add_prefix_space: true },
    });
    expect(prefixed.encode("hello")).toEqual([260]);
    const qwen = await open({ "tokenizer_config.json": { tokenizer_class: "Qwen2Tokenizer" } });
    expect(qwen.encode("e\u0301")).toEqual(qwen.encode("é"));
    expect(qwen.fingerprint).not.toBe((await config({})).fingerprint);
  });

  it.each<[Record<string, unknown>, RegExp]>([
    [{ "tokenizer_config.json": { tokenizer_class: "CLIPTokenizer" } }, /CLIPTokenizer are not supported/],
    [{ "tokenizer_config.json": { tokenizer_class: "BartTokenizerFast" } }, /BartTokenizer are not supported/],
    [{ "config.json": { model_type: "llama" } }, /"llama" model/],
    [{ "added_tokens.json": { "<x>": 5 } }, /"<x>" has the id 5, which contradicts vocab\.json/],
    [{ "added_tokens.json": { h: 300 } }, /"h" has the id 300, which contradicts/],
    [{ "added_tokens.json": { "<x>": "5" } }, /has the id|no valid id/],
    [
      {
        "added_tokens.json": { "<x>": 261 },
        "tokenizer_config.json": { added_tokens_decoder: { 262: { content: "<x>" } } },
      },
      /added_tokens\.json gives "<x>" the id 261, tokenizer_config\.json 262/,
    ],
    [{ "tokenizer_config.json": { added_tokens_decoder: { 261: "x" } } }, /added_tokens_decoder gives "x"/],
  ])("are refused where they would be read wrongly: %j", async (files, message) => {
    await expect(open(files)).rejects.toMatchObject({ code: "bad_file", message: expect.stringMatching(message) });
  });

  it("lend a tokenizer.json the tokens that it lacks", async () => {
    const tokenizer = await openJson(helloJson(), { "added_tokens.json": { "<think>": 263, "<new>": 264 } });
    expect(tokenizer.encode("<new><think>")).toEqual([264, 263]);
  });
});

describe("models with more ids than the tokenizer", () => {
  it("have ids that are empty text, and those beyond the model's own are refused", async () => {
    const tokenizer = await openTokenizer(await folderOf({ "tokenizer.json": helloJson() }), { outputs: 300 });
    expect([tokenizer.vocabularySize, tokenizer.tokenBytes(299).length]).toEqual([264, 0]);
    expect(tokenizer.decode([259, 280, 259], { special: true })).toBe("hellohello");
    expect(() => tokenizer.tokenBytes(300)).toThrow(/300 is outside/);
  });

  it("or fewer lose the end tokens that they cannot give", async () => {
    const files = { "tokenizer.json": helloJson(), "config.json": { eos_token_id: [7, 263] } };
    expect((await openTokenizer(await folderOf(files), { outputs: 200 })).endTokens).toEqual([7]);
  });
});

describe("corrupt files", () => {
  const breaks: Record<string, (json: Json) => void> = {
    "no model": (json) => delete json.model,
    "model type": (json) => (json.model.type = "WordSalad"),
    "model.vocab is not": (json) => (json.model.vocab = [1]),
    "occurs twice": (json) => (json.model.vocab.h = 5),
    "has the id": (json) => (json.model.vocab.h = 1e9),
    "merges is not": (json) => (json.model.merges = null),
    "merges\\[1\\]": (json) => (json.model.merges[1] = "l l l"),
    "merge 1": (json) => (json.model.merges[1] = "l zz"),
    dropout: (json) => (json.model.dropout = 0.1),
    added_tokens: (json) => (json.added_tokens[0].id = -1),
    decoder: (json) => (json.decoder = { type: "CTC" }),
    "no decoder": (json) => delete json.decoder,
    post_processor: (json) => (json.post_processor = { type: "Unheard" }),
    "Split with behaviour": (json) =>
      (json.pre_tokenizer = { type: "Split", pattern: { String: "x" }, behavior: "Sideways" }),
    Unheard: (json) => (json.normalizer = { type: "Unheard" }),
  };
  it.each(Object.entries(breaks))("says what is wrong: %s", async (message, change) => {
    const opened = openJson(helloJson(change));
    await expect(opened).rejects.toMatchObject({
      code: "bad_file",
      message: expect.stringMatching(new RegExp(`tokenizer\\.json: .*${message}`)),
    });
  });

  it("refuses truncated JSON, other bytes, and broken side files by name", async () => {
    const text = JSON.stringify(helloJson());
    for (const part of [0, 1, 0.3, 0.99].map((share) =>
      text.slice(0, Math.min(text.length - 1, share * text.length)),
    )) {
      await expect(openTokenizer(await folderOf({ "tokenizer.json": part }))).rejects.toMatchObject({
        code: "bad_file",
      });
    }
    const invalid = openTokenizer(await folderOf({ "tokenizer.json": Uint8Array.of(0x22, 0xff, 0x22) }));
    await expect(invalid).rejects.toMatchObject({ code: "bad_file", message: expect.stringContaining("UTF-8") });
    const side = openJson(helloJson(), { "tokenizer_config.json": "{" });
    await expect(side).rejects.toMatchObject({
      code: "bad_file",
      message: expect.stringContaining("tokenizer_config.json"),
    });
  });

  it("answers any damage with our error or a tokenizer that works", async () => {
    const text = JSON.stringify(helloJson());
    const folder = await folderOf({});
    const value = fc.oneof(
      fc.constantFrom("null", "[]", "{}", '"x"', "-1", "1e9", "true"),
      fc.string({ maxLength: 3 }),
    );
    const damage = fc
      .tuple(fc.nat(text.length), fc.nat(12), value)
      .map(([at, length, insert]) => text.slice(0, at) + insert + text.slice(at + length));
    await fc.assert(
      fc.asyncProperty(fc.oneof(damage, fc.json()), async (written) => {
        await writeFile(join(folder, "tokenizer.json"), written);
        try {
          const tokenizer = await openTokenizer(folder);
          tokenizer.decode(tokenizer.encode("hello <s> world"));
        } catch (error) {
          expect(error).toBeInstanceOf(VentrisError);
          expect((error as VentrisError).code).toBe("bad_file");
        }
      }),
      { numRuns: 300 },
    );
  });
});

it("opens the folder of a tokenizer.json that is given as a file", async () => {
  const folder = fileURLToPath(new URL("../../models/phaistos/", import.meta.url));
  const [whole, file] = await Promise.all([folder, `${folder}tokenizer.json`].map((path) => openTokenizer(path)));
  expect(file.fingerprint).toBe(whole.fingerprint);
  expect(file.encodeChat).toBeDefined();
});
