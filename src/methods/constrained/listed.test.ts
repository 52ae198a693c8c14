/** Particles and weighted rejection over what an engine behind a network lists: against everything that a small engine can say, enumerated. */
import { describe, expect, it } from "vitest";
import { methodChoice } from "../../calls.ts";
import { uniform } from "../../engine/random.ts";
import { listening, openAt } from "../../engine/remote/engines.fixture.ts";
import type { Model, OpenOptions } from "../../open.ts";

type Law = (text: string) => Readonly<Record<string, number>>;
/** At the beginning, and after any text. */
const laws =
  (first: Readonly<Record<string, number>>, then: Readonly<Record<string, number>>): Law =>
  (text) =>
    text === "" ? first : then;

interface Engine {
  /** Tokens that are listed at most. */
  readonly most?: number;
  /** The field that it must be given to list anything where the text may end. */
  readonly asks?: string;
  readonly chatForm?: boolean;
}

/** An engine with this law of the next token; "</s>" ends a text. */
async function behind(law: Law, options: OpenOptions = {}, { most = 100, asks, chatForm }: Engine = {}) {
  const seen: { prompt: string }[] = [];
  const url = await listening((request, response) => {
    if (request.url === "/v1/models") return response.end(JSON.stringify({ data: [{ id: "small" }] }));
    const parts: Buffer[] = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      const body = JSON.parse(Buffer.concat(parts).toString());
      seen.push(body);
      const entries = Object.entries(law(body.prompt.slice(1))).sort((a, b) => b[1] - a[1]);
      const listed = entries.slice(0, Math.min(most, body.logprobs)).map(([name, p]) => [name, Math.log(p)] as const);
      const silent = asks !== undefined && law(body.prompt.slice(1))["</s>"] && !(asks in body);
      const [drawn, logprob] = listed[0];
      const legacy = { tokens: [drawn], token_logprobs: [logprob], top_logprobs: [Object.fromEntries(listed)] };
      const tops = listed.map(([token, value]) => ({ token, logprob: value }));
      const content = [{ token: drawn, logprob, top_logprobs: tops }];
      const logprobs = silent ? null : chatForm ? { content } : legacy;
      const choice = { text: silent ? "" : drawn, finish_reason: silent ? "stop" : "length", logprobs };
      response.end(JSON.stringify({ choices: [choice] }));
    });
  });
  return { model: await openAt(url, options), seen };
}

const letters = ["a", "b", "ab", "c", "</s>"];
/** A law of its own after every text. */
const random: Law = (text) => {
  const place = [...text].reduce((hash, letter) => (hash * 31 + letter.charCodeAt(0)) % 2 ** 31, 7);
  const weights = letters.map((_, i) => uniform({ seed: 5, request: 0 }, place, "data", i) ** 2 + 0.02);
  const total = weights.reduce((a, b) => a + b, 0);
  return Object.fromEntries(letters.map((letter, i) => [letter, weights[i] / total]));
};

/** The mass of every text of at most `longest` tokens, the end included, that is valid; `most`: by tokens that are among the likeliest. */
function enumerate(law: Law, valid: RegExp, longest: number, most = 100): Map<string, number> {
  const masses = new Map<string, number>();
  const visit = (text: string, tokens: number, mass: number): void => {
    const entries = Object.entries(law(text)).sort((a, b) => b[1] - a[1]);
    for (const [name, p] of entries.slice(0, most)) {
      if (name === "</s>") {
        if (valid.test(text)) masses.set(text, (masses.get(text) ?? 0) + mass * p);
      } else if (tokens + 1 < longest) visit(text + name, tokens + 1, mass * p);
    }
  };
  visit("", 0, 1);
  return masses;
}
const total = (masses: ReadonlyMap<string, number>): number => [...masses.values()].reduce((a, b) => a + b, 0);

/** Pools runs: the weighted posterior, the mean evidence, and what each run said that it missed. */
async function pooled(model: Model, regex: string, settings: object, runs: number) {
  const posterior = new Map<string, number>();
  let evidence = 0;
  const missed: { places: number; largest: number; share?: number }[] = [];
  for (let seed = 0; seed < runs; seed++) {
    const method = { name: "smc", particles: 300, threshold: 0, ...settings } as const;
    const run = model.decode(">", { constraint: { regex }, method, maxTokens: 5, seed });
    let logEvidence = 0;
    for await (const event of run) if (event.type === "particles") logEvidence = event.logEvidence!;
    const { hypotheses, counters, text, finish } = await run.final;
    expect(text).toMatch(new RegExp(`^(${regex})$`));
    expect(finish).toBe("end");
    const weight = Math.exp(logEvidence) / runs;
    evidence += weight;
    for (const one of hypotheses!) posterior.set(one.text, (posterior.get(one.text) ?? 0) + weight * one.score);
    missed.push(counters.missed!);
  }
  return { posterior, evidence, missed };
}
const distance = (a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): number =>
  [...new Set([...a.keys(), ...b.keys()])].reduce(
    (sum, text) => sum + Math.abs((a.get(text) ?? 0) / total(a) - (b.get(text) ?? 0) / total(b)) / 2,
    0,
  );

const regex = "a?(b|ab)*c?";
/** Of 300 particles each: the law of a few thousand texts. */
const runs = 5;
const form = /^a?(b|ab)*c?$/;

describe("particles", () => {
  it.each(["recursive", "masking"])(
    "follow the law of all valid texts where everything is listed, and say that they are exact (%s)",
    async (estimator) => {
      const { model, seen } = await behind(random, {}, { chatForm: estimator === "masking" });
      const exact = enumerate(random, form, 5);
      const { posterior, evidence, missed } = await pooled(model, regex, { estimator }, runs);
      expect(distance(posterior, exact)).toBeLessThan(0.06);
      expect(Math.abs(evidence / total(exact) - 1)).toBeLessThan(0.06);
      expect(missed).toEqual(Array(runs).fill({ places: 0, largest: 0, share: 0 }));
      expect(new Set(seen.map(({ prompt }) => prompt)).size * runs).toBeGreaterThanOrEqual(seen.length); // a text is asked about once a run
    },
  );

  it("bound what they miss where the engine lists less, and the bound holds", async () => {
    const { model } = await behind(random, {}, { most: 3 });
    const [exact, listed] = [enumerate(random, form, 5), enumerate(random, form, 5, 3)];
    const { posterior, evidence, missed } = await pooled(model, regex, { estimator: "adaptive" }, runs);
    expect(distance(posterior, listed)).toBeLessThan(0.06);
    expect(Math.abs(evidence / total(listed) - 1)).toBeLessThan(0.06);
    // The distance in total variation of the two laws over tokens; over texts, which may be cut in several ways, it is no larger.
    const truth = 1 - total(listed) / total(exact);
    expect(distance(listed, exact)).toBeLessThan(truth + 1e-12);
    expect(truth).toBeGreaterThan(0.02);
    const share = missed.reduce((sum, one) => sum + one.share!, 0) / missed.length;
    expect(share).toBeGreaterThan(truth);
    expect(Math.max(...missed.map(({ largest }) => largest))).toBeLessThan(0.4);
    expect(missed.every(({ places }) => places > 0)).toBe(true);
  });

  it("are exact over a few listed tokens where no other one can be valid", async () => {
    // 0.2 is not listed at first, and 0.25 after it; but "x" and "c" are all that is valid, and then the end.
    const law = laws({ x: 0.3, c: 0.3, a: 0.2, b: 0.15, "</s>": 0.05 }, { "</s>": 0.4, a: 0.35, b: 0.2, c: 0.05 });
    const { model } = await behind(law, {}, { most: 3 });
    const method = { name: "smc", particles: 40, mostMissed: 0 } as const;
    const { hypotheses, counters } = await model.generate(">", { method, maxTokens: 3, constraint: { regex: "x|c" } });
    expect(counters.missed).toEqual({ places: 0, largest: 0, share: 0 });
    expect(hypotheses!.map(({ text }) => text).sort()).toEqual(["c", "x"]);
    expect(hypotheses!.map(({ logprob }) => Math.exp(logprob!))).toEqual(
      [0.12, 0.12].map((p) => expect.closeTo(p, 10)),
    );
  });

  it("bound a few texts that are not listed by the least that is", async () => {
    const law = laws({ c: 0.5, d: 0.3, a: 0.15, ab: 0.05 }, { "</s>": 0.9, a: 0.1 });
    const { model } = await behind(law, {}, { most: 2 });
    const method = { name: "smc", particles: 20 } as const;
    const { counters } = await model.generate(">", { method, maxTokens: 3, constraint: { regex: "a|c" } });
    // "a" alone may be valid, but 0.2 is not listed, and no unlisted token exceeds 0.3.
    expect(counters.missed!.largest).toBeCloseTo(0.2, 10);
    const others = Object.fromEntries([..."efghijklmnopqrs"].map((x) => [x, 0.03]));
    const few = laws({ c: 0.5, d: 0.05, ...others }, { "</s>": 1 });
    const other = await behind(few, {}, { most: 2 });
    const bounded = await other.model.generate(">", { method, maxTokens: 3, constraint: { regex: "e|f|c" } });
    // Two texts of at most 0.05 each, of 0.45; the engine lists the drawn token "c" first, so that 0.05 is the least.
    expect(bounded.counters.missed!.largest).toBeCloseTo(0.1, 10);
  });
});

it("refuses by option what is not exact, and says how much it is", async () => {
  const { model } = await behind(random, {}, { most: 3 });
  for (const name of ["smc", "awrs"] as const) {
    const refused = model.generate(">", {
      method: methodChoice({ name, mostMissed: 0 }),
      maxTokens: 5,
      constraint: { regex },
    });
    await expect(refused).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/mostMissed.*up to 0\.\d+ .*topLogprobs/),
    });
    const { counters } = await model.generate(">", {
      method: methodChoice({ name }),
      maxTokens: 5,
      constraint: { regex },
    });
    expect(counters.missed!.places).toBeGreaterThan(0);
  }
});

it("awrs draws from the locally constrained law, token by token", async () => {
  const { model } = await behind(random);
  const [drawn, first, after] = [120, random(""), random("ab")];
  let [whole, ended] = [0, 0];
  for (let seed = 0; seed < drawn; seed++) {
    const run = model.decode(">", { method: "awrs", constraint: { regex: "abb?" }, maxTokens: 4, seed });
    const { text, tokens } = await run.final;
    expect(["ab", "abb"]).toContain(text);
    if (tokens.length === (text === "ab" ? 1 : 2)) whole += 1;
    if (text === "ab") ended += 1;
  }
  // "ab" comes as one token or as two; what may follow is the end or one more b.
  expect(Math.abs(whole / drawn - first.ab / (first.ab + first.a))).toBeLessThan(0.15);
  expect(Math.abs(ended / drawn - after["</s>"] / (after["</s>"] + after.b))).toBeLessThan(0.15);
});

it("asks an engine that lists nothing where it ends a text for a token all the same", async () => {
  const { model } = await behind(random, {}, { asks: "min_tokens" });
  const method = { name: "smc", particles: 8 } as const;
  const { counters } = await model.generate(">", { method, maxTokens: 5, constraint: { regex } });
  expect(counters.missed).toMatchObject({ places: 0 });
  const silent = await behind(random, {}, { asks: "nothing helps" });
  await expect(silent.model.generate(">", { method, maxTokens: 5, constraint: { regex } })).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringMatching(/lists no log-probabilities.*body/),
  });
});

it.each([
  ["temperature", { temperature: 0.5 }, /temperature/],
  ["topP", { topP: 0.9 }, /topP/],
  ["presencePenalty", { presencePenalty: 1 }, /presencePenalty/],
  ["taps", { taps: ["final"] }, /taps/],
] as [string, object, RegExp][])("refuses %s by name", async (_, given, message) => {
  const { model } = await behind(random);
  const options = { method: "smc", constraint: { regex }, maxTokens: 4, ...given } as const;
  await expect((async () => model.generate(">", options))()).rejects.toMatchObject({
    code: "bad_option",
    message: expect.stringMatching(message),
  });
});

it("refuses a chat, and a model that was opened without log-probabilities", async () => {
  const { model } = await behind(random);
  const options = { method: "smc", constraint: { regex }, maxTokens: 4 } as const;
  await expect(model.generate([{ role: "user", content: "a" }], options)).rejects.toThrow(/middle/);
  const bare = await behind(random, { logprobs: false });
  await expect((async () => bare.model.generate(">", options))()).rejects.toThrow(/smc needs .*has: remote/);
});

it("takes a part of a character for what may be missed, where the constraint has room for it", async () => {
  const law = laws({ a: 0.6, "bytes:\\xc3": 0.3, "\ufffd": 0.1 }, { "</s>": 0.8, b: 0.2 });
  const { model } = await behind(law);
  const largest = async (form: string): Promise<number> => {
    const method = { name: "smc", particles: 8 } as const;
    const { counters } = await model.generate(">", { method, maxTokens: 4, constraint: { regex: form } });
    return counters.missed!.largest;
  };
  expect(await largest("a|é")).toBeCloseTo(0.4, 10);
  expect(await largest("a|b")).toBeCloseTo(0.1, 10);
});

describe("names", () => {
  /** An engine that lists these tokens after every text. */
  async function naming(listed: readonly (readonly [string, number])[]) {
    const top_logprobs = listed.map(([token, p]) => ({ token, logprob: Math.log(p) }));
    const [{ token, logprob }] = top_logprobs;
    const choice = { text: token, finish_reason: "length", logprobs: { content: [{ token, logprob, top_logprobs }] } };
    const url = await listening((request, response) => {
      request.resume();
      response.end(JSON.stringify(request.url === "/v1/models" ? { data: [{ id: "small" }] } : { choices: [choice] }));
    });
    return openAt(url);
  }
  const request = {
    constraint: { regex: "[ab]" },
    method: { name: "smc", particles: 500, threshold: 0 },
    seed: 1,
  } as const;

  it("of two tokens that say the same are one, as likely as both", async () => {
    const model = await naming([
      ["b", 0.3],
      ["a", 0.25],
      ["a", 0.25],
      ["</s>", 0.2],
    ]);
    const { hypotheses, counters } = await model.generate(">", request);
    expect(counters.missed).toEqual({ places: 0, largest: 0, share: 0 });
    const share = hypotheses!.filter(({ text }) => text === "a").reduce((sum, { score }) => sum + score, 0);
    expect(Math.abs(share - 0.625)).toBeLessThan(0.07);
  });

  it("whose probabilities sum to more than 1 are refused", async () => {
    const model = await naming([
      ["a", 0.9],
      ["b", 0.8],
    ]);
    await expect(model.generate(">", request)).rejects.toMatchObject({
      code: "runtime_failed",
      message: expect.stringMatching(/sum to 1.700/),
    });
  });
});
