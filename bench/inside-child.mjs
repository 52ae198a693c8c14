/** Decodes the neurons of a checkpoint in a process of its own, and says how much memory that took at most. */
import { serve } from "./harness/child.mjs";
import { ourInside } from "./ours.mjs";

await serve({
  async map({ folder, layers, work }) {
    const { neurons } = await ourInside();
    const checkpoint = await neurons.openNeurons(folder);
    const map = await neurons.mapNeurons(checkpoint, { layers: Array.from({ length: layers }, (_, i) => i), work });
    await checkpoint.close();
    return {
      seconds: map.seconds,
      neurons: map.normaliser.length,
      gflop: map.operations / 1e9,
      peakBytes: process.resourceUsage().maxRSS * 1024,
    };
  },
});
