/** Real pictures with names, from the public sets that argos is trained and tested on: emoji of two artists, and quick drawings. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { ensure } from "../../errors.ts";
import { decodePicture, type Picture } from "../../images/index.ts";
import { parseJsonObject } from "../../json.ts";

export interface NamedPicture {
  /** As a sentence ends: "a dog face". */
  readonly name: string;
  readonly label: string;
  readonly picture: Picture;
}

const article = (name: string): string => `${/^[aeiou]/i.test(name) ? "an" : "a"} ${name}`;

/** Files of a tar archive by name. Errors: `bad_file`. */
function tarFiles(bytes: Uint8Array, origin: string): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const text = (from: number, length: number): string =>
    new TextDecoder().decode(bytes.subarray(from, from + length)).replace(/\0[\s\S]*$/, "");
  for (let at = 0; at + 512 <= bytes.length && bytes[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    ensure(Number.isInteger(size) && at + 512 + size <= bytes.length, "bad_file", `${origin}: the archive is damaged`);
    if (["0", ""].includes(text(at + 156, 1))) files.set(text(at, 100), bytes.subarray(at + 512, at + 512 + size));
    at += 512 + 512 * Math.ceil(size / 512);
  }
  return files;
}

/** Emoji as one artist drew them, 64 x 64, on white. Errors: `bad_file`. */
export async function openEmoji(folder: string, artist: "twemoji" | "noto"): Promise<NamedPicture[]> {
  const archive = join(folder, `${artist}-64.tar`);
  const files = tarFiles(await readFile(archive), archive);
  const lines = gunzipSync(await readFile(join(folder, "captions.jsonl.gz"))).toString("utf8");
  const result: NamedPicture[] = [];
  for (const line of lines.split("\n")) {
    if (line === "") continue;
    const { style, file, label } = parseJsonObject(line, folder) as { style: string; file: string; label: string };
    if (style !== artist) continue;
    const bytes = files.get(`${artist}/${file}`);
    ensure(bytes, "bad_file", `${archive}: ${file} is missing`);
    result.push({ name: label, label, picture: await decodePicture(bytes, file) });
  }
  return result;
}

/** Quick drawings of ten kinds, black on white: nine of ten of each for training. Errors: `bad_file`. */
export async function openDrawings(folder: string, split: "train" | "test"): Promise<NamedPicture[]> {
  const meta = parseJsonObject(await readFile(join(folder, "meta.json")), folder) as unknown as {
    classes: string[];
    per_class: number;
    shape: number[];
  };
  const { classes, per_class: each, shape } = meta;
  const [count, height, width] = shape;
  const bytes = gunzipSync(await readFile(join(folder, "quickdraw-10x2000-28x28.u8.gz")));
  ensure(bytes.length === count * height * width, "bad_file", `${folder}: ${bytes.length} bytes of drawings`);
  const kept = Math.floor(each * 0.9);
  return classes.flatMap((label, kind) => {
    const numbers = split === "train" ? { from: 0, to: kept } : { from: kept, to: each };
    return Array.from({ length: numbers.to - numbers.from }, (_, i): NamedPicture => {
      const at = (kind * each + numbers.from + i) * height * width;
      const pixels = new Uint8Array(3 * height * width);
      for (let j = 0; j < height * width; j++) pixels.fill(255 - bytes[at + j], 3 * j, 3 * j + 3);
      return { name: `a drawing of ${article(label)}`, label, picture: { width, height, pixels } };
    });
  });
}
