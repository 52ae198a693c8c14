/** Whether the record that is kept of a system is there, whole and of today: what `ventris reproduce --list` says. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Paper } from "./paper.ts";
import { readRecord, recordsFolder } from "./records.ts";
import type { ReproductionRecord, Size } from "./reproduction.ts";

export interface RecordState {
  readonly number: number;
  readonly name: string;
  /**
   * planned: nothing can be measured yet. missing: no record. stale: measured with other options, models or claims than there are now.
   * partial: of a smaller size than full. current: measured in full, as it would be now.
   */
  readonly state: "planned" | "missing" | "stale" | "partial" | "current";
  readonly size?: Size;
  readonly date?: string;
  readonly claims: number;
  readonly measured: number;
  /** Why it is stale, in words. */
  readonly reasons: readonly string[];
}

const modelsFolder = fileURLToPath(new URL("../../models/", import.meta.url));

/** SHA-256 of the weight files of shipped models, by name; other models are left out. */
export async function weightsOf(names: readonly string[], folder = modelsFolder): Promise<Record<string, string>> {
  const weights: Record<string, string> = {};
  for (const name of [...names].sort()) {
    const file = join(folder, name, "model.safetensors");
    const shipped = /^[\w-]+$/.test(name) && existsSync(file);
    if (shipped)
      weights[name] = createHash("sha256")
        .update(await readFile(file))
        .digest("hex");
  }
  return weights;
}

/** Errors: `bad_file` for a record that cannot be read. */
export async function recordState(paper: Paper, folder = recordsFolder): Promise<RecordState> {
  const { number, name, claims } = paper;
  const record = readRecord(name, folder);
  const measured = claims.filter(({ id }) => record?.measurements.some(({ claim }) => claim === id)).length;
  const said = {
    number,
    name,
    claims: claims.length,
    measured,
    ...(record && { size: record.size, date: record.date }),
  };
  if (!paper.reproduction) return { ...said, state: "planned", reasons: [] };
  if (!record) return { ...said, state: "missing", reasons: [] };
  const reasons = await changesSince(paper, record);
  const whole = record.size === "full" ? "current" : "partial";
  return { ...said, state: reasons.length > 0 ? "stale" : whole, reasons };
}

async function changesSince(paper: Paper, record: ReproductionRecord): Promise<string[]> {
  const { sizes } = await paper.reproduction!();
  const reasons: string[] = [];
  const now = sizes[record.size];
  const changed = [...new Set([...Object.keys(now), ...Object.keys(record.options)])].filter(
    (option) => JSON.stringify(now[option]) !== JSON.stringify(record.options[option]),
  );
  if (changed.length > 0) reasons.push(`measured with other options: ${changed.join(", ")}`);
  const gone = record.measurements.filter(({ claim }) => !paper.claims.some(({ id }) => id === claim));
  if (gone.length > 0) reasons.push(`claims that are no more: ${gone.map(({ claim }) => claim).join(", ")}`);
  const weights = await weightsOf(Object.keys(record.weights ?? {}));
  for (const [model, before] of Object.entries(record.weights ?? {})) {
    if (weights[model] !== before) reasons.push(`${model} has other weights now`);
  }
  return reasons;
}
