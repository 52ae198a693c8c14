import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { dataPath, noData } from "../../../test/data.ts";
import { filterAll } from "./filter.ts";
import { findFilter } from "./filters.ts";
import { fitFilter, openFilter } from "./fit.ts";
import { matrix } from "./matrix.ts";
import { score } from "./scores.ts";

const features = dataPath("motor-cortex", "flint-run1.features.csv.gz");
const velocity = dataPath("motor-cortex", "flint-run1.velocity.csv.gz");

function load(path: string, columns: number, from: number, to: number) {
  const lines = gunzipSync(readFileSync(path)).toString().trim().split("\n").slice(from, to);
  return matrix(to - from, columns, Float64Array.from(lines.flatMap((line) => line.split(",").map(Number))));
}

describe.skipIf(!features || !velocity)(`the published run of hand velocity from motor cortex (${noData})`, () => {
  const part = (from: number, to: number) => ({
    states: load(velocity!, 2, from, to),
    observations: load(features!, 10, from, to),
  });
  const [train, test] = features && velocity ? [part(0, 5000), part(5000, 6000)] : [];

  async function decode(name: string, options: Record<string, unknown> = {}) {
    const method = findFilter(name);
    const model = await fitFilter(method, train!, { features: "as-is", centreStates: false, options });
    const filter = openFilter(method, model);
    return { ...score(filterAll(filter, test!.observations).means, test!.states), counters: filter.counters };
  }

  it("gives the published Kalman errors, and a discriminative filter at least a tenth better under two rules", async () => {
    const kalman = await decode("kalman");
    expect(Math.abs(kalman.nrmse - 0.765)).toBeLessThan(0.005);
    expect(Math.abs(kalman.angularError! - 0.888)).toBeLessThan(0.005);
    // The bandwidths that leave-one-out finds; finding them takes longer than a test may.
    const bandwidths = { bandwidth: 0.45, covarianceBandwidth: 1.04 };
    for (const indefinite of ["shrink", "clip"]) {
      const dkf = await decode("dkf", { indefinite, ...bandwidths });
      expect(dkf.nrmse, indefinite).toBeLessThan(0.9 * kalman.nrmse);
      expect(dkf.angularError, indefinite).toBeLessThan(0.9 * kalman.angularError!);
      expect(dkf.counters.indefinite).toBeGreaterThan(0);
    }
    const unfiltered = await decode("unfiltered", bandwidths);
    expect(unfiltered.angularError).toBeLessThan(kalman.angularError!);
  });
});
