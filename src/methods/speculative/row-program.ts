/**
 * A small network beside its model, run row by row over the keys and values of earlier rows: a draft of one layer, or the model with layers left out.
 * Rows name the row that they stand below, so that trees of them share their stem; what is only drafted is cut off again.
 */
import { hidden } from "../../models/attention.ts";
import { createHooks, type Edit } from "../../models/edits.ts";
import { type Family, type ModelConfig, reachesOf } from "../../models/family.ts";
import { maskedAttention } from "../../models/masked-attention.ts";
import { parameterMaker } from "../../models/parameters.ts";
import { rotaryFeeds, rotaryInputs } from "../../models/rope.ts";
import type { Value } from "../../runtime/program.ts";
import { input, parametersOf, type Tensor } from "../../tensor/index.ts";
import { partProgram } from "./part-program.ts";

export interface RowNetwork {
  readonly family: Family;
  readonly config: ModelConfig;
  /** What is rewritten in it. An edit may read the input "states" [rows, width]; with `vectors` "vectors" [rows, width] and "isVector" [rows, 1]. */
  readonly edits: readonly Edit[];
  /** Layers whose attention is there. */
  readonly layers: readonly number[];
  /** Rows may be vectors. */
  readonly vectors?: boolean;
  /** Site whose values are returned as states. */
  readonly state?: string;
  /** Values of its parameters by name; those it has not are not used. */
  readonly values: ReadonlyMap<string, Float32Array>;
  /** Gives values of further parameters that it turns out to have. */
  more(names: ReadonlySet<string>): Promise<ReadonlyMap<string, Float32Array>>;
}

export interface NetworkRow {
  readonly token: number;
  /** [width], instead of the token's embedding, where the network takes vectors. */
  readonly vector?: Float32Array;
  /** [width], where the network reads states. */
  readonly state?: Float32Array;
  readonly position: number;
  /** Number of the row that it stands below: of the cache, or of this call (from the cache's size on); -1: none. */
  readonly parent: number;
}

export interface NetworkResult {
  /** [vocabulary] each. */
  readonly logits: readonly Float32Array[];
  /** [width] each; empty where none were asked for. */
  readonly states: readonly Float32Array[];
}

export interface RowProgram {
  /** Rows of one text, none at first. */
  cache(): RowCache;
  /** Seconds of a pass over one row beside a short text, measured once. */
  seconds(): Promise<number>;
  close(): Promise<void>;
}

export interface RowCache {
  readonly size: number;
  run(rows: readonly NetworkRow[]): Promise<NetworkResult>;
  /** Forgets rows from this one on. */
  cut(size: number): void;
}

function vectorFeeds(rows: readonly NetworkRow[], width: number) {
  const data = new Float32Array(rows.length * width);
  for (const [row, { vector }] of rows.entries()) if (vector) data.set(vector, row * width);
  return {
    vectors: { data, dims: [rows.length, width] },
    isVector: { data: Float32Array.from(rows, ({ vector }) => (vector ? 1 : 0)), dims: [rows.length, 1] },
  };
}

export async function rowProgram(network: RowNetwork): Promise<RowProgram> {
  const { family, config, edits, layers, state, values, vectors = false, more } = network;
  const { hiddenSize: width, vocabularySize, keyValueHeads, headDimension } = config;
  const groups = config.heads / keyValueHeads;
  const parameter = parameterMaker();
  const hooks = createHooks(family, config, { taps: state ? [state] : [], edits }, { parameter, select: (x) => x });
  const kept: Record<string, Tensor> = {};
  const reaches = reachesOf(config);
  const seen = [1, 1, groups === 1 ? "rows" : `${groups}*rows`, "past+rows"];
  const masks = reaches.windows.map((_, kind) => input(`mask.${kind}`, seen));
  const past = (name: string): Tensor => input(name, [1, keyValueHeads, "past", headDimension]);
  const logits = family.build(config, {
    tokens: input("tokens", [1, "rows"], "int64"),
    positions: input("positions", [1, "rows"], "int64"),
    rotary: rotaryInputs(config),
    attention: maskedAttention({
      mask: (layer) => masks[reaches.of(layer)],
      past: (layer) => ({ keys: past(`keys.${layer}`), values: past(`values.${layer}`) }),
      keep(layer, keys, values) {
        if (layers.includes(layer))
          Object.assign(kept, { [`new.keys.${layer}`]: keys, [`new.values.${layer}`]: values });
      },
    }),
    parameter,
    site: hooks.site,
    select: (x) => x,
  });
  const read: Record<string, Tensor> = state ? { state: hooks.outputs[`tap.${state}`] } : {};
  const used = new Set(parametersOf(logits, ...Object.values(kept), ...Object.values(read)).keys());
  const given = new Map([...values].filter(([name]) => used.has(name)));
  const missing = new Set([...used].filter((name) => !given.has(name)));
  for (const [name, value] of await more(missing)) given.set(name, value);
  const program = await partProgram({ logits, ...kept, ...read }, given);
  const rotations = rotaryFeeds(config, (data, dims) => ({ data, dims }));
  const planes = layers.flatMap((layer) => [`keys.${layer}`, `values.${layer}`]);

  function cache(): RowCache {
    let parents: number[] = [];
    let places: number[] = [];
    let room = 64;
    /** By plane [heads, room, dimension]. */
    let stored = planes.map(() => new Float32Array(keyValueHeads * room * headDimension));

    function grow(size: number): void {
      if (size <= room) return;
      const [before, old] = [room, stored];
      while (room < size) room *= 2;
      stored = old.map((plane) => {
        const larger = new Float32Array(keyValueHeads * room * headDimension);
        for (let head = 0; head < keyValueHeads; head++) {
          const own = plane.subarray(head * before * headDimension, (head + 1) * before * headDimension);
          larger.set(own, head * room * headDimension);
        }
        return larger;
      });
    }
    /** The first rows, as a program takes them. */
    const plane = (data: Float32Array, size: number): Value => {
      const rows = new Float32Array(keyValueHeads * size * headDimension);
      for (let head = 0; head < keyValueHeads; head++) {
        const from = head * room * headDimension;
        rows.set(data.subarray(from, from + size * headDimension), head * size * headDimension);
      }
      return { data: rows, dims: [1, keyValueHeads, size, headDimension] };
    };
    return {
      get size() {
        return parents.length;
      },
      cut(size) {
        parents = parents.slice(0, size);
        places = places.slice(0, size);
      },
      async run(rows) {
        const [before, count] = [parents.length, rows.length];
        const all = before + count;
        grow(all);
        parents = [...parents, ...rows.map(({ parent }) => parent)];
        const positions = rows.map(({ position }) => position);
        places = [...places, ...positions];
        const masks = reaches.windows.map((window = Number.POSITIVE_INFINITY) => {
          const mask = new Float32Array(groups * count * all).fill(hidden);
          for (let row = 0; row < count; row++) {
            for (let at = before + row; at >= 0; at = parents[at]) {
              if (positions[row] - places[at] >= window) continue;
              for (let group = 0; group < groups; group++) mask[(group * count + row) * all + at] = 0;
            }
          }
          return mask;
        });
        const states = new Float32Array(rows[0].state ? count * width : 0);
        for (const [row, given] of rows.entries()) if (given.state) states.set(given.state, row * width);
        const results = await program.run({
          tokens: { data: BigInt64Array.from(rows, ({ token }) => BigInt(token)), dims: [1, count] },
          positions: { data: BigInt64Array.from(positions, BigInt), dims: [1, count] },
          ...(rows[0].state && { states: { data: states, dims: [count, width] } }),
          ...(vectors && vectorFeeds(rows, width)),
          ...Object.fromEntries(
            masks.map((data, kind) => [`mask.${kind}`, { data, dims: [1, 1, groups * count, all] }]),
          ),
          ...Object.fromEntries(planes.map((name, i) => [name, plane(stored[i], before)])),
          ...rotations([...positions, count - 1]),
        });
        for (const [i, name] of planes.entries()) {
          const data = results[`new.${name}`].data as Float32Array;
          for (let head = 0; head < keyValueHeads; head++) {
            const own = data.subarray(head * count * headDimension, (head + 1) * count * headDimension);
            stored[i].set(own, (head * room + before) * headDimension);
          }
        }
        const split = (name: string, size: number): Float32Array[] =>
          rows.map((_, row) => (results[name].data as Float32Array).subarray(row * size, (row + 1) * size));
        return { logits: split("logits", vocabularySize), states: state ? split("state", width) : [] };
      },
    };
  }

  let measured: Promise<number> | undefined;
  async function measure(): Promise<number> {
    const own = cache();
    const reads = edits.length > 0 && state !== undefined;
    const row = (position: number, parent: number): NetworkRow => ({
      token: 0,
      position,
      parent,
      ...(reads && { state: new Float32Array(width) }),
    });
    await own.run(Array.from({ length: 48 }, (_, i) => row(i, i - 1)));
    const times: number[] = [];
    for (let i = 0; i < 16; i++) {
      const started = performance.now();
      await own.run([row(48, 47)]);
      times.push((performance.now() - started) / 1000);
      own.cut(48);
    }
    return times.sort((a, b) => a - b)[4];
  }
  return {
    cache,
    seconds: () => (measured ??= measure()),
    close: program.close,
  };
}
