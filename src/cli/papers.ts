/** `ventris papers`: the 24 published systems, and what of each runs here. */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { findPaper, papers } from "../papers/index.ts";
import { judge } from "../papers/judge.ts";
import type { Paper } from "../papers/paper.ts";
import { readRecord } from "../papers/records.ts";
import { circumstances, claimLines } from "../papers/tables.ts";
import { examples } from "./help.ts";
import { print, printJson } from "./output.ts";
import { formatTable } from "./table.ts";
import { widthOf, wrap, wrapCommand, wrapLines } from "./terminal.ts";

export function define(command: Command): void {
  command
    .argument("[name]", "the name of a paper, whose claims are then shown")
    .option("--json", "print a JSON list, each paper with its claims and what was measured")
    .addHelpText("after", examples("ventris papers", "ventris papers dyspec"))
    .action((name: string | undefined, { json }: { json?: true }) => {
      const chosen = name === undefined ? papers : [findPaper(name)];
      if (json) printJson(chosen.map(toJson));
      else print(name === undefined ? overview(chosen) : details(chosen[0], widthOf(process.stdout)));
    });
}

const toJson = (paper: Paper): object => {
  const { reproduction, ...data } = paper;
  return { ...data, state: reproduction ? "runs" : "planned", record: readRecord(paper.name) ?? null };
};

function overview(listed: readonly Paper[]): string {
  const rows = listed.map((paper) => {
    const judged = judge(paper, readRecord(paper.name)).filter(({ holds }) => holds !== undefined);
    const held = judged.filter(({ holds }) => holds).length;
    const measured = judged.length > 0 ? `${held} of ${judged.length} hold` : `${paper.claims.length} claimed`;
    return [String(paper.number), paper.name, paper.reproduction ? "runs" : "planned", measured, paper.line];
  });
  return formatTable(["#", "paper", "state", "claims", "what it does"], rows);
}

function details(paper: Paper, width: number): string {
  const wrapped = (...lines: string[]): string => wrapLines(lines.join("\n"), width);
  const { lives, reproduction } = paper;
  const record = readRecord(paper.name);
  // The package has no sources: only in a checkout is there a folder to look into.
  const folder = existsSync(new URL(`../../src/${lives.folder}`, import.meta.url));
  const home = Object.entries({
    method: lives.method && `${lives.method} (its options: ventris methods ${lives.method})`,
    command: lives.command,
    function: lives.function,
    measure: reproduction && `ventris reproduce ${paper.name}`,
    folder: folder ? `src/${lives.folder}` : undefined,
  }).flatMap(([what, where]) => {
    if (where === undefined) return [];
    // What is typed into a shell is still one command where it is broken.
    const below = where.startsWith("ventris ") ? wrapCommand(where, width - 10).split("\n") : wrap(where, width - 10);
    return below.map((line, i) => `${(i === 0 ? what : "").padEnd(9)} ${line}`);
  });
  return [
    wrapped(
      `${paper.number}. ${paper.system}`,
      `${paper.authors.join(", ")} (${paper.year}): ${paper.title}${paper.venue ? `. ${paper.venue}` : ""}${paper.arxiv ? `, arXiv ${paper.arxiv}` : ""}`,
      "",
      ...paper.what,
    ),
    "",
    ...(home.length > 0 ? home : ["planned: nothing of it can be run yet"]),
    "",
    wrapped(claimLines(paper, record)),
    ...(record ? ["", wrapped(`Measured at the size ${record.size} ${circumstances(record)}.`)] : []),
  ].join("\n");
}
