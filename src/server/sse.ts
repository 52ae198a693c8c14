/** Server-sent events from what is generated: pulled as fast as the client reads, ended when it goes away. */

const encoder = new TextEncoder();

export const event = (data: unknown, name?: string): string =>
  `${name ? `event: ${name}\n` : ""}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;

export interface EventSource {
  /** Whole events, one or several at a time. */
  readonly pieces: AsyncIterator<string, void>;
  /** One that was taken from them already. */
  readonly first: IteratorResult<string, void>;
  /** The event that tells of a failure. */
  failed(error: unknown): string;
  /** Called when nothing more will be sent, whatever the reason. May be called more than once. */
  end(): void;
}

export function eventStream({ pieces, first, failed, end }: EventSource, headers: Record<string, string>): Response {
  let next: IteratorResult<string, void> | undefined = first;
  let gone = false;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { value, done } = next ?? (await pieces.next());
        next = undefined;
        if (gone) return;
        if (!done) return controller.enqueue(encoder.encode(value));
      } catch (error) {
        if (gone) return;
        controller.enqueue(encoder.encode(failed(error)));
      }
      controller.close();
      end();
    },
    cancel() {
      gone = true;
      end();
    },
  });
  return new Response(body, {
    headers: { "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", ...headers },
  });
}
