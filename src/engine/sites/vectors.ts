/** Rows that are vectors instead of tokens: image patches, soft prompts, learned look-ahead. One edit, at the place of the embeddings. */
import type { Edit } from "../../models/edits.ts";
import type { AppliedEdit } from "./rows.ts";

const modules = new Map<number, Edit>();

/** Puts vectors [rows, width] where a program has its tokens' embeddings. */
function vectorEdit(width: number): Edit {
  const known = modules.get(width);
  if (known) return known;
  const edit: Edit = {
    name: "vector",
    site: "embed.tokens",
    inputs: { values: { shape: [width] } },
    apply: (_, { inputs: { values } }) => ({ value: values }),
  };
  modules.set(width, edit);
  return edit;
}

export const applyVector = (vector: Float32Array): AppliedEdit => ({
  edit: vectorEdit(vector.length),
  inputs: () => ({ values: vector }),
});
