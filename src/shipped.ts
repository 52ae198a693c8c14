/** Where the models are that a plain name means. */
import { fileURLToPath } from "node:url";
import { ensure, shown } from "./errors.ts";
import { tellingReads } from "./reads.ts";

let chosen: string | undefined;

/** The package's own folder, unless `useModels` said otherwise. */
export const modelsFolder = (): string => chosen ?? fileURLToPath(new URL("../models", import.meta.url));

/** Whether it is one that somebody named, who is to know when it is not there. */
export const isChosen = (): boolean => chosen !== undefined;

/** From now on a model that is named without a path lies in this folder (in a page: of the web; there it is `models` beside the page at first). */
export function useModels(folder: string | URL): void {
  const isAddress = tellingReads("useModels", ["folder"], (given) => given instanceof URL)(folder);
  ensure((typeof folder === "string" && folder !== "") || isAddress, "bad_option", () => {
    return `useModels takes a folder's path or address, not ${shown(folder)}`;
  });
  chosen = folder instanceof URL ? fileURLToPath(folder) : folder;
}
