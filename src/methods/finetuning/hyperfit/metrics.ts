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
