/** Server-sent events from what is generated: pulled as fast as the client reads, ended when it goes away. */

const encoder = new TextEncoder();

export const event = (data: unknown, name?: string): string =>
  `${name ? `event: ${name}\n` : ""}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;

/** `pieces` are whole events. Leaving early, it is told by `return`. */
export function eventStream(pieces: AsyncGenerator<string, void>, headers: Record<string, string> = {}): Response {
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(encoder.encode(value));
    },
    cancel: () => void pieces.return().catch(() => {}),
  });
  return new Response(body, {
    headers: { "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", ...headers },
  });
}
