/** What a learner keeps across restarts, in a folder for each draft: its checkpoint and, if asked to, what it had recorded. */
import { ensure, VentrisError } from "../../../errors.ts";
import { exists, keeping, within } from "../../../files.ts";
import { holdLock } from "../../../weights/index.ts";
import { openSafetensors, writeSafetensors } from "../../../weights/safetensors.ts";
import type { Example } from "./record.ts";

/** A draft's folder: labels may hold any characters, so none of them can lead elsewhere. */
export const draftFolder = (state: string, route: string): string =>
  within(state, `route-${encodeURIComponent(route)}`);

const bufferPath = (folder: string): string => within(folder, "buffer.safetensors");
const fields = { tokens: "I32", positions: "I32", listed: "I32", logs: "F32" } as const;

/** Writes recorded examples, texts included. Errors: `disk_full`, `unavailable`. */
export async function writeBuffer(folder: string, examples: readonly Example[]): Promise<void> {
  const tensors = examples.flatMap((example, i) =>
    Object.entries(fields).map(([field, type]) => {
      const data = example[field as keyof Example];
      return { name: `${i}.${field}`, type, shape: [data.length], data };
    }),
  );
  await writeSafetensors(bufferPath(folder), tensors, { format: "ventris recorded positions 1" });
}

export const removeBuffer = async (folder: string): Promise<void> => (await keeping()).remove(bufferPath(folder));

/** The recorded examples of a folder; none when nothing was kept. Errors: `bad_checkpoint`. */
export async function readBuffer(folder: string, vocabularySize: number): Promise<Example[]> {
  const path = bufferPath(folder);
  if (!(await exists(path))) return [];
  try {
    const file = await openSafetensors(path);
    try {
      const examples: Example[] = [];
      for (let i = 0; file.tensors.has(`${i}.tokens`); i++) {
        const read = async (field: keyof Example) => (await file.readBytes(`${i}.${field}`)).slice().buffer;
        const example = {
          tokens: new Int32Array(await read("tokens")),
          positions: new Int32Array(await read("positions")),
          listed: new Int32Array(await read("listed")),
          logs: new Float32Array(await read("logs")),
        };
        checkExample(example, vocabularySize);
        examples.push(example);
      }
      return examples;
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (!(cause instanceof VentrisError)) throw cause;
    throw new VentrisError(
      "bad_checkpoint",
      `${path} cannot be used: ${cause.message}; move it away to go on without`,
      {
        cause,
      },
    );
  }
}

function checkExample({ tokens, positions, listed, logs }: Example, vocabularySize: number): void {
  const below = (values: Int32Array, limit: number): boolean => values.every((value) => value >= 0 && value < limit);
  const rows = positions.length;
  const sound =
    rows > 0 &&
    listed.length % rows === 0 &&
    (logs.length === listed.length || logs.length === listed.length + rows) &&
    positions.every((position, i) => i === 0 || position > positions[i - 1]) &&
    below(positions, tokens.length) &&
    below(tokens, vocabularySize) &&
    below(listed, vocabularySize) &&
    logs.every((value) => value <= 1e-3);
  ensure(sound, "bad_file", "its recorded positions contradict their text or the vocabulary");
}

/** Keeps other learners out of a state folder until the returned function is called. Errors: `unavailable`. */
export const holdState = (folder: string): Promise<() => Promise<void>> => holdLock(within(folder, "online"));
