import { expect, test } from "vitest";
import { choleskyWithJitter, matrix, selectRows } from "./matrix.ts";

const sound = matrix(2, 2, Float64Array.of(1, 2, 3, 4));

test("a matrix is of values, or of zeros; rows are taken in their order", () => {
  expect([...matrix(1, 3).data]).toEqual([0, 0, 0]);
  expect(selectRows(sound, [1, 0, 1])).toEqual({ rows: 3, columns: 2, data: Float64Array.of(3, 4, 1, 2, 3, 4) });
  expect(matrix(0, 2)).toMatchObject({ rows: 0 });
});

test("what cannot be factored is refused after a few tries, however large or small its numbers", () => {
  const factored = (...values: number[]) => choleskyWithJitter(new Float64Array(4), Float64Array.from(values), 2, "it");
  expect(factored(2, 1, 1, 2)).toBe(0);
  expect(factored(1, 1, 1, 1)).toBeGreaterThan(0);
  for (const values of [
    [Number.POSITIVE_INFINITY, 0, 0, -1],
    [1e308, 1e308, 1e308, -1e308],
    [5e-324, 1, 1, 5e-324],
    [Number.NaN, 0, 0, 1],
  ])
    expect(() => factored(...values)).toThrow(/it is no covariance/);
});

test.each<[name: string, call: () => unknown, message: RegExp]>([
  ["matrix", () => matrix(-1, 2), /rows must be a whole number from 0 on, not -1/],
  ["matrix", () => matrix(2, Number.NaN), /columns must be a whole number from 0 on, not NaN/],
  ["matrix", () => matrix(1.5, 2, new Float64Array(3)), /rows must be .* not 1\.5/],
  ["matrix", () => matrix(2, 2, new Float64Array(3)), /data has 3 numbers, and 2 rows of 2 have 4/],
  ["matrix", () => matrix(1e6, 1e6), /rows and columns of 1000000 and 1000000 are more than/],
  ["selectRows", () => selectRows(sound, [9]), /rows\[0\] is 9, and must be a whole number from 0 to 1/],
  ["selectRows", () => selectRows(sound, [0, 0.5]), /rows\[1\] is 0\.5/],
  ["selectRows", () => selectRows({ ...sound, columns: 3 }, [0]), /data has 4 numbers, and 2 rows of 3 have 6/],
])("%s refuses what is no count, no row or no matrix (%#)", (_, call, message) => {
  expect(call).toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }));
});
