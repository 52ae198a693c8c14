/**
 * Pictures by address, for servers that were told to fetch them. A client chooses the address, so that the server could be made to look where only it
 * can: what is not public is refused unless allowed, for the address that is in fact connected to and at every redirect; size and time are bounded.
 */
import { lookup as resolveName } from "node:dns";
import { type IncomingMessage, request as plainRequest } from "node:http";
import { request as secureRequest } from "node:https";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { VentrisError } from "../errors.ts";
import { mostPictureBytes } from "../images/index.ts";

/** Whose pictures are fetched: nobody's, those of public addresses, or those of any. */
export const pictureOrigins = ["none", "public", "any"] as const;
export type PictureOrigins = (typeof pictureOrigins)[number];

export interface FetchLimits {
  readonly origins: PictureOrigins;
  /** For one picture, its redirects included. */
  readonly seconds?: number;
  readonly bytes?: number;
  readonly signal?: AbortSignal;
}

const mostRedirects = 3;

function networks(kind: "ipv4" | "ipv6", ...subnets: readonly string[]): BlockList {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [network, prefix] = subnet.split("/");
    list.addSubnet(network, Number(prefix), kind);
  }
  return list;
}
/** Loopback, private, link-local, shared, reserved, multicast: RFC 6890 and its like. */
const inside = networks(
  "ipv4",
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
);
/** Of IPv6 only 2000::/3 is public, and of it not what tunnels or documents. */
const global = networks("ipv6", "2000::/3");
const tunnels = networks("ipv6", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20");

/** Whether an address is one that everybody can reach. */
export function isPublic(address: string): boolean {
  if (isIP(address) === 4) return !inside.check(address, "ipv4");
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? [];
  if (mapped) return isPublic(mapped);
  return isIP(address) === 6 && global.check(address, "ipv6") && !tunnels.check(address, "ipv6");
}

const refuse = (url: URL | string, why: string): never => {
  throw new VentrisError("bad_option", `the picture at ${String(url).slice(0, 200)}: ${why}`);
};

/** The picture at an address as a data URL. Errors: `bad_option`, `aborted`. */
export async function fetchPicture(
  address: string,
  { origins, seconds = 10, bytes = mostPictureBytes, signal }: FetchLimits,
): Promise<string> {
  if (origins === "none") refuse(address, "this server fetches nothing: send it as a data URL");
  const ended = AbortSignal.any([AbortSignal.timeout(seconds * 1000), ...(signal ? [signal] : [])]);
  let url = URL.canParse(address) ? new URL(address) : refuse(address, "that is no address");
  for (let hop = 0; hop <= mostRedirects; hop++) {
    const answer = await ask(url, origins, ended).catch((error: Error) => {
      if (error instanceof VentrisError) throw error;
      if (signal?.aborted) throw new VentrisError("aborted", "the request ended while a picture was fetched");
      return refuse(
        url,
        ended.aborted ? `it did not come within ${seconds} seconds` : `it cannot be fetched (${error.message})`,
      );
    });
    const { statusCode: status = 0, headers } = answer;
    if (status >= 300 && status < 400 && headers.location !== undefined) {
      answer.destroy();
      if (!URL.canParse(headers.location, url.href)) refuse(url, "it leads to what is no address");
      url = new URL(headers.location, url);
      continue;
    }
    if (status !== 200) {
      answer.destroy();
      refuse(url, `it is answered with the status ${status}`);
    }
    const type = /^image\/(png|jpeg|jpg|webp|gif)\b/i.exec(headers["content-type"] ?? "")?.[0];
    if (!type) {
      answer.destroy();
      refuse(url, `its type is ${String(headers["content-type"] ?? "not said").slice(0, 100)}, which is no picture`);
    }
    const body = await whole(answer, bytes).catch((error: Error) =>
      error instanceof VentrisError ? Promise.reject(error) : refuse(url, `it broke off (${error.message})`),
    );
    if (body === undefined) return refuse(url, `it is larger than ${bytes} bytes`);
    return `data:${type!.toLowerCase()};base64,${body.toString("base64")}`;
  }
  return refuse(address, `it leads on more than ${mostRedirects} times`);
}

/** The answer's head. The name is looked up once, and what it gives is judged before it is connected to. */
function ask(url: URL, origins: PictureOrigins, signal: AbortSignal): Promise<IncomingMessage> {
  if (url.protocol !== "http:" && url.protocol !== "https:") refuse(url, "only http and https addresses are fetched");
  if (url.username || url.password) refuse(url, "an address with a password is not fetched");
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const check = (address: string): void => {
    if (origins === "public" && !isPublic(address)) refuse(url, "its host is not a public one");
  };
  if (isIP(host)) check(host); // these are never looked up
  const lookup: LookupFunction = (name, options, done) =>
    resolveName(name, { ...options, all: true }, (error, found) => {
      if (error) return done(error, "", 0);
      try {
        for (const { address } of found) check(address);
      } catch (refused) {
        return done(refused as NodeJS.ErrnoException, "", 0);
      }
      if (options.all) return done(null, found);
      return done(null, found[0].address, found[0].family);
    });
  const send = url.protocol === "https:" ? secureRequest : plainRequest;
  return new Promise((resolve, reject) => {
    const headers = { Accept: "image/png, image/jpeg, image/webp, image/gif", "User-Agent": "ventris" };
    // No agent: a connection that another request made would not be looked at again.
    const sent = send(url, { lookup, signal, agent: false, headers, maxHeaderSize: 16_384 }, resolve);
    sent.on("error", reject);
    sent.end();
  });
}

/** Undefined for what is longer than `bytes`. */
async function whole(answer: IncomingMessage, bytes: number): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  if (Number(answer.headers["content-length"] ?? 0) > bytes) {
    answer.destroy();
    return undefined;
  }
  for await (const part of answer) {
    size += part.length;
    if (size > bytes) {
      answer.destroy();
      return undefined;
    }
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** A request brings at most so many addresses, each of a picture of at most so many bytes. */
const mostFetched = 8;
const mostFetchedBytes = 2 ** 23;

type Messages = readonly { readonly role: string; readonly [field: string]: unknown }[];

/** Messages with the pictures that are given by address as data URLs; the same where there are none. Errors: as `fetchPicture`. */
export async function withFetched<Given extends Messages>(
  messages: Given,
  origins: PictureOrigins,
  signal: AbortSignal,
): Promise<Given> {
  const addressOf = (part: unknown): string | undefined => {
    const given = part as { type?: unknown; image_url?: unknown } | null;
    if (given?.type !== "image_url") return undefined;
    const image = given.image_url as { url?: unknown } | string | undefined;
    const url = typeof image === "string" ? image : image?.url;
    return typeof url === "string" && /^https?:/i.test(url) ? url : undefined;
  };
  const parts = (content: unknown): readonly unknown[] => (Array.isArray(content) ? content : []);
  const addresses = new Set(messages.flatMap(({ content }) => parts(content).flatMap((part) => addressOf(part) ?? [])));
  if (origins === "none" || addresses.size === 0) return messages; // what is not fetched is refused where pictures are read
  if (addresses.size > mostFetched)
    throw new VentrisError(
      "bad_option",
      `messages: pictures of ${addresses.size} addresses, and at most ${mostFetched} are fetched`,
    );
  const fetched = new Map<string, string>();
  for (const address of addresses)
    fetched.set(address, await fetchPicture(address, { origins, bytes: mostFetchedBytes, signal }));
  return messages.map((message) => {
    if (!Array.isArray(message.content)) return message;
    const content = message.content.map((part) => {
      const address = addressOf(part);
      return address === undefined ? part : { ...part, image_url: { url: fetched.get(address) } };
    });
    return { ...message, content };
  }) as unknown as Given;
}
