/** Tables made of papers and records: of FEATURES.md and of the methods' READMEs. No figure in them is typed by hand. */
import { describeCondition, formatFigure, judge, withUnit } from "./judge.ts";
import type { Claim, Paper } from "./paper.ts";
import type { Measurement, ReproductionRecord } from "./reproduction.ts";

export const featuresMark = "systems";
export const claimsMark = "claims";

/** Replaces what stands between `<!-- mark:begin -->` and `<!-- mark:end -->`; undefined where the marks are not both there. */
export function replaceBetween(text: string, mark: string, content: string): string | undefined {
  const [begin, end] = [`<!-- ${mark}:begin -->`, `<!-- ${mark}:end -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) return undefined;
  return `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`;
}

/** All systems: state, what each does, what was measured. */
export function featuresTable(
  papers: readonly Paper[],
  recordOf: (name: string) => ReproductionRecord | undefined,
): string {
  const rows = papers.map((paper) => {
    const record = recordOf(paper.name);
    const built = paper.reproduction !== undefined;
    const home = built ? `[\`${paper.lives.method ?? paper.name}\`](src/${paper.lives.folder}/)` : "";
    const missing = built && paper.missing ? `✗ ${paper.missing}` : "";
    const what = built ? `${home}: ${paper.line}. ${missing}`.trim() : "planned";
    return row([String(paper.number), paper.system, built ? "✓" : "✗", what, record ? summarise(paper, record) : ""]);
  });
  return ["| # | system | state | what there is | claims measured |", "|---|---|---|---|---|", ...rows].join("\n");
}

/** `5 of 7 hold (size quick): ✓ against-chain 1.94×, ✗ speed 0.9×` */
function summarise(paper: Paper, record: ReproductionRecord): string {
  const judged = judge(paper, record).filter(({ measurement }) => measurement);
  const held = judged.filter(({ holds }) => holds).length;
  const each = judged.map(
    ({ claim, measurement, holds }) =>
      `${holds ? "✓" : "✗"} ${claim.id} ${withUnit(measurement!.value, claim.unit, claim.digits)}`,
  );
  const size = record.size === "full" ? "" : ` (size ${record.size})`;
  return `${held} of ${judged.length} hold${size}: ${each.join(", ")}`;
}

/** One paper's claims beside what was measured, and where. */
export function claimsTable(paper: Paper, record: ReproductionRecord | undefined): string {
  const rows = judge(paper, record).map(({ claim, measurement, holds }) =>
    row([
      claim.says,
      published(claim),
      measurement ? measured(measurement, claim) : "not measured",
      holds === undefined ? "" : holds ? "✓" : "✗",
    ]),
  );
  const table = ["| claim | paper | here | holds |", "|---|---|---|---|", ...rows];
  const plots = (record?.measurements ?? []).flatMap(({ claim, plot }) =>
    plot ? ["", `![${plot.title}](${up(paper)}reproductions/${paper.name}-${claim}.svg)`] : [],
  );
  return [...table, "", provenance(paper, record), ...plots].join("\n");
}

const up = (paper: Paper): string => "../".repeat(paper.lives.folder.split("/").length + 1);

function provenance(paper: Paper, record: ReproductionRecord | undefined): string {
  if (!record) return `Not measured in full yet: \`ventris reproduce ${paper.name} --full\`.`;
  return `\`ventris reproduce ${paper.name} --${record.size}\` ${circumstances(record)}. Brackets are 95 % intervals.`;
}

/** When a record was made, on what and by which versions. */
export const circumstances = ({ machine, versions, date, seconds, seed }: ReproductionRecord): string =>
  `on ${date.slice(0, 10)}, ${formatFigure(seconds / 60)} minutes, seed ${seed}: ` +
  `${machine.processor}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}; ` +
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");

export function published({ paper, unit, digits }: Claim): string {
  return paper.value === undefined ? paper.setting : `${withUnit(paper.value, unit, digits)} (${paper.setting})`;
}

/** `1.94× [1.6, 2.2] of 24`, and how it was measured. */
export function measured({ value, interval, count, note }: Measurement, { unit, digits, ours }: Claim): string {
  const span = interval ? ` [${formatFigure(interval[0], digits)}, ${formatFigure(interval[1], digits)}]` : "";
  return `${withUnit(value, unit, digits)}${span}${count === undefined ? "" : `, n = ${count}`} (${ours}${note ? `; ${note}` : ""})`;
}

const row = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;

/** For the command line: a claim, what the paper says and what was found, each on its lines. */
export function claimLines(paper: Paper, record: ReproductionRecord | undefined): string {
  return judge(paper, record)
    .map(({ claim, measurement, holds }) =>
      [
        `${holds === undefined ? "·" : holds ? "✓" : "✗"} ${claim.says}`,
        `    paper  ${published(claim)}`,
        `    here   ${measurement ? measured(measurement, claim) : `not measured${record ? ` at the size ${record.size}` : ""} (${claim.ours})`}`,
        `    holds when ${describeCondition(claim.holds, claim.unit, claim.digits)}`,
      ].join("\n"),
    )
    .join("\n");
}
