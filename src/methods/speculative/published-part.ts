/** Parts that others publish in files of their own: one of the model's by its name, else a folder of such files. */
import type { DecodingModel } from "../../engine/model.ts";
import { ensure, VentrisError } from "../../errors.ts";
import { exists, within } from "../../files.ts";
import type { Part } from "../../models/parts.ts";

/** How a published part lies in a folder. */
export interface Publication {
  /** The file that is read. */
  readonly file: string;
  /** Files of the same contents that are not. */
  readonly pickles: readonly string[];
  holds(folder: string): Promise<boolean>;
}

/**
 * The part; undefined where the reference is a folder of published files, which only counts where the model has no part of that name: what
 * lies in the working directory must not take its place. Errors: those of the part; `unavailable` for files that could run code.
 */
export async function partUnlessPublished(
  model: Pick<DecodingModel, "part">,
  reference: string,
  kind: string,
  { file, pickles, holds }: Publication,
): Promise<Part | undefined> {
  try {
    return await model.part(reference, kind);
  } catch (error) {
    if (!(error instanceof VentrisError) || error.code !== "unavailable") throw error;
    if (await holds(reference)) return undefined;
    for (const pickle of pickles) {
      const path = within(reference, pickle);
      ensure(!(await exists(path)), "unavailable", () => {
        return `${path} is not read, for such a file may run code as it is opened: ${file} is wanted beside it, with the same tensors`;
      });
    }
    throw error;
  }
}
