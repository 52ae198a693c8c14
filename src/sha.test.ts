import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { sha } from "./sha.ts";

it.each(["sha1", "sha256"] as const)("%s is that of the platform, however the bytes come", (algorithm) => {
  const bytes = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919) >> 3);
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 5000]) {
    const [hash, part] = [sha(algorithm), bytes.subarray(0, length)];
    for (let at = 0; at < length; at += 37) hash.update(part.subarray(at, Math.min(length, at + 37)));
    expect(hash.hex(), `${length} bytes`).toBe(createHash(algorithm).update(part).digest("hex"));
  }
  expect(sha(algorithm).update("Πύλος").hex()).toBe(createHash(algorithm).update("Πύλος").digest("hex"));
});
