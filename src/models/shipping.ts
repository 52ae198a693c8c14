/** The models that ship with the package, as their own files describe them: so that who asks a model for what it lacks hears which one has it. */

import { VentrisError } from "../errors.ts";
import { exists, nameOf, readText, storage, whyUnreadable, within } from "../files.ts";
import { hint, meantBy } from "../names.ts";
import { isChosen, modelsFolder } from "../shipped.ts";
import { openTokenizer, type Tokenizer } from "../text/index.ts";
import { familyOf } from "./families.ts";
import type { Family, ModelConfig } from "./family.ts";
import { cardBelow, listParts, partFiles } from "./parts.ts";

export interface ShippedModel {
  readonly name: string;
  readonly folder: string;
  /** Absent for one that this version cannot read. */
  readonly known?: { readonly family: Family; readonly config: ModelConfig };
}

/** As they lay there when last looked at: errors that are thrown at once cannot wait for files. */
let seen: readonly ShippedModel[] = [];

/** Reads their configurations. None where the folder is not there. */
export async function readShipped(): Promise<readonly ShippedModel[]> {
  const root = modelsFolder();
  const names = await (await storage()).list(root).catch((cause) => {
    if (!isChosen()) return [];
    throw new VentrisError("unavailable", `useModels: ${root} is no folder that can be read: ${whyUnreadable(cause)}`, {
      cause,
    });
  });
  const found = names.map(async (name): Promise<ShippedModel[]> => {
    const folder = within(root, name);
    const file = within(folder, "config.json");
    if (!(await exists(file).catch(() => false))) return [];
    try {
      return [{ name, folder, known: familyOf(JSON.parse(await readText(file))) }];
    } catch {
      return [{ name, folder }];
    }
  });
  seen = (await Promise.all(found)).flat();
  return seen;
}

/** What a model of this kind brings whose presence differs among kinds. */
const kindOf = ({ diffusion, vision }: ModelConfig): string[] =>
  diffusion ? ["canvas"] : vision ? ["forest", "vision"] : ["forest"];

/** "; of the shipped models mycenae has one", for the end of an error; empty where not all is known to be in one. */
export function shippedWith(capabilities: readonly string[]): string {
  const having = seen.filter(({ known }) => known && capabilities.every((one) => kindOf(known.config).includes(one)));
  return having.length === 0 ? "" : `; of the shipped models ${listed(having.map(({ name }) => name))}`;
}

/** The shipped models that can draft for one of so many parameters and this tokenizer, the smallest first. */
export async function shippedDrafts(target: {
  readonly tokenizer: Tokenizer | undefined;
  readonly parameterCount: number;
}): Promise<string[]> {
  const drafts: { name: string; size: number }[] = [];
  for (const { name, folder, known } of await readShipped()) {
    if (!known || !kindOf(known.config).includes("forest")) continue;
    const sizes = known.family.parameters(known.config).map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    const size = sizes.reduce((sum, one) => sum + one, 0);
    const outputs = known.config.vocabularySize;
    const tokenizer = await openTokenizer(folder, { outputs }).catch(() => undefined);
    const same = tokenizer !== undefined && tokenizer.fingerprint === target.tokenizer?.fingerprint;
    if (same && size < target.parameterCount) drafts.push({ name, size });
  }
  return drafts.sort((a, b) => a.size - b.size).map(({ name }) => name);
}

/**
 * The folder of a part: one beside the model by name, or a path. Errors: `unavailable` with the nearest name, and the shipped models that
 * have such a part.
 */
export async function findPart(modelFolder: string, reference: string, kind?: string): Promise<string> {
  const beside = await listParts(modelFolder);
  const named = beside.find(({ card, folder }) => card.name === reference || nameOf(folder) === reference);
  if (named) return named.folder;
  if (await exists(within(reference, partFiles.card))) return reference;
  const names = beside.map(({ card }) => card.name);
  const short = reference.slice(0, 200);
  // Of its kind one alone is meant by any name; of several only one that is nearly called so.
  const alike = beside.filter(({ card }) => card.kind === kind);
  const meant = meantBy(short, names) ?? (alike.length === 1 ? alike[0].card.name : undefined);
  const below = await cardBelow(reference, partFiles.card);
  const advice =
    below === undefined ? hint(meant) || (await partElsewhere(reference, kind)) : `; give the part in it, ${below}`;
  throw new VentrisError(
    "unavailable",
    `no part "${short}": the model ${names.length === 0 ? "has no parts" : `has the part${names.length === 1 ? "" : "s"} ${names.join(", ")}`}, and no folder of this name holds one${advice}`,
  );
}

async function partElsewhere(reference: string, kind: string | undefined): Promise<string> {
  const having: string[] = [];
  for (const { name, folder } of await readShipped()) {
    const parts = (await listParts(folder)).map(({ card }) => card);
    const part = parts.find((card) => card.name === reference) ?? parts.find((card) => card.kind === kind);
    if (part) having.push(part.name === reference ? name : `${name} (as ${part.name})`);
  }
  return having.length === 0 ? "; no shipped model has one" : `; of the shipped models ${listed(having)}`;
}

const listed = (names: readonly string[]): string =>
  names.length === 1 ? `${names[0]} has one` : `${names.slice(0, -1).join(", ")} and ${names.at(-1)} have one`;
