// The benchmark runner; `npm run bench` starts it after installing and building (scripts/bench.mjs).
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { widthOf, wrap } from "../dist/cli/terminal.js";
import { suggestion } from "../dist/names.js";
import { describeMachine } from "./harness/machine.mjs";
import { openRecord } from "./harness/record.mjs";
import { measureRows, table, targetText } from "./harness/report.mjs";

/** Each module exports `rows`; imported on demand, since each brings its own peers. */
const benchmarks = {
  engine: () => import("./engine.mjs"),
  training: () => import("./training.mjs"),
  speculation: () => import("./speculation.mjs"),
  baselines: () => import("./baselines.mjs"),
  "several-tokens": () => import("./several-tokens.mjs"),
  instruments: () => import("./instruments.mjs"),
  diffusion: () => import("./diffusion.mjs"),
  signals: () => import("./signals.mjs"),
  memory: () => import("./memory.mjs"),
  choice: () => import("./choice.mjs"),
  control: () => import("./control.mjs"),
  inside: () => import("./inside.mjs"),
  studio: () => import("./studio.mjs"),
  serving: () => import("./serving.mjs"),
  browser: () => import("./browser.mjs"),
  seeing: () => import("./seeing.mjs"),
};

const usage = `usage: npm run --silent bench -- NAME [--json] [--record] [--quick] [--rows "TEXT|TEXT"] [--model MODEL]; NAME is ${Object.keys(benchmarks).join(", ")}`;

/** @param {string} message @returns {never} */
function misuse(message) {
  const width = Math.min(100, widthOf(process.stderr));
  console.error([message, ...wrap(usage, width)].join("\n"));
  process.exit(2);
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: "boolean" },
        record: { type: "boolean" },
        quick: { type: "boolean" },
        rows: { type: "string" },
        model: { type: "string" },
      },
    });
  } catch (error) {
    return misuse(error instanceof Error ? error.message : String(error));
  }
}

const { values, positionals } = readArguments();
if (positionals.length !== 1) misuse("name one benchmark");
const name = positionals[0];
if (values.record && (values.quick || values.model))
  misuse("--record keeps full measurements of the shipped models: without --quick and --model");
if (!Object.hasOwn(benchmarks, name))
  misuse(`there is no benchmark "${name}"${suggestion(name, Object.keys(benchmarks))}`);

/** @type {{ rows: readonly import("./harness/report.mjs").RowDefinition[], useModel?: (name: string) => void }} */
const { rows: definitions, useModel } = await benchmarks[/** @type {keyof typeof benchmarks} */ (name)]();
if (values.model !== undefined) {
  if (!useModel) misuse(`--model: ${name} measures models of its own`);
  useModel(values.model);
}
const wanted = (values.rows ?? "").toLowerCase().split("|");
const chosen = definitions.filter(({ what }) => wanted.some((text) => what.toLowerCase().includes(text.trim())));
if (chosen.length === 0) {
  misuse(`no row contains "${values.rows}"; the rows are\n${definitions.map(({ what }) => `  ${what}`).join("\n")}`);
}

const quick = values.quick ?? false;
const settings = { quick, runs: quick ? 2 : 5, progress: (/** @type {string} */ line) => console.error(line) };
const machine = describeMachine();
const all = definitions.map(({ what, target }) => ({ what, target: targetText(target) }));
const record = values.record ? openRecord(name, machine) : undefined;
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
if (values.json) console.log(JSON.stringify(found(rows)));
else console.log(`\n${machine.cpu}, ${machine.cores} cores, node ${machine.node}\n\n${table(rows, notes)}`);
// Models that rows share stay open: nothing is left to be done, so nothing is waited for.
process.exit(failed ? 1 : process.exitCode);
