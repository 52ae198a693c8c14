/** Where the reference of a model leads: a model that ships with the package, a path, or what the hub has under the name. */
import { ensure, nearest, VentrisError } from "./errors.ts";
import { exists, storage, within } from "./files.ts";
import { readShipped } from "./models/shipping.ts";
import { modelsFolder } from "./shipped.ts";
import { fromHub, isOfHub, type Resolving, requireReference } from "./weights/references.ts";

export type { OpenProgress, Resolving } from "./weights/references.ts";

/** Names of the models that ship with the package. */
export async function shippedModels(): Promise<string[]> {
  return (await readShipped()).map(({ name }) => name);
}

/** Where a model reference leads; a model of the hub is downloaded. Errors: `unavailable`, `aborted`. */
export async function resolveModel(reference: string, options: Resolving = {}): Promise<string> {
  requireReference(reference, "resolveModel");
  ensure(!options.signal?.aborted, "aborted", `opening ${reference} was aborted`);
  const shipped = await shippedModels();
  if (shipped.includes(reference)) return within(modelsFolder(), reference);
  if (await exists(reference).catch(() => false)) return (await storage()).absolute(reference);
  const meant = nearest(reference, shipped);
  if (isOfHub(reference)) return fromHub(reference, options);
  throw new VentrisError(
    "unavailable",
    `no model "${reference}": it is neither a shipped model (${shipped.join(", ") || "none"}), nor a file or folder here${meant ? `; did you mean "${meant}"?` : ""}`,
  );
}
