/**
 * What the filter learns from: of each pass of the oracle over the model's own answers, the confidences of the block and which predictions were
 * right. Kept as a safetensors file, bound to the model.
 */

import { z } from "zod";
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import type { CanvasView, UnmaskingMethod } from "../../../engine/canvas/policy.ts";
import type { RunResult } from "../../../engine/run.ts";
import { ensure } from "../../../errors.ts";
import { openSafetensors, writeSafetensors } from "../../../weights/safetensors.ts";
import { greedyParallel } from "../oracle/index.ts";
import { evenSchedule, highest } from "../ranking.ts";

const noOptions = z.strictObject({});

export interface FilterRecords {
  readonly blockLength: number;
  /** Fingerprint of the model. */
  readonly base: string;
  /** [records, block length]. */
  readonly confidences: Float32Array<ArrayBuffer>;
  /** [records, block length], 1 where the prediction was right. */
  readonly labels: Uint8Array<ArrayBuffer>;
}

/** What of an open model is needed. */
export interface Decoder {
  decode(prompt: readonly number[], options: object): { readonly final: Promise<RunResult> };
  fingerprint(): Promise<string>;
}

export interface CollectOptions {
  readonly prompts: readonly (readonly number[])[];
  readonly length: number;
  readonly blockLength: number;
  /** Which passes make records: the oracle's, as published (default), or one-token decoding's as well, which cost nothing more. */
  readonly states?: "oracle" | "both";
  /** Prompts that are decoded side by side; default 4. */
  readonly together?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, records: number) => void;
}

/** A record for each of the oracle's passes, and of one-token decoding's own where those are asked for: what stood in the block at that time. */
export async function recordsOf(
  model: Pick<Decoder, "decode">,
  prompt: readonly number[],
  { length, blockLength, states = "oracle", signal }: Omit<CollectOptions, "prompts">,
): Promise<{ confidences: number[][]; labels: number[][]; passesPerBlock: number[] }> {
  const seen: { start: number; tokens: readonly number[]; confidences: readonly number[] }[] = [];
  const passesPerBlock: number[] = [];
  const look = ({ block, token, confidence }: CanvasView): void => {
    const positions = Array.from({ length: block.end - block.start }, (_, i) => block.start + i);
    seen.push({ start: block.start, tokens: positions.map(token), confidences: positions.map(confidence) });
  };
  const watched = async (policy: UnmaskingMethod<typeof noOptions>["policy"]) => {
    const method = defineUnmasking({ name: "watched", summary: "is looked at", options: noOptions, policy });
    const options = { blockLength, earlyStop: false };
    return model.decode(prompt, { maxTokens: length, signal, method: { method, options } }).final;
  };
  let begin = 0;
  const { canvas: answer } = await watched((request) => {
    const countFor = evenSchedule(request);
    begin = request.start;
    return {
      looksAt: states === "both" ? "block" : "masked",
      decide(view) {
        if (states === "both") look(view);
        return { positions: highest(view.masked, countFor(view), view.confidence) };
      },
    };
  });
  const right = (position: number): number => answer![position - begin];
  await watched(() =>
    greedyParallel(right, (view) => {
      look(view);
      passesPerBlock[view.block.index] = (passesPerBlock[view.block.index] ?? 0) + 1;
    }),
  );
  return {
    confidences: seen.map(({ confidences }) => [...confidences]),
    labels: seen.map(({ start, tokens }) => tokens.map((token, i) => (token === right(start + i) ? 1 : 0))),
    passesPerBlock,
  };
}

/** Errors: those of decoding; `aborted`. */
export async function collectRecords(model: Decoder, options: CollectOptions): Promise<FilterRecords> {
  const { prompts, blockLength, together = 4, signal, onProgress } = options;
  ensure(prompts.length > 0, "bad_option", "collecting: no prompts are given");
  const confidences: number[] = [];
  const labels: number[] = [];
  for (let at = 0; at < prompts.length; at += together) {
    ensure(!signal?.aborted, "aborted", "collecting was aborted");
    const some = prompts.slice(at, at + together);
    for (const found of await Promise.all(some.map((prompt) => recordsOf(model, prompt, options)))) {
      confidences.push(...found.confidences.flat());
      labels.push(...found.labels.flat());
    }
    onProgress?.(Math.min(prompts.length, at + together), confidences.length / blockLength);
  }
  return {
    blockLength,
    base: await model.fingerprint(),
    confidences: Float32Array.from(confidences),
    labels: Uint8Array.from(labels),
  };
}

const format = "ventris filter records 1";
/** Numbers in a file of records: beyond what any collection here makes. */
const mostNumbers = 2 ** 28;

export async function writeRecords(
  path: string,
  { blockLength, base, confidences, labels }: FilterRecords,
): Promise<void> {
  const shape = [confidences.length / blockLength, blockLength];
  await writeSafetensors(
    path,
    [
      { name: "confidences", type: "F32", shape, data: confidences },
      { name: "labels", type: "U8", shape, data: labels },
    ],
    { format, base },
  );
}

/** Errors: `bad_file` for what holds no records, or values that are no confidences. */
export async function readRecords(path: string): Promise<FilterRecords> {
  const file = await openSafetensors(path);
  try {
    const { format: stated, base } = file.metadata;
    const shape = file.tensors.get("confidences")?.shape ?? [];
    const [count, blockLength] = shape;
    const fits =
      stated === format &&
      typeof base === "string" &&
      shape.length === 2 &&
      count >= 1 &&
      blockLength >= 1 &&
      count * blockLength <= mostNumbers &&
      file.tensors.get("labels")?.shape.join() === shape.join();
    ensure(fits, "bad_file", `${path}: no records of a filter (ventris diffusion collect writes them)`);
    const confidences = await file.readFloat32("confidences");
    ensure(
      confidences.every((c) => c >= 0 && c <= 1),
      "bad_file",
      `${path}: its confidences are not all between 0 and 1`,
    );
    const labels = Uint8Array.from(await file.readBytes("labels"));
    ensure(
      labels.length === confidences.length && labels.every((label) => label <= 1),
      "bad_file",
      `${path}: its labels are not all 0 or 1`,
    );
    return { blockLength, base, confidences, labels };
  } finally {
    await file.close();
  }
}

/** Several collections as one. Errors: `bad_option` where they are of different models or block lengths. */
export function joinRecords(all: readonly FilterRecords[]): FilterRecords {
  const [{ blockLength, base }] = all;
  ensure(
    all.every((one) => one.base === base && one.blockLength === blockLength),
    "bad_option",
    "records: they were collected with different models, or with blocks of different lengths",
  );
  return {
    blockLength,
    base,
    confidences: Float32Array.from(all.flatMap(({ confidences }) => [...confidences])),
    labels: Uint8Array.from(all.flatMap(({ labels }) => [...labels])),
  };
}
