/** What the server counts, in the text format of Prometheus. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Counters } from "../engine/trace.ts";
import type { Admission } from "./admission.ts";
import type { GuardedEngine } from "./guarded.ts";

export interface Metrics {
  /** A request was answered, or its stream begun. */
  answered(method: string, route: string, status: number): void;
  /** The first text of a request was there after so many seconds. */
  firstText(model: string, seconds: number): void;
  /** A sequence ended. */
  decoded(model: string, counters: Counters, promptTokens: number): void;
  page(): Promise<{ type: string; text: string }>;
}

const seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export function createMetrics(engine: GuardedEngine, admission: Admission): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name: `ventris_${name}`, help, labelNames, registers });
  const gauge = (name: string, help: string) => new Gauge({ name: `ventris_${name}`, help, registers });

  const requests = counter("requests_total", "Requests answered.", ["method", "route", "status"]);
  const prompted = counter("prompt_tokens_total", "Tokens of prompts.", ["model"]);
  const generated = counter("generated_tokens_total", "Tokens decoded.", ["model"]);
  const drafted = counter("drafted_tokens_total", "Tokens that drafters proposed.", ["model"]);
  const accepted = counter("accepted_tokens_total", "Proposed tokens that were accepted.", ["model"]);
  const first = new Histogram({
    name: "ventris_time_to_first_token_seconds",
    help: "From a request's arrival to its first text.",
    labelNames: ["model"],
    buckets: seconds,
    registers,
  });
  const acceptance = gauge("acceptance_ratio", "Accepted share of all proposed tokens.");
  const active = gauge("sequences_active", "Sequences that are decoded now.");
  const waiting = gauge("requests_waiting", "Requests that wait for their turn.");
  const restarts = gauge("engine_restarts", "How often the engine's process was started again.");
  const up = gauge("engine_up", "Whether the engine's process answers.");
  const passes = gauge("engine_passes", "Forward passes of the models that are open.");
  const rows = gauge("engine_rows", "Rows of these passes.");
  const inPasses = gauge("engine_pass_seconds", "Seconds spent in these passes.");
  const held = gauge("engine_slots_held", "Key-value slots that requests hold.");
  const used = gauge("engine_slots_used", "Key-value slots in use, cached prefixes included.");
  const capacity = gauge("engine_slots", "Key-value slots there are.");
  const engineMemory = gauge("engine_resident_memory_bytes", "Memory of the engine's processes.");
  const sharing = gauge("sharing_up", "Whether what is learned is shared with other replicas.");
  const [sent, received, failures, refused] = [
    gauge("sharing_sent_bytes", "Bytes given to other replicas."),
    gauge("sharing_received_bytes", "Bytes taken from other replicas."),
    gauge("sharing_failures", "Exchanges with other replicas that failed."),
    gauge("sharing_refused", "Values of other replicas that were not believed."),
  ];
  const memory = gauge("server_resident_memory_bytes", "Memory of the serving process.");
  let totals = { drafted: 0, accepted: 0 };

  return {
    answered: (method, route, status) => requests.inc({ method, route, status: String(status) }),
    firstText: (model, value) => first.observe({ model }, value),
    decoded(model, counters, promptTokens) {
      prompted.inc({ model }, promptTokens);
      generated.inc({ model }, counters.generated);
      if (counters.drafted > 0) {
        drafted.inc({ model }, counters.drafted);
        accepted.inc({ model }, counters.accepted);
        totals = { drafted: totals.drafted + counters.drafted, accepted: totals.accepted + counters.accepted };
        acceptance.set(totals.accepted / totals.drafted);
      }
    },
    async page() {
      active.set(admission.active);
      waiting.set(admission.waiting);
      restarts.set(engine.restarts);
      memory.set(process.memoryUsage.rss());
      // Not started for this question alone.
      const found = engine.pid === undefined ? undefined : await engine.statistics().catch(() => undefined);
      up.set(found ? 1 : 0);
      passes.set(found?.passes ?? 0);
      rows.set(found?.rows ?? 0);
      inPasses.set(found?.secondsInPasses ?? 0);
      held.set(found?.held ?? 0);
      used.set(found?.size ?? 0);
      capacity.set(found?.capacity ?? 0);
      sharing.set(engine.sharing && engine.sharing.alone === undefined ? 1 : 0);
      sent.set(found?.sharingSent ?? 0);
      received.set(found?.sharingReceived ?? 0);
      failures.set(found?.sharingFailures ?? 0);
      refused.set(found?.sharingRefused ?? 0);
      engineMemory.set(found?.residentBytes ?? 0);
      return { type: registry.contentType, text: await registry.metrics() };
    },
  };
}
