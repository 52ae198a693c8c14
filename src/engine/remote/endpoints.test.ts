/** Several engines as one model: which of them is asked, and what becomes of a request when one fails. */
import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
import { type Model, type OpenOptions, open } from "../../open.ts";
import { listening, openAt } from "./engines.fixture.ts";
import type { Remote } from "./model.ts";

interface Engine {
  readonly url: string;
  /** Milliseconds a token, or a status. */
  how: { pace: number } | { status: number };
  asked: number;
  most: number;
}

/** An engine that says eight tokens. */
async function engine(how: Engine["how"], name = "small"): Promise<Engine> {
  let now = 0;
  const speak = async (response: ServerResponse): Promise<void> => {
    one.asked += 1;
    one.most = Math.max(one.most, ++now);
    response.on("close", () => {
      now -= 1;
    });
    const { how: mood } = one;
    if ("status" in mood) response.writeHead(mood.status).end(JSON.stringify({ error: { message: "not now" } }));
    else {
      for (let i = 0; i < 8; i++) {
        await delay(mood.pace);
        response.write(
          `data: ${JSON.stringify({ choices: [{ text: "a", finish_reason: i === 7 ? "stop" : null }] })}\n\n`,
        );
      }
      response.end("data: [DONE]\n\n");
    }
  };
  const url = await listening((request, response) => {
    request.resume();
    if (request.url === "/v1/models") response.end(JSON.stringify({ data: [{ id: name }] }));
    else request.on("end", () => void speak(response));
  });
  const one: Engine = { url, how, asked: 0, most: 0 };
  return one;
}

function opened(engines: readonly { url: string }[], options: OpenOptions = {}): Promise<Model> {
  const [first, ...others] = engines.map(({ url }) => url);
  return openAt(first, { endpoints: others, ...options });
}
const say = async (model: Model, times: number): Promise<void> => {
  for (let i = 0; i < times; i++) expect((await model.generate("Say", { maxTokens: 9 })).text).toBe("aaaaaaaa");
};
const known = (model: Model) => model.ability<Remote>("remote").client.endpoints!;

it("asks the fast one nearly always, once it knows, and the other when that has become the slow one", async () => {
  const [slow, fast] = [await engine({ pace: 16 }), await engine({ pace: 1 })];
  const model = await opened([slow, fast], { endpointPolicy: { name: "DiscountedLinUCB", discount: 0.8 } });
  const events: string[] = [];
  for await (const { type } of model.decode("Say", { maxTokens: 9 })) events.push(type);
  expect(events).toContain("choice");
  await say(model, 15);
  expect(slow.asked).toBeGreaterThan(0);
  expect(fast.asked).toBeGreaterThan(2 * slow.asked);
  expect(known(model).map(({ requests }) => requests)).toEqual([slow.asked, fast.asked]);
  const [a, b] = known(model).map(({ seconds, tokens }) => seconds / tokens);
  expect(a).toBeGreaterThan(2 * b);
  [slow.how, fast.how] = [{ pace: 1 }, { pace: 50 }];
  const before = [slow.asked, fast.asked];
  await say(model, 16);
  expect(slow.asked - before[0]).toBeGreaterThan(fast.asked - before[1]);
});

it("goes to another when one is in trouble, and asks that one rarely", async () => {
  const [broken, sound] = [await engine({ status: 503 }), await engine({ pace: 1 })];
  const model = await opened([broken, sound], { retries: 0 });
  await say(model, 12);
  expect(sound.asked).toBe(12);
  expect(broken.asked).toBeLessThan(6);
  expect(known(model)[0]).toMatchObject({ failures: broken.asked, tokens: 0 });
});

it("takes a refusal for one of the model, and fails when all are in trouble", async () => {
  const [first, second] = [await engine({ status: 400 }), await engine({ status: 400 })];
  const model = await opened([first, second]);
  await expect(model.generate("Say")).rejects.toMatchObject({ code: "bad_option" });
  expect(first.asked + second.asked).toBe(1);
  [first.how, second.how] = [{ status: 503 }, { status: 503 }];
  await expect(model.generate("Say")).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringMatching(/503/),
  });
  expect(first.asked + second.asked).toBe(1 + 3); // two retries
});

it("fills each up to its limit, and all share one budget", async () => {
  const engines = [await engine({ pace: 4 }), await engine({ pace: 4 })];
  const model = await opened(engines, { concurrency: 2, budget: { requests: 12 } });
  await Promise.all(Array.from({ length: 10 }, () => say(model, 1)));
  expect(engines.map(({ most }) => most)).toEqual([2, 2]);
  await expect(model.generate("Say")).rejects.toMatchObject({
    message: expect.stringMatching(/budget of 12 requests/),
  });
});

it("opens with one that is not there yet, and not with one of another model or what is no address", async () => {
  const sound = await engine({ pace: 1 });
  const model = await opened([sound, { url: "http://127.0.0.1:9/v1" }]);
  await say(model, 3);
  expect(sound.asked).toBe(3);
  const refused = async (url: string) => opened([sound, { url }]).catch(({ code, message }) => ({ code, message }));
  const other = await engine({ pace: 1 }, "large");
  expect(await refused(other.url)).toEqual({ code: "bad_option", message: expect.stringMatching(/small and large/) });
  expect(await refused(sound.url)).toEqual({ code: "bad_option", message: expect.stringMatching(/twice/) });
  expect(await refused("elsewhere")).toEqual({ code: "bad_option", message: expect.stringMatching(/no address/) });
});

it.each(["LinUCB", "NeuralTS", "Uniform"])(
  "takes the policy %s as arms' chooser, and refuses what is none",
  async (name) => {
    const engines = [await engine({ pace: 1 }), await engine({ pace: 1 })];
    const model = await opened(engines, { endpointPolicy: name });
    await say(model, 3);
    expect(engines[0].asked + engines[1].asked).toBe(3);
    const wrong = async (options: OpenOptions) => opened(engines, options).catch(({ message }) => message);
    expect(await wrong({ endpointPolicy: "LinUBC" })).toMatch(/did you mean "LinUCB"/);
    expect(await wrong({ endpointPolicy: { name: "LinUCB", alhpa: 1 } })).toMatch(/alhpa/);
    expect(await open(engines[0].url, { endpointPolicy: name }).catch(({ message }) => message)).toMatch(
      /endpointPolicy/,
    );
  },
);
