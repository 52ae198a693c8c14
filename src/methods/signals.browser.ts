/** What decodes signals, in a page: all but the reading of recordings, whose formats are files of a disk. */
import { VentrisError } from "../errors.ts";

export * from "./signals/everywhere.ts";

/** Errors: `unavailable`, always. */
export async function readTable(): Promise<never> {
  throw new VentrisError(
    "unavailable",
    "readTable reads files, which a page has not: give numbers, as matrix(rows, columns, values)",
  );
}
