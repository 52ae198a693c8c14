import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Evaluation data lives beside the repository and is never copied into it. */
const folder = process.env.VENTRIS_DATA ?? fileURLToPath(new URL("../../shared/data", import.meta.url));

/** Why data-backed tests were skipped, for `describe.skipIf(!path)(…)` titles. */
export const noData = `no evaluation data at ${folder} (set VENTRIS_DATA)`;

/** Path of a data file, or undefined where the data is absent. */
export function dataPath(...names: string[]): string | undefined {
  const path = join(folder, ...names);
  return existsSync(path) ? path : undefined;
}
