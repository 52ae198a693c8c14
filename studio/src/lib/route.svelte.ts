/** The place in the page, in the part of the address behind #: room, name, and parameters. */
export interface Route {
  readonly room: string;
  readonly name?: string;
  readonly parameters: URLSearchParams;
}

/** An address that somebody cut short is taken as it stands. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function read(): Route {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [room, name] = path.split("/").map(decoded);
  return { room: room || "gallery", name, parameters: new URLSearchParams(query) };
}

let current = $state.raw(read());
addEventListener("hashchange", () => {
  current = read();
});

export const route = {
  get current(): Route {
    return current;
  },
};

export function address(room: string, name?: string, parameters: Record<string, string> = {}): string {
  const query = new URLSearchParams(parameters).toString();
  return `#/${room}${name === undefined ? "" : `/${encodeURIComponent(name)}`}${query ? `?${query}` : ""}`;
}

/** Goes there without a new entry in the history. */
export function replaceAddress(hash: string): void {
  history.replaceState(history.state, "", hash);
  current = read();
}
