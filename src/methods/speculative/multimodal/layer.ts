/**
 * The draft of multimodal speculative decoding (Lin et al. 2025) as a graph: EAGLE's, but for rows that come before a picture's row, which take the
 * picture's row as it is and nothing of the model's states. What it is compared with: `coupled` fuses these, too, as EAGLE would; `text-only` leaves
 * them out of what the draft reads, and counts its positions without them.
 */
import { z } from "zod";
import { greater, type Tensor, where } from "../../../tensor/index.ts";
import { type Fusion, fused } from "../eagle/layer.ts";

export const multimodalKind = "multimodal";

export const draftForms = ["decoupled", "coupled", "text-only"] as const;
export type DraftForm = (typeof draftForms)[number];

/**
 * What the card of a part says. `pictureScale` is what pictures' rows are multiplied by before they enter the draft, as the paper has it 1: a model's
 * own norms make nothing of rows that are hundreds of times as long as its words, and the draft's layer has no norm there.
 */
export const multimodalSettings = z.object({
  form: z.enum(draftForms),
  pictureScale: z.number().positive().default(1),
});

/** What is drafted from: z_i = E_{i+1} where that is a picture's row, else W [E_{i+1}; h_i] + b. All [rows, …]; `isPicture` [rows, 1]. */
export function fusedRows(
  form: DraftForm,
  { embeddings, states, isPicture }: { embeddings: Tensor; states: Tensor; isPicture: Tensor },
  fusion: Fusion,
): Tensor {
  const both = fused(embeddings, states, fusion);
  return form === "decoupled" ? where(greater(isPicture, 0), embeddings, both) : both;
}
