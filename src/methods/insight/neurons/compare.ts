/** Two checkpoints neuron by neuron: how many still stand for the same token, beside what chance would give. */
import { permutation } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { requireWhole } from "../../../numbers.ts";
import type { NeuronCheckpoint } from "./checkpoint.ts";
import type { NeuronMap } from "./index.ts";

export interface NeuronAgreement {
  /** Share of neurons with the same best token. */
  readonly agreement: number;
  /** Share whose best token in the first is among the kept ones of the second. */
  readonly withinTop: number;
  /** The same share after the neurons of the second were shuffled, over all layers; and what shuffling gives on average. */
  readonly shuffled: number;
  readonly expected: number;
  readonly byLayer: readonly { readonly layer: number; readonly agreement: number; readonly withinTop: number }[];
}

/** Whether two checkpoints can be compared neuron by neuron, before anything is decoded. Errors: `bad_option` naming what differs. */
export function checkComparable(a: NeuronCheckpoint, b: NeuronCheckpoint): void {
  const same = sameFor(`${a.origin} and ${b.origin}`);
  same("architecture", a.config.architecture, b.config.architecture);
  same("layers", a.config.layers, b.config.layers);
  same("neurons of a layer", a.config.feedForward, b.config.feedForward);
  same("width", a.config.hiddenSize, b.config.hiddenSize);
  same("vocabulary", a.vocabulary, b.vocabulary);
  same("tokenizer", a.tokenizer?.fingerprint.slice(0, 12), b.tokenizer?.fingerprint.slice(0, 12));
}

const sameFor = (pair: string) => (what: string, one: unknown, other: unknown) => {
  const [left, right] = [one, other].map((value) => JSON.stringify(value));
  ensure(left === right, "bad_option", `${pair} cannot be compared neuron by neuron: ${what} ${left} and ${right}`);
};

/** Errors: `bad_option` for a seed that is none, or naming what differs: layers, neurons, vocabulary or settings. */
export function compareNeurons(a: NeuronMap, b: NeuronMap, seed = 0): NeuronAgreement {
  requireWhole({ seed }, 0);
  const same = sameFor("these maps");
  same("layers", a.layers, b.layers);
  same("neurons of a layer", a.neurons, b.neurons);
  same("vocabulary", a.vocabulary, b.vocabulary);
  same("settings", a.settings, b.settings);
  const { top } = a.settings;
  const count = a.normaliser.length;
  const [equal, within] = [new Uint8Array(count), new Uint8Array(count)];
  const [inA, inB] = [new Map<number, number>(), new Map<number, number>()];
  for (let place = 0; place < count; place++) {
    const [mine, others] = [a.tokens[place * top], b.tokens.subarray(place * top, (place + 1) * top)];
    equal[place] = mine === others[0] ? 1 : 0;
    within[place] = others.includes(mine) ? 1 : 0;
    inA.set(mine, (inA.get(mine) ?? 0) + 1);
    inB.set(others[0], (inB.get(others[0]) ?? 0) + 1);
  }
  const share = (marks: Uint8Array): number => marks.reduce((sum, mark) => sum + mark, 0) / marks.length;
  const order = permutation(count, { seed, request: 0 });
  let hits = 0;
  for (let place = 0; place < count; place++) if (a.tokens[place * top] === b.tokens[order[place] * top]) hits++;
  const expected = [...inA].reduce((sum, [token, times]) => sum + (times / count) * ((inB.get(token) ?? 0) / count), 0);
  return {
    agreement: share(equal),
    withinTop: share(within),
    shuffled: hits / count,
    expected,
    byLayer: a.layers.map((layer, l) => {
      const part = (marks: Uint8Array) => share(marks.subarray(l * a.neurons, (l + 1) * a.neurons));
      return { layer, agreement: part(equal), withinTop: part(within) };
    }),
  };
}
