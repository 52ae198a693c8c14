/**
 * Learning-rate schedules as pure functions of the step. Each warms up linearly over `warmup` steps (step `warmup - 1` is
 * the first at the full rate), then follows its shape and stays at `final` after its last step.
 */
import { ensure, requireOptions } from "../errors.ts";
import { requireCounts, requirePositive, requireWhole } from "../numbers.ts";

/** Learning rate of an optimiser step; steps count from 0. */
export type Schedule = (step: number) => number;

/** A schedule's height and warm-up. */
export interface ScheduleOptions {
  /** The highest learning rate. */
  readonly peak: number;
  /** Steps of linear warm-up; default 0. */
  readonly warmup?: number;
}

/** A schedule that falls to its end. */
export interface DecayOptions extends ScheduleOptions {
  /** Total steps, warm-up included: the rate reaches `final` at this step. */
  readonly steps: number;
  /** The rate at the end; default 0. */
  readonly final?: number;
}

/** The peak rate after warm-up, for ever. Errors: `bad_option`. */
export function constant(options: ScheduleOptions): Schedule {
  return warmed(options, () => options.peak);
}

/** Straight from the peak to the final rate. Errors: `bad_option`. */
export function linear(options: DecayOptions): Schedule {
  return decayed(options, 0, (progress) => 1 - progress);
}

/** Half a cosine from the peak to the final rate (Loshchilov and Hutter 2017, without restarts). Errors: `bad_option`. */
export function cosine(options: DecayOptions): Schedule {
  return decayed(options, 0, (progress) => 0.5 * (1 + Math.cos(Math.PI * progress)));
}

/**
 * Warm-up, stable, decay: the peak rate until the last `decay` steps, which go straight to the final rate (Hu et al. 2024,
 * MiniCPM, section 4). A run can be lengthened by resuming it before its decay. Errors: `bad_option`.
 */
export function warmupStableDecay(options: DecayOptions & { readonly decay: number }): Schedule {
  requireOptions(options, "schedule");
  const { steps, decay, warmup = 0 } = options;
  ensure(
    decay >= 0 && decay <= steps - warmup,
    "bad_option",
    `schedule: decay ${decay} must lie in [0, steps - warmup]`,
  );
  return decayed(options, steps - warmup - decay, (progress) => 1 - progress);
}

/** After warm-up and `hold` steps at the peak, goes to the final rate along `shape`, from 1 at progress 0 to 0 at progress 1. */
function decayed(options: DecayOptions, hold: number, shape: (progress: number) => number): Schedule {
  requireOptions(options, "schedule");
  const { peak, steps, warmup = 0, final = 0 } = options;
  requireCounts({ "schedule: steps": steps });
  ensure(warmup <= steps, "bad_option", `schedule: warmup ${warmup} does not fit into ${steps} steps`);
  ensure(final >= 0 && final <= peak, "bad_option", `schedule: final ${final} must lie in [0, peak]`);
  const start = warmup + hold;
  return warmed(options, (step) => {
    if (step < start) return peak;
    if (step >= steps) return final;
    return final + (peak - final) * shape((step - start) / (steps - start));
  });
}

function warmed(options: ScheduleOptions, after: Schedule): Schedule {
  requireOptions(options, "schedule");
  const { peak, warmup = 0 } = options;
  requirePositive({ "schedule: peak": peak });
  requireWhole({ "schedule: warmup": warmup }, 0);
  return (step) => (step < warmup ? (peak * (step + 1)) / warmup : after(step));
}
