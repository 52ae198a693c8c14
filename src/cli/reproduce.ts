/** `ventris reproduce`: measures what a paper claims, and prints the paper beside ours. */
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import { findPaper, papers } from "../papers/index.ts";
import { judge } from "../papers/judge.ts";
import type { Paper } from "../papers/paper.ts";
import { drawPlot } from "../papers/plot.ts";
import { type RecordState, recordState } from "../papers/record-state.ts";
import { recordsFolder } from "../papers/records.ts";
import type { ReproductionRecord, Size } from "../papers/reproduction.ts";
import { type ReproductionProgress, reproduce, showcase } from "../papers/run.ts";
import { claimLines } from "../papers/tables.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { parseValue, refuseFlags } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { formatTable } from "./table.ts";
import { widthOf, wrapLines } from "./terminal.ts";
import { writeTrace } from "./trace-file.ts";

interface ReproduceFlags {
  list?: true;
  tiny?: true;
  quick?: true;
  full?: true;
  seed: number;
  fresh?: true;
  json?: true;
  out?: string;
  trace?: string;
}

const seed = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

export function define(command: Command): void {
  command
    .argument("[name]", "the name of a paper, as ventris papers lists it")
    .option("--list", "measure nothing: list which records there are, and which are missing or stale")
    .option("--tiny", "take seconds, to show that it runs; the figures mean little")
    .option("--quick", "take about three minutes on two cores. This is the default.")
    .option(
      "--full",
      "take up to an hour; in a checkout of the repository, record and plots are kept in reproductions/",
    )
    .addOption(
      new Option("--seed <number>", "seed of all random choices")
        .default(0)
        .argParser((text) => parseValue(seed, "--seed", text)),
    )
    .option("--fresh", "begin anew, even where an interrupted run could go on")
    .option("--out <file>", "write the record to this file (JSON), and its plots beside it")
    .option(
      "--trace <file>",
      "measure nothing: decode one prompt that shows what the system does, and write its events to this file",
    )
    .option("--json", "print the record as JSON, with the claims that hold; of --list a list, of --trace its file")
    .addHelpText(
      "after",
      `
A claim that does not hold (✗) is a result like any other: the exit status is 0.
Ctrl-C keeps what is done; the same command goes on from there.
In a list a record is missing, stale (options, claims or a model have changed
since), partial (not of the size full) or current.`,
    )
    .addHelpText(
      "after",
      examples("ventris reproduce dyspec --tiny", "ventris reproduce dyspec", "ventris reproduce --list"),
    )
    .action(run);
}

/** Flags of what is measured. */
const ofMeasuring = ["tiny", "quick", "full", "seed", "fresh", "out"];

async function run(name: string | undefined, flags: ReproduceFlags, command: Command): Promise<void> {
  if (flags.list) {
    refuseFlags(
      command,
      [...ofMeasuring, "trace"],
      "has no part in --list, which measures nothing: leave one of them out",
    );
    const states = await Promise.all(
      (name === undefined ? papers : [findPaper(name)]).map((paper) => recordState(paper)),
    );
    if (flags.json) printJson(states);
    else print(overview(states));
    return;
  }
  ensure(name !== undefined, "bad_option", "name a paper to measure, or give --list to see which records there are");
  if (flags.trace !== undefined)
    refuseFlags(command, ofMeasuring, "has no part in --trace, which measures nothing: leave one of them out");
  const chosen = (["tiny", "quick", "full"] as const).filter((size) => flags[size]);
  ensure(chosen.length <= 1, "bad_option", `choose one size, not ${chosen.map((size) => `--${size}`).join(" and ")}`);
  const size: Size = chosen[0] ?? "quick";
  const paper = findPaper(name);
  if (flags.trace !== undefined) {
    await interruptible(async (signal) => writeTrace(flags.trace!, await showcase(paper, signal)));
    if (flags.json) printJson({ name, trace: flags.trace });
    else say(`wrote ${flags.trace}`);
    return;
  }
  const record = await interruptible((signal) =>
    reproduce(paper, { size, seed: flags.seed, fresh: flags.fresh, signal, onProgress: progressLine() }),
  );
  for (const path of await writeRecord(record, flags)) say(`wrote ${path}`);
  if (flags.json) printJson({ ...record, holds: holds(paper, record) });
  else {
    const title = paper.title.startsWith(`${paper.system}:`) ? paper.title : `${paper.system}: ${paper.title}`;
    print(wrapLines(`${title}\n\n${claimLines(paper, record)}`, widthOf(process.stdout)));
  }
}

function overview(states: readonly RecordState[]): string {
  const rows = states.map(({ number, name, state, size, date, claims, measured, reasons }) => [
    String(number),
    name,
    state,
    size ?? "",
    date?.slice(0, 10) ?? "",
    state === "planned" || state === "missing" ? "" : `${measured} of ${claims}`,
    reasons.join("; "),
  ]);
  return formatTable(["#", "paper", "record", "size", "date", "measured", "why"], rows);
}

const holds = (paper: Paper, record: ReproductionRecord): object =>
  Object.fromEntries(
    judge(paper, record).flatMap(({ claim, holds }) => (holds === undefined ? [] : [[claim.id, holds]])),
  );

/** Where a record goes: `--out`, and in a checkout the repository for full ones. */
async function writeRecord(record: ReproductionRecord, { out }: ReproduceFlags): Promise<string[]> {
  const checkout = existsSync(fileURLToPath(new URL("../../scripts/tables.mjs", import.meta.url)));
  const kept = record.size === "full" && checkout ? [join(recordsFolder, `${record.name}.json`)] : [];
  const written: string[] = [];
  for (const path of [...(out === undefined ? [] : [out]), ...kept]) {
    await writeFileAtomically(path, `${JSON.stringify(record, null, 2)}\n`);
    written.push(path);
    for (const { claim, plot } of record.measurements) {
      if (!plot) continue;
      const svg = join(dirname(path), `${basename(path, ".json")}-${claim}.svg`);
      await writeFileAtomically(svg, drawPlot(plot));
      written.push(svg);
    }
  }
  return written;
}

/** One line on a terminal; elsewhere a line every half minute. */
function progressLine(): (progress: ReproductionProgress) => void {
  let last = 0;
  return ({ done, total, step, secondsLeft }) => {
    const now = Date.now();
    const terminal = process.stderr.isTTY;
    if (now - last < (terminal ? 100 : 30_000) && done < total) return;
    last = now;
    const left = secondsLeft === undefined ? "" : `, ${formatSeconds(secondsLeft)} left`;
    const within = done % 1 === 0 ? "" : `, ${Math.round(100 * (done % 1))} %`;
    const line = `${Math.floor(done)} of ${plural(total, "step")}${left}: ${step}${within}`;
    (terminal ? showProgress : say)(line);
  };
}

const formatSeconds = (seconds: number): string =>
  seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
