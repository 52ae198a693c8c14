/**
 * Parts: what is small, trained, and belongs to a model: heads, prompt vectors, projections, codebooks, memories. A part is a folder with a
 * card, `part.json`, and `part.safetensors`; it says which base it was trained on, and is refused for another.
 */
import { z } from "zod";
import { ensure, VentrisError } from "../errors.ts";
import { exists, nameOf, readWhole, storage, whyUnreadable, within } from "../files.ts";
import { checkJson } from "../json.ts";
import { openSafetensors, writeFileAtomically, writeSafetensors } from "../weights/index.ts";
import type { WeightSource } from "../weights/source.ts";
import { type Site, siteNamed } from "./sites.ts";

export const partFiles = { card: "part.json", weights: "part.safetensors" };
const format = "ventris part 1";
/** A card is a page of JSON: what is longer is no card. */
const mostCardBytes = 2 ** 20;

const partCard = z.object({
  format: z.literal(format),
  name: z.string().min(1).max(200),
  /** What reads it: as a rule the method's name. */
  kind: z.string().min(1).max(100),
  base: z.object({ name: z.string().max(1000), fingerprint: z.string().regex(/^[0-9a-f]{64}$/) }),
  /** Sites that it reads or rewrites. */
  sites: z.array(z.string().max(200)).max(10_000).default([]),
  /** The kind's own settings. */
  settings: z.record(z.string(), z.unknown()).default({}),
  /** How it was made, for readers. */
  training: z.unknown().optional(),
  /** Its tensors and their shapes. */
  tensors: z.record(z.string().max(1000), z.array(z.int().min(1)).max(8)),
});
/** What a part is, which model it belongs to, and how it was trained. */
export type PartCard = z.output<typeof partCard>;

/** A part's tensor, in float32. */
export interface PartTensor {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly values: Float32Array<ArrayBuffer>;
}

/** Something small and trained that belongs to a model: tensors and a card. */
export interface Part {
  readonly card: PartCard;
  readonly folder: string;
  readonly tensors: ReadonlyMap<string, PartTensor>;
}

/** What a part is checked against. */
export interface PartBase {
  readonly name: string;
  readonly fingerprint: string;
  readonly sites: readonly Site[];
}

/** Names a checkpoint by its contents (SHA-256 of names, types, shapes and bytes), wherever it lies. */
export async function fingerprintOf(source: WeightSource): Promise<string> {
  const hash = (await storage()).hash("sha256");
  for (const name of [...source.tensors.keys()].sort()) {
    const { type, shape } = source.tensors.get(name)!;
    hash.update(`${name}\0${type}\0${shape.join()}\0`);
    hash.update(await source.readBytes(name));
  }
  return hash.hex();
}

/**
 * Writes a part, its tensors first, so that a folder with a card is whole. Errors: `bad_option` for an unknown site, values that are not
 * finite or do not fill their shape, and a tensor without values; `disk_full`, `unavailable`.
 */
export async function writePart(
  folder: string,
  base: PartBase,
  part: Pick<PartCard, "kind"> &
    Partial<Pick<PartCard, "name" | "sites" | "settings" | "training">> & {
      tensors: ReadonlyMap<string, PartTensor>;
      /** How numbers are stored; default: as they are. */
      stored?: "F32" | "F16";
    },
): Promise<void> {
  const { tensors, sites = [], settings = {}, name = nameOf(folder), kind, training, stored = "F32" } = part;
  for (const site of sites) siteNamed(base.sites, site);
  ensure(tensors.size > 0, "bad_option", `part ${name}: it has no tensors`);
  for (const [tensor, { shape, values }] of tensors) {
    const size = shape.reduce((a, b) => a * b, 1);
    const some = shape.every((length) => Number.isInteger(length) && length >= 1);
    ensure(some, "bad_option", `part ${name}: ${tensor} is [${shape}]: every length is a whole number from 1 on`);
    ensure(
      size === values.length,
      "bad_option",
      `part ${name}: ${tensor} is [${shape}], but has ${values.length} values`,
    );
    ensure(values.every(Number.isFinite), "bad_option", `part ${name}: ${tensor} has values that are not finite`);
  }
  const card: PartCard = {
    format,
    name,
    kind,
    base: { name: withoutPath(base.name), fingerprint: base.fingerprint },
    sites: [...sites],
    settings,
    ...(training !== undefined && { training }),
    tensors: Object.fromEntries([...tensors].map(([tensor, { shape }]) => [tensor, [...shape]])),
  };
  const entries = [...tensors].map(([tensor, { shape, values }]) => ({
    name: tensor,
    type: stored,
    shape,
    data: values,
  }));
  await writeSafetensors(within(folder, partFiles.weights), entries, { format });
  await writeFileAtomically(within(folder, partFiles.card), `${JSON.stringify(card, null, 2)}\n`);
}

/** A card goes where others read it: the last name of a folder says enough. */
const withoutPath = (name: string): string =>
  /^([./\\~]|[A-Za-z]:[\\/])/.test(name) ? nameOf(name.replace(/[\\/]+$/, "")) : name;

/**
 * Reads a part for a base. Errors: `unavailable` where there is none; `bad_file` for a card or tensors that do not fit each other;
 * `bad_option` for another kind, another base, or sites that the base has not.
 */
export async function readPart(folder: string, base: PartBase, kind?: string): Promise<Part> {
  const card = await readCard(folder);
  const { name } = card;
  ensure(
    kind === undefined || card.kind === kind,
    "bad_option",
    `the part ${name} is of the kind ${card.kind}, not ${kind}`,
  );
  ensure(card.base.fingerprint === base.fingerprint, "bad_option", () => {
    return `the part ${name} was trained on another model (${card.base.name}), and does not fit ${base.name}: the weights differ`;
  });
  for (const site of card.sites) siteNamed(base.sites, site);
  const source = await openSafetensors(within(folder, partFiles.weights));
  try {
    const tensors = new Map<string, PartTensor>();
    for (const [tensor, shape] of Object.entries(card.tensors)) {
      const found = source.tensors.get(tensor)?.shape;
      ensure(found?.join() === shape.join(), "bad_file", () => {
        return `${source.origin}: the tensor ${tensor} ${found ? `has shape [${found}], but the card says` : "is missing: the card has it as"} [${shape}]`;
      });
      tensors.set(tensor, { shape, values: await source.readFloat32(tensor) });
    }
    const stray = [...source.tensors.keys()].find((tensor) => !tensors.has(tensor));
    ensure(stray === undefined, "bad_file", `${source.origin}: the tensor ${stray} is not on the card`);
    return { card, folder, tensors };
  } finally {
    await source.close();
  }
}

async function readCard(folder: string): Promise<PartCard> {
  const path = within(folder, partFiles.card);
  ensure(await exists(path), "unavailable", `${folder} is no part: it has no ${partFiles.card}`);
  return readCardFile(path, partCard, mostCardBytes);
}

/** The first folder in a folder that has a card of this name: who gives the folder around it may well mean that one. */
export async function cardBelow(folder: string, card: string): Promise<string | undefined> {
  const names = await (await storage()).list(folder).catch(() => []);
  for (const name of names.toSorted()) {
    const below = within(folder, name);
    if (await exists(within(below, card))) return below;
  }
  return undefined;
}

/** A card of a folder, by its schema. Errors: `bad_file` for what cannot be read, is too long, no JSON, or no such card. */
export async function readCardFile<Card>(path: string, schema: z.ZodType<Card>, mostBytes: number): Promise<Card> {
  const bytes = await readWhole(path, mostBytes).catch((cause: unknown) => {
    throw new VentrisError("bad_file", `cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  });
  ensure(bytes, "bad_file", `${path} is longer than a card can be`);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new VentrisError("bad_file", `${path}: ${(cause as Error).message}`, { cause });
  }
  return checkJson(schema, json, path);
}

/** Cards of the parts beside a model, in its folder `parts`, by name; those that cannot be read are left out. */
export async function listParts(modelFolder: string): Promise<{ card: PartCard; folder: string }[]> {
  const parts = within(modelFolder, "parts");
  const names = [...(await (await storage()).list(parts).catch(() => []))].sort();
  const cards = names.map(async (name) => ({ folder: within(parts, name), card: await readCard(within(parts, name)) }));
  return (await Promise.allSettled(cards)).flatMap((card) => (card.status === "fulfilled" ? [card.value] : []));
}
