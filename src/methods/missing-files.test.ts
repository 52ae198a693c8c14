/** Options that name a model, a part or a file: what is not there is told with the option's name. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hostOnlyOptions } from "../engine/method.ts";
import { type Model, open } from "../open.ts";
import { methods, shapers } from "./index.ts";

/** Folders that are written: one that is not there is made. */
const written = ["auto state", "online state"];

const pairs = [...methods, ...shapers]
  .flatMap((entry) => hostOnlyOptions(entry).map((option) => ({ entry, option })))
  .filter(({ entry, option }) => entry.options.shape[option].safeParse("nowhere").success)
  .filter(({ entry, option }) => !written.includes(`${entry.name} ${option}`));

let models: Readonly<Record<"forest" | "canvas", Model>>;
beforeAll(async () => {
  models = { forest: await open("knossos"), canvas: await open("mycenae") };
});
afterAll(async () => {
  await models.forest.close();
  await models.canvas.close();
});

describe("an option names it", () => {
  it.each(pairs.map(({ entry, option }) => [entry.name, option]))("%s: %s", async (name, option) => {
    const method = methods.find((one) => one.name === name);
    const model = method?.needs?.includes("canvas") ? models.canvas : models.forest;
    const choice = { name, [option]: "nowhere" };
    const request = method ? { method: choice } : { method: "greedy", shapers: [choice] };
    await expect(model.generate("Once", { ...request, maxTokens: 2 } as never)).rejects.toMatchObject({
      name: "VentrisError",
      code: "unavailable",
      message: expect.stringMatching(new RegExp(`^${option}: .*nowhere`)),
    });
  });
});
