/**
 * Columns of numbers, row = bin or sample, from whatever file a user brings. A path may name an array within a file: `data.npz#spikes`.
 *
 *     .csv .tsv .txt   with or without names in the first line; empty fields and NaN are gaps
 *     .npy .npz .h5    arrays [rows, columns] or [rows]
 *     .edf .bdf .vhdr  the channels of one rate
 *     .f32 .u8 .i16    raw little-endian rows, described by NAME.json: { columns: [names] or a number, rate? }; of NAME.PART.u8 also
 *                      NAME.json with PART_columns, or with the number of rows as bins, and bin_seconds
 *     .json            spike trains and tracks, counted in bins (trains.ts)
 *
 * Any of them but .vhdr and .h5 also with .gz.
 */
import { existsSync } from "node:fs";
import { ensure, shown, VentrisError } from "../../../errors.ts";
import { decodeUtf8, parseJsonObject } from "../../../json.ts";
import { cellText } from "../../../text/cells.ts";
import { matrix } from "../matrix.ts";
import { readBrainVision } from "./brainvision.ts";
import { extensionOf, readBytes } from "./bytes.ts";
import { mostValues, readNumber, type Table } from "./columns.ts";
import { readEdf } from "./edf.ts";
import { hdfArray, isHdf5, withHdf5 } from "./hdf5.ts";
import { type NumericArray, openNpz, readNpy } from "./npy.ts";
import type { Recording } from "./recording.ts";
import { checkLists, countTrains, mostJsonBytes } from "./trains.ts";

export const tableExtensions = [
  "csv",
  "tsv",
  "txt",
  "npy",
  "npz",
  "h5",
  "hdf5",
  "edf",
  "bdf",
  "vhdr",
  "f32",
  "u8",
  "i16",
  "json",
];

/** How a recording becomes a table. */
export interface SignalTableOptions {
  /** Seconds in which the spikes of trains are counted. Needed for trains, and refused for rows; no default. */
  readonly bin?: number;
}

/**
 * Errors: `unavailable`, `bad_file`; `bad_option` for an extension that is not known, an array that must be named, and a `bin` that is
 * missing or has nothing to count.
 */
export async function readTable(reference: string, { bin }: SignalTableOptions = {}): Promise<Table> {
  ensure(
    typeof reference === "string",
    "bad_option",
    () => `readTable takes the path of a file, not ${shown(reference)}`,
  );
  const [path, array] = splitReference(reference);
  const extension = extensionOf(path);
  ensure(
    tableExtensions.includes(extension),
    "bad_option",
    `${path}: files that end in .${extension || "nothing"} are not read; ${tableExtensions.map((e) => `.${e}`).join(" ")} are`,
  );
  ensure(
    array === undefined || ["npz", "h5", "hdf5"].includes(extension),
    "bad_option",
    `${reference}: only .npz and .h5 files hold arrays with names`,
  );
  ensure(
    bin === undefined || extension === "json",
    "bad_option",
    `--bin: ${path} has rows already; only spike trains (.json) are counted`,
  );
  if (extension === "vhdr") return recordingTable(await readBrainVision(path), path);
  const bytes = await readBytes(path, extension === "json" ? mostJsonBytes : undefined);
  if (extension === "edf" || extension === "bdf") return recordingTable(readEdf(bytes, path), path);
  if (extension === "json") checkLists(bytes, path);
  if (extension === "json") return { ...countTrains(parseJsonObject(bytes, path), bin, path), remarks: [] };
  if (extension === "npy") return arrayTable(readNpy(bytes, path), path);
  if (extension === "npz") {
    const arrays = openNpz(bytes, path);
    return arrayTable(
      pickNamed([...arrays.keys()], array, path, (name) => arrays.get(name)!()),
      reference,
    );
  }
  if (extension === "h5" || extension === "hdf5") {
    ensure(isHdf5(bytes), "bad_file", `${path} is not an HDF5 file`);
    return withHdf5(bytes, path, (file) =>
      arrayTable(
        pickNamed(file.keys(), array, path, (name) => hdfArray(file, name, path)),
        reference,
      ),
    );
  }
  if (extension === "f32" || extension === "u8" || extension === "i16") return rawTable(bytes, path, extension);
  return parseDelimited(decodeUtf8(bytes, path), path);
}

function splitReference(reference: string): [path: string, array?: string] {
  const at = reference.lastIndexOf("#");
  return at < 0 ? [reference] : [reference.slice(0, at), reference.slice(at + 1)];
}

function pickNamed(
  names: string[],
  wanted: string | undefined,
  path: string,
  read: (name: string) => NumericArray,
): NumericArray {
  if (wanted === undefined) {
    ensure(
      names.length === 1,
      "bad_option",
      `${path} holds ${names.length} arrays (${names.slice(0, 20).join(", ")}); say which one: ${path}#${names[0] ?? "NAME"}`,
    );
    return read(names[0]);
  }
  ensure(
    names.includes(wanted) || wanted.includes("/"),
    "bad_option",
    `${path} has no array "${wanted}"; it has ${names.slice(0, 20).join(", ")}`,
  );
  return read(wanted);
}

function arrayTable({ shape, data }: NumericArray, origin: string): Table {
  ensure(
    shape.length === 1 || shape.length === 2,
    "bad_file",
    `${origin} is an array [${shape}]; tables have rows and columns`,
  );
  const [rows, columns = 1] = shape;
  ensure(rows >= 1 && columns >= 1, "bad_file", `${origin} is an array [${shape}]: it has no values`);
  checkColumns(columns, origin);
  return { names: numbered(columns), values: matrix(rows, columns, data), remarks: [] };
}

const mostColumns = 65_536;
const checkColumns = (count: number, origin: string): void =>
  ensure(count <= mostColumns, "bad_file", `${origin} has ${count} columns; at most ${mostColumns} are read`);

const numbered = (count: number) => Array.from({ length: count }, (_, i) => `${i + 1}`);

/** The channels of the most common rate, as columns. */
export function recordingTable({ channels, remarks }: Recording, origin: string): Table {
  ensure(channels.length > 0, "bad_file", `${origin} has no channels`);
  const tally = new Map<number, number>();
  for (const { rate } of channels) tally.set(rate, (tally.get(rate) ?? 0) + 1);
  const [rate] = [...tally].sort((a, b) => b[1] - a[1])[0];
  const chosen = channels.filter((channel) => channel.rate === rate);
  const left = channels.filter((channel) => channel.rate !== rate);
  const rows = chosen[0].samples.length;
  ensure(rows > 0, "bad_file", `${origin} has channels, but not one sample`);
  const values = matrix(rows, chosen.length);
  for (const [k, { samples }] of chosen.entries())
    for (let t = 0; t < rows; t++) values.data[t * chosen.length + k] = samples[t];
  const note =
    left.length > 0
      ? [
          `${left.length} channels of other rates than ${rate} Hz are left out: ${left.map(({ name }) => name).join(", ")}`,
        ]
      : [];
  return { names: chosen.map(({ name }) => name), values, rate, remarks: [...remarks, ...note] };
}

/** Sizes of raw values, and how they are read. */
const rawTypes = {
  f32: { width: 4, read: (view: DataView, at: number) => view.getFloat32(at, true) },
  u8: { width: 1, read: (view: DataView, at: number) => view.getUint8(at) },
  i16: { width: 2, read: (view: DataView, at: number) => view.getInt16(at, true) },
};

/** Of NAME.PART.u8 first NAME.PART.json, then NAME.json, which may describe several parts. */
async function describe(path: string): Promise<{ described: string; json: Record<string, unknown>; part: string }> {
  const own = path.replace(/\.gz$/, "").replace(/\.[^.]*$/, "");
  const [, stem, part] = /^(.*)\.([^./\\]+)$/.exec(own) ?? [];
  const described = `${!existsSync(`${own}.json`) && stem && existsSync(`${stem}.json`) ? stem : own}.json`;
  ensure(existsSync(described), "bad_file", () => {
    return `${path} holds raw numbers, and nothing says what they are: write ${described}, with its columns (names, or how many)`;
  });
  return { described, json: parseJsonObject(await readBytes(described, 1_000_000), described), part: part ?? "" };
}

async function rawTable(bytes: Buffer, path: string, type: keyof typeof rawTypes): Promise<Table> {
  const { described, json, part } = await describe(path);
  const { width, read } = rawTypes[type];
  const shared = json[`${part}_columns`];
  const {
    columns = shared ?? (Number.isInteger(json.bins) ? bytes.length / width / (json.bins as number) : undefined),
  } = json;
  const { rate = typeof json.bin_seconds === "number" ? 1 / json.bin_seconds : undefined } = json;
  const named = Array.isArray(columns) && columns.every((name) => typeof name === "string");
  const count = named ? columns.length : columns;
  ensure(
    typeof count === "number" && Number.isInteger(count) && count >= 1,
    "bad_file",
    `${described}: columns must be a list of names or a number`,
  );
  checkColumns(count, described);
  const names = named ? (columns as string[]) : numbered(count);
  ensure(
    rate === undefined || (typeof rate === "number" && rate > 0 && Number.isFinite(rate)),
    "bad_file",
    `${described}: rate is ${JSON.stringify(rate)}`,
  );
  ensure(
    bytes.length % (width * names.length) === 0,
    "bad_file",
    `${path} has ${bytes.length} bytes, which is no whole number of rows of ${names.length} columns`,
  );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = new Float64Array(bytes.length / width);
  for (let i = 0; i < data.length; i++) data[i] = read(view, i * width);
  return {
    names,
    values: matrix(data.length / names.length, names.length, data),
    rate: rate as number | undefined,
    remarks: [],
  };
}

/** The fields of a line: between the first separator of comma, semicolon and tab that it has, or between blanks. */
export function fieldsOf(line: string, separator: string | RegExp = separatorOf(line)): string[] {
  return (typeof separator !== "string" ? line.trim() : line).split(separator, mostColumns + 1);
}

const separatorOf = (line: string): string | RegExp => [",", ";", "\t"].find((mark) => line.includes(mark)) ?? /\s+/;

/** Where the line from `at` on ends. */
const endOf = (text: string, at: number): number => {
  const end = text.indexOf("\n", at);
  return end < 0 ? text.length : end;
};
const lineAt = (text: string, at: number): string => text.slice(at, endOf(text, at)).replace(/\r$/, "");

/** What a field that is no number may be, and what can be decoded instead. */
function remedyFor(field: string): string {
  if (/^\s*[+-]?\d*,\d+\s*$/.test(field)) return ": write decimals with a point";
  if (!/^[\s"]*\p{L}/u.test(field)) return "";
  return ": where words are labels, write a column of 0 and 1 for each of them, and decode those";
}

/** Comma, semicolon, tab or blanks between fields; names in the first line if it is not all numbers. Errors: `bad_option` for nothing at all, `bad_file` with the line. */
export function parseDelimited(text: string, origin: string): Table {
  let last = text.length;
  while (last > 0 && text.charCodeAt(last - 1) <= 32) last--;
  ensure(last > 0, "bad_option", `${origin} is empty`);
  const end = endOf(text, last); // of the last line that has something in it
  const head = lineAt(text, 0);
  const separator = separatorOf(head);
  const first = fieldsOf(head, separator);
  const named = first.some((cell) => readNumber(cell) === undefined);
  const names = named ? first.map(cellText) : numbered(first.length);
  checkColumns(names.length, origin);
  // Lines are taken from the text one by one: all at once, short lines would take far more room than the text.
  const start = named ? endOf(text, 0) + 1 : 0;
  ensure(start < end, "bad_file", `${origin} has names but no rows`);
  const most = Math.floor(mostValues / names.length);
  let rows = 0;
  for (let at = start; at < end && rows <= most; at = endOf(text, at) + 1) rows++;
  // Each further column costs a row its separator: text too short for all of them has a row that the loop refuses.
  const fits = rows * (names.length - 1) <= text.length;
  ensure(
    rows <= most || !fits,
    "bad_file",
    `${origin} has more than ${most} rows of ${names.length} columns, which is more than can be held`,
  );
  const values = matrix(fits ? rows : 0, names.length);
  for (let r = 0, at = start; r < rows; r++, at = endOf(text, at) + 1) {
    const fields = fieldsOf(lineAt(text, at), separator);
    const number = r + (named ? 2 : 1);
    ensure(
      fields.length === names.length,
      "bad_file",
      () =>
        `${origin}, line ${number}: expected as many fields as the first line has (${names.length}), found ${fields.length}`,
    );
    for (const [c, field] of fields.entries()) {
      const value = readNumber(field);
      if (value === undefined)
        throw new VentrisError(
          "bad_file",
          `${origin}, line ${number}: ${JSON.stringify(field.slice(0, 40))} in column ${names[c]} is not a number${remedyFor(field)}`,
        );
      values.data[r * names.length + c] = value;
    }
  }
  return { names, values, remarks: [] };
}
