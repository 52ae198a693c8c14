/** A bottleneck on disk: its tensors and its shape in one safetensors file, with the name of the encoder that its features come from. */
import { z } from "zod";
import { ensure } from "../../../errors.ts";
import { parseJson } from "../../../json.ts";
import { openSafetensors, writeSafetensors } from "../../../weights/safetensors.ts";
import { type Bottleneck, type BottleneckShape, mostNumbers, splitters } from "./bottleneck.ts";

const format = "ventris bottleneck 1";
const size = z
  .int()
  .min(1)
  .max(2 ** 24);
const stated = z.strictObject({
  codebooks: size,
  pairs: size,
  keyWidth: size,
  valueWidth: size,
  featureWidth: size,
  splitter: z.enum(splitters),
});

const shapesOf = ({ codebooks, pairs, keyWidth, valueWidth, featureWidth }: BottleneckShape, random: boolean) => ({
  ...(random && { projections: [codebooks, featureWidth, keyWidth] }),
  keys: [codebooks, pairs, keyWidth],
  values: [codebooks, pairs, valueWidth],
});

/** A bottleneck, what made its features (a model's fingerprint, a table), and the names of its classes, where they have some. */
export interface BottleneckFile {
  readonly bottleneck: Bottleneck;
  readonly encoder: string;
  readonly classes?: readonly string[];
}

/** Errors: `disk_full`, `unavailable`. */
export async function writeBottleneck(
  path: string,
  bottleneck: Bottleneck,
  encoder: string,
  classes?: readonly string[],
): Promise<void> {
  const { projections, keys, values, usage, ...shape } = bottleneck;
  const data: Record<string, Float32Array> = { projections, keys, values };
  const tensors = Object.entries(shapesOf(shape, shape.splitter === "random")).map(([name, dimensions]) => ({
    name,
    type: "F32" as const,
    shape: dimensions,
    data: data[name],
  }));
  const counts = {
    name: "usage",
    type: "I32" as const,
    shape: [shape.codebooks, shape.pairs],
    data: Int32Array.from(usage),
  };
  const names = classes && { classes: JSON.stringify(classes) };
  await writeSafetensors(path, [...tensors, counts], { format, shape: JSON.stringify(shape), encoder, ...names });
}

/** Errors: `bad_file` for what is no bottleneck; `bad_option` for one of another encoder. */
export async function readBottleneck(path: string, encoder: string): Promise<Bottleneck> {
  const { bottleneck, encoder: own } = await openBottleneck(path);
  ensure(own === encoder, "bad_option", `${path} was learned on features of another encoder (${own}), not ${encoder}`);
  return bottleneck;
}

/** Errors: `bad_file` for what is no bottleneck. */
export async function openBottleneck(path: string): Promise<BottleneckFile> {
  const source = await openSafetensors(path);
  try {
    const { format: found, shape: text = "", encoder = "", classes: names } = source.metadata;
    ensure(found === format, "bad_file", `${path}: no bottleneck`);
    const parsed = stated.safeParse(parseJson(text, `${path}: its shape`));
    ensure(parsed.success, "bad_file", () => `${path}: its shape: ${parsed.error?.issues[0].message}`);
    const shape = parsed.data;
    const read = async (name: string, dimensions: readonly number[]) => {
      const has = source.tensors.get(name)?.shape;
      const numbers = dimensions.reduce((a, b) => a * b, 1);
      ensure(
        has?.join() === dimensions.join() && numbers <= mostNumbers,
        "bad_file",
        `${path}: ${name} must be [${dimensions}]${has ? `, not [${has}]` : ", and is missing"}`,
      );
      return source.readFloat32(name);
    };
    const tensors = shapesOf(shape, shape.splitter === "random");
    const counts = source.tensors.get("usage");
    ensure(
      counts?.type === "I32" && counts.shape.join() === `${shape.codebooks},${shape.pairs}`,
      "bad_file",
      `${path}: usage is missing or of another shape`,
    );
    const bytes = await source.readBytes("usage");
    const bottleneck = {
      ...shape,
      projections: tensors.projections ? await read("projections", tensors.projections) : new Float32Array(0),
      keys: await read("keys", tensors.keys),
      values: await read("values", tensors.values),
      usage: new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)),
    };
    if (names === undefined) return { bottleneck, encoder };
    const classes = z.array(z.string()).safeParse(parseJson(names, `${path}: its classes`)).data;
    ensure(classes?.length === shape.valueWidth, "bad_file", `${path}: its classes are not ${shape.valueWidth} names`);
    return { bottleneck, encoder, classes };
  } finally {
    await source.close();
  }
}
