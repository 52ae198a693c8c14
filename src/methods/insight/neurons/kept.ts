/** Layers that are decoded, kept one by one: what an interruption of a large model's map has cost is one layer. */
import { ensure } from "../../../errors.ts";
import { exists, within } from "../../../files.ts";
import { cacheKey } from "../../../weights/index.ts";
import { openSafetensors, writeSafetensors } from "../../../weights/safetensors.ts";
import type { DecodedVectors } from "./decode.ts";

const format = "ventris neurons 1";

/** What a layer decoded to, and the seconds that took. */
export interface DecodedLayer extends DecodedVectors {
  readonly seconds: number;
}

/** A layer has `count` neurons. `about`: all that its result depends on. */
export async function keptLayers(folder: string, about: object, count: number, top: number, wanted: number) {
  const made = await cacheKey(JSON.stringify(about));
  const shapes = { tokens: [count, top], scores: [count, top], normaliser: [count], wanted: [count, wanted] };
  const types = { tokens: "I32", scores: "F32", normaliser: "F64", wanted: "F32" } as const;
  const names = Object.keys(shapes) as (keyof typeof shapes)[];
  const pathOf = (layer: number): string => within(folder, `layer-${String(layer).padStart(4, "0")}.safetensors`);
  return {
    /** Errors: `bad_option` for a layer that was made of another model or with other settings, `bad_file` for one that is damaged. */
    async read(layer: number): Promise<DecodedLayer | undefined> {
      const path = pathOf(layer);
      if (!(await exists(path))) return undefined;
      const source = await openSafetensors(path);
      try {
        const { metadata } = source;
        ensure(metadata.format === format, "bad_file", `${path}: no layer of decoded neurons`);
        ensure(
          metadata.made === made,
          "bad_option",
          `${path} was made of another model or with other settings: give those, or another folder`,
        );
        const bytesOf = async (name: (typeof names)[number]): Promise<ArrayBuffer> => {
          const tensor = source.tensors.get(name);
          const fits = tensor?.type === types[name] && tensor.shape.join() === shapes[name].join();
          ensure(fits, "bad_file", `${path}: ${name} is missing or has another shape`);
          return (await source.readBytes(name)).slice().buffer as ArrayBuffer;
        };
        return {
          tokens: new Int32Array(await bytesOf("tokens")),
          scores: new Float32Array(await bytesOf("scores")),
          normaliser: new Float64Array(await bytesOf("normaliser")),
          wanted: new Float32Array(await bytesOf("wanted")),
          seconds: Number(metadata.seconds),
        };
      } finally {
        await source.close();
      }
    },
    /** Errors: `disk_full`, `unavailable` where the folder cannot be written. */
    async write(layer: number, { seconds, ...decoded }: DecodedLayer): Promise<void> {
      const tensors = names.map((name) => ({ name, type: types[name], shape: shapes[name], data: decoded[name] }));
      await writeSafetensors(pathOf(layer), tensors, { format, made, seconds: String(seconds) });
    },
  };
}
