/** What `auto` has learnt, as one JSON file beside the model: read whole or refused, written whole, by one process at a time. */
import { z } from "zod";
import { fromBase64, toBase64 } from "../../../base64.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { exists, keeping, readWhole, storage, whyUnreadable, within } from "../../../files.ts";
import type { Standing } from "../../../sharing/index.ts";
import { withFileLock, writeFileAtomically } from "../../../weights/index.ts";
import type { PolicyState } from "../policy.ts";

/** Within a model's folder. */
export const stateFolder = "auto";
const format = "ventris auto 1";
/** Far beyond what any policy of at most 16 arms keeps. */
const largestFile = 64 * 2 ** 20;
const count = z.int().min(0);

const arm = z.strictObject({
  /** As it was named: the method, with options beside it where it has any. */
  name: z.string().max(4000),
  requests: count,
  /** Generated after the first of each request, and the seconds they took. */
  tokens: count,
  seconds: z.number().min(0),
  /** Requests that it could not serve. */
  failures: count,
  /** Of its last requests: 1 - 1 / tokens a pass. */
  agreement: z.number().min(0).max(1),
});
/** What was seen of one way to decode. */
export type ArmRecord = z.infer<typeof arm>;

const numbers = z.string().regex(/^[A-Za-z0-9+/]*={0,2}$/);
const file = z.strictObject({
  format: z.literal(format),
  /** Of the checkpoint. */
  fingerprint: z.string(),
  tokenizer: z.string().optional(),
  arms: z.array(arm).min(1).max(16),
  policy: z.strictObject({
    policy: z.string(),
    options: z.record(z.string(), z.unknown()),
    counters: z.strictObject({ rounds: count, learnt: count, clipped: count, forgotten: count }),
    /** Doubles, little end first, in base 64. */
    arrays: z.record(z.string(), numbers),
    more: z.record(z.string(), z.number()).optional(),
  }),
  /** Arms of the last requests, and how likely each was. */
  recent: z.array(z.tuple([count, z.number().min(0).max(1)])).max(1000),
  /** How far what other replicas told is in it. */
  shared: z.strictObject({ replica: z.string().regex(/^[0-9a-f]{16}$/), position: count }).optional(),
});

/** What the method auto has learnt, as it is kept. */
export interface Learnt {
  readonly fingerprint: string;
  readonly tokenizer?: string;
  readonly arms: ArmRecord[];
  readonly policy: PolicyState;
  readonly recent: [arm: number, probability: number][];
  readonly shared?: Standing;
}

/**
 * What a file holds; undefined where there is none. Errors: `bad_file` for one that is damaged or of another version, and, where they
 * are given, of another checkpoint, tokenizer or other arms.
 */
export async function readLearnt(
  path: string,
  expected?: { fingerprint: string; tokenizer?: string; arms: readonly string[] },
): Promise<Learnt | undefined> {
  if (!(await exists(path))) return undefined;
  const bytes = await readWhole(path, largestFile);
  ensure(bytes, "bad_file", `${path}: larger than any state of auto`);
  const advice = "take it away (`ventris choose forget`) or give another folder as `state`";
  let read: z.infer<typeof file>;
  try {
    read = file.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    throw new VentrisError("bad_file", `${path}: damaged, or not a state of this version of auto; ${advice}`, {
      cause,
    });
  }
  if (expected) {
    ensure(
      read.fingerprint === expected.fingerprint && read.tokenizer === expected.tokenizer,
      "bad_file",
      `${path}: learnt with other weights or another tokenizer than this model has; ${advice}`,
    );
    const names = read.arms.map(({ name }) => name);
    ensure(
      String(names) === String(expected.arms),
      "bad_file",
      `${path}: learnt with the arms ${names.join(", ")}, not ${expected.arms.join(", ")}; ${advice}`,
    );
  }
  const { policy, recent, arms, fingerprint, tokenizer, shared } = read;
  const arrays = Object.fromEntries(
    Object.entries(policy.arrays).map(([key, value]) => [key, decode(value, path, key)]),
  );
  return { fingerprint, tokenizer, arms, recent, shared, policy: { ...policy, arrays, pending: [] } };
}

/** All that a folder holds, by path. Errors: `bad_file`. */
export async function learntIn(folder: string): Promise<{ path: string; learnt: Learnt }[]> {
  const found = await Promise.all(
    (await statesOf(folder)).map(async (path) => ({ path, learnt: await readLearnt(path) })),
  );
  return found.flatMap(({ path, learnt }) => (learnt ? [{ path, learnt }] : []));
}

/** Takes away what a folder holds; the paths. Errors: `unavailable` for one that is in use. */
export async function forgetLearnt(folder: string): Promise<string[]> {
  const paths = await statesOf(folder);
  const { remove } = await keeping();
  for (const path of paths) await withFileLock(path, () => remove(path), { timeout: 0 });
  return paths;
}

async function statesOf(folder: string): Promise<string[]> {
  if (!(await exists(folder))) return [];
  const names = await (await storage()).list(folder).catch((error) => {
    throw new VentrisError("unavailable", `cannot read ${folder}: ${whyUnreadable(error)}`, { cause: error });
  });
  return names.filter((name) => /^auto-[0-9a-f]{12}\.json$/.test(name)).map((name) => within(folder, name));
}

/** Errors: `disk_full`, `unavailable`. */
export async function writeLearnt(path: string, { policy, ...rest }: Learnt): Promise<void> {
  // Rounds under way cannot be answered by another process.
  const { pending: _, arrays, ...others } = policy;
  const encoded = Object.fromEntries(Object.entries(arrays).map(([key, values]) => [key, encode(values)]));
  await writeFileAtomically(path, JSON.stringify({ format, ...rest, policy: { ...others, arrays: encoded } }));
}

const encode = (values: Float64Array): string => {
  const bytes = new DataView(new ArrayBuffer(8 * values.length));
  for (const [i, value] of values.entries()) bytes.setFloat64(8 * i, value, true);
  return toBase64(new Uint8Array(bytes.buffer));
};

function decode(text: string, path: string, key: string): Float64Array<ArrayBuffer> {
  const bytes = fromBase64(text);
  ensure(bytes && bytes.length % 8 === 0, "bad_file", `${path}: ${key} is cut off`);
  const view = new DataView(bytes.buffer);
  return Float64Array.from({ length: bytes.length / 8 }, (_, i) => view.getFloat64(8 * i, true));
}
