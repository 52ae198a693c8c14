/** Codebooks as a part of a model: its card says which sites have how many codes, and for which of them how many fire. */
import { z } from "zod";
import { ensure } from "../../../errors.ts";
import { describeIssues } from "../../../issues.ts";
import type { Part, PartTensor } from "../../../models/parts.ts";
import { type Site, siteNamed } from "../../../models/sites.ts";
import { aggregates, type Bottleneck, type BottleneckParameters, checkBottleneck, similarities } from "./bottleneck.ts";

export const codebookKind = "codebook";

/** A bound on what a card may ask for: codes in all, over sites and codebooks. */
const mostCodes = 2 ** 24;

const settingsSchema = z.object({
  similarity: z.enum(similarities),
  aggregate: z.enum(aggregates),
  sites: z
    .array(
      z.object({
        site: z.string().max(200),
        groups: z.int().min(1).max(4096),
        codes: z
          .int()
          .min(0)
          .max(2 ** 22),
        k: z.int().min(1).max(4096),
      }),
    )
    .min(1)
    .max(4096),
});

/** A site with its codebooks. */
export interface Codebook {
  readonly bottleneck: Bottleneck;
  readonly parameters: BottleneckParameters;
}

/**
 * The codebooks of a part that was read for a model with these sites. Errors: `bad_file` for settings that are none of this kind, and as
 * `checkBottleneck`.
 */
export function codebooksOf({ card, tensors }: Pick<Part, "card" | "tensors">, sites: readonly Site[]): Codebook[] {
  const parsed = settingsSchema.safeParse(card.settings);
  ensure(parsed.success, "bad_file", () => {
    return `the part ${card.name}: settings: ${describeIssues(parsed.error!.issues, settingsSchema)}`;
  });
  const { similarity, aggregate, sites: stated } = parsed.data;
  const total = stated.reduce((sum, { groups, codes }) => sum + groups * codes, 0);
  ensure(total <= mostCodes, "bad_file", `the part ${card.name} states ${total} codes, more than ${mostCodes}`);
  return stated.map((one) => {
    const bottleneck = { ...one, similarity, aggregate };
    const { width } = siteNamed(sites, one.site);
    checkBottleneck(bottleneck, width);
    const tensor = (name: string): PartTensor => {
      const found = tensors.get(`${one.site}.${name}`);
      ensure(found, "bad_file", `the part ${card.name} has no tensor ${one.site}.${name}`);
      return found;
    };
    const parameters = { codes: tensor("codes"), gain: tensor("gain"), bias: tensor("bias") };
    checkBottleneck(bottleneck, width, parameters);
    return { bottleneck, parameters };
  });
}

/** What `writePart` takes for them. Errors: `bad_option` where there are none, or they do not share similarity and aggregate. */
export function partOfCodebooks(codebooks: readonly Codebook[]) {
  ensure(codebooks.length > 0, "bad_option", "a part of codebooks has at least one");
  const [{ similarity, aggregate }] = codebooks.map(({ bottleneck }) => bottleneck);
  const same = codebooks.every(({ bottleneck: b }) => b.similarity === similarity && b.aggregate === aggregate);
  ensure(same, "bad_option", "codebooks of one part have one similarity and one aggregate");
  return {
    kind: codebookKind,
    sites: codebooks.map(({ bottleneck }) => bottleneck.site),
    settings: {
      similarity,
      aggregate,
      sites: codebooks.map(({ bottleneck: { site, groups, codes, k } }) => ({ site, groups, codes, k })),
    },
    tensors: new Map(
      codebooks.flatMap(({ bottleneck: { site }, parameters }) =>
        Object.entries(parameters).map(([name, tensor]): [string, PartTensor] => [`${site}.${name}`, tensor]),
      ),
    ),
  };
}
