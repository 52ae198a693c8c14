// What a command line of the benchmarks says: read before anything is installed for them (scripts/bench.mjs), and by the runner (run.mjs).
import { parseArgs } from "node:util";
import { complain, fail, setJson } from "../dist/cli/output.js";
import { suggestion } from "../dist/names.js";

/** Each module exports `rows`; imported on demand, since each brings its own peers. */
export const benchmarks = {
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

const options = /** @type {const} */ ({
  json: { type: "boolean" },
  record: { type: "boolean" },
  quick: { type: "boolean" },
  rows: { type: "string" },
  model: { type: "string" },
});

/** @param {string} message @returns {never} */
export function misuse(message) {
  setJson(process.argv.includes("--json"));
  fail({ code: "bad_option", message });
  complain(usage);
  process.exit(2);
}

/** Ends the process with status 2 for what is no benchmark, no flag, or does not go together. */
export function readArguments() {
  const { values, positionals, tokens } = parseArgs({ allowPositionals: true, strict: false, tokens: true, options });
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, value } = token;
    if (!Object.hasOwn(options, name)) {
      const meant = suggestion(name, Object.keys(options)).replace(/"(.*)"/, "--$1");
      misuse(`there is no option ${rawName}${meant}`);
    }
    const takesText = options[/** @type {keyof typeof options} */ (name)].type === "string";
    if (takesText && value === undefined) misuse(`${rawName} needs a value`);
    if (!takesText && value !== undefined) misuse(`${rawName} takes no value`);
  }
  if (positionals.length !== 1) misuse("name one benchmark");
  const [name] = positionals;
  if (!Object.hasOwn(benchmarks, name))
    misuse(`there is no benchmark "${name}"${suggestion(name, Object.keys(benchmarks))}`);
  const {
    json,
    record,
    quick = false,
    rows,
    model,
  } = /** @type {{ json?: boolean, record?: boolean, quick?: boolean, rows?: string, model?: string }} */ (values);
  if (record && (quick || model !== undefined))
    misuse("--record keeps full measurements of the shipped models: without --quick and --model");
  return { name: /** @type {keyof typeof benchmarks} */ (name), json, record, quick, rows, model };
}
