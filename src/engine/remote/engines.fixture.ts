/** Servers of tests that stand for engines behind a network. They, and the models that are opened on them, are closed after each test. */
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach } from "vitest";
import { type Model, type OpenOptions, open } from "../../open.ts";

const servers: Server[] = [];
const models: Model[] = [];
afterEach(async () => {
  for (const model of models.splice(0)) await model.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Its address, as `open` wants it. */
export async function listening(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
}

export async function openAt(url: string, options: OpenOptions = {}): Promise<Model> {
  const model = await open(url, options);
  models.push(model);
  return model;
}
