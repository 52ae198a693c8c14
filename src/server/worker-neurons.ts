/** Neurons of a model as the studio's map shows them. */
import { tokenText } from "../engine/token-text.ts";
import { neurons } from "../methods/index.ts";
import type { ServedNeurons } from "./protocol.ts";

/** Parts of a layer in the map, and neurons in the list, at most. */
const [mostCells, listed] = [160, 24];

/** Errors: those of reading the checkpoint, `bad_option` for a word that no token spells, `aborted`. */
export async function servedNeurons(
  folder: string,
  word: string | undefined,
  signal: AbortSignal,
): Promise<ServedNeurons> {
  const checkpoint = await neurons.openNeurons(folder);
  try {
    const wanted = word === undefined ? undefined : neurons.conceptTokens(checkpoint.tokenizer, word);
    const map = await neurons.mapNeurons(checkpoint, { top: 6, wanted, signal });
    const cells = Math.min(map.neurons, mostCells);
    const scores = Float64Array.from(map.normaliser, (normaliser, place) => map.scores[place * 6] - normaliser);
    const ordered = scores.slice().sort();
    const [low, high] = [0.5, 0.998].map((share) => ordered[Math.floor(share * (ordered.length - 1))]);
    const rows = map.layers.map((_, layer) => {
      const row = new Array<number>(cells).fill(0);
      for (let neuron = 0; neuron < map.neurons; neuron++) {
        const strength = Math.min(1, Math.max(0, (scores[layer * map.neurons + neuron] - low) / (high - low || 1)));
        const cell = Math.floor((neuron * cells) / map.neurons);
        row[cell] = Math.max(row[cell], Math.round(100 * strength) / 100);
      }
      return row;
    });
    const found = neurons.rankNeurons(map, wanted ? "wanted" : "specialised", listed).map((one) => ({
      layer: one.layer,
      neuron: one.neuron,
      share: one.wanted ?? one.tokens[0].probability ?? 0,
      tokens: one.tokens.map(({ token }) => tokenText(checkpoint.tokenizer, token) || `#${token}`),
    }));
    return { map: rows, neurons: map.neurons, found };
  } finally {
    await checkpoint.close();
  }
}
