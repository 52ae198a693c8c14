/** SHA-1 and SHA-256 (FIPS 180-4) piece by piece: for pages, whose own digest wants all bytes at once, and for short texts. */
import type { Hash } from "./files.ts";

const blockBytes = 64;
const rotateRight = (x: number, n: number): number => (x >>> n) | (x << (32 - n));

/** The first 32 bits behind the point of the roots of the first primes: square roots begin the state, cube roots are the rounds' constants. */
function fractions(root: (prime: number) => number, count: number): Int32Array {
  const found: number[] = [];
  for (let n = 2; found.length < count; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
    if (prime) found.push((root(n) % 1) * 2 ** 32);
  }
  return Int32Array.from(found, (value) => value | 0);
}

const roundConstants = fractions(Math.cbrt, 64);

interface Algorithm {
  readonly start: ArrayLike<number>;
  /** Takes one block of 16 words into the state; `words` has room for all rounds. */
  compress(state: Int32Array, words: Int32Array): void;
}

const algorithms: Readonly<Record<"sha1" | "sha256", Algorithm>> = {
  sha1: {
    start: [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0],
    compress(state, words) {
      for (let t = 16; t < 80; t++)
        words[t] = rotateRight(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 31);
      let [a, b, c, d, e] = state;
      for (let t = 0; t < 80; t++) {
        const quarter = Math.floor(t / 20);
        const mixed = quarter === 0 ? (b & c) | (~b & d) : quarter === 2 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
        const constant = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6][quarter];
        const next = (rotateRight(a, 27) + mixed + e + constant + words[t]) | 0;
        [e, d, c, b, a] = [d, c, rotateRight(b, 2), a, next];
      }
      for (const [i, value] of [a, b, c, d, e].entries()) state[i] += value;
    },
  },
  sha256: {
    start: fractions(Math.sqrt, 8),
    compress(state, words) {
      for (let t = 16; t < 64; t++) {
        const [x, y] = [words[t - 15], words[t - 2]];
        const first = rotateRight(x, 7) ^ rotateRight(x, 18) ^ (x >>> 3);
        const second = rotateRight(y, 17) ^ rotateRight(y, 19) ^ (y >>> 10);
        words[t] = words[t - 16] + first + words[t - 7] + second;
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let t = 0; t < 64; t++) {
        const high = rotateRight(e, 6) ^ rotateRight(e, 11) ^ rotateRight(e, 25);
        const one = (h + high + ((e & f) ^ (~e & g)) + roundConstants[t] + words[t]) | 0;
        const low = rotateRight(a, 2) ^ rotateRight(a, 13) ^ rotateRight(a, 22);
        const two = (low + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        h = g;
        g = f;
        f = e;
        e = (d + one) | 0;
        d = c;
        c = b;
        b = a;
        a = (one + two) | 0;
      }
      state[0] += a;
      state[1] += b;
      state[2] += c;
      state[3] += d;
      state[4] += e;
      state[5] += f;
      state[6] += g;
      state[7] += h;
    },
  },
};

export function sha(algorithm: "sha1" | "sha256"): Hash {
  const { start, compress } = algorithms[algorithm];
  const state = Int32Array.from(start);
  const words = new Int32Array(80);
  const block = new Uint8Array(blockBytes);
  const view = new DataView(block.buffer);
  let [filled, length] = [0, 0];
  const take = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(blockBytes - filled, bytes.length - at);
      block.set(bytes.subarray(at, at + count), filled);
      at += count;
      filled += count;
      if (filled < blockBytes) return;
      for (let t = 0; t < 16; t++) words[t] = view.getInt32(4 * t);
      compress(state, words);
      filled = 0;
    }
  };
  const self: Hash = {
    update(data) {
      const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
      length += bytes.length;
      take(bytes);
      return self;
    },
    hex() {
      const end = new Uint8Array(filled < 56 ? 64 - filled : 128 - filled);
      end[0] = 0x80;
      new DataView(end.buffer).setBigUint64(end.length - 8, BigInt(length) * 8n);
      take(end);
      return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
    },
  };
  return self;
}
