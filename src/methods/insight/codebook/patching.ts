/** The paper's steering of the automaton's model: the codes of one state set in a walk that stands in another, and where the next digit's law then is. */
import { softmax } from "../../../engine/distribution.ts";
import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { requireCounts } from "../../../numbers.ts";
import { jensenShannon } from "../markov/entropy.ts";
import { type Automaton, beginToken, digitsOf, walk } from "./automaton.ts";
import { idsReading } from "./bottleneck.ts";
import { type CodeChange, codebookEdits } from "./interventions.ts";
import type { Codebook } from "./part.ts";
import type { Reading } from "./search.ts";

/** Mean Jensen-Shannon divergence to the other state's own law, with the codes set over without: all sites, feed-forward, attention; and random codes everywhere. */
export interface Patching {
  readonly both: number;
  readonly mlp: number;
  readonly attention: number;
  readonly random: number;
  /** Of the sites together, pair by pair: with and without. */
  readonly pairs: readonly (readonly [number, number])[];
}

/** States before the one that the walks stand in. */
const before = 6;

/** Over `count` pairs of different states. Errors: `bad_option` without codebooks or for a count or seed that is none; those of `forward`. */
export async function patchingOf(
  model: Pick<Reading, "forward">,
  codebooks: readonly Codebook[],
  automaton: Automaton,
  count: number,
  seed = 0,
): Promise<Patching> {
  requireCounts({ count });
  ensure(codebooks.length > 0, "bad_option", "patching: the model has no codebooks");
  const readings = codebooks.map(({ bottleneck }) => idsReading(bottleneck.site));
  const lawOf = async (tokens: readonly number[], changes: readonly CodeChange[] = []) => {
    const edits = codebookEdits(codebooks, changes);
    const [{ logits, taps }] = await model.forward([{ tokens, logits: "last" }], { taps: readings, edits });
    return { law: softmax(logits), taps };
  };
  const kinds = { both: /./, mlp: /\.mlp\./, attention: /\.attention\./ };
  const sums: Record<string, number> = { both: 0, mlp: 0, attention: 0, random: 0, none: 0 };
  const pairs: [number, number][] = [];
  for (let pair = 0; pair < count; pair++) {
    const [from, to] = [walk(automaton, before + 1, seed, 2 * pair), walk(automaton, before + 1, seed, 2 * pair + 1)];
    if (from[before] === to[before]) continue;
    const [own, other] = [from, to].map((states) => [beginToken, ...states.flatMap(digitsOf)]);
    const last = own.length - 1;
    const goal = await lawOf(other);
    const unpatched = jensenShannon((await lawOf(own)).law, goal.law);
    const changes = codebooks.flatMap(({ bottleneck: { site, groups, k } }) => {
      const { width, values } = goal.taps[idsReading(site)];
      const ids = Array.from(values.slice(last * width, (last + 1) * width));
      return Array.from({ length: groups }, (_, group) => ({
        site,
        group,
        ids: ids.slice(group * k, (group + 1) * k),
        at: [last],
      }));
    });
    const found: Record<string, number> = { none: unpatched };
    for (const [kind, pattern] of Object.entries(kinds))
      found[kind] = jensenShannon(
        (
          await lawOf(
            own,
            changes.filter(({ site }) => pattern.test(site)),
          )
        ).law,
        goal.law,
      );
    const anything = changes.map((change, i) => {
      const { codes } = codebooks.find(({ bottleneck }) => bottleneck.site === change.site)!.bottleneck;
      return {
        ...change,
        ids: change.ids.map((_, slot) => Math.floor(uniform({ seed, request: pair }, i, "search", slot) * codes)),
      };
    });
    found.random = jensenShannon((await lawOf(own, anything)).law, goal.law);
    for (const [kind, value] of Object.entries(found)) sums[kind] += value;
    pairs.push([found.both, unpatched]);
  }
  const over = (kind: string): number => sums[kind] / sums.none;
  return { both: over("both"), mlp: over("mlp"), attention: over("attention"), random: over("random"), pairs };
}
