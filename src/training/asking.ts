/** What the functions of whoever trains answer to the loop, held to what it can go on with. */
import { ensure, requireAnswer, shown, telling } from "../errors.ts";
import { isObject } from "../json.ts";
import { tellingReads } from "../reads.ts";
import { isInstance } from "../values.ts";
import { euclideanNorm } from "./adamw.ts";
import type { Objective, Parameter } from "./objective.ts";
import type { Schedule } from "./schedule.ts";

/** Errors: `bad_option` for parameters that are none, or of which two have one name, which no checkpoint could tell apart. */
export function requireParameters(parameters: readonly Parameter[]): void {
  ensure(parameters.length > 0, "bad_option", "train: objective.parameters is empty: there is nothing to train");
  const names = new Set<string>();
  for (const [i, { name, shape, values }] of parameters.entries()) {
    const where = `train: objective.parameters[${i}]`;
    ensure(!names.has(name), "bad_option", () => `${where} has the name ${shown(name)}, as one before it has`);
    names.add(name);
    ensure(
      shape.reduce((product, size) => product * size, 1) === values.length,
      "bad_option",
      () => `${where} (${name}) has the shape [${shape}], but ${values.length} values`,
    );
    ensure(
      Number.isFinite(euclideanNorm([values])),
      "bad_option",
      () => `${where} (${name}) has values that are not finite`,
    );
  }
}

/** Errors: `bad_option`. */
export function learningRateOf(schedule: Schedule, step: number): number {
  const rate = schedule(step);
  requireAnswer(
    Number.isFinite(rate) && rate >= 0,
    rate,
    `train: schedule(${step})`,
    "a learning rate, a number from 0 on",
  );
  return rate;
}

/** Errors: `bad_option`. */
export async function batchOf<Batch>(
  batches: (index: number) => Batch | Promise<Batch>,
  index: number,
): Promise<Batch> {
  const batch = await batches(index);
  requireAnswer(batch !== undefined && batch !== null, batch, `train: batches(${index})`, "a batch");
  return batch;
}

/** A loss that is not finite is left to the loop, which tells how the training got there. Errors: `bad_option`. */
export async function gradientsOf<Batch>(
  objective: Objective<Batch>,
  batch: Batch,
): Promise<{ readonly loss: number; readonly gradients: readonly Float32Array[] }> {
  const call = "train: objective.gradients";
  // Awaited in it, as what is awaited is looked at.
  const answer: unknown = await telling(call, async () => objective.gradients(batch))();
  return telling(call, tellingReads(call, ["its answer"], gradientsIn))(answer, objective.parameters, call);
}

/** What an answer holds, each read once. Errors: `bad_option`. */
function gradientsIn(
  answer: unknown,
  parameters: readonly Parameter[],
  call: string,
): { readonly loss: number; readonly gradients: readonly Float32Array[] } {
  const { loss, gradients } = isObject(answer) ? answer : {};
  const sound = typeof loss === "number" && Array.isArray(gradients);
  requireAnswer(sound, answer, call, "{ loss, gradients }, a number and a list");
  const given: readonly unknown[] = Array.from(gradients as readonly unknown[]);
  ensure(given.length === parameters.length, "bad_option", () => {
    return `${call} gave ${given.length} gradients for ${parameters.length} parameters`;
  });
  for (const [i, { name, values }] of parameters.entries()) {
    const fits = isInstance<Float32Array>("Float32Array", given[i]) && given[i].length === values.length;
    ensure(fits, "bad_option", () => {
      return `${call} gave for ${name} ${shown(given[i])}, and must give a Float32Array of ${values.length}`;
    });
  }
  return { loss: loss as number, gradients: given as readonly Float32Array[] };
}

/** Errors: `bad_option`. */
export function tokensOf<Batch>(countTokens: (batch: Batch) => number, batch: Batch): number {
  const tokens = countTokens(batch);
  requireAnswer(Number.isFinite(tokens) && tokens >= 0, tokens, "train: countTokens", "a number from 0 on");
  return tokens;
}

/** Errors: `bad_option`; `runtime_failed` for a loss that is not finite. */
export async function meanLoss<Batch>(objective: Objective<Batch>, batches: readonly Batch[]): Promise<number> {
  let sum = 0;
  const lossOf = telling("train: objective.loss", async (batch: Batch) => objective.loss(batch));
  for (const batch of batches) {
    const loss = await lossOf(batch);
    requireAnswer(typeof loss === "number", loss, "train: objective.loss", "a number");
    sum += loss;
  }
  const mean = sum / batches.length;
  ensure(Number.isFinite(mean), "runtime_failed", `training: the loss of the evaluation's batches is ${mean}`);
  return mean;
}

/** What a checkpoint keeps beside the tensors. Errors: `bad_option` for what is no JSON. */
export function requireJson(value: unknown, name: string): void {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // as of what is no JSON either
  }
  ensure(text !== undefined || value === undefined, "bad_option", () => {
    return `train: ${name} must be JSON, which a checkpoint can keep, not ${shown(value)}`;
  });
}
