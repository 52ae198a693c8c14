// Generations in a process of their own, to see whether memory grows; called by engine.mjs, started with --expose-gc.
import { serve } from "./harness/child.mjs";
import { openModel } from "./ours.mjs";
import { randomPrompt, randomWords } from "./weights/random.mjs";

/** @type {import("./ours.mjs").OurModel | undefined} */
let ours;

await serve({
  async open({ folder, threads }) {
    ours = await openModel(folder, { threads });
  },

  /** Up to eight requests at a time; about half are aborted at a random moment, some before their first token. */
  async generate({ count, seed }) {
    const { model } = /** @type {import("./ours.mjs").OurModel} */ (ours);
    const next = randomWords(seed);
    const below = (/** @type {number} */ limit) => (next() >>> 0) % limit;
    let started = 0;
    let aborted = 0;

    async function oneAfterAnother() {
      while (started < count) {
        const prompt = randomPrompt(1 + below(64), model.config.vocabularySize, seed * count + started++);
        const run = model.decode(prompt, { temperature: 0.8, maxTokens: 1 + below(48), seed: started });
        if (below(2) === 0) setTimeout(run.abort, below(50));
        if ((await run.final).finish === "aborted") aborted++;
      }
    }
    await Promise.all(Array.from({ length: 8 }, oneAfterAnother));
    globalThis.gc?.();
    return { resident: process.memoryUsage.rss(), aborted };
  },
});
await ours?.close();
