/** Contrasts against their definitions in float64: every step of a greedy text, inside every kind of method, in batches. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exitsOf } from "../../../test/fixtures/exits.ts";
import { logSoftmax } from "../../../test/fixtures/reference.ts";
import { removeModel, type TinyModel, type TinyOptions, writeTinyModel } from "../../../test/fixtures/tiny-model.ts";
import { methodChoice, type ShaperChoice } from "../../calls.ts";
import type { TraceEvent } from "../../engine/trace.ts";
import { type Model, open } from "../../open.ts";
import { divergence, plausibleTokens, viewOf } from "./view.ts";

const layers = 4;
let expert: TinyModel;
let amateur: TinyModel;
let draft: TinyModel;
let model: Model;
beforeAll(async () => {
  const config = { num_hidden_layers: layers, eos_token_id: undefined };
  expert = await writeTinyModel({ config, tokenizer: true });
  amateur = await writeTinyModel({ config, seed: 2, tokenizer: true });
  draft = await writeTinyModel({
    config: { num_hidden_layers: 1, intermediate_size: 32, eos_token_id: undefined },
    tokenizer: true,
  });
  model = await open(expert.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await Promise.all([expert, amateur, draft].map(removeModel));
});

const prompt = [5, 9, 2, 33, 14, 7, 7, 21, 5, 9];

type Law = (text: readonly number[]) => ArrayLike<number>;

function greedily(length: number, law: Law, from = prompt): number[] {
  const text = [...from];
  while (text.length < from.length + length) {
    const scores = Array.from(law(text));
    const next = scores.indexOf(Math.max(...scores));
    if (next === 1) break; // the tokenizer's end
    text.push(next);
  }
  return text.slice(from.length);
}

const plausible = (log: Float64Array, alpha: number, score: (token: number) => number): number[] => {
  const bound = Math.max(...log) + Math.log(alpha);
  return Array.from(log, (x, token) => (x >= bound ? score(token) : -Infinity));
};

/** Jensen-Shannon by the textbook and, reversed, as the authors of DoLa wrote it. */
function distance(p: Float64Array, q: Float64Array, reversed: boolean): number {
  return p.reduce((sum, x, i) => {
    const [a, b] = [Math.exp(x), Math.exp(q[i])];
    const m = (a + b) / 2;
    const part = (u: number, v: number): number => u * Math.log(u / v);
    return sum + (reversed ? part(m, a) + part(m, b) : part(a, m) + part(b, m)) / 2;
  }, 0);
}

function dolaLaw(candidates: readonly number[], alpha: number, reversed: boolean): Law {
  return (text) => {
    const exits = exitsOf(expert, text);
    const far = candidates.map((exit) => distance(exits[layers], exits[exit], reversed));
    const chosen = exits[candidates[far.indexOf(Math.max(...far))]];
    return plausible(exits[layers], alpha, (t) => exits[layers][t] - chosen[t]);
  };
}

interface LolSettings {
  alpha?: number;
  weights?: [number, number];
  exits?: number[];
  fusion?: "add" | "convex" | "logsumexp";
  share?: number;
  refocus?: number;
  replace?: boolean;
  words?: number[];
  /** Words before the text of the amateur, which is the expert itself then. */
  inducing?: number[];
}

function lolLaw({
  alpha = 0.1,
  weights: [high, low] = [1, 1],
  exits = [2],
  fusion = "add",
  share = 0.5,
  refocus = 0,
  replace = false,
  words = [],
  inducing,
}: LolSettings): Law {
  return (text) => {
    const own = exitsOf(expert, text);
    const other = inducing ? exitsOf(expert, [...inducing, ...text]) : exitsOf(amateur, text);
    const told = refocus > 0 || replace ? exitsOf(expert, [...words, ...text])[layers] : own[layers];
    const base = replace ? told : own[layers];
    return plausible(own[layers], alpha, (t) => {
      const top = base[t] - high * other[layers][t];
      const lower = exits.map((k) => own[k][t] - low * other[k][t]);
      const mean = lower.reduce((a, b) => a + b, 0) / lower.length;
      const fused = {
        add: top + share * mean,
        convex: (1 - share) * top + share * mean,
        logsumexp: Math.log(
          Math.exp(top) + share * (lower.map(Math.exp).reduce((a, b) => a + b, 0) / Math.max(1, lower.length)),
        ),
      }[fusion];
      return (lower.length > 0 ? fused : top) + refocus * (told[t] - own[layers][t]);
    });
  };
}

const contrasted = async (shapers: readonly ShaperChoice[], method = "greedy", from: readonly number[] = prompt) =>
  model.decode(from, { method: methodChoice(method), temperature: 0, maxTokens: 12, shapers }).final;

describe("one step at a time, by definition", () => {
  test.each([
    ["upper", [2], "reversed"],
    ["lower", [0], "reversed"],
    ["all", [0, 1, 2, 3], "reversed"],
    ["all", [0, 1, 2, 3], "standard"],
    [[1, 3], [1, 3], "standard"],
  ] as const)("dola over the exits %j", async (choice, exits, kind) => {
    const wanted = greedily(12, dolaLaw(exits, 0.1, kind === "reversed"));
    const { tokens } = await contrasted([{ name: "dola" as const, layers: choice, divergence: kind }]);
    expect(tokens).toEqual(wanted);
    expect(tokens).not.toEqual(greedily(12, (text) => expert.logits(text).at(-1)!));
  });

  test("cd, with a weight and a temperature of the amateur", async () => {
    const wanted = greedily(12, (text) => {
      const own = logSoftmax(expert.logits(text).at(-1)!);
      const other = logSoftmax(
        amateur
          .logits(text)
          .at(-1)!
          .map((x) => x / 0.5),
      );
      return plausible(own, 0.2, (t) => own[t] - 0.7 * other[t]);
    });
    const shaper = {
      name: "cd" as const,
      amateur: amateur.folder,
      alpha: 0.2,
      amateurWeight: 0.7,
      amateurTemperature: 0.5,
    };
    expect((await contrasted([shaper])).tokens).toEqual(wanted);
  });

  test("icd with an amateur, and with words before the model's own text", async () => {
    const fused = lolLaw({ exits: [], share: 0 });
    expect((await contrasted([{ name: "icd" as const, amateur: amateur.folder }])).tokens).toEqual(greedily(12, fused));
    const words = "the end of the";
    const inducing = model.tokenizer!.encode(words);
    const { tokens } = await contrasted([{ name: "icd" as const, inducing: words }]);
    expect(tokens).toEqual(greedily(12, lolLaw({ exits: [], share: 0, inducing })));
  });

  const words = "a tin hat";
  test.each([
    [{ exits: [2] }, {}],
    [{ exits: [0, 1, 3], share: 0.8, weights: [0.6, 1.3] }, {}],
    [{ exits: [1, 2], share: 0.3, fusion: "convex" }, {}],
    [{ exits: [1, 2], share: 2, fusion: "logsumexp" }, {}],
    [{ exits: [1], refocus: 1.5 }, {}],
    [
      { exits: [1], replace: true },
      { refocus: "replace", refocusWeight: undefined },
    ],
    [{ exits: [2], alpha: 0.4, share: 0 }, {}],
  ] as [LolSettings, object][])("lol %j", async (settings, given) => {
    const { exits, share = 0.5, weights = [1, 1], fusion = "add", refocus = 0, alpha = 0.1 } = settings;
    const before = model.tokenizer!.encode(words);
    const wanted = greedily(12, lolLaw({ ...settings, words: before }));
    const shaper = {
      name: "lol" as const,
      amateur: amateur.folder,
      layers: exits,
      fusion,
      fusionWeight: share,
      amateurWeight: weights[0],
      amateurWeightLow: weights[1],
      refocusWeight: refocus,
      instruction: words,
      alpha,
      ...given,
    };
    expect((await contrasted([shaper])).tokens).toEqual(wanted);
  });

  test("a text's begin token stays in front of an instruction", async () => {
    const words = "the cat";
    const text = "an inning";
    const ids = model.tokenizer!.encode(text);
    const first = model.tokenizer!.encode(words);
    const inducing = [0, ...first, ...ids.slice(1)];
    if (ids[0] !== 0) {
      // This tokenizer adds none: then the prompt has it by hand.
      const { tokens } = await contrasted([{ name: "icd" as const, inducing: words }], "greedy", [0, ...ids]);
      expect(tokens).toEqual(greedily(12, lolLaw({ exits: [], share: 0, inducing: first }), [0, ...ids]));
      return;
    }
    const law: Law = (whole) => lolLaw({ exits: [], share: 0, inducing: inducing.slice(0, first.length + 1) })(whole);
    expect((await contrasted([{ name: "icd" as const, inducing: words }], "greedy", ids)).tokens).toEqual(
      greedily(12, law, ids),
    );
  });
});

describe("inside every method", () => {
  const shapers = () => [{ name: "lol" as const, amateur: amateur.folder, refocusWeight: 0.7, instruction: "hat" }];

  test("the same greedy text with every drafter, and beside other requests", async () => {
    const words = model.tokenizer!.encode("hat");
    const wanted = greedily(12, lolLaw({ refocus: 0.7, words }));
    const others = [{ name: "dyspec", draft: draft.folder, budget: 6 }, "aded", { name: "chain", draft: draft.folder }];
    const runs = [...others, ...others, "prompt-lookup"].map((method, i) =>
      model.decode(i % 2 ? prompt : [...prompt, 3 + i], {
        method: methodChoice(method),
        temperature: 0,
        maxTokens: 12,
        shapers: shapers(),
      }),
    );
    const results = await Promise.all(runs.map((run) => run.final));
    for (const [i, { tokens }] of results.entries()) if (i % 2) expect(tokens).toEqual(wanted);
    expect([model.forest.held, (await model.companion(amateur.folder, "peer")).forest.held]).toEqual([0, 0]);
  });

  test("sampling: one text per seed, drawn from the fused law", async () => {
    const options = { temperature: 1.3, maxTokens: 10, seed: 3, logprobs: 2, shapers: shapers() };
    const plain = await model.decode(prompt, { ...options, method: "sample" }).final;
    const words = model.tokenizer!.encode("hat");
    const law = lolLaw({ refocus: 0.7, words });
    plain.logprobs!.forEach(({ token, shaped, raw }, i) => {
      const text = [...prompt, ...plain.tokens.slice(0, i)];
      const fused = logSoftmax(Array.from(law(text), (x) => x / 1.3));
      expect(Math.abs(shaped - fused[token])).toBeLessThan(2e-3);
      expect(Math.abs(raw - logSoftmax(expert.logits(text).at(-1)!)[token])).toBeLessThan(1e-4);
    });
    for (const method of [{ name: "dyspec", draft: draft.folder, budget: 6 }, { name: "aded" }]) {
      expect((await model.decode(prompt, { ...options, method: methodChoice(method) }).final).tokens).toEqual(
        plain.tokens,
      );
    }
  });

  test("beams are ranked by the fused law", async () => {
    const method = methodChoice({ name: "beam", beams: 3 });
    const { hypotheses } = await model.decode(prompt, { method, maxTokens: 5, shapers: shapers() }).final;
    const law = lolLaw({ refocus: 0.7, words: model.tokenizer!.encode("hat") });
    for (const { tokens, logprob } of hypotheses!) {
      const sum = tokens.reduce(
        (total, token, i) => total + logSoftmax(law([...prompt, ...tokens.slice(0, i)]))[token],
        0,
      );
      expect(Math.abs(sum - logprob)).toBeLessThan(5e-3);
    }
  });

  test("under a constraint, which comes after the fusion", async () => {
    const { text } = await model.decode("the cat", {
      temperature: 0,
      maxTokens: 8,
      constraint: { regex: "[a-d]{4}" },
      // Where it allows nothing plausible, what is plausible among what it allows is contrasted.
      shapers: [{ name: "dola" as const, alpha: 1 }],
    }).final;
    expect(text).toMatch(/^[a-d]{4}$/);
  });

  test("two contrasts in one request may read the same exit", async () => {
    const both = await contrasted([
      { name: "dola" as const, layers: [2] },
      { name: "lol" as const, amateur: amateur.folder, layers: [2], refocusWeight: 0 },
    ]);
    expect(both.tokens.length).toBeGreaterThan(0);
  });
});

describe("reductions", () => {
  const same = { alpha: 0.1, layers: [1], refocusWeight: 0 };
  test("an amateur that is the expert leaves the plausible tokens equal", async () => {
    const { tokens } = await contrasted([{ name: "lol" as const, amateur: expert.folder, ...same }]);
    // Of equals the lowest id wins.
    const wanted = greedily(12, (text) => {
      const log = logSoftmax(expert.logits(text).at(-1)!);
      return plausible(log, 0.1, () => 0);
    });
    expect(tokens).toEqual(wanted);
  });

  test("without lower exits and refocusing it is icd, and with alpha 1 the expert's own choice", async () => {
    const lol = await contrasted([
      { name: "lol" as const, amateur: amateur.folder, fusionWeight: 0, refocusWeight: 0, alpha: 0.3 },
    ]);
    const icd = await contrasted([{ name: "icd" as const, amateur: amateur.folder, alpha: 0.3 }]);
    expect(lol.tokens).toEqual(icd.tokens);
    const sure = await contrasted([{ name: "lol" as const, amateur: amateur.folder, alpha: 1, instruction: "hat" }]);
    expect(sure.tokens).toEqual(greedily(12, (text) => expert.logits(text).at(-1)!));
  });

  test("plausibility: never empty, all for 0, and only the expert has a say", () => {
    const view = viewOf([1, 3, 2, -Infinity, 3], "x");
    expect(plausibleTokens(view, 1)).toEqual([1, 4]);
    expect(plausibleTokens(view, 0.2)).toEqual([1, 2, 4]);
    expect(plausibleTokens(view, 0)).toEqual([0, 1, 2, 4]);
  });

  test("divergences of laws that rule tokens out", () => {
    const [p, q] = [viewOf([0, 0, -Infinity], "p"), viewOf([-Infinity, 0, 0], "q")];
    expect(divergence(p, q, "standard")).toBeCloseTo(Math.log(2) / 2, 12);
    expect(divergence(p, p, "standard")).toBeCloseTo(0, 12);
    expect(divergence(p, q, "reversed")).toBeGreaterThan(divergence(p, p, "reversed"));
  });
});

test("the trace tells for each token what was shifted", async () => {
  const run = model.decode(prompt, {
    method: methodChoice({ name: "dyspec", draft: draft.folder, budget: 6 }),
    temperature: 0,
    maxTokens: 12,
    shapers: [{ name: "dola" as const, layers: "all" }],
  });
  const events: TraceEvent[] = [];
  for await (const event of run) events.push(event);
  const { tokens } = await run.final;
  const told = events.filter((event) => event.type === "contrast");
  expect(told.map(({ token }) => token)).toEqual(tokens);
  expect(told.map(({ position }) => position)).toEqual(tokens.map((_, i) => prompt.length + i));
  for (const [i, { tokens: shown, before, after, exits }] of told.entries()) {
    const log = exitsOf(expert, [...prompt, ...tokens.slice(0, i)]);
    shown.forEach((token, k) => {
      expect(before[k]).toBeCloseTo(Math.exp(log[layers][token]), 4);
      const kept = plausible(log[layers], 0.1, (t) => log[layers][t] - log[exits![0]][t]);
      expect(after[k]).toBeCloseTo(Math.exp(logSoftmax(kept)[token]), 3);
    });
    expect(shown).toContain(tokens[i]);
  }
});

describe("what cannot be honoured", () => {
  const refused = (shaper: ShaperChoice, message: RegExp) => expect(contrasted([shaper])).rejects.toThrow(message);

  test("is refused by name", async () => {
    await refused({ name: "dola" as const, layers: [1, 4] }, /lower exits 0 to 3, not 4; 4 is its ordinary output/);
    await refused({ name: "dola" as const, layers: [1, 1] }, /only once/);
    await refused({ name: "lol" as const, fusion: "convex", fusionWeight: 2 }, /fusionWeight/);
    await refused({ name: "lol" as const, refocus: "replace", refocusWeight: 1 }, /refocusWeight/);
    expect(() => model.decode(prompt, { shapers: [{ name: "lol" as const, alpha: 2 }] })).toThrow(/alpha/);
    expect(() => model.decode(prompt, { shapers: [{ name: "lol" as const, fusionWeight: -1 }] })).toThrow(
      /fusionWeight/,
    );
    expect(() => model.decode(prompt, { shapers: ["cd"] })).toThrow(/amateur/);
    expect(model.forest.held).toBe(0);
  });

  test("an amateur of another vocabulary, without the layers, or that fills a canvas", async () => {
    await refused({ name: "cd" as const, amateur: "mycenae" }, /^amateur: the model mycenae has no forest/);
    await using other = await tiny({ vocab_size: 60 });
    await refused({ name: "cd" as const, amateur: other.folder }, /another vocabulary/);
    await refused({ name: "lol" as const, amateur: draft.folder, layers: [2] }, /no lower exit 2/);
  });

  test("an amateur that breaks ends the run and says whose logits they were", async () => {
    await using broken = await tiny({}, (tensors) => {
      (tensors.get("model.norm.weight")!.data as Float32Array)[3] = Number.NaN;
    });
    await expect(contrasted([{ name: "cd" as const, amateur: broken.folder }])).rejects.toThrow();
    expect(model.forest.held).toBe(0);
  });

  test("where another's context is full, the text ends", async () => {
    const words = "the ".repeat(20);
    const used = model.tokenizer!.encode(words).length;
    const { finish, tokens } = await model.decode(prompt, {
      temperature: 0,
      maxTokens: 500,
      shapers: [{ name: "icd" as const, inducing: words }],
    }).final;
    expect(finish).toBe("context");
    expect(tokens.length).toBe(96 - used - prompt.length + 1);
  });

  async function tiny(config: Record<string, unknown>, tensors?: TinyOptions["tensors"]) {
    const made = await writeTinyModel({
      config: { num_hidden_layers: layers, eos_token_id: undefined, ...config },
      tokenizer: true,
      tensors,
    });
    return { folder: made.folder, [Symbol.asyncDispose]: () => removeModel(made) };
  }
});
