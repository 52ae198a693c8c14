/** What a bottleneck of two features decides over the plane after each part of a stream, as SVG: regions, and the samples of the part. */
import { escapeXml } from "../../../xml.ts";
import type { Features } from "./bottleneck.ts";
import type { Labelled } from "./learning.ts";

export interface RegionsPanel {
  readonly title: string;
  /** The class of each cell of a grid of `side` by `side`, row by row from below; -1: none. */
  readonly cells: readonly number[];
  readonly samples: Labelled;
}

/** Where the panels lie: the least and greatest of both features. */
export interface Plane {
  readonly low: readonly [number, number];
  readonly high: readonly [number, number];
}

export const regionSide = 60;
const [panel, gap, top, ink, paper] = [260, 24, 40, "#26221c", "#f6f1e7"];
const mostSamples = 400;

/** The features' range, a tenth wider. */
export function planeOf({ count, values }: Features): Plane {
  const [low, high] = [
    [Infinity, Infinity],
    [-Infinity, -Infinity],
  ];
  for (let i = 0; i < 2 * count; i++) {
    low[i % 2] = Math.min(low[i % 2], values[i]);
    high[i % 2] = Math.max(high[i % 2], values[i]);
  }
  const wider = low.map((least, j) => (high[j] - least) / 20 || 0.5);
  return { low: [low[0] - wider[0], low[1] - wider[1]], high: [high[0] + wider[0], high[1] + wider[1]] };
}

/** The middles of the grid's cells. */
export function gridOf({ low, high }: Plane): Features {
  const values = Float32Array.from({ length: 2 * regionSide * regionSide }, (_, i) => {
    const cell = Math.floor(i / 2);
    const place = i % 2 === 0 ? cell % regionSide : Math.floor(cell / regionSide);
    return low[i % 2] + ((place + 0.5) / regionSide) * (high[i % 2] - low[i % 2]);
  });
  return { count: regionSide * regionSide, width: 2, values };
}

const hue = (label: number, classes: number, light = 50): string =>
  `hsl(${Math.round((360 * label) / classes)} 45% ${light}%)`;

export function regionsSvg(
  panels: readonly RegionsPanel[],
  { low, high }: Plane,
  { classes, axes }: { classes: readonly string[]; axes: readonly [string, string] },
): string {
  const columns = Math.min(3, panels.length);
  const lines = Math.ceil(panels.length / columns);
  const legendRow = (panel + gap) * columns;
  const width = gap + (panel + gap) * columns;
  const height = lines * (panel + top + gap) + 30 + 16 * Math.ceil(classes.length / 4);
  const parts = panels.map(({ title, cells, samples }, i) => {
    const [x0, y0] = [gap + (i % columns) * (panel + gap), top + Math.floor(i / columns) * (panel + top + gap)];
    const cell = panel / regionSide;
    const runs: string[] = [];
    for (let row = 0; row < regionSide; row++) {
      for (let from = 0; from < regionSide; ) {
        const label = cells[row * regionSide + from];
        let until = from + 1;
        while (until < regionSide && cells[row * regionSide + until] === label) until++;
        const y = y0 + panel - (row + 1) * cell;
        if (label >= 0)
          runs.push(
            `<rect x="${(x0 + from * cell).toFixed(1)}" y="${y.toFixed(1)}" width="${((until - from) * cell + 0.3).toFixed(1)}" height="${(cell + 0.3).toFixed(1)}" fill="${hue(label, classes.length, 78)}"/>`,
          );
        from = until;
      }
    }
    const shown = Math.min(samples.count, mostSamples);
    const points = Array.from({ length: shown }, (_, n) => {
      const [x, y] = [0, 1].map((j) => (samples.values[2 * n + j] - low[j]) / (high[j] - low[j]));
      return `<circle cx="${(x0 + x * panel).toFixed(1)}" cy="${(y0 + (1 - y) * panel).toFixed(1)}" r="2" fill="${hue(samples.labels[n], classes.length)}" stroke="${ink}" stroke-width=".4"/>`;
    });
    return [
      `<text x="${x0}" y="${y0 - 8}">${escapeXml(title)}</text>`,
      ...runs,
      ...points,
      `<rect x="${x0}" y="${y0}" width="${panel}" height="${panel}" fill="none" stroke="${ink}" stroke-opacity=".4"/>`,
    ].join("\n");
  });
  const below = lines * (panel + top + gap) + 12;
  const legend = classes.map((name, label) => {
    const [x, y] = [gap + ((label % 4) * legendRow) / 4, below + 20 + 16 * Math.floor(label / 4)];
    return `<rect x="${x}" y="${y - 9}" width="10" height="10" fill="${hue(label, classes.length)}"/><text x="${x + 15}" y="${y}">${escapeXml(name)}</text>`;
  });
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="11" fill="${ink}">`,
    "<title>What is decided where, part after part</title>",
    `<rect width="${width}" height="${height}" fill="${paper}"/>`,
    ...parts,
    `<text x="${gap}" y="${below}">across: ${escapeXml(axes[0])}; up: ${escapeXml(axes[1])}; blank: undecided</text>`,
    ...legend,
  ].join("\n")}\n</svg>\n`;
}
