/** What a choice of method is made by: a few numbers of the prompt, the request and the machine, each within about [0, 1]. */
import { processors, waitingProcesses } from "../../../machine.ts";
import { armContext } from "../arms.ts";

export interface Circumstances {
  readonly prompt: ArrayLike<number>;
  readonly greedy: boolean;
  readonly constrained: boolean;
  /** Requests of this model under way, this one left out. */
  readonly others: number;
}

/** Their names, in the order of the numbers; the last is the arm's own (`agreement`). */
export const featureNames = ["one", "length", "repetition", "greedy", "constrained", "others", "load", "agreement"];

/** Numbers of a request that are the same for all arms. */
export function featuresOf({ prompt, greedy, constrained, others }: Circumstances): number[] {
  return [
    1,
    Math.min(1, Math.log2(1 + prompt.length) / 16),
    repetition(prompt),
    Number(greedy),
    Number(constrained),
    others / (1 + others),
    machineLoad(),
  ];
}

/** Only so many of the last tokens are looked at. */
const looked = 8192;

/** Share of the tokens that already followed the same two tokens when these came last: what looking up in the prompt would have found. */
export function repetition(tokens: ArrayLike<number>): number {
  const first = Math.max(0, tokens.length - looked);
  const count = tokens.length - first - 2;
  if (count <= 0) return 0;
  const followed = new Map<number, number>();
  let hits = 0;
  for (let i = first + 2; i < tokens.length; i++) {
    const pair = tokens[i - 2] * 2 ** 26 + tokens[i - 1];
    if (followed.get(pair) === tokens[i]) hits++;
    followed.set(pair, tokens[i]);
  }
  return hits / count;
}

/** Waiting processes a core over the last minute: x / (1 + x). 0 where the system does not tell. */
function machineLoad(): number {
  const waiting = waitingProcesses() / processors();
  return waiting / (1 + waiting);
}

/** One vector an arm. */
export const contextsOf = (features: readonly number[], agreements: readonly number[]): Float64Array[] =>
  agreements.map((agreement, arm) => armContext([...features, agreement], arm, agreements.length));
