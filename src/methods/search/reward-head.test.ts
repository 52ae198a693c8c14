/** Reward heads: labels from rollouts, the regression, and a search by the head that was written. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { logSoftmax } from "../../../test/fixtures/reference.ts";
import { removeModel, writeTinyModel } from "../../../test/fixtures/tiny-model.ts";
import { uniform } from "../../engine/random.ts";
import { open } from "../../open.ts";
import {
  collectRollouts,
  headReward,
  rewardHeadKind,
  rewardHeadSite,
  trainRewardHead,
  type Writer,
} from "./reward-head.ts";

test("how sure the model was of a step counts, where that tells right from wrong", () => {
  const examples = Array.from({ length: 400 }, (_, i) => {
    const logprob = -4 * uniform({ seed: 5, request: i }, 0, "data");
    const right = uniform({ seed: 5, request: i }, 1, "data") < 1 / (1 + Math.exp(-(4 + 2 * logprob)));
    return { state: Float32Array.of(1), logprob, label: right ? (1 as const) : (0 as const), problem: i };
  });
  const { tensors, heldOut } = trainRewardHead(examples);
  expect(heldOut.loss).toBeLessThan(heldOut.base - 0.1);
  expect(tensors.get("confidence")!.values[0]).toBeGreaterThan(1);
});

test("the regression finds what separates the labels, and says when nothing does", () => {
  const draw = (i: number, k: number): number => 2 * uniform({ seed: 3, request: i }, k, "data") - 1;
  const examples = Array.from({ length: 600 }, (_, i) => {
    const state = Float32Array.from({ length: 6 }, (_, k) => draw(i, k));
    const chance = 1 / (1 + Math.exp(-(4 * state[1] - 3 * state[4] + 0.5)));
    return { state, logprob: 0, label: (draw(i, 9) + 1) / 2 < chance ? (1 as const) : (0 as const), problem: i % 60 };
  });
  const { heldOut, tensors } = trainRewardHead(examples);
  expect(heldOut.loss).toBeLessThan(heldOut.base - 0.1);
  const weight = tensors.get("weight")!.values;
  // With 480 examples the largest weights are known to about a quarter, their ratio better.
  expect(Math.abs(weight[1] - 4)).toBeLessThan(1.8);
  expect(Math.abs(weight[1] / weight[4] + 4 / 3)).toBeLessThan(0.3);
  for (const i of [0, 2, 3, 5]) expect(Math.abs(weight[i])).toBeLessThan(0.6);
  const same = examples.map((one) => ({ ...one, label: 1 as const }));
  expect(() => trainRewardHead(same)).toThrow(/nothing to tell apart/);
});

test("from rollouts of a model to a search by the head, which reads the very states of training", async () => {
  const tiny = await writeTinyModel({ tokenizer: true, config: { eos_token_id: undefined } });
  const out = await mkdtemp(join(tmpdir(), "ventris-head-"));
  try {
    await using model = await open(tiny.folder, { threads: 1 });
    const delimiters = ["a", "e", "t", "o"];
    const problems = Array.from({ length: 12 }, (_, i) => ({
      prompt: model.tokenizer!.encode(`the ${"cat and hat".slice(i % 8)}`),
      judge: (steps: readonly string[]) => steps.map((step) => step.length % 2 === 0),
    }));
    const examples = await collectRollouts(model as unknown as Writer, problems, {
      rollouts: 3,
      temperature: 1,
      maxTokens: 16,
      seed: 1,
      delimiters,
      labels: "steps",
    });
    expect(examples.length).toBeGreaterThan(40);
    const { tensors } = trainRewardHead(examples, { steps: 30 });
    await model.writePart(out, { kind: rewardHeadKind, sites: [rewardHeadSite], settings: { delimiters }, tensors });
    const run = model.decode("the cat", {
      method: { name: "a-star", rewardHead: out, maxStepTokens: 6, children: 3, budget: 120 },
      maxTokens: 16,
      seed: 2,
    });
    const [weight, bias, confidence] = ["weight", "bias", "confidence"].map((name) => tensors.get(name)!.values);
    const head = { weight, bias: bias[0], confidence: confidence[0] };
    const texts = new Map<number, number[]>([[0, [...model.tokenizer!.encode("the cat")]]]);
    let checked = 0;
    for await (const event of run) {
      if (event.type !== "explore" || !event.tokens) continue;
      const text = [...texts.get(event.parent)!, ...event.tokens];
      texts.set(event.node, text);
      if (text.length >= 16) continue; // the last token of a full text is not computed
      const [{ taps }] = await model.forward([{ tokens: text, logits: "last" }], { taps: [rewardHeadSite] });
      const laws = tiny.logits(text).map(logSoftmax);
      const begun = text.length - event.tokens.length;
      const logprob = event.tokens.reduce((sum, token, i) => sum + laws[begun + i - 1][token], 0);
      const expected = headReward(head, taps[rewardHeadSite].values.slice(-32), logprob);
      expect(Math.abs(event.reward! - expected)).toBeLessThan(1e-3);
      checked += 1;
    }
    expect(checked).toBeGreaterThan(5);
  } finally {
    await removeModel(tiny);
    await rm(out, { recursive: true, force: true });
  }
});

test("a part that is no head is refused", async () => {
  const tiny = await writeTinyModel({ tokenizer: true });
  const out = await mkdtemp(join(tmpdir(), "ventris-head-"));
  try {
    await using model = await open(tiny.folder, { threads: 1 });
    const decode = (): Promise<unknown> =>
      model.decode("the cat", { method: { name: "a-star", rewardHead: out } }).final;
    const weight = { shape: [4], values: new Float32Array(4) };
    await model.writePart(out, {
      kind: rewardHeadKind,
      settings: { delimiters: ["a"] },
      tensors: new Map([["weight", weight]]),
    });
    await expect(decode()).rejects.toMatchObject({ code: "bad_file" });
    await model.writePart(out, { kind: "codebook", tensors: new Map([["weight", weight]]) });
    await expect(decode()).rejects.toMatchObject({ code: "bad_option" });
  } finally {
    await removeModel(tiny);
    await rm(out, { recursive: true, force: true });
  }
});
