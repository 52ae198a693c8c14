import { expect, test } from "vitest";
import type { VentrisError } from "../errors.ts";
import { add, input, lower } from "../tensor/index.ts";
import { availableDevices } from "./load.ts";
import { compile, type Device, valueMaker } from "./program.ts";

const doubled = () => lower({ y: add(input("x", ["rows"]), input("x2", ["rows"])) }, { parameters: "inputs" });

const failure = async (promise: Promise<unknown>): Promise<VentrisError> =>
  promise.then(
    () => {
      throw new Error("did not fail");
    },
    (error) => error,
  );

test("a program runs again and again, with other sizes too", async () => {
  const program = await compile(doubled(), { threads: 1 });
  const value = await valueMaker();
  for (const rows of [1, 3, 2]) {
    const x = value(
      "float32",
      Float32Array.from({ length: rows }, (_, i) => i + 1),
      [rows],
    );
    const { y } = await program.run({ x, x2: x });
    expect([...y.data]).toEqual(Array.from({ length: rows }, (_, i) => 2 * (i + 1)));
    expect(y.dims).toEqual([rows]);
  }
  await program.release();
});

test("a missing or misshapen input is an error of ours, and the program goes on working", async () => {
  const program = await compile(doubled(), { threads: 1 });
  const value = await valueMaker();
  const [two, three] = [2, 3].map((size) => value("float32", new Float32Array(size), [size]));
  expect(await failure(program.run({ x: two }))).toMatchObject({ name: "VentrisError", code: "runtime_failed" });
  expect(await failure(program.run({ x: two, x2: three }))).toMatchObject({
    name: "VentrisError",
    code: "runtime_failed",
  });
  expect([...(await program.run({ x: two, x2: two })).y.data]).toEqual([0, 0]);
  await program.release();
});

test("devices this machine has not, and numbers of threads that are none, are refused", async () => {
  expect(await availableDevices()).toContain("cpu");
  expect(await failure(compile(doubled(), { device: "abacus" as Device }))).toMatchObject({ code: "unavailable" });
  for (const threads of [0, 1.5, 1000]) {
    expect(await failure(compile(doubled(), { threads }))).toMatchObject({ code: "bad_option" });
  }
});

test("a model that is none is refused", async () => {
  const broken = { ...doubled(), model: new Uint8Array([1, 2, 3]) };
  expect(await failure(compile(broken, { threads: 1 }))).toMatchObject({ code: "runtime_failed" });
});
