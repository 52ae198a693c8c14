/**
 * The side under measurement, with the same small face as the peers. The built library (dist) is imported here alone.
 * Each function below is one call into it.
 */

/**
 * @typedef {object} OurModel
 * @property {(prompt: readonly number[], count: number) => Promise<{ tokens: number[], seconds: number }>} generate
 *   greedy, one request; seconds for all but the first of count + 1 tokens, as the peer counts
 * @property {(prompts: readonly (readonly number[])[], count: number) => Promise<number>} generateTogether
 *   seconds from the first to the last token of concurrent greedy requests
 * @property {(prompt: readonly number[], samples: number) => Promise<number>} prefillOfSamples
 *   prompt tokens computed, by the counters, for this many samples of one prompt
 * @property {(context: number, rows: number) => Promise<number>} passSeconds one pass over `rows` new nodes below one
 *   node at depth `context`; the nodes are released afterwards
 * @property {() => Promise<void>} close
 */

/**
 * @param {string} folder @param {{ weights: "f32" | "int8" | "int4", threads: number }} options
 * @returns {Promise<OurModel>}
 */
export async function openModel(folder, options) {
  throw new Error(`not connected to the engine yet (${folder}, ${options.weights})`);
}

/**
 * @param {import("./training.mjs").TrainingOptions} options
 * @returns {Promise<{ steps(count: number): Promise<{ seconds: number[], losses: number[] }>, close(): Promise<void> }>}
 */
export async function openTraining(options) {
  throw new Error(`not connected to the training loop yet (${options.folder})`);
}
