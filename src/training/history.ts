/** The loss curve: a sparse list of entries, JSON lines on disk, and a small picture for a model card. */

import { ensure } from "../errors.ts";
import { within } from "../files.ts";
import { escapeXml } from "../xml.ts";

/** A training step as the loss curve has it. */
export interface HistoryEntry {
  /** Optimiser steps done. */
  readonly step: number;
  /** Mean loss of this step's batches, and its running mean over about the last fifth of the steps so far, at most fifty; nats. */
  readonly loss: number;
  readonly smoothedLoss: number;
  readonly learningRate: number;
  /** Euclidean norm before clipping. */
  readonly gradientNorm: number;
  /** Tokens trained on, and seconds of training, both from the first step on and over all resumptions. */
  readonly tokens: number;
  readonly seconds: number;
  /** Mean loss over the evaluation batches, where it was measured; nats. */
  readonly heldOutLoss?: number;
}

/** Where a run's folder keeps its loss curve, as JSON lines. */
export const lossCurvePath = (folder: string) => within(folder, "loss.jsonl");

export const toJsonLines = (history: readonly HistoryEntry[]) =>
  history.map((entry) => `${JSON.stringify(entry)}\n`).join("");

/**
 * A self-contained SVG, 640 by 280: smoothed training loss as a line, held-out loss as dots, over steps.
 * Errors: `bad_option` when the history is empty.
 */
export function lossCurveSvg(history: readonly HistoryEntry[], title = "loss (nats a token)"): string {
  ensure(history.length > 0, "bad_option", "a loss curve needs at least one entry of history");
  const [width, height, left, top, right, bottom] = [640, 280, 48, 28, 16, 32];
  const heldOut = history.filter((entry) => entry.heldOutLoss !== undefined);
  const losses = [...history.map((entry) => entry.smoothedLoss), ...heldOut.map((entry) => entry.heldOutLoss!)];
  const lastStep = history[history.length - 1].step;
  const yTicks = ticks(
    losses.reduce((a, b) => Math.min(a, b)),
    losses.reduce((a, b) => Math.max(a, b)),
  );
  const [low, high] = [yTicks[0], yTicks[yTicks.length - 1]];
  const x = (step: number) => (left + ((width - left - right) * step) / Math.max(1, lastStep)).toFixed(1);
  const y = (loss: number) => (top + ((height - top - bottom) * (high - loss)) / (high - low)).toFixed(1);

  // One point a pixel is all that can be seen.
  const stride = Math.ceil(history.length / (width - left - right));
  const points = history
    .filter((_, i) => i % stride === 0 || i === history.length - 1)
    .map((entry) => `${x(entry.step)},${y(entry.smoothedLoss)}`);
  const rows = yTicks.map(
    (tick) =>
      `<path d="M${left} ${y(tick)}H${width - right}" stroke="#ddd"/>` +
      `<text x="${left - 6}" y="${y(tick)}" dy="4" text-anchor="end">${Number(tick.toPrecision(6))}</text>`,
  );
  const columns = ticks(0, lastStep)
    .filter((tick) => tick <= lastStep)
    .map((tick) => `<text x="${x(tick)}" y="${height - bottom + 18}" text-anchor="middle">${tick}</text>`);
  const dots = heldOut.map(
    (entry) => `<circle cx="${x(entry.step)}" cy="${y(entry.heldOutLoss!)}" r="2.5" fill="#c2410c"/>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11" fill="#444">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${left}" y="16">${escapeXml(title)}: training (line), held-out (dots), over steps</text>`,
    ...rows,
    ...columns,
    `<polyline points="${points.join(" ")}" fill="none" stroke="#1d4ed8" stroke-width="1.5"/>`,
    ...dots,
    "</svg>\n",
  ].join("\n");
}

/** Four to ten round numbers, evenly spaced, whose first and last enclose [low, high]. */
function ticks(low: number, high: number): number[] {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const gap = power * ([1, 2, 5].findLast((factor) => span / (power * factor) >= 4) ?? 1);
  const first = Math.floor(low / gap);
  const last = Math.max(first + 1, Math.ceil(high / gap));
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * gap);
}
