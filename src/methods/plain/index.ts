/** Plain decoding: one token a pass. `greedy` takes the most likely token, `sample` draws from the shaped distribution. */
import { z } from "zod";
import type { Decoding } from "../../engine/decoding.ts";
import { defineMethod } from "../../engine/method.ts";
import { decodeAsDrawn, isRemoteDecoding } from "../../engine/remote/decoding.ts";
import { ensure } from "../../errors.ts";

async function decodePlainly(decoding: Decoding): Promise<void> {
  if (isRemoteDecoding(decoding)) return decodeAsDrawn(decoding);
  let tip = await decoding.prefill();
  while (!decoding.finished) {
    const token = decoding.choose(tip);
    decoding.commit([{ token, from: tip }]);
    if (decoding.finished) break;
    const [next] = await decoding.lease.extend([{ parent: tip, token }]);
    decoding.lease.release([tip]);
    tip = next;
  }
}

export const sample = defineMethod({
  name: "sample",
  family: "plain",
  summary: "draws each token from the shaped distribution",
  lossless: true,
  suffices: ["remote"],
  options: z.strictObject({}),
  decode: decodePlainly,
});

export const greedy = defineMethod({
  name: "greedy",
  family: "plain",
  summary: "takes the most likely token at each step",
  lossless: true,
  suffices: ["remote"],
  defaults: { temperature: 0 }, // another is refused
  options: z.strictObject({}),
  async decode(decoding) {
    ensure(
      decoding.greedy,
      "bad_option",
      `greedy decodes at temperature 0, but temperature is ${decoding.settings.temperature}; leave it out, or use the method sample`,
    );
    await decodePlainly(decoding);
  },
});
