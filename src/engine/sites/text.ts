/** Taps over a whole text of any length, pass by pass, in bounded memory; and the same written to a safetensors file. */

import { ensure } from "../../errors.ts";
import { requireWhole } from "../../numbers.ts";
import { type TensorToWrite, writeSafetensors } from "../../weights/safetensors.ts";
import type { Forest, ForestNode } from "../forest.ts";
import { joined, type TapRows } from "./delivery.ts";
import { type LeaseSites, requireActing } from "./rows.ts";

/** What is read of a text of any length, and in which windows. */
export interface TextTraceOptions {
  /** Sites, and readings of edits. */
  readonly taps: readonly string[];
  /** Tokens after which the text begins anew, at position 0 for the model and its edits, as if nothing stood before. Default: the model's context. */
  readonly window?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
}

/** Consecutive rows of a text. */
export interface TextTraceChunk {
  /** Position in the whole text of its first token. */
  readonly position: number;
  readonly tokens: readonly number[];
  /** What every tap read, a row for each token. */
  readonly values: Readonly<Record<string, TapRows>>;
}

/** Errors: `bad_option` for an empty text, a window out of range, or an edit that acts nowhere, at once; `aborted`, and those of passes. */
export function traceTokens(
  forest: Forest,
  tokens: readonly number[],
  sites: LeaseSites,
  { window = forest.contextLength, signal }: TextTraceOptions,
  call = "trace",
): AsyncGenerator<TextTraceChunk, void> {
  ensure(tokens.length > 0, "bad_option", `${call}: the text is empty`);
  requireWhole({ "trace: window": window }, 1, forest.contextLength);
  const positions = Array.from({ length: Math.min(window, tokens.length) }, (_, i) => i);
  requireActing(sites.edits, positions, call);
  return traceWindows(forest, tokens, sites, window, signal, call);
}

async function* traceWindows(
  forest: Forest,
  tokens: readonly number[],
  sites: LeaseSites,
  window: number,
  signal: AbortSignal | undefined,
  call: string,
): AsyncGenerator<TextTraceChunk, void> {
  for (let start = 0; start < tokens.length; start += window) {
    const end = Math.min(tokens.length, start + window);
    const lease = forest.lease(sites);
    let tip: ForestNode | undefined;
    try {
      for (let at = start; at < end; at += forest.maxRows) {
        ensure(!signal?.aborted, "aborted", `${call} was aborted`);
        const part = tokens.slice(at, Math.min(end, at + forest.maxRows));
        const nodes = await lease.extend(
          part.map((token, i) => ({ parent: i === 0 ? tip : i - 1, token, logits: false })),
        );
        const values = Object.fromEntries(sites.taps.map((tap) => [tap, joined(nodes.map((node) => node.taps![tap]))]));
        if (tip) lease.release([tip]);
        tip = nodes[nodes.length - 1];
        lease.release(nodes.slice(0, -1));
        yield { position: at, tokens: part, values };
      }
    } finally {
      lease.close();
    }
  }
}

/** Rows of one tensor in a file. */
const blockRows = 4096;

/**
 * Writes a trace of `count` tokens: tensors "SITE@POSITION" (F32, [rows, width]) of up to 4096 rows each, from position 0 on. Errors: those of
 * the trace and of writing; nothing is left of a file that failed.
 */
export async function writeTrace(
  path: string,
  chunks: AsyncGenerator<TextTraceChunk, void>,
  count: number,
): Promise<void> {
  let held = new Map<string, Float32Array>();
  let waiting: TextTraceChunk | undefined;
  const widths = new Map<string, number>();

  /** Rows start to end of all taps: parts that go beyond wait for the next block. */
  async function fill(start: number, end: number): Promise<void> {
    held = new Map([...widths].map(([tap, width]) => [tap, new Float32Array((end - start) * width)]));
    for (let at = start; at < end; ) {
      waiting ??= (await chunks.next()).value as TextTraceChunk;
      const { position, tokens, values } = waiting;
      const taken = Math.min(end, position + tokens.length);
      for (const [tap, width] of widths) {
        const rows = values[tap].values.subarray((at - position) * width, (taken - position) * width);
        held.get(tap)!.set(rows, (at - start) * width);
      }
      if (taken === position + tokens.length) waiting = undefined;
      at = taken;
    }
  }

  function* tensors(): Generator<TensorToWrite> {
    for (let start = 0; start < count; start += blockRows) {
      const end = Math.min(count, start + blockRows);
      let filled: Promise<void> | undefined;
      for (const [tap, width] of widths) {
        yield {
          name: `${tap}@${start}`,
          type: "F32",
          shape: [end - start, width],
          async data() {
            filled ??= fill(start, end);
            await filled;
            return held.get(tap)!;
          },
        };
      }
    }
  }
  try {
    waiting = (await chunks.next()).value as TextTraceChunk;
    // How wide the readings of edits are, only their rows say.
    for (const [tap, { width }] of Object.entries(waiting.values)) widths.set(tap, width);
    await writeSafetensors(path, tensors(), { format: "ventris trace 1", tokens: String(count) });
  } finally {
    await chunks.return();
  }
}
