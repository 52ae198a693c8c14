/** SHA-1 and SHA-256 piece by piece: for pages, whose own digest wants all bytes at once, and for short texts. */
import { sha1 } from "@noble/hashes/legacy";
import { sha256 } from "@noble/hashes/sha2";
import { bytesToHex } from "@noble/hashes/utils";
import type { Hash } from "./files.ts";

const algorithms = { sha1, sha256 };

export function sha(algorithm: keyof typeof algorithms): Hash {
  const hash = algorithms[algorithm].create();
  const self: Hash = {
    update(data) {
      hash.update(data);
      return self;
    },
    hex: () => bytesToHex(hash.digest()),
  };
  return self;
}
