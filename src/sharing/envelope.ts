/**
 * A shared value as it lies in the store: a line that says what it is, whose it is and of which model, and the bytes, whose digest the line
 * holds. Whoever reaches the store can write there, so that nothing of a value is believed before all of it is checked.
 */
import { z } from "zod";
import { joinBytes } from "../bytes.ts";
import { storage } from "../files.ts";

const format = "ventris shared 1";
const header = z.strictObject({
  format: z.literal(format),
  kind: z.string(),
  /** Of the model and whatever else what was learned belongs to. */
  fingerprint: z.string(),
  /** The replica that wrote it. */
  from: z.string().regex(/^[0-9a-f]{16}$/),
  number: z.int().positive(),
  bytes: z.int().min(0),
  sha256: z.string(),
});

export interface Topic {
  /** What learns. */
  readonly kind: string;
  readonly fingerprint: string;
}

export interface Entry {
  readonly from: string;
  readonly number: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Bytes beside the payload, at most. */
export const longestHeader = 2048;

export const digest = async (data: Uint8Array | string): Promise<string> =>
  (await storage()).hash("sha256").update(data).hex();

export async function seal({ kind, fingerprint }: Topic, entry: Entry): Promise<Uint8Array<ArrayBuffer>> {
  const { from, number, payload } = entry;
  const line = JSON.stringify({
    ...{ format, kind, fingerprint, from, number, bytes: payload.length },
    sha256: await digest(payload),
  } satisfies z.input<typeof header>);
  return joinBytes([new TextEncoder().encode(`${line}\n`), payload]);
}

/** Why it is refused, for a value that is not whole, of another version, about something else, or with a payload of more than `most` bytes. */
export async function unseal({ kind, fingerprint }: Topic, bytes: Uint8Array, most: number): Promise<Entry | string> {
  const end = bytes.subarray(0, longestHeader).indexOf(10);
  if (end < 0) return "it is no shared value";
  let read: z.infer<typeof header>;
  try {
    read = header.parse(JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))));
  } catch {
    return "it is damaged, or of another version";
  }
  if (read.kind !== kind || read.fingerprint !== fingerprint) return "it belongs to another model or other settings";
  if (read.bytes > most) return `it announces ${read.bytes} bytes, and such a value has ${most} at most`;
  const payload = new Uint8Array(bytes.subarray(end + 1)); // a copy; slices of Node's buffers are none
  if (payload.length !== read.bytes) return `it has ${payload.length} bytes and announces ${read.bytes}`;
  if ((await digest(payload)) !== read.sha256) return "its bytes are damaged";
  return { from: read.from, number: read.number, payload };
}
