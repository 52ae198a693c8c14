/** The head's output vectors of a model, read from its folder. */
import type { ModelConfig } from "../../../models/family.ts";
import { openNeurons } from "../neurons/index.ts";
import type { Rows } from "./rows.ts";

/** [vocabulary, width]. Errors: those of reading the checkpoint. */
export async function headOf({
  folder,
  config,
}: {
  readonly folder: string;
  readonly config: ModelConfig;
}): Promise<Rows> {
  const checkpoint = await openNeurons(folder);
  try {
    const { vocabularySize: count, hiddenSize: width } = config;
    return { count, width, values: await checkpoint.output(0, count) };
  } finally {
    await checkpoint.close();
  }
}
