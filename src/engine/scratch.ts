export type Scratch = (length: number) => Float32Array;

/**
 * Gives an array of any length out of one buffer, valid until the next call; its contents are what the last user left. Fresh arrays
 * of a mask's size would make the collector go through the whole heap every few passes.
 */
export function createScratch(): Scratch {
  let buffer = new Float32Array(0);
  return (length) => {
    if (buffer.length < length) buffer = new Float32Array(2 * length);
    return buffer.subarray(0, length);
  };
}
