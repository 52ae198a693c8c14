import { cp, mkdtemp, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { createCatalogue } from "./catalogue.ts";
import { findModel } from "./listed.ts";

it("tells when a model came, whatever is kept beside it later", async () => {
  const cache = await mkdtemp(join(tmpdir(), "ventris-catalogue-"));
  onTestFinished(() => rm(cache, { recursive: true }));
  vi.stubEnv("VENTRIS_CACHE", cache);
  const folder = join(cache, "hub", "someone", "story", "0".repeat(40));
  await cp(new URL("../../models/pylos", import.meta.url), folder, { recursive: true });
  const created = async () => (await createCatalogue().list()).find(({ name }) => name === "someone/story")!.created;
  const before = await created();
  expect(Math.abs(before - Date.now() / 1000)).toBeLessThan(60);
  await utimes(folder, new Date(), new Date(Date.now() + 3_600_000));
  expect(await created()).toBe(before);
});

it.each<[string, (name: string) => Promise<unknown>]>([
  ["a client", (name) => createCatalogue().find(name)],
  ["a client of some models", (name) => createCatalogue(["knossos"]).find(name)],
  ["the studio's page", findModel],
])("tells %s the models that are here, and says no path again", async (_, find) => {
  await expect(find("knosos")).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringMatching(
      /^no model "knosos" is here; the models here: .*knossos.*; did you mean "knossos"\?$/,
    ),
  });
  for (const path of ["/etc/knossos", "~/knossos", "../../knossos", "C:\\knossos", "\\\\host\\knossos"]) {
    await expect(find(path)).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/^no model is opened by a path; the models here: (?!.*(etc|\.\.|host|C:))/),
    });
  }
});
