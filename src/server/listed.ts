/** Models that the studio's page may name. Names come from strangers: only models that are listed are opened, and no paths. */

import { listModels } from "../cli/models.ts";
import { suggestion } from "../names.ts";

import { RequestError } from "./errors.ts";

/** The answer to who names a model that is not among `names`. A path is not said again: whether it is one of this machine is nobody's business. */
export function notHere(name: string, names: readonly string[]): RequestError {
  const isPath = /^[\\/~.]|^[a-z]:/i.test(name);
  return new RequestError(
    "unavailable",
    `no model ${isPath ? "is opened by a path" : `"${name.slice(0, 200)}" is here`}; the models here: ${names.join(", ") || "none"}${suggestion(name, names)}`,
    { param: "model" },
  );
}

/** Errors: `unavailable`. */
export async function findModel(name: string): Promise<{ name: string; path: string }> {
  const listed = await listModels();
  const found = listed.find((entry) => entry.name === name);
  if (found) return found;
  const usable = listed.filter(({ problem }) => problem === undefined);
  throw notHere(
    name,
    usable.map((entry) => entry.name),
  );
}

/** Its name. Errors: as `findModel`. */
export const knownModel = async (name: string): Promise<string> => (await findModel(name)).name;
