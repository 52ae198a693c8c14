// Trains a few steps in a process of its own, to see how much memory that takes; called by training.mjs.
import { serve } from "../harness/child.mjs";
import { memory } from "../harness/memory.mjs";
import { openTraining } from "../ours.mjs";

await serve({
  /** Bytes at the peak, of the whole process. */
  async train({ options, recompute, steps }) {
    const training = await openTraining(options, { recompute });
    await training.steps(steps);
    await training.close();
    return memory("VmHWM");
  },
});
