/** Short hash (64 bits, not cryptographic) of strings of bytes or words and their order, the same on every machine. */
export function fingerprintOf(parts: Iterable<Uint8Array | Uint32Array>): string {
  let [a, b] = [0x811c9dc5, 0x9e3779b1];
  const mix = (value: number) => {
    a = Math.imul(a ^ value, 0x01000193);
    b = Math.imul(b ^ value ^ (a >>> 15), 0x85ebca6b);
  };
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) mix(part[i]);
    // The length separates neighbours: ["ab", "c"] is not ["a", "bc"].
    mix(256 + part.length);
  }
  return [a, b].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}
