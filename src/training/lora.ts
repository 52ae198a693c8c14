/** LoRA in training: the adapters' initial values, and the graph of a model that has them. */
import { uniform } from "../engine/random.ts";
import { type Lora, type LoraSite, loraScale } from "../models/lora.ts";
import { add, concat, constant, linear, matmul, parameter, rewrite, type Tensor } from "../tensor/index.ts";
import type { Parameter } from "./objective.ts";

/** As PEFT begins: A uniform in ±1/√in, B zero, so that the model is the base's at first. */
export function initialLora(
  sites: readonly LoraSite[],
  rank: number,
  seed: number,
): Map<string, Float32Array<ArrayBuffer>> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  sites.forEach(({ down, up, shape: [rows, columns] }, request) => {
    const bound = 1 / Math.sqrt(columns);
    const draw = (_: unknown, i: number) => bound * (2 * uniform({ seed, request }, i, "initialise", 2) - 1);
    values.set(down, Float32Array.from({ length: rank * columns }, draw));
    values.set(up, new Float32Array(rows * rank));
  });
  return values;
}

/** The adapters' matrices as what the optimiser trains. */
export function loraParameters({ sites, config: { rank }, values }: Lora): Parameter[] {
  return sites.flatMap(({ down, up, shape: [rows, columns] }) => [
    { name: down, shape: [rank, columns], values: values.get(down)!, decay: true },
    { name: up, shape: [rows, rank], values: values.get(up)!, decay: true },
  ]);
}

/** The graphs with adapters on their products: x W^T + scale · (x A^T) B^T, one pair of products for matrices that are joined. */
export function adaptGraph(outputs: readonly Tensor[], { sites, config }: Lora): Tensor[] {
  const siteOf = new Map(sites.map((site) => [site.parameter, site]));
  const scale = loraScale(config);
  return rewrite(outputs, (node) => {
    if (node.operation !== "matmul" || !node.attributes.transposeB) return undefined;
    const [x, weight] = node.inputs;
    const matrices = weight.operation === "concat" && weight.attributes.axis === 0 ? weight.inputs : [weight];
    const adapted = matrices.map((w) =>
      w.operation === "parameter" ? siteOf.get(w.attributes.name as string) : undefined,
    );
    const present = adapted.filter((site) => site !== undefined);
    if (present.length === 0) return undefined;
    const { rank } = config;
    const down = concat(
      present.map(({ down, shape }) => parameter(down, [rank, shape[1]])),
      0,
    );
    // B's matrices on the diagonal: each joined matrix hears its own adapter alone.
    const zeros = (rows: number, columns: number) => constant(new Float32Array(rows * columns), [rows, columns]);
    const up = matrices.map((matrix, i) => {
      const rows = matrix.shape[0] as number;
      const place = present.indexOf(adapted[i]!);
      if (place < 0) return zeros(rows, rank * present.length);
      const own = parameter(adapted[i]!.up, [rows, rank]);
      const parts = [zeros(rows, rank * place), own, zeros(rows, rank * (present.length - place - 1))];
      return concat(
        parts.filter((part) => part.shape[1] !== 0),
        1,
      );
    });
    return add(node, matmul(linear(x, down), concat(up, 0), { transposeB: true, scale }));
  });
}
