import { expect, test } from "vitest";
import { VentrisError } from "../errors.ts";
import { shareWork } from "./shared-work.ts";

/** Work that ends when it is told to, and says when it was aborted. */
function handled() {
  const starts: { finish(value: string): void; fail(error: Error): void; signal: AbortSignal }[] = [];
  const shared = shareWork(
    (signal) =>
      new Promise<string>((finish, fail) => {
        starts.push({ finish, fail, signal });
        signal.addEventListener("abort", () => fail(new VentrisError("aborted", "stopped")));
      }),
  );
  return { starts, shared };
}
const codeOf = (promise: Promise<unknown>) =>
  promise.then(String, (error) => (error as VentrisError).code ?? error.message);

test("is done once for all who wait, and kept", async () => {
  const { starts, shared } = handled();
  const waiting = [shared(), shared(new AbortController().signal)];
  starts[0].finish("done");
  expect(await Promise.all(waiting)).toEqual(["done", "done"]);
  expect(await shared()).toBe("done");
  expect(starts).toHaveLength(1);
});

test("goes on while somebody waits, and ends with the last who leaves", async () => {
  const { starts, shared } = handled();
  const [first, second] = [new AbortController(), new AbortController()];
  const results = [codeOf(shared(first.signal)), codeOf(shared(second.signal))];
  first.abort();
  expect(await results[0]).toBe("aborted");
  expect(starts[0].signal.aborted).toBe(false);
  second.abort();
  expect(await results[1]).toBe("aborted");
  expect(starts[0].signal.aborted).toBe(true);
  const again = shared();
  starts[1].finish("anew");
  expect(await again).toBe("anew");
  expect(await codeOf(shared(AbortSignal.abort()))).toBe("aborted");
});

test("a failure reaches all who wait, and the next call tries again", async () => {
  const { starts, shared } = handled();
  const results = [codeOf(shared()), codeOf(shared())];
  starts[0].fail(new Error("broken"));
  expect(await Promise.all(results)).toEqual(["broken", "broken"]);
  const again = shared();
  starts[1].finish("mended");
  expect(await again).toBe("mended");
});

test("a signal after the end disturbs nothing", async () => {
  const { starts, shared } = handled();
  const controller = new AbortController();
  const waiting = shared(controller.signal);
  starts[0].finish("done");
  await waiting;
  controller.abort();
  expect(starts[0].signal.aborted).toBe(false);
  expect(await shared()).toBe("done");
});
