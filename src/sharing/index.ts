/** Sharing by the address of its store: models of one process that were given the same address share one connection. */
import { connectRedis, redisAddress, requireRedis } from "./redis.ts";
import { createSharing, type Sharing, type SharingStatus } from "./sharing.ts";

export type { Additive, Standing } from "./differences.ts";
export type { SharedDifferences, SharedVersions, Sharing, SharingStatus, Subject } from "./sharing.ts";
export { replicaName } from "./sharing.ts";
export type { Versioned } from "./versions.ts";

const opened = new Map<string, { readonly sharing: Sharing; users: number }>();

/** Looks at an address without connecting. Errors: `bad_option` for one that is none, `unavailable` for a client that is not installed. */
export async function requireShare(reference: string): Promise<void> {
  redisAddress(reference);
  await requireRedis();
}

/** Sharing that is this caller's until it closes it. Errors: those of `requireShare`; a store that is down is none. */
export async function openSharing(reference: string): Promise<Sharing> {
  await requireShare(reference);
  const address = redisAddress(reference);
  const known = opened.get(reference) ?? { sharing: createSharing(() => connectRedis(address)), users: 0 };
  opened.set(reference, known);
  known.users += 1;
  known.sharing.onChange = (status) => changed(status);
  let left = false;
  const close = async (): Promise<void> => {
    if (left) return;
    left = true;
    known.users -= 1;
    if (known.users > 0) return;
    opened.delete(reference);
    await known.sharing.close();
  };
  return Object.create(known.sharing, { close: { value: close } });
}

/** Of this process: of the one store that all its models share through. */
export const sharingStatus = (): SharingStatus | undefined => [...opened.values()][0]?.sharing.status;

let changed: (status: SharingStatus) => void = () => {};
/** Called whenever sharing begins or ends to work. */
export function onSharingChange(listener: typeof changed): void {
  changed = listener;
}
