/** In a page there is no Node: what it has in the place of a disk. */
export { pageFiles as nodeFiles } from "./browser/files.ts";
