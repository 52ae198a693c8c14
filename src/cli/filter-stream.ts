/** `ventris filter run --stream`: decodes as observations come, for real-time use. */
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { ensure, plural } from "../errors.ts";
import * as signals from "../methods/signals.ts";
import { fileFormat } from "../weights/index.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say } from "./output.ts";

/** Errors: `unavailable` for a file that is not there. */
export async function openModel(path: string) {
  ensure(existsSync(path), "unavailable", `there is no filter ${path}; ventris filter fit makes one`);
  const ours = await fileFormat(path).catch(() => undefined);
  ensure(ours?.startsWith("ventris filter") ?? /\.safetensors$/.test(path), "bad_file", () => {
    return `${path} is no fitted filter${ours === undefined ? "" : ` (it says that it holds "${ours}")`}; ventris filter fit makes one`;
  });
  const model = await signals.loadFilter(path);
  const method = signals.findFilter(model.method);
  return { model, method, filter: signals.openFilter(method, model) };
}

/** Bytes of a line; an observation of 65,536 channels has fewer. */
const longestLine = 2 ** 22;

/** The lines of standard input until it ends, or Ctrl-C ends it. Errors: `bad_file` for a line that does not end. */
async function* linesOfInput(signal: AbortSignal): AsyncGenerator<string> {
  const { stdin } = process;
  const reader = createInterface({ input: stdin, crlfDelay: Infinity, signal });
  let [open, line] = [0, 0];
  // The reader keeps a line until it ends, however long that takes.
  const measure = (chunk: Buffer) => {
    const end = chunk.lastIndexOf("\n");
    open = end < 0 ? open + chunk.length : chunk.length - end - 1;
    if (open > longestLine) reader.close();
  };
  stdin.on("data", measure);
  try {
    for await (const text of reader) {
      line++;
      yield text;
    }
  } finally {
    stdin.off("data", measure);
    stdin.pause();
  }
  ensure(
    open <= longestLine,
    "bad_file",
    `standard input, line ${line + 1}: more than ${longestLine} bytes without an end`,
  );
}

/**
 * One line in, one line out. Ctrl-C ends the stream as its end would. A line that is no observation is answered by an error on stderr and ends
 * the run. The state is saved in any case.
 */
export async function stream(
  { model, filter }: Awaited<ReturnType<typeof openModel>>,
  { json, stateFile }: { json?: true; stateFile?: string },
): Promise<void> {
  if (stateFile && existsSync(stateFile)) await signals.loadState(stateFile, filter, model);
  const latencies: number[] = [];
  const observation = new Float64Array(filter.observationDimension);
  let line = 0;
  const answer = (text: string): void => {
    line++;
    const started = performance.now();
    let given: Float64Array | undefined;
    if (text.trim() !== "") {
      const fields = signals.fieldsOf(text);
      ensure(
        fields.length === observation.length,
        "bad_file",
        `standard input, line ${line}: ${plural(fields.length, "value")}, but the filter was fitted to ${plural(observation.length, "channel")}`,
      );
      for (const [k, field] of fields.entries()) {
        const value = signals.readNumber(field);
        ensure(
          value !== undefined,
          "bad_file",
          `standard input, line ${line}: ${JSON.stringify(field)} is not a number`,
        );
        observation[k] = value;
      }
      given = observation;
    }
    const estimate = filter.step(given);
    const said = json
      ? JSON.stringify({ mean: [...estimate.mean], covariance: [...estimate.covariance], missing: estimate.missing })
      : Array.from(estimate.mean, (v) => Number(v.toPrecision(7))).join(",");
    // Microseconds from the line to its answer.
    if (latencies.length < 1_000_000) latencies.push(1000 * (performance.now() - started));
    print(said);
  };
  try {
    await interruptible(async (signal) => {
      for await (const text of linesOfInput(signal)) answer(text);
    });
  } finally {
    if (stateFile) await signals.saveState(stateFile, filter, model);
  }
  const sorted = latencies.sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  const summary = {
    steps: line,
    latencyMicroseconds: { median: at(0.5), p99: at(0.99), largest: at(1) },
    counters: filter.counters,
  };
  if (json) printJson(summary);
  else say(`${plural(line, "bin")} · ${at(0.5).toFixed(0)} µs a bin, 99 of 100 within ${at(0.99).toFixed(0)} µs`);
}
