/**
 * Sites: the named places inside a model. `embed.tokens` is what stands for the tokens, `embed` the same with positions added where
 * these are learned; then for each layer N
 *
 *     layers.N.attention.norm → .queries .keys .values (as attention compares them) → .heads (their results, joined) → .output →
 *     layers.N.attention.residual → layers.N.mlp.norm → .gate .up → .neurons → .output → layers.N.residual
 *
 * and `final` (normalised) and `logits` (scaled and capped where the model does so). Where a branch has no norm before it, `.norm` is what it reads;
 * `.output` is what is added to the residual stream, after a norm or a factor behind the branch. A value is always [rows, width], a row for each token; heads lie side by side in a row. `final`
 * and `logits` exist only in the rows whose logits were asked for.
 */

import { ensure, plural } from "../errors.ts";
import { suggestion } from "../names.ts";
import { type Dimension, input, reshape, type Tensor, transpose } from "../tensor/index.ts";
import type { Family, ModelConfig } from "./family.ts";
import { rotaryInputs } from "./rope.ts";

/** A named place in a model, with the width of what it holds. */
export interface Site {
  readonly name: string;
  /** Numbers in a row. */
  readonly width: number;
  /** Heads that lie side by side in a row, each with width / heads numbers. Only of attention's queries, keys, values and heads. */
  readonly heads?: number;
  /** Whether it has a row for every token, or only for those whose logits are wanted. */
  readonly rows: "all" | "selected";
}

/** Leading dimension of sites after the selection, in every program. */
export const selectedRows = "selected";

const perHead = /\.attention\.(queries|keys|values|heads)$/;

const rowsOf = (leading: Dimension): Site["rows"] => (leading === selectedRows ? "selected" : "all");

/** The sites of a model in the order in which it computes them. Nothing is compiled. */
export function sitesOf(family: Family, config: ModelConfig): Site[] {
  const sites: Site[] = [];
  const positions = input("positions", ["batch", "length"], "int64");
  family.build(config, {
    tokens: input("tokens", ["batch", "length"], "int64"),
    positions,
    rotary: rotaryInputs(config),
    attention: (layer) => input(`attended.${layer}`, ["batch*length", config.heads * config.headDimension]),
    parameter: (name, shape) => input(name, shape),
    site(name, value) {
      const width = value.shape[1] as number;
      const heads = perHead.test(name) && { heads: width / config.headDimension };
      sites.push({ name, width, ...heads, rows: rowsOf(value.shape[0]) });
      return value;
    },
    select: ({ shape }) => input("hidden", [selectedRows, shape[1]]),
  });
  return sites;
}

/** The layer that a site is in; undefined before and behind all layers. */
export const layerOf = (site: string): number | undefined => {
  const [, layer] = /^layers\.(\d+)\./.exec(site) ?? [];
  return layer === undefined ? undefined : Number(layer);
};

/** The layer that a site ends: where rows can begin that the layers below do not have. */
export function layerEndedBy(site: string): number | undefined {
  const [, layer] = /^layers\.(\d+)\.residual$/.exec(site) ?? [];
  return layer === undefined ? undefined : Number(layer);
}

/** The site of this name. Errors: `bad_option` with the nearest name. */
export function siteNamed(sites: readonly Site[], name: string): Site {
  const found = sites.find((site) => site.name === name);
  ensure(found, "bad_option", () => {
    const names = sites.map((site) => site.name);
    const some = names.length === 0 ? "" : `; it has ${names.length}, such as ${names.slice(0, 4).join(", ")}`;
    if (name.trim() === "") return `a site is named by an empty text: it must be one of the model's${some}`;
    const shortened = name.slice(0, 200);
    const layers = 1 + sites.reduce((last, site) => Math.max(last, layerOf(site.name) ?? -1), -1);
    if ((layerOf(name) ?? -1) >= layers)
      return `the model has no site ${shortened}: it has ${plural(layers, "layer")}, layers.0${layers > 1 ? ` to layers.${layers - 1}` : ""}`;
    const inside = names.filter((one) => one.startsWith(`${shortened}.`));
    if (inside.length > 0) return `the model has no site ${shortened}, but ${inside.slice(0, 16).join(", ")}`;
    return `the model has no site ${shortened}${suggestion(shortened, names) || some}`;
  });
  return found;
}

/** A place whose value is [batch, heads, length, dimension], shown to the hook as rows; untouched, it costs nothing. */
export function perHeadSite(place: (name: string, value: Tensor) => Tensor, name: string, value: Tensor): Tensor {
  const [batch, heads, length, dimension] = value.shape;
  const rows = reshape(transpose(value, [0, 2, 1, 3]), [-1, (heads as number) * (dimension as number)]);
  const result = place(name, rows);
  return result === rows ? value : transpose(reshape(result, [batch, length, heads, dimension]), [0, 2, 1, 3]);
}
