/** A small program of a method beside its model, made of a graph and values: compiled once, one run at a time whoever asks. */
import { compile, type Value, valueMaker } from "../../runtime/program.ts";
import { elementTypeOf, lower, type Tensor } from "../../tensor/index.ts";
import { weightFile } from "../../training/graph-objective.ts";

export interface PartProgram {
  run(inputs: Readonly<Record<string, Value>>): Promise<Readonly<Record<string, Value>>>;
  close(): Promise<void>;
}

/**
 * `values` of the graph's parameters by name become constants of the program. It has one thread: the threads of two programs that take
 * turns would wait for work in each other's way. Errors: those of compiling.
 */
export async function partProgram(
  outputs: Readonly<Record<string, Tensor>>,
  values: ReadonlyMap<string, Float32Array>,
): Promise<PartProgram> {
  const lowered = lower(outputs, { parameters: "weights" });
  const program = await compile(lowered, { threads: 1, weights: weightFile(lowered, values) });
  const value = await valueMaker();
  let last: Promise<unknown> = Promise.resolve();
  return {
    run(inputs) {
      const fed = Object.entries(inputs).map(([name, { data, dims }]) => [
        name,
        value(elementTypeOf(data), data, dims),
      ]);
      const result = last.then(() => program.run(Object.fromEntries(fed)));
      last = result.catch(() => {});
      return result;
    },
    async close() {
      await last;
      await program.release();
    },
  };
}
