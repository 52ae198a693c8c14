/** What opening a model says of itself, and models of the hub. */
import { requireSignal } from "../aborts.ts";
import { ensure, requireFunction, requireOptions, shown, telling } from "../errors.ts";
import { isObject } from "../json.ts";
import { requireNothingElse } from "../names.ts";
import { addressHint, ending } from "../values.ts";
import { downloadModel } from "./hub.ts";

/**
 * What opening a model is doing: a download, with the file that has just grown and the bytes done and in all, of all files together; reading and compiling;
 * converting its weights (to 8 or 4 bits, or to what the runtime reads), with the bytes written and in all. What has been converted is kept on disk.
 */
export type OpenProgress = DownloadStage | LoadStage | ConvertStage;

/** Files are on their way. */
export interface DownloadStage {
  readonly stage: "download";
  /** The file that has just grown. */
  readonly file: string;
  /** Bytes that are here, of all files together. */
  readonly done: number;
  /** Bytes of all files together. */
  readonly total: number;
}

/** The model is read and compiled. */
export interface LoadStage {
  readonly stage: "load";
}

/** Weights are written in the form that the runtime reads. */
export interface ConvertStage {
  readonly stage: "convert";
  /** Bytes that are written. */
  readonly done: number;
  /** Bytes that there will be. */
  readonly total: number;
}

/** How a reference is looked up, and how that can be ended. */
export interface Resolving {
  /** Ends the search and the download with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told of a download, file by file. Default: nobody is told. */
  readonly onProgress?: (progress: OpenProgress) => void;
}

/** Errors: `bad_option` for what cannot be the name of a model. */
export function requireReference(reference: unknown, call: string): asserts reference is string {
  const hint = addressHint(reference);
  ensure(typeof reference === "string" && reference !== "" && hint === "", "bad_option", () => {
    return `${call} takes the name of a shipped model, a path or a name of the hub ("org/name"), not ${shown(reference)}${hint || modelHint(reference)}`;
  });
}

/** Of options that have the name in them, as other libraries take it. */
const modelHint = (given: unknown): string =>
  ending(() => {
    const fields = isObject(given) ? ["model", "modelPath", "path", "name", "repo"].map((name) => given[name]) : [];
    const name = fields.find((one) => typeof one === "string");
    return name === undefined ? "" : `: the name comes first, and options behind it, as in open(${shown(name)}, { … })`;
  });

/** The options, checked, whose function fails with its name: a download would take that for a network's failure. Errors: `bad_option`. */
export function readResolving(options: Resolving): Resolving {
  requireOptions(options, "resolveModel");
  const { signal, onProgress, ...others } = options;
  requireNothingElse(others, "resolveModel", ["signal", "onProgress"]);
  requireSignal(signal);
  if (onProgress === undefined) return { signal };
  requireFunction(onProgress, "resolveModel", "onProgress");
  return { signal, onProgress: telling("resolveModel: onProgress", onProgress, { signal }) };
}

/** "org/name". */
export const isOfHub = (reference: string): boolean => /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(reference);

export const fromHub = (reference: string, { signal, onProgress }: Resolving): Promise<string> =>
  downloadModel(reference, {
    signal,
    onProgress:
      onProgress && (({ file, received, total }) => onProgress({ stage: "download", file, done: received, total })),
  });
