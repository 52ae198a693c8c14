/** Documents from text files: `.txt`, `.jsonl`, and either with `.gz`. Everything is streamed and bounded. */
import { ensure, requireObject, shown, VentrisError } from "../errors.ts";
import { readPieces, whyUnreadable } from "../files.ts";
import { itemsOf, textItems } from "../items.ts";
import { isObject, parseJson } from "../json.ts";
import { meantBy, suggestion } from "../names.ts";
import { tellingReads } from "../reads.ts";

/** A file of documents, and how they are told apart. */
export interface TextFile {
  readonly path: string;
  /** Which property of a `.jsonl` record is the text; default "text". */
  readonly field?: string;
  /**
   * What stands between the documents of a `.txt` file; default: the whole file is one document. "\n\n" stands for blank lines, and line ends
   * alone for at least so many, however the file ends its lines.
   */
  readonly separator?: string | RegExp;
}

/** Characters of one document, or of one `.txt` file: a bound for damaged and hostile (gzip) files, below V8's own. */
const maximumCharacters = 2 ** 28;

/**
 * The file's documents in order, blank ones left out. Errors: `unavailable` when it cannot be read; `bad_option` for an
 * unknown ending or an option of the other format; `bad_file` naming file and line for broken gzip, UTF-8 or JSON, a
 * missing text, or more than 2^28 characters in one piece.
 */
export async function* documents(file: TextFile): AsyncGenerator<string> {
  const given = tellingReads("documents", ["file"], readGiven)(file);
  const { path } = given;
  ensure(typeof path === "string", "bad_option", () => `documents: path must be a text, not ${shown(path)}`);
  const format = /\.(txt|jsonl)(\.gz)?$/.exec(path)?.[1];
  ensure(format, "bad_option", `${path}: expected a file that ends in .txt or .jsonl, or either with .gz`);
  const unused = format === "txt" ? "field" : "separator";
  ensure(given[unused] === undefined, "bad_option", `${path}: ${unused} means nothing for a .${format} file`);
  for await (const text of format === "txt" ? textDocuments(given) : recordDocuments(given)) {
    if (/\S/.test(text)) yield text;
  }
}

function readGiven(file: TextFile): TextFile {
  requireObject(file, "documents", "the file");
  const { path, field, separator } = file;
  return { path, field, separator };
}

/** The documents of several files, all with their usual field and separation. Errors: as `documents`. */
export async function* readTexts(paths: Iterable<string>): AsyncGenerator<string> {
  for await (const path of itemsOf(paths, "readTexts: paths", textItems)) yield* documents({ path });
}

async function* textDocuments({ path, separator }: TextFile): AsyncGenerator<string> {
  const parts: string[] = [];
  let length = 0;
  for await (const part of decoded(path)) {
    length += part.length;
    ensure(
      length <= maximumCharacters,
      "bad_file",
      `${path}: more than ${maximumCharacters} characters; split the file`,
    );
    parts.push(part);
  }
  const text = parts.join("");
  if (separator) yield* text.split(separatorPattern(separator));
  else yield text;
}

/** What a separator is looked for as. Of line ends there may be more than it has, of Windows, and with blanks between them. */
export const separatorPattern = (separator: string | RegExp): string | RegExp =>
  typeof separator === "string" && /^\n+$/.test(separator)
    ? new RegExp(`(?:\\r?\\n[ \\t]*){${separator.length - 1},}\\r?\\n`)
    : separator;

async function* recordDocuments({ path, field = "text" }: TextFile): AsyncGenerator<string> {
  for await (const [text] of fieldsOf(path, [field], "in a recipe, or for documents")) yield text;
}

/** The texts that every record of a `.jsonl` file has in these fields. Errors: those of `documents`. */
export async function* recordFields(path: string, fields: readonly string[]): AsyncGenerator<string[]> {
  yield* fieldsOf(path, fields);
}

/** `chosen`: where the field of the texts may be named. */
async function* fieldsOf(path: string, fields: readonly string[], chosen?: string): AsyncGenerator<string[]> {
  let number = 0;
  for await (const line of textLines(path)) {
    number++;
    if (line.trim() === "") continue;
    const record = parseJson(line, `${path}, line ${number}`);
    yield fields.map((field) => {
      const text = isObject(record) && Object.hasOwn(record, field) ? record[field] : undefined;
      ensure(typeof text === "string", "bad_file", () => {
        const place = `${path}, line ${number}`;
        if (!isObject(record)) return `${place}: it must be an object with the field "${field}", not ${shown(record)}`;
        if (text !== undefined) return `${place}: the field "${field}" must be a text, not ${shown(text)}`;
        const others = Object.keys(record);
        const lacks = `${place}: no text in the field "${field}" (the line has ${others.slice(0, 20).join(", ") || "no fields"})`;
        // The usual name was nobody's choice: what the line has may be as good.
        const texts = others.filter((one) => typeof record[one] === "string");
        const meant = meantBy(field, texts) ?? (texts.length === 1 ? texts[0] : undefined);
        if (field !== "text" || meant === undefined) return `${lacks}${suggestion(field, others)}`;
        const named = chosen === undefined ? "" : `, or give field: ${shown(meant)} ${chosen}`;
        return `${lacks}: call ${shown(meant)} "text"${named}`;
      });
      return text;
    });
  }
}

/** The lines of a text file, which may be compressed. Errors: those of `documents`. */
export async function* textLines(path: string): AsyncGenerator<string> {
  let parts: string[] = [];
  let length = 0;
  for await (const chunk of decoded(path)) {
    const pieces = chunk.split("\n");
    for (const [i, piece] of pieces.entries()) {
      length += piece.length;
      ensure(length <= maximumCharacters, "bad_file", `${path}: a line of more than ${maximumCharacters} characters`);
      parts.push(piece);
      if (i === pieces.length - 1) break; // goes on in the next chunk
      yield parts.join("");
      parts = [];
      length = 0;
    }
  }
  if (length > 0) yield parts.join("");
}

/** The file's text piece by piece, unzipped and decoded. */
async function* decoded(path: string): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const text = (bytes?: Uint8Array): string => {
    try {
      return bytes ? decoder.decode(bytes, { stream: true }) : decoder.decode();
    } catch (cause) {
      throw new VentrisError("bad_file", `${path}: it is no text in UTF-8`, { cause });
    }
  };
  /** What reading failed with; anything else is the contents' fault. */
  let unreadable: unknown;
  async function* pieces() {
    try {
      yield* readPieces(path);
    } catch (error) {
      unreadable = error;
      throw error;
    }
  }
  try {
    for await (const chunk of path.endsWith(".gz") ? unzipped(pieces()) : pieces()) yield text(chunk);
    yield text();
  } catch (error) {
    if (error instanceof VentrisError) throw error;
    if (unreadable)
      throw new VentrisError("unavailable", `cannot read ${path}: ${whyUnreadable(unreadable)}`, { cause: error });
    throw new VentrisError("bad_file", `${path}: it cannot be unzipped: ${(error as Error).message}`, { cause: error });
  }
}

/** Reads no further than what comes out is taken. */
function unzipped(pieces: AsyncGenerator<Uint8Array<ArrayBuffer>>): AsyncIterable<Uint8Array> {
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await pieces.return(undefined);
    },
  });
  return source.pipeThrough(new DecompressionStream("gzip")) as unknown as AsyncIterable<Uint8Array>;
}
