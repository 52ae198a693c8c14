/** A schema document: its dialect, its named places, and where references lead. Nothing is fetched. */

import { ensure } from "../../errors.ts";
import { suggestion } from "../../names.ts";
import { SchemaError } from "./refusals.ts";

export type Schema = boolean | { readonly [keyword: string]: unknown };

export interface SchemaDocument {
  readonly root: Schema;
  /** The draft that $schema names; undefined where it names none. */
  readonly draft: Draft | undefined;
  /** The schema that a reference in `from` means, and its place. Errors: `bad_option` naming reference and place. */
  resolve(reference: string, from: object, where: string): { schema: Schema; where: string };
}

export type Draft = "2020-12" | "2019-09" | "7" | "6" | "4";

const drafts = new Map<string, Draft>([
  ["https://json-schema.org/draft/2020-12/schema", "2020-12"],
  ["https://json-schema.org/draft/2019-09/schema", "2019-09"],
  ["https://json-schema.org/draft-07/schema", "7"],
  ["https://json-schema.org/draft-06/schema", "6"],
  ["https://json-schema.org/draft-04/schema", "4"],
]);

const deepest = 2_000;

export const isObject = (value: unknown): value is { readonly [keyword: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Errors: `bad_option` for what is no schema, an unknown dialect and two places of the same name. */
export function openDocument(root: unknown): SchemaDocument {
  ensure(
    typeof root === "boolean" || isObject(root),
    "bad_option",
    `a schema is an object or a boolean, not ${JSON.stringify(root)?.slice(0, 80)}`,
  );
  const draft = isObject(root) ? draftOf(root.$schema) : undefined;
  const idKeyword = draft === "4" ? "id" : "$id";
  const origin = "schema:/";
  const bases = new Map<object, string>();
  const named = new Map<string, { schema: Schema; where: string }>();

  const walk = (value: unknown, base: string, where: string, depth: number): void => {
    ensure(depth < deepest, "bad_option", `nested deeper than ${deepest}`);
    if (typeof value !== "object" || value === null) return;
    let own = base;
    if (isObject(value)) {
      const id = value[idKeyword];
      if (typeof id === "string") own = URL.canParse(id, base) ? new URL(id, base).href : base;
      for (const key of ["$anchor", "$dynamicAnchor"]) {
        if (typeof value[key] === "string") named.set(`${own.split("#")[0]}#${value[key]}`, { schema: value, where });
      }
      if (own !== base) named.set(own.replace(/#$/, ""), { schema: value, where });
    }
    bases.set(value, own);
    for (const [key, inner] of Object.entries(value)) walk(inner, own, `${where}/${escapePointer(key)}`, depth + 1);
  };
  walk(root, origin, "#", 0);

  const rootBase = isObject(root) ? bases.get(root)! : origin;

  return {
    root,
    draft,
    resolve(reference, from, where) {
      const base = bases.get(from) ?? origin;
      const fail = (why: string): never => {
        throw new SchemaError(where, `$ref "${reference}" ${why}`);
      };
      if (!URL.canParse(reference, base)) fail("cannot be read");
      const { href } = new URL(reference, base);
      const [target, fragment = ""] = href.split("#");
      const found = named.get(href.replace(/#$/, "")) ?? named.get(href);
      if (found) return found;
      const inRoot = target === rootBase.split("#")[0] || target === origin;
      const start = inRoot
        ? { schema: root as unknown, where: "#" }
        : (named.get(target) as { schema: unknown; where: string });
      if (!start) fail("leads out of the document; nothing is fetched: put the schema below $defs");
      let pointer: string;
      try {
        pointer = decodeURIComponent(fragment);
      } catch {
        return fail("cannot be read");
      }
      let { schema, where: place } = start;
      if (pointer !== "" && !pointer.startsWith("/")) fail("names an anchor that does not exist");
      for (const part of pointer.split("/").slice(1)) {
        const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
        if (typeof schema !== "object" || schema === null || !Object.hasOwn(schema, key)) {
          fail(`leads nowhere: there is no "${key}"${isObject(schema) ? suggestion(key, Object.keys(schema)) : ""}`);
        }
        schema = (schema as Record<string, unknown>)[key];
        place += `/${part}`;
      }
      if (typeof schema !== "boolean" && !isObject(schema)) fail("leads to something that is no schema");
      return { schema: schema as Schema, where: place };
    },
  };
}

export const escapePointer = (key: string): string => key.replaceAll("~", "~0").replaceAll("/", "~1");

function draftOf(name: unknown): Draft | undefined {
  if (name === undefined) return undefined;
  ensure(typeof name === "string", "bad_option", "$schema is a text");
  const plain = name.replace(/#$/, "").replace(/^http:(?=\/\/json-schema\.org\/draft-)/, "https:");
  const draft = drafts.get(plain);
  ensure(draft, "bad_option", `$schema names "${name}", which is not supported; use draft 2020-12 or draft 7`);
  return draft;
}
