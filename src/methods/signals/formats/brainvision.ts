/**
 * BrainVision Core Data Format 1.0 and 2.0: a header (.vhdr) and markers (.vmrk) as INI text, and samples (.eeg) as INT_16, INT_32 or
 * IEEE_FLOAT_32, multiplexed or vectorised, in one file each, side by side.
 */
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ensure, plural } from "../../../errors.ts";
import { writeFileAtomically } from "../../../weights/cache.ts";
import { readBytes } from "./bytes.ts";
import type { Annotation, Recording } from "./recording.ts";

const maximumHeaderBytes = 16_000_000;
const maximumChannels = 4096;
const formats = { INT_16: 2, INT_32: 4, IEEE_FLOAT_32: 4 } as const;

/** Errors: `unavailable` for a missing file, `bad_file` naming the key. */
export async function readBrainVision(path: string): Promise<Recording> {
  const header = parseIni(await readBytes(path, maximumHeaderBytes), path, /^Brain ?Vision .*Header File/i);
  const common = header.get("Common Infos") ?? new Map<string, string>();
  const binary = header.get("Binary Infos") ?? new Map<string, string>();
  const wanted = (key: string) => {
    const value = common.get(key);
    ensure(value !== undefined && value !== "", "bad_file", `${path} has no ${key}`);
    return value;
  };
  ensure(
    wanted("DataFormat") === "BINARY",
    "bad_file",
    `${path}: DataFormat ${common.get("DataFormat")} is not read, only BINARY`,
  );
  const orientation = wanted("DataOrientation");
  ensure(
    orientation === "MULTIPLEXED" || orientation === "VECTORIZED",
    "bad_file",
    `${path}: unknown DataOrientation ${orientation}`,
  );
  const count = Number(wanted("NumberOfChannels"));
  ensure(
    Number.isInteger(count) && count >= 1 && count <= maximumChannels,
    "bad_file",
    `${path}: NumberOfChannels is ${count}; 1 to ${maximumChannels} are read`,
  );
  const interval = Number(wanted("SamplingInterval"));
  ensure(
    interval > 0 && Number.isFinite(interval) && Number.isFinite(1e6 / interval),
    "bad_file",
    `${path}: SamplingInterval is ${common.get("SamplingInterval")} microseconds`,
  );
  const format = (binary.get("BinaryFormat") ?? "") as keyof typeof formats;
  ensure(
    Object.hasOwn(formats, format),
    "bad_file",
    `${path}: BinaryFormat ${format || "is missing"}; ${Object.keys(formats).join(", ")} are read`,
  );
  const little = !/^yes$/i.test(binary.get("UseBigEndianOrder") ?? "NO");

  const dataPath = beside(path, wanted("DataFile"), "DataFile");
  const bytes = await readBytes(dataPath);
  const width = formats[format];
  ensure(
    bytes.length % (width * count) === 0,
    "bad_file",
    `${dataPath} has ${bytes.length} bytes, which is no whole number of samples of ${count} channels; truncated?`,
  );
  const points = bytes.length / (width * count);
  const declared = common.get("DataPoints");
  ensure(
    !declared || Number(declared) === points,
    "bad_file",
    `${path} says there are ${declared} points, but ${dataPath} holds ${points}`,
  );

  const lines = header.get("Channel Infos") ?? new Map<string, string>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read =
    format === "INT_16"
      ? (at: number) => view.getInt16(at, little)
      : format === "INT_32"
        ? (at: number) => view.getInt32(at, little)
        : (at: number) => view.getFloat32(at, little);
  const channels = Array.from({ length: count }, (_, i) => {
    const line = lines.get(`Ch${i + 1}`);
    ensure(line !== undefined, "bad_file", `${path} does not describe channel ${i + 1} of ${count}`);
    const [name, , resolution = "", unit = ""] = line.split(",").map((part) => part.replaceAll("\\1", ","));
    const scale = resolution.trim() === "" ? 1 : Number(resolution);
    ensure(
      Number.isFinite(scale) && scale !== 0,
      "bad_file",
      `${path}: the resolution of channel ${name} is ${resolution}`,
    );
    const samples = new Float64Array(points);
    for (let t = 0; t < points; t++) {
      samples[t] = scale * read(width * (orientation === "MULTIPLEXED" ? t * count + i : i * points + t));
    }
    return { name, unit: unit.trim() || "µV", rate: 1e6 / interval, samples };
  });
  const markers = common.get("MarkerFile");
  const annotations = markers ? await readMarkers(beside(path, markers, "MarkerFile"), interval, points) : [];
  return { channels, annotations, remarks: [] };
}

async function readMarkers(path: string, interval: number, points: number): Promise<Annotation[]> {
  const ini = parseIni(await readBytes(path, maximumHeaderBytes), path, /^Brain ?Vision .*Marker File/i);
  return [...(ini.get("Marker Infos") ?? [])].map(([key, line]) => {
    const [type, description = "", position = "", length = "1"] = line
      .split(",")
      .map((part) => part.replaceAll("\\1", ","));
    const at = Number(position);
    ensure(
      Number.isInteger(at) && at >= 1 && at <= points,
      "bad_file",
      `${path}: ${key} lies at ${position}, outside the ${plural(points, "point")}`,
    );
    const seconds = interval / 1e6;
    return {
      onset: (at - 1) * seconds,
      duration: Math.max(0, Number(length) || 0) * seconds,
      text: description || type,
    };
  });
}

/** A file beside the header. A path could point anywhere on the machine. */
function beside(header: string, name: string, key: string): string {
  const plain = name.replaceAll("$b", basename(header).replace(/\.[^.]*$/, ""));
  ensure(
    basename(plain) === plain && !plain.includes("\\"),
    "bad_file",
    `${header}: ${key} is ${JSON.stringify(name)}, which is no plain file name`,
  );
  const path = join(dirname(header), plain);
  ensure(
    existsSync(path),
    "unavailable",
    `${header} names ${plain} as its ${key}, but there is no such file beside it`,
  );
  return path;
}

/** Sections of key=value lines; comments begin with a semicolon. The key Codepage decides between UTF-8 and Latin 1. */
function parseIni(bytes: Buffer, origin: string, first: RegExp): Map<string, Map<string, string>> {
  const plain = bytes.toString("latin1");
  const text =
    /^Codepage\s*=\s*UTF-8/im.test(plain) || plain.startsWith("\xef\xbb\xbf")
      ? bytes.toString("utf8").replace(/^\uFEFF/, "")
      : plain;
  const lines = text.split(/\r?\n/);
  ensure(
    first.test(lines[0] ?? ""),
    "bad_file",
    `${origin} does not begin as a BrainVision file: ${JSON.stringify((lines[0] ?? "").slice(0, 60))}`,
  );
  const sections = new Map<string, Map<string, string>>();
  let section: Map<string, string> | undefined;
  for (const line of lines.slice(1)) {
    if (/^\s*(;|$)/.test(line)) continue;
    const name = /^\[(.*)\]\s*$/.exec(line)?.[1];
    if (name !== undefined) {
      section = new Map();
      sections.set(name, section);
      if (name === "Comment") section = undefined; // free text
      continue;
    }
    const [, key, value] = /^([^=]+)=(.*)$/.exec(line) ?? [];
    if (section && key !== undefined) section.set(key.trim(), value.trim());
  }
  return sections;
}

/** Writes NAME.vhdr, NAME.eeg and NAME.vmrk as 32-bit floats, multiplexed. Errors: `bad_option` for unequal rates or lengths. */
export async function writeBrainVision(path: string, { channels, annotations }: Recording): Promise<void> {
  const stem = basename(path).replace(/\.vhdr$/, "");
  const [{ rate, samples }] = channels;
  for (const channel of channels) {
    ensure(
      channel.rate === rate && channel.samples.length === samples.length,
      "bad_option",
      `${channel.name} differs from the first channel in rate or length`,
    );
  }
  const escaped = (text: string) => text.replaceAll(",", "\\1");
  const header = [
    "Brain Vision Data Exchange Header File Version 1.0",
    "; written by ventris",
    "[Common Infos]",
    "Codepage=UTF-8",
    `DataFile=${stem}.eeg`,
    `MarkerFile=${stem}.vmrk`,
    "DataFormat=BINARY",
    "DataOrientation=MULTIPLEXED",
    `NumberOfChannels=${channels.length}`,
    `DataPoints=${samples.length}`,
    `SamplingInterval=${1e6 / rate}`,
    "[Binary Infos]",
    "BinaryFormat=IEEE_FLOAT_32",
    "[Channel Infos]",
    ...channels.map(({ name, unit }, i) => `Ch${i + 1}=${escaped(name)},,,${unit}`),
    "",
  ].join("\r\n");
  const markers = [
    "Brain Vision Data Exchange Marker File, Version 1.0",
    "[Common Infos]",
    "Codepage=UTF-8",
    `DataFile=${stem}.eeg`,
    "[Marker Infos]",
    ...annotations.map(
      ({ onset, duration, text }, i) =>
        `Mk${i + 1}=Comment,${escaped(text)},${Math.round(onset * rate) + 1},${Math.max(1, Math.round(duration * rate))},0`,
    ),
    "",
  ].join("\r\n");
  const data = new Float32Array(channels.length * samples.length);
  for (let t = 0; t < samples.length; t++)
    for (const [i, channel] of channels.entries()) data[t * channels.length + i] = channel.samples[t];
  const write = (name: string, bytes: Uint8Array) => writeFileAtomically(join(dirname(path), name), bytes);
  await write(`${stem}.eeg`, new Uint8Array(data.buffer));
  await write(`${stem}.vmrk`, Buffer.from(markers, "utf8"));
  await write(`${stem}.vhdr`, Buffer.from(header, "utf8"));
}
