/** HDF5 through the optional package h5wasm, which is loaded when such a file is opened. */
import { ensure, VentrisError } from "../../../errors.ts";
import { maximumBytes } from "./bytes.ts";
import type { NumericArray } from "./npy.ts";

/** What we use of the package. */
export interface HdfDataset {
  readonly shape: readonly number[];
  readonly dtype: unknown;
  readonly value: unknown;
}

export interface HdfGroup {
  keys(): string[];
  get(path: string): HdfDataset | HdfGroup | null;
  /** What an object reference, an entry of a dataset's value, points at. */
  dereference(reference: unknown): HdfDataset | HdfGroup | null;
}

interface HdfModule {
  readonly ready: Promise<{
    FS: { writeFile(name: string, bytes: Uint8Array): void; unlink(name: string): void };
    /** Makes the library throw what it would print. */
    activate_throwing_error_handler?(): void;
  }>;
  readonly File: new (name: string, mode: string) => HdfGroup & { close(): unknown };
}

/** Whether bytes begin as HDF5, at once or behind MATLAB's 512 bytes of header. */
export function isHdf5(bytes: Uint8Array): boolean {
  const signature = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];
  return [0, 512].some((at) => signature.every((byte, i) => bytes[at + i] === byte));
}

/** The library says where in its own source a fault went through, line after line; what is wrong stands in the innermost. */
function whyOf(cause: unknown): string {
  const said = (cause as Error).message;
  const innermost = [...said.matchAll(/^\s*#\d+: .*\(\): (.+)$/gm)].at(-1)?.[1];
  return innermost ?? said.split("\n")[0];
}

let files = 0;

/** Hands the open file to `use`. Errors: `unavailable` without the package; `bad_file` for what it cannot open. */
export async function withHdf5<T>(bytes: Uint8Array, origin: string, use: (file: HdfGroup) => T): Promise<T> {
  const name = "h5wasm/node"; // a name that is not resolved when we are built: the package is optional
  let module: HdfModule;
  try {
    module = (await import(name)) as HdfModule;
  } catch (cause) {
    throw new VentrisError(
      "unavailable",
      `${origin} is an HDF5 file; reading it needs the package h5wasm: npm install h5wasm`,
      { cause },
    );
  }
  const library = await module.ready;
  library.activate_throwing_error_handler?.();
  const { FS } = library;
  const path = `/ventris-${files++}.h5`;
  FS.writeFile(path, bytes);
  try {
    const file = new module.File(path, "r");
    try {
      return use(file);
    } finally {
      file.close();
    }
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("bad_file", `${origin} cannot be read as HDF5: ${whyOf(cause)}`, { cause });
  } finally {
    FS.unlink(path);
  }
}

/** What a dataset holds. Shapes in a header cost nothing: a large one is refused before a value is read. Errors: `bad_file`. */
export function hdfValue(dataset: HdfDataset, what: string, origin: string): unknown {
  const { shape } = dataset;
  const size = (shape ?? []).reduce((all, n) => all * Number(n), 1);
  ensure(
    size <= maximumBytes / 8,
    "bad_file",
    `${origin}: ${what} says it is [${shape}]: more than ${maximumBytes / 8} values are not read`,
  );
  return dataset.value;
}

/** A numeric dataset. Errors: `bad_file` naming it. */
export function hdfArray(file: HdfGroup, path: string, origin: string): NumericArray {
  const dataset = file.get(path);
  ensure(
    dataset && "shape" in dataset,
    "bad_file",
    `${origin} has no dataset ${path}; it has ${file.keys().join(", ")}`,
  );
  const { shape } = dataset;
  const value = hdfValue(dataset, path, origin);
  ensure(
    ArrayBuffer.isView(value) && !(value instanceof DataView),
    "bad_file",
    `${origin}: ${path} is not a numeric dataset`,
  );
  return { shape, data: Float64Array.from(value as unknown as ArrayLike<number | bigint>, Number) };
}
