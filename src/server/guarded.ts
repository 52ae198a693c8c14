/**
 * The engine as the server has it: requests whose output must have a form go through a trial first. What is cheap to hold to is decoded with
 * everything else; what would hold up others is decoded in a second engine's process, which is started when it is needed and ended when it
 * is not; what is beyond the limit is refused.
 */
import type { OpenOptions } from "../open.ts";
import { type Engine, type EngineOptions, startEngine } from "./engine.ts";
import type { EngineStatistics, RunRequest } from "./protocol.ts";
import type { Form } from "./trial-face.ts";
import { createTrials } from "./trials.ts";

/** Seconds of compiling and of the first masks that others may be held up by. */
const cheap = 0.1;
/** Milliseconds without a request after which the second process ends. */
const rest = 60_000;

export interface GuardedEngine extends Engine {
  /** Of the second process, while it is there. */
  readonly pidApart: number | undefined;
  /** Of both. */
  statistics(): Promise<EngineStatistics>;
}

export interface GuardedOptions extends EngineOptions {
  /** Longest time for the compilation of a constraint. */
  readonly constraintSeconds: number;
}

export function startGuardedEngine(
  models: OpenOptions | undefined,
  { warm, method, share, constraintSeconds }: GuardedOptions,
): GuardedEngine {
  const main = startEngine(models, { warm, method, share });
  const trials = createTrials(constraintSeconds, (model) => main.call("tokens", model));
  let apart: Engine | undefined;
  let [tried, decodedApart] = [0, 0];
  let resting: ReturnType<typeof setTimeout> | undefined;

  async function placeOf(request: RunRequest, signal: AbortSignal | undefined): Promise<Engine> {
    const form = formOf(request);
    if (!form) return main;
    tried += 1;
    try {
      if ((await trials.seconds(request.model, form, signal)) <= cheap) return main;
    } finally {
      tried -= 1;
    }
    apart ??= startEngine(models, { method, share });
    return apart;
  }

  /** Runs where the request belongs. */
  async function* placed<Event>(
    request: RunRequest,
    signal: AbortSignal | undefined,
    run: (engine: Engine) => AsyncIterable<Event>,
  ): AsyncGenerator<Event, void> {
    const engine = await placeOf(request, signal);
    if (engine === main) {
      yield* run(engine);
      return;
    }
    clearTimeout(resting);
    decodedApart += 1;
    try {
      yield* run(engine);
    } finally {
      decodedApart -= 1;
      if (decodedApart === 0) resting = setTimeout(endApart, rest).unref();
    }
  }

  function endApart(): void {
    void apart?.close();
    apart = undefined;
  }

  const both = (): Engine[] => (apart ? [main, apart] : [main]);
  const statistics = async (): Promise<EngineStatistics> => {
    const all = await Promise.all(both().map((engine) => engine.call("statistics")));
    const names = Object.keys(all[0]) as (keyof EngineStatistics)[];
    const sum = (name: keyof EngineStatistics): number => all.reduce((total, one) => total + one[name], 0);
    return Object.fromEntries(names.map((name) => [name, sum(name)])) as unknown as EngineStatistics;
  };

  return {
    ...main,
    statistics,
    run: (request, signal) => placed(request, signal, (engine) => engine.run(request, signal)),
    output: (request, detail, signal) => placed(request, signal, (engine) => engine.output(request, detail, signal)),
    get active() {
      return both().reduce((sum, { active }) => sum + active, tried);
    },
    get pid() {
      return main.pid;
    },
    get sharing() {
      return main.sharing;
    },
    get pidApart() {
      return apart?.pid;
    },
    get restarts() {
      return both().reduce((sum, { restarts }) => sum + restarts, 0);
    },
    async close() {
      clearTimeout(resting);
      trials.close();
      await Promise.all(both().map((engine) => engine.close()));
    },
  };
}

function formOf({ tools, options: { constraint } }: RunRequest): Form | undefined {
  return tools || constraint ? { ...(tools && { tools }), ...(constraint && { constraint }) } : undefined;
}
