/** The points and what was pointed at, as SVG: a hull, triangles or a tour, the order in numbers where they are few. */

import { requireIndices } from "../../numbers.ts";
import { escapeXml } from "../../xml.ts";
import { boxOf, requireCoordinates } from "./checks.ts";
import { type Point, samePoint } from "./geometry.ts";
import type { TaskName } from "./tasks.ts";

const size = 480;
const margin = 24;
/** Those of more hide one another. */
const mostNumbers = 30;

/** Points are drawn in their own proportions; `title` says what is seen. Errors: `bad_option` for places of the answer that are no points. */
export function drawPointing(
  task: TaskName,
  points: readonly Point[],
  answer: readonly number[],
  title: string,
): string {
  requireCoordinates(points);
  requireIndices("answer", answer, points.length);
  const {
    low: [left, low],
    extent,
  } = boxOf(points);
  const place = ([x, y]: Point): string =>
    `${(margin + ((x - left) / extent) * (size - 2 * margin)).toFixed(1)},${(size - margin - ((y - low) / extent) * (size - 2 * margin)).toFixed(1)}`;
  const polygon = (indices: readonly number[]): string =>
    `<polygon points="${indices.map((i) => place(points[i])).join(" ")}"/>`;
  const shapes =
    task === "delaunay"
      ? Array.from({ length: Math.floor(answer.length / 3) }, (_, t) => polygon(answer.slice(3 * t, 3 * t + 3)))
      : [polygon(answer)];
  const numbered = task !== "delaunay" && new Set(answer).size <= mostNumbers;
  const dots = points.map((point, i) => {
    const [x, y] = place(point).split(",");
    const order = numbered ? answer.indexOf(i) : -1;
    const label = order >= 0 ? `<text x="${Number(x) + 6}" y="${Number(y) - 6}">${order + 1}</text>` : "";
    const first = answer.length > 0 && task !== "delaunay" && samePoint(point, points[answer[0]]);
    return `<circle cx="${x}" cy="${y}" r="${points.length > 200 ? 1.5 : 3.5}"${first ? ' class="first"' : ""}/>${label}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size + 28}" role="img" aria-label="${escapeXml(title)}">
<style>
  svg { background: #f6f1e7; font: 11px ui-monospace, monospace; }
  polygon { fill: #a3341f14; stroke: #a3341f; stroke-width: 1.5; stroke-linejoin: round; }
  circle { fill: #26221c; } .first { fill: #a3341f; } text { fill: #7a7266; }
</style>
${shapes.join("\n")}
${dots.join("\n")}
<text x="${margin}" y="${size + 14}">${escapeXml(title)}</text>
</svg>
`;
}
