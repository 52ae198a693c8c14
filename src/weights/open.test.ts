import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findWeights, openWeights } from "./open.ts";
import { writeSafetensors } from "./safetensors.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ventris-open-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("finds each format, safetensors before GGUF, and says what it looked for", async () => {
  const own = join(folder, "model");
  await mkdir(own);
  await expect(openWeights(own)).rejects.toThrow(
    /looked for model.safetensors, model.safetensors.index.json and \*.gguf/,
  );
  await writeFile(join(own, "b.gguf"), "");
  expect(await findWeights(own)).toBe(join(own, "b.gguf"));
  await writeFile(join(own, "a.gguf"), "");
  await expect(openWeights(own)).rejects.toThrow(/several GGUF files \(.*a.gguf.*\); name the one to open/);
  expect(await findWeights(join(own, "a.gguf"))).toBe(join(own, "a.gguf"));

  await writeSafetensors(join(own, "part.safetensors"), [
    { name: "w", type: "F32", shape: [1], data: Float32Array.of(1) },
  ]);
  await writeFile(join(own, "model.safetensors.index.json"), '{"weight_map":{"w":"part.safetensors"}}');
  const sharded = await openWeights(own);
  expect([...(await sharded.readFloat32("w"))]).toEqual([1]);
  await sharded.close();

  await copyFile(join(own, "part.safetensors"), join(own, "model.safetensors"));
  expect(await findWeights(own)).toBe(join(own, "model.safetensors"));
  const whole = await openWeights(join(own, "model.safetensors"));
  expect(whole.tensors.size).toBe(1);
  await whole.close();
});

test("refuses what is absent or no weight file", async () => {
  await expect(openWeights(join(folder, "absent"))).rejects.toMatchObject({ code: "unavailable" });
  await writeFile(join(folder, "config.json"), "{}");
  await expect(openWeights(join(folder, "config.json"))).rejects.toThrow(/is not a weight file/);
});
