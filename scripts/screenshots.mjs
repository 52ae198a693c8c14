/**
 * The pictures of the studio in docs/: taken of the built page, in a real Chromium. Look at them before they are kept. `pngquant --nofs 16` and
 * `zopflipng` make them four times smaller: they are part of the package.
 *
 *     npm run build && node scripts/screenshots.mjs
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { listen, studioGroups } from "../dist/server/listen.js";
import { chromiumPath as executablePath } from "./chromium.mjs";

const docs = fileURLToPath(new URL("../docs", import.meta.url));
if (!executablePath) {
  console.error("screenshots: no chromium: apt-get install chromium, or set CHROMIUM");
  process.exit(1);
}
const server = await listen({ port: 0, groups: studioGroups() });
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

/** @param {string} name @param {string} hash @param {{ width: number, height: number, dark?: boolean }} look @param {(page: import("playwright-core").Page) => Promise<void>} act */
async function shoot(name, hash, { width, height, dark }, act) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  await page.goto(new URL(hash, server.url).href);
  await act(page);
  await page.evaluate("document.fonts.ready");
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(docs, name) });
  await context.close();
  console.log(join("docs", name));
}

/** @param {import("playwright-core").Page} page */
async function run(page) {
  await page.getByRole("button", { name: "run", exact: true }).click();
  await page.getByText("ended by").first().waitFor({ timeout: 60_000 });
  await page.evaluate("scrollTo(0, 0)");
}

try {
  await shoot("studio-gallery.png", "/#/", { width: 1280, height: 900 }, async (page) => {
    await page.locator(".tablet").first().waitFor();
  });
  await shoot("studio-playground.png", "/#/playground?paper=dyspec", { width: 1280, height: 900 }, async (page) => {
    await run(page);
    await page.locator("[data-token].accepted").nth(6).focus();
    await page.getByLabel("most likely here").waitFor();
    await page.evaluate("scrollTo(0, 0)");
  });
  await shoot(
    "studio-compare.png",
    "/#/playground?paper=aded",
    { width: 1500, height: 760, dark: true },
    async (page) => {
      await page.getByRole("button", { name: "+ a method beside it" }).click();
      await page.getByRole("combobox", { name: "method 2" }).selectOption("sample");
      await run(page);
    },
  );
} finally {
  await browser.close();
  await server.close();
}
