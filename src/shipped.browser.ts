/** Where the models are that a plain name means. */
import { ensure, shown } from "./errors.ts";
import { tellingReads } from "./reads.ts";

const scope = globalThis as unknown as { document?: { baseURI: string }; location: { href: string } };
let [chosen, page]: (string | undefined)[] = [];

/** The page's address; a worker's own where it was not told the page's. */
export const pageAddress = (): string => page ?? scope.document?.baseURI ?? scope.location.href;

/** A worker is told what its page has. */
export function setPage(address: string, models: string): void {
  [page, chosen] = [address, models];
}

/** The folder `models` beside the page, unless `useModels` said otherwise. */
export const modelsFolder = (): string => chosen ?? new URL("models", pageAddress()).href;

/** What is there a page does not see before it asks for a file. */
export const isChosen = (): boolean => false;

/** From now on a model that is named without a path lies in this folder of the web. */
export function useModels(folder: string | URL): void {
  const isAddress = tellingReads("useModels", ["folder"], (given) => given instanceof URL)(folder);
  ensure((typeof folder === "string" && folder !== "") || isAddress, "bad_option", () => {
    return `useModels takes a folder's path or address, not ${shown(folder)}`;
  });
  chosen = new URL(String(folder), pageAddress()).href.replace(/\/+$/, "");
}
