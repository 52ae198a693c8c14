/** llama2.c's tokenizer files (tokenizer.bin, tok512.bin): SentencePiece-style BPE with scores and byte fallback. */
import { ensure, VentrisError } from "../errors.ts";
import { decodeUtf8 } from "../json.ts";
import { plainToken } from "./added-tokens.ts";
import { assembleTokenizer } from "./assemble.ts";
import { byteName, characterSymbols, createWordEncoder, longestOf } from "./bpe.ts";
import { readIfPresent } from "./files.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Errors: `unavailable` when there is no such file, `bad_file` when it is truncated or corrupt. */
export async function openTok512(path: string): Promise<Tokenizer> {
  const bytes = await readIfPresent(path);
  ensure(bytes, "unavailable", `there is no tokenizer at ${path}`);
  return readLlama2cTokenizer(bytes, path);
}

/**
 * Encoding as in llama2.c's `encode` (run.c): a space before the text, characters or else bytes, then merges of the
 * highest score first, the leftmost among equals. Errors: `bad_file` naming `origin`.
 */
export function readLlama2cTokenizer(bytes: Uint8Array, origin: string, outputs?: number): Tokenizer {
  const { tokens, scores } = readTokens(bytes, origin);
  // Single bytes are written <0x00> … <0xFF> in the file. They and the special tokens stay out of what text can merge to.
  const isByte = (id: number) => id >= firstByte && id < fewestTokens;
  const texts = tokens.map((token, id) =>
    id < fewestTokens ? undefined : decodeUtf8(token, `${origin}: token ${id}`),
  );
  const mergeable = new Map<string, number>();
  for (const [id, text] of texts.entries()) if (text !== undefined && !mergeable.has(text)) mergeable.set(text, id);
  const bytesAndMergeable = new Map(mergeable);
  for (let byte = 0; byte < 256; byte++) bytesAndMergeable.set(byteName(byte), firstByte + byte);

  const vocabulary = { origin, ids: bytesAndMergeable, reserved: new Set<number>(), unknownToken: undefined };
  const encodeWord = createWordEncoder({
    symbolsOf: characterSymbols(vocabulary, { byteFallback: true, fuseUnknown: false }),
    rule(left, right) {
      const [first, second] = [texts[left], texts[right]];
      const id = first === undefined || second === undefined ? undefined : mergeable.get(first + second);
      return id === undefined ? undefined : { rank: -scores[id], id };
    },
    longest: longestOf(mergeable.keys()),
  });
  const added = ["<unk>", "<s>", "</s>"].map((content, id) => ({ ...plainToken, id, content }));
  return assembleTokenizer({
    origin,
    outputs,
    pieces: tokens.map((token, id) => (isByte(id) ? Uint8Array.of(id - firstByte) : token)),
    added,
    normalize: undefined,
    encodeSection: (text, _, ids, most) => encodeWord(` ${text}`, ids, most),
    prefix: [begin],
    beginToken: begin,
    // Training texts followed one another with nothing but a begin token between, so it ends a text too.
    endTokens: [end, begin],
    dropsLeadingSpace: true,
    rules: [...scores].join(" "),
    chatTemplate: undefined,
  });
}

const [begin, end, firstByte] = [1, 2, 3];
const fewestTokens = firstByte + 256;
const mostTokens = 2 ** 20;

/** int32 longest length, then for each token float32 score, int32 length and its bytes, little-endian. */
function readTokens(bytes: Uint8Array, origin: string): { tokens: Uint8Array[]; scores: Float32Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fail = (message: string): never => {
    throw new VentrisError("bad_file", `${origin}: ${message}`);
  };
  if (bytes.length < 4) fail("too short for a tokenizer");
  const longest = view.getInt32(0, true);
  const tokens: Uint8Array[] = [];
  const scores: number[] = [];
  for (let offset = 4; offset < bytes.length; ) {
    const id = tokens.length;
    if (id >= mostTokens) fail(`more than ${mostTokens} tokens`);
    if (offset + 8 > bytes.length) fail(`truncated in the header of token ${id}`);
    const score = view.getFloat32(offset, true);
    const length = view.getInt32(offset + 4, true);
    offset += 8;
    if (!Number.isFinite(score)) fail(`token ${id} has the score ${score}`);
    if (length < 1 || length > longest) fail(`token ${id} has length ${length}, outside 1 to ${longest}`);
    if (offset + length > bytes.length) fail(`truncated in token ${id}`);
    tokens.push(bytes.slice(offset, offset + length));
    scores.push(score);
    offset += length;
  }
  if (tokens.length < fewestTokens) fail(`${tokens.length} tokens leave no room for the 256 single bytes`);
  for (let id = firstByte; id < fewestTokens; id++) {
    const expected = byteName(id - firstByte);
    if (new TextDecoder().decode(tokens[id]) !== expected) fail(`token ${id} should be ${expected}`);
  }
  return { tokens, scores: Float32Array.from(scores) };
}
