/** What HTTP itself refuses before the application hears of it, as JSON too; and the requests that are under way. */
import { createServer, type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { getRequestListener, RequestError as UnreadableRequest } from "@hono/node-server";
import { answerOf, type ErrorBody, RequestError, type Status } from "./errors.ts";

export interface Connections {
  readonly server: Server;
  /** Requests that have come and are not answered to the end. */
  readonly underWay: number;
}

/** Node's words for what it could not read, as far as they need another status than 400. */
const statuses: Readonly<Record<string, Status>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 408,
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
};

export function createConnections(
  fetch: (request: Request) => Response | Promise<Response>,
  host: string,
): Connections {
  const answering = new Map<ServerResponse, Socket>();
  const listener = getRequestListener(fetch, {
    hostname: host,
    autoCleanupIncoming: true,
    errorHandler(error) {
      const unreadable = error instanceof UnreadableRequest;
      const { status, body } = answerOf(unreadable ? notHttp("its address or its Host is not valid") : error);
      return Response.json(body, { status });
    },
  });
  // A request without a Host is refused as one with a wrong one is.
  const server = createServer({ requireHostHeader: false }, listener);
  server.prependListener("request", ({ socket }, response) => {
    answering.set(response, socket);
    response.once("close", () => answering.delete(response));
  });
  server.on("checkExpectation", (_, response) => {
    const { status, body } = answerOf(notHttp("Expect takes 100-continue and nothing else", 417));
    const text = JSON.stringify(body);
    const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) };
    response.writeHead(status, headers).end(text);
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    const begun = [...answering].some(([response, of]) => of === socket && response.headersSent);
    if (error.code === "ECONNRESET" || !socket.writable || begun) socket.destroy(error);
    else {
      const late = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
      const why = late ? "it did not arrive in time" : error.message.replace(/^Parse Error: /, "");
      const { status, body } = answerOf(notHttp(why, statuses[error.code ?? ""]));
      socket.end(plainAnswer(status, body));
    }
  });
  return {
    server,
    get underWay() {
      return answering.size;
    },
  };
}

const notHttp = (why: string, status: Status = 400): RequestError =>
  new RequestError("bad_option", `the request cannot be read: ${why}`, { status });

/** Written by hand where there is no request that could be answered. */
function plainAnswer(status: Status, body: ErrorBody): string {
  const text = JSON.stringify(body);
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(text)}`,
    "Connection: close",
    "",
    text,
  ].join("\r\n");
}
