/** `ventris filter run --stream`: decodes as observations come, for real-time use. */
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { ensure } from "../errors.ts";
import * as signals from "../methods/signals.ts";
import { print, printJson, say } from "./output.ts";
import { plural } from "./table.ts";

/** Errors: `bad_option` for a file that is not there. */
export async function openModel(path: string) {
  ensure(existsSync(path), "bad_option", `there is no filter ${path}; ventris filter fit makes one`);
  const model = await signals.loadFilter(path);
  const method = signals.findFilter(model.method);
  return { model, method, filter: signals.openFilter(method, model) };
}

/** One line in, one line out. A line that is no observation is answered by an error on stderr and ends the run, after the state is saved. */
export async function stream(
  { model, filter }: Awaited<ReturnType<typeof openModel>>,
  { json, stateFile }: { json?: true; stateFile?: string },
): Promise<void> {
  if (stateFile && existsSync(stateFile)) await signals.loadState(stateFile, filter, model);
  const latencies: number[] = [];
  const observation = new Float64Array(filter.observationDimension);
  let line = 0;
  try {
    for await (const text of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
      line++;
      const started = performance.now();
      let given: Float64Array | undefined;
      if (text.trim() !== "") {
        const fields = signals.fieldsOf(text);
        ensure(
          fields.length === observation.length,
          "bad_file",
          `standard input, line ${line}: ${fields.length} values, but the filter was fitted to ${observation.length} channels`,
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
      const answer = json
        ? JSON.stringify({ mean: [...estimate.mean], covariance: [...estimate.covariance], missing: estimate.missing })
        : Array.from(estimate.mean, (v) => Number(v.toPrecision(7))).join(",");
      // Microseconds from the line to its answer.
      if (latencies.length < 1_000_000) latencies.push(1000 * (performance.now() - started));
      print(answer);
    }
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
