/** The rows of `ventris memory bottleneck`: features and labels of tables or texts, and the file that has learned some. */
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import { memory } from "../methods/index.ts";
import type { Model } from "../open.ts";
import { showProgress } from "./output.ts";
import { openShown } from "./progress.ts";

const { bottleneck: library } = memory;

export interface SourceFlags {
  label?: string;
  model?: string;
  site?: string;
  threads?: number;
  json?: true;
}

export const usualModel = "knossos";

/** What makes features: a table's columns, or a model read at a site. Bottlenecks of others are refused. */
const encoderSchema = z.union([
  z.strictObject({ columns: z.array(z.string()) }),
  z.strictObject({ model: z.string(), fingerprint: z.string(), site: z.string() }),
]);
type Encoder = z.output<typeof encoderSchema>;

interface Part extends memory.bottleneck.NamedRows {
  readonly file: string;
}

const isTable = (path: string): boolean => /\.(csv|tsv)(\.gz)?$/.test(path);

/** Features of files, all of one encoder: that of a bottleneck, where one is given. Errors: those of tables and texts; `bad_option` for a mixture. */
export async function readParts(
  files: readonly string[],
  { label, model: reference, site, threads }: SourceFlags,
  known: Encoder | undefined,
  signal: AbortSignal,
): Promise<{ parts: Part[]; encoder: Encoder }> {
  const tables = files.filter(isTable);
  ensure(
    tables.length === 0 || tables.length === files.length,
    "bad_option",
    `${files.find((file) => !isTable(file))}: tables and texts cannot be one stream`,
  );
  if (tables.length > 0) {
    ensure(!known || "columns" in known, "bad_option", "the bottleneck was learned on texts, and tables are given");
    const foreign = Object.entries({ site, model: reference, threads }).find(([, value]) => value !== undefined);
    ensure(!foreign, "bad_option", () => `--${foreign![0]} belongs to texts: a table is its own features`);
    const parts: Part[] = [];
    let columns = known?.columns;
    for (const file of files) {
      const table = await library.labelledTable(file, label);
      columns ??= table.columns;
      const other = table.columns.find((name, i) => name !== columns![i]) ?? columns[table.columns.length];
      ensure(
        other === undefined,
        "bad_option",
        `${file}: its columns are not those that were learned from: see "${other}"`,
      );
      parts.push({ ...table, file });
    }
    return { parts, encoder: { columns: columns! } };
  }
  ensure(!known || "site" in known, "bad_option", "the bottleneck was learned on tables, and texts are given");
  const read: { file: string; texts: string[]; labels: string[] }[] = [];
  for (const file of files) read.push({ file, ...(await library.labelledTexts(file, label)) });
  await using model: Model = await openShown(reference ?? usualModel, { threads });
  const fingerprint = await model.fingerprint();
  ensure(!known || known.fingerprint === fingerprint, "bad_option", () => {
    return `the bottleneck was learned on states of another model (${known!.model}), and means nothing to ${model.name}: the weights differ`;
  });
  ensure(!known || site === undefined || site === known.site, "bad_option", () => {
    return `--site ${site}: the bottleneck was learned on states at ${known!.site}`;
  });
  const place = known?.site ?? site ?? memory.inputSiteOf(model.config);
  const parts: Part[] = [];
  for (const { file, texts, labels } of read) {
    const onProgress = (done: number) => showProgress(`${file}: ${done} of ${plural(texts.length, "text")} read`);
    parts.push({ ...(await library.textFeatures(model, texts, { site: place, signal, onProgress })), labels, file });
  }
  return { parts, encoder: { model: model.name, fingerprint, site: place } };
}

/** Errors: `bad_option` naming a label that is none of the classes. */
export function labelled({ file, labels, ...rows }: Part, classes: readonly string[]): memory.bottleneck.Labelled {
  const numbers = Int32Array.from(labels, (name) => classes.indexOf(name));
  const unknown = numbers.indexOf(-1);
  ensure(unknown < 0, "bad_option", () => {
    return `${file}: row ${unknown + 1} has the label "${labels[unknown]}", which is none of the classes (${classes.join(", ")}); --classes names those to come when a bottleneck is begun`;
  });
  return { ...rows, labels: numbers };
}

export const namesOf = (parts: readonly Part[]): string[] => [...new Set(parts.flatMap(({ labels }) => labels))].sort();

export async function openLearner(path: string) {
  const { bottleneck, encoder, classes } = await library.openBottleneck(path);
  let stated: unknown;
  try {
    stated = JSON.parse(encoder);
  } catch {}
  const parsed = encoderSchema.safeParse(stated);
  ensure(
    classes && parsed.success,
    "bad_file",
    `${path} does not say what its features and classes are: it was not written by this command`,
  );
  return { bottleneck, classes, encoder: parsed.data };
}

export function joined(rows: readonly memory.bottleneck.Features[]): memory.bottleneck.Features {
  const values = new Float32Array(rows.reduce((sum, one) => sum + one.values.length, 0));
  let at = 0;
  for (const one of rows) {
    values.set(one.values, at);
    at += one.values.length;
  }
  const { width } = rows[0];
  return { count: values.length / width, width, values };
}
