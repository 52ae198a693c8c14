/** Whether the server answers: asked every few seconds, and at once when a request failed. */
import { api } from "./api.ts";
import { site } from "./site.svelte.ts";

let alive = $state(true);
let version = $state("");
/** Counts the times the server came back, so that rooms load anew. */
let lives = $state(0);
let timer: ReturnType<typeof setTimeout> | undefined;

async function check(): Promise<void> {
  clearTimeout(timer);
  if (site) return; // it has none
  try {
    ({ version } = await api.health());
    if (!alive) {
      api.forget();
      lives += 1;
    }
    alive = true;
  } catch {
    alive = false;
  }
  timer = setTimeout(check, alive ? 5000 : 1000);
}

export const server = {
  get alive(): boolean {
    return alive;
  },
  get version(): string {
    return version;
  },
  get lives(): number {
    return lives;
  },
  check,
};
