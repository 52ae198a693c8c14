/**
 * A small task with a small masked diffusion model for it, trained in seconds: go on counting. A prompt says where to begin, by how much and how
 * often; the answer is the numbers, then end tokens. Whether an answer is right can be checked, and it ends before the canvas does.
 */
import { uniform } from "../../engine/random.ts";
import { within } from "../../files.ts";
import { familyOf } from "../../models/families.ts";
import { train } from "../../training/loop.ts";
import { drawMaskedBatch } from "../../training/masked-batches.ts";
import { maskedDiffusionObjective } from "../../training/masked-diffusion.ts";
import { linear } from "../../training/schedule.ts";
import { writeFileAtomically } from "../../weights/cache.ts";
import { writeSafetensors } from "../../weights/safetensors.ts";

const [begin, end, mask, assistant] = [0, 1, 2, 3];
const numbers = { first: 4, count: 24 };
export const toyLength = { answer: 64, block: 32 };

const config = {
  architectures: ["LLaDAModelLM"],
  model_type: "llada",
  d_model: 64,
  n_layers: 3,
  n_heads: 4,
  n_kv_heads: 4,
  mlp_hidden_size: 160,
  activation_type: "silu",
  block_type: "llama",
  layer_norm_type: "rms",
  rope: true,
  rope_theta: 10000,
  rms_norm_eps: 1e-5,
  vocab_size: numbers.first + numbers.count,
  max_sequence_length: 128,
  weight_tying: true,
  bos_token_id: begin,
  eos_token_id: end,
  mask_token_id: mask,
};

export interface ToyItem {
  readonly prompt: number[];
  readonly answer: number[];
}

/** Item number `index`; training and test take different numbers. */
export function toyItem(seed: number, index: number): ToyItem {
  const draw = (what: number, count: number): number =>
    Math.floor(uniform({ seed, request: index }, what, "data") * count);
  const [from, step, times] = [draw(0, numbers.count), 1 + draw(1, 3), 4 + draw(2, 16)];
  const token = (value: number): number => numbers.first + (value % numbers.count);
  return {
    prompt: [begin, token(from), token(step), token(times), assistant],
    answer: [...Array.from({ length: times }, (_, i) => token(from + (i + 1) * step)), end],
  };
}

/** Trains a model on so many steps and writes it to a folder, which `open` takes. */
export async function trainToy(folder: string, steps: number, seed: number, signal?: AbortSignal): Promise<void> {
  const { family, config: shape } = familyOf(config);
  const values = new Map(
    family.parameters(shape).map(({ name, shape: [rows, columns = 1], deviation }, request) => {
      const draw = (i: number): number => (2 * uniform({ seed, request }, i, "initialise") - 1) * Math.sqrt(3);
      const data = Float32Array.from({ length: rows * columns }, (_, i) =>
        deviation === undefined ? 1 : 3 * deviation * draw(i),
      );
      return [name, data] as const;
    }),
  );
  const [rows, length] = [24, 5 + toyLength.answer];
  const texts = Array.from({ length: 2000 }, (_, i) => toyItem(seed + 1, i)).flatMap(({ prompt, answer }) => [
    ...prompt,
    ...answer,
  ]);
  const tokens = Uint16Array.from(texts);
  const documents = texts.flatMap((token, i) => (token === begin ? [i] : []));
  const options = { tokens: { begin, end, assistant }, promptShare: 1, shift: false };
  const objective = await maskedDiffusionObjective(family, shape, values, { rows, length });
  try {
    await train({
      objective,
      batches: (index) => drawMaskedBatch([{ tokens, weight: 1, documents }], { rows, length }, options, seed, index),
      steps,
      schedule: linear({ peak: 4e-3, warmup: 20, final: 1e-4, steps }),
      clip: 1,
      signal,
    });
  } finally {
    await objective.release();
  }
  await writeFileAtomically(within(folder, "config.json"), JSON.stringify(config));
  const tensors = family.parameters(shape).map(({ name, shape: size, sources }) => {
    return { name: sources[0], type: "F32" as const, shape: size, data: values.get(name)! };
  });
  await writeSafetensors(within(folder, "model.safetensors"), tensors);
}
