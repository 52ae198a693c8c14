/** A feed-forward neuron held while a model writes. What is much differs from neuron to neuron, so it is held at a multiple of its own spread. */
import { type Asked, written } from "./written.ts";

export interface Neuron {
  readonly layer: number;
  readonly neuron: number;
}

/** What a neuron does by itself: a free text, and the neuron's value at each of its tokens. */
export interface Free {
  readonly text: string;
  readonly values: readonly number[];
  /** Standard deviation of the values. */
  readonly spread: number;
}

/** Of "3.118". */
export function readNeuron(text: string): Neuron | undefined {
  const [, layer, neuron] = /^\s*(\d{1,6})\.(\d{1,9})\s*$/.exec(text) ?? [];
  return layer === undefined ? undefined : { layer: Number(layer), neuron: Number(neuron) };
}

const siteOf = ({ layer }: Neuron): string => `layers.${layer}.mlp.up`;

/** An edit of a request, as `ventris run --clamp` writes it. */
export const holding = (neuron: Neuron, value: number): object => ({
  site: siteOf(neuron),
  entries: [neuron.neuron],
  set: value,
});

/** The model writes, and the neuron is read. */
export async function freely(
  model: string,
  prompt: string,
  neuron: Neuron,
  signal: AbortSignal,
  asked: Pick<Asked, "chat" | "pictures"> = {},
): Promise<Free> {
  const site = siteOf(neuron);
  const values: number[] = [];
  const read: Asked["read"] = (taps) => {
    const width = taps.values[site].length / taps.rows;
    if (neuron.neuron >= width) throw new Error(`layer ${neuron.layer} has neurons 0 to ${width - 1}`);
    for (let row = 0; row < taps.rows; row++) values.push(taps.values[site][row * width + neuron.neuron]);
  };
  const text = await written(model, prompt, { ...asked, options: { taps: [site] }, read }, signal);
  const mean = values.reduce((sum, one) => sum + one, 0) / values.length;
  const spread = Math.sqrt(values.reduce((sum, one) => sum + (one - mean) ** 2, 0) / values.length);
  return { text, values, spread };
}
