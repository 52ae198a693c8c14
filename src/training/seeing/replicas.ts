/** `seeingObjective` with each batch shared out to threads, as `replicatedObjective` does it for texts. */
import { ensure } from "../../errors.ts";
import { familyOf } from "../../models/families.ts";
import { startThread } from "../../runtime/thread.ts";
import type { Values } from "../next-token.ts";
import type { Objective } from "../objective.ts";
import { type Replica, replicated, type Shared, serveObjective } from "../replicas.ts";
import { type SeeingBatch, type SeeingShape, seeingObjective } from "./objective.ts";

interface SeeingReplica extends Shared {
  readonly json: object;
  readonly values: Values;
  readonly shape: SeeingShape;
}

/** `json` is the model's config. Errors: `bad_option` where rows or pictures cannot be shared out evenly; as `seeingObjective`. */
export async function replicatedSeeing(
  json: object,
  values: Values,
  { rows, length, pictures, trains, grounding, threads }: SeeingShape & { readonly threads: number },
): Promise<Objective<SeeingBatch> & { release(): Promise<void> }> {
  const { family, config } = familyOf(json);
  const even = rows % threads === 0 && pictures % threads === 0;
  ensure(
    even,
    "bad_option",
    `training: ${rows} texts and ${pictures} pictures cannot be shared out to ${threads} threads`,
  );
  const shape = { rows: rows / threads, length, pictures: pictures / threads, trains, grounding, threads: 1 };
  const own = await seeingObjective(family, config, values, shape);
  if (threads === 1) return own;
  const size = config.vision!.channels * config.vision!.imageSize ** 2;
  return replicated(own, {
    count: threads,
    split: (batch) =>
      Array.from({ length: threads }, (_, part) => shareOf(batch, part, threads, config.vision!.rows, size)),
    start(shared) {
      const data: SeeingReplica = { json, values, shape, ...shared };
      return startThread<Replica<SeeingBatch>>(
        { name: "replica-thread", from: import.meta.url, what: "a training thread" },
        data,
      );
    },
  });
}

/** Every `count`th text with a picture and without one, and their pictures. The weights' mean stays that of the whole batch. */
function shareOf(batch: SeeingBatch, part: number, count: number, rowsOfPicture: number, size: number): SeeingBatch {
  const { rows, length, tokens, places, weights, pixels, looks } = batch;
  const pictures = pixels.length / size;
  const mine = Array.from({ length: rows }, (_, row) => row).filter((row) => row % count === part);
  const ofRows = <T extends Int32Array | Float32Array>(all: T, width: number): T => {
    const result = all.slice(0, mine.length * width) as T;
    for (const [i, row] of mine.entries()) result.set(all.subarray(row * width, (row + 1) * width), i * width);
    return result;
  };
  const own = ofRows(places, length + 1);
  for (let i = 0; i < own.length; i++)
    if (own[i] >= 0) {
      const [picture, row] = [Math.floor(own[i] / rowsOfPicture), own[i] % rowsOfPicture];
      own[i] = Math.floor(picture / count) * rowsOfPicture + row;
    }
  const seen = new Float32Array((pictures / count) * size);
  for (let i = 0; i < pictures / count; i++)
    seen.set(pixels.subarray((i * count + part) * size, (i * count + part + 1) * size), i * size);
  return {
    rows: mine.length,
    length,
    tokens: ofRows(tokens, length + 1),
    places: own,
    weights: ofRows(weights, length),
    pixels: seen,
    ...(looks && { looks: ofRows(looks, length * length) }),
  };
}

/** The thread's side. */
export async function serveSeeing({ json, values, shape, ...shared }: SeeingReplica): Promise<void> {
  const { family, config } = familyOf(json);
  serveObjective(seeingObjective(family, config, values, { ...shape, threads: 1 }), shared);
}
