/**
 * EDF, EDF+ and BDF (Kemp et al. 1992; Kemp and Olivan 2003; BioSemi's 24-bit variant): a text header of 256 bytes and 256 for each signal,
 * then records that hold some samples of each signal in turn. A value is (v - dmin) · (pmax - pmin) / (dmax - dmin) + pmin.
 */
import { ensure } from "../../../errors.ts";
import { latin1, maximumBytes } from "./bytes.ts";
import type { Annotation, Channel, Recording } from "./recording.ts";

interface Signal {
  readonly label: string;
  readonly unit: string;
  readonly physical: readonly [number, number];
  readonly digital: readonly [number, number];
  readonly samples: number;
  /** Of the signal within a record, bytes. */
  readonly offset: number;
}

const maximumSignals = 4096;
const annotationLabels = ["EDF Annotations", "BDF Annotations"];

/**
 * Gaps of EDF+D are NaN, so that samples are where their time says. Errors: `bad_file` naming the field; a last record that is cut off is
 * left out, with a remark.
 */
export function readEdf(bytes: Uint8Array, origin: string): Recording {
  ensure(bytes.length >= 256, "bad_file", `${origin} has ${bytes.length} bytes, too few for an EDF header`);
  const text = latin1(bytes.subarray(0, 256));
  const biosemi = bytes[0] === 255 && text.slice(1, 8) === "BIOSEMI";
  ensure(
    biosemi || text.slice(0, 8).trim() === "0",
    "bad_file",
    `${origin} is neither EDF nor BDF: it begins with ${JSON.stringify(text.slice(0, 8))}`,
  );
  const width = biosemi ? 3 : 2;
  const number = (field: string, what: string): number => {
    const value = Number(field.trim());
    ensure(
      field.trim() !== "" && Number.isFinite(value),
      "bad_file",
      `${origin}: ${what} is ${JSON.stringify(field.trim())}, not a number`,
    );
    return value;
  };
  const reserved = text.slice(192, 236);
  const declared = number(text.slice(236, 244), "the number of records");
  const seconds = number(text.slice(244, 252), "the duration of a record");
  const count = number(text.slice(252, 256), "the number of signals");
  ensure(
    Number.isInteger(count) && count >= 1 && count <= maximumSignals,
    "bad_file",
    `${origin}: it says it has ${count} signals; 1 to ${maximumSignals} are read`,
  );
  const headerBytes = 256 * (count + 1);
  ensure(
    bytes.length >= headerBytes,
    "bad_file",
    `${origin} has ${bytes.length} bytes, but its header of ${count} signals needs ${headerBytes}; truncated?`,
  );
  const stated = number(text.slice(184, 192), "the length of the header");
  ensure(
    stated === headerBytes,
    "bad_file",
    `${origin}: the header says it has ${stated} bytes, but ${count} signals make ${headerBytes}`,
  );
  const { signals, recordBytes } = readSignals(bytes, count, width, number, origin);

  const remarks: string[] = [];
  const available = Math.floor((bytes.length - headerBytes) / recordBytes);
  let records = declared;
  if (declared === -1) records = available;
  else {
    ensure(Number.isInteger(declared) && declared >= 0, "bad_file", `${origin}: the number of records is ${declared}`);
    if (declared > available) {
      ensure(available > 0, "bad_file", `${origin} says it has ${declared} records, but not one is complete`);
      remarks.push(`${declared} records are declared, ${available} are complete; the rest is cut off`);
      records = available;
    }
  }
  const spare = bytes.length - headerBytes - records * recordBytes;
  if (spare > 0 && declared !== -1 && declared <= available)
    remarks.push(`${spare} bytes after the last record are not read`);
  if (declared === -1 && spare > 0) remarks.push("the last record is cut off and not read");

  const view = new DataView(bytes.buffer, bytes.byteOffset + headerBytes, records * recordBytes);
  const isText = ({ label }: Signal) => annotationLabels.includes(label);
  const annotations: Annotation[] = [];
  const starts: number[] = []; // of records, as their first list says
  for (const [i, signal] of signals.filter(isText).entries()) {
    for (let r = 0; r < records; r++) {
      const at = headerBytes + r * recordBytes + signal.offset;
      const found = parseAnnotations(bytes.subarray(at, at + signal.samples * width), origin);
      if (i === 0) starts.push(found[0]?.text === "" ? found[0].onset : Number.NaN);
      annotations.push(...found);
    }
  }
  for (const { label, samples } of signals.filter((signal) => !isText(signal)))
    ensure(
      seconds > 0 && Number.isFinite(samples / seconds),
      "bad_file",
      `${origin}: a record lasts ${seconds} s, so that ${label} has no rate`,
    );
  const interrupted = reserved.startsWith("EDF+D") || reserved.startsWith("BDF+D");
  const onsets = interrupted ? checkStarts(starts, records, seconds, recordBytes, origin) : undefined;
  if (onsets && records > 0) {
    const missing = onsets[records - 1] - (records - 1) * seconds;
    if (missing > 0) remarks.push(`gaps of ${Number(missing.toFixed(3))} s in all are missing values`);
  }
  const channels = signals
    .filter((signal) => !isText(signal))
    .map(
      (signal): Channel => ({
        name: signal.label,
        unit: signal.unit,
        rate: signal.samples / seconds,
        samples: atTheirTimes(readSamples(view, signal, records, recordBytes, width), signal.samples, seconds, onsets),
      }),
    );
  // Annotations count from the time in the header, samples from the first record's.
  const first = starts[0] || 0;
  return {
    channels,
    annotations: annotations
      .filter(({ text }) => text !== "")
      .map((annotation) => ({ ...annotation, onset: annotation.onset - first })),
    remarks,
  };
}

function readSignals(
  bytes: Uint8Array,
  count: number,
  width: number,
  number: (field: string, what: string) => number,
  origin: string,
): { signals: Signal[]; recordBytes: number } {
  let at = 256;
  const block = (size: number): string[] => {
    const fields = Array.from({ length: count }, (_, i) => latin1(bytes.subarray(at + i * size, at + (i + 1) * size)));
    at += count * size;
    return fields;
  };
  const labels = block(16);
  block(80); // transducers
  const [units, physicalMinima, physicalMaxima, digitalMinima, digitalMaxima] = [8, 8, 8, 8, 8].map(block);
  block(80); // filters
  const samples = block(8);
  const limit = 2 ** (8 * width - 1);
  let recordBytes = 0;
  const signals = labels.map((text, i): Signal => {
    const label = text.trim();
    const where = (what: string) => `${what} of signal ${i + 1} (${label})`;
    const physical = [
      number(physicalMinima[i], where("the physical minimum")),
      number(physicalMaxima[i], where("the physical maximum")),
    ] as const;
    const digital = [
      number(digitalMinima[i], where("the digital minimum")),
      number(digitalMaxima[i], where("the digital maximum")),
    ] as const;
    const perRecord = number(samples[i], where("the samples a record"));
    ensure(
      Number.isInteger(perRecord) && perRecord >= 1 && perRecord <= 2 ** 26,
      "bad_file",
      `${origin}: ${where("samples a record")} are ${perRecord}`,
    );
    if (!annotationLabels.includes(label)) {
      ensure(
        digital[0] !== digital[1],
        "bad_file",
        `${origin}: ${where("the digital range")} is empty (${digital[0]} to ${digital[1]}), so that no value can be scaled`,
      );
      ensure(
        physical[0] !== physical[1] && Number.isFinite((physical[1] - physical[0]) * 2 * limit),
        "bad_file",
        `${origin}: ${where("the physical range")} is empty or without end (${physical[0]} to ${physical[1]})`,
      );
      ensure(
        Math.abs(digital[0]) <= limit && Math.abs(digital[1]) <= limit,
        "bad_file",
        `${origin}: ${where("the digital range")} does not fit ${8 * width} bits`,
      );
    }
    const signal = { label, unit: units[i].trim(), physical, digital, samples: perRecord, offset: recordBytes };
    recordBytes += perRecord * width;
    return signal;
  });
  return { signals, recordBytes };
}

/** Seconds from the first record to each of a recording with gaps. Errors: `bad_file`. */
function checkStarts(
  starts: readonly number[],
  records: number,
  seconds: number,
  recordBytes: number,
  origin: string,
): number[] {
  const onsets = Array.from({ length: records }, (_, r) => starts[r] - starts[0]);
  for (const [r, onset] of onsets.entries()) {
    ensure(
      r === 0 ? Number.isFinite(starts[0]) : onset >= onsets[r - 1] + seconds - 1e-3 * seconds,
      "bad_file",
      `${origin} has gaps (EDF+D), but its record ${r + 1} does not say when it begins, or begins before the one before it ends`,
    );
  }
  const span = (onsets[records - 1] ?? 0) / seconds + 1;
  ensure(
    span * recordBytes <= maximumBytes,
    "bad_file",
    `${origin} has gaps (EDF+D) that make it as long as ${Math.round(span)} records, more than can be held`,
  );
  return onsets;
}

/** Samples of records that begin at these times, NaN between them; as they are where no times are given. */
function atTheirTimes(
  samples: Float64Array,
  perRecord: number,
  seconds: number,
  onsets: readonly number[] | undefined,
): Float64Array {
  if (!onsets || onsets.length === 0) return samples;
  const place = (onset: number) => Math.round((onset * perRecord) / seconds);
  const out = new Float64Array(place(onsets[onsets.length - 1]) + perRecord).fill(Number.NaN);
  for (const [r, onset] of onsets.entries())
    out.set(samples.subarray(r * perRecord, (r + 1) * perRecord), place(onset));
  return out;
}

function readSamples(
  view: DataView,
  signal: Signal,
  records: number,
  recordBytes: number,
  width: number,
): Float64Array {
  const { samples, offset, physical, digital } = signal;
  const scale = (physical[1] - physical[0]) / (digital[1] - digital[0]);
  const out = new Float64Array(records * samples);
  for (let r = 0, i = 0; r < records; r++) {
    let at = r * recordBytes + offset;
    for (let s = 0; s < samples; s++, i++, at += width) {
      const value = width === 2 ? view.getInt16(at, true) : view.getUint16(at, true) | (view.getInt8(at + 2) << 16);
      out[i] = (value - digital[0]) * scale + physical[0];
    }
  }
  return out;
}

/** Time-stamped lists: onset, 0x15, duration, 0x14, texts between 0x14, then 0x00. A record's own time stamp has no text. */
function parseAnnotations(bytes: Uint8Array, origin: string): Annotation[] {
  const found: Annotation[] = [];
  for (const list of Buffer.from(bytes).toString("utf8").split("\0")) {
    if (list === "") continue;
    const [stamp, ...texts] = list.split("\x14");
    const [onset, duration = "0"] = stamp.split("\x15");
    ensure(
      /^[+-]\d+(\.\d*)?$/.test(onset) && /^\d+(\.\d*)?$/.test(duration),
      "bad_file",
      `${origin}: an annotation begins with ${JSON.stringify(stamp.slice(0, 40))}, not with a time`,
    );
    for (const text of texts.slice(0, -1)) found.push({ onset: Number(onset), duration: Number(duration), text });
  }
  return found;
}

export interface EdfOptions {
  /** BDF with 24 bits instead of EDF with 16. */
  readonly biosemi?: boolean;
  /** Seconds of a record; every channel must have a whole number of samples in it, and a whole number of records. Default 1. */
  readonly recordSeconds?: number;
}

/** Writes EDF (EDF+C where there are annotations) or BDF; each channel is scaled to its own range. Errors: `bad_option`. */
export function writeEdf(
  { channels, annotations }: Recording,
  { biosemi = false, recordSeconds = 1 }: EdfOptions = {},
): Uint8Array {
  const width = biosemi ? 3 : 2;
  const limit = 2 ** (8 * width - 1);
  const digital = [-limit, limit - 1] as const;
  const lists = annotations.map((a) => `+${a.onset}${a.duration > 0 ? `\x15${a.duration}` : ""}\x14${a.text}\x14\0`);
  const counts = channels.map(({ rate, name }) => {
    const samples = rate * recordSeconds;
    ensure(
      Number.isInteger(samples) && samples > 0,
      "bad_option",
      `${name}: ${rate} samples a second do not fill records of ${recordSeconds} s`,
    );
    return samples;
  });
  const records = channels[0].samples.length / counts[0];
  for (const [i, { samples, name }] of channels.entries()) {
    ensure(
      samples.length === records * counts[i] && Number.isInteger(records),
      "bad_option",
      `${name}: ${samples.length} samples do not make ${records} whole records`,
    );
  }
  const stamped = (r: number) => Buffer.from(`+${r * recordSeconds}\x14\x14\0${r === 0 ? lists.join("") : ""}`, "utf8");
  const textBytes = lists.length > 0 ? Math.ceil(stamped(0).length / width) * width : 0;
  const signals = channels.map(({ name, unit, samples: values }, i) => {
    let [low, high] = [Infinity, -Infinity];
    for (const v of values) [low, high] = [Math.min(low, v), Math.max(high, v)];
    // Eight characters for each end: rounded outwards so that no value is cut off.
    const round = (v: number, up: boolean) => {
      for (let digits = 7; digits >= 0; digits--) {
        const factor = 10 ** digits;
        const text = String((up ? Math.ceil(v * factor) : Math.floor(v * factor)) / factor);
        if (text.length <= 8 && !text.includes("e")) return text;
      }
      return ensure(
        false,
        "bad_option",
        `${name}: ${v} cannot be written in the eight characters of an EDF range`,
      ) as never;
    };
    const [from, to] = [round(low, false), round(high, true)];
    const range =
      Number(from) === Number(to) ? ([from, round(Number(from) + 1, true)] as const) : ([from, to] as const);
    return { label: name, unit, range, samples: counts[i] };
  });
  if (textBytes > 0)
    signals.push({
      label: biosemi ? "BDF Annotations" : "EDF Annotations",
      unit: "",
      range: ["-1", "1"],
      samples: textBytes / width,
    });
  const field = (size: number, text: string) => {
    ensure(text.length <= size, "bad_option", `EDF: ${JSON.stringify(text)} is longer than ${size} characters`);
    return text.padEnd(size);
  };
  const all = (size: number, text: (s: (typeof signals)[number]) => string) =>
    signals.map((s) => field(size, text(s))).join("");
  const plus = textBytes > 0 ? (biosemi ? "BDF+C" : "EDF+C") : biosemi ? "24BIT" : "";
  const header = [
    biosemi ? `${String.fromCharCode(255)}BIOSEMI` : field(8, "0"),
    field(80, "X X X X"),
    field(80, "Startdate X X X X"),
    "01.01.8500.00.00",
    field(8, String(256 * (signals.length + 1))),
    field(44, plus),
    field(8, String(records)),
    field(8, String(recordSeconds)),
    field(4, String(signals.length)),
    all(16, (s) => s.label),
    all(80, () => ""),
    all(8, (s) => s.unit.replace("µ", "u")),
    all(8, (s) => s.range[0]),
    all(8, (s) => s.range[1]),
    all(8, () => String(digital[0])),
    all(8, () => String(digital[1])),
    all(80, () => ""),
    all(8, (s) => String(s.samples)),
    all(32, () => ""),
  ].join("");
  const recordBytes = counts.reduce((a, b) => a + b, 0) * width + textBytes;
  const out = new Uint8Array(header.length + records * recordBytes);
  out.set(Buffer.from(header, "latin1"));
  const view = new DataView(out.buffer);
  let at = header.length;
  for (let r = 0; r < records; r++) {
    for (const [i, { samples }] of channels.entries()) {
      const [low, high] = signals[i].range.map(Number);
      for (let s = 0; s < counts[i]; s++, at += width) {
        const scaled = ((samples[r * counts[i] + s] - low) / (high - low)) * (digital[1] - digital[0]) + digital[0];
        const value = Math.min(digital[1], Math.max(digital[0], Math.round(scaled)));
        if (width === 2) view.setInt16(at, value, true);
        else {
          view.setUint16(at, value & 0xffff, true);
          view.setInt8(at + 2, value >> 16);
        }
      }
    }
    if (textBytes > 0) out.set(stamped(r), at);
    at += textBytes;
  }
  return out;
}
