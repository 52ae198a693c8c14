/**
 * The tokenizer that a GGUF file carries (`tokenizer.ggml.*`): SentencePiece's BPE by scores (`llama`), and byte-level BPE (`gpt2`)
 * with the splitting that `pre` names.
 */
import { ensure, shown, VentrisError } from "../errors.ts";
import { warnOnce } from "../warnings.ts";
import { type AddedToken, plainToken } from "./added-tokens.ts";
import { assembleTokenizer, type TokenizerParts } from "./assemble.ts";
import { createWordEncoder, longestOf } from "./bpe.ts";
import type { ChatTemplate } from "./chat-template.ts";
import { ggufSplits } from "./gguf-splits.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { readTokenizerJson } from "./tokenizer-json.ts";

type Metadata = Readonly<Record<string, unknown>>;
type Fail = (message: string) => never;

/** ggml's kinds of tokens. */
const [unknownKind, controlKind, userKind, unusedKind, byteKind] = [2, 3, 4, 5, 6];

const mostTokens = 2 ** 21;

interface GgufVocabulary {
  tokens: readonly string[];
  kinds: readonly number[];
  /** Of a key that holds a token's id; undefined when there is none. */
  idOf: (key: string) => number | undefined;
  /** Of a key that holds true or false. */
  flag: (key: string, fallback: boolean) => boolean;
  fail: Fail;
}

/**
 * The tokenizer of a GGUF file's header; undefined when it has none. Errors: `bad_file` naming `origin` and the key that is unsound, or of
 * a kind that is not supported.
 */
export async function readGgufTokenizer(
  metadata: Metadata,
  origin: string,
  options: { outputs?: number } = {},
): Promise<Tokenizer | undefined> {
  const model = metadata["tokenizer.ggml.model"];
  if (model === undefined || model === "none" || model === "no_vocab") return undefined;
  const vocabulary = readVocabulary(metadata, origin);
  const { fail, idOf, flag } = vocabulary;
  const read = model === "llama" ? sentencePiece : model === "gpt2" ? byteLevel : undefined;
  if (!read) return fail(`the model ${shown(model)} is not supported (llama and gpt2 are)`);
  const beginToken = idOf("bos_token_id");
  const endTokens = ["eos_token_id", "eot_token_id", "eom_token_id"].flatMap((key) => idOf(key) ?? []);
  const { addsBegin, ...parts } = read(metadata, vocabulary, origin);
  const begins = flag("add_bos_token", addsBegin);
  return assembleTokenizer({
    ...parts,
    origin,
    outputs: options.outputs,
    prefix: beginToken !== undefined && begins ? [beginToken] : [],
    beginToken,
    endTokens: [...new Set(endTokens)].filter((id) => id < (options.outputs ?? Infinity)),
    chatTemplate: await readTemplate(metadata, vocabulary, origin),
  });
}

function readVocabulary(metadata: Metadata, origin: string): GgufVocabulary {
  const fail: Fail = (message) => {
    throw new VentrisError("bad_file", `${origin}: tokenizer.ggml: ${message}`);
  };
  const value = (key: string) => metadata[`tokenizer.ggml.${key}`];
  const tokens = value("tokens");
  const isText = Array.isArray(tokens) && tokens.length > 0 && tokens.every((token) => typeof token === "string");
  if (!isText) return fail("tokens is not a list of texts");
  if (tokens.length > mostTokens) fail(`${tokens.length} tokens are more than ${mostTokens}`);
  const kinds = value("token_type") ?? tokens.map(() => 1);
  if (!Array.isArray(kinds) || kinds.length !== tokens.length || !kinds.every(Number.isInteger)) {
    return fail(`token_type does not give a kind for each of the ${tokens.length} tokens`);
  }
  return {
    tokens: tokens as string[],
    kinds: kinds as number[],
    fail,
    idOf(key) {
      const id = value(key);
      if (id === undefined) return undefined;
      const sound = typeof id === "number" && Number.isInteger(id) && id >= 0 && id < tokens.length;
      return sound ? id : fail(`${key} = ${shown(id)} is no token`);
    },
    flag(key, fallback) {
      const stated = value(key) ?? fallback;
      return typeof stated === "boolean" ? stated : fail(`${key} = ${shown(stated)} is neither true nor false`);
    },
  };
}

/** Tokens that are found in the text itself: what the file calls control or unknown, or gives a role, is special. */
function addedTokens({ tokens, kinds, idOf }: GgufVocabulary): AddedToken[] {
  const roles = ["bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "separator"].map((role) =>
    idOf(`${role}_token_id`),
  );
  return tokens.flatMap((content, id) => {
    const special = kinds[id] === controlKind || kinds[id] === unknownKind || roles.includes(id);
    return content !== "" && (special || kinds[id] === userKind) ? [{ ...plainToken, id, content, special }] : [];
  });
}

type ModelParts = Pick<
  TokenizerParts,
  "pieces" | "added" | "normalize" | "encodeSection" | "dropsLeadingSpace" | "rules"
> & { addsBegin: boolean };

function byteLevel(metadata: Metadata, vocabulary: GgufVocabulary, origin: string): ModelParts {
  const { tokens, fail } = vocabulary;
  const pre = metadata["tokenizer.ggml.pre"];
  if (pre === undefined || pre === "default") {
    warnOnce(
      `${origin}: the file does not say how its tokenizer cuts texts (tokenizer.ggml.pre); the usual way may not be the model's`,
    );
  }
  const name = pre ?? "default";
  const split = typeof name === "string" && Object.hasOwn(ggufSplits, name) ? ggufSplits[name] : undefined;
  if (!split) return fail(`pre = ${shown(name)} is not supported (${Object.keys(ggufSplits).join(", ")} are)`);
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  if (Object.keys(vocab).length !== tokens.length) fail("tokens holds a text twice");
  const stated = metadata["tokenizer.ggml.merges"];
  if (!Array.isArray(stated) || !stated.every((merge) => typeof merge === "string"))
    return fail("merges is not a list of texts");
  // The file's own reader passes over merges of what the vocabulary lacks.
  const merges = stated
    .map((merge: string) => merge.split(" "))
    .filter((pair) => pair.length === 2 && [...pair, pair.join("")].every((token) => Object.hasOwn(vocab, token)));
  const added = addedTokens(vocabulary);
  const json = {
    added_tokens: added.map(({ id, content, special }) => ({ id, content, special, normalized: false })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        ...split.patterns.map((Regex) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false })),
        { type: "ByteLevel", add_prefix_space: flagged(metadata, "add_space_prefix"), use_regex: false },
      ],
    },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges, ignore_merges: split.ignoreMerges === true },
  };
  return { ...readTokenizerJson(json, origin), addsBegin: split.addsBegin === true };
}

const flagged = (metadata: Metadata, key: string): boolean => metadata[`tokenizer.ggml.${key}`] === true;

/**
 * SentencePiece's BPE: characters, then the two neighbours that make the piece of the highest score, the leftmost among equals, and
 * bytes for characters that stayed alone and are no piece.
 */
function sentencePiece(metadata: Metadata, vocabulary: GgufVocabulary, origin: string): ModelParts {
  const { tokens, kinds, fail, idOf, flag } = vocabulary;
  const scores = metadata["tokenizer.ggml.scores"];
  if (!Array.isArray(scores) || scores.length !== tokens.length || !scores.every(Number.isFinite)) {
    return fail(`scores does not give a score for each of the ${tokens.length} tokens`);
  }
  const added = addedTokens(vocabulary);
  const reserved = new Set(added.filter(({ special }) => special).map(({ id }) => id));
  const utf8 = new TextEncoder();
  const byteOf = (id: number): number | undefined => {
    const [, digits] = /^<0x([0-9A-Fa-f]{2})>$/.exec(tokens[id]) ?? [];
    return digits !== undefined && kinds[id] !== userKind ? Number.parseInt(digits, 16) : undefined;
  };
  const idOfPiece = new Map<string, number>();
  const idOfByte = new Map<number, number>();
  for (const id of tokens.keys()) {
    const byte = byteOf(id);
    if (kinds[id] === byteKind && byte === undefined) fail(`the token ${id}, ${shown(tokens[id])}, stands for no byte`);
    if (byte !== undefined) idOfByte.set(byte, id);
    else if (!reserved.has(id) && kinds[id] !== unusedKind && !idOfPiece.has(tokens[id])) idOfPiece.set(tokens[id], id);
  }
  const unknownToken = idOf("unknown_token_id");

  // A character that is no piece gets a number of its own beyond the vocabulary, until it is known whether it stays alone.
  const strangers: string[] = [];
  const numberOf = new Map<string, number>();
  const symbolOf = (character: string): number => {
    const id = idOfPiece.get(character) ?? numberOf.get(character);
    if (id !== undefined) return id;
    numberOf.set(character, tokens.length + strangers.length);
    return tokens.length + strangers.push(character) - 1;
  };
  const textOf = (symbol: number): string => tokens[symbol] ?? strangers[symbol - tokens.length];
  const idsOf = (symbol: number): number[] => {
    if (symbol < tokens.length) return [symbol];
    const bytes = Array.from(utf8.encode(textOf(symbol)), (byte) => idOfByte.get(byte));
    if (bytes.every((id) => id !== undefined)) return bytes;
    ensure(
      unknownToken !== undefined,
      "bad_file",
      () => `${origin}: no token stands for "${textOf(symbol)}" of the text`,
    );
    return [unknownToken];
  };
  const encodeWord = createWordEncoder({
    symbolsOf: (word) => Array.from(word, symbolOf),
    rule(left, right) {
      const id = idOfPiece.get(textOf(left) + textOf(right));
      return id === undefined ? undefined : { rank: -scores[id], id };
    },
    longest: longestOf(idOfPiece.keys()),
    finish: (symbols) => symbols.flatMap(idsOf),
  });
  const addsSpace = flag("add_space_prefix", true);
  return {
    pieces: tokens.map((token, id) => {
      const byte = byteOf(id);
      return byte === undefined ? utf8.encode(token.replaceAll("▁", " ")) : Uint8Array.of(byte);
    }),
    added,
    normalize: undefined,
    // Also after a token in the text: the file's own reader puts a space before every section.
    encodeSection: (text, _, ids, most) => encodeWord(`${addsSpace ? "▁" : ""}${text.replaceAll(" ", "▁")}`, ids, most),
    dropsLeadingSpace: addsSpace,
    rules: JSON.stringify(["scores", addsSpace, unknownToken ?? null, kinds, scores]),
    addsBegin: true,
  };
}

async function readTemplate(
  metadata: Metadata,
  { tokens, idOf, fail }: GgufVocabulary,
  origin: string,
): Promise<ChatTemplate | undefined> {
  const source = metadata["tokenizer.chat_template"];
  if (source === undefined) return undefined;
  if (typeof source !== "string") return fail("chat_template is no text");
  const names = {
    bos_token: "bos_token_id",
    eos_token: "eos_token_id",
    unk_token: "unknown_token_id",
    pad_token: "padding_token_id",
  };
  const variables = Object.entries(names).flatMap(([name, key]) => {
    const id = idOf(key);
    return id === undefined ? [] : [[name, tokens[id]]];
  });
  const { compileChatTemplate } = await import("./chat-template.ts");
  return compileChatTemplate(source, origin, Object.fromEntries(variables));
}

/** Texts on which tokenizers of different making seldom agree. */
const probes = [
  "Once upon a time, there was a king.",
  "  two  spaces\n\n\tand 12345 numbers",
  "naïve café — don't! 日本語 ½ 😀",
  "x=y+1;",
];

/**
 * Refuses a tokenizer file that lies beside a GGUF file and is of another vocabulary, or cuts texts in another way.
 * Errors: `bad_file` naming both.
 */
export function requireAgreement(own: Tokenizer, ownOrigin: string, other: Tokenizer, otherOrigin: string): void {
  const conflict = (what: string): never => {
    throw new VentrisError(
      "bad_file",
      `${ownOrigin} has a tokenizer of its own, and the one in ${otherOrigin} is another: ${what}; remove the one that is wrong`,
    );
  };
  const text = (tokenizer: Tokenizer, id: number) => tokenizer.decode([id], { special: true, continued: true });
  // Either may be padded at the end.
  for (let id = 0; id < Math.min(own.vocabularySize, other.vocabularySize); id++) {
    const [a, b] = [text(own, id), text(other, id)];
    if (a !== b) conflict(`the token ${id} is ${shown(a)} and ${shown(b)}`);
  }
  for (const probe of probes) {
    const [a, b] = [own, other].map((tokenizer) => tokenizer.encode(probe, { special: false }).join());
    if (a !== b) conflict(`they encode ${shown(probe)} differently`);
  }
}
