/** Texts from files, one at a time, for training tokenizers and models. */
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { ensure, VentrisError } from "../errors.ts";
import { isObject } from "./files.ts";

/** Longest single text in UTF-16 units; strings end at twice this. */
const longestText = 2 ** 28;

/**
 * Texts of `.jsonl` files (the field `text` of each line) and `.txt` files (one text each), in order, either also as `.gz`.
 * Memory: one text, for `.txt` the whole file. Errors, naming file and line: `unavailable` for a file that cannot be read,
 * `bad_file` for bad gzip, UTF-8 or JSON and for texts over 256 million characters, `bad_option` for another ending.
 */
export async function* readTexts(paths: Iterable<string>): AsyncGenerator<string> {
  for (const path of paths) {
    const [, kind] = /\.(jsonl|txt)(?:\.gz)?$/.exec(path) ?? [];
    if (kind === "jsonl") yield* readJsonLines(path);
    else if (kind === "txt") yield await readWhole(path);
    else throw new VentrisError("bad_option", `${path}: texts are read from .jsonl and .txt files (or .gz of these)`);
  }
}

async function* readJsonLines(path: string): AsyncGenerator<string> {
  let rest = "";
  let line = 0;
  const parse = (json: string) => {
    line++;
    const value = parseLine(json, `${path}, line ${line}`);
    ensure(
      isObject(value) && typeof value.text === "string",
      "bad_file",
      () => `${path}, line ${line}: no field "text"`,
    );
    return value.text;
  };
  for await (const chunk of readChunks(path)) {
    const lines = chunk.split("\n");
    lines[0] = rest + lines[0];
    rest = lines.pop() as string;
    ensure(rest.length <= longestText, "bad_file", `${path}, line ${line + 1}: longer than ${longestText} characters`);
    for (const json of lines) yield parse(json);
  }
  if (rest !== "") yield parse(rest);
}

function parseLine(json: string, origin: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new VentrisError("bad_file", `${origin}: ${(cause as Error).message}`, { cause });
  }
}

async function readWhole(path: string): Promise<string> {
  const chunks: string[] = [];
  let length = 0;
  for await (const chunk of readChunks(path)) {
    chunks.push(chunk);
    length += chunk.length;
    ensure(length <= longestText, "bad_file", `${path}: longer than ${longestText} characters`);
  }
  return chunks.join("");
}

async function* readChunks(path: string): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const file = createReadStream(path);
  const bytes = path.endsWith(".gz") ? file.on("error", (error) => bytes.destroy(error)).pipe(createGunzip()) : file;
  try {
    for await (const chunk of bytes) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    // Node's file errors carry a system call name; everything else is about the contents.
    const unreadable = (cause as NodeJS.ErrnoException).syscall !== undefined;
    throw new VentrisError(unreadable ? "unavailable" : "bad_file", `${path}: ${message}${code ? ` (${code})` : ""}`, {
      cause,
    });
  } finally {
    file.destroy();
  }
}
