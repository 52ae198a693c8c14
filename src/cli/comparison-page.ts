/** A comparison as a page that needs nothing beside itself, and its figure alone as SVG. */
import type { DecodeOptions, Text } from "../calls.ts";
import type { ChatMessage } from "../text/index.ts";
import { type Comparison, measureOf, speedUp, type Verdict, verdictOf } from "./comparison.ts";
import { columnsNote, listed, rowsOf, textsOf } from "./comparison-report.ts";
import { treeLegend } from "./tree.ts";

export interface ComparisonPage {
  readonly title: string;
  readonly comparison: Comparison;
  readonly notes: readonly string[];
  readonly request: DecodeOptions;
  /** Drawn as text. */
  readonly trees: readonly string[];
}

const [paper, ink] = ["#f6f1e7", "#26221c"];
const colours: Readonly<Record<Verdict, string>> = {
  plain: ink,
  faster: "#4c6131",
  slower: "#a3341f",
  "no clear difference": "#7a7266",
  "too few runs": "#7a7266",
};

/** Messages as they were written: their contents. */
function shownPrompt(prompt: Text): string {
  if (typeof prompt === "string") return prompt;
  if (prompt.every((part) => typeof part === "number")) return `token ids ${prompt.join(", ")}`;
  return prompt.map((message) => (message as ChatMessage).content).join("\n");
}

/** Bars of speed over plain decoding, with intervals; plain is the line at 1. */
export function comparisonFigure({ title, comparison }: Pick<ComparisonPage, "title" | "comparison">): string {
  const { entries } = comparison;
  const plain = measureOf(entries);
  const speeds = entries.map((entry) => ({ entry, ...speedUp(entry, plain), verdict: verdictOf(entry, plain) }));
  const most =
    Math.max(1.2, ...speeds.map(({ value, interval }) => Math.min(interval?.[1] ?? value, 2 * value))) * 1.05;
  const letters = Math.max(...entries.map(({ label }) => label.length));
  const [left, right, row, top] = [Math.max(90, 7.2 * letters + 24), 190, 28, 58];
  const [width, height] = [760, top + entries.length * row + 34];
  const x = (value: number): number => left + (Math.min(value, most) / most) * (width - left - right);
  const bars = speeds.map(({ entry, value, interval, verdict }, i) => {
    const y = top + i * row;
    const span = interval
      ? `<path d="M${x(interval[0]).toFixed(1)} ${y + 10}H${x(interval[1]).toFixed(1)}" stroke="${ink}" stroke-width="1.5"/>`
      : "";
    const figure = `${value.toFixed(2)}×${verdict === "plain" ? "" : `, ${verdict}`}`;
    return [
      `<text x="${left - 10}" y="${y + 14}" text-anchor="end">${escaped(entry.label)}</text>`,
      `<rect x="${left}" y="${y + 2}" width="${(x(value) - left).toFixed(1)}" height="16" fill="${colours[verdict]}" fill-opacity=".55"/>`,
      span,
      `<text x="${Math.max(x(interval?.[1] ?? value), x(value)) + 8}" y="${y + 14}" fill="${colours[verdict]}" stroke="${paper}" stroke-width="4" paint-order="stroke">${figure}</text>`,
    ].join("");
  });
  const bottom = top + entries.length * row;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="13" fill="${ink}">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="${paper}"/>`,
    `<text x="16" y="24" font-size="15" font-weight="600">${escaped(title)}</text>`,
    `<text x="16" y="43" font-size="12" fill-opacity=".7">${"speed, as a multiple of plain decoding; lines are 95 % intervals"}</text>`,
    `<path d="M${x(1).toFixed(1)} ${top - 4}V${bottom + 4}" stroke="${ink}" stroke-dasharray="3 3"/>`,
    ...bars,
    `<text x="${x(1).toFixed(1)}" y="${bottom + 20}" font-size="12" text-anchor="middle">plain decoding (1×)</text>`,
    "</svg>\n",
  ].join("\n");
}

export function comparisonPage(page: ComparisonPage): string {
  const { title, comparison, notes, request, trees } = page;
  const { header, rows } = rowsOf(comparison);
  const { prompts, skipped, differences, repetitions } = comparison;
  const conditions = Object.entries({ ...request, prompts: prompts.length, repetitions })
    .filter(
      ([name, value]) => value !== undefined && name !== "signal" && !(Array.isArray(value) && value.length === 0),
    )
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`);
  const cells = (tag: string, list: readonly string[]): string =>
    `<tr>${list.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("")}</tr>`;
  const remarks = [
    ...differences.map(
      ({ method, from, prompt, at }) =>
        `${method} is lossless and yet differs from ${from} at token ${at} of the output on prompt ${prompt + 1}.`,
    ),
    ...skipped.map(({ label, reason }) => `${label} was skipped: ${reason}.`),
    ...notes.map((note) => `${note}.`),
  ];
  const texts = prompts.flatMap((prompt, i) => [
    `<h3>${escaped(shownPrompt(prompt))}</h3>`,
    ...textsOf(comparison, i).map(
      ({ labels, text }) =>
        `<p class="by">${escaped(listed(labels))}</p><blockquote>${escaped(text.trim())}</blockquote>`,
    ),
  ]);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>
  :root { color: ${ink}; background: ${paper}; font: 16px/1.55 ui-serif, Georgia, serif; }
  body { max-width: 54rem; margin: 2.5rem auto; padding: 0 1.2rem; }
  h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
  .conditions, .by, .legend { opacity: .75; font-size: .9rem; margin: .3rem 0; }
  svg { width: 100%; height: auto; margin-top: 1rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; font: 14px/1.5 ui-sans-serif, system-ui, sans-serif; font-variant-numeric: tabular-nums; }
  th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #26221c22; white-space: nowrap; }
  th:last-child, td:last-child { padding-right: 0; }
  blockquote { margin: .2rem 0 .8rem; padding-left: .9rem; border-left: 3px solid #a3341f; white-space: pre-wrap; }
  .option { white-space: nowrap; }
  pre { font: 13px/1.45 ui-monospace, monospace; overflow-x: auto; }
</style>
<h1>${escaped(title)}</h1>
<p class="conditions">${escaped(conditions.join(" · "))}</p>
${comparisonFigure(page)}
<div class="wide"><table>
<thead>${cells("th", header)}</thead>
<tbody>
${rows.map((row) => cells("td", row)).join("\n")}
</tbody>
</table></div>
<p class="legend">${escaped(columnsNote(comparison))}</p>
${remarks.length > 0 ? `<ul>${remarks.map((remark) => `<li>${unbroken(escaped(remark))}</li>`).join("")}</ul>` : ""}
<h2>What they wrote</h2>
${texts.join("\n")}
${trees.length > 0 ? `<h2>What was drafted</h2>\n<p class="legend">${escaped(treeLegend)}</p>\n${trees.map((tree) => `<pre>${escaped(tree)}</pre>`).join("\n")}` : ""}
</html>
`;
}

/** Options keep together with their hyphens, at which a line would break. */
const unbroken = (html: string): string => html.replace(/(?<![\w-])--?[a-z][\w-]*/g, '<span class="option">$&</span>');

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]!);
