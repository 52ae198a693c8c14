/** Where the reference of a model leads: a model that ships with the package, a path, or what the hub has under the name. */

import { ensure, VentrisError } from "./errors.ts";
import { exists, nearestPath, storage, within } from "./files.ts";
import { readShipped } from "./models/shipping.ts";
import { hint, meantBy } from "./names.ts";
import { tellingReads } from "./reads.ts";
import { modelsFolder } from "./shipped.ts";
import { fromHub, isOfHub, type Resolving, readResolving, requireReference } from "./weights/references.ts";

export type { ConvertStage, DownloadStage, LoadStage, OpenProgress, Resolving } from "./weights/references.ts";

/** What the package leaves out, as its manifest says, too. */
export const inRepositoryOnly: readonly string[] = ["argos", "knossos-units"];

/** Names of the models that ship with the package. */
export async function shippedModels(): Promise<string[]> {
  return (await readShipped()).map(({ name }) => name);
}

/** The hub's name behind what others write before it: `hf:org/name`, `hf://org/name`. */
function hubName(reference: string): string | undefined {
  const name = reference.replace(/^(hf|huggingface|hub):(\/\/)?/i, "");
  return name !== reference && isOfHub(name) ? name : undefined;
}

/** Where a model reference leads; a model of the hub is downloaded. Errors: `unavailable`, `aborted`. */
export async function resolveModel(reference: string, given: Resolving = {}): Promise<string> {
  requireReference(reference, "resolveModel");
  const options = tellingReads("resolveModel", ["options"], readResolving)(given);
  ensure(!options.signal?.aborted, "aborted", `opening ${reference} was aborted`);
  const shipped = await shippedModels();
  if (shipped.includes(reference)) return within(modelsFolder(), reference);
  if (await exists(reference).catch(() => false)) return (await storage()).absolute(reference);
  const meant = hint(
    meantBy(reference, shipped) ??
      hubName(reference) ??
      (reference.includes("/") ? await nearestPath(reference) : undefined),
  );
  if (isOfHub(reference)) {
    return fromHub(reference, options).catch((cause) => {
      const known = cause instanceof VentrisError && cause.code === "unavailable";
      // A path that is misspelt looks like a name of the hub.
      if (!known) throw cause;
      const message = `no model "${reference}": there is no such folder here${meant ? `${meant} Of` : ", and of"} the hub's: ${cause.message}`;
      throw new VentrisError("unavailable", message, { cause });
    });
  }
  ensure(
    !/^https?:/i.test(reference),
    "unavailable",
    `no model "${reference}": files of the web are opened in a page; here, download it, or give a name of the hub ("org/name")`,
  );
  ensure(
    !inRepositoryOnly.includes(reference),
    "unavailable",
    `no model "${reference}" here: it is in the repository of Ventris and not in the package, which would be too large; give the path of its folder in a clone`,
  );
  throw new VentrisError(
    "unavailable",
    `no model "${reference}": it is neither a shipped model (${shipped.join(", ") || `none is in ${modelsFolder()}`}), nor a file or folder here${meant || (reference.startsWith("~") ? '; "~" is read by shells alone: write the whole path' : "")}`,
  );
}
