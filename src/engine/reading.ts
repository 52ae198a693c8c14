/** One request in the forest: its lease, what is read and rewritten in its rows, and the prefill of its prompt. */
import { ensure } from "../errors.ts";
import type { DecodingParts } from "./decoding.ts";
import type { ForestNode, Lease } from "./forest.ts";
import { editsOfShapers, type Shaped } from "./shapers/shaper.ts";
import { createTapDelivery, type TapDelivery } from "./sites/delivery.ts";
import { applyEdits } from "./sites/ready.ts";
import { leaseSites } from "./sites/request.ts";
import type { AppliedEdit } from "./sites/rows.ts";

/** Taps and edits of a request's passes. */
export interface Instrumenting {
  taps?: readonly string[];
  edits?: readonly AppliedEdit[];
}

export interface Reading {
  readonly lease: Lease;
  readonly delivery: TapDelivery;
  /** Of the prefill: passes of the lease up to its end, and seconds. */
  readonly prefill: { readonly passes: number; readonly seconds: number };
  /** Of `performance.now()`: when the prefill ended, or the request was begun where it has none. */
  readonly decodeStarted: number;
  /** Before the prompt is read. Errors: `bad_option`. */
  instrument(further: Instrumenting): void;
  /** The node of the last prompt token. `visit` of the first call is shown every node of the prompt, in order. */
  readPrompt(visit?: (nodes: readonly ForestNode[]) => void): Promise<ForestNode>;
}

/** Errors: `bad_option` for sites and edits that the model has not. */
export function createReading(
  { model, prompt, settings, shapers, counters, emit }: DecodingParts,
  shaped: Shaped,
): Reading {
  const edits = [
    ...applyEdits(model.sites(), settings.edits ?? [], model.config.contextLength),
    ...editsOfShapers(shapers),
  ];
  const taps = [...(settings.taps ?? [])];
  const beside = shapers.flatMap((shaper) => shaper.taps ?? []);
  const lease = shaped.watch(model.forest.lease(leaseSites(model.sites(), taps, edits, beside)));
  const delivery = createTapDelivery(settings.taps ?? [], emit);
  let prefilled: Promise<ForestNode> | undefined;
  let prefill = { passes: 0, seconds: 0 };
  let decodeStarted = performance.now();

  async function read(visit?: (nodes: readonly ForestNode[]) => void): Promise<ForestNode> {
    const started = performance.now();
    const { node, computed, cached, passes } = await lease.prefill(prompt, (nodes) => {
      delivery.take(nodes);
      visit?.(nodes);
    });
    counters.prefillTokens = computed;
    counters.cachedTokens = cached;
    decodeStarted = performance.now();
    prefill = { passes: lease.passes, seconds: (decodeStarted - started) / 1000 };
    emit({ type: "prefill", tokens: computed, cached, passes, seconds: prefill.seconds });
    return node;
  }

  /** What is known costs nothing, but a request that has ended is told so, and others have their turn. */
  async function again(known: Promise<ForestNode>): Promise<ForestNode> {
    const node = await known;
    await lease.extend([]);
    return node;
  }

  return {
    lease,
    delivery,
    get prefill() {
      return prefill;
    },
    get decodeStarted() {
      return decodeStarted;
    },
    instrument(further) {
      ensure(!prefilled, "internal", "instruments come before the prefill");
      taps.push(...(further.taps ?? []));
      edits.push(...(further.edits ?? []));
      lease.use(leaseSites(model.sites(), taps, edits, beside));
    },
    readPrompt(visit) {
      if (prefilled) return again(prefilled);
      prefilled = read(visit);
      return prefilled;
    },
  };
}
