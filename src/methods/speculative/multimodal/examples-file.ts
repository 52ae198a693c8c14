/** Examples in a file: what takes minutes to compute is read by each training of a draft in a second. */
import { ensure } from "../../../errors.ts";
import { openSafetensors, writeSafetensors } from "../../../weights/index.ts";
import type { Example } from "./examples.ts";

const perToken = ["tokens", "places", "said"] as const;

/** States and pictures' rows are stored as halves, all texts one after another. */
export async function writeExamples(path: string, examples: readonly Example[], width: number): Promise<void> {
  ensure(examples.length > 0, "bad_option", `${path}: there are no examples to write`);
  const rows = examples.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const seen = examples.reduce((sum, { pictures }) => sum + pictures.length / width, 0);
  const joined = (of: (example: Example) => ArrayLike<number>, size: number): Float32Array => {
    const result = new Float32Array(size);
    let at = 0;
    for (const example of examples) {
      result.set(of(example), at);
      at += of(example).length;
    }
    return result;
  };
  const lengths = examples.flatMap(({ tokens, pictures }) => [tokens.length, pictures.length / width]);
  await writeSafetensors(path, [
    { name: "lengths", type: "F32", shape: [examples.length, 2], data: Float32Array.from(lengths) },
    ...perToken.map((name) => ({ name, type: "F32" as const, shape: [rows], data: joined((one) => one[name], rows) })),
    { name: "states", type: "F16", shape: [rows, width], data: joined(({ states }) => states, rows * width) },
    ...(seen > 0
      ? [
          {
            name: "pictures",
            type: "F16" as const,
            shape: [seen, width],
            data: joined(({ pictures }) => pictures, seen * width),
          },
        ]
      : []),
  ]);
}

/** Errors: `unavailable`, `bad_file`. */
export async function readExamples(path: string): Promise<Example[]> {
  const source = await openSafetensors(path);
  try {
    const read = async (name: string): Promise<Float32Array> =>
      source.tensors.has(name) ? source.readFloat32(name) : new Float32Array(0);
    const width = source.tensors.get("states")?.shape[1];
    ensure(width !== undefined, "bad_file", `${path}: there are no states in this file`);
    const [lengths, states, pictures] = [await read("lengths"), await read("states"), await read("pictures")];
    const [tokens, places, said] = await Promise.all(perToken.map(read));
    let [at, seen] = [0, 0];
    const result = Array.from({ length: lengths.length / 2 }, (_, i): Example => {
      const [from, to] = [at, at + lengths[2 * i]];
      const [first, last] = [seen, seen + lengths[2 * i + 1]];
      [at, seen] = [to, last];
      return {
        tokens: Int32Array.from(tokens.subarray(from, to)),
        places: Int32Array.from(places.subarray(from, to)),
        said: Uint8Array.from(said.subarray(from, to)),
        states: states.subarray(from * width, to * width),
        pictures: pictures.subarray(first * width, last * width),
      };
    });
    ensure(at === tokens.length && seen * width === pictures.length, "bad_file", `${path}: its lengths do not add up`);
    return result;
  } finally {
    await source.close();
  }
}
