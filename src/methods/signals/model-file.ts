/**
 * Fitted filters on disk: one safetensors file whose metadata say what fitted it; and a running filter's state, which carries the
 * fingerprint of its model, so that it cannot be given to another.
 */
import { z } from "zod";
import { ensure, VentrisError } from "../../errors.ts";
import { storage } from "../../files.ts";
import { checkJson, parseJsonObject } from "../../json.ts";
import { openSafetensors, writeSafetensors } from "../../weights/safetensors.ts";
import type { Filter } from "./filter.ts";
import { findFilter } from "./filters.ts";
import { type FilterModel, openFilter } from "./fit.ts";
import { filterFormat } from "./kind.ts";
import { type Matrix, matrix } from "./matrix.ts";

const stateFormat = "ventris filter state 1";
/** Bounds on what a stranger's file can make us allocate. */
const maximumValues = 2 ** 28;

const names = z.array(z.string()).optional();
const dimension = z.int().min(1).max(65_536);
const fields = z.object({
  method: z.string(),
  options: z.record(z.string(), z.unknown()),
  features: z.union([z.enum(["as-is", "centred", "standardised"]), dimension]),
  stateNames: names,
  observationNames: names,
  rate: z.number().positive().optional(),
  stateDimension: dimension,
  observationDimension: dimension,
  bins: z.int(),
  skippedBins: z.int(),
  // What is no number is null in JSON.
  notes: z.record(z.string(), z.union([z.number(), z.string(), z.null().transform(() => Number.NaN)])),
});
const named = (list: readonly string[] | undefined, count: number): boolean =>
  list === undefined || list.length === count;
const cardSchema = fields
  .refine((card) => named(card.stateNames, card.stateDimension), {
    path: ["stateNames"],
    message: "must name each state",
  })
  .refine((card) => named(card.observationNames, card.observationDimension), {
    path: ["observationNames"],
    message: "must name each channel",
  });
type Card = z.output<typeof cardSchema>;

/** Writes the model atomically. Errors: `disk_full`, `unavailable`. */
export async function saveFilter(path: string, model: FilterModel): Promise<void> {
  const { parameters, ...rest } = model;
  const card = { ...rest, notes: parameters.notes };
  const tensors = Object.entries(parameters.arrays).map(([name, { rows, columns, data }]) => ({
    name,
    type: "F64" as const,
    shape: [rows, columns],
    data: data as Float64Array<ArrayBuffer>,
  }));
  await writeSafetensors(path, tensors, {
    format: filterFormat,
    card: JSON.stringify(card),
    fingerprint: await fingerprint(model),
  });
}

/** Errors: `unavailable`, `bad_file` for what is no filter, is damaged, or has values that are not finite. */
export async function loadFilter(path: string): Promise<FilterModel> {
  const { card, arrays, metadata } = await readArrays(path, filterFormat, "a fitted filter");
  const { notes, ...rest }: Card = checkJson(cardSchema, card, path);
  const model: FilterModel = { ...rest, parameters: { arrays, notes } };
  ensure(
    metadata.fingerprint === (await fingerprint(model)),
    "bad_file",
    `${path}: its contents do not match its fingerprint; it is damaged`,
  );
  tryStep(model, path);
  return model;
}

/** Whether a model holds what its method needs, which one bin shows. A fingerprint can be forged along with the rest. */
function tryStep(model: FilterModel, path: string): void {
  try {
    const filter = openFilter(findFilter(model.method), model);
    const { mean } = filter.step(new Float64Array(model.observationDimension));
    // Features that are no numbers count as missing.
    const answers = mean.every(Number.isFinite) && filter.counters.missing === 0;
    ensure(answers, "bad_file", "a bin of zeros has no estimate");
  } catch (cause) {
    const why = cause instanceof VentrisError ? cause.message : "arrays are missing or of other sizes";
    throw new VentrisError("bad_file", `${path} is no working ${model.method} filter: ${why}`, { cause });
  }
}

/** Writes a running filter's state. */
export async function saveState(path: string, filter: Filter, model: FilterModel): Promise<void> {
  const data = filter.snapshot() as Float64Array<ArrayBuffer>;
  await writeSafetensors(path, [{ name: "state", type: "F64", shape: [1, data.length], data }], {
    format: stateFormat,
    card: JSON.stringify({ method: model.method }),
    fingerprint: await fingerprint(model),
  });
}

/** Puts a filter into a saved state. Errors: `bad_file`; `bad_option` for the state of another model. */
export async function loadState(path: string, filter: Filter, model: FilterModel): Promise<void> {
  const { arrays, metadata, card } = await readArrays(path, stateFormat, "the state of a filter");
  ensure(
    metadata.fingerprint === (await fingerprint(model)),
    "bad_option",
    `${path} is the state of another model (a ${String(card.method)}), not of this ${model.method}; give the model that it was saved with`,
  );
  ensure(arrays.state, "bad_file", `${path} holds no state`);
  filter.restore(arrays.state.data);
}

/** Of everything that estimates depend on. */
async function fingerprint({ method, options, features, parameters }: FilterModel): Promise<string> {
  const hash = (await storage()).hash("sha256").update(JSON.stringify([method, options, features]));
  for (const [name, { rows, columns, data }] of Object.entries(parameters.arrays).sort(([a], [b]) =>
    a < b ? -1 : 1,
  )) {
    hash.update(`${name} ${rows} ${columns}`);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.hex();
}

async function readArrays(path: string, format: string, what: string) {
  const file = await openSafetensors(path);
  try {
    ensure(file.metadata.format === format, "bad_file", `${path} is not ${what}`);
    const card = parseJsonObject(file.metadata.card ?? "", `${path}: its description`);
    const arrays: Record<string, Matrix> = {};
    let total = 0;
    for (const { name, type, shape } of file.tensors.values()) {
      ensure(type === "F64" && shape.length === 2, "bad_file", `${path}: ${name} is ${type} [${shape}], not a matrix`);
      total += shape[0] * shape[1];
      ensure(total <= maximumValues, "bad_file", `${path} holds more than ${maximumValues} values`);
      const bytes = await file.readBytes(name);
      const data = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
      ensure(data.every(Number.isFinite), "bad_file", `${path}: ${name} has values that are not finite`);
      arrays[name] = matrix(shape[0], shape[1], data);
    }
    return { arrays, card, metadata: file.metadata };
  } finally {
    await file.close();
  }
}
