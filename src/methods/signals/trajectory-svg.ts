/** A decoded trajectory against the true one, as SVG: each state over time with its band of two deviations, and planar states as a path with ellipses. */
import { ensure } from "../../errors.ts";
import { escapeXml } from "../../xml.ts";
import type { Trajectory } from "./filter.ts";
import { type Matrix, symmetricEigen } from "./matrix.ts";

/** What a picture of a trajectory shows. */
export interface TrajectoryPicture {
  readonly trajectory: Trajectory;
  readonly truth?: Matrix;
  readonly title: string;
  readonly names?: readonly string[];
  /** Seconds a bin; default: the axis counts bins. */
  readonly binSeconds?: number;
}

const [width, rowHeight, left, right, top] = [760, 150, 64, 20, 42];
const [ink, decodedColour, trueColour, paper] = ["#26221c", "#a3341f", "#3b5b6d", "#f6f1e7"];
/** Nobody sees more points than pixels. */
const maximumBins = 700;
const maximumRows = 6;

/** The first 700 bins and 6 states, and says so where there are more. Errors: `bad_option` for an empty trajectory. */
export function trajectorySvg({ trajectory, truth, title, names, binSeconds }: TrajectoryPicture): string {
  const { means, covariances } = trajectory;
  const d = means.columns;
  const bins = Math.min(means.rows, maximumBins);
  ensure(bins > 0, "bad_option", "a trajectory without bins cannot be drawn");
  const rows = Math.min(d, maximumRows);
  const planar = d === 2 ? 340 : 0;
  const height = top + rows * rowHeight + planar + 40;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="11" fill="${ink}">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="${paper}"/>`,
    `<text x="${left}" y="18" font-size="13" font-weight="600">${escapeXml(title)}</text>`,
    `<text x="${left}" y="34"><tspan fill="${decodedColour}">decoded, ± 2 deviations</tspan>${truth ? `  <tspan fill="${trueColour}">true</tspan>` : ""}</text>`,
  ];
  for (let k = 0; k < rows; k++) parts.push(drawSeries(k));
  const shown = binSeconds ? `seconds (0 to ${number(bins * binSeconds)})` : `bins (0 to ${bins})`;
  const cut = [
    ...(bins < means.rows ? [`the first ${bins} of ${means.rows} bins`] : []),
    ...(rows < d ? [`the first ${rows} of ${d} states`] : []),
  ];
  parts.push(
    `<text x="${(left + width - right) / 2}" y="${top + rows * rowHeight + 14}" text-anchor="middle">${[shown, ...cut].join(", ")}</text>`,
  );
  if (planar > 0) parts.push(drawPlane(top + rows * rowHeight + 30, planar - 30));
  return `${parts.join("\n")}\n</svg>\n`;

  function drawSeries(k: number): string {
    const y0 = top + k * rowHeight;
    const at = (t: number) => means.data[t * d + k];
    const spread = (t: number) => 2 * Math.sqrt(Math.max(0, covariances.data[t * d * d + k * (d + 1)]));
    let [low, high] = [Infinity, -Infinity];
    for (let t = 0; t < bins; t++) {
      for (const v of [at(t) - spread(t), at(t) + spread(t), truth?.data[t * d + k] ?? at(t)]) {
        if (Number.isFinite(v)) [low, high] = [Math.min(low, v), Math.max(high, v)];
      }
    }
    if (!(high > low)) [low, high] = [low - 1, high + 1];
    const x = (t: number) => (left + ((width - left - right) * t) / Math.max(1, bins - 1)).toFixed(1);
    const y = (v: number) => (y0 + 6 + ((rowHeight - 18) * (high - v)) / (high - low)).toFixed(1);
    const times = Array.from({ length: bins }, (_, t) => t);
    const band = [
      ...times.map((t) => `${x(t)},${y(at(t) + spread(t))}`),
      ...times.toReversed().map((t) => `${x(t)},${y(at(t) - spread(t))}`),
    ];
    const line = (value: (t: number) => number, colour: string) =>
      lineOf(
        times.map((t) => (Number.isFinite(value(t)) ? `${x(t)} ${y(value(t))}` : undefined)),
        colour,
      );
    return [
      `<path d="M${left} ${y0 + rowHeight - 10}H${width - right}" stroke="${ink}" stroke-opacity=".15"/>`,
      ...[low, high].map((v) => `<text x="${left - 6}" y="${y(v)}" dy=".33em" text-anchor="end">${number(v)}</text>`),
      `<text x="8" y="${y0 + rowHeight / 2}">${escapeXml(names?.[k] ?? `z${k + 1}`)}</text>`,
      `<polygon points="${band.join(" ")}" fill="${decodedColour}" fill-opacity=".16"/>`,
      ...(truth ? [line((t) => truth.data[t * d + k], trueColour)] : []),
      line(at, decodedColour),
    ].join("\n");
  }

  /** The first 120 bins in the plane, with an ellipse of one deviation at every sixth. */
  function drawPlane(y0: number, size: number): string {
    const shown = Math.min(bins, 120);
    const points: number[][] = [];
    for (let t = 0; t < shown; t++) {
      points.push([means.data[2 * t], means.data[2 * t + 1]]);
      if (truth) points.push([truth.data[2 * t], truth.data[2 * t + 1]]);
    }
    const known = points.filter((point) => point.every(Number.isFinite));
    const ends = [0, 1].map((k) => {
      const values = known.map((point) => point[k]);
      return [Math.min(...values), Math.max(...values)];
    });
    const reach = Math.max(1e-12, ...ends.map(([low, high]) => high - low)) * 1.15;
    const scale = size / reach;
    const [middleX, middleY] = ends.map(([low, high]) => (low + high) / 2);
    const [cx, cy] = [width / 2, y0 + size / 2];
    const place = (a: number, b: number) =>
      `${(cx + scale * (a - middleX)).toFixed(1)} ${(cy - scale * (b - middleY)).toFixed(1)}`;
    const ellipses: string[] = [];
    for (let t = 0; t < shown; t += 6) {
      const [values, vectors] = [new Float64Array(2), new Float64Array(4)];
      symmetricEigen(values, vectors, covariances.data.slice(4 * t, 4 * t + 4), 2);
      const angle = (-Math.atan2(vectors[2], vectors[0]) * 180) / Math.PI;
      const [rx, ry] = [...values].map((v) => (scale * Math.sqrt(Math.max(0, v))).toFixed(1));
      const [x, y] = place(means.data[2 * t], means.data[2 * t + 1]).split(" ");
      ellipses.push(
        `<ellipse cx="${x}" cy="${y}" rx="${rx}" ry="${ry}" transform="rotate(${angle.toFixed(1)} ${x} ${y})" fill="none" stroke="${decodedColour}" stroke-opacity=".35"/>`,
      );
    }
    const path = (a: Matrix, colour: string) =>
      lineOf(
        Array.from({ length: shown }, (_, t) => {
          const point = a.data.subarray(2 * t, 2 * t + 2);
          return point.every(Number.isFinite) ? place(point[0], point[1]) : undefined;
        }),
        colour,
      );
    return [
      `<text x="${left}" y="${y0 + 12}">the first ${shown} bins in the plane, ellipses of one deviation</text>`,
      ...ellipses,
      ...(truth ? [path(truth, trueColour)] : []),
      path(means, decodedColour),
    ].join("\n");
  }
}

/** A line through points "x y" that begins anew after each that is not known; a point between two of those is a dot. */
function lineOf(points: readonly (string | undefined)[], colour: string): string {
  const d = points.flatMap((point, t) =>
    point === undefined ? [] : [points[t - 1] === undefined ? `M${point}h0` : `L${point}`],
  );
  return `<path d="${d.join("")}" fill="none" stroke="${colour}" stroke-width="1.4" stroke-linecap="round"/>`;
}

const number = (v: number) => String(Number(v.toPrecision(3)));
