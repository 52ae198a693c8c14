/**
 * Stochastic beam search (Kool et al. 2019): texts without replacement, as the k largest of Gumbel-perturbed log-probabilities, found
 * from the top down. The perturbations are those of the race: the beam of the first winner is plain sampling's text.
 */
import { unlessDeadEnd } from "../../engine/constraining.ts";
import type { Decoding } from "../../engine/decoding.ts";
import { extendTips } from "../../engine/extending.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { arrival, type Race } from "../../engine/race.ts";
import { type Stream, uniform } from "../../engine/random.ts";
import { ensure, type VentrisError } from "../../errors.ts";
import type { BeamText } from "./beams.ts";

interface Beam {
  readonly tokens: readonly number[];
  readonly from: readonly ForestNode[];
  /** Undefined once it has ended. */
  readonly tip: ForestNode | undefined;
  readonly logp: number;
  /** The largest perturbed log-probability of all texts that begin so. */
  readonly perturbed: number;
  readonly stream: Stream;
}

/** `count` different texts in the order of their perturbed log-probabilities, given as `augmented`. */
export async function sampleBeams(decoding: Decoding, count: number): Promise<BeamText[]> {
  const { endTokens, stream } = decoding;
  ensure(!decoding.greedy, "bad_option", "stochastic beams are a sample: give a temperature above 0");
  const root = await decoding.prefill();
  const longest = decoding.remaining;
  let deadEnd: VentrisError | undefined;
  let beams: Beam[] = [{ tokens: [], from: [], tip: root, logp: 0, perturbed: 0, stream }];
  for (let time = 0; time < longest && beams.some(({ tip }) => tip); time++) {
    if (decoding.finished) return [];
    const last = time === longest - 1;
    const next = beams.flatMap((beam, i) =>
      beam.tip ? children(beam, beam.tip, i) : [{ ...beam, parent: i, token: -1 }],
    );
    next.sort((a, b) => b.perturbed - a.perturbed);
    const kept = next.slice(0, count);
    if (kept.length === 0 && deadEnd) throw deadEnd;
    decoding.emit({
      type: "beams",
      tokens: kept.map(({ token }) => token),
      parents: kept.map(({ parent }) => (time === 0 ? -1 : parent)),
      scores: kept.map(({ perturbed }) => perturbed),
      finished: kept.flatMap(({ token }, i) => (token < 0 || endTokens.has(token) ? [i] : [])),
    });
    const growing = kept.filter(({ tip, token }) => tip && !endTokens.has(token) && !last);
    const nodes = await extendTips(
      decoding,
      growing.map(({ tip, token }) => ({ parent: tip!, token })),
    );
    beams = kept.map((beam) => {
      if (!beam.tip) return beam;
      const at = growing.indexOf(beam);
      return { ...beam, tokens: [...beam.tokens, beam.token], from: [...beam.from, beam.tip], tip: nodes[at] };
    });
  }
  return beams.map(({ tokens, from, logp, perturbed }) => ({
    tokens,
    from,
    raw: logp,
    augmented: perturbed,
    group: 0,
    finished: endTokens.has(tokens.at(-1)!),
  }));

  /** A beam's continuations, their perturbations held to the largest being the beam's own (section 3.2 and appendix B.3 of the paper). */
  function children(beam: Beam, tip: ForestNode, parent: number) {
    const law = unlessDeadEnd(
      () => decoding.shape(tip),
      (error) => {
        deadEnd ??= error;
      },
    );
    if (!law) return [];
    const race: Race = { stream: beam.stream, position: tip.depth + 1 };
    const tokens: number[] = [];
    law.forEach((p, token) => {
      if (p > 0) tokens.push(token);
    });
    const values = tokens.map((token) => beam.logp + Math.log(law[token]) - Math.log(arrival(race, token)));
    const highest = values.reduce((most, value) => Math.max(most, value), -Infinity);
    const atRoot = beam.tokens.length === 0;
    return tokens.map((token, i) => {
      const isWinner = values[i] === highest;
      const perturbed = atRoot ? values[i] : truncate(values[i], highest, beam.perturbed);
      const own = isWinner
        ? beam.stream
        : {
            ...beam.stream,
            seed: Math.floor(uniform(beam.stream, tip.depth + 1, "search", 2 ** 24 + token) * 2 ** 53),
          };
      return { ...beam, tip, logp: beam.logp + Math.log(law[token]), perturbed, stream: own, parent, token };
    });
  }
}

/** A Gumbel whose maximum among its siblings was `highest`, given that the maximum is `wanted`: -log(e^-wanted - e^-highest + e^-value). */
function truncate(value: number, highest: number, wanted: number): number {
  const v = wanted - value + Math.log1p(-Math.exp(value - highest));
  return wanted - Math.max(0, v) - Math.log1p(Math.exp(-Math.abs(v)));
}
