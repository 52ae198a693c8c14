/** Eyes of a model: a picture becomes the rows that stand for it in a text. Compiled when the first picture comes. */
import { ensure } from "../errors.ts";
import { storage } from "../files.ts";
import { type Picture, prepared, readPreparation } from "../images/index.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { findParameters, parameterMaker } from "../models/parameters.ts";
import { visionRows } from "../models/vision/tower.ts";
import { type CompileOptions, compile, type Program, valueMaker } from "../runtime/program.ts";
import { input, lower } from "../tensor/index.ts";
import { openCheckpoint } from "../weights/index.ts";
import type { VectorRow } from "./forest.ts";
import { prepareWeights } from "./weight-plan.ts";

/** The tower of a model that sees: pictures into rows. */
export interface Vision {
  /** Rows of a picture. */
  readonly rows: number;
  /** The token that stands for a picture in what a chat template writes. */
  readonly imageToken: number;
  /** The same rows, by name and value, for the same pixels. Errors: `bad_config`, `bad_file`, `runtime_failed`; those of compiling. */
  see(picture: Picture): Promise<readonly VectorRow[]>;
  close(): Promise<void>;
}

/** Pictures whose rows are kept: those of a conversation come again at every turn. */
const mostKept = 32;

export function createVision(
  { path, folder, identity }: { path: string; folder: string; identity: string },
  family: Family,
  config: ModelConfig,
  compiling: Omit<CompileOptions, "weights">,
): Vision {
  const vision = config.vision!;
  const { channels, imageSize, width, rows } = vision;
  const kept = new Map<string, Promise<readonly VectorRow[]>>();
  let opened: Promise<Program> | undefined;
  let preparation: ReturnType<typeof readPreparation> | undefined;
  let last: Promise<unknown> = Promise.resolve();

  async function open(): Promise<Program> {
    const pixels = input("pixels", [1, channels, imageSize, imageSize]);
    const lowered = lower({ seen: visionRows(vision, pixels, parameterMaker()) }, { parameters: "weights" });
    const source = await openCheckpoint(path);
    try {
      const parameters = findParameters(source, family, config);
      return await compile(lowered, {
        ...compiling,
        weights: await prepareWeights(`${identity} vision`, parameters, lowered),
      });
    } finally {
      await source.close();
    }
  }
  async function compute(pixels: Float32Array<ArrayBuffer>, name: string): Promise<readonly VectorRow[]> {
    opened ??= open();
    opened.catch(() => {
      opened = undefined;
    });
    const [program, value] = await Promise.all([opened, valueMaker()]);
    const result = last.then(() =>
      program.run({ pixels: value("float32", pixels, [1, channels, imageSize, imageSize]) }),
    );
    last = result.catch(() => {}); // a program runs once at a time
    const seen = (await result).seen.data as Float32Array;
    ensure(seen.length === rows * width, "internal", `a picture gave ${seen.length} numbers, not ${rows} x ${width}`);
    ensure(seen.every(Number.isFinite), "runtime_failed", "the vision tower gave values that are not finite");
    return Array.from({ length: rows }, (_, row) => ({
      id: `${name} ${row}`,
      values: seen.slice(row * width, (row + 1) * width),
    }));
  }
  return {
    rows,
    imageToken: vision.imageToken,
    async see(picture) {
      preparation ??= readPreparation(folder, imageSize);
      preparation.catch(() => {
        preparation = undefined;
      });
      const pixels = prepared(picture, await preparation);
      const hash = (await storage()).hash("sha256").update(new Uint8Array(pixels.buffer)).hex();
      const known = kept.get(hash);
      if (known) return known;
      const made = compute(pixels, `picture ${hash}`);
      kept.set(hash, made);
      made.catch(() => kept.delete(hash));
      if (kept.size > mostKept) kept.delete(kept.keys().next().value!);
      return made;
    },
    async close() {
      await last;
      await (await opened?.catch(() => undefined))?.release();
    },
  };
}
