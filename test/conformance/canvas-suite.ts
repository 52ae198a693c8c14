/** What every method over a canvas owes its users, as `suite.ts` says it of those that grow a text to the right. */
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { methodChoice } from "../../src/calls.ts";
import type { Canvas } from "../../src/engine/canvas/canvas.ts";
import { type DecodeOptions, type Model, open } from "../../src/index.ts";
import { logSoftmax } from "../fixtures/reference.ts";
import { maskToken, type TinyDiffusion, writeTinyDiffusion } from "../fixtures/tiny-diffusion.ts";
import { vocabularySize } from "../fixtures/tiny-model.ts";
import { traceEvent } from "../trace-schema.ts";
import { traceOf } from "./suite.ts";

export interface CanvasConformance {
  /** The method's options in every check; what they need beside the model is made here. */
  options?: (model: Model) => Promise<Record<string, unknown>>;
  /** The method only decodes at temperature 0. */
  greedyOnly?: boolean;
  /** Its options fit the length of these checks alone. */
  oneLength?: boolean;
}

/** Length and blocks of every check. */
export const canvasChecks = { maxTokens: 24, blockLength: 8, prompt: "the cat and the hat. the c" };

export function canvasConformance(name: string, { options, greedyOnly, oneLength }: CanvasConformance = {}): void {
  describe(name, () => {
    const { maxTokens, blockLength, prompt } = canvasChecks;
    let tiny: TinyDiffusion;
    let model: Model;
    let own: Record<string, unknown> = {};
    beforeAll(async () => {
      tiny = await writeTinyDiffusion({ tokenizer: true });
      model = await open(tiny.folder, { threads: 1 });
      own = (await options?.(model)) ?? {};
    });
    afterAll(async () => {
      await model.close();
      await rm(tiny.folder, { recursive: true, force: true });
    });
    const canvas = (): Canvas => model.ability<Canvas>("canvas");
    const withMethod = (rest: DecodeOptions = {}, given: object = {}): DecodeOptions => ({
      method: methodChoice({ name, blockLength, ...own, ...given }),
      maxTokens,
      ...rest,
    });

    test.each(greedyOnly ? [0] : [0, 0.8])(
      "a seed repeats, whatever runs beside it, to the last bit (temperature %d)",
      async (temperature) => {
        const request = withMethod({ temperature, seed: 5, request: 3 });
        const confidences = async (others: () => Promise<unknown>[]): Promise<[readonly number[], number[]]> => {
          const run = model.decode(prompt, request);
          const beside = others();
          const trace = await traceOf(run);
          await Promise.all(beside);
          return [(await run.final).canvas!, trace.flatMap((e) => (e.type === "unmask" ? (e.confidences ?? []) : []))];
        };
        const alone = await confidences(() => []);
        const before = canvas().counters.passes;
        const mixed = await confidences(() =>
          Array.from({ length: 5 }, (_, i) => {
            const other: DecodeOptions = {
              maxTokens: [16, 32, 64][i % 3],
              seed: i,
              temperature,
              method: methodChoice({ name: "fixed-k", k: 1 + i, cache: (["none", "dual", "prefix"] as const)[i % 3] }),
            };
            return model.decode(prompt.slice(0, 4 + 4 * i), other).final;
          }),
        );
        expect(mixed).toEqual(alone);
        expect(canvas().counters.passes - before).toBeLessThan(2.2 * maxTokens + 20); // passes were shared
        if (temperature > 0) {
          for (const other of [{ seed: 6 }, { request: 4 }])
            expect((await model.decode(prompt, { ...request, ...other }).final).canvas).not.toEqual(alone[0]);
        }
        expect(canvas().held).toBe(0);
      },
    );

    test.each(["none", "prefix", "dual", "delayed"])(
      "cache %s: everything is filled, nothing is kept",
      async (cache) => {
        const final = await model.decode(prompt, withMethod({}, { cache, earlyStop: false })).final;
        expect(final.canvas!.length).toBeLessThanOrEqual(maxTokens);
        expect(final.canvas).not.toContain(maskToken);
        expect(canvas().held).toBe(0);
      },
    );

    test("streamed text is the final text, and that of the tokens", async () => {
      const run = model.decode(prompt, withMethod({ temperature: greedyOnly ? 0 : 1 }));
      let streamed = "";
      for await (const piece of run.text) streamed += piece;
      const { text, tokens, canvas: whole } = await run.final;
      expect(streamed).toBe(text);
      expect(text).toBe(model.tokenizer!.decode([...tokens], { continued: true }));
      expect(whole!.slice(0, tokens.length)).toEqual(tokens);
    });

    test("the trace is valid, and filling in what it says gives the canvas", async () => {
      for (const cache of ["none", "dual"]) {
        const run = model.decode(prompt, withMethod({ logprobs: 2 }, { cache, earlyStop: false }));
        const trace = await traceOf(run);
        const final = await run.final;
        for (const each of trace) traceEvent.parse(JSON.parse(JSON.stringify(each)));
        expect([trace[0].type, trace.at(-1)!.type]).toEqual(["start", "finish"]);
        let cells: number[] = [];
        let pass = 0;
        for (const each of trace) {
          if (each.type === "canvas") {
            expect([pass, each.positions]).toEqual([0, []]); // told before the first pass
            cells = Array<number>(each.length).fill(maskToken);
          }
          if (each.type === "unmask") {
            expect(each.pass).toBe(pass + 1); // a pass that filled nothing, too
            pass = each.pass;
            each.positions.forEach((at, i) => {
              expect(cells[at]).toBe(maskToken); // a filled position never changes again
              cells[at] = each.tokens[i];
            });
          }
          if (each.type === "truncate") cells.length = each.length;
        }
        expect(cells).toEqual(final.canvas);
        const outputs = trace.filter((each) => each.type === "tokens");
        expect(outputs.flatMap((each) => each.tokens)).toEqual(final.tokens);
        expect(outputs.flatMap((each) => each.logprobs ?? [])).toEqual(final.logprobs);
        expect(trace.some((each) => each.type === "refresh")).toBe(cache !== "none");
        expect(trace.at(-1)).toMatchObject({ reason: final.finish, counters: final.counters });
        expect(final.counters.passes).toBe(pass);
      }
    });

    test("log-probabilities are those of the pass in which a position was filled", async () => {
      const run = model.decode(prompt, withMethod({ logprobs: vocabularySize }, { earlyStop: false }));
      const trace = await traceOf(run);
      const { logprobs, tokens } = await run.final;
      const start = model.tokenizer!.encode(prompt);
      const state = [...start, ...Array<number>(maxTokens).fill(maskToken)];
      const wanted = new Map<number, number>();
      for (const each of trace) {
        if (each.type === "truncate") state.length = start.length + each.length;
        if (each.type !== "unmask") continue;
        const rows = tiny.logits(state);
        each.positions.forEach((at, i) => {
          wanted.set(at, logSoftmax(rows[start.length + at])[each.tokens[i]]);
        });
        each.positions.forEach((at, i) => {
          state[start.length + at] = each.tokens[i];
        });
      }
      expect(logprobs!.map(({ token }) => token)).toEqual(tokens);
      logprobs!.forEach(({ raw, top }, at) => {
        expect(Math.abs(raw - wanted.get(at)!)).toBeLessThan(1e-3);
        expect(top!.reduce((sum, each) => sum + Math.exp(each.raw), 0)).toBeCloseTo(1, 6);
      });
    });

    test("a stop string ends the text, and with it the run, unless the whole canvas is wanted", async () => {
      const { text } = await model.decode(prompt, withMethod()).final;
      const stop = [...text].slice(3, 5).join("");
      const stopped = await model.decode(prompt, withMethod({ stop })).final;
      expect(stopped).toMatchObject({ finish: "stop", stop, text: text.slice(0, text.indexOf(stop)) });
      const whole = await model.decode(prompt, withMethod({ stop }, { earlyStop: false })).final;
      expect(whole).toMatchObject({ finish: "stop", stop, text: stopped.text });
      expect(whole.counters.passes).toBeGreaterThanOrEqual(stopped.counters.passes);
      expect(whole.canvas).not.toContain(maskToken);
    });

    test("an abort, and leaving the loop, end it within one pass and free what it held", async () => {
      for (const leave of [false, true]) {
        const run = model.decode(prompt, withMethod({}, { cache: "dual" }));
        let passes = 0;
        for await (const { type } of run) {
          if (type !== "unmask") continue;
          passes = canvas().counters.passes;
          if (leave) break;
          run.abort();
        }
        expect((await run.final).finish).toBe("aborted");
        expect(canvas().counters.passes - passes).toBeLessThanOrEqual(1);
        expect(canvas().held).toBe(0);
      }
      const never = await model.decode(prompt, withMethod({ signal: AbortSignal.abort() })).final;
      expect(never).toMatchObject({ finish: "aborted", tokens: [], text: "" });
    });

    test("what would keep more than the limit fails by itself, saying what to do", async () => {
      await using small = await open(tiny.folder, { threads: 1, memoryLimit: 2000 });
      const method = methodChoice({ name, blockLength, ...own });
      const cached = methodChoice({ name, blockLength, ...own, cache: "dual" });
      await expect(small.decode(prompt, { method: cached, maxTokens }).final).rejects.toThrow(/limit.*cache "none"/s);
      const plain = small.decode(prompt, { method, maxTokens }).final;
      await expect(plain).resolves.toMatchObject({ finish: expect.any(String) });
    });

    test.runIf(!oneLength)("lengths that blocks do not divide, and that the context has not, are refused", async () => {
      const method = methodChoice({ name, blockLength, ...own });
      const odd = model.decode(prompt, { method, maxTokens: 20 }).final;
      await expect(odd).rejects.toThrow(/20 positions cannot be cut into blocks of 8: give 16 or 24/);
      const context = model.config.contextLength;
      const long = model.decode(prompt, { method, maxTokens: context - (context % 8) }).final;
      await expect(long).rejects.toMatchObject({ code: "context_full" });
      const one = await model.decode(prompt, { method: methodChoice({ name, ...own, blockLength: 1 }), maxTokens: 2 })
        .final;
      expect(one.canvas).toHaveLength(2);
    });

    test("what a canvas cannot honour is refused by name", async () => {
      const method = methodChoice({ name, blockLength, ...own });
      const refused = (options: DecodeOptions): Promise<unknown> =>
        model.decode(prompt, { maxTokens, method, ...options }).final;
      expect(() => model.decode(prompt, { method: methodChoice({ name, ...own, nonsense: 1 }) })).toThrow(/nonsense/);
      expect(() => model.decode(prompt, { method: methodChoice({ name, ...own, cache: "all" }) })).toThrow(/cache/);
      await expect(refused({ constraint: { regex: "a*" } })).rejects.toThrow(/constraint/);
      await expect(refused({ frequencyPenalty: 1 })).rejects.toThrow(/frequencyPenalty/);
      await expect(refused({ mirostat: {}, ...(greedyOnly ? {} : { temperature: 1 }) })).rejects.toThrow(/mirostat/);
      await expect(refused({ taps: ["final"] })).rejects.toThrow(/taps/);
      await expect(refused({ method: methodChoice({ name, blockLength, ...own, refresh: 2 }) })).rejects.toThrow(
        /refresh/,
      );
      const masked = model.decode([3, maskToken, 4], { method, maxTokens }).final;
      await expect(masked).rejects.toThrow(/mask token/);
      if (greedyOnly) await expect(refused({ temperature: 1 })).rejects.toThrow(/temperature/);
    });

    test.runIf(!greedyOnly)("end tokens are banned before minTokens, and other tokens as asked", async () => {
      const { canvas: free } = await model.decode(prompt, withMethod({ temperature: 1 })).final;
      const banned = [...new Set(free)].slice(0, 5);
      const request = withMethod({ temperature: 1, badTokens: banned, minTokens: 10, stopTokens: [20, 21, 22] });
      const { canvas: found } = await model.decode(prompt, request).final;
      for (const token of banned) expect(found).not.toContain(token);
      for (const token of [1, 20, 21, 22]) expect(found!.slice(0, 10)).not.toContain(token);
      const top = await model.decode(prompt, withMethod({ temperature: 5, topK: 1 })).final;
      expect(top.canvas).toEqual((await model.decode(prompt, withMethod({ temperature: 0 })).final).canvas);
    });
  });
}
