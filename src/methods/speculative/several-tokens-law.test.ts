/** Methods that say several tokens a pass without a second model draw from the model's own law, by chi-square through their public decoding. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { entries } from "../../../test/conformance/entries.ts";
import { normalDeviate } from "../../../test/fixtures/chi-square.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../calls.ts";
import { softmax } from "../../engine/distribution.ts";
import { type Model, open } from "../../open.ts";

vi.setConfig({ testTimeout: 300_000 }); // seconds of work at most, but the machine may be busy

/** Whether a drafted token is taken because it is possible, whatever the model draws. */
const wrong = vi.hoisted(() => ({ on: false }));
vi.mock(import("./verify.ts"), async (original) => {
  const actual = await original();
  const verify: typeof actual.verify = (tree, target, draws) => {
    if (!wrong.on || !target.probabilitiesAt) return actual.verify(tree, target, draws);
    const sampleAt = (node: number): number => {
      const token = tree.tokens[tree.parents.indexOf(node)];
      return token !== undefined && target.probabilitiesAt!(node)[token] > 0.02 ? token : target.sampleAt(node);
    };
    return actual.verify(tree, { ...target, sampleAt }, draws);
  };
  return { ...actual, verify };
});

/** Guesses are first verified two rounds after the prompt: so long a text, of so few tokens that its law can be enumerated. */
const [size, length, samples] = [4, 5, 2000];
const prompt = [1, 2, 1, 2, 3, 1, 2];
let tiny: TinyModel;
let model: Model;
beforeAll(async () => {
  tiny = await writeTinyModel({ config: { vocab_size: size, eos_token_id: undefined, bos_token_id: undefined } });
  model = await open(tiny.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await removeModel(tiny);
});

interface Shaping {
  temperature: number;
  topP: number;
}
/** The probability of every continuation, from logits in float64. */
function lawOf({ temperature, topP }: Shaping): Map<string, number> {
  const law = new Map<string, number>();
  const spread = (output: number[], probability: number): void => {
    if (output.length === length) {
      law.set(output.join(), probability);
      return;
    }
    const all = softmax([...tiny.logits([...prompt, ...output]).at(-1)!], 1 / temperature);
    let mass = 0;
    const kept = [...all.keys()]
      .sort((a, b) => all[b] - all[a])
      .filter((token) => {
        const before = mass;
        mass += before < topP ? all[token] : 0;
        return before < topP;
      });
    for (const token of kept) spread([...output, token], (probability * all[token]) / mass);
  };
  spread([], 1);
  return law;
}

async function deviate(method: Record<string, unknown>, shaping: Shaping): Promise<number> {
  const counts = new Map<string, number>();
  for (let first = 0; first < samples; first += 250) {
    const runs = Array.from({ length: 250 }, (_, i) => {
      const options = { ...shaping, maxTokens: length, seed: 3, request: first + i };
      return model.decode(prompt, { ...options, method: methodChoice(method as never) }).final;
    });
    for (const { tokens } of await Promise.all(runs)) counts.set(tokens.join(), (counts.get(tokens.join()) ?? 0) + 1);
  }
  const law = lawOf(shaping);
  for (const key of counts.keys()) expect(law.has(key), `the model cannot say ${key}`).toBe(true);
  return normalDeviate(counts, law, samples);
}

const names = ["medusa", "prompt-tokens", "hidden-transfer", "eagle", "self-speculative", "lexical-units"];
describe.each(names)("%s", (name) => {
  const entry = entries[name];
  const method = { name, ...entry.options!(""), ...(name === "lexical-units" && { pad: size - 1 }) };
  beforeAll(() => entry.prepare?.(model, tiny.folder));

  test("draws from the model's law, and a verification that prefers drafts is told from it", async () => {
    expect(await deviate(method, { temperature: 2, topP: 1 })).toBeLessThan(4);
    expect(await deviate(method, { temperature: 1.5, topP: 0.9 })).toBeLessThan(4);
    wrong.on = true;
    expect(await deviate(method, { temperature: 2, topP: 1 }).finally(() => (wrong.on = false))).toBeGreaterThan(6);
  });
});
