/** Where the models are that a plain name means. */
import { fileURLToPath } from "node:url";

/** The package's own folder. */
export const modelsFolder = (): string => fileURLToPath(new URL("../models", import.meta.url));
