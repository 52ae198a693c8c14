/**
 * Files of the web, by their address, as if they lay in a folder: looked for when they are asked for, downloaded when they are opened (resumed
 * where that was cut off, checked by size and, where a list of the folder's files has it, by hash), kept, and asked for again only when
 * they changed. Without a network what is kept counts.
 */
import { ensure } from "../errors.ts";
import { folderOf, within } from "../files.ts";
import { withFileLock } from "../weights/cache.ts";
import { announced, type Connection, downloadFile, type Expected, sizeOf } from "../weights/download.ts";
import { type FileList, listName, listSchema } from "../weights/file-list.ts";
import type { Store, Stored } from "./store.ts";

const largestList = 20_000_000;

/** What a folder without a list is asked for. */
const usualNames = [
  "config.json",
  "model.safetensors",
  "model.safetensors.index.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "generation_config.json",
];

export const isAddress = (path: string): boolean => /^https?:\/\//.test(path);

/** Where the copy of an address lies in the store, and what is known of it. */
const copyOf = (address: string): string => within("web", address.replace("://", "/"));
const noteOf = (address: string): string => within("notes", `${address.replace("://", "/")}.json`);

interface Note extends Partial<Expected> {
  /** Of the server's answer: another one whenever the contents are others. */
  readonly tag?: string;
}

export interface Web {
  find(address: string): Promise<Stored | undefined>;
  list(address: string): Promise<string[]>;
  /** Downloads what is not here; the path of the copy in the store. Errors: those of a download. */
  fetch(address: string, options?: { signal?: AbortSignal; onBytes?: (bytes: number) => void }): Promise<string>;
  /** Asks anew for what lies in a folder. */
  refresh(folder: string): void;
}

export function webFiles(store: Store, { stallTimeout = 30_000 } = {}): Web {
  /** Folders that were opened. */
  const roots = new Set<string>();
  const lists = new Map<string, Promise<FileList | undefined>>();
  const answers = new Map<string, Promise<Note | undefined>>();
  const downloads = new Map<string, Promise<string>>();
  const connection: Connection = { stallTimeout };
  const readNote = async (path: string): Promise<Note | undefined> => {
    try {
      return JSON.parse(await (await store.blob(path)).text());
    } catch {
      return undefined;
    }
  };
  async function keep(path: string, text: string): Promise<void> {
    const output = await store.write(path, { keep: false });
    await output.write(new TextEncoder().encode(text), 0);
    await output.close();
  }

  /** What the server says of an address; undefined: it has no such file. */
  function ask(address: string): Promise<Note | undefined> {
    let answer = answers.get(address);
    if (!answer) {
      answer = announced(address, connection).catch(async (error) => {
        const kept = await readNote(noteOf(address));
        if (kept && error.code === "unavailable" && (await store.find(copyOf(address)))) return kept;
        throw error;
      });
      answers.set(address, answer);
      answer.catch(() => answers.delete(address));
    }
    return answer;
  }

  function listOf(folder: string): Promise<FileList | undefined> {
    let list = lists.get(folder);
    if (!list) {
      list = readList(within(folder, listName));
      lists.set(folder, list);
      list.catch(() => lists.delete(folder));
    }
    return list;
  }

  async function readList(address: string): Promise<FileList | undefined> {
    const there = await ask(address);
    if (!there) return undefined;
    ensure((there.size ?? 0) <= largestList, "bad_file", `${address}: more than ${largestList} bytes`);
    const text = await (await store.blob(await download(address, there, {}))).text();
    const parsed = listSchema.safeParse(parsedJson(text));
    ensure(
      parsed.success,
      "bad_file",
      `${address} is no list of files as ventris models --files writes it: take it away, or write it anew`,
    );
    return parsed.data.files;
  }

  /** The list that has a say about an address, and the address as it has it. */
  async function listed(address: string): Promise<{ list: FileList; name: string } | undefined> {
    const holding = [...roots].filter((root) => address === root || address.startsWith(`${root}/`));
    const own = holding.sort((a, b) => b.length - a.length).at(0);
    if (own === undefined) return undefined;
    const list = await listOf(own);
    if (list) return { list, name: address.slice(own.length + 1) };
    const above = await listOf(folderOf(own));
    return above && { list: above, name: address.slice(folderOf(own).length + 1) };
  }

  async function noteFor(address: string): Promise<Note | undefined> {
    const known = await listed(address);
    if (!known) return ask(address);
    const entry = known.list[known.name];
    return entry && { size: entry.size, hash: { algorithm: "sha256", hex: entry.sha256 } };
  }

  /** Other pages and workers of the site may want the same at the same time: one downloads it, the others find it then. */
  const download = (address: string, wanted: Note, options: Parameters<Web["fetch"]>[1] = {}): Promise<string> =>
    withFileLock(copyOf(address), () => downloadAlone(address, wanted, options), {
      timeout: Infinity,
      signal: options.signal,
    });

  async function downloadAlone(address: string, wanted: Note, options: NonNullable<Parameters<Web["fetch"]>[1]>) {
    const [copy, kept] = [copyOf(address), await readNote(noteOf(address))];
    const here = await sizeOf(copy);
    if (kept && here !== undefined && isSame(kept, wanted)) {
      options.onBytes?.(here);
      return copy;
    }
    if (!(kept && isSame(kept, wanted))) {
      await store.remove(`${copy}.part`); // it began as another file
      await store.remove(copy);
    }
    await keep(noteOf(address), JSON.stringify(wanted));
    await downloadFile(address, copy, wanted, { ...connection, signal: options.signal }, options.onBytes ?? (() => {}));
    return copy;
  }

  return {
    async find(address) {
      const known = await listed(address);
      if (known) {
        if (known.list[known.name]) return { kind: "file", size: known.list[known.name].size };
        const prefix = known.name === "" ? "" : `${known.name}/`;
        return Object.keys(known.list).some((name) => name.startsWith(prefix))
          ? { kind: "folder", size: 0 }
          : undefined;
      }
      const there = await ask(address);
      if (there) return { kind: "file", size: there.size ?? 0 };
      return roots.has(address) ? { kind: "folder", size: 0 } : undefined;
    },
    async list(address) {
      const known = await listed(address);
      if (known) {
        const prefix = known.name === "" ? "" : `${known.name}/`;
        const below = Object.keys(known.list).filter((name) => name.startsWith(prefix));
        return [...new Set(below.map((name) => name.slice(prefix.length).split("/")[0]))];
      }
      const found = await Promise.all(usualNames.map((name) => ask(within(address, name))));
      return usualNames.filter((_, i) => found[i]);
    },
    fetch(address, options = {}) {
      // Two who open the same file download it once; whoever asked first may give up.
      const running = downloads.get(address);
      const start = async () => {
        await running?.catch(() => {});
        const wanted = await noteFor(address);
        ensure(wanted, "unavailable", `${address}: there is no such file`);
        return download(address, wanted, options);
      };
      const result = start();
      downloads.set(address, result);
      const done = () => {
        if (downloads.get(address) === result) downloads.delete(address);
      };
      result.then(done, done);
      return result;
    },
    refresh(folder) {
      roots.add(folder);
      for (const known of [...lists.keys()]) {
        if (known === folder || known === folderOf(folder) || known.startsWith(`${folder}/`)) lists.delete(known);
      }
      for (const known of [...answers.keys()]) {
        if (known.startsWith(`${folder}/`) || known === folder || folderOf(known) === folderOf(folder))
          answers.delete(known);
      }
      void listOf(folder).catch(() => {}); // whoever reads in the folder hears of it
    },
  };
}

const parsedJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

const isSame = (a: Note, b: Note): boolean =>
  a.hash || b.hash ? a.hash?.hex === b.hash?.hex : a.size === b.size && a.tag === b.tag;
