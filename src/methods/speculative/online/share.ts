/** Versions of a draft, as replicas give them to one another: its parameters in their order, as float32, little end first. */
import type { ParameterValues } from "../../../engine/learnable.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { ensure } from "../../../errors.ts";
import type { SharedVersions, Versioned } from "../../../sharing/index.ts";
import type { DraftsSettings } from "./drafts.ts";

/** Of a draft that is shared: reading and checking one takes a tenth of a second of the serving thread. Bytes. */
export const largestShared = 64 * 2 ** 20;

/** Versions of one route's draft; undefined where it cannot be shared. */
export type ShareDraft = (route: string, draft: Versioned) => SharedVersions;

/** `target`: what the drafts learn from. Undefined: it shares nothing. */
export function shareDrafts(
  target: DecodingModel,
  base: DecodingModel,
  settings: DraftsSettings,
): ShareDraft | undefined {
  const { sharing } = target;
  if (!sharing) return undefined;
  const { loss, learningRate, clip, interval } = settings;
  return (route, draft) =>
    sharing.versions(
      {
        kind: "online",
        fingerprint: async () =>
          JSON.stringify([
            await target.fingerprint(),
            await base.fingerprint(),
            route,
            loss,
            learningRate,
            clip,
            interval,
          ]),
      },
      draft,
    );
}

export const sizeOf = (values: ParameterValues): number =>
  [...values.values()].reduce((bytes, { byteLength }) => bytes + byteLength, 0);

export function packed(values: ParameterValues, names: readonly string[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeOf(values));
  let at = 0;
  for (const name of names) {
    const { buffer, byteOffset, byteLength } = values.get(name)!;
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at);
    at += byteLength;
  }
  return bytes;
}

/** Of the same parameters as `like`. Errors: `bad_file`. */
export function unpacked(
  bytes: Uint8Array<ArrayBuffer>,
  like: ParameterValues,
  names: readonly string[],
): ParameterValues {
  const size = sizeOf(like);
  ensure(bytes.length === size, "bad_file", `it has ${bytes.length} bytes of parameters, not ${size}`);
  let at = bytes.byteOffset;
  return new Map(
    names.map((name) => {
      const end = at + like.get(name)!.byteLength;
      const values = new Float32Array(bytes.buffer.slice(at, end));
      ensure(values.every(Number.isFinite), "bad_file", `its parameter ${name} holds a number that is not finite`);
      at = end;
      return [name, values];
    }),
  );
}
