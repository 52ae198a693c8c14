/** `open("http://host:port/v1", { model })`: an engine that speaks OpenAI's interface, as a model that can continue texts. */

import { z } from "zod";
import { ensure, shown, VentrisError } from "../../errors.ts";
import { didYouMean } from "../../names.ts";
import { warnOnce } from "../../warnings.ts";
import { isWeightFile } from "../../weights/open.ts";
import type { ModelParts } from "../model.ts";
import { createClient, isPassing, nothingSpent, type RemoteClient, type RemoteLimits } from "./client.ts";
import { createEndpoints, type EndpointPolicy, type MakeEndpointChooser } from "./endpoints.ts";

/** Options of a model behind a network. */
export interface RemoteOptions extends RemoteLimits {
  /** The name of the model there; default: the only one. `http://host:port/v1#name` says it, too. */
  readonly model?: string;
  /**
   * Further engines that serve this model: each request goes to one that a bandit chooses by how long tokens took there, and to another when
   * that one fails before its first token. `concurrency` is of each, `retries` and `budget` are of all together. Default: none.
   */
  readonly endpoints?: readonly string[];
  /** The bandit policy that chooses among them, by name or with its options. Default DiscountedLinUCB. */
  readonly endpointPolicy?: EndpointPolicy;
  /** Sent as a bearer token; default: the variable VENTRIS_REMOTE_API_KEY. */
  readonly apiKey?: string;
  /** Whether tokens and log-probabilities are asked for. False: for engines that give none; a piece of text then counts as a token. Default true. */
  readonly logprobs?: boolean;
  /** How many of the likeliest tokens methods that draw tokens here ask for (`awrs`, `smc`); engines have limits of their own. Default 20. */
  readonly topLogprobs?: number;
  /** Names that the engine gives tokens which end a text, for these methods; default: the usual ones, such as `</s>`. */
  readonly ends?: readonly string[];
  /** Fields of every request beside OpenAI's, for what the engine has of its own: `{ top_k: 40 }`. Default: none. */
  readonly body?: Readonly<Record<string, unknown>>;
}

/** Seconds after which Node's own fetch gives up. */
const longestTimeout = 300;

export const remoteOptions = {
  model: z.string().min(1).max(500).optional(),
  endpoints: z
    .array(z.string().min(1).max(4096))
    .min(1)
    .max(63)
    .optional()
    .describe(
      "the address of a further engine that serves this model, such as http://other:8080/v1: each request goes to the one that answers soonest, which a bandit learns, and to another when that one fails",
    ),
  endpointPolicy: z
    .union([z.string().max(200), z.looseObject({ name: z.string().max(200) })])
    .optional()
    .describe(
      "the bandit's policy that chooses among the endpoints, by its name in ventris/choice, or as JSON with its options; default: DiscountedLinUCB, which forgets",
    )
    .meta({ examples: [{ name: "DiscountedLinUCB", discount: 0.99 }] }),
  apiKey: z.string().min(1).max(10_000).optional(),
  logprobs: z.boolean().optional(),
  topLogprobs: z
    .int()
    .min(1)
    .max(1000)
    .optional()
    .describe(
      "how many likely next tokens awrs and smc ask the engine for, which may have a limit of its own; default: 20",
    ),
  ends: z
    .array(z.string().max(200))
    .min(1)
    .max(100)
    .optional()
    .describe("a token that ends a text there, for awrs and smc; default: the usual ones, such as </s>"),
  body: z
    .record(z.string(), z.json())
    .optional()
    .describe("fields of every request beside OpenAI's, for what the engine has of its own")
    .meta({ examples: [{ top_k: 40 }] }),
  timeout: z
    .number()
    .positive()
    .max(longestTimeout)
    .optional()
    .describe(`seconds without a byte after which a request has failed, ${longestTimeout} at most; default: 60`),
  retries: z
    .int()
    .min(0)
    .max(100)
    .optional()
    .describe("how often a request that failed before its first token is sent again; default: 2"),
  concurrency: z.int().min(1).max(1024).optional().describe("requests under way at once, for each engine; default: 8"),
  budget: z
    .strictObject({
      requests: z.int().min(1).optional().describe("requests that may be sent in all"),
      tokens: z.int().min(1).optional().describe("tokens that may be received in all"),
    })
    .optional()
    .describe("what may be spent, after which requests are refused")
    .meta({ examples: [{ requests: 100 }] }),
} satisfies Record<keyof RemoteOptions, z.ZodType>;

/** What such a model brings under the name `remote`. */
export interface Remote {
  readonly client: RemoteClient;
  /** Its name there. */
  readonly model: string;
  readonly logprobs: boolean;
  readonly topLogprobs: number;
  readonly ends: ReadonlySet<string>;
  readonly body: Readonly<Record<string, unknown>>;
  close(): void;
}

/** An address is an engine's, but for one of a file of weights, which a page opens. */
export const isRemote = (reference: string): boolean =>
  /^https?:\/\//i.test(reference) && !isWeightFile(reference.split(/[?#]/)[0]);

/** Errors: `bad_option` for an address that is none, and a model that is not there or not named; those of asking. */
export async function openRemote(
  reference: string,
  options: RemoteOptions & { signal?: AbortSignal },
  makeChooser: MakeEndpointChooser,
): Promise<Omit<ModelParts, "openCompanion">> {
  const started = performance.now();
  const address = addressOf(reference);
  const named = nameOf(address);
  const {
    model: wanted = named,
    apiKey = globalThis.process?.env.VENTRIS_REMOTE_API_KEY || undefined,
    signal,
    ...rest
  } = options;
  // Its failure would show the key.
  const sendable = apiKey === undefined || /^[\x21-\x7e]+$/.test(apiKey);
  ensure(sendable, "bad_option", "apiKey (or VENTRIS_REMOTE_API_KEY): a key has no spaces, line breaks or accents");
  const { logprobs = true, topLogprobs = 20, ends = usualEnds, ...further } = rest;
  const { body = {}, endpoints = [], endpointPolicy, ...limits } = further;
  const taken = Object.keys(body).find((name) => saidByOptions.includes(name));
  ensure(taken === undefined, "bad_option", () => {
    return `body.${taken}: options and methods say it, and it is about what comes back: body is for fields that they have none for`;
  });
  const urls = [address, ...endpoints.map(addressOf)].map(urlOf);
  const twice = urls.find((url, i) => urls.indexOf(url) < i);
  ensure(twice === undefined, "bad_option", `endpoints: ${twice} is there twice`);
  ensure(urls.length > 1 || endpointPolicy === undefined, "bad_option", "endpointPolicy: it chooses among endpoints");
  const spent = nothingSpent();
  const once = { ...limits, retries: 0 };
  const clients = urls.map((url) => createClient(url, apiKey, urls.length > 1 ? once : limits, spent));
  const client =
    clients.length > 1
      ? createEndpoints(clients, spent, limits, makeChooser(clients.length, endpointPolicy ?? "DiscountedLinUCB"))
      : clients[0];
  const model = await modelOfAll(clients, wanted, signal);
  const remote: Remote = {
    ...{ client, model, logprobs, topLogprobs, body, close: client.close },
    ends: new Set(ends),
  };
  return {
    name: model,
    folder: "",
    tokenizer: undefined,
    abilities: { remote, ...(logprobs && { "top-logprobs": remote }) },
    secondsToLoad: (performance.now() - started) / 1000,
    parameterCount: 0,
    identity: `${client.url} ${model}`,
  };
}

/** Fields of requests that are written here. */
const saidByOptions = [
  ...["model", "prompt", "messages", "input", "stream", "stream_options", "n", "best_of", "echo", "suffix", "stop"],
  ...["max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"],
  ...["logprobs", "top_logprobs"],
];

/** What the tokens that end texts are called in published models. */
const usualEnds = [
  ...["</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "<|end|>", "<|eos|>"],
  ...["<end_of_turn>", "<|return|>", "[EOS]", "<|EOT|>"],
];

/** Errors: `bad_option`. */
function addressOf(reference: string): URL {
  const sound = isRemote(reference) && URL.canParse(reference);
  ensure(sound, "bad_option", `${shown(reference)} is no address: write http://host:port/v1`);
  const address = new URL(reference);
  const keyed = address.username !== "" || address.password !== "";
  ensure(!keyed, "bad_option", "keys do not belong into an address: open(url, { apiKey })");
  ensure(address.search === "", "bad_option", () => {
    return `${shown(reference)}: paths are added to the address, which has no room for a query`;
  });
  return address;
}

/** The model's name in an address. Errors: `bad_option`. */
function nameOf({ hash }: URL): string | undefined {
  try {
    return decodeURIComponent(hash.slice(1)) || undefined;
  } catch (cause) {
    throw new VentrisError("bad_option", `${shown(hash)} is no name of a model: a % is written %25`, { cause });
  }
}

function urlOf(address: URL): string {
  const bare = new URL(address);
  bare.hash = "";
  return bare.href.replace(/\/+$/, "");
}

/** Its name at all that answer; who does not now may later. Errors: of one that has it not; of the first, where none answers. */
async function modelOfAll(
  clients: readonly RemoteClient[],
  wanted: string | undefined,
  signal?: AbortSignal,
): Promise<string> {
  const asked = await Promise.allSettled(clients.map((client) => modelThere(client, wanted, signal)));
  const names = asked.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const failures = asked.flatMap((one) => (one.status === "rejected" ? [one.reason as Error] : []));
  const lasting = failures.find((error) => !isPassing(error)) ?? (names.length === 0 ? failures[0] : undefined);
  if (lasting) throw lasting;
  for (const { message } of failures) warnOnce(`an endpoint does not answer, and is tried again later: ${message}`);
  const other = names.find((name) => name !== names[0]);
  ensure(other === undefined, "bad_option", () => {
    return `endpoints: they serve ${names[0]} and ${other}: name one, open(url, { model })`;
  });
  return names[0];
}

const list = z.object({ data: z.array(z.object({ id: z.string().max(500) })).max(10_000) });

async function modelThere(client: RemoteClient, wanted: string | undefined, signal?: AbortSignal): Promise<string> {
  let names: string[];
  try {
    const { data, error } = list.safeParse(await client.ask("/models", undefined, signal));
    ensure(
      data,
      "runtime_failed",
      () => `${client.url}/models answered with no list of models: ${error?.issues[0].message}`,
    );
    names = data.data.map(({ id }) => id);
  } catch (error) {
    const listless = error instanceof VentrisError && / answered 404\b/.test(error.message);
    if (listless && wanted !== undefined) return wanted;
    throw error;
  }
  const shownNames = names.slice(0, 20).join(", ") || "none";
  if (wanted === undefined) {
    ensure(
      names.length === 1,
      "bad_option",
      `${client.url} has ${names.length} models: name one, open(url, { model }); there are ${shownNames}`,
    );
    return names[0];
  }
  ensure(names.includes(wanted), "bad_option", () => {
    return `${client.url} has no model ${shown(wanted)}${didYouMean(wanted, names)} There are ${shownNames}`;
  });
  return wanted;
}
