import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { grownConfig } from "./grown.mjs";
import { llamaTensors, shapes } from "./shapes.mjs";

const config = fileURLToPath(new URL("../../models/knossos/config.json", import.meta.url));

describe.skipIf(!existsSync(config))("knossos grown to a shape", () => {
  const small = existsSync(config) ? JSON.parse(readFileSync(config, "utf8")) : {};
  const count = (/** @type {import("./shapes.mjs").LlamaConfig} */ of) =>
    llamaTensors(of).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

  it.each(/** @type {const} */ (["135m", "1b"]))("%s has the shape's widths and number of parameters", (shape) => {
    const grown = grownConfig(small, shape);
    const wanted = shapes[shape];
    expect(grown.hidden_size).toBe(wanted.hidden_size);
    for (const heads of /** @type {const} */ (["num_attention_heads", "num_key_value_heads"]))
      expect(grown[heads] * grown.head_dim).toBe((wanted[heads] * wanted.hidden_size) / wanted.num_attention_heads);
    expect(grown.vocab_size).toBe(small.vocab_size);
    expect(Math.abs(count(grown) / count(wanted) - 1)).toBeLessThan(0.03);
  });
});
