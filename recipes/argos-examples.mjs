/**
 * The pictures of models/argos/examples: scenes of the test split, which no training saw, drawn larger than argos looks at them.
 *
 *     npm run build
 *     node recipes/argos-examples.mjs models/argos/examples
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PhotonImage } from "@cf-wasm/photon";
import { pictureOf, sceneOf } from "../dist/training/seeing/scenes.js";

const size = 192;
const [folder] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
for (const number of [0, 1, 2, 3, 4]) {
  const { pixels } = pictureOf(sceneOf("test", 20, number), size);
  const rgba = new Uint8Array(4 * size * size).fill(255);
  for (let at = 0; at < size * size; at++) rgba.set(pixels.subarray(3 * at, 3 * at + 3), 4 * at);
  const image = new PhotonImage(rgba, size, size);
  await writeFile(join(folder, `scene-${number + 1}.png`), image.get_bytes());
  image.free();
}
