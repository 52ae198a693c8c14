/**
 * The draft of multimodal speculative decoding (Lin et al. 2025) as a graph: EAGLE's, but for rows that come before a picture's row, which take the
 * picture's row as it is and nothing of the model's states. `coupled` fuses these, too, as EAGLE would.
 */
import { z } from "zod";
import type { Edit } from "../../../models/edits.ts";
import { concat, greater, linear, type Tensor, where } from "../../../tensor/index.ts";
import type { Fusion } from "../eagle/layer.ts";

export const multimodalKind = "multimodal";

export const draftForms = ["decoupled", "coupled"] as const;
export type DraftForm = (typeof draftForms)[number];

/** What the card of a part says. */
export const multimodalSettings = z.object({ form: z.enum(draftForms) });

/** What is drafted from: z_i = E_{i+1} where that is a picture's row, else W [E_{i+1}; h_i] + b. All [rows, …]; `isPicture` [rows, 1]. */
export function fusedRows(
  form: DraftForm,
  { embeddings, states, isPicture }: { embeddings: Tensor; states: Tensor; isPicture: Tensor },
  { weight, bias }: Fusion,
): Tensor {
  const fused = linear(concat([embeddings, states], 1), weight, bias);
  return form === "coupled" ? fused : where(greater(isPicture, 0), embeddings, fused);
}

/** The family's program with its input, its first norm and its end rewritten, as `layerEdits` of EAGLE does it. */
export function multimodalEdits(input: (tokens: Tensor) => Tensor): Edit[] {
  let begun: Tensor | undefined;
  let ended: Tensor | undefined;
  return [
    {
      name: "multimodal-input",
      site: "embed.tokens",
      apply(value) {
        begun = input(value);
        return { value: begun };
      },
    },
    { name: "multimodal-norm", site: "layers.0.attention.norm", apply: () => ({ value: begun! }) },
    {
      name: "multimodal-state",
      site: "layers.0.residual",
      apply(value) {
        ended = value;
        return {};
      },
    },
    { name: "multimodal-final", site: "final", apply: (_, { select }) => ({ value: select(ended!) }) },
  ];
}
