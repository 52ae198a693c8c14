import { format } from "./measure.mjs";

/**
 * One figure to measure. `measure` gets the settings of the run and returns the value with the ratio (or value) of each
 * run, and absolute times as a note; or the reason why it cannot be measured here.
 * @typedef {{ quick: boolean, runs: number, progress: (line: string) => void }} Settings
 * @typedef {{ value: number, runs: number[], note?: string } | { skipped: string }} Measurement
 * @typedef {{ what: string, target: Target, measure: (settings: Settings) => Promise<Measurement> }} RowDefinition
 * @typedef {{ relation: ">=" | "<=" | "none", bound: number, unit: string }} Target
 */

/**
 * As printed by `--json`; a row that was skipped or failed has no value and does not hold. `note`: what the table says beside it.
 * @typedef {{ what: string, target: string, value: number | null, holds: boolean, runs: number[], note?: string, date?: string }} Row
 */

/** @param {number} bound @param {string} [unit] @returns {Target} */
export const atLeast = (bound, unit = "×") => ({ relation: ">=", bound, unit });
/** @param {number} bound @param {string} [unit] @returns {Target} */
export const atMost = (bound, unit = "×") => ({ relation: "<=", bound, unit });
/** A figure without a bound: it holds when it could be measured. @param {string} [unit] @returns {Target} */
export const reported = (unit = "×") => ({ relation: "none", bound: 0, unit });

/** @param {Target} target */
export function targetText({ relation, bound, unit }) {
  if (relation === "none") return `reported${unit && `, ${unit.trim()}`}`;
  return `${relation === ">=" ? "≥" : "≤"} ${bound}${unit}`;
}

/** @param {Target} target @param {number} value */
function holds({ relation, bound }, value) {
  if (relation === "none") return Number.isFinite(value);
  return relation === ">=" ? value >= bound : value <= bound;
}

/**
 * Measures the rows in order. A failing row is reported and does not stop the others.
 * @param {readonly RowDefinition[]} definitions
 * @param {Settings} settings
 * @param {(rows: readonly Row[]) => void} [onRow] hears of the rows so far, after each
 */
export async function measureRows(definitions, settings, onRow) {
  /** @type {Row[]} */
  const rows = [];
  /** @type {string[]} what the table says beside each row */
  const notes = [];
  let failed = false;
  for (const { what, target, measure } of definitions) {
    settings.progress(`\n${what}`);
    /** @type {Row} */
    const row = { what, target: targetText(target), value: null, holds: false, runs: [] };
    let note = "";
    try {
      const measured = await measure(settings);
      if ("skipped" in measured) {
        note = `skipped: ${measured.skipped}`;
      } else {
        row.value = measured.value;
        row.runs = measured.runs;
        row.holds = holds(target, measured.value);
        note = measured.note ?? "";
      }
    } catch (error) {
      failed = true;
      note = `failed: ${error instanceof Error ? error.message : error}`;
    }
    if (note) settings.progress(`  ${note}`);
    rows.push({ ...row, ...(note && row.value !== null && { note }), date: new Date().toISOString() });
    notes.push(note);
    onRow?.(rows);
  }
  return { rows, notes, failed };
}

/**
 * The aligned table for people.
 * @param {readonly Row[]} rows
 * @param {readonly string[]} notes
 */
export function table(rows, notes) {
  const cells = rows.map(({ what, target, value, holds }, index) => [
    what,
    target,
    value === null ? "–" : format(value),
    value === null ? "" : holds ? "yes" : "NO",
    notes[index],
  ]);
  const lines = [["what", "target", "value", "holds", "note"], ...cells];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** @typedef {{ name: string, machine: Record<string, string | number>, date: string, rows: Row[] }} BenchmarkRecord */

/** The relation and the bound of a target as it is written; its unit follows. */
const targetStart = /^(?:([≥≤]) (-?[\d.]+(?:e[+-]?\d+)?)|reported(?:, )?)/;

/** What a value is against its target, as the target is written; of one without a bound, nothing. @param {string} target @param {number} value */
function verdict(target, value) {
  const [, relation, bound] = targetStart.exec(target) ?? [];
  if (!relation) return "";
  return (relation === "≥" ? value >= Number(bound) : value <= Number(bound)) ? " ✓" : " ✗";
}

/** @param {string} target @param {number} value */
function withUnit(target, value) {
  const unit = target.replace(targetStart, "");
  return `${format(value)}${unit && `${unit === "×" ? "" : " "}${unit.trim()}`}`;
}

/** What a second machine measured of a row, marked where the row does not hold there as it does here. @param {Row} row @param {number} there */
function elsewhere({ target, value }, there) {
  const mark = verdict(target, there);
  const moved = value !== null && Math.abs(there / value - 1) > 0.1;
  if (mark === "") return `${withUnit(target, there)}${moved ? " ≠" : ""}`;
  return `${withUnit(target, there)}${mark}${value !== null && verdict(target, value) !== mark ? " ≠" : ""}`;
}

/**
 * A record as docs/measurements.md shows it, with what a second machine measured of some rows.
 * @param {BenchmarkRecord | undefined} record @param {string} command @param {Record<string, number>} [second]
 */
export function markdownTable(record, command, second) {
  if (!record) return `Not recorded yet: \`${command}\`.`;
  const { machine, date, rows } = record;
  const noted = rows.some(({ note }) => note !== undefined);
  const lines = rows.map((row) => {
    const { what, target, value, note = "" } = row;
    const shown = value === null ? "not measured" : `${withUnit(target, value)}${verdict(target, value)}`;
    const there = second && ` ${what in second ? elsewhere(row, second[what]) : "–"} |`;
    return `| ${what} | ${/^[≥≤]/.test(target) ? target : "–"} | ${shown} |${there ?? ""}${noted ? ` ${note.replaceAll("|", "\\|")} |` : ""}`;
  });
  const { cpu, cores, memoryGiB, system, node, onnxruntime } = machine;
  const days = rows
    .filter(({ value }) => value !== null)
    .map((row) => (row.date ?? date).slice(0, 10))
    .sort();
  const [first, last] = [days[0], days[days.length - 1]];
  return [
    `| what | target | measured |${second ? " second machine |" : ""}${noted ? " note |" : ""}`,
    `|---|---|---|${second ? "---|" : ""}${noted ? "---|" : ""}`,
    ...lines,
    "",
    ...(second
      ? [
          "≠: this row does not hold on the second machine as it does on the first (without a target: it is another by more than a tenth).",
          "",
        ]
      : []),
    `Measured ${first === last ? `on ${first}` : `from ${first} to ${last}`} by \`${command}\`: ${cpu}, ${cores} cores, ${memoryGiB} GiB, ${system}, Node ${node}, ONNX Runtime ${onnxruntime}.`,
  ].join("\n");
}

/**
 * Published figures of a method beside ours, from the records that hold them, in the same unit.
 * @param {readonly import("../baselines.mjs").Figure[]} figures
 * @param {(benchmark: string) => BenchmarkRecord | undefined} recordOf
 */
export function figuresTable(figures, recordOf) {
  const sources = new Map();
  const lines = figures.map(({ unit, published, ours, benchmark = "baselines", what }) => {
    const record = recordOf(benchmark);
    const row = record?.rows.find((one) => one.what === what);
    const withUnit = (/** @type {number | string} */ value) =>
      typeof value === "string" ? value : `${format(value)}${unit.startsWith("×") ? "" : " "}${unit}`;
    if (row?.value != null) sources.set(benchmark, { record, date: (row.date ?? record?.date ?? "").slice(0, 10) });
    const here = row?.value == null ? "not measured yet" : `${withUnit(row.value)} (${ours})`;
    return `| ${withUnit(published.value)} (${published.setting}) | ${here} |`;
  });
  const measured = [...sources].map(([benchmark, { record, date }]) => {
    const { cpu, cores, node, onnxruntime } = record.machine;
    return `\`npm run --silent bench -- ${benchmark} --record\` on ${date}, ${cpu}, ${cores} cores, Node ${node}, ONNX Runtime ${onnxruntime}`;
  });
  return [
    "| published | here |",
    "|---|---|",
    ...lines,
    "",
    measured.length > 0
      ? `Measured by ${measured.join("; ")}.`
      : "Not recorded yet: `npm run --silent bench -- baselines --record`.",
  ].join("\n");
}
