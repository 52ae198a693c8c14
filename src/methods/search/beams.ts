/**
 * Beam search over the forest, in groups that keep away from one another (Vijayakumar et al. 2016); one group is plain beam search. Every
 * step is one forward pass for the live beams of all groups. Group g at a time looks at what groups before it chose at the same time,
 * which is the paper's staggered schedule without its delay.
 */
import { unlessDeadEnd } from "../../engine/constraining.ts";
import type { Decoding } from "../../engine/decoding.ts";
import { extendTips } from "../../engine/extending.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { ensure, type VentrisError } from "../../errors.ts";
import { type Diversity, penaltiesOf } from "./diversity.ts";

export interface BeamSettings {
  readonly beams: number;
  readonly groups: number;
  readonly diversity: Diversity;
  /** Exponent of the length that a finished text's score is divided by: 0 ranks by log-probability, 1 by its mean. */
  readonly lengthPenalty: number;
  /** End a group when it has as many finished texts as beams, even if a live one could still be better. */
  readonly earlyStopping: boolean;
  readonly rankBy: "raw" | "augmented";
}

export interface BeamText {
  readonly tokens: readonly number[];
  /** The nodes whose distributions the tokens were chosen from. */
  readonly from: readonly ForestNode[];
  /** Log-probability, and the same with the penalties for repeating other groups. */
  readonly raw: number;
  readonly augmented: number;
  readonly group: number;
  /** Ended by itself, not cut off. */
  readonly finished: boolean;
}

interface Live {
  readonly tokens: readonly number[];
  readonly from: readonly ForestNode[];
  readonly tip: ForestNode;
  readonly raw: number;
  readonly augmented: number;
  /** Its number among the hypotheses that the last event showed. */
  readonly shown: number;
}

export interface Candidate {
  readonly row: number;
  readonly token: number;
  readonly score: number;
  readonly raw: number;
}

/** All hypotheses, best first by `rankBy`, at most `beams / groups` of each group. Errors: `bad_option`. */
export async function searchBeams(decoding: Decoding, settings: BeamSettings): Promise<BeamText[]> {
  const { beams, groups, diversity, lengthPenalty, earlyStopping, rankBy } = settings;
  const { endTokens, lease } = decoding;
  const width = beams / groups;
  ensure(Number.isInteger(width), "bad_option", `beams: ${beams} cannot be divided into ${groups} groups`);
  ensure(
    !decoding.greedy,
    "bad_option",
    "beams rank texts by probability, which temperature 0 takes away; give temperature 1",
  );
  const root = await decoding.prefill();
  const longest = decoding.remaining;
  const score = ({ raw, augmented, tokens }: { raw: number; augmented: number; tokens: readonly unknown[] }): number =>
    (rankBy === "raw" ? raw : augmented) / Math.max(1, tokens.length) ** lengthPenalty;
  const ends = endingOf(decoding);
  let live: Live[][] = Array.from({ length: groups }, () => [
    { tokens: [], from: [], tip: root, raw: 0, augmented: 0, shown: -1 },
  ]);
  const done: BeamText[][] = Array.from({ length: groups }, () => []);
  let deadEnd: VentrisError | undefined;
  /** Beams with what may follow them; those that nothing may follow are gone. */
  const lawful = (rows: readonly Live[]) =>
    rows.flatMap((beam) => {
      const law = unlessDeadEnd(
        () => decoding.shape(beam.tip),
        (error) => {
          deadEnd ??= error;
        },
      );
      return law ? [{ beam, law }] : [];
    });

  for (let time = 0; time < longest && live.some((group) => group.length > 0); time++) {
    if (decoding.finished) return [];
    /** Texts of earlier groups up to this time, and what each group keeps. */
    const earlier: (readonly number[])[] = [];
    const kept: { from: Live; token: number; raw: number; augmented: number; group: number; ended: boolean }[] = [];
    for (const [g, group] of live.entries()) {
      const rows = lawful(group);
      if (rows.length === 0) continue;
      const penalise = penaltiesOf(diversity, earlier);
      const candidates = best(
        rows.map(({ beam, law }) => ({ law, beam, penalty: penalise(beam.tokens) })),
        2 * width,
        (token) => diversity.penalizeEnd || !endTokens.has(token),
      );
      let going = 0;
      for (const [rank, { row, token, score: augmented, raw }] of candidates.entries()) {
        if (going === width) break;
        const { beam } = rows[row];
        const ended = ends(beam.tokens, token);
        if (ended && rank >= width) continue;
        kept.push({ from: beam, token, raw, augmented, group: g, ended });
        if (!ended) going += 1;
      }
      for (const one of kept) if (one.group === g) earlier.push([...one.from.tokens, one.token]);
    }
    if (kept.length === 0) break;
    decoding.emit({
      type: "beams",
      tokens: kept.map(({ token }) => token),
      parents: kept.map(({ from }) => from.shown),
      scores: kept.map(({ raw, augmented }) => (rankBy === "raw" ? raw : augmented)),
      ...(groups > 1 && { groups: kept.map(({ group }) => group) }),
      finished: kept.flatMap(({ ended }, i) => (ended ? [i] : [])),
    });
    const last = time === longest - 1;
    const next: { beam: (typeof kept)[number]; shown: number }[][] = Array.from({ length: groups }, () => []);
    for (const [shown, beam] of kept.entries()) {
      const { from, token, raw, augmented, group, ended } = beam;
      if (ended || last) {
        const hypothesis = { tokens: [...from.tokens, token], from: [...from.from, from.tip], raw, augmented, group };
        done[group].push({ ...hypothesis, finished: ended });
      } else next[group].push({ beam, shown });
    }
    next.forEach((group, g) => {
      done[g].sort((a, b) => Number(b.finished) - Number(a.finished) || score(b) - score(a));
      if (done[g].filter(({ finished }) => finished).length < width) return;
      // What a live beam can still reach: it only loses log-probability, but its length may make up for that.
      const reachable = group.map(({ beam }) => {
        const value = rankBy === "raw" ? beam.raw : beam.augmented;
        return lengthPenalty > 0 ? value / longest ** lengthPenalty : value / (time + 2) ** lengthPenalty;
      });
      const worst = score(done[g][width - 1]);
      if (earlyStopping || reachable.every((value) => value <= worst)) group.length = 0;
    });
    live = await extendAll(next);
  }
  const hypotheses = done.flatMap((group) => group.slice(0, width));
  if (hypotheses.length === 0 && deadEnd) throw deadEnd;
  return hypotheses.sort((a, b) => Number(b.finished) - Number(a.finished) || score(b) - score(a));

  async function extendAll(
    next: { beam: { from: Live; token: number; raw: number; augmented: number }; shown: number }[][],
  ): Promise<Live[][]> {
    const all = next.flat();
    const nodes = await extendTips(
      decoding,
      all.map(({ beam }) => ({ parent: beam.from.tip, token: beam.token })),
    );
    // What nobody goes on from is needed for log-probabilities and taps alone.
    if (decoding.settings.logprobs === undefined && !decoding.settings.taps) {
      lease.release(
        new Set(
          live
            .flat()
            .map(({ tip }) => tip)
            .filter((tip) => tip !== root),
        ),
      );
    }
    let at = 0;
    return next.map((group) =>
      group.map(({ beam, shown }) => ({
        tokens: [...beam.from.tokens, beam.token],
        from: [...beam.from.from, beam.from.tip],
        tip: nodes[at++],
        raw: beam.raw,
        augmented: beam.augmented,
        shown,
      })),
    );
  }
}

interface Row {
  readonly law: Float64Array;
  readonly beam: { readonly raw: number; readonly augmented: number };
  /** What a token loses, by token; undefined: nothing does. */
  readonly penalty: ((token: number) => number) | undefined;
}

/** The best continuations of all rows; among equals the smaller row, then the smaller token. */
export function best(rows: readonly Row[], count: number, isPenalised: (token: number) => boolean): Candidate[] {
  const kept: Candidate[] = [];
  rows.forEach(({ law, beam, penalty }, row) => {
    for (let token = 0; token < law.length; token++) {
      if (!(law[token] > 0)) continue;
      const gain = Math.log(law[token]);
      // Penalties only lower a score: most tokens are out before theirs is worked out.
      const bound = kept.length === count ? kept[count - 1].score : -Infinity;
      if (beam.augmented + gain <= bound) continue;
      const score = beam.augmented + gain - (penalty && isPenalised(token) ? penalty(token) : 0);
      if (score <= bound) continue;
      let at = kept.length;
      while (at > 0 && kept[at - 1].score < score) at -= 1;
      kept.splice(at, 0, { row, token, score, raw: beam.raw + gain });
      if (kept.length > count) kept.pop();
    }
  });
  return kept;
}

/** Whether a text ends with a token: a token that ends texts, or one that completes a stop string. */
function endingOf(decoding: Decoding): (tokens: readonly number[], token: number) => boolean {
  const { endTokens, settings, model } = decoding;
  const { stop, minTokens } = settings;
  const { tokenizer } = model;
  return (tokens, token) => {
    if (endTokens.has(token)) return true;
    if (stop.length === 0 || !tokenizer || tokens.length + 1 < minTokens) return false;
    const text = tokenizer.decode([...tokens, token], { continued: true });
    return stop.some((string) => text.includes(string));
  };
}

/** Makes the best hypothesis the output, and offers all of them. */
export function concludeBeams(
  decoding: Decoding,
  hypotheses: readonly BeamText[],
  lengthPenalty: number,
  rankBy: "raw" | "augmented",
): void {
  if (decoding.finished) return;
  const [first] = hypotheses;
  ensure(first, "constraint_dead_end", "beams: no text is left");
  const { tokenizer } = decoding.model;
  decoding.offer(
    hypotheses.map(({ tokens, raw, augmented, group, finished }) => {
      const kept = tokens.filter((token) => !decoding.endTokens.has(token));
      const value = rankBy === "raw" ? raw : augmented;
      return {
        tokens: kept,
        text: tokenizer?.decode(kept, { continued: true }) ?? "",
        score: value / Math.max(1, tokens.length) ** lengthPenalty,
        logprob: raw,
        group,
        finished,
      };
    }),
  );
  decoding.commit(first.tokens.map((token, i) => ({ token, from: first.from[i] })));
  if (!decoding.finished) decoding.finish("length");
}
