/** The records that ship with the package: `reproductions/NAME.json`, one of each system whose claims were measured in full. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { VentrisError } from "../errors.ts";
import { describeIssues } from "../issues.ts";
import { type ReproductionRecord, sizes } from "./reproduction.ts";

export const recordsFolder = fileURLToPath(new URL("../../reproductions/", import.meta.url));

const point = z.union([z.tuple([z.number(), z.number()]), z.tuple([z.number(), z.number(), z.number(), z.number()])]);
const axis = z.object({ label: z.string(), scale: z.enum(["linear", "log"]).optional() });
const json = z.record(z.string(), z.json());
const schema = z.object({
  format: z.literal(1),
  name: z.string(),
  size: z.enum(sizes),
  seed: z.int(),
  options: json,
  date: z.string(),
  seconds: z.number(),
  models: z.array(z.string()),
  weights: z.record(z.string(), z.string()).optional(),
  machine: z.object({ processor: z.string(), cores: z.int(), memoryGiB: z.number(), system: z.string() }),
  versions: z.record(z.string(), z.string()),
  measurements: z.array(
    z.object({
      claim: z.string(),
      value: z.number(),
      interval: z.tuple([z.number(), z.number()]).optional(),
      count: z.int().optional(),
      note: z.string().optional(),
      plot: z
        .object({
          title: z.string(),
          x: axis,
          y: axis,
          series: z.array(
            z.object({ name: z.string(), from: z.enum(["ours", "paper"]).optional(), points: z.array(point) }),
          ),
        })
        .optional(),
      details: json.optional(),
    }),
  ),
});

/** Undefined where the system was not measured. Errors: `bad_file`. */
export function readRecord(name: string, folder: string = recordsFolder): ReproductionRecord | undefined {
  const path = join(folder, `${name}.json`);
  if (!existsSync(path)) return undefined;
  try {
    return schema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? describeIssues(cause.issues, schema) : (cause as Error).message;
    throw new VentrisError("bad_file", `${path}: not a record of a reproduction: ${why}`, { cause });
  }
}
