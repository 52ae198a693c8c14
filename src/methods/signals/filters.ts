/** The registry of filters. */

import { shown, VentrisError } from "../../errors.ts";
import { didYouMean } from "../../names.ts";
import { assumedDensity } from "./assumed-density/index.ts";
import { dkf } from "./dkf/index.ts";
import { ekf } from "./ekf/index.ts";
import type { FilterMethod } from "./filter.ts";
import { kalman } from "./kalman/index.ts";
import { lstm } from "./lstm/index.ts";
import { particle } from "./particle/index.ts";
import { place } from "./place/index.ts";
import { ukf } from "./ukf/index.ts";
import { regressionOnly, zero } from "./unfiltered/index.ts";

/** All filters, in the order of listings. */
export const filters = [
  kalman,
  ekf,
  ukf,
  particle,
  assumedDensity,
  lstm,
  dkf,
  place,
  regressionOnly,
  zero,
] as unknown as readonly FilterMethod[];

/** Errors: `bad_option` with the nearest name. */
export function findFilter(name: string): FilterMethod {
  const found = filters.find((method) => method.name === name);
  if (found) return found;
  const names = filters.map((method) => method.name);
  throw new VentrisError(
    "bad_option",
    `no filter is called ${shown(name)}${typeof name === "string" ? didYouMean(name, names) : "."} Filters: ${names.join(", ")}`,
  );
}
