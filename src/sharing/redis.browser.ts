/** A page reaches no Redis: it has no sockets. */
import { VentrisError } from "../errors.ts";
import type { Store } from "./store.ts";

const absent = (): never => {
  throw new VentrisError("unavailable", "share: a page cannot reach a Redis or Valkey server");
};
export const redisAddress = (_: string): { url: string; shown: string } => absent();
export const requireRedis = async (): Promise<void> => absent();
export const connectRedis = async (_: { url: string; shown: string }): Promise<Store> => absent();
