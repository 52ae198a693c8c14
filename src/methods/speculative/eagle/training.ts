/**
 * Training of an EAGLE draft (Li et al. 2024): from the frozen model's states and tokens it foretells the next states, by smooth L1, and what the model's
 * head makes of them, by cross entropy with the model's own distribution, which counts a tenth.
 */
import { z } from "zod";
import { normal } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { textGraph } from "../../../models/graph.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import {
  abs,
  add,
  constant,
  gather,
  input,
  less,
  logSoftmax,
  multiply,
  parameter,
  reduceMean,
  stopGradient,
  subtract,
  where,
} from "../../../tensor/index.ts";
import { divergenceOf } from "../../../training/divergence.ts";
import type { Parameter } from "../../../training/objective.ts";
import { columns, int64, partKind } from "../../../training/parts.ts";
import { eagleKind, layerConfig, layerEdits, layerParameters } from "./layer.ts";

export const eagleSettings = z.strictObject({
  bias: z.boolean().default(true),
  /** What the states and the distributions count in the loss. */
  states: z.number().min(0).default(1),
  distributions: z.number().min(0).default(0.1),
});

/** The draft's names within the graph: the model's own parameters keep theirs. */
const scope = "eagle/";

export const eaglePart = partKind(eagleKind, eagleSettings, (task, settings) => {
  const { family, config, values, rows, length, seed } = task;
  const { bias, states: stateShare, distributions } = settings;
  const width = config.hiddenSize;
  ensure(length >= 3, "bad_option", `part: an EAGLE draft needs rows longer than ${length} tokens`);
  ensure(
    stateShare + distributions > 0,
    "bad_option",
    "part: nothing is learned: states and distributions both count 0",
  );
  const tensors = new Map<string, { shape: number[]; values: Float32Array<ArrayBuffer> }>();
  const fresh = (name: string, shape: readonly number[], deviation: number | undefined, number: number): void => {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    if (deviation === undefined) data.fill(1);
    else
      for (let i = 0; deviation > 0 && i < data.length; i++)
        data[i] = deviation * normal({ seed, request: number }, i, "initialise");
    tensors.set(name, { shape: [...shape], values: data });
  };
  fresh("fc.weight", [width, 2 * width], 0.02, 0);
  // It begins as what hands on the state, which a text's next state resembles more than nothing.
  const fused = tensors.get("fc.weight")!.values;
  for (let i = 0; i < width; i++) fused[i * 2 * width + width + i] += 1;
  if (bias) fresh("fc.bias", [width], 0, 0);
  // The layer begins as the model's last one.
  const last = layerParameters(family, config);
  for (const { name, shape } of last) {
    const of = name.replace(/(layers|h)\.0\./, (_, list) => `${list}.${config.layers - 1}.`);
    const own = values.get(of);
    ensure(own, "internal", `no values for ${of}`);
    tensors.set(name, { shape: [...shape], values: own.slice() });
  }

  const shared = parameterMaker();
  const base = textGraph(family, config, {
    rows,
    length,
    instruments: { taps: ["final"], edits: [] },
    parameter: shared,
  });
  const seen = length - 1;
  const rowsFrom = (first: number) =>
    constant(
      BigInt64Array.from({ length: rows * seen }, (_, i) => BigInt(Math.floor(i / seen) * length + first + (i % seen))),
      [rows * seen],
    );
  const given = stopGradient(gather(base.readings.final, rowsFrom(0)));
  const wanted = stopGradient(gather(base.readings.final, rowsFrom(1)));
  const fusion = {
    weight: parameter(`${scope}fc.weight`, [width, 2 * width]),
    ...(bias && { bias: parameter(`${scope}fc.bias`, [width]) }),
  };
  const own = parameterMaker(scope);
  const draft = textGraph(family, layerConfig(config), {
    rows,
    length: seen,
    tokens: input("next", [rows, seen], "int64"),
    instruments: { taps: ["layers.0.residual"], edits: layerEdits(given, fusion, false) },
    parameter: (name, shape) => (tensors.has(name) ? own : shared)(name, shape),
  });
  const off = subtract(draft.readings["layers.0.residual"], wanted);
  const size = abs(off);
  const smooth = reduceMean(
    reduceMean(where(less(size, 1), multiply(multiply(off, off), 0.5), subtract(size, 0.5)), -1),
  );
  const taught = logSoftmax(stopGradient(gather(base.logits, rowsFrom(1))));
  const soft = reduceMean(divergenceOf("forward-kl", taught, logSoftmax(draft.logits)));
  const trained = [...tensors].map(
    ([name, { shape, values }]): Parameter => ({ name: scope + name, shape, values, decay: shape.length > 1 }),
  );
  return {
    sites: ["final"],
    trained,
    tensors,
    loss: add(multiply(smooth, stateShare), multiply(soft, distributions)),
    feeds: (batch) => ({
      tokens: int64(columns(batch, 0, length), [rows, length]),
      next: int64(columns(batch, 1, seen), [rows, seen]),
    }),
  };
});
