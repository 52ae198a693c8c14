/** What the measurements say of one text, token by token, while a model writes it: the events of a run whose readings are entropies, information and losses instead of states. */
import type { TimedEvent, TraceEvent } from "../../../engine/trace.ts";
import type { Edit } from "../../../models/edits.ts";
import { lensReading, logitLens } from "../../../models/lens.ts";
import { categoricalEntropy, klDivergence, lawOf } from "./entropy.ts";

/** What of an open model this needs. */
interface Writer {
  readonly config: { readonly layers: number; readonly vocabularySize: number };
  decode(
    prompt: string | readonly number[],
    options: {
      readonly temperature: number;
      readonly maxTokens: number;
      readonly seed: number;
      readonly signal: AbortSignal;
      readonly taps: string[];
      readonly edits: Edit[];
    },
  ): AsyncIterable<TraceEvent>;
}

type Taps = Extract<TraceEvent, { type: "taps" }>;

/**
 * Names of the readings, in nats: of the head's law through every layer, from the first; KL(q ‖ q̄) of the last, with the mean law of this text alone; and the loss on
 * the token that came.
 */
const readings = {
  entropy: "entropy by layer",
  information: "information",
  loss: "loss",
} as const;

const round = (value: number): number => Number(value.toFixed(4));

/** A sampled text of a model, each of its tokens with what the state that foretold it was measured to be. */
export async function measuredRun(
  model: Writer,
  {
    prompt,
    maxTokens,
    seed,
    signal,
  }: { prompt: string | readonly number[]; maxTokens: number; seed: number; signal: AbortSignal },
): Promise<TimedEvent[]> {
  const sites = Array.from({ length: model.config.layers }, (_, layer) => `layers.${layer}.residual`);
  const run = model.decode(prompt, {
    ...{ temperature: 1, maxTokens, seed, signal },
    taps: sites.map(lensReading),
    edits: sites.map(logitLens),
  });
  const events: TimedEvent[] = [];
  const laws = new Map<Taps, Float64Array[]>();
  const came = new Map<Taps, number>();
  const started = performance.now();
  let last: Taps | undefined;
  for await (const event of run) {
    const told = { ...event, at: (performance.now() - started) / 1000 };
    events.push(told);
    if (told.type === "taps") {
      last = told;
      // Of a prompt only the last row foretells something that is written.
      laws.set(
        told,
        sites.map((site) => lawOf(told.values[lensReading(site)].slice(-model.config.vocabularySize))),
      );
    } else if (told.type === "tokens" && last) came.set(last, told.tokens[0]);
  }
  const stated = [...laws.values()].map((own) => own[own.length - 1]);
  const mean = stated[0].map((_, v) => stated.reduce((sum, law) => sum + law[v] / stated.length, 0));
  return events.map((event): TimedEvent => {
    const own = event.type === "taps" ? laws.get(event) : undefined;
    if (event.type !== "taps" || !own) return event;
    const [law, token] = [own[own.length - 1], came.get(event)];
    return {
      ...event,
      position: event.position + event.rows - 1,
      rows: 1,
      values: {
        [readings.entropy]: own.map((one) => round(categoricalEntropy(one))),
        [readings.information]: [round(klDivergence(law, mean))],
        ...(token !== undefined && { [readings.loss]: [round(-Math.log(law[token]))] }),
      },
    };
  });
}
