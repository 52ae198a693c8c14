// The benchmark runner; `npm run bench` starts it after installing and building (scripts/bench.mjs).
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { benchmarks, misuse, readArguments } from "./arguments.mjs";
import { describeMachine } from "./harness/machine.mjs";
import { openRecord } from "./harness/record.mjs";
import { measureRows, table, targetText } from "./harness/report.mjs";

const { name, json, record: toRecord, quick, rows: rowTexts = "", model } = readArguments();

/** @type {{ rows: readonly import("./harness/report.mjs").RowDefinition[], useModel?: (name: string) => void }} */
const { rows: definitions, useModel } = await benchmarks[name]();
if (model !== undefined) {
  if (!useModel) misuse(`--model: ${name} measures models of its own`);
  useModel(model);
}
const wanted = rowTexts.toLowerCase().split("|");
const chosen = definitions.filter(({ what }) => wanted.some((text) => what.toLowerCase().includes(text.trim())));
if (chosen.length === 0) {
  misuse(`no row contains "${rowTexts}"; the rows are\n${definitions.map(({ what }) => `  ${what}`).join("\n")}`);
}

const settings = { quick, runs: quick ? 2 : 5, progress: (/** @type {string} */ line) => console.error(line) };
const machine = describeMachine();
const all = definitions.map(({ what, target }) => ({ what, target: targetText(target) }));
const record = toRecord ? openRecord(name, machine) : undefined;
const found = (/** @type {readonly import("./harness/report.mjs").Row[]} */ rows) => ({
  name,
  machine,
  date: new Date().toISOString(),
  rows: [...rows],
});
// After every row: a run that is interrupted keeps what it has, and `--rows` goes on with the others.
const { rows, notes, failed } = await measureRows(chosen, settings, (rows) => record?.save(found(rows), all));
if (record) {
  const gaps = rows.filter(({ value }) => value === null).map(({ what }) => what);
  if (gaps.length > 0) console.error(`not recorded, as they have no value now: ${gaps.join("; ")}`);
  const tables = fileURLToPath(new URL("../scripts/tables.mjs", import.meta.url));
  spawnSync(process.execPath, [tables], { stdio: ["ignore", 2, 2] });
  if (gaps.length > 0) process.exitCode = 1;
}
if (json) console.log(JSON.stringify(found(rows)));
else console.log(`\n${machine.cpu}, ${machine.cores} cores, node ${machine.node}\n\n${table(rows, notes)}`);
// Models that rows share stay open: nothing is left to be done, so nothing is waited for.
process.exit(failed ? 1 : process.exitCode);
