/**
 * Proof by enumeration: runs a randomised drafting and verification once for every outcome of its draws, and so computes
 * the exact law of what it emits. For small vocabularies; anyone who writes a drafter can check it with this.
 */
import { ensure } from "../../errors.ts";
import type { Draws } from "./draws.ts";

/**
 * Calls `procedure` once per outcome, with draws that take that outcome, and yields results with their probabilities,
 * which sum to 1. Throws `internal` beyond `limit` outcomes.
 */
export async function* enumerateOutcomes<T>(
  procedure: (draws: Draws) => Promise<T> | T,
  limit = 2_000_000,
): AsyncGenerator<{ probability: number; result: T }> {
  /** The branches taken, as positions in the list of possible outcomes at each draw. */
  let script: { branch: number; branches: number }[] = [];
  for (let runs = 0; ; runs++) {
    ensure(runs < limit, "internal", `more than ${limit} outcomes: use a smaller case`);
    let at = 0;
    let probability = 1;
    const take = (branches: number): number => {
      if (at === script.length) script.push({ branch: 0, branches });
      ensure(script[at].branches === branches, "internal", "the procedure depends on something besides its draws");
      return script[at++].branch;
    };
    const result = await procedure({
      choose(_purpose, weights, total) {
        const possible: number[] = [];
        for (let i = 0; i < weights.length; i++) if (weights[i] > 0) possible.push(i);
        const index = possible[take(possible.length)];
        probability *= weights[index] / total;
        return index;
      },
      accept(chance) {
        if (chance >= 1) return true;
        if (!(chance > 0)) return false;
        const accepted = take(2) === 0;
        probability *= accepted ? chance : 1 - chance;
        return accepted;
      },
    });
    ensure(at === script.length, "internal", "the procedure depends on something besides its draws");
    yield { probability, result };
    while (script.length > 0 && script[script.length - 1].branch + 1 === script[script.length - 1].branches)
      script.pop();
    if (script.length === 0) return;
    script = [...script.slice(0, -1), { ...script[script.length - 1], branch: script[script.length - 1].branch + 1 }];
  }
}

/**
 * The law of the first `length` tokens that follow when a round emits as enumerated and plain decoding continues: a map from
 * the tokens, joined with commas, to their probability. Lossless drafting makes it equal to plain decoding's own law.
 */
export async function continuationLaw(
  outcomes: AsyncIterable<{ probability: number; result: readonly number[] }>,
  target: (prefix: readonly number[]) => ArrayLike<number>,
  length: number,
): Promise<Map<string, number>> {
  const emitted = new Map<string, number>();
  for await (const { probability, result } of outcomes) {
    for (let end = 1; end <= Math.min(result.length, length); end++) {
      const key = result.slice(0, end).join(",");
      emitted.set(key, (emitted.get(key) ?? 0) + probability);
    }
  }
  let level: { prefix: number[]; mass: number }[] = [{ prefix: [], mass: 1 }];
  for (let depth = 0; depth < length; depth++) {
    const next: typeof level = [];
    for (const { prefix, mass } of level) {
      const law = target(prefix);
      const own = Array.from(law, (_, token) => emitted.get([...prefix, token].join(",")) ?? 0);
      const stopped = mass - own.reduce((a, b) => a + b, 0);
      own.forEach((p, token) => {
        next.push({ prefix: [...prefix, token], mass: p + stopped * law[token] });
      });
    }
    level = next;
  }
  return new Map(level.map(({ prefix, mass }) => [prefix.join(","), mass]));
}
