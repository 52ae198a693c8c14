/** Layers and tokens that somebody asks for, of a model that has so many. */
import { ensure } from "../../errors.ts";

type Layered = { readonly layers: number };

/** Errors: `bad_option` naming a layer that the model has not. */
export function checkLayer({ layers }: Layered, layer: number): void {
  const there = Number.isInteger(layer) && layer >= 0 && layer < layers;
  ensure(there, "bad_option", () => {
    return `there is no layer ${layer}: the model has ${layers === 1 ? "one, layer 0" : `layers 0 to ${layers - 1}`}`;
  });
}

/** Errors: and for a layer that is asked for twice, which would be measured twice and fill what is listed. */
export function checkLayers(config: Layered, layers: readonly number[]): void {
  for (const [at, layer] of layers.entries()) {
    checkLayer(config, layer);
    ensure(layers.indexOf(layer) === at, "bad_option", `layer ${layer} is asked for twice`);
  }
}

/** Errors: `bad_option` for a token that the vocabulary has not, or one that is asked for twice, which would count twice. */
export function checkTokens(tokens: readonly number[], vocabulary: number): void {
  for (const [at, token] of tokens.entries()) {
    const there = Number.isInteger(token) && token >= 0 && token < vocabulary;
    ensure(there, "bad_option", `there are ${vocabulary} tokens: ${token} is none`);
    ensure(tokens.indexOf(token) === at, "bad_option", `token ${token} is asked for twice`);
  }
}
