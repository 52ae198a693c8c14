/** Work of a stranger's making that may take too long. */
import { runInNewContext } from "node:vm";
import { VentrisError } from "../errors.ts";

/** What `work` returns, ended where it takes longer: an expression that backtracks without end could not be stopped otherwise. */
export function withinTime<T>(work: () => T, milliseconds: number): T {
  try {
    return runInNewContext("work()", { work }, { timeout: milliseconds }) as T;
  } catch (error) {
    if ((error as { code?: string }).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    throw new VentrisError(
      "bad_option",
      `the regular expression takes longer than ${milliseconds} ms over the texts: write it with fewer nested repetitions`,
    );
  }
}
