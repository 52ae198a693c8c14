/** Warnings: what a person should know although the work goes on. */

const said = new Set<string>();
/** Texts of warnings come from files: a process that opens thousands of models forgets some. */
const mostRemembered = 10_000;

/** Says a text once in a process: a `VentrisWarning` event of the process, which Node writes to stderr. */
export function warnOnce(message: string): void {
  if (said.has(message)) return;
  if (said.size >= mostRemembered) said.clear();
  said.add(message);
  if (typeof process !== "undefined" && typeof process.emitWarning === "function") {
    process.emitWarning(message, "VentrisWarning");
  } else {
    console.warn(`ventris: ${message}`);
  }
}
