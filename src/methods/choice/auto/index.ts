/**
 * `auto`: a contextual bandit chooses for each request how it is decoded, from what the prompt, the request and the machine are like, and
 * learns from the seconds that tokens took. Choosing looks at the past alone, so that the output is what the chosen method gives: where
 * all arms are lossless, the text of plain decoding (BanditSpec, Hou et al. 2025, proposition 3.1; the bandits: neural-bandit).
 */

import { z } from "zod";
import type { Decoding } from "../../../engine/decoding.ts";
import { defineMethod, hostOnly, isLossless, type Method, repeatsPlain } from "../../../engine/method.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { passCurve, passSeconds } from "../../../engine/pass-curve.ts";
import { parseOptions } from "../../../engine/shapers/options.ts";
import { ensure, shown, VentrisError } from "../../../errors.ts";
import { within } from "../../../files.ts";
import { shippedWith } from "../../../models/shipping.ts";
import { suggestion } from "../../../names.ts";
import { sample } from "../../plain/index.ts";
import { openDraft } from "../../speculative/draft-model.ts";
import { policies } from "../policies.ts";
import { type Chooser, type Chosen, openChooser, statePath } from "./chooser.ts";
import { stateFolder } from "./state.ts";

const named = z.looseObject({ name: z.string().max(200).describe("name of the method; its options stand beside it") });
type ArmChoice = string | z.infer<typeof named>;

/** Options of policies for this use, where a few hundred requests must do; what is given comes on top. */
export const suited: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  LinUCB: { alpha: 0.05, ridge: 0.1 },
  DiscountedLinUCB: { alpha: 0.05, ridge: 0.1, discount: 0.995 },
  LinearSquareCB: { gamma: 2000, ridge: 0.1 },
  NeuSquareCB: { hidden: 32, rate: 0.3, gamma: 1000 },
  NeuFastCB: { hidden: 32, rate: 0.3, gamma: 1000 },
};

/** Policies that look at the circumstances. */
const learning = Object.keys(policies).filter((name) => name !== "Fixed" && name !== "Uniform");

const options = z.strictObject({
  arms: hostOnly(
    z
      .array(z.union([z.string().max(200), named]))
      .min(1)
      .max(16)
      .optional()
      .describe(
        "methods to choose among, as names or objects with options beside the name; default: plain, prompt-lookup with 4 and 12 tokens, aded, and chain and dyspec where a draft fits",
      )
      .meta({ examples: [["sample", { name: "chain", draft: "pylos" }]] }),
  ),
  draft: hostOnly(
    z
      .string()
      .min(1)
      .optional()
      .describe(
        "draft model of the default arms chain and dyspec; default: pylos where its vocabulary fits, else none, and those arms are left out",
      ),
  ),
  policy: z
    .enum(learning as [string, ...string[]])
    .default("LinUCB")
    .describe(
      "the bandit that learns which method is fastest for which request: LinUCB learns from few requests, and DiscountedLinUCB forgets old ones; those named Neu or Neural, and EENet, learn finer rules and need more of them",
    ),
  policyOptions: hostOnly(
    z
      .record(z.string(), z.unknown())
      .default({})
      .describe("options of the policy by their names; those that are left out keep their defaults")
      .meta({ examples: [{ alpha: 0.1 }] }),
  ),
  state: hostOnly(
    z
      .string()
      .min(1)
      .optional()
      .describe(
        'folder where what was learnt is kept, or "none"; default: beside the model, in auto, where it can be written',
      ),
  ),
});
export type AutoOptions = z.output<typeof options>;

interface Arm {
  /** The method, with options beside it where it has any. */
  readonly name: string;
  readonly method: Method;
  readonly options: Record<string, unknown>;
}

/** What a model's choices of one kind are made with. */
interface Choosing {
  readonly arms: readonly Arm[];
  readonly chooser: Chooser;
}

/** Among `registered` methods. */
export const createAuto = (registered: readonly Method[]) =>
  defineMethod({
    name: "auto",
    family: "choice",
    summary:
      "a contextual bandit chooses the method and its options for each request, and learns from the seconds that tokens took",
    source:
      "Deb et al. 2024, Contextual Bandits with Online Neural Regression, arXiv 2312.07145; Hou et al. 2025, BanditSpec, arXiv 2505.15141",
    lossless: ({ arms }) => given(registered, arms).every(({ method, options }) => isLossless(method, options)),
    repeats: ({ arms }) => given(registered, arms).every(({ method, options }) => repeatsPlain(method, options)),
    options,
    async decode(decoding, options) {
      const { arms, chooser } = await choosingOf(decoding.model, registered, options, decoding.signal);
      const chosen = chooser.choose({
        prompt: decoding.prompt,
        greedy: decoding.greedy,
        constrained: decoding.constraining !== undefined,
      });
      const { predicted, probabilities, arm } = chosen;
      decoding.emit({
        type: "choice",
        arms: arms.map(({ name }) => name),
        predicted: [...predicted],
        probabilities: [...probabilities],
        chosen: arm,
      });
      try {
        await serve(decoding, arms[arm], chosen, chooser);
      } finally {
        chosen.dropped(); // a no-op where something was learnt
        const note = chooser.takeNotes().join("; ");
        decoding.emit({ type: "learn", updates: chooser.learnt, ...(note && { note }) });
      }
    },
  });

/** Runs an arm and tells what it took. One that fails before it has said anything gives way to plain decoding. */
async function serve(decoding: Decoding, arm: Arm, chosen: Chosen, chooser: Chooser): Promise<void> {
  const clock = timed(decoding);
  try {
    await arm.method.decode(clock.decoding, arm.options);
  } catch (error) {
    const own =
      error instanceof VentrisError && ["unavailable", "runtime_failed", "out_of_memory"].includes(error.code);
    if (!own || decoding.output.length > 0 || decoding.signal?.aborted) {
      if (decoding.signal?.aborted) tell();
      throw error;
    }
    chosen.failed();
    decoding.emit({
      type: "learn",
      updates: chooser.learnt,
      note: `${arm.name} failed, plain decoding goes on: ${error.message}`,
    });
    await sample.decode(decoding, {});
    return;
  }
  tell();

  function tell(): void {
    chosen.served(clock.tokens, clock.seconds, decoding.counters.tokensPerPass);
  }
}

/** The same request, with the time from the first token to the last: opening drafts and measuring curves come before it. */
function timed(decoding: Decoding): { readonly decoding: Decoding; readonly tokens: number; readonly seconds: number } {
  let [first, last, tokens] = [0, 0, -1];
  const commit: Decoding["commit"] = (commitments) => {
    const taken = decoding.commit(commitments);
    last = performance.now();
    if (tokens < 0) {
      first = last;
      tokens = 0; // what came with the prefill's pass
    } else tokens += taken;
    return taken;
  };
  return {
    decoding: Object.create(decoding, { commit: { value: commit, enumerable: true } }),
    get tokens() {
      return Math.max(0, tokens);
    },
    get seconds() {
      return (last - first) / 1000;
    },
  };
}

/** The arms that were named. Errors: `bad_option` for an unknown one, for wrong options, and for auto itself. */
function given(registered: readonly Method[], choices: readonly ArmChoice[] = []): Arm[] {
  const arms = choices.map((choice): Arm => {
    const { name, ...rest } = typeof choice === "string" ? { name: choice } : choice;
    const method = registered.find((one) => one.name === name);
    if (!method) {
      const names = registered.map((one) => one.name);
      throw new VentrisError(
        "bad_option",
        `auto: arms: ${shown(name)} is no method to choose${suggestion(name, names)} (${names.join(", ")})`,
      );
    }
    const own = parseOptions(method.options, rest as never, `auto: arm ${name}`) as Record<string, unknown>;
    return { name: Object.keys(rest).length > 0 ? `${name} ${JSON.stringify(rest)}` : name, method, options: own };
  });
  const twice = arms.find(({ name }, i) => arms.findIndex((other) => other.name === name) < i);
  ensure(!twice, "bad_option", () => `auto: arms: ${twice?.name} is there twice`);
  return arms;
}

/** Lossless ways that suit any model; those with a draft model where one fits. */
async function defaultArms(
  model: DecodingModel,
  registered: readonly Method[],
  draft: string | undefined,
): Promise<Arm[]> {
  const withDraft = await draftFits(model, draft);
  const drafted = { draft: withDraft };
  return given(registered, [
    "sample",
    { name: "prompt-lookup", length: 4 },
    { name: "prompt-lookup", length: 12 },
    "aded",
    ...(withDraft === undefined
      ? []
      : [
          { name: "chain", ...drafted },
          { name: "dyspec", ...drafted },
        ]),
  ]);
}

/** The draft's reference; undefined where none was asked for and pylos is not there, does not fit, or is as large as the model. */
async function draftFits(model: DecodingModel, draft: string | undefined): Promise<string | undefined> {
  const reference = draft ?? "pylos";
  try {
    const { parameterCount } = await openDraft(model, reference);
    return draft !== undefined || 2 * parameterCount <= model.parameterCount ? reference : undefined;
  } catch (error) {
    const absent = error instanceof VentrisError && ["unavailable", "bad_option"].includes(error.code);
    if (draft !== undefined || !absent) throw error;
    return undefined;
  }
}

async function choosingOf(
  model: DecodingModel,
  registered: readonly Method[],
  { arms: choices, draft, policy, policyOptions, state }: AutoOptions,
  signal: AbortSignal | undefined,
): Promise<Choosing> {
  ensure(
    choices === undefined || draft === undefined,
    "bad_option",
    "auto: draft belongs to the default arms: give it within the arms that need it",
  );
  const pace = passSeconds(await passCurve(model, signal), 1);
  const key = JSON.stringify(["auto", choices, draft, policy, policyOptions, state]);
  return model.state(key, async () => {
    const arms = choices ? given(registered, choices) : await defaultArms(model, registered, draft);
    for (const { name, method } of arms) {
      const missing = (method.needs ?? []).filter((need) => !model.capabilities.has(need));
      ensure(
        missing.length === 0,
        "bad_option",
        () => `auto: the arm ${name} needs of its model: ${missing.join(", ")}${shippedWith(missing)}`,
      );
    }
    const kind = {
      arms: arms.map(({ name }) => name),
      policy,
      policyOptions: { ...suited[policy], ...policyOptions },
    };
    const folder = state === "none" ? undefined : (state ?? within(model.folder, stateFolder));
    const chooser = await openChooser({
      ...kind,
      pace,
      fingerprint: await model.fingerprint(),
      tokenizer: model.tokenizer?.fingerprint,
      path: folder === undefined ? undefined : await statePath(folder, kind),
      insist: state !== undefined,
      sharing: model.sharing,
    });
    return { arms, chooser, close: () => chooser.close() };
  });
}
