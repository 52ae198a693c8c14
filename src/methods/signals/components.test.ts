import { describe, expect, it } from "vitest";
import { principalComponents } from "./components.ts";
import { normals } from "./dkf/synthetic.ts";
import { columnMeans, covariance, type Matrix, matrix, symmetricEigen } from "./matrix.ts";

/** Channels that mix fewer sources of different strengths. */
function mixed(rows: number, channels: number, sources: number, noise: number): Matrix {
  const normal = normals(3, rows);
  const weights = Float64Array.from({ length: channels * sources }, () => normal());
  const out = matrix(rows, channels);
  for (let t = 0; t < rows; t++) {
    const now = Float64Array.from({ length: sources }, (_, s) => (s + 1) * normal());
    for (let k = 0; k < channels; k++) {
      out.data[t * channels + k] = 5 + noise * normal();
      for (let s = 0; s < sources; s++) out.data[t * channels + k] += weights[k * sources + s] * now[s];
    }
  }
  return out;
}

describe("principal components", () => {
  it.each([
    ["more bins than channels", mixed(200, 12, 4, 0.3)],
    ["fewer bins than channels", mixed(20, 50, 4, 0.3)],
    ["two channels", mixed(30, 2, 1, 1)],
    ["one channel", mixed(30, 1, 1, 1)],
  ])("of %s are the eigenvectors of the covariance over the root of their values", async (_, observations) => {
    const n = observations.columns;
    const mean = columnMeans(observations);
    const count = Math.min(n, 6);
    const map = await principalComponents(observations, mean, count);
    const spread = covariance(observations, mean).data;
    const [values, vectors] = [new Float64Array(n), new Float64Array(n * n)];
    symmetricEigen(values, vectors, spread.slice(), n); // by another way
    const order = [...values.keys()].sort((a, b) => values[b] - values[a]);
    for (let i = 0; i < count; i++) {
      const row = map.data.subarray(i * n, (i + 1) * n);
      const root = Math.sqrt(values[order[i]]);
      const along = row.reduce((sum, v, k) => sum + v * vectors[k * n + order[i]], 0);
      expect(Math.abs(along) * root).toBeCloseTo(1, 8);
      expect(row.reduce((sum, v) => sum + v * v, 0) * root * root).toBeCloseTo(1, 8);
      // The sign is that of the largest weight.
      expect(Math.max(...row)).toBeCloseTo(Math.max(...row.map(Math.abs)), 12);
    }
  });

  it("of several equal and of no variances are found, or refused where there are too few", async () => {
    const ones = matrix(64, 6);
    // Orthogonal channels of variances 1, 1, 1, 4; the others are copies and constant.
    for (let t = 0; t < 64; t++) {
      const signs = [0, 1, 2, 3].map((bit) => ((t >> bit) & 1 ? 1 : -1));
      ones.data.set([signs[0], signs[1], signs[2], 2 * signs[3], 7, signs[0]], 6 * t);
    }
    const map = await principalComponents(ones, columnMeans(ones), 4);
    const projected = matrix(64, 4);
    for (let t = 0; t < 64; t++)
      for (let i = 0; i < 4; i++)
        for (let k = 0; k < 6; k++) projected.data[4 * t + i] += map.data[6 * i + k] * ones.data[6 * t + k];
    const white = covariance(projected, columnMeans(projected)).data;
    for (let i = 0; i < 16; i++) expect(white[i]).toBeCloseTo(i % 5 === 0 ? 1 : 0, 9);
    await expect(principalComponents(ones, columnMeans(ones), 5)).rejects.toThrow(/fewer than 5 principal components/);
  });

  it("of hundreds of channels take seconds, can be interrupted, and of too many are refused at once", async () => {
    const wide = mixed(500, 400, 5, 1);
    const started = performance.now();
    await principalComponents(wide, columnMeans(wide), 20);
    expect(performance.now() - started).toBeLessThan(8000);
    const controller = new AbortController();
    const stopped = principalComponents(wide, columnMeans(wide), 20, {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(stopped).rejects.toEqual(expect.objectContaining({ code: "aborted" }));
    const huge = { rows: 5000, columns: 5000, data: new Float64Array(0) };
    await expect(principalComponents(huge, new Float64Array(5000), 3)).rejects.toThrow(/at most 4096 channels/);
    const endless = matrix(4, 2, Float64Array.of(1e200, 1, -1e200, 2, 3e200, 1, 0, 2));
    await expect(principalComponents(endless, columnMeans(endless), 1)).rejects.toThrow(/variance has no end/);
  });
});
