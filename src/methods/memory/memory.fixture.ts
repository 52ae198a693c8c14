/** A tiny model, texts for it, and folders that go with the test. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeModel, type TinyModel, writeTinyModel } from "../../../test/fixtures/tiny-model.ts";
import { type Model, open } from "../../open.ts";

export const tinyTexts = [
  "the cat sat on the hat and the hen sat on the cat",
  "a tin hat is in the den, and the ten hens sit in it",
  "the cat sat on the hat and then the cat ate the hen",
];

export interface MemoryFixture {
  readonly tiny: TinyModel;
  readonly model: Model;
  readonly folder: string;
  remove(): Promise<void>;
}

export async function memoryFixture(config: Record<string, unknown> = {}, seed?: number): Promise<MemoryFixture> {
  const tiny = await writeTinyModel({ config: { eos_token_id: undefined, ...config }, seed, tokenizer: true });
  const model = await open(tiny.folder, { threads: 1 });
  const folder = await mkdtemp(join(tmpdir(), "ventris-memory-"));
  return {
    tiny,
    model,
    folder,
    async remove() {
      await model.close();
      await removeModel(tiny);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
