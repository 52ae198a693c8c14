/** Methods over a canvas: a policy with a name and options, which the registry takes like any other method. */
import { z } from "zod";
import type { Decoding } from "../decoding.ts";
import type { Method } from "../method.ts";
import { createFilling, type Filling } from "./filling.ts";
import { canvasOptions } from "./options.ts";
import type { UnmaskingMethod } from "./policy.ts";

/** Temperature is 0 unless something else is asked for, as published. */
export function defineUnmasking<Schema extends z.ZodObject>(definition: UnmaskingMethod<Schema>): Method {
  const { options, policy, ...names } = definition;
  return {
    ...names,
    family: "diffusion",
    lossless: false,
    needs: ["canvas"],
    defaults: { temperature: 0 },
    options: z.strictObject({ ...options.shape, ...canvasOptions.shape }),
    begin: createFilling as unknown as Method["begin"],
    async decode(decoding: Decoding, given) {
      const filling = decoding as unknown as Filling;
      const own = Object.fromEntries(Object.keys(options.shape).map((key) => [key, given[key]]));
      const canvas = Object.fromEntries(Object.keys(canvasOptions.shape).map((key) => [key, given[key]]));
      await filling.run(
        (request) => policy(request, own as z.output<Schema>),
        canvas as z.output<typeof canvasOptions>,
      );
    },
  };
}
