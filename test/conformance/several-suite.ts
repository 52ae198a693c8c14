/** What every method that grows several texts at once owes its users, as `suite.ts` says it of those that grow one. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { methodChoice } from "../../src/calls.ts";
import type { TraceEvent } from "../../src/engine/trace.ts";
import { type DecodeOptions, type Model, open } from "../../src/index.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../fixtures/tiny-model.ts";
import { traceEvent } from "../trace-schema.ts";
import { traceOf } from "./suite.ts";

export interface SeveralConformance {
  /** The method's options in every check. */
  options?: Record<string, unknown>;
  /** Its result does not depend on the seed. */
  seedless?: boolean;
}

/** What such methods tell of their texts. */
const telling = ["beams", "particles", "explore"];
const prompt = "the cat and the hat. the c";

export function severalConformance(title: string, name: string, { options, seedless }: SeveralConformance = {}): void {
  describe(title, () => {
    let tiny: TinyModel;
    let model: Model;
    beforeAll(async () => {
      tiny = await writeTinyModel({ tokenizer: true });
      model = await open(tiny.folder, { threads: 1 });
    });
    afterAll(async () => {
      await model.close();
      await removeModel(tiny);
    });
    const withMethod = (rest: DecodeOptions = {}, more: object = {}): DecodeOptions => ({
      method: methodChoice({ name, ...options, ...more }),
      maxTokens: 12,
      ...rest,
    });
    /** What a run told and gave, but for times and for how its passes were shared. */
    const account = async (rest: DecodeOptions) => {
      const run = model.decode(prompt, withMethod(rest));
      const told = (await traceOf(run)).filter(({ type }) => telling.includes(type));
      const { text, tokens, hypotheses, finish } = await run.final;
      return { told, text, tokens, hypotheses, finish };
    };

    test("a seed gives the same texts and the same search, alone and among eight", async () => {
      const request = { seed: 5, request: 3 };
      const alone = await account(request);
      expect(alone.told.length).toBeGreaterThan(1);
      const others = Array.from({ length: 7 }, (_, i) =>
        model.decode(prompt.slice(0, 5 + 3 * i), i % 2 ? withMethod({ seed: i }) : { maxTokens: 12, seed: i }),
      );
      const mixed = await account(request);
      await Promise.all(others.map((run) => run.final));
      expect(mixed).toEqual(alone);
      if (!seedless) {
        expect(await account({ ...request, seed: 6 })).not.toEqual(alone);
        expect(await account({ ...request, request: 4 })).not.toEqual(alone);
      }
      expect(model.forest.held).toBe(0);
    });

    test("streamed text is the final text, that of the tokens, and one of the texts found", async () => {
      const run = model.decode(prompt, withMethod());
      let streamed = "";
      for await (const piece of run.text) streamed += piece;
      const { text, tokens, hypotheses } = await run.final;
      expect(streamed).toBe(text);
      expect(text).toBe(model.tokenizer!.decode([...tokens], { continued: true }));
      expect(hypotheses!.map((one) => one.text)).toContain(text);
    });

    test("limits hold: of tokens, of the context, and a stop string", async () => {
      const one = await model.decode(prompt, withMethod({ maxTokens: 1 })).final;
      expect(one.tokens.length).toBeLessThanOrEqual(1);
      const ids = Array.from({ length: model.config.contextLength - 3 }, (_, i) => 3 + ((i * 7) % 40));
      const full = await model.decode(ids, withMethod({ maxTokens: 50 })).final;
      expect(full.tokens.length).toBeLessThanOrEqual(4);
      expect(["context", "length", "end"]).toContain(full.finish);
      const { text } = await model.decode(prompt, withMethod()).final;
      if (text.length > 2) {
        const stop = text[1];
        const stopped = await model.decode(prompt, withMethod({ stop })).final;
        expect(stopped.text).not.toContain(stop);
      }
      expect(model.forest.held).toBe(0);
    });

    test("the trace is valid, and what it gives out is the text", async () => {
      const run = model.decode(prompt, withMethod({ logprobs: 2, request: 3 }));
      const trace: TraceEvent[] = await traceOf(run);
      const final = await run.final;
      for (const each of trace) {
        traceEvent.parse(JSON.parse(JSON.stringify(each)));
        expect(each.request).toBe(3);
      }
      expect([trace[0].type, trace[1].type, trace.at(-1)!.type]).toEqual(["start", "prefill", "finish"]);
      const outputs = trace.filter((each) => each.type === "tokens");
      expect(outputs.flatMap((each) => each.tokens)).toEqual(final.tokens);
      expect(outputs.map((each) => each.text).join("")).toBe(final.text);
      expect(outputs.flatMap((each) => each.logprobs ?? [])).toEqual(final.logprobs);
      expect(trace.at(-1)).toMatchObject({ reason: final.finish, counters: final.counters });
    });

    test("an abort, and leaving the loop, end it within one pass and free what it held", async () => {
      for (const leave of [false, true]) {
        const run = model.decode(prompt, withMethod({ maxTokens: 40 }));
        let passes: number | undefined;
        for await (const { type } of run) {
          if (!telling.includes(type) || passes !== undefined) continue;
          passes = model.forest.counters.passes;
          if (leave) break;
          run.abort();
        }
        expect(passes).toBeDefined();
        expect((await run.final).finish).toBe("aborted");
        expect(model.forest.counters.passes - passes!).toBeLessThanOrEqual(1);
        expect(model.forest.held).toBe(0);
      }
      const never = await model.decode(prompt, withMethod({ signal: AbortSignal.abort() })).final;
      expect(never).toMatchObject({ finish: "aborted", tokens: [], text: "" });
    });

    test("with a constraint every finished text is valid, the output above all", async () => {
      const constraint = { regex: "(cat|hat|the){1,3}" };
      const { text, hypotheses, finish } = await model.decode(prompt, withMethod({ constraint, maxTokens: 20 })).final;
      expect(finish).toBe("end");
      expect(text).toMatch(/^(cat|hat|the){1,3}$/);
      for (const one of hypotheses!) if (one.finished) expect(one.text).toMatch(/^(cat|hat|the){1,3}$/);
      await expect(
        model.decode(prompt, withMethod({ constraint: (begun: string) => (begun === "" ? false : "never") })).final,
      ).rejects.toMatchObject({ code: "constraint_dead_end" });
      expect(model.forest.held).toBe(0);
    });

    test("what maxTokens cuts off under a constraint is incomplete, and begins as something valid does", async () => {
      const constraint = { regex: "(cat|hat|the){8,9}" };
      for (const maxTokens of [1, 3]) {
        const { text, tokens, hypotheses, finish } = await model.decode(prompt, withMethod({ constraint, maxTokens }))
          .final;
        expect({ finish, tokens: tokens.length }).toEqual({ finish: "incomplete", tokens: maxTokens });
        expect(text).toMatch(/^(cat|hat|the)*[a-z]{0,2}$/);
        expect(hypotheses!.every(({ finished }) => !finished)).toBe(true);
      }
      expect(model.forest.held).toBe(0);
    });

    test("no slot is leaked", async () => {
      const round = async (): Promise<number> => {
        await Promise.all([0, 1, 2, 3].map((i) => model.decode(prompt.slice(i), withMethod({ seed: i })).final));
        expect(model.forest.held).toBe(0);
        return model.forest.size;
      };
      await round();
      const size = await round();
      expect(await round()).toBe(size);
    });

    test("unknown options are refused by name", () => {
      expect(() => model.decode(prompt, withMethod({}, { nonsense: 1 }))).toThrow(/nonsense/);
      expect(() => model.decode(prompt, { ...withMethod(), temprature: 1 } as DecodeOptions)).toThrow(/temprature/);
    });
  });
}
