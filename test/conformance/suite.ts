/**
 * What every autoregressive method owes its users, whatever it does inside. `conformance` declares the tests of one method on tiny
 * random models with an exact reference beside them.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { methodChoice } from "../../src/calls.ts";
import { requestOptions } from "../../src/engine/decoding.ts";
import { loadModel } from "../../src/engine/load.ts";
import { createModel } from "../../src/engine/model.ts";
import { startRun } from "../../src/engine/run.ts";
import type { TraceEvent } from "../../src/engine/trace.ts";
import { type DecodeOptions, findMethod, type Model, open, type Run } from "../../src/index.ts";
import { normalDeviate } from "../fixtures/chi-square.ts";
import { logSoftmax } from "../fixtures/reference.ts";
import { removeModel, type TinyModel, vocabularySize, writeTinyModel } from "../fixtures/tiny-model.ts";
import { traceEvent } from "../trace-schema.ts";

export interface ConformanceOptions {
  /** The method's options in every check; given the folder of a model that can be a draft. They should leave nothing to timing. */
  options?: (draft: string) => Record<string, unknown>;
  /** The method only decodes at temperature 0. */
  greedyOnly?: boolean;
  /** Options of the published rule, where the method has one: the same distribution, not the same text. */
  published?: Record<string, unknown>;
  /** What has to lie beside the model: parts, as a rule. */
  prepare?: (model: Model, folder: string) => Promise<void>;
}

export async function traceOf(run: Run): Promise<TraceEvent[]> {
  const events: TraceEvent[] = [];
  for await (const each of run) events.push(each);
  return events;
}

const prompt = "the cat and the hat. the c";
const temperatures = (greedyOnly: boolean | undefined): number[] => (greedyOnly ? [0] : [0, 0.8]);

export function conformance(
  name: string,
  { options = () => ({}), greedyOnly, published, prepare }: ConformanceOptions,
): void {
  describe(name, () => {
    let files: TinyModel[];
    let target: TinyModel;
    let draft: TinyModel;
    let model: Model;
    beforeAll(async () => {
      const smaller = { num_hidden_layers: 1, intermediate_size: 32 };
      // The draft shares the target's first layer and embeddings, so that it agrees now and then.
      files = await Promise.all([
        writeTinyModel({ tokenizer: true }),
        writeTinyModel({ tokenizer: true, config: smaller }),
      ]);
      [target, draft] = files;
      model = await open(target.folder, { threads: 1 });
      await prepare?.(model, target.folder);
    });
    afterAll(async () => {
      await model.close();
      await Promise.all(files.map(removeModel));
    });
    const withMethod = (rest: DecodeOptions, folder = draft.folder, given = {}): DecodeOptions => ({
      method: methodChoice({ name, ...options(folder), ...given }),
      maxTokens: 24,
      ...(rest.temperature === 0 && { frequencyPenalty: 2 }), // or a random model repeats one token
      ...rest,
    });
    /** Slots that somebody holds, here and in the draft model's forest when there is one. */
    const held = async (): Promise<number> => {
      const other = options(draft.folder).draft as string | undefined;
      return model.forest.held + (other ? (await model.companion(other)).forest.held : 0);
    };

    test.each(temperatures(greedyOnly))(
      "a seed repeats, whatever runs beside it (temperature %d)",
      async (temperature) => {
        const request = withMethod({ temperature, seed: 5, request: 3 });
        const alone = (await model.decode(prompt, request).final).tokens;
        const others = Array.from({ length: 7 }, (_, i) =>
          model.decode(
            prompt.slice(0, 5 + 3 * i),
            i % 2 ? withMethod({ temperature, seed: i }) : { temperature, maxTokens: 20 },
          ),
        );
        const mixed = (await model.decode(prompt, request).final).tokens;
        await Promise.all(others.map((run) => run.final));
        expect(mixed).toEqual(alone);
        if (temperature > 0) {
          const [seed, number] = await Promise.all([
            model.decode(prompt, { ...request, seed: 6 }).final,
            model.decode(prompt, { ...request, request: 4 }).final,
          ]);
          expect(seed.tokens).not.toEqual(alone);
          expect(number.tokens).not.toEqual(alone);
        }
        expect(await held()).toBe(0);
      },
    );

    test("streamed text is the final text, and that of the tokens", async () => {
      const run = model.decode(prompt, withMethod({ temperature: greedyOnly ? 0 : 1 }));
      let streamed = "";
      for await (const piece of run.text) streamed += piece;
      const { text, tokens } = await run.final;
      expect(streamed).toBe(text);
      expect(text).toBe(model.tokenizer!.decode([...tokens], { continued: true }));
    });

    test("short outputs: of one to three tokens, and with a prompt that leaves so little of the context", async () => {
      const context = model.config.contextLength;
      const ids = Array.from({ length: context }, (_, i) => 3 + ((i * 7) % 40));
      for (const left of [1, 2, 3, 4]) {
        const few = withMethod({ temperature: 0, maxTokens: left });
        const shorter = await model.decode(prompt, few).final;
        const plain = await model.decode(prompt, { ...few, method: "greedy" }).final;
        expect(shorter).toMatchObject({ tokens: plain.tokens, finish: "length" });
        const { accepted, generated, passes } = shorter.counters;
        expect(generated).toBe(left);
        expect(accepted).toBeLessThan(left);
        expect(passes).toBeLessThanOrEqual(left);
        const full = ids.slice(0, context + 1 - left);
        const last = await model.decode(full, withMethod({ temperature: 0 })).final;
        const expected = await model.decode(full, { ...withMethod({ temperature: 0 }), method: "greedy" }).final;
        expect(last).toMatchObject({ tokens: expected.tokens, finish: "context" });
        expect(last.counters.generated).toBe(left);
      }
      expect(await held()).toBe(0);
    });

    test("a stop string ends the text wherever the tokens' borders are", async () => {
      const { text } = await model.decode(prompt, withMethod({ temperature: 0 })).final;
      const stop = [...text].slice(6, 9).join("");
      const stopped = await model.decode(prompt, withMethod({ temperature: 0, stop })).final;
      expect(stopped).toMatchObject({ finish: "stop", stop, text: text.slice(0, text.indexOf(stop)) });
    });

    test("the trace is valid and can be replayed", async () => {
      const run = model.decode(prompt, withMethod({ temperature: greedyOnly ? 0 : 0.8, logprobs: 2, request: 3 }));
      const trace = await traceOf(run);
      const final = await run.final;
      const textOf = (id: number) => model.tokenizer!.decode([id], { special: true, continued: true });
      for (const each of trace) {
        traceEvent.parse(JSON.parse(JSON.stringify(each)));
        expect(each.request).toBe(3);
        if ("tokens" in each && Array.isArray(each.tokens) && each.tokens.length > 0)
          expect(each.texts).toEqual(each.tokens.map(textOf));
        if (each.type === "verify") expect(each.text).toBe(textOf(each.token));
      }
      const types = trace.map(({ type }) => type).filter((type) => type !== "choice"); // which comes first of all
      expect([types[0], types[1], types.at(-1)]).toEqual(["start", "prefill", "finish"]);
      for (const once of ["start", "prefill", "finish"] as const)
        expect(types.filter((t) => t === once)).toEqual([once]);
      expect(trace[0]).toMatchObject({ method: name, prompt: model.tokenizer!.encode(prompt) });
      expect(trace[0].texts!.join("")).toBe(prompt);
      const outputs = trace.filter((each) => each.type === "tokens");
      expect(outputs.flatMap((each) => each.tokens)).toEqual(final.tokens);
      expect(outputs.map((each) => each.text).join("")).toBe(final.text);
      expect(outputs.flatMap((each) => each.logprobs ?? [])).toEqual(final.logprobs);
      for (const { token, text, top } of final.logprobs!)
        expect([text, ...top!.map((one) => one.text)]).toEqual([token, ...top!.map((one) => one.token)].map(textOf));
      expect(trace.at(-1)).toMatchObject({ reason: final.finish, counters: final.counters });
      trace.forEach((each, i) => {
        if (each.type === "draft") {
          for (const [node, parent] of each.parents.entries()) expect(parent).toBeLessThanOrEqual(node);
          expect(each.parents.length).toBe(each.tokens.length);
        }
        if (each.type !== "verify") return;
        const drafted = trace.slice(0, i).findLast((earlier) => earlier.type === "draft")!;
        let at = 0;
        for (const node of each.path) {
          expect(drafted.parents[node - 1]).toBe(at);
          at = node;
        }
        // What was verified is what comes out, but for what stands behind the end.
        const kept = [...each.path.map((node) => drafted.tokens[node - 1]), each.token];
        const output = trace.slice(i).find((later) => later.type === "tokens");
        if (output) expect(kept.slice(0, output.tokens.length)).toEqual(output.tokens);
      });
      expect(final.counters.prefillTokens + final.counters.cachedTokens).toBe(model.tokenizer!.encode(prompt).length);
    });

    test("log-probabilities are those of the model, raw and shaped, and sum to one", async () => {
      const temperature = greedyOnly ? 0 : 0.8;
      const run = model.decode(prompt, withMethod({ temperature, logprobs: vocabularySize, maxTokens: 12 }));
      const { tokens, logprobs } = await run.final;
      const start = model.tokenizer!.encode(prompt);
      const logits = target.logits([...start, ...tokens]);
      expect(logprobs!.map((each) => each.token)).toEqual(tokens);
      logprobs!.forEach(({ token: id, raw, shaped, top }, i) => {
        const wanted = logits[start.length - 1 + i];
        expect(Math.abs(raw - logSoftmax(wanted)[id])).toBeLessThan(1e-4);
        const cooled = temperature === 0 ? 0 : logSoftmax(wanted.map((x) => x / temperature))[id];
        expect(Math.abs(shaped - cooled)).toBeLessThan(1e-4);
        expect(top!.length).toBe(vocabularySize);
        expect(top!.reduce((sum, each) => sum + Math.exp(each.raw), 0)).toBeCloseTo(1, 6);
      });
    });

    test("an abort, and leaving the loop, end it within one pass and free what it held", async () => {
      for (const leave of [false, true]) {
        const run = model.decode(prompt, withMethod({ maxTokens: 60, temperature: 0 }));
        let passes = 0;
        for await (const { type } of run) {
          if (type !== "tokens") continue;
          passes = model.forest.counters.passes;
          if (leave) break;
          run.abort();
        }
        const final = await run.final;
        expect(final.finish).toBe("aborted");
        expect(final.tokens.length).toBeGreaterThan(0);
        expect(model.forest.counters.passes - passes).toBeLessThanOrEqual(1);
        expect(await held()).toBe(0);
      }
      const never = await model.decode(prompt, withMethod({ temperature: 0, signal: AbortSignal.abort() })).final;
      expect(never).toMatchObject({ finish: "aborted", tokens: [], text: "" });
    });

    test("no slot is leaked", async () => {
      const round = async (): Promise<number> => {
        await Promise.all(
          [0, 1, 2, 3].map((i) => model.decode(prompt.slice(i), withMethod({ temperature: 0, maxTokens: 10 })).final),
        );
        expect(await held()).toBe(0);
        return model.forest.size;
      };
      await round();
      const size = await round();
      expect(await round()).toBe(size);
    });

    test("unknown options are refused by name", async () => {
      const method = methodChoice({ name, ...options(draft.folder) });
      expect(() =>
        model.decode(prompt, { method: methodChoice({ name, ...options(draft.folder), nonsense: 1 }) }),
      ).toThrow(/nonsense/);
      expect(() => model.decode(prompt, { method, temprature: 1 } as DecodeOptions)).toThrow(/temprature/);
      expect(() => model.decode(prompt, { method, topP: 2 })).toThrow(/topP/);
      if (greedyOnly || name === "greedy") {
        await expect(model.decode(prompt, { method, temperature: 1 }).final).rejects.toThrow(/temperature/);
      }
    });

    const method = findMethod(name);
    const lossless = (): boolean =>
      typeof method.lossless === "boolean"
        ? method.lossless
        : method.lossless(method.options.parse(options("")) as Record<string, unknown>);

    test.runIf(lossless())("at temperature 0 it writes what greedy writes", async () => {
      for (const start of [prompt, "a", "12345 and 12345 and 123"]) {
        const [plain, run] = await Promise.all([
          model.decode(start, { temperature: 0, frequencyPenalty: 2, maxTokens: 40 }).final,
          model.decode(start, withMethod({ temperature: 0, maxTokens: 40 })).final,
        ]);
        expect(run.tokens).toEqual(plain.tokens);
        expect(run.finish).toBe(plain.finish);
      }
    });

    const repeats = (): boolean => lossless() && (method.repeats?.(method.options.parse(options(""))) ?? true);

    test.runIf(repeats() && !greedyOnly)("a seed gives plain sampling's own text, whatever shapes it", async () => {
      const shapings: DecodeOptions[] = [
        { temperature: 0.4 },
        { temperature: 1, topP: 0.9 },
        { temperature: 1.5, topK: 20, repetitionPenalty: 1.3, minTokens: 30 },
        { temperature: 1.2, mirostat: { tau: 3 }, dynamicTemperature: { range: 0.5 } },
        { temperature: 1, mirostat: { version: 1, tau: 4, eta: 0.3 }, noRepeatNgram: 3, minKept: 2 },
        { temperature: 0.9, minP: 0.02, xtc: { probability: 0.5, threshold: 0.05 }, order: "llamacpp" },
      ];
      for (const [seed, shaping] of shapings.entries()) {
        for (const start of [prompt, "a", "12345 and 12345 and 123"]) {
          const settings = { ...shaping, seed, request: start.length, maxTokens: 40 };
          const plain = await model.decode(start, settings).final;
          const run = await model.decode(start, withMethod(settings)).final;
          expect(run).toMatchObject({ tokens: plain.tokens, text: plain.text, finish: plain.finish });
        }
      }
    });

    const withDraft = "draft" in options("");
    test.runIf(withDraft).each([0, 0.8])(
      "with the target as its own draft the whole of a path is accepted (temperature %d)",
      async (temperature) => {
        const load = () => loadModel(target.folder, "twin", { threads: 1 });
        const unneeded = (): never => {
          throw new Error("a draft has no draft");
        };
        const twin = createModel({
          ...(await load()),
          openCompanion: async () => createModel({ ...(await load()), openCompanion: unneeded }),
        });
        const run = startRun({
          model: twin,
          method,
          methodOptions: method.options.parse({ ...options("twin"), draftTopK: vocabularySize }),
          prompt: model.tokenizer!.encode(prompt),
          settings: requestOptions.parse({ temperature, maxTokens: 60, stopTokens: [] }),
        });
        let rounds = 0;
        let parents: number[] = [];
        for await (const each of run) {
          if (each.type === "draft") parents = each.parents;
          if (each.type !== "verify") continue;
          rounds += parents.length > 0 ? 1 : 0;
          expect(parents).not.toContain(each.path.at(-1) ?? 0);
        }
        expect(rounds).toBeGreaterThan(5);
        await twin.close();
      },
    );

    const laws: [string, Record<string, unknown>][] = [
      ...(name === "sample" ? [["the race", {}] as [string, Record<string, unknown>]] : []),
      ...(published ? [["the published rule", published] as [string, Record<string, unknown>]] : []),
    ];
    test.each(laws)("it draws from the model's own distribution: %s", async (_, given) => {
      const small = { vocab_size: 4, eos_token_id: undefined, bos_token_id: undefined };
      const parts = await Promise.all([
        writeTinyModel({ config: small }),
        writeTinyModel({ config: { ...small, num_hidden_layers: 1, intermediate_size: 32 } }),
      ]);
      const [length, samples, temperature] = [4, 4000, 1.3];
      const start = [1, 2, 1, 2, 3, 1, 2];
      const counts = new Map<string, number>();
      {
        await using tiny = await open(parts[0].folder, { threads: 1 });
        for (let first = 0; first < samples; first += 50) {
          const runs = Array.from({ length: 50 }, (_, i) =>
            tiny.decode(
              start,
              withMethod({ temperature, maxTokens: length, seed: 11, request: first + i }, parts[1].folder, given),
            ),
          );
          for (const { tokens } of await Promise.all(runs.map((run) => run.final))) {
            counts.set(tokens.join(), (counts.get(tokens.join()) ?? 0) + 1);
          }
        }
      }
      const exact = new Map<string, number>();
      const spread = (output: number[], probability: number): void => {
        if (output.length === length) {
          exact.set(output.join(), probability);
          return;
        }
        const law = logSoftmax(
          parts[0]
            .logits([...start, ...output])
            .at(-1)!
            .map((x) => x / temperature),
        );
        law.forEach((log, id) => {
          spread([...output, id], probability * Math.exp(log));
        });
      };
      spread([], 1);
      expect(normalDeviate(counts, exact, samples)).toBeLessThan(4);
      await Promise.all(parts.map(removeModel));
    });
  });
}
