/** Opening a model in the terminal. */
import { expect, test } from "vitest";
import { openShown } from "./progress.ts";

test("Ctrl-C ends the opening of a model, and is not listened for afterwards", async () => {
  const before = process.listenerCount("SIGINT");
  const opening = openShown("knossos");
  expect(process.listenerCount("SIGINT")).toBe(before + 1);
  process.emit("SIGINT");
  await expect(opening).rejects.toMatchObject({ code: "aborted", message: "opening knossos was interrupted" });
  expect(process.listenerCount("SIGINT")).toBe(before);
});
