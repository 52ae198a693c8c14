/** What a trainable model is to the optimiser and the loop: named parameters, a loss, and its gradients. */

export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** Row-major; the optimiser updates it in place. */
  readonly values: Float32Array<ArrayBuffer>;
  /** Whether weight decay applies (matrices, as a rule; not gains and biases). */
  readonly decay: boolean;
}

/** Rows of tokens, each one longer than what is trained. */
export interface TokenBatch {
  /** [rows, length + 1], row-major: each row's targets are its tokens shifted by one. */
  readonly tokens: Int32Array;
  readonly rows: number;
  readonly length: number;
  /** `[rows, length]`, factors on the targets' losses, where they do not all count the same; their mean is 1. */
  readonly weights?: Float32Array;
  readonly [extra: string]: unknown;
}

/** One training step's mathematics: what the loop asks of a model. */
export interface Objective<Batch = TokenBatch> {
  readonly parameters: readonly Parameter[];
  /**
   * Mean loss over the batch (nats) and its gradient for every parameter, by position in `parameters`. The arrays may be
   * reused by the next call.
   */
  gradients(batch: Batch): Promise<{ loss: number; gradients: readonly Float32Array[] }>;
  /** Mean loss over the batch (nats). */
  loss(batch: Batch): Promise<number>;
}
