import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { VentrisError } from "../errors.ts";
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

  it("speaks of no request where the engine's was ended, and hands on what else a command says", async () => {
    const ended = (message: string) =>
      interruptible(async (signal) => {
        const heard = once(signal, "abort");
        process.kill(process.pid, "SIGINT");
        await heard;
        throw new VentrisError("aborted", message);
      });
    await expect(ended("the request was aborted")).rejects.toMatchObject({ code: "aborted", message: "interrupted" });
    await expect(ended("the tasks were interrupted")).rejects.toThrow("the tasks were interrupted");
    await expect(ended("fitting was aborted")).rejects.toThrow(/^fitting was interrupted$/);
    const other = interruptible(() => Promise.reject(new VentrisError("aborted", "the request was aborted")));
    await expect(other).rejects.toThrow("the request was aborted");
  });

  it("lets go when the action fails", async () => {
    const before = process.listenerCount("SIGTERM");
    await expect(interruptible(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(process.listenerCount("SIGTERM")).toBe(before);
  });
});
