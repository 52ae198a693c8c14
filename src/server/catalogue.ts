/** The models that requests may name: those that are listed on this machine, or the ones the server was started for. Never a path. */
import { statSync } from "node:fs";
import { listModels } from "../cli/models.ts";
import { notHere } from "./listed.ts";

export interface Served {
  readonly name: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly origin: string;
}

export interface Catalogue {
  list(): Promise<readonly Served[]>;
  /** The model's name. Errors: `unavailable`. */
  find(name: string): Promise<string>;
}

/** Of a folder its birth: what is kept beside a model changes when it was written last. */
function createdAt(path: string): number {
  const { birthtimeMs = 0, mtimeMs = 0 } = statSync(path, { throwIfNoEntry: false }) ?? {};
  return Math.floor((birthtimeMs || mtimeMs) / 1000);
}

/** `only`: references that were given at the start, as they are; none: whatever is listed. */
export function createCatalogue(only: readonly string[] = []): Catalogue {
  const started = Math.floor(Date.now() / 1000);
  const chosen = only.map((name) => ({ name, created: started, origin: "chosen" }));
  const known = new Set(only);
  async function list(): Promise<readonly Served[]> {
    if (only.length > 0) return chosen;
    const entries = (await listModels()).filter(({ problem }) => problem === undefined);
    return entries.map(({ name, path, origin }) => ({
      name,
      created: createdAt(path),
      origin,
    }));
  }
  return {
    list,
    async find(name) {
      if (known.has(name)) return name;
      const names = (await list()).map((one) => one.name);
      if (names.includes(name)) {
        known.add(name); // looked for once
        return name;
      }
      throw notHere(name, names);
    },
  };
}
