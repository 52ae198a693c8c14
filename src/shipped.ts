/** Where the models are that a plain name means. */
import { fileURLToPath } from "node:url";
import { ensure, shown } from "./errors.ts";

let chosen: string | undefined;

/** The package's own folder, unless `useModels` said otherwise. */
export const modelsFolder = (): string => chosen ?? fileURLToPath(new URL("../models", import.meta.url));

/** From now on a model that is named without a path lies in this folder (in a page: of the web; there it is `models` beside the page at first). */
export function useModels(folder: string | URL): void {
  ensure((typeof folder === "string" && folder !== "") || folder instanceof URL, "bad_option", () => {
    return `useModels takes a folder's path or address, not ${shown(folder)}`;
  });
  chosen = folder instanceof URL ? fileURLToPath(folder) : folder;
}
