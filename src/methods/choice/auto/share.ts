/**
 * Experience that replicas of `auto` tell one another: for each request the features of the arm that served it, and its loss. These are the
 * terms of LinUCB's sums (A adds x x', b adds loss x), so that replicas which know the same requests have the same A and b, whoever served
 * which; policies that keep no sums learn from a told loss as from one of their own.
 */
import { ensure } from "../../../errors.ts";
import type { Sharing, Standing } from "../../../sharing/index.ts";
import type { Policy } from "../policy.ts";
import type { ChooserSettings } from "./chooser.ts";
import { featureNames } from "./features.ts";

/** Arm, features, loss: doubles, little end first. */
const numbers = featureNames.length + 2;
const bytesEach = 8 * numbers;
/** Requests that wait to be told, at most: of more the newest are. */
const mostWaiting = 256;

export interface SharedExperience {
  readonly standing: Standing;
  /** `context`: of the arm that was chosen, as the policy has it. */
  tell(context: Float64Array, loss: number): void;
  close(): Promise<void>;
}

export function shareExperience(
  policy: Policy,
  sharing: Sharing,
  settings: Pick<ChooserSettings, "arms" | "policy" | "policyOptions" | "fingerprint" | "tokenizer">,
  standing: Standing | undefined,
): SharedExperience {
  const { arms, policy: name, policyOptions, fingerprint, tokenizer } = settings;
  const experience = createExperience(policy, arms.length);
  const subject = {
    kind: "auto",
    fingerprint: async () => JSON.stringify([fingerprint, tokenizer ?? "", arms, name, policyOptions]),
  };
  const shared = sharing.differences(subject, experience, standing);
  return {
    tell: experience.tell,
    get standing() {
      return shared.standing;
    },
    close: shared.close,
  };
}

/** What was met since it was last told, and what others told, for a policy over so many arms. */
export function createExperience(policy: Pick<Policy, "observe">, arms: number) {
  const size = featureNames.length;
  let waiting: number[][] = [];

  function read(view: DataView, at: number): { context: Float64Array; loss: number } {
    const values = Array.from({ length: numbers }, (_, i) => view.getFloat64(at + 8 * i, true));
    const [arm, loss, own] = [values[0], values[numbers - 1], values.slice(1, -1)];
    const norm = own.reduce((sum, value) => sum + value * value, 0);
    const sound = Number.isInteger(arm) && arm >= 0 && arm < arms && loss >= 0 && loss <= 1;
    // Not a number fails both comparisons.
    ensure(sound && norm > 0.99 && norm < 1.01, "bad_file", "it holds a request that no replica can have met");
    const context = new Float64Array(size * arms);
    context.set(own, arm * size);
    return { context, loss };
  }

  return {
    tell(context: Float64Array, loss: number): void {
      const arm = Math.floor(context.findIndex((value) => value !== 0) / size);
      waiting.push([arm, ...context.subarray(arm * size, (arm + 1) * size), loss]);
      if (waiting.length > mostWaiting) waiting.shift();
    },
    take(): Uint8Array<ArrayBuffer> | undefined {
      if (waiting.length === 0) return undefined;
      const bytes = new DataView(new ArrayBuffer(bytesEach * waiting.length));
      for (const [i, value] of waiting.flat().entries()) bytes.setFloat64(8 * i, value, true);
      waiting = [];
      return new Uint8Array(bytes.buffer);
    },
    merge(piece: Uint8Array<ArrayBuffer>): void {
      const count = piece.length / bytesEach;
      ensure(Number.isInteger(count), "bad_file", `it has ${piece.length} bytes, no multiple of ${bytesEach}`);
      const view = new DataView(piece.buffer, piece.byteOffset, piece.length);
      const all = Array.from({ length: count }, (_, i) => read(view, i * bytesEach));
      for (const { context, loss } of all) policy.observe(context, loss);
    },
  };
}
