/** The studio in a real Chromium, on the real server and model. Skipped, with a reason, where there is no browser. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { chromiumPath as executablePath } from "../scripts/chromium.mjs";
import { papers } from "../src/papers/index.ts";
import { type Listening, listen, studioGroups } from "../src/server/listen.ts";
import { ensureBuilt, root } from "./build.ts";
import { examination } from "./fixtures/examination.ts";

const records = join(root, "reproductions");
const works = executablePath !== undefined && spawnSync(executablePath, ["--version"]).status === 0;

describe.skipIf(!works)(
  `the studio in a browser${works ? "" : " (no chromium: apt-get install chromium, or set CHROMIUM)"}`,
  () => {
    let server: Listening;
    let browser: Browser;
    let page: Page;
    let folder: string;
    const faults: string[] = [];

    beforeAll(async () => {
      ensureBuilt();
      folder = await mkdtemp(join(tmpdir(), "ventris-studio-"));
      server = await listen({ port: 0, groups: studioGroups() });
      browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    }, 300_000);
    afterAll(async () => {
      await browser?.close();
      await server?.close();
      await rm(folder, { recursive: true, force: true });
    });
    beforeEach(async () => {
      faults.length = 0;
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce" });
      page = await context.newPage();
      page.setDefaultTimeout(30_000);
      page.on("pageerror", (error) => faults.push(error.message));
      // What the network refuses is also a console error; those are looked at where they are meant.
      page.on(
        "console",
        (message) =>
          message.type() === "error" && !/Failed to load/.test(message.text()) && faults.push(message.text()),
      );
      page.on(
        "request",
        (request) =>
          new URL(request.url()).origin === new URL(server.url).origin ||
          /^(data|blob):/.test(request.url()) ||
          faults.push(`asked for ${request.url()}`),
      );
    });
    afterEach(async () => {
      await page.context().close();
      expect(faults).toEqual([]);
    });

    const go = (hash: string) => page.goto(new URL(hash, server.url).href);
    const ended = () => page.getByText("ended by").first().waitFor();

    /** What Tab may stop at; of a group of choices one is a stop. */
    const controls = `[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
      .filter((one) => one.checkVisibility() && one.tabIndex >= 0 && !one.disabled && one.type !== "radio")`;
    /** The controls of a room are all there. */
    const settled = async (): Promise<void> => {
      for (let [before, now] = [-1, 0]; before !== now; ) {
        before = now;
        await page.waitForTimeout(700);
        now = (await page.evaluate(`${controls}.length`)) as number;
      }
    };
    interface Stop {
      readonly name: string;
      readonly marked: boolean;
      readonly shown: boolean;
      readonly element: string;
    }
    /** Where the focus is; nothing where it was before, or behind the last control. */
    const stopHere = `(() => {
      const element = document.activeElement;
      if (element === document.body || element.dataset.walked) return undefined;
      element.dataset.walked = "yes";
      const referred = (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id));
      const labels = [...(element.labels ?? []), ...referred].map((other) => other?.textContent);
      const names = [element.ariaLabel, element.textContent, element.title, ...labels];
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
      const { top, bottom, left, right } = element.getBoundingClientRect();
      // By a bar that stays where it is while the page scrolls below it.
      const covered = () => {
        for (let at = document.elementFromPoint((left + right) / 2, (top + bottom) / 2); at; at = at.parentElement)
          if (/sticky|fixed/.test(getComputedStyle(at).position)) return !at.contains(element);
        return false;
      };
      return {
        name: names.map((name) => name?.trim()).find(Boolean) ?? "",
        marked: (outlineStyle !== "none" && Number.parseFloat(outlineWidth) > 0) || boxShadow !== "none",
        shown: bottom > 0 && top < innerHeight && right > 0 && left < innerWidth && !covered(),
        element: element.outerHTML.slice(0, 160),
      };
    })()`;

    it("shows 24 papers in the order of their numbers, with their claims", async () => {
      await go("/");
      await page.locator(".tablet").nth(23).waitFor();
      const names = await page.locator(".tablet h2").allTextContents();
      expect(names).toEqual(papers.map(({ system }) => system));
      const card = page.locator(".tablet", { hasText: "DySpec" });
      await card.locator("summary").focus();
      await page.keyboard.press("Enter");
      await expect.poll(() => card.getByText("Sequoia's tuned fixed tree").isVisible()).toBe(true);
      await card.locator("svg[role=img]").nth(1).waitFor(); // the picture of its stored trace
    });

    it("offers a run on every card, which shows that system", async () => {
      const press = async (name: string): Promise<void> => {
        await go("/#/");
        await page.locator(`.tablet:has(#paper-${name})`).getByRole("link", { name: "run", exact: true }).click();
      };
      await go("/");
      await page.locator(".tablet").nth(23).waitFor();
      expect(await page.locator(".tablet").getByRole("link", { name: "run", exact: true }).count()).toBe(24);
      await press("multimodal");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await ended();
      expect(await page.getByRole("toolbar").textContent()).toMatch(/There is a purple triangle at the top/);
      await press("lol");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await ended();
      await page.getByText("shaped by lol").waitFor();
      await press("neurons");
      await page.getByRole("heading", { name: "Nearest to “dog”" }).waitFor();
      await press("dkf");
      await page.getByText("Computed just now.").waitFor();
      await page.getByText("60 of 60").waitFor();
    });

    it("says why tokens are numbers, and calls them what the trace calls them where it does", async () => {
      const kept = readFileSync(join(records, "dyspec.trace.jsonl"), "utf8");
      const elsewhere = kept.replaceAll('"model":"knossos"', '"model":"elsewhere"');
      const nameless = elsewhere
        .trimEnd()
        .split("\n")
        .map((line) => JSON.stringify({ ...JSON.parse(line), texts: undefined }));
      for (const [name, text] of [
        ["named", elsewhere],
        ["nameless", nameless.join("\n")],
      ])
        await writeFile(join(folder, `${name}.jsonl`), text);
      await go("/#/trace");
      await page.locator("#file").setInputFiles(join(folder, "nameless.jsonl"));
      await page.getByText("the model of this trace (elsewhere) is not here, and the trace does not say").waitFor();
      await page.locator("svg text", { hasText: "#352" }).first().waitFor();
      await page.locator("#file").setInputFiles(join(folder, "named.jsonl"));
      await page.getByText("Tokens are called what the trace calls them").waitFor();
      await page.locator("svg text", { hasText: "·He" }).first().waitFor();
    });

    it("draws every card that has a run or a curve that is kept, and says in words why another is empty", async () => {
      await go("/");
      await page.locator(".tablet").nth(23).waitFor();
      const kept = new Map(
        papers.map(({ name }) => {
          const record = existsSync(join(records, `${name}.json`))
            ? readFileSync(join(records, `${name}.json`), "utf8")
            : "";
          return [name, existsSync(join(records, `${name}.trace.jsonl`)) || record.includes('"plot"')];
        }),
      );
      for (const [name, drawn] of kept) {
        const picture = page.locator(".tablet", { has: page.locator(`#paper-${name}`) }).locator(".clay");
        if (drawn) await picture.locator("[role=img], ol, dl").first().waitFor();
        else await picture.getByText(/^(Nothing to draw yet|Planned)/).waitFor();
      }
    });

    it("runs a paper's prompt in the playground, by keyboard alone, and says where each token came from", {
      timeout: 120_000,
    }, async () => {
      await go("/");
      await page.locator(".tablet", { hasText: "DySpec" }).getByRole("link", { name: "run" }).focus();
      await page.keyboard.press("Enter");
      await page.getByLabel("prompt", { exact: true }).waitFor();
      await page.keyboard.press("Control+Enter");
      await ended();
      const tokens = page.locator("[data-token]");
      expect(await tokens.count()).toBe(64);
      expect(await page.locator("[data-token].accepted").count()).toBeGreaterThan(5);
      await tokens.first().focus();
      for (let i = 0; i < 4; i++) await page.keyboard.press("ArrowRight");
      await page.getByText("token 5 · id").waitFor();
      await page.getByLabel("most likely here").waitFor();
      await page.getByRole("img", { name: /tokens drafted/ }).waitFor();
      expect(await page.locator("[data-token][tabindex='0']").count()).toBe(1); // one stop for Tab
    });

    it("is walked through by Tab: every control of every room is reached, has a name, and is seen to have the focus", {
      timeout: 120_000,
    }, async () => {
      const rooms = ["gallery", "playground", "trace", "models", "inside", "measurements"];
      for (const [room, width, height] of [
        ...rooms.map((room) => [room, 360, 800] as const),
        ["playground?paper=dyspec", 1280, 900] as const, // where the bar with "run" stays before the form
      ]) {
        await page.setViewportSize({ width, height });
        await page.goto("about:blank"); // each room is a page of its own, with the focus before its beginning
        await go(`/#/${room}`);
        await page.locator("main h1, main h2, main form").first().waitFor();
        await settled();
        const walked: Stop[] = [];
        for (;;) {
          await page.keyboard.press("Tab");
          const stop = (await page.evaluate(stopHere)) as Stop | undefined;
          if (!stop) break;
          walked.push(stop);
        }
        expect(walked.length, room).toBeGreaterThan(10);
        for (const { element, ...stop } of walked)
          expect({ ...stop, name: stop.name !== "" }, `${room}: ${element}`).toEqual({
            name: true,
            marked: true,
            shown: true,
          });
        const missed = await page.evaluate(
          `(${controls}).filter((one) => !one.dataset.walked).map((one) => one.outerHTML.slice(0, 160))`,
        );
        expect(missed, room).toEqual([]);
        const wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth");
        expect(wide, `${room} is wider than the page`).toBe(false);
      }
    });

    it("asks a chat model what its paper's card asks, in its chat form", { timeout: 120_000 }, async () => {
      await go("/#/playground?paper=localleap");
      await expect.poll(() => page.getByLabel("said to the model in its chat form").isChecked()).toBe(true);
      await page.getByRole("button", { name: "run", exact: true }).click();
      await ended();
      expect(
        await page
          .locator("[data-token]")
          .allTextContents()
          .then((all) => all.join("")),
      ).toContain("Answer: 77");
      await page.getByLabel("model", { exact: true }).selectOption("knossos"); // has none
      await expect.poll(() => page.getByLabel("said to the model in its chat form").count()).toBe(0);
    });

    it("leads from the list of measurements to each, and there by its address alone", async () => {
      await go("/#/measurements");
      const contents = page.getByRole("navigation", { name: "What was measured" });
      await contents.getByRole("link", { name: "LocalLeap" }).click();
      const heading = page.getByRole("heading", { name: "LocalLeap" });
      const top = async () => (await heading.boundingBox())?.y ?? Infinity;
      await expect.poll(top).toBeLessThan(60);
      expect(await page.evaluate("document.activeElement?.id")).toBe("m-localleap");
      await go("/");
      await go("/#/measurements/localleap");
      await expect.poll(top).toBeLessThan(60);
    });

    it("takes an address that was cut short for a name that is not there", async () => {
      await go("/#/trace/%E0%A4%A");
      await page.getByRole("alert").filter({ hasText: "no trace is kept" }).waitFor();
    });

    it("moves nothing where motion is not wanted", async () => {
      await go("/");
      await page.locator(".tablet .clay svg").nth(20).waitFor();
      const drawn = () =>
        page.evaluate<string>("[...document.querySelectorAll('.clay')].map((one) => one.innerHTML).join()");
      await page.waitForLoadState("networkidle");
      const before = await drawn();
      await page.waitForTimeout(1200);
      expect((await drawn()) === before).toBe(true);
      expect(await page.evaluate("document.getAnimations().length")).toBe(0);
    });

    it("compares two methods with one seed, and says that the lossless ones agree", { timeout: 120_000 }, async () => {
      await go("/#/playground?paper=aded");
      // The paper's own settings come a moment later, and would take the second method away.
      await expect.poll(() => page.getByRole("combobox", { name: "method" }).first().inputValue()).toBe("aded");
      await page.getByRole("button", { name: "+ a method beside it" }).click();
      await page.getByRole("combobox", { name: "method 2" }).selectOption("greedy");
      await page.getByLabel("maxTokens", { exact: true }).fill("24");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await expect.poll(() => page.getByText("ended by").count(), { timeout: 60_000 }).toBe(2);
      expect(await page.getByText("differs from").count()).toBe(0);
    });

    it("lists the methods that the model can run, takes a typed constraint, and marks what it forced", {
      timeout: 120_000,
    }, async () => {
      await go("/#/playground");
      const method = page.getByRole("combobox", { name: "method 1" });
      await method.locator("option", { hasText: "dyspec" }).waitFor({ state: "attached" });
      const offered = await method.locator("option").allTextContents();
      expect(offered).toContain("prompt-lookup");
      expect(offered).not.toContain("low-confidence");
      await method.selectOption("sample");
      await page.getByRole("combobox", { name: "form of the output" }).selectOption("regex");
      const text = page.getByRole("textbox", { name: "a regular expression" });
      await text.fill("");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await page.getByText("The form of the output is not whole").waitFor();
      await text.fill("Q[0-9]!(yes|no)");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await ended();
      expect(await page.locator("[data-token].forced").count()).toBeGreaterThan(0);
      await page.getByText("the only one its constraint allowed").waitFor();
      // Rejection asks about few tokens, and so it knows of refusals, not of what is the only one.
      await method.selectOption("awrs");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await page.getByText("drawn after its constraint refused others").waitFor();
      expect(await page.locator("[data-token].turned").count()).toBeGreaterThan(0);
      await method.selectOption("smc");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await page.locator("[data-token].turned").first().waitFor();
      const field = page.locator("#form-help .problem");
      await text.fill("Q(?=a)");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await field.getByText("look-ahead is not supported").waitFor();
      expect(await text.getAttribute("aria-invalid")).toBe("true");
      await page.getByRole("combobox", { name: "form of the output" }).selectOption("jsonSchema");
      await page
        .getByRole("textbox", { name: "JSON of a schema" })
        .fill('{"items":{"type":"array","uniqueItems":true,"items":{"type":"object"}}}');
      await page.getByRole("button", { name: "run", exact: true }).click();
      await field.getByText("JSON schema #/items: uniqueItems").waitFor();
    });

    it("says of a model that writes no text that it cannot, before anything is run", async () => {
      const fact = "the model other has: pointing; what is served writes texts token by token";
      await page.route("**/api/models", (route) => route.fulfill({ json: [{ name: "knossos" }, { name: "other" }] }));
      await page.route("**/api/models/other/**", (route) =>
        route.fulfill({ status: 400, json: { error: { message: fact, code: "bad_option" } } }),
      );
      await page.goto(`${server.url}#/playground`);
      await page.getByLabel("model", { exact: true }).selectOption("other");
      await page.getByText(fact).waitFor();
      await page.getByRole("button", { name: "run", exact: true }).click();
      await page.getByText("Choose another model: this one cannot write here.").waitFor();
      expect(await page.getByText("Nothing decoded yet.").count()).toBe(1);
      await page.getByLabel("model", { exact: true }).selectOption("knossos");
      await page.getByText(fact).waitFor({ state: "detached" });
    });

    it("says what is wrong at the field, before and after asking the server", async () => {
      await go("/#/playground?paper=dyspec");
      await page.getByText("options: draft").click();
      const budget = page.getByLabel("budget", { exact: true });
      await budget.fill("-3");
      expect(await budget.getAttribute("aria-invalid")).toBe("true");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await page.getByText("An option is out of range").waitFor();
      await page.getByRole("button", { name: "reset budget" }).click();
      expect(await budget.getAttribute("aria-invalid")).toBe(null);
      await page.getByLabel("draft", { exact: true }).fill("minos");
      await page.getByRole("button", { name: "run", exact: true }).click();
      await page.getByText('no model "minos" is listed here').first().waitFor();
    });

    it("stops a run, and a closed tab leaves no node held", { timeout: 60_000 }, async () => {
      await go("/#/playground?paper=dyspec");
      // A story may end early, and then there is nothing to stop.
      await page.getByText("all sampling options").click();
      for (const name of ["maxTokens", "minTokens"]) await page.getByLabel(name, { exact: true }).fill("800");
      // In the page itself: the run would be over before a hand from outside reaches the button.
      await page.evaluate(`new MutationObserver((_, observer) => {
        const stop = [...document.querySelectorAll("button")].find((one) => one.textContent.trim() === "stop");
        if (!stop || document.querySelectorAll("[data-token]").length < 8) return;
        observer.disconnect();
        stop.click();
      }).observe(document.body, { childList: true, subtree: true })`);
      await page.getByRole("button", { name: "run", exact: true }).click();
      await page.getByText("stopped", { exact: true }).waitFor();
      await expect.poll(() => server.engine.call("held"), { timeout: 3000 }).toBe(0);
      await page.getByRole("button", { name: "run", exact: true }).click();
      await page.locator("[data-token]").nth(8).waitFor();
      await page.close();
      await expect.poll(() => server.engine.call("held"), { timeout: 3000 }).toBe(0);
    });

    describe("traces", () => {
      const drop = async (name: string, text: string) => {
        const path = join(folder, name);
        await writeFile(path, text);
        await go("/#/trace");
        await page.locator("#file").setInputFiles(path);
      };

      it("are stepped through, and a moment has an address", async () => {
        await go("/#/trace/dyspec?at=5");
        await page.getByText("5 of", { exact: false }).first().waitFor();
        await page.getByRole("button", { name: "step after" }).click();
        await expect.poll(() => page.url()).toContain("at=6");
        await page.getByRole("button", { name: "play" }).click();
        await expect.poll(() => page.url()).toContain("at=8");
      });

      it("of learning show no text, no tokens and no times", async () => {
        await go("/#/trace/key-value-bottleneck");
        await page.getByText("after task 1").waitFor();
        expect(await page.locator("main").innerText()).not.toMatch(/\d tokens?|tokens\s+\d|\d ms|Point at/i);
      });

      it("that are cut off are read up to there, and said to be", async () => {
        const whole = await readFile(join(root, "reproductions", "dyspec.trace.jsonl"), "utf8");
        await drop("cut.jsonl", whole.slice(0, 3000));
        await page.getByText("was cut off").waitFor();
        await page.getByRole("img", { name: /steps/ }).waitFor();
      });

      it.each([
        ["no JSON at all", "GIF89a…\n{}", "not JSON"],
        [
          "a tree that hangs on itself",
          `{"type":"draft","tokens":[1],"parents":[7],"passes":1,"seconds":0}\n`,
          "parents",
        ],
        ["nothing", "", "empty"],
      ])("with %s are refused by line and reason", async (_, text, says) => {
        await drop("bad.jsonl", text);
        await page.getByRole("alert").filter({ hasText: says }).waitFor();
      });

      it("show script in their text as text, and events of another version as they are", async () => {
        const evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>';
        const lines = [
          { type: "start", method: evil, model: "nowhere", prompt: [1], seed: 0, options: { evil } },
          { type: "tokens", tokens: [1, 2], text: evil },
          { type: "teleported", to: evil },
        ];
        await drop("evil.jsonl", lines.map((line) => JSON.stringify(line)).join("\n"));
        await page.getByText("another version").waitFor();
        await page.locator(".whole", { hasText: "onerror" }).waitFor();
        expect(await page.evaluate('"owned" in window')).toBe(false);
        expect(await page.locator("main img").count()).toBe(0);
      });
    });

    it("shows models, and the tokens of what is typed", async () => {
      await go("/#/models/knossos");
      await page.getByLabel("type, and see tokens").fill("the king");
      await expect
        .poll(() => page.locator(".chips li").allTextContents())
        .toContainEqual(expect.stringContaining("king"));
      await page.getByRole("img", { name: "loss curve of knossos" }).waitFor();
      await page.getByText("5.48 million, stored as F16").waitFor();
    });

    it("finds a word's neurons, and holds one at a multiple of its own spread while the model writes", {
      timeout: 240_000,
    }, async () => {
      page.setDefaultTimeout(120_000);
      await go("/#/inside/knossos");
      await page.getByRole("heading", { name: "Surest of one token" }).waitFor();
      await page.getByLabel("a word to look for").fill("dog");
      await page.getByRole("button", { name: "Search" }).click();
      await page.getByRole("heading", { name: "Nearest to “dog”" }).waitFor();
      await page.locator("li button", { hasText: "0.596" }).click();
      await page.getByLabel(/held at/).fill("40");
      await page.getByText("40 × its spread in the free text").waitFor();
      const spread = Number(/spread (\S+)$/.exec((await page.getByText(/^its values here/).textContent())!)![1]);
      const held = Number((await page.getByRole("heading", { name: /^Held at/ }).textContent())!.slice(8));
      expect(held / spread).toBeCloseTo(40, 0);
      const [free, other] = await page.locator(".texts p:not(.label)").allTextContents();
      expect(other).not.toBe(free);
      await page.getByLabel("a word to look for").fill("qqqzzz");
      await page.getByRole("button", { name: "Search" }).click();
      await page.getByRole("alert").filter({ hasText: "qqqzzz" }).waitFor();
    });

    it("holds a neuron while the playground's methods write, at multiples of its spread by a slider", {
      timeout: 240_000,
    }, async () => {
      page.setDefaultTimeout(20_000);
      await go("/#/inside/knossos");
      await page.getByRole("link", { name: "In the playground" }).click();
      await page.getByRole("heading", { name: "Playground" }).waitFor();
      const field = page.getByRole("textbox", { name: "a neuron, held" });
      await expect.poll(() => field.inputValue()).toMatch(/^\d+\.\d+$/);
      const written = async (change: () => Promise<unknown>): Promise<string> => {
        await change();
        await page
          .getByRole("button", { name: "stop" })
          .waitFor({ timeout: 20_000 })
          .catch(() => undefined);
        await page.getByRole("button", { name: "run", exact: true }).waitFor();
        return (await page.locator(".lanes .tokens").first().textContent())!;
      };
      const run = () => page.getByRole("button", { name: "run", exact: true }).click();
      await field.fill("0.596");
      const slider = page.getByRole("slider", { name: /× its spread/ });
      await slider.fill("0");
      const atRest = await written(run);
      // The slider alone writes anew.
      const held = await written(() => slider.fill("50"));
      expect(held).not.toBe(atRest);
      const [, spread, value] = /50 × ([\d.]+) = ([\d.]+)/.exec((await page.locator("#held-help").textContent())!)!;
      expect(Number(value) / Number(spread)).toBeCloseTo(50, 0);
      await field.fill("");
      const free = await written(run);
      expect(free).not.toBe(held);
      for (const [text, problem] of [
        ["dog", /LAYER\.NEURON/],
        ["0.99999", /has neurons 0 to/],
        ["99.1", /layers/],
      ] as const) {
        await field.fill(text);
        await run();
        await page.locator("#held-help .problem", { hasText: problem }).waitFor({ timeout: 20_000 });
      }
      // What was refused of one model is not said of another, and what was shown before stays.
      await page.getByLabel("model", { exact: true }).selectOption("pylos");
      await page.locator("#held-help .problem").waitFor({ state: "detached" });
      expect(await page.locator(".lanes .tokens").first().textContent()).toBe(free);
      // An address in the open room is followed; a multiple that the slider has not is brought to one that it has.
      await page.goto(`${server.url}#/playground?model=knossos&neuron=3.118&multiple=99.4`);
      await expect.poll(() => field.inputValue()).toBe("3.118");
      await page.getByText("held at 50 × its spread").waitFor();
      // Moved while a text is written: that run ends, and the last value is written. The button is of the run that goes on.
      await page.getByLabel("maxTokens", { exact: true }).fill("400");
      await run();
      const writing = page.locator(".lanes .label", { hasText: "running" });
      await writing.waitFor();
      await page.evaluate(`(async () => {
        const input = document.querySelector(".slider input");
        for (const [value, wait] of [["10", 0], ["20", 120], ["30", 0]]) {
          input.value = value;
          for (const type of ["input", "change"]) input.dispatchEvent(new Event(type, { bubbles: true }));
          await new Promise((resolve) => setTimeout(resolve, wait));
        }
      })()`);
      await page.locator("#held-help", { hasText: "30 ×" }).waitFor();
      await writing.waitFor();
      await page.getByRole("button", { name: "stop" }).click();
      await page.getByRole("button", { name: "run", exact: true }).waitFor();
      await page.locator(".lanes .label", { hasText: "stopped" }).waitFor();
      await page.getByLabel("model", { exact: true }).selectOption("mycenae");
      await field.waitFor({ state: "detached" });
    });

    it("browses codes: by frequency, at work, of a text, by an expression; and forces one while the model writes", {
      timeout: 240_000,
    }, async () => {
      page.setDefaultTimeout(120_000);
      await go("/#/inside/knossos?look=codes");
      await page.locator(".examples mark").first().waitFor();
      await page.getByLabel("search all codes").fill("\\b(was)\\b");
      await page.getByRole("button", { name: "Search" }).click();
      await page.getByText("tokens match").waitFor();
      await page.locator(".found .link").first().waitFor();
      await page.getByRole("button", { name: "Show its codes" }).click();
      await page.locator(".tokens button").nth(2).click();
      expect(await page.locator(".chips button").count()).toBe(8);
      await page.locator(".chips button").nth(7).click();
      await page.getByRole("button", { name: "Steer with it" }).click();
      await page.getByRole("button", { name: "Write both" }).click();
      await page.getByRole("heading", { name: "Forced", exact: true }).waitFor();
      await page.getByRole("link", { name: "In the playground" }).click();
      const shapers = page.getByRole("textbox", { name: "shapers" });
      await expect.poll(() => shapers.inputValue(), { timeout: 10_000 }).toMatch(/^\[\{"name":"codebook"/);
      await go("/#/inside/phaistos?look=codes");
      await page.getByText("phaistos has no codebooks").waitFor();
    });

    it("draws what layers know, of a model and of the checkpoints in a report", { timeout: 240_000 }, async () => {
      page.setDefaultTimeout(120_000);
      await go("/#/inside/knossos?look=layers");
      await page.getByRole("checkbox", { name: "alignment" }).uncheck();
      await page.getByRole("button", { name: "Measure knossos" }).click();
      await page.locator(".map td").first().waitFor();
      await page.getByRole("button", { name: "loss", exact: true }).click();
      await page.getByRole("img", { name: /loss, nats over layer/ }).waitFor();
      const layers = [0, 1].map((layer) => ({ layer, explained: 0.1 * layer }));
      const models = [1, 2, 3].map((step) => ({
        model: `run/step-${step}`,
        report: { contexts: 9, documents: 3, layers },
      }));
      const file = (text: string) => ({ name: "report.json", mimeType: "application/json", buffer: Buffer.from(text) });
      await page.getByLabel(/or a report/).setInputFiles(file(JSON.stringify({ models })));
      await page.getByText("3 checkpoints: 9 contexts").waitFor();
      await page.getByRole("img", { name: /over training/ }).waitFor();
      await page.getByLabel(/or a report/).setInputFiles(file("{"));
      await page.getByRole("alert").filter({ hasText: "not JSON" }).waitFor();
    });

    it("says that the server is gone, and comes back with it", { timeout: 60_000 }, async () => {
      const other = await listen({ port: 0, groups: studioGroups() });
      await page.goto(other.url).catch(() => {});
      faults.length = 0; // it is another origin
      await page.locator(".tablet").first().waitFor();
      await other.close();
      await page.getByRole("alert").filter({ hasText: "server is gone" }).waitFor({ timeout: 15_000 });
      const again = await listen({ port: Number(new URL(other.url).port), groups: studioGroups() });
      try {
        await page
          .getByRole("alert")
          .filter({ hasText: "server is gone" })
          .waitFor({ state: "detached", timeout: 15_000 });
        await page.locator(".tablet").nth(23).waitFor();
      } finally {
        await page.goto("about:blank");
        await again.close();
        faults.length = 0;
      }
    });

    it("keeps what was typed while the server is gone", { timeout: 60_000 }, async () => {
      const other = await listen({ port: 0, groups: studioGroups() });
      await page.goto(`${other.url}#/playground`);
      await page.getByLabel("prompt", { exact: true }).fill("An owl and a fox");
      await page.waitForTimeout(6500); // a room that was just entered loads anew
      await other.close();
      const gone = page.getByRole("alert").filter({ hasText: "server is gone" });
      await gone.waitFor({ timeout: 15_000 });
      const again = await listen({ port: Number(new URL(other.url).port), groups: studioGroups() });
      try {
        await gone.waitFor({ state: "detached", timeout: 15_000 });
        expect(await page.getByLabel("prompt", { exact: true }).inputValue()).toBe("An owl and a fox");
      } finally {
        await page.goto("about:blank");
        await again.close();
        faults.length = 0;
      }
    });

    it.each([
      [360, "light"],
      [360, "dark"],
      [1600, "light"],
      [1600, "dark"],
    ] as const)(
      "fits %d pixels in %s, with names, roles and inks that everybody can read",
      { timeout: 60_000 },
      async (width, theme) => {
        await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
        await page.setViewportSize({ width, height: 900 });
        for (const room of [
          "gallery",
          "playground",
          "trace/dyspec",
          "models",
          "inside",
          "inside/knossos?look=codes",
          "inside/knossos?look=layers",
          "measurements",
        ]) {
          await go(`/#/${room}`);
          await page.locator("main h1").waitFor();
          await page.waitForLoadState("networkidle");
          const found = await page.evaluate<object>(examination);
          expect({ room, ...found }).toEqual({ room, wide: 0, faults: [] });
        }
      },
    );
  },
);
