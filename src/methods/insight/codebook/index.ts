/**
 * Codebook features (Tamkin, Taufeeque and Goodman 2023): bottlenecks that leave a model a few codes of a learned dictionary at every token. Codes can be
 * searched (which texts fire this one?) and set (make it fire while the model writes). Here: the bottlenecks as something that a request asks for, under
 * every method. Training is in `train.ts`, the finite-state task of the paper in `automaton.ts`, search in `search.ts`.
 */
import { z } from "zod";
import { defineShaper, hostOnly } from "../../../engine/method.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { ofOption, VentrisError } from "../../../errors.ts";
import { codebookEdits, codeChange } from "./interventions.ts";
import { type Codebook, codebookKind, codebooksOf } from "./part.ts";

export {
  aggregates,
  type Bottleneck,
  bottleneckEdit,
  type CodebookLoss,
  checkBottleneck,
  idsReading,
  losses,
  similarities,
} from "./bottleneck.ts";
export { type CodeChange, codebookEdits } from "./interventions.ts";
export { type Codebook, codebookKind, codebooksOf, partOfCodebooks } from "./part.ts";

/** A part of codebooks by name or path, read once for a model. Errors: those of `Model.part`, which say how to get one, and `codebooksOf`. */
export const openCodebooks = (
  model: Pick<DecodingModel, "part" | "sites" | "state">,
  reference: string,
): Promise<Codebook[]> =>
  model.state(`codebooks ${reference}`, async () => {
    const part = await model.part(reference, codebookKind).catch((cause) => {
      if (!(cause instanceof VentrisError) || cause.code !== "unavailable") throw cause;
      throw new VentrisError("unavailable", `${cause.message}${cause.message.endsWith("?") ? "" : "."} ${howToGet}`, {
        cause,
      });
    });
    return codebooksOf(part, model.sites());
  });

const howToGet =
  "Codebooks of knossos are in the repository (models/knossos/parts/codebook), not in the package; ventris train recipes/knossos-codebook.json trains some, and the recipe's `continues` names another model";

/**
 * The codebooks of a part, at work in a request under any method: a shaper that changes no distribution itself, but the states that they come from.
 */
export const codebook = defineShaper({
  name: "codebook",
  summary: "runs the model through the codebooks of a part, with codes that are forced, added or disabled",
  source: "Tamkin, Taufeeque and Goodman 2023, Codebook Features (arXiv 2310.17230)",
  options: z.strictObject({
    part: hostOnly(
      z
        .string()
        .min(1)
        .max(1000)
        .default("codebook")
        .describe("the part that holds the codebooks: its name beside the model, or its folder"),
    ),
    changes: z
      .array(codeChange)
      .max(256)
      .default([])
      .describe(
        "codes to change while the model runs: patch forces one, add adds one, disable takes one away, ids sets all of a codebook, each at a site and codebook, at some positions or all; empty leaves the codes as the text makes them",
      )
      .meta({ examples: [[{ site: "layers.0.attention.heads", group: 3, patch: 17 }]] }),
  }),
  async create({ model }, { part, changes }) {
    return {
      name: "codebook",
      edits: codebookEdits(
        await ofOption("part", () => openCodebooks(model, part)),
        changes,
        model.config.contextLength,
      ),
    };
  },
});
