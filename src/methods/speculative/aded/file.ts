/**
 * A tri-gram table as a file. Little endian:
 *   magic "VTRIGRAM" · u32 version · u32 checksum (FNV-1a of everything after it) · u32 vocabulary size
 *   · u32 successors cap · u32 rows · u32 entries · u32 fingerprint bytes · fingerprint (UTF-8)
 *   rows:    u32 first · u32 second · u32 count, ascending by pair
 *   entries: u32 token · f32 weight, in the order of the rows, each row heaviest first and equal weights by token
 * One table has one encoding, so that saving what was loaded gives the same bytes.
 */
import { ensure } from "../../../errors.ts";
import { createTable, type FlatRows, type TableOptions, type TrigramTable } from "./table.ts";

const magic = "VTRIGRAM";
const version = 1;
const checksumAt = magic.length + 4;
const headerBytes = magic.length + 7 * 4;
const rowBytes = 12;
const entryBytes = 8;

/** The file's bytes. The caller writes them, to a temporary name that is then renamed. */
export function encodeTable(table: TrigramTable): Uint8Array<ArrayBuffer> {
  const keys = table.keys();
  const rows = Array.from(keys, (key) => {
    const first = Math.floor(key / table.vocabularySize);
    const second = key % table.vocabularySize;
    return { first, second, row: table.find(first, second)! };
  });
  const entries = rows.reduce((count, { row }) => count + row.tokens.length, 0);
  const fingerprint = new TextEncoder().encode(table.fingerprint);
  const bytes = new Uint8Array(headerBytes + fingerprint.length + rows.length * rowBytes + entries * entryBytes);
  const view = new DataView(bytes.buffer);
  let at = headerBytes;
  const put = (value: number) => {
    view.setUint32(at, value, true);
    at += 4;
  };
  bytes.set(fingerprint, at);
  at += fingerprint.length;
  for (const { first, second, row } of rows) [first, second, row.tokens.length].forEach(put);
  for (const { row } of rows) {
    for (let i = 0; i < row.tokens.length; i++) {
      put(row.tokens[i]);
      view.setFloat32(at, row.weights[i], true);
      at += 4;
    }
  }
  bytes.set(new TextEncoder().encode(magic));
  at = magic.length;
  const { vocabularySize, successors } = table;
  [version, 0, vocabularySize, successors, rows.length, entries, fingerprint.length].forEach(put);
  view.setUint32(checksumAt, checksum(bytes), true);
  return bytes;
}

/**
 * Reads a table for the tokenizer that `options` describes. Throws `bad_file` with `origin` and the byte offset when the
 * file is truncated, corrupt or of another tokenizer. Memory is bounded by the size of `bytes`.
 */
export function decodeTable(
  bytes: Uint8Array,
  origin: string,
  options: Omit<TableOptions, "successors">,
): TrigramTable {
  const check = (condition: boolean, offset: number, problem: () => string) =>
    ensure(condition, "bad_file", () => `${origin}: at byte ${offset}, ${problem()}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  check(bytes.length >= headerBytes, bytes.length, () => `the file ends within its header of ${headerBytes} bytes`);
  const found = new TextDecoder("latin1").decode(bytes.subarray(0, magic.length));
  check(found === magic, 0, () => `expected "${magic}" and found ${JSON.stringify(found)}: not a tri-gram table`);
  const field = (i: number) => view.getUint32(magic.length + 4 * i, true);
  const offsetOf = (i: number) => magic.length + 4 * i;
  const [vocabularySize, successors, rows, entries, fingerprintBytes] = [2, 3, 4, 5, 6].map(field);
  check(field(0) === version, offsetOf(0), () => `version ${field(0)} is not the version ${version} that can be read`);
  check(vocabularySize === options.vocabularySize, offsetOf(2), () => {
    return `the table is for ${vocabularySize} tokens and the tokenizer has ${options.vocabularySize}`;
  });
  check(successors >= 1 && successors <= 256, offsetOf(3), () => `the successors cap ${successors} is not 1 to 256`);
  const size = headerBytes + fingerprintBytes + rows * rowBytes + entries * entryBytes;
  check(bytes.length >= size, bytes.length, () => `the file is truncated: its header announces ${size} bytes`);
  check(bytes.length === size, size, () => `${bytes.length - size} bytes follow the end of the table`);
  const fingerprint = new TextDecoder().decode(bytes.subarray(headerBytes, headerBytes + fingerprintBytes));
  check(fingerprint === options.fingerprint, headerBytes, () => {
    return `the table belongs to another tokenizer (${fingerprint}, not ${options.fingerprint}); build one for this tokenizer`;
  });

  const flat: FlatRows = {
    keys: new Float64Array(rows),
    ends: new Uint32Array(rows),
    tokens: new Uint32Array(entries),
    weights: new Float32Array(entries),
  };
  let at = headerBytes + fingerprintBytes;
  let end = 0;
  for (let i = 0; i < rows; i++, at += rowBytes) {
    const [first, second, count] = [0, 4, 8].map((offset) => view.getUint32(at + offset, true));
    check(
      first < vocabularySize && second < vocabularySize,
      at,
      () => `pair ${first}, ${second} is outside the vocabulary`,
    );
    flat.keys[i] = first * vocabularySize + second;
    check(i === 0 || flat.keys[i] > flat.keys[i - 1], at, () => `pair ${first}, ${second} is out of order`);
    check(count >= 1 && count <= successors, at + 8, () => `${count} successors are not 1 to ${successors}`);
    flat.ends[i] = end += count;
  }
  check(end === entries, at, () => `the rows have ${end} successors and the header announces ${entries}`);
  for (let row = 0, i = 0; row < rows; row++) {
    for (const start = i; i < flat.ends[row]; i++, at += entryBytes) {
      const token = view.getUint32(at, true);
      const weight = view.getFloat32(at + 4, true);
      check(token < vocabularySize, at, () => `token ${token} is outside the vocabulary of ${vocabularySize}`);
      check(weight > 0 && weight < Infinity, at + 4, () => `the weight ${weight} is not a positive number`);
      const ordered =
        i === start || weight < flat.weights[i - 1] || (weight === flat.weights[i - 1] && token > flat.tokens[i - 1]);
      check(ordered, at, () => `token ${token} is out of order in its row`);
      flat.tokens[i] = token;
      flat.weights[i] = weight;
    }
  }
  check(field(1) === checksum(bytes), checksumAt, () => "the checksum does not match: the file is corrupt");
  return createTable({ ...options, successors }, flat);
}

/** FNV-1a, 32 bits, over everything after the checksum itself. Any single changed byte changes it. */
function checksum(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let i = checksumAt + 4; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return hash >>> 0;
}
