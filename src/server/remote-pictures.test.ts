/** Pictures that a server fetches: whose it takes, how far it goes for them, and what becomes of those that are none. */
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import { fetchPicture, isPublic, withFetched } from "./remote-pictures.ts";

const servers: Server[] = [];
async function serving(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
afterAll(() => {
  for (const server of servers) server.closeAllConnections();
  for (const server of servers) server.close();
});

const bytes = Buffer.from("a picture's bytes");
const picture: RequestListener = (_, response) => {
  response.writeHead(200, { "Content-Type": "image/png" });
  response.end(bytes);
};

test("what is not public is told by its address", () => {
  for (const address of ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
    expect(isPublic(address), address).toBe(true);
  const own = ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.0.5", "169.254.169.254", "100.100.0.1", "0.0.0.0"];
  const six = [
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fd12::1",
    "ff02::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
  ];
  const mapped = ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "255.255.255.255", "224.0.0.1", "nonsense", "::ffff:7f00:1"];
  for (const address of [...own, ...six, ...mapped]) expect(isPublic(address), address).toBe(false);
});

describe("a server that fetches", () => {
  const any = { origins: "any", seconds: 5 } as const;

  test("nothing, unless it was told to, and nothing of its own network, unless it was told that", async () => {
    let asked = 0;
    const url = await serving((request, response) => {
      asked += 1;
      picture(request, response);
    });
    await expect(fetchPicture(url, { origins: "none" })).rejects.toThrow(/fetches nothing: send it as a data URL/);
    await expect(fetchPicture(url, { origins: "public" })).rejects.toThrow(/not a public one/);
    // A name is judged by what it stands for.
    await expect(fetchPicture(url.replace("127.0.0.1", "localhost"), { origins: "public" })).rejects.toThrow(
      /not a public one/,
    );
    await expect(fetchPicture("http://[::1]:1/", { origins: "public" })).rejects.toThrow(/not a public one/);
    expect(asked).toBe(0);
    expect(await fetchPicture(url, any)).toBe(`data:image/png;base64,${bytes.toString("base64")}`);
    expect(asked).toBe(1);
  });

  test("follows three redirects, and no further", async () => {
    const url = await serving((request, response) => {
      const left = Number(request.url!.slice(1));
      if (left === 0) return picture(request, response);
      response.writeHead(302, { Location: `/${left - 1}` });
      response.end();
    });
    expect(await fetchPicture(`${url}3`, any)).toMatch(/^data:image\/png/);
    await expect(fetchPicture(`${url}4`, any)).rejects.toThrow(/leads on more than 3 times/);
    const elsewhere = await serving((_, response) => {
      response.writeHead(301, { Location: "file:///etc/passwd" });
      response.end();
    });
    await expect(fetchPicture(elsewhere, any)).rejects.toThrow(/only http and https/);
  });

  test("bounds what it takes, in bytes and in time", async () => {
    const large = await serving((_, response) => {
      response.writeHead(200, { "Content-Type": "image/png" });
      const more = () => {
        while (response.write(Buffer.alloc(65_536)));
      };
      response.on("drain", more);
      more();
    });
    await expect(fetchPicture(large, { ...any, bytes: 100_000 })).rejects.toThrow(/larger than 100000 bytes/);
    const slow = await serving((_, response) => {
      response.writeHead(200, { "Content-Type": "image/png" });
      response.write("a");
    });
    await expect(fetchPicture(slow, { ...any, seconds: 0.3 })).rejects.toThrow(/broke off|did not come within/);
    const silent = await serving(() => {});
    await expect(fetchPicture(silent, { ...any, seconds: 0.3 })).rejects.toThrow(/did not come within 0.3 seconds/);
    await expect(fetchPicture(silent, { ...any, signal: AbortSignal.abort() })).rejects.toThrow(/request ended/);
  });

  test("says what was no picture", async () => {
    const typed = (type: string | undefined, status = 200) =>
      serving((_, response) => {
        response.writeHead(status, type ? { "Content-Type": type } : {});
        response.end("x");
      });
    await expect(fetchPicture(await typed("text/html"), any)).rejects.toThrow(/its type is text\/html/);
    await expect(fetchPicture(await typed(undefined), any)).rejects.toThrow(/its type is not said/);
    await expect(fetchPicture(await typed("image/png", 404), any)).rejects.toThrow(/the status 404/);
    await expect(fetchPicture("ftp://example.org/a.png", any)).rejects.toThrow(/only http and https/);
    await expect(fetchPicture("http://me:secret@127.0.0.1/", any)).rejects.toThrow(/with a password/);
    await expect(fetchPicture("http://", any)).rejects.toThrow(/no address/);
  });

  test("puts what it fetched in the place of the address, once each", async () => {
    let asked = 0;
    const url = await serving((request, response) => {
      asked += 1;
      picture(request, response);
    });
    const part = { type: "image_url", image_url: { url } };
    const messages = [{ role: "user", content: [part, { type: "text", text: "and" }, part] }];
    const signal = new AbortController().signal;
    expect(await withFetched(messages, "none", signal)).toBe(messages);
    const [{ content }] = await withFetched(messages, "any", signal);
    const data = { url: `data:image/png;base64,${bytes.toString("base64")}` };
    expect(content).toEqual([
      { type: "image_url", image_url: data },
      { type: "text", text: "and" },
      { type: "image_url", image_url: data },
    ]);
    expect(asked).toBe(1);
    const many = Array.from({ length: 9 }, (_, i) => ({ type: "image_url", image_url: { url: `${url}${i}` } }));
    await expect(withFetched([{ role: "user", content: many }], "any", signal)).rejects.toThrow(
      /at most 8 are fetched/,
    );
  });
});
