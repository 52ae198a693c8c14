import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { interruptible } from "./interruptible.ts";

describe("interruptible", () => {
  it("turns the first SIGINT into an abort and then lets go", async () => {
    const before = process.listenerCount("SIGINT");
    const aborted = await interruptible(async (signal) => {
      const heard = once(signal, "abort");
      process.kill(process.pid, "SIGINT");
      await heard;
      return signal.aborted;
    });
    expect(aborted).toBe(true);
    expect(process.listenerCount("SIGINT")).toBe(before);
  });

  it("lets go when the action fails", async () => {
    const before = process.listenerCount("SIGTERM");
    await expect(interruptible(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(process.listenerCount("SIGTERM")).toBe(before);
  });
});
