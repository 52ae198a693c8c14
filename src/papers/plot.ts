/** A plot of a record as SVG, for readers of the repository. The studio draws the same data itself. */
import { formatFigure } from "./judge.ts";
import type { Axis, Plot, Series } from "./reproduction.ts";

const width = 640;
const height = 360;
const margin = { left: 62, right: 150, top: 40, bottom: 48 };
const ink = "#26221c";
const colours = ["#a3341f", "#3b5b6d", "#8a6d1f", "#5c6b3a", "#6d4763", "#7a7266"];

interface Scale {
  readonly ticks: readonly number[];
  /** Place of a value between 0 and 1. */
  place(value: number): number;
}

export function drawPlot({ title, x, y, series }: Plot): string {
  const shown = series.filter(({ points }) => points.length > 0);
  const across = scaleOf(
    x,
    shown.flatMap(({ points }) => points.map(([at]) => at)),
  );
  const up = scaleOf(
    y,
    shown.flatMap(({ points }) => points.flatMap(([, value, low, high]) => [value, low ?? value, high ?? value])),
  );
  const left = (value: number): string =>
    (margin.left + across.place(value) * (width - margin.left - margin.right)).toFixed(1);
  const top = (value: number): string =>
    (height - margin.bottom - up.place(value) * (height - margin.top - margin.bottom)).toFixed(1);
  const frame = [
    ...up.ticks.map(
      (tick) =>
        `<path d="M${margin.left} ${top(tick)}H${width - margin.right}" stroke="${ink}" stroke-opacity=".12"/>` +
        `<text x="${margin.left - 8}" y="${top(tick)}" dy=".33em" text-anchor="end">${formatFigure(tick)}</text>`,
    ),
    ...across.ticks.map(
      (tick) =>
        `<text x="${left(tick)}" y="${height - margin.bottom + 18}" text-anchor="middle">${formatFigure(tick)}</text>`,
    ),
    `<text x="${(margin.left + width - margin.right) / 2}" y="${height - 10}" text-anchor="middle">${escapeXml(x.label)}</text>`,
    `<text x="${margin.left}" y="${margin.top - 12}">${escapeXml(y.label)}</text>`,
  ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="11" fill="${ink}">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#f6f1e7"/>`,
    `<text x="${margin.left}" y="15" font-size="12" font-weight="600">${escapeXml(title)}</text>`,
    ...frame,
    ...shown.map((one, i) => drawSeries(one, i, left, top)),
    "</svg>\n",
  ].join("\n");
}

function drawSeries(
  { name, from, points }: Series,
  i: number,
  left: (v: number) => string,
  top: (v: number) => string,
): string {
  const colour = colours[i % colours.length];
  const dashed = from === "paper" ? ' stroke-dasharray="4 4"' : "";
  const spans = points
    .filter((point) => point.length === 4)
    .map(
      ([at, , low, high]) =>
        `<path d="M${left(at)} ${top(low!)}V${top(high!)}" stroke="${colour}" stroke-opacity=".4" stroke-width="5"/>`,
    );
  const line = points.map(([at, value]) => `${left(at)},${top(value)}`).join(" ");
  const dots = points.map(([at, value]) => `<circle cx="${left(at)}" cy="${top(value)}" r="3" fill="${colour}"/>`);
  const label = `<text x="${width - margin.right + 10}" y="${margin.top + 6 + i * 18}" dy=".33em" fill="${colour}">${escapeXml(name)}${from === "paper" ? " (paper)" : ""}</text>`;
  return [
    ...spans,
    `<polyline points="${line}" fill="none" stroke="${colour}" stroke-width="1.8"${dashed}/>`,
    ...dots,
    label,
  ].join("");
}

function scaleOf({ scale }: Axis, values: readonly number[]): Scale {
  const finite = values.filter((value) => Number.isFinite(value) && (scale !== "log" || value > 0));
  let [low, high] = [Math.min(...finite), Math.max(...finite)];
  if (finite.length === 0) [low, high] = scale === "log" ? [1, 10] : [0, 1];
  if (scale === "log") {
    const [from, to] = [Math.log10(low), Math.log10(high)];
    const span = to - from || 1;
    const ticks = Array.from({ length: Math.floor(to) - Math.ceil(from) + 1 }, (_, i) => 10 ** (Math.ceil(from) + i));
    const place = (value: number): number => (Math.log10(value) - from) / span;
    return { ticks: ticks.length > 1 ? ticks : [low, high], place };
  }
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const step = niceStep((high - low) / 5);
  const from = Math.floor(low / step) * step;
  const to = Math.ceil(high / step - 1e-9) * step;
  const count = Math.round((to - from) / step);
  return {
    ticks: Array.from({ length: count + 1 }, (_, i) => Number((from + i * step).toPrecision(12))),
    place: (value) => (value - from) / (to - from),
  };
}

/** 1, 2 or 5 times a power of ten, at least as large. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * (1 - 1e-9))!;
}

const escapeXml = (text: string): string =>
  text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]!);
