import type { FileHandle } from "node:fs/promises";
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { openSafetensors } from "../weights/safetensors.ts";
import { adamwState, adamwUpdate } from "./adamw.ts";
import { checkpointPath, loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import type { Parameter } from "./objective.ts";

/** Bytes that the disk still takes; writing beyond them fails as on a full disk. */
let room = Infinity;

vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const open = async (...args: Parameters<typeof real.open>) => {
    const file = await real.open(...args);
    const write = file.write.bind(file) as (...args: unknown[]) => Promise<unknown>;
    const limited = async (bytes: Uint8Array, offset: number, length: number) => {
      room -= length;
      if (room < 0) throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
      return write(bytes, offset, length);
    };
    return Object.assign(file, { write: limited as FileHandle["write"] });
  };
  return { ...real, open };
});

const base = await mkdtemp(join(tmpdir(), "ventris-checkpoint-"));
const newFolder = () => mkdtemp(join(base, "run-"));
afterEach(() => {
  room = Infinity;
});
afterAll(() => rm(base, { recursive: true, force: true }));

function model(fill: number): Parameter[] {
  const parameter = (name: string, shape: number[]): Parameter => {
    const length = shape.reduce((a, b) => a * b, 1);
    return { name, shape, values: Float32Array.from({ length }, (_, i) => fill + Math.sin(i)), decay: true };
  };
  return [parameter("embed", [7, 3]), parameter("gain", [5]), parameter("scale", [])];
}

async function saved(folder: string, step: number) {
  const parameters = model(step);
  const optimiser = adamwState(parameters);
  adamwUpdate(
    parameters,
    parameters.map(({ values }) => values.map(Math.cos)),
    optimiser,
    0.1,
  );
  const entry = { step, loss: 1 / 3, smoothedLoss: 0.4, learningRate: 0.1, gradientNorm: 2, tokens: 99, seconds: 0.7 };
  const checkpoint = { step, seed: 5, history: [entry], config: { data: ["a.txt"] }, parameters, optimiser };
  await saveCheckpoint(folder, checkpoint);
  return checkpoint;
}

const failure = (code: string, message = /./) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });

describe("checkpoints", () => {
  it("give back exactly what was saved, and also open as weights", async () => {
    const folder = await newFolder();
    expect(await loadCheckpoint(folder, model(0))).toBeUndefined();
    await saved(folder, 1);
    const { parameters, ...expected } = await saved(folder, 2);
    const fresh = model(0);
    const loaded = await loadCheckpoint(folder, fresh);
    expect(loaded).toEqual({ ...expected, values: parameters.map(({ values }) => values) });
    expect(fresh).toEqual(model(0));
    const weights = await openSafetensors(checkpointPath(folder));
    expect(await weights.readFloat32("embed")).toEqual(parameters[0].values);
    await weights.close();
    expect(await readdir(folder)).toHaveLength(1);
  });

  it("are refused when any byte is damaged", async () => {
    const folder = await newFolder();
    await saved(folder, 1);
    const path = checkpointPath(folder);
    const bytes = await readFile(path);
    for (let i = 0; i < bytes.length; i += 11) {
      const damaged = Buffer.from(bytes);
      damaged[i] ^= 4;
      await writeFile(path, damaged);
      await expect(loadCheckpoint(folder, model(0)), `byte ${i}`).rejects.toEqual(
        failure("bad_checkpoint", /cannot resume/),
      );
    }
    await writeFile(path, bytes);
    for (const length of [bytes.length - 1, bytes.length >> 1, 9, 0]) {
      await truncate(path, length);
      await expect(loadCheckpoint(folder, model(0))).rejects.toEqual(failure("bad_checkpoint"));
    }
  });

  it("are refused for another model", async () => {
    const folder = await newFolder();
    await saved(folder, 1);
    const [embed, gain, scale] = model(0);
    const cases: [Parameter[], RegExp][] = [
      [[embed, gain], /2 tensors that the model does not have/],
      [[embed, gain, scale, { ...gain, name: "bias" }], /lacks the tensor "bias"/],
      [[{ ...embed, shape: [3, 7] }, gain, scale], /"embed" is F32 \[7,3\].*\[3,7\]/],
    ];
    for (const [parameters, message] of cases) {
      await expect(loadCheckpoint(folder, parameters)).rejects.toEqual(failure("bad_checkpoint", message));
    }
  });

  it("keep the old one when the disk is full, wherever it fills up", async () => {
    const folder = await newFolder();
    const { parameters } = await saved(folder, 1);
    const { size } = await stat(checkpointPath(folder));
    for (const bytes of [0, 100, size - 1]) {
      room = bytes;
      await expect(saved(folder, 2)).rejects.toEqual(failure("disk_full"));
      room = Infinity;
      const loaded = await loadCheckpoint(folder, model(0));
      expect([loaded?.step, loaded?.values[0]]).toEqual([1, parameters[0].values]);
      expect(await readdir(folder)).toHaveLength(1);
    }
  });
});
