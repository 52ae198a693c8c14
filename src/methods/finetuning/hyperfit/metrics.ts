/** What the paper measures of generated text. All on token ids of the generated part alone. */

/** Distinct tokens over tokens; 0 of nothing. High for noise too: never a measure of quality by itself. */
export const typeTokenRatio = (tokens: readonly number[]): number =>
  tokens.length === 0 ? 0 : new Set(tokens).size / tokens.length;

/** Share of n-grams that stood earlier in the same text. */
export function repetition(tokens: readonly number[], n = 4): number {
  const seen = new Set<string>();
  let repeated = 0;
  const count = tokens.length - n + 1;
  for (let at = 0; at < count; at++) {
    const key = tokens.slice(at, at + n).join();
    if (seen.has(key)) repeated++;
    seen.add(key);
  }
  return count > 0 ? repeated / count : 0;
}

/** Length of the longest run of tokens that a text shares with one of the sequences. */
export function longestQuotation(tokens: readonly number[], sequences: readonly ArrayLike<number>[]): number {
  let longest = 0;
  for (const sequence of sequences) {
    let before = new Uint16Array(sequence.length + 1);
    for (const token of tokens) {
      const now = new Uint16Array(sequence.length + 1);
      for (let i = 0; i < sequence.length; i++) {
        if (sequence[i] !== token) continue;
        now[i + 1] = before[i] + 1;
        if (now[i + 1] > longest) longest = now[i + 1];
      }
      before = now;
    }
  }
  return longest;
}

/** Entropy (nats) and mass of the most likely token of softmax(logits); p log p is 0 at p = 0. */
export function sharpness(logits: Float32Array): { entropy: number; top: number; best: number } {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  let [sum, weighted] = [0, 0];
  for (const x of logits) {
    const e = Math.exp(x - logits[best]);
    sum += e;
    if (e > 0) weighted += e * (x - logits[best]);
  }
  return { entropy: Math.log(sum) - weighted / sum, top: 1 / sum, best };
}

/**
 * BLEU of texts against references (Papineni et al. 2002): n-grams up to four, clipped by the reference that has most of them, add-one
 * smoothing above unigrams (Lin and Och 2004), the closest reference's length for brevity. `own` leaves out one reference by its number.
 */
export function bleuAgainst(
  references: readonly (readonly number[])[],
): (text: readonly number[], own?: number) => number {
  // Of each n-gram the two references that have most of it: one of them may be the text itself.
  const most = new Map<string, { count: number; owner: number }[]>();
  for (const [owner, reference] of references.entries())
    for (const [key, count] of countsOf(reference)) {
      const known = [...(most.get(key) ?? []), { count, owner }].sort((a, b) => b.count - a.count);
      most.set(key, known.slice(0, 2));
    }
  return (text, own) => {
    const [matched, total] = [new Array<number>(5).fill(0), new Array<number>(5).fill(0)];
    for (const [key, count] of countsOf(text)) {
      const n = key.split(",").length;
      const best = most.get(key)?.find(({ owner }) => owner !== own)?.count ?? 0;
      matched[n] += Math.min(count, best);
      total[n] += count;
    }
    if (matched[1] === 0) return 0;
    const logs = [1, 2, 3, 4].map((n) => Math.log(n === 1 ? matched[1] / total[1] : (matched[n] + 1) / (total[n] + 1)));
    const lengths = references.flatMap(({ length }, i) => (i === own ? [] : [length]));
    const distance = (length: number) => Math.abs(length - text.length);
    const closest = lengths.reduce((best, length) =>
      distance(length) < distance(best) || (distance(length) === distance(best) && length < best) ? length : best,
    );
    const brevity = Math.min(0, 1 - closest / text.length);
    return Math.exp(brevity + logs.reduce((a, b) => a + b) / 4);
  };
}

/** Mean BLEU of each text against all others: lower is more varied. */
export function selfBleu(texts: readonly (readonly number[])[]): number {
  if (texts.length < 2) return 0;
  const score = bleuAgainst(texts);
  return texts.reduce((sum, text, i) => sum + score(text, i), 0) / texts.length;
}

function countsOf(tokens: readonly number[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (let n = 1; n <= 4; n++)
    for (let at = 0; at + n <= tokens.length; at++) {
      const key = tokens.slice(at, at + n).join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  return counts;
}
