/**
 * Sequential Monte Carlo under a constraint: particles are drawn token by token, weighed by how much of the model's mass was valid,
 * and resampled when few of them carry the weight, so that together they follow the model conditioned on the constraint (Lipkin et al.
 * 2025, Loula et al. 2025). Every step is one forward pass for all particles.
 */
import { z } from "zod";
import { unlessDeadEnd } from "../../../engine/constraining.ts";
import { extendTips } from "../../../engine/extending.ts";
import type { ForestNode } from "../../../engine/forest.ts";
import { defineMethod } from "../../../engine/method.ts";
import type { Hypothesis } from "../../../engine/output.ts";
import { uniform } from "../../../engine/random.ts";
import { ensure, shownEnd } from "../../../errors.ts";
import {
  accountOfMissed,
  drawToken,
  freeLawAt,
  givesUp,
  lawAt,
  localOptions,
  overLaws,
  pickBy,
  sourceOf,
  streamOf,
} from "../sampling.ts";
import { type Critic, guardCritic } from "./critic.ts";

const options = z.strictObject({
  ...localOptions.shape,
  particles: z
    .int()
    .min(1)
    .max(512)
    .default(5)
    .describe(
      "how many texts are grown side by side; more follow the constrained distribution more closely and cost as much more",
    ),
  threshold: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe(
      "resample, which drops light texts and copies heavy ones, when the effective number of particles falls below this share of all: higher resamples sooner, 0 never does (importance sampling)",
    ),
  proposal: z
    .enum(["constrained", "model"])
    .default("constrained")
    .describe(
      "where tokens come from: constrained draws valid ones only; model draws as if there were no constraint and drops what breaks it, which wastes texts and is there to compare with",
    ),
  verify: z
    .enum(["each-token", "end"])
    .default("each-token")
    .describe(
      "when the proposal model checks the constraint: after each token (sample and verify), or once at the end (sample and rerank), where a check is slow",
    ),
  answer: z
    .enum(["draw", "heaviest"])
    .default("draw")
    .describe(
      "which text becomes the output: draw takes one by weight, which is right for samples; heaviest takes the best supported one, for a single good answer",
    ),
  critic: z
    .custom<Critic>((value) => typeof value === "function", "must be a function from text to a number from 0")
    .optional()
    .describe(
      "a function that weighs texts beside the constraint: from a text so far to a factor, above 1 for what should be kept; with threshold 0 it acts at the end alone; default: none",
    ),
});

interface Particle {
  readonly tokens: readonly number[];
  /** The nodes whose distributions the tokens were drawn from. */
  readonly from: readonly ForestNode[];
  /** How each was drawn. */
  readonly draws: readonly Draw[];
  readonly tip: ForestNode;
  /** Log-probability of the tokens under the model. */
  readonly logprob: number;
  logWeight: number;
  /** The critic's last factor, which the next one replaces. */
  twist: number;
  readonly done: boolean;
  /** Who gave it no weight, where it has none. */
  readonly killer?: "constraint" | "critic";
}

/** What the constraint refused before a token, and how often it was asked. */
interface Draw {
  readonly rejected: readonly number[];
  readonly checks: number;
}

/** How a particle takes a token: it goes on, it ends, or it is cut off with a last token that is not the end. */
type Growth = "on" | "end" | "cut";

export const smc = defineMethod({
  name: "smc",
  family: "constrained",
  summary: "particles that follow the model given the constraint, weighed and resampled",
  source: "Lipkin et al. 2025 (arXiv 2504.05410); Loula et al. 2025",
  lossless: false,
  suffices: ["top-logprobs"],
  options,
  async decode(given, settings) {
    const decoding = overLaws(given);
    const missing = accountOfMissed(decoding);
    const { constraining, endTokens, stream } = decoding;
    ensure(
      !decoding.greedy,
      "bad_option",
      "smc draws particles: give a temperature above 0, or use greedy for the best token",
    );
    ensure(
      endTokens.size > 0,
      "bad_option",
      "smc needs a token that ends texts, and this model has none: name one in stopTokens",
    );
    const count = settings.particles;
    const critic = guardCritic(settings.critic, decoding.model.tokenizer && textOf);
    const resamples = settings.threshold > 0;
    const root = await decoding.prefill();
    const longest = decoding.remaining;
    let particles: Particle[] = Array.from({ length: count }, () => {
      return { tokens: [], from: [], draws: [], tip: root, logprob: 0, logWeight: 0, twist: 0, done: false };
    });
    let generation = 0;

    for (let step = 0; particles.some(({ done }) => !done); step++) {
      if (decoding.finished) return;
      particles = grown(step === longest - 1);
      let parents: number[] | undefined;
      const normalised = normalise(particles.map(({ logWeight }) => logWeight));
      ensure(normalised, "constraint_dead_end", whyAllDied);
      const effective = 1 / normalised.reduce((sum, weight) => sum + weight * weight, 0);
      const shown = { tokens: particles.map(({ tokens }) => tokens[step] ?? -1), weights: normalised };
      if (resamples && effective < settings.threshold * count && particles.some(({ done }) => !done)) {
        parents = resample(normalised, generation++);
        const mean = logSumExp(particles.map(({ logWeight }) => logWeight)) - Math.log(count);
        particles = parents.map((parent) => ({ ...particles[parent], logWeight: mean }));
      }
      decoding.emit({
        type: "particles",
        ...shown,
        ...(parents && { parents }),
        logEvidence: logSumExp(particles.map(({ logWeight }) => logWeight)) - Math.log(count),
      });
      await extendAll();
    }
    await answer();

    /**
     * All particles with a token more. At the last place nothing may follow but the end; where no particle can end there, those that the
     * critic did not refuse are cut off as they are.
     */
    function grown(last: boolean): Particle[] {
      const next = particles.map((particle, i) => (particle.done ? particle : grow(particle, i, last ? "end" : "on")));
      if (!last || next.some(({ killer }) => !killer)) return next;
      return particles.map((particle, i) =>
        particle.done || next[i].killer === "critic" ? next[i] : grow(particle, i, "cut"),
      );
    }

    /** One token more, with its weight. */
    function grow(particle: Particle, i: number, how: Growth): Particle {
      const { tip, tokens, from, draws } = particle;
      const before = asked();
      let rejected: readonly number[] = [];
      const state = constraining?.stateAt(tip);
      const lawOf = settings.proposal === "model" ? freeLawAt : lawAt;
      const found = unlessDeadEnd(() => lawOf(decoding, tip, settings, how === "end"));
      if (!found) return { ...particle, logWeight: -Infinity, done: true, killer: "constraint" };
      const { law, mass, missed } = found;
      const own = streamOf(stream, i + generation * count);
      let token: number;
      let logWeight = particle.logWeight - particle.twist;
      missing.at(missed, logWeight, count);
      if (how === "end") {
        // Proper for texts of at most maxTokens: the end is forced, and weighed by how likely and valid it was.
        token = [...endTokens][0];
        const ending = [...endTokens].reduce((sum, end) => sum + (law[end] ?? 0), 0);
        logWeight += Math.log(ending * mass) + validity(tip, tokens, token);
      } else if (constraining && settings.proposal === "constrained") {
        const draw = drawToken(decoding, own, tip.depth + 1, law, state, settings);
        token = draw.token;
        rejected = draw.rejected;
        logWeight += Math.log(draw.weight) + Math.log(mass);
      } else {
        token = sourceOf(own, tip.depth + 1, law).pick(0, law);
        logWeight += Math.log(mass);
        if (settings.verify === "each-token" || endTokens.has(token) || how === "cut")
          logWeight += validity(tip, tokens, token);
      }
      const ended = token < 0 || endTokens.has(token);
      const last = ended || how === "cut";
      let killer: Particle["killer"] = logWeight === -Infinity ? "constraint" : undefined;
      let twist = 0;
      if (critic && !killer && (last || resamples)) {
        twist = Math.log(critic([...tokens, token], ended));
        logWeight += twist;
        if (twist === -Infinity) killer = "critic";
      }
      return {
        tokens: [...tokens, token],
        from: [...from, tip],
        draws: [...draws, { rejected, checks: asked() - before }],
        tip,
        logprob: particle.logprob + Math.log(token < 0 ? 0 : law[token] * mass),
        logWeight,
        twist: last ? 0 : twist,
        done: last || killer !== undefined,
        ...(killer && { killer }),
      };
    }

    /** A mask's questions are counted with its constraint, until something is committed. */
    function asked(): number {
      return decoding.counters.constraintChecks + (constraining?.checks ?? 0);
    }

    /** By whose word, and where the first of them stood. */
    function whyAllDied(): string {
      const refused = particles.filter(({ killer }) => killer === "critic");
      const stuck = particles.filter(({ killer }) => killer !== "critic");
      const reasons: string[] = [];
      if (stuck.length > 0) {
        const where = constraining ? ` after ${shownEnd(constraining.textTo(stuck[0].tip))}` : "";
        const drawn =
          settings.proposal === "constrained"
            ? `found nothing that may follow${givesUp(settings)}`
            : "drew what may not follow";
        reasons.push(`${stuck.length} of them ${drawn}, the first${where}`);
      }
      if (refused.length > 0) {
        reasons.push(
          `the critic gave ${refused.length} of them 0, the first at ${shownEnd(textOf(refused[0].tokens))}`,
        );
      }
      const who = stuck.length > 0 && constraining ? `constraint ${constraining.constraint.name}` : "critic";
      const advice = stuck.length > 0 ? "more particles may find a way" : "a factor of 0 rules a text out for good";
      return `${who}: all ${count} particles died: ${reasons.join("; ")}; ${advice}`;
    }

    function validity(tip: ForestNode, tokens: readonly number[], token: number): number {
      if (!constraining) return 0;
      decoding.counters.constraintChecks += 1;
      // With checks at the end only, the text so far may have left the constraint long ago: it is read from its start.
      let state = settings.verify === "end" ? constraining.constraint.start : constraining.stateAt(tip);
      if (settings.verify === "end") for (const one of tokens) state = state && constraining.after(state, one);
      const fits = endTokens.has(token) ? state?.complete : state && constraining.after(state, token);
      return fits ? 0 : -Infinity;
    }

    function textOf(tokens: readonly number[]): string {
      const kept = tokens.filter((token) => !endTokens.has(token));
      return decoding.model.tokenizer?.decode(kept, { continued: true }) ?? "";
    }

    async function extendAll(): Promise<void> {
      const growing = particles.flatMap((particle, i) => (particle.done ? [] : [i]));
      const nodes = await extendTips(
        decoding,
        growing.map((i) => ({ parent: particles[i].tip, token: particles[i].tokens.at(-1)! })),
      );
      growing.forEach((i, k) => {
        particles[i] = { ...particles[i], tip: nodes[k] };
      });
    }

    function resample(weights: readonly number[], number: number): number[] {
      return weights.map((_, i) => pickBy(weights, uniform(stream, number, "search", 2 ** 22 + i)));
    }

    async function answer(): Promise<void> {
      const logWeights = particles.map(({ logWeight }) => logWeight);
      const weights = normalise(logWeights);
      missing.close(critic ? undefined : logSumExp(logWeights) - Math.log(count));
      ensure(weights, "constraint_dead_end", whyAllDied);
      const posterior = new Map<string, { particle: Particle; weight: number }>();
      particles.forEach((particle, i) => {
        const key = `${particle.tokens}`; // equal texts are one text
        const weight = (posterior.get(key)?.weight ?? 0) + weights[i];
        if (weight > 0) posterior.set(key, { particle, weight });
      });
      const ranked = [...posterior.values()].sort((a, b) => b.weight - a.weight);
      decoding.offer(ranked.map(hypothesisOf));
      const drawn = (): Particle => particles[pickBy(weights, uniform(stream, 0, "search", 2 ** 23))];
      const { tokens, from, draws } = settings.answer === "heaviest" ? ranked[0].particle : drawn();
      for (const [i, token] of tokens.entries()) {
        if (decoding.finished) break;
        const { rejected, checks } = draws[i];
        if (constraining) decoding.emit({ type: "constraint", rejected: [...rejected], token, checks });
        decoding.commit([{ token, from: from[i] }]);
      }
      if (!decoding.finished) decoding.finish("end");
    }

    /** A text of the posterior: its score is the share of the weight that it has. */
    function hypothesisOf({ particle, weight }: { particle: Particle; weight: number }): Hypothesis {
      const { tokens } = particle;
      return {
        tokens: tokens.filter((token) => !endTokens.has(token)),
        text: textOf(tokens),
        score: weight,
        logprob: particle.logprob,
        finished: endTokens.has(tokens.at(-1)!),
      };
    }
  },
});

function logSumExp(values: readonly number[]): number {
  const highest = Math.max(...values);
  return highest === -Infinity
    ? -Infinity
    : highest + Math.log(values.reduce((sum, x) => sum + Math.exp(x - highest), 0));
}

/** Weights that sum to 1; undefined when all are dead. */
function normalise(logWeights: readonly number[]): number[] | undefined {
  const total = logSumExp(logWeights);
  return total === -Infinity ? undefined : logWeights.map((weight) => Math.exp(weight - total));
}
