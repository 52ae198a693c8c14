/**
 * Decoding by contrasting layers (Chuang et al. 2024): the model's last layer against that lower exit which differs from it most, chosen
 * anew for every token.
 */
import { z } from "zod";
import { defineShaper } from "../../../engine/method.ts";
import { alphaOption, contrastShaper } from "../contrast.ts";
import { exitsOf, exitsOption, exitView, mostDifferent } from "../exits.ts";
import { divergences, flooredLogProbability, logProbability } from "../view.ts";

export const dola = defineShaper({
  name: "dola",
  summary: "contrasts the last layer with the lower exit that differs from it most",
  source: "Chuang et al. 2024, DoLa (arXiv 2309.03883)",
  options: z.strictObject({
    layers: exitsOption
      .default("upper")
      .describe(
        "lower exits to choose from at each token: every second of the lower or the upper half, all, or a list of layers, where 0 is the embedding; lower ones suit long reasoning, upper ones short facts",
      ),
    alpha: alphaOption,
    divergence: z
      .enum(divergences)
      .default("reversed")
      .describe(
        "how the exit that differs most is found: by the Jensen-Shannon divergence of the paper (standard), or as in the authors' program, with its arguments reversed",
      ),
  }),
  create(host, { layers, alpha, divergence: kind }) {
    const exits = exitsOf(layers, host.model);
    return contrastShaper(host, {
      name: "dola",
      alpha,
      exits,
      scoring(node, expert) {
        const chosen = mostDifferent(expert, exits, (exit) => exitView(node, exit, host.model.name), kind);
        return {
          exits: [chosen.exit],
          score: (token) => logProbability(expert, token) - flooredLogProbability(chosen.view, token),
        };
      },
    });
  },
});
