/**
 * Training of an EAGLE draft (Li et al. 2024): from the frozen model's states and tokens it foretells the next states, by smooth L1, and what the model's
 * head makes of them, by cross entropy with the model's own distribution, which counts a tenth.
 */
import { z } from "zod";
import { ensure } from "../../../errors.ts";
import { textGraph } from "../../../models/graph.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import {
  add,
  gather,
  input,
  logSoftmax,
  multiply,
  parameter,
  reduceMean,
  stopGradient,
} from "../../../tensor/index.ts";
import { divergenceOf } from "../../../training/divergence.ts";
import type { Parameter } from "../../../training/objective.ts";
import { columns, int64, partKind } from "../../../training/parts.ts";
import { eagleKind, fused, layerConfig, layerEdits } from "./layer.ts";
import { initialDraft, rowsFrom, smoothDistance } from "./objective.ts";

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
  const tensors = initialDraft(family, config, values, { seed, bias });
  const shared = parameterMaker();
  const base = textGraph(family, config, {
    rows,
    length,
    instruments: { taps: ["final"], edits: [] },
    parameter: shared,
  });
  const seen = length - 1;
  const given = stopGradient(gather(base.readings.final, rowsFrom(0, task)));
  const wanted = stopGradient(gather(base.readings.final, rowsFrom(1, task)));
  const fusion = {
    weight: parameter(`${scope}fc.weight`, [width, 2 * width]),
    ...(bias && { bias: parameter(`${scope}fc.bias`, [width]) }),
  };
  const own = parameterMaker(scope);
  const draft = textGraph(family, layerConfig(config), {
    rows,
    length: seen,
    tokens: input("next", [rows, seen], "int64"),
    instruments: { taps: ["layers.0.residual"], edits: layerEdits((tokens) => fused(tokens, given, fusion)) },
    parameter: (name, shape) => (tensors.has(name) ? own : shared)(name, shape),
  });
  const smooth = reduceMean(smoothDistance(draft.readings["layers.0.residual"], wanted));
  const taught = logSoftmax(stopGradient(gather(base.logits, rowsFrom(1, task))));
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
