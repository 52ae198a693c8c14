/** Models that the studio's page may name. Names come from strangers: only models that are listed are opened, and no paths. */
import { listModels } from "../cli/models.ts";
import { ensure } from "../errors.ts";

/** Errors: `unavailable`. */
export async function findModel(name: string): Promise<{ name: string; path: string }> {
  const listed = await listModels();
  const found = listed.find((entry) => entry.name === name);
  ensure(
    found,
    "unavailable",
    `no model "${name.slice(0, 200)}" is here; the models here: ${listed.map((entry) => entry.name).join(", ") || "none"}`,
  );
  return found;
}

/** Its name. Errors: as `findModel`. */
export const knownModel = async (name: string): Promise<string> => (await findModel(name)).name;
