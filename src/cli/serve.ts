/** `ventris serve`: models behind the interface that OpenAI's clients speak, and the studio's routes. */
import { type Command, Option } from "commander";
import { z } from "zod";
import type { NamedMethod } from "../calls.ts";
import { variesBySeed } from "../engine/method.ts";
import { parseOptions } from "../engine/shapers/options.ts";
import { plural, VentrisError } from "../errors.ts";
import { methods } from "../methods/index.ts";
import { listen, serveGroups, usualLimits } from "../server/listen.ts";
import { type PictureOrigins, pictureOrigins } from "../server/remote-pictures.ts";
import { settleHeap } from "../server/settled-heap.ts";
import { parseValue } from "./flags.ts";
import { groups } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { addMethodHints, readMethod } from "./method-choice.ts";
import { print, say } from "./output.ts";
import { addLoadFlags, loadOptions, type ModelFlags } from "./request.ts";

interface ServeFlags extends Omit<ModelFlags, "model"> {
  model?: string[];
  host: string;
  port: number;
  apiKey?: string;
  cors?: string[];
  maxConcurrent: number;
  maxQueue: number;
  maxBody: number;
  timeLimit: number;
  method?: string;
  set?: string[];
  constraintLimit: number;
  fetchPictures: PictureOrigins;
  studio?: true;
  share?: string;
}

/** Bodies may hold long prompts and schemas. */
const usualBody = 4 * 2 ** 20;
/** Time that requests under way have to end, in seconds. */
const grace = 10;

export function define(command: Command): void {
  addMethodHints(command);
  const number = (flag: string, description: string, standard: number, schema: z.ZodType) =>
    new Option(`${flag} <number>`, description)
      .default(standard)
      .argParser((text) => parseValue(schema, flag, text))
      .helpGroup("Server:");
  const list = (value: string, all: string[] = []): string[] => [...all, value];
  command
    .optionsGroup(groups.model)
    .option(
      "-m, --model <name>",
      "serve this model and no other, opened at the start: a name from ventris models, a path, or a name on the Hugging Face hub. May be given several times; without it, whatever ventris models lists is opened when it is asked for.",
      list,
    );
  addLoadFlags(command);
  command
    .optionsGroup("Server:")
    .option("--host <address>", "address to listen at; 0.0.0.0 is every address of this machine", "127.0.0.1")
    .addOption(number("--port", "port to listen at; 0 takes any free one", 8080, z.int().min(0).max(65_535)))
    .option(
      "--api-key <key>",
      "ask every client for this key, as a bearer token or as a browser's password; the variable VENTRIS_API_KEY gives it unseen",
    )
    .option(
      "--cors <origin>",
      "let pages of this origin call, such as http://localhost:3000. May be given several times.",
      list,
    )
    .option(
      "--method <name>",
      "decode requests that name no method in this way: a name, or JSON with options beside it. auto learns which is fastest for which request.",
    )
    .option("--set <name=value>", "set an option of --method. May be given several times.", list)
    .option(
      "--share <address>",
      "share what methods learn (the table of aded, the drafts of online, the choices of auto) with other replicas through a Redis or Valkey server, such as redis://127.0.0.1:6379; the variable VENTRIS_SHARE gives an address with a password unseen",
    )
    .option("--studio", "serve the studio's page, too")
    .addOption(
      new Option(
        "--fetch-pictures <whose>",
        "fetch pictures that a request gives by address: none (they come with the request), public (from addresses that everybody reaches), or any, those of this network included",
      )
        .choices([...pictureOrigins])
        .default("none"),
    )
    .addOption(
      number(
        "--max-concurrent",
        "sequences that are decoded at once",
        usualLimits.maxConcurrent,
        z.int().min(1).max(1024),
      ),
    )
    .addOption(
      number(
        "--max-queue",
        "requests that may wait; any further one is told to come back later",
        usualLimits.maxQueue,
        z.int().min(0).max(100_000),
      ),
    )
    .addOption(
      number(
        "--max-body",
        "largest body of a request, in bytes",
        usualBody,
        z
          .int()
          .min(1024)
          .max(2 ** 30),
      ),
    )
    .addOption(
      number(
        "--time-limit",
        "longest time for a request, in seconds",
        usualLimits.requestSeconds,
        z.number().positive().max(86_400),
      ),
    )
    .addOption(
      number(
        "--constraint-limit",
        "longest time that compiling a schema or another constraint may take, in seconds",
        usualLimits.constraintSeconds,
        z.number().positive().max(3600),
      ),
    )
    .addHelpText(
      "after",
      `
Ctrl-C or SIGTERM stops it: requests under way have ${grace} seconds to end.

Examples:
  ventris serve --model phaistos
  ventris serve --studio --port 0
  ventris serve --model phaistos --method auto
  ventris serve --model phaistos --method aded --share redis://127.0.0.1:6379
  curl http://127.0.0.1:8080/v1/chat/completions -d '{"model": "phaistos",
    "messages": [{"role": "user", "content": "Hello"}],
    "temperature": 0}'`,
    )
    .action(serve);
}

async function serve(flags: ServeFlags): Promise<void> {
  const {
    host,
    port,
    apiKey = process.env.VENTRIS_API_KEY,
    share = process.env.VENTRIS_SHARE,
    cors = [],
    model: served = [],
    studio = false,
  } = flags;
  const key = apiKey === "" ? undefined : apiKey;
  if (flags.apiKey === "")
    throw new VentrisError(
      "bad_option",
      "--api-key is empty, which would protect nothing: leave it out to ask for none",
    );
  for (const origin of cors) checkOrigin(origin);
  const method = await usualMethod(flags.method, flags.set);
  const server = await listen({
    port,
    host,
    groups: serveGroups(studio),
    models: loadOptions({ ...flags, model: "" }),
    serve: served,
    method,
    share: share === "" ? undefined : share,
    apiKey: key,
    origins: cors,
    maxConcurrent: flags.maxConcurrent,
    maxQueue: flags.maxQueue,
    bodyBytes: flags.maxBody,
    requestSeconds: flags.timeLimit,
    constraintSeconds: flags.constraintLimit,
    pictures: flags.fetchPictures,
  });
  try {
    for (const name of served) await server.engine.call("open", name);
  } catch (error) {
    await server.close();
    throw error;
  }
  settleHeap();
  const local = ["127.0.0.1", "::1", "localhost"].includes(host);
  await interruptible((signal) => {
    const ended = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    // Whoever reads this may interrupt at once.
    print(server.url);
    say(
      `OpenAI's clients find it at ${server.url}v1${studio ? ", browsers the studio at the address itself" : ""}; Ctrl-C ends it`,
    );
    if (!local && key === undefined) say("ventris: no --api-key is set: whoever reaches this address can use it");
    return ended;
  });
  const { underWay } = server;
  if (underWay > 0) say(`stopping: ${plural(underWay, "request")} under way`);
  const { finished, aborted } = await server.close(grace);
  say(`stopped${finished + aborted > 0 ? `: ${finished} finished, ${aborted} aborted` : ""}`);
}

/** Errors: `bad_option` for one that cannot answer what a request may ask. */
async function usualMethod(
  text: string | undefined,
  assignments: string[] | undefined,
): Promise<NamedMethod | undefined> {
  const chosen = await readMethod(text, assignments);
  if (!chosen) return undefined;
  const { method, options } = chosen;
  const refuse = (why: string) => new VentrisError("bad_option", `--method ${method.name}: ${why}`);
  if (!methods.includes(method)) throw refuse("a server decodes with the methods that ventris methods lists");
  const whole = parseOptions(method.options, options, method.name);
  if (!variesBySeed(method, whole))
    throw refuse("it finds one text, whatever the seed, and a request may ask for several: let requests name it");
  if (method.needs?.some((need) => need === "canvas")) throw refuse("it needs a diffusion model: let requests name it");
  return { ...options, name: method.name };
}

function checkOrigin(origin: string): void {
  const sound = origin === "*" || (URL.canParse(origin) && new URL(origin).origin === origin);
  if (!sound)
    throw new VentrisError("bad_option", `--cors ${origin}: write an origin such as http://localhost:3000, or *`);
}
