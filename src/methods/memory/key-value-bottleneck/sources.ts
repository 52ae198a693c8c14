/** Where a bottleneck's features come from: columns of a table, or the states that a language model has over texts; each row with its label. */
import { ensure, plural } from "../../../errors.ts";
import { didYouMean } from "../../../names.ts";
import { cellText } from "../../../text/cells.ts";
import { recordFields, textLines } from "../../../text/index.ts";
import { documentTokens } from "../../../text/windows.ts";
import { everyRow, type StateModel } from "../building.ts";
import type { Features } from "./bottleneck.ts";

/** Features with the name of each row's class. */
export interface NamedRows extends Features {
  readonly labels: readonly string[];
}

/**
 * Rows of a `.csv` or `.tsv` file with a header line: numbers, but for the column of the labels (default: the last). Errors: `bad_file` naming line and
 * column; `bad_option` for an ending or a label column that is not there; `unavailable`.
 */
export async function labelledTable(path: string, label?: string): Promise<NamedRows & { columns: string[] }> {
  const ending = /\.(csv|tsv)(\.gz)?$/.exec(path)?.[1];
  ensure(ending, "bad_option", `${path}: a table of features ends in .csv or .tsv, or either with .gz`);
  const cellsOf = (line: string): string[] => line.split(ending === "csv" ? "," : "\t").map(cellText);
  let header: string[] | undefined;
  let [at, number] = [-1, 0];
  const values: number[] = [];
  const labels: string[] = [];
  for await (const line of textLines(path)) {
    number++;
    if (line.trim() === "") continue;
    const cells = cellsOf(line);
    if (!header) {
      header = cells;
      at = label === undefined ? header.length - 1 : header.indexOf(label);
      ensure(at >= 0, "bad_option", () => {
        return `${path} has no column "${label}"${didYouMean(label!, header!)} It has ${header!.length}: ${header!.join(", ")}`;
      });
      ensure(header.length >= 2, "bad_file", `${path}: a table has a label and at least one column of features`);
      continue;
    }
    ensure(
      cells.length === header.length,
      "bad_file",
      `${path}, line ${number}: ${plural(cells.length, "column")}, not ${header.length}`,
    );
    for (const [i, cell] of cells.entries()) {
      if (i === at) continue;
      const value = cell === "" ? Number.NaN : Number(cell);
      ensure(
        Number.isFinite(value),
        "bad_file",
        () => `${path}, line ${number}: ${header![i]} is ${cell === "" ? "empty" : `"${cell}"`}, and must be a number`,
      );
      ensure(
        Number.isFinite(Math.fround(value)),
        "bad_file",
        () => `${path}, line ${number}: ${header![i]} is ${cell}, beyond what 32 bits hold`,
      );
      values.push(value);
    }
    labels.push(cells[at]);
  }
  ensure(header && labels.length > 0, "bad_option", `${path}: the stream is empty: it has no row with a label`);
  const columns = header.filter((_, i) => i !== at);
  return { count: labels.length, width: columns.length, values: Float32Array.from(values), labels, columns };
}

/** The texts of a `.jsonl` file with their labels. Errors: `bad_option` for another ending or no text, `bad_file`, `unavailable`. */
export async function labelledTexts(path: string, label = "label"): Promise<{ texts: string[]; labels: string[] }> {
  ensure(/\.jsonl(\.gz)?$/.test(path), "bad_option", `${path}: texts with labels end in .jsonl, or that with .gz`);
  const [texts, labels]: string[][] = [[], []];
  for await (const [text, name] of recordFields(path, ["text", label])) {
    texts.push(text);
    labels.push(name);
  }
  ensure(texts.length > 0, "bad_option", `${path}: the stream is empty: it has no text`);
  return { texts, labels };
}

/** Tokens of a text that a state is computed from, and rows of a pass. */
const [window, rowsTogether] = [256, 1024];

export interface TextFeatureOptions {
  /** Where the model is read. */
  readonly site: string;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told how many texts are read. Default: nobody is told. */
  readonly onProgress?: (texts: number) => void;
}

/**
 * The mean state of a frozen model over each text, read in windows. Errors: `bad_option` for a site without a row for every token, or a text without
 * a token; `aborted`.
 */
export async function textFeatures(
  model: StateModel,
  texts: readonly string[],
  { site, signal, onProgress }: TextFeatureOptions,
): Promise<Features> {
  const { tokenizer } = model;
  ensure(tokenizer, "bad_option", `texts are read by tokens, and ${model.name} has no tokenizer`);
  const width = everyRow(model.sites(), site);
  const sums = new Float64Array(texts.length * width);
  const counts = new Int32Array(texts.length);
  let pending: { text: number; tokens: number[] }[] = [];
  let rows = 0;
  async function flush(): Promise<void> {
    ensure(!signal?.aborted, "aborted", "reading the texts was aborted");
    const found = await model.forward(
      pending.map(({ tokens }) => ({ tokens, logits: "none" as const })),
      { taps: [site] },
    );
    for (const [i, { text, tokens }] of pending.entries()) {
      const { values } = found[i].taps[site];
      for (let k = 0; k < values.length; k++) sums[text * width + (k % width)] += values[k];
      counts[text] += tokens.length;
      onProgress?.(text + 1);
    }
    [pending, rows] = [[], 0];
  }
  for (const [text, words] of texts.entries()) {
    const tokens = [...documentTokens(tokenizer, words)];
    ensure(tokens.length > 0, "bad_option", `text ${text + 1} has no token`);
    for (let at = 0; at < tokens.length; at += window) {
      const some = tokens.slice(at, at + window);
      if (pending.length > 0 && rows + some.length > rowsTogether) await flush();
      pending.push({ text, tokens: some });
      rows += some.length;
    }
  }
  if (pending.length > 0) await flush();
  const values = Float32Array.from(sums, (sum, i) => sum / counts[Math.floor(i / width)]);
  return { count: texts.length, width, values };
}
