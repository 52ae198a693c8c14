/**
 * How near the decisions of plain decoding were, and by how much logits move when the same text goes through other passes: lossless
 * methods agree with it as long as nothing moves that far.
 */

import { z } from "zod";
import type { DecodeOptions, Text } from "../calls.ts";
import type { ForestNode } from "../engine/forest.ts";
import { defineMethod } from "../engine/method.ts";
import { arrival, winnerOf } from "../engine/race.ts";
import { plural } from "../errors.ts";
import type { Model } from "../open.ts";

export interface Margin {
  readonly decisions: number;
  /** By how much the winner of the nearest decision was ahead of the second: by so many logits, were no other token changed. */
  readonly nearest: number;
  /** The largest change of a logit between passes of one row and of many. */
  readonly moved: number;
}

/** Rows that are computed again together. */
const mostTogether = 32;

/** Decodes plainly, and computes what was decoded again in passes of many rows; undefined for an output without a choice. */
export async function marginOf(
  model: Model,
  prompts: readonly Text[],
  request: DecodeOptions,
): Promise<Margin | undefined> {
  let [decisions, nearest, moved] = [0, Infinity, 0];
  const method = defineMethod({
    name: "margin",
    family: "plain",
    lossless: true,
    summary: "plain decoding that watches how near its decisions are",
    options: z.strictObject({}),
    async decode(decoding) {
      const { forest, lease, stream, settings, greedy } = decoding;
      const all = Int32Array.from({ length: decoding.model.config.vocabularySize }, (_, token) => token);
      const second = new Float64Array(all.length);

      /** Nothing where an option, not the model, decided. */
      function ahead(node: ForestNode, token: number): number | undefined {
        const logits = node.logits!;
        if (greedy) {
          let next = -Infinity;
          for (let i = 0; i < logits.length; i++) if (i !== token && logits[i] > next) next = logits[i];
          return logits[token] >= next ? logits[token] - next : undefined;
        }
        const race = { stream, position: node.depth + 1 };
        const shaped = decoding.shape(node);
        second.set(shaped);
        second[token] = 0;
        const other = winnerOf(race, all, all.length, second);
        if (other < 0) return undefined;
        const time = (winner: number): number => Math.log(arrival(race, winner) / shaped[winner]);
        return settings.temperature * (time(other) - time(token));
      }

      async function again(path: readonly ForestNode[]): Promise<void> {
        const rows = path.slice(1).map(({ token }, i) => ({ parent: i === 0 ? path[0] : i - 1, token, ahead: {} }));
        const nodes = rows.length > 0 ? await lease.extend(rows) : [];
        for (const [i, { logits }] of nodes.entries()) {
          const alone = path[i + 1].logits!;
          for (let k = 0; k < alone.length; k++) moved = Math.max(moved, Math.abs(logits![k] - alone[k]));
        }
      }

      let path = [await decoding.prefill()];
      for (let tip = path[0]; !decoding.finished; ) {
        const token = decoding.choose(tip);
        const margin = ahead(tip, token);
        if (margin !== undefined) {
          decisions += 1;
          nearest = Math.min(nearest, margin);
        }
        decoding.commit([{ token, from: tip }]);
        if (decoding.finished) break;
        [tip] = await lease.extend([{ parent: tip, token }]);
        path.push(tip);
        if (path.length <= Math.min(mostTogether, forest.maxRows)) continue;
        await again(path);
        lease.release(path.slice(0, -1));
        path = [tip];
      }
      if (!decoding.signal?.aborted) await again(path);
    },
  });
  for (const prompt of prompts) {
    if (request.signal?.aborted) break;
    await model.decode(prompt, { ...request, method }).final;
  }
  return decisions > 0 ? { decisions, nearest, moved } : undefined;
}

/** The margin in a sentence. */
export function marginNote({ decisions, nearest, moved }: Margin): string {
  const nearly = `the closest of ${plural(decisions, "choice")} between tokens was won by ${nearest.toPrecision(3)} logits`;
  if (moved === 0) return `${nearly}; passes of one row and of many give the same logits, bit for bit`;
  const safe = 2 * moved < nearest;
  return `${nearly}; passes of one row and of many give logits that differ by up to ${moved.toPrecision(3)}, which ${safe ? "is too little to turn any" : "can turn it"}`;
}
