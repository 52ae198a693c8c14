/** Who loops on what is known already leaves timers and signals their turn. */
import { afterAll, expect, test } from "vitest";
import { z } from "zod";
import { type Decoding, defineMethod, open } from "./index.ts";

const model = await open("knossos", { threads: 1 });
afterAll(() => model.close());

const loops: Readonly<Record<string, (decoding: Decoding) => Promise<unknown>>> = {
  "the prefill": (decoding) => decoding.prefill(),
  "the prefill of the lease": ({ lease, prompt }) => lease.prefill(prompt),
  "rows that are there": async ({ lease, prompt }) =>
    lease.extend([{ parent: undefined, token: prompt[0], logits: false }]),
  "no rows": ({ lease }) => lease.extend([]),
};

test.each(Object.keys(loops))("a method that loops on %s hears that its time is over", async (name) => {
  let calls = 0;
  const method = defineMethod({
    name: "looping",
    family: "plain",
    summary: "never comes to an end",
    lossless: false,
    options: z.strictObject({}),
    async decode(decoding) {
      await decoding.prefill();
      for (const until = performance.now() + 5_000; performance.now() < until; calls++) await loops[name](decoding);
      throw new Error("nothing was heard");
    },
  });
  const run = model.decode("Once upon a time", { method, signal: AbortSignal.timeout(100) });
  expect(await run.final).toMatchObject({ finish: "aborted" });
  expect(calls).toBeGreaterThan(100);
});
