// Loads one model in a process of its own, to see how much memory that takes; called by engine.mjs.
import { serve } from "./harness/child.mjs";
import { memory } from "./harness/memory.mjs";
import { openModel } from "./ours.mjs";

await serve({
  /** The small model first: what the runtime itself takes is there before. */
  async load({ small, path, weights, threads }) {
    await (await openModel(small, { threads })).close();
    const before = memory("VmRSS");
    const model = await openModel(path, { weights, threads });
    await model.generate([1, 2, 3], 4);
    const [peak, after] = [memory("VmHWM") - before, memory("VmRSS") - before];
    await model.close();
    return { peak, after };
  },
});
