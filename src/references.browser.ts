/** Where the reference of a model leads in a page: an address, a name in the site's folder of models, or what the hub has under the name. */

import { pageStore } from "./browser/files.ts";
import { isAddress } from "./browser/web.ts";
import { ensure, VentrisError } from "./errors.ts";
import { folderOf, nameOf, within } from "./files.ts";
import { didYouMean } from "./names.ts";
import { tellingReads } from "./reads.ts";
import { modelsFolder, pageAddress } from "./shipped.browser.ts";
import { listName } from "./weights/file-list.ts";
import { isWeightFile } from "./weights/open.ts";
import { fromHub, isOfHub, type Resolving, readResolving, requireReference } from "./weights/references.ts";
import { readIndex } from "./weights/safetensors.ts";

export type { ConvertStage, DownloadStage, LoadStage, OpenProgress, Resolving } from "./weights/references.ts";

/** Names of the models that the site's folder of models lists; none where it has no list. */
export async function shippedModels(): Promise<string[]> {
  const list = within(modelsFolder(), listName);
  const { web, store } = await pageStore();
  try {
    if (!(await web.find(list))) return [];
    const { files } = JSON.parse(await (await store.blob(await web.fetch(list))).text());
    return Object.keys(files).flatMap((name) => (/^[^/]+\/config\.json$/.test(name) ? [folderOf(name)] : []));
  } catch {
    return [];
  }
}

/**
 * The address of a model whose files are here: downloaded, resumed where that was cut off. Errors: `unavailable`, `aborted`, `bad_file`,
 * `disk_full`.
 */
export async function resolveModel(reference: string, given: Resolving = {}): Promise<string> {
  requireReference(reference, "resolveModel");
  const options = tellingReads("resolveModel", ["options"], readResolving)(given);
  ensure(!options.signal?.aborted, "aborted", `opening ${reference} was aborted`);
  if (isOfHub(reference)) return fromHub(reference, options);
  const named = /^[\w-][\w.-]*$/.test(reference);
  const address = (named ? within(modelsFolder(), reference) : new URL(reference, pageAddress()).href).replace(
    /\/+$/,
    "",
  );
  ensure(isAddress(address), "unavailable", `no model "${reference}": a page opens models by http and https`);
  const isFile = isWeightFile(address);
  const { web } = await pageStore();
  const folder = isFile ? folderOf(address) : address;
  web.refresh(folder);
  const names = await web.list(folder);
  const weights = isFile ? [nameOf(address)] : weightNames(names);
  if (weights.length === 0) {
    const meant = named ? didYouMean(reference, await shippedModels()) : ".";
    const what = names.length === 0 ? "nothing of a model is there" : `no weights are there, only ${names.join(", ")}`;
    throw new VentrisError(
      "unavailable",
      `no model "${reference}" at ${address}: ${what}${meant} Put its config.json, model.safetensors and tokenizer.json there, or give the address of its folder or of a GGUF file`,
    );
  }
  await downloadAll(folder, [...names.filter((name) => descriptions.test(name)), ...weights], options);
  return address;
}

const descriptions =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json$|^(merges\.txt|chat_template\.jinja)$/;

function weightNames(names: readonly string[]): string[] {
  const whole = ["model.safetensors", "model.safetensors.index.json"].find((name) => names.includes(name));
  return whole ? [whole] : names.filter((name) => name.endsWith(".gguf"));
}

async function downloadAll(folder: string, names: readonly string[], { signal, onProgress }: Resolving): Promise<void> {
  const { web } = await pageStore();
  const sizes = await Promise.all(names.map(async (name) => (await web.find(within(folder, name)))?.size ?? 0));
  let [before, total] = [0, sizes.reduce((sum, size) => sum + size, 0)];
  const queue = names.map((name, i) => ({ name, size: sizes[i] }));
  for (const { name, size } of queue) {
    const address = within(folder, name);
    let received = 0;
    await web.fetch(address, {
      signal,
      onBytes(bytes) {
        received = bytes;
        onProgress?.({ stage: "download", file: name, done: before + bytes, total: Math.max(total, before + bytes) });
      },
    });
    before += received;
    total += received - size; // of a compressed answer the size was not known
    if (!name.endsWith(".index.json")) continue;
    for (const shard of new Set((await readIndex(address)).values())) {
      const found = (await web.find(within(folder, shard)))?.size ?? 0;
      queue.push({ name: shard, size: found });
      total += found;
    }
  }
}
